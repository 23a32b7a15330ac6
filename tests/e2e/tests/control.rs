//! The API as foreign clients call it: `buf curl`, which knows nothing but what reflection tells, and curl.

use e2e::{
    clients::{Publisher, Running, Transport, ffmpeg, run},
    clips::{Units, clip, place, repository},
    control::until_live,
    eventually,
    frames::Reading,
    process::{Gateway, Setup},
    reader::{Depacketizer, Packet, Reader},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// As in the README.
const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";

fn buf_curl(url: &str, method: &str, request: &Value) -> Command {
    let mut command = Command::new(repository().join("scripts/buf"));
    command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d"]);
    command.arg(request.to_string()).arg(format!("{url}/{method}"));
    command
}

/// A call that is answered.
async fn call(url: &str, method: &str, request: Value) -> Value {
    let printed = run(buf_curl(url, method, &request)).await;
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{method}: {error}: {printed}"))
}

/// A call that is refused; what buf prints of it.
async fn refused(url: &str, method: &str, request: Value) -> Value {
    let output = Running::start(buf_curl(url, method, &request)).output().await;
    assert!(!output.status.success(), "{method} was not refused");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{method}: {error}: {printed}"))
}

/// What a watch tells until it has told `last`.
async fn watch(url: &str, method: &str, last: &str) -> Vec<Value> {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut command = buf_curl(url, method, &json!({}));
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("scripts/buf does not start");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    let told = async {
        loop {
            text += &lines.next_line().await.unwrap().expect("the watch ended");
            let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            let told: Vec<_> = values.map_while(Result::ok).collect();
            if told.last().is_some_and(|event| event["event"] == last) {
                return told;
            }
        }
    };
    tokio::time::timeout(e2e::PATIENCE, told).await.expect("it was never told")
}

const CONTROL: &str = "rtmp2rtsp.v1.StreamControl";
const REGISTRY: &str = "rtmp2rtsp.v1.Registry";

fn control(method: &str) -> String {
    format!("{CONTROL}/{method}")
}

fn registry(method: &str) -> String {
    format!("{REGISTRY}/{method}")
}

#[tokio::test]
async fn stream_control_of_ingest_is_called_by_reflection_alone() {
    let gateway = Setup::both().start().await;
    let url = gateway.ingest_grpc();
    let key = json!({"stream_key": "drone1"});
    let started = call(&url, &control("StartStream"), key.clone()).await;
    assert_eq!(started["stream"]["state"], "STREAM_STATE_WAITING");
    let again = call(&url, &control("StartStream"), key.clone()).await;
    assert_eq!(again["stream"]["startedAt"], started["stream"]["startedAt"]);

    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("drone1"));
    until_live(&gateway.publish_grpc(), "drone1").await;
    let got = call(&url, &control("GetStream"), key.clone()).await;
    let stream = &got["stream"];
    assert_eq!(stream["state"], "STREAM_STATE_LIVE");
    assert_eq!(stream["publisher"]["app"], "stream");
    assert_eq!(stream["tracks"][0]["codecString"], "avc1.4D400C");
    assert_eq!(stream["tracks"][1]["codecString"], "mp4a.40.2");
    // 32-bit numbers are numbers in JSON.
    assert!(stream["legs"][0]["lease"]["rtpPort"].is_u64(), "{stream}");
    assert!(stream["counters"]["packets"].is_u64(), "{stream}");
    let listed = call(&url, &control("ListStreams"), json!({})).await;
    assert_eq!(listed["streams"][0]["streamKey"], "drone1");
    let told = watch(&url, &control("WatchStreams"), "STREAM_EVENT_SNAPSHOT_END").await;
    assert_eq!(told[0]["event"], "STREAM_EVENT_SNAPSHOT");
    assert_eq!(told[0]["stream"]["streamKey"], "drone1");

    call(&url, &control("StopStream"), key.clone()).await;
    let problem = refused(&url, &control("StopStream"), key).await;
    assert_eq!(problem["code"], "not_found");
    let detail = &problem["details"][0];
    assert_eq!(detail["type"], "google.rpc.ResourceInfo", "{problem}");
    let problem = refused(&url, &control("StartStream"), json!({"stream_key": "a//b"})).await;
    assert_eq!(problem["code"], "invalid_argument");
    let detail = &problem["details"][0];
    assert_eq!(detail["type"], "google.rpc.BadRequest", "{problem}");
    // buf does not decode details; the message says the same.
    assert!(problem["message"].as_str().unwrap().starts_with("stream_key: "), "{problem}");
}

