use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Answer, health_client::HealthClient,
};

use super::*;

async fn serve() -> (String, Metrics, Shutdown, tokio::task::JoinHandle<()>) {
    let (metrics, shutdown) = (Metrics::new("test"), Shutdown::new());
    let listen = ([127, 0, 0, 1], 0).into();
    let (address, serve) =
        bind(listen, &metrics, Routes::default(), &["a.Service"], shutdown.clone()).await.unwrap();
    (format!("http://{address}"), metrics, shutdown, tokio::spawn(serve))
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<Answer, tonic::Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.map(|r| r.into_inner().status()).map_err(|s| s.code())
}

#[tokio::test]
async fn health_follows_the_drain_and_the_port_closes_at_the_cut() {
    let (url, _, shutdown, served) = serve().await;
    let mut client = HealthClient::new(channel(&url).unwrap());
    for service in ["", "a.Service"] {
        assert_eq!(check(&mut client, service).await, Ok(Answer::Serving));
    }
    assert_eq!(check(&mut client, "b.Service").await, Err(tonic::Code::NotFound));

    let request = HealthCheckRequest { service: String::new() };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Answer::Serving);
    shutdown.start_drain();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), Answer::NotServing);
    assert_eq!(check(&mut client, "a.Service").await, Ok(Answer::NotServing));

    shutdown.cut();
    assert_eq!(watch.message().await.unwrap_err().code(), tonic::Code::Unavailable);
    served.await.unwrap();
    let mut client = HealthClient::new(channel(&url).unwrap());
    assert_eq!(check(&mut client, "").await, Err(tonic::Code::Unavailable));
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_and_made_up_methods_under_one_name() {
    let (url, metrics, ..) = serve().await;
    let mut client = HealthClient::new(channel(&url).unwrap());
    check(&mut client, "").await.unwrap();
    check(&mut client, "b.Service").await.unwrap_err();
    let mut grpc = tonic::client::Grpc::new(channel(&url).unwrap());
    for path in ["/made.Up/One", "/made.Up/Two"] {
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
    let text = metrics.render();
    for line in [
        r#"rtmp2rtsp_grpc_calls_total{method="grpc.health.v1.Health/Check",code="ok"} 1"#,
        r#"rtmp2rtsp_grpc_calls_total{method="grpc.health.v1.Health/Check",code="not_found"} 1"#,
        r#"rtmp2rtsp_grpc_calls_total{method="unknown",code="unimplemented"} 2"#,
        r#"rtmp2rtsp_grpc_call_duration_seconds_count{method="grpc.health.v1.Health/Check"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn reflection_shows_the_api_health_and_the_error_details() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let (url, ..) = serve().await;
    let mut client = ServerReflectionClient::new(channel(&url).unwrap());
    let ask = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("google.rpc.BadRequest".into()),
        MessageRequest::FileContainingSymbol("rtmp2rtsp.v1.StreamControl".into()),
    ]
    .map(|request| ServerReflectionRequest { host: String::new(), message_request: Some(request) });
    let mut answers =
        client.server_reflection_info(tokio_stream::iter(ask)).await.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = next().await else { panic!("no list") };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "rtmp2rtsp.v1.Registry",
        "rtmp2rtsp.v1.StreamControl",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for _ in 0..2 {
        assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
    }
}

#[tokio::test]
async fn a_panic_in_a_call_is_internal_for_its_caller_and_the_port_goes_on() {
    async fn bad() -> &'static str {
        panic!("on purpose")
    }
    let (metrics, shutdown) = (Metrics::new("test"), Shutdown::new());
    let router = axum::Router::new().route("/a.Service/Bad", axum::routing::post(bad));
    let listen = ([127, 0, 0, 1], 0).into();
    let (address, serve) = bind(listen, &metrics, router.into(), &[], shutdown).await.unwrap();
    tokio::spawn(serve);
    let channel = channel(&format!("http://{address}")).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static("/a.Service/Bad");
    let status = grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Internal);
    assert!(metrics.render().contains("task_panics_total{task=\"grpc_call\"} 1"));
    assert_eq!(check(&mut HealthClient::new(channel), "").await, Ok(Answer::Serving));
}
