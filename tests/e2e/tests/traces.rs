//! OpenTelemetry traces, as a collector gets them.

use std::sync::{Arc, Mutex};

use e2e::{
    clients::{Publisher, Transport},
    clips::clip,
    control::until_live,
    eventually,
    process::Setup,
    reader::Reader,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A span, and the service that it is of.
#[derive(Clone, Debug)]
struct Exported {
    service: String,
    span: Span,
}

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Exported>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut exported = self.0.lock().unwrap();
        for resource_spans in request.into_inner().resource_spans {
            let attributes = resource_spans.resource.unwrap_or_default().attributes;
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match name.and_then(|name| name.value?.value) {
                Some(Value::StringValue(service)) => service,
                other => panic!("service.name {other:?}"),
            };
            let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
            exported.extend(spans.map(|span| Exported { service: service.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (collector, url)
    }

    fn spans(&self) -> Vec<Exported> {
        self.0.lock().unwrap().clone()
    }
}

/// From the publisher's connection to the first packet at the node, in the order in which each is the parent of one behind it.
const PATH: [(&str, &str); 8] = [
    ("ingest-svc", "rtmp"),
    ("ingest-svc", "publish"),
    ("ingest-svc", "rtmp2rtsp.v1.Registry/AllocatePort"),
    ("publish-svc", "rtmp2rtsp.v1.Registry/AllocatePort"),
    ("ingest-svc", "rtmp2rtsp.v1.StreamControl/StartStream"),
    ("publish-svc", "rtmp2rtsp.v1.StreamControl/StartStream"),
    ("publish-svc", "first_rtp_packet"),
    ("ingest-svc", "first_rtp_packet"),
];

#[tokio::test]
async fn from_a_publishers_connection_to_the_first_packet_at_the_node_is_one_trace() {
    let (collector, url) = Collector::start().await;
    let traced = |setup: Setup| {
        setup
            .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
            .with_variable("OTEL_BSP_SCHEDULE_DELAY", "100")
    };
    let mut publish = traced(Setup::publish()).start().await;
    let mut ingest = traced(Setup::ingest(&publish.publish_grpc())).start().await;
    let clip = clip("small");
    let keys = ["one", "two"];
    let _publishers: Vec<_> =
        keys.iter().map(|key| Publisher::Ffmpeg.start(&clip, &ingest.rtmp_url(key))).collect();
    for key in keys {
        until_live(&publish.publish_grpc(), key).await;
    }
    let mut reader = Reader::play(&publish.rtsp_url("one"), Transport::Tcp).await.unwrap();
    for _ in 0..500 {
        reader.next().await.unwrap();
    }
    // While the streams still run: no span lives as long as a stream.
    let traces = eventually("a trace of each stream is exported", async || {
        let spans = collector.spans();
        let roots = spans.iter().filter(|s| s.span.name == "rtmp" && s.service == "ingest-svc");
        let traces: Vec<Vec<_>> = roots
            .map(|root| {
                let of_trace = |s: &&Exported| s.span.trace_id == root.span.trace_id;
                spans.iter().filter(of_trace).cloned().collect()
            })
            .collect();
        let whole = traces.iter().filter(|trace| trace.len() >= PATH.len()).count();
        (whole == keys.len()).then_some(traces)
    })
    .await;
    for trace in &traces {
        let mut names: Vec<_> =
            trace.iter().map(|s| (s.service.as_str(), s.span.name.as_str())).collect();
        names.sort_unstable();
        let mut wanted = PATH;
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        let find = |(service, name): (&str, &str)| {
            let span = trace.iter().find(|s| s.service == service && s.span.name == name);
            &span.unwrap().span
        };
        let [rtmp, publish, ask, asked, start, started, received, sent] = PATH.map(find);
        assert!(rtmp.parent_span_id.is_empty(), "the connection is the root");
        for (child, parent) in [
            (publish, rtmp),
            (ask, publish),
            (asked, ask),
            (start, publish),
            (started, start),
            (received, started),
            (sent, publish),
        ] {
            assert_eq!(child.parent_span_id, parent.span_id, "{} {}", child.name, parent.name);
        }
    }

    drop(reader);
    ingest.terminate().await;
    publish.terminate().await;
    let spans = collector.spans();
    // A span for each of some thousand packets, and the exporter's own, would be seen here.
    let names: std::collections::BTreeMap<_, usize> =
        spans.iter().fold(Default::default(), |mut names, exported| {
            *names.entry((exported.service.clone(), exported.span.name.clone())).or_default() += 1;
            names
        });
    println!("{names:#?}");
    assert!(spans.len() < 200, "{} spans", spans.len());
    for (_, name) in names.keys() {
        assert!(!name.contains("TraceService"), "the exporter's own calls are traced");
    }
}