#[tokio::test]
async fn all_calls_of_the_registry_are_made_by_reflection_alone() {
    let gateway = Setup::both().start().await;
    let url = gateway.publish_grpc();
    let node = json!({"node": {
        "node_id": "by-hand", "rtp_address": "127.0.0.1", "rtp_port_min": 40000, "rtp_port_max": 40009,
        "rtsp_url": "rtsp://127.0.0.1:8554", "grpc_url": "http://127.0.0.1:50052",
    }});
    let registered = call(&url, &registry("RegisterNode"), node).await;
    assert_eq!(registered["ttl"], "10s");
    call(&url, &registry("KeepAlive"), json!({"node_id": "by-hand"})).await;
    let nodes = call(&url, &registry("ListNodes"), json!({})).await;
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 2, "{nodes}");

    let ask = json!({"stream_key": "drone1", "owner_id": "me", "node_id": "by-hand"});
    let granted = call(&url, &registry("AllocatePort"), ask.clone()).await;
    let lease = &granted["lease"];
    assert_eq!(lease["rtpPort"], 40000);
    let id = lease["leaseId"].as_str().unwrap();
    let again = call(&url, &registry("AllocatePort"), ask).await;
    assert_eq!(again["lease"]["leaseId"], id);
    let other = json!({"stream_key": "drone1", "owner_id": "other"});
    let problem = refused(&url, &registry("AllocatePort"), other).await;
    assert_eq!(problem["code"], "already_exists");
    let renew = json!({"owner_id": "me", "lease_ids": [id, "gone"]});
    let renewed = call(&url, &registry("RenewLeases"), renew).await;
    assert_eq!(renewed["lostLeaseIds"], json!(["gone"]));
    let moved = call(&url, &registry("RejectPort"), json!({"lease_id": id})).await;
    assert_eq!(moved["lease"]["rtpPort"], 40002);
    let found = call(&url, &registry("LookupStream"), json!({"stream_key": "drone1"})).await;
    assert_eq!((&found["ownerId"], &found["leases"][0]["rtpPort"]), (&json!("me"), &json!(40002)));
    let told = watch(&url, &registry("Watch"), "REGISTRY_EVENT_SNAPSHOT_END").await;
    assert_eq!(told.len(), 4, "two nodes, a lease and the end: {told:?}");
    for _ in 0..2 {
        call(&url, &registry("ReleasePort"), json!({"lease_id": id})).await;
    }
    let leases = call(&url, &registry("ListLeases"), json!({})).await;
    assert_eq!(leases, json!({}));
    let problem = refused(&url, &registry("LookupStream"), json!({"stream_key": "drone1"})).await;
    assert_eq!(problem["code"], "not_found");
    call(&url, &registry("DeregisterNode"), json!({"node_id": "by-hand"})).await;
}

#[tokio::test]
async fn health_is_served_on_both_ports_and_both_versions_of_reflection_too() {
    let gateway = Setup::both().start().await;
    let check = "grpc.health.v1.Health/Check";
    for (url, services) in [
        (gateway.ingest_grpc(), &["", CONTROL][..]),
        (gateway.publish_grpc(), &["", CONTROL, REGISTRY]),
    ] {
        for service in services {
            let health = call(&url, check, json!({"service": service})).await;
            assert_eq!(health["status"], "SERVING", "{service}");
        }
        assert_eq!(refused(&url, check, json!({"service": "none"})).await["code"], "not_found");
        for version in ["grpc-v1", "grpc-v1alpha"] {
            let mut command = buf_curl(&url, &control("ListStreams"), &json!({}));
            command.args(["--reflect-protocol", version]);
            run(command).await;
        }
    }
}

#[tokio::test]
async fn any_rtp_source_feeds_a_stream_that_is_started_by_hand() {
    let gateway = Setup::both().start().await;
    let url = gateway.publish_grpc();
    let ask = json!({"stream_key": "byhand", "session_description": SDP});
    let started = call(&url, &control("StartStream"), ask).await;
    let port = started["stream"]["rtpPort"].as_u64().expect("a port");
    let clip = clip("small");
    let mut source = ffmpeg();
    source.args(["-re", "-i"]).arg(&clip).args(["-c:v", "copy", "-bsf:v", "h264_mp4toannexb"]);
    source.args(["-an", "-f", "rtp"]).arg(format!("rtp://127.0.0.1:{port}"));
    let _source = Running::start(source);
    until_live(&url, "byhand").await;
    let mut reader = Reader::play(&gateway.rtsp_url("byhand"), Transport::Udp).await.unwrap();
    let mut input = Depacketizer::new(media::codec::MediaKind::Video, 0);
    let mut pictures = Vec::new();
    while pictures.len() < 60 {
        if let Packet::Rtp { header, bytes, .. } =
            reader.next().await.unwrap().expect("the server closed the connection")
        {
            pictures.extend(input.push(&header, &bytes).unwrap().map(|unit| unit.pictured()));
        }
    }
    assert!(place(&Units::of_clip(&clip).video, &pictures).is_some(), "other pictures");

    let stopped = call(&url, &control("StopStream"), json!({"stream_key": "byhand"})).await;
    assert_eq!(stopped["stream"]["streamKey"], "byhand");
    assert_eq!(call(&url, &registry("ListLeases"), json!({})).await, json!({}));
    std::net::UdpSocket::bind(("0.0.0.0", port as u16)).expect("the port is free");
}

/// curl as the prototype's scripts call it; the status and the body.
async fn curl(gateway: &Gateway, args: &[&str], path: &str) -> (u16, Value) {
    let mut command = Command::new("curl");
    command.args(["-s", "-w", "\n%{http_code}"]).args(args);
    command.arg(format!("{}{path}", gateway.ingest_http()));
    let printed = run(command).await;
    let (body, status) = printed.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_prototypes_curl_calls_start_list_and_stop_a_stream() {
    let gateway = Setup::both().with("ingest-auto-start", "false").start().await;
    let post = |body| ["-X", "POST", "-H", "Content-Type: application/json", "-d", body];
    let key = r#"{"stream_key":"stream"}"#;
    let (status, started) = curl(&gateway, &post(key), "/start").await;
    assert_eq!((status, &started["stream"]["stream_key"]), (200, &json!("stream")), "{started}");
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("stream"));
    until_live(&gateway.publish_grpc(), "stream").await;
    let listed = eventually("the stream is live", async || {
        let (status, listed) = curl(&gateway, &[], "/streams").await;
        (status == 200 && listed["streams"][0]["state"] == "STREAM_STATE_LIVE").then_some(listed)
    })
    .await;
    assert_eq!(listed["streams"][0]["stream_key"], "stream");
    let read = Reading::of_url(&gateway.rtsp_url("stream"), Transport::Tcp, Some(2)).frames().await;
    assert!(!read.video.is_empty());
    assert_eq!(curl(&gateway, &post(key), "/stop").await.0, 200);
    let (status, problem) = curl(&gateway, &post(key), "/stop").await;
    assert_eq!((status, &problem["error"]["code"]), (404, &json!("NOT_FOUND")));
    assert_eq!(curl(&gateway, &[], "/streams").await, (200, json!({"streams": []})));
    assert_eq!(curl(&gateway, &post("{"), "/start").await.0, 400);
    assert_eq!(curl(&gateway, &["-X", "POST", "-d", key], "/start").await.0, 415);
}

#[tokio::test]
async fn metrics_and_probes_are_on_both_http_ports() {
    let gateway = Setup::both().start().await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("drone1"));
    until_live(&gateway.publish_grpc(), "drone1").await;
    let mut reader = Reader::play(&gateway.rtsp_url("drone1"), Transport::Udp).await.unwrap();
    reader.next().await.unwrap();
    for http in [gateway.ingest_http(), gateway.publish_http()] {
        for probe in ["/livez", "/readyz"] {
            let mut command = Command::new("curl");
            command.args(["-sf"]).arg(format!("{http}{probe}"));
            run(command).await;
        }
    }
    has_metrics(
        &gateway.ingest_http(),
        &[
            "rtmp2rtsp_ingest_streams 1",
            "rtmp2rtsp_ingest_legs 1",
            "rtmp2rtsp_ingest_keyframes_total ",
            "rtmp2rtsp_ingest_access_units_total{kind=\"video\"} ",
        ],
    )
    .await;
    has_metrics(
        &gateway.publish_http(),
        &[
            "rtmp2rtsp_publish_streams 1",
            "rtmp2rtsp_publish_readers{transport=\"udp\"} 1",
            "rtmp2rtsp_publish_reader_packets_total{transport=\"udp\"} ",
            "rtmp2rtsp_publish_rtsp_responses_total{status=\"200\"} 4",
            "rtmp2rtsp_publish_rtp_lost_total 0",
            "rtmp2rtsp_publish_access_units_total{kind=\"audio\"} ",
        ],
    )
    .await;
}

/// Waits until all those lines are there; some are added up once a second.
async fn has_metrics(http: &str, lines: &[&str]) {
    eventually("the metrics", async || {
        let mut command = Command::new("curl");
        command.args(["-sf"]).arg(format!("{http}/metrics"));
        let metrics = run(command).await;
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        let is_there = |line: &&str| metrics.lines().any(|l| l.starts_with(line));
        let missing: Vec<_> = lines.iter().filter(|line| !is_there(line)).collect();
        missing.is_empty().then_some(())
    })
    .await;
}
