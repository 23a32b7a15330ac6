//! A node that feeds another.

use std::time::Duration;

use proto::v1;
use registry::{Claim, Engine, WatchEvent};
use svc_core::config::Config;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use crate::testing::{
    Asked, Bench, FakeIngest, Reader, Sender, Source, Track, config, free_ports, leased,
};

/// An ingest's stream "a" on node-1, whose registry a second node is at, and a lease for that.
struct Pair {
    first: Bench,
    second: Bench,
    source: Source,
    sender: Sender,
    /// What node-1 is asked for.
    feed: v1::StartStreamRequest,
}

fn claim(node_id: &str) -> Claim {
    Claim {
        stream_key: media::StreamKey::parse("a").unwrap(),
        owner_id: "ingest-1".into(),
        owner_grpc_url: String::new(),
        node_id: Some(node_id.into()),
        reassert: None,
        supersede: None,
    }
}

/// A second node at the registry of the first.
async fn further(first: &Bench, mut config: Config) -> Bench {
    config.publish.node_id = "fed".into();
    config.publish.rtp_port_min = free_ports();
    config.publish.rtp_port_max = config.publish.rtp_port_min + 15;
    config.registry.url = format!("http://{}", first.addresses.grpc);
    let second = Bench::start(config).await;
    let is_second =
        |event: &WatchEvent| matches!(event, WatchEvent::NodeAdded(node) if node.info.id == "fed");
    first.until_lease_event(is_second).await;
    second
}

/// What asks the first node to feed the second.
async fn feed_of(first: &Bench) -> v1::StartStreamRequest {
    let granted = first.registry.allocate_port(claim("fed")).await.unwrap();
    v1::StartStreamRequest {
        stream_key: "a".into(),
        lease: Some(registry::lease_to_proto(granted.lease)),
        feed: Some(registry::info_to_proto(granted.node.info)),
        ..Default::default()
    }
}

async fn stop_feeding(first: &mut Bench) -> Result<(), tonic::Status> {
    let (stream_key, node_id) = ("a".to_owned(), "fed".to_owned());
    let request = v1::StopStreamRequest { stream_key, node_id, ..Default::default() };
    first.control.stop_stream(request).await.map(drop)
}

async fn pair(config: Config) -> Pair {
    let mut first = Bench::start(config.clone()).await;
    let second = further(&first, config).await;
    let mut source = Source::new(1);
    let granted = first.registry.allocate_port(claim("node-1")).await.unwrap();
    let lease = registry::lease_to_proto(granted.lease);
    let stream = first.start_stream(leased("a", &source, lease)).await.unwrap();
    let sender = Sender::to(stream.rtp_port as u16);
    sender.rtcp(&source.report(Track::Video, 0));
    sender.rtp(source.keyframe(0));
    first.until_asked("a", |s| s.counters.as_ref().is_some_and(|c| c.keyframes == 1)).await;
    let feed = feed_of(&first).await;
    Pair { first, second, source, sender, feed }
}

impl Pair {
    async fn ask(&mut self) -> v1::Stream {
        self.first.start_stream(self.feed.clone()).await.unwrap()
    }

    async fn refusal(&mut self, request: v1::StartStreamRequest) -> tonic::Status {
        self.first.start_stream(request).await.unwrap_err()
    }

    /// A reader of the fed node that plays.
    async fn reader(&self) -> Reader {
        let mut reader = self.second.reader("a").await;
        reader.play().await;
        reader
    }

    async fn drain(self) {
        self.second.drain().await;
        self.first.drain().await;
    }
}

#[tokio::test]
async fn a_fed_node_gets_the_last_gop_and_all_that_comes_with_or_without_a_key() {
    for srtp in [false, true] {
        let mut config = config();
        config.hop.srtp = srtp;
        let mut pair = pair(config).await;
        pair.sender.rtp(pair.source.picture(40));
        let legs = pair.ask().await.legs;
        assert_eq!((legs.len(), &*legs[0].node_id, legs[0].established), (1, "fed", true));
        let mut reader = pair.reader().await;
        assert_eq!((reader.mark().await, reader.mark().await), (0, 40));
        pair.sender.rtp(pair.source.picture(80));
        assert_eq!(reader.mark().await, 80);
        // Asked again, nothing is begun anew.
        pair.ask().await;
        pair.sender.rtp(pair.source.keyframe(120));
        assert_eq!(reader.mark().await, 120);
        let seen = pair.first.stream("a").await.unwrap();
        assert!(seen.legs[0].packets_sent >= 4);
        pair.first.until_metrics(&["feeds 1"]).await;
        pair.drain().await;
    }
}

#[tokio::test]
async fn readers_of_a_fed_node_go_on_when_the_leg_of_its_feeder_is_made_anew() {
    let mut pair = pair(config()).await;
    pair.ask().await;
    let mut reader = pair.reader().await;
    assert_eq!(reader.mark().await, 0);
    let lease = pair.first.stream("a").await.unwrap().lease.unwrap();
    let mut source = Source::new(7);
    pair.first.start_stream(leased("a", &source, lease)).await.unwrap();
    pair.sender.rtcp(&source.report(Track::Video, 0));
    pair.sender.rtp(source.keyframe(40));
    assert_eq!(reader.mark().await, 40);
    pair.drain().await;
}

#[tokio::test]
async fn a_feed_ends_when_it_is_stopped_and_the_fed_node_is_told_nothing() {
    let mut pair = pair(config()).await;
    assert_eq!(stop_feeding(&mut pair.first).await.unwrap_err().code(), Code::NotFound);
    pair.ask().await;
    stop_feeding(&mut pair.first).await.unwrap();
    assert_eq!(pair.first.stream("a").await.unwrap().legs, []);
    assert!(pair.second.stream("a").await.is_ok());
    pair.first.until_metrics(&["feeds 0"]).await;
    // And is begun anew.
    pair.ask().await;
    let mut reader = pair.reader().await;
    assert_eq!(reader.mark().await, 0);
    pair.drain().await;
}

#[tokio::test]
async fn a_feed_that_nobody_asks_for_any_more_ends() {
    let mut pair = pair(config()).await;
    pair.ask().await;
    pair.first.until("a", |stream| stream.is_some_and(|stream| stream.legs.is_empty())).await;
    pair.drain().await;
}

#[tokio::test]
async fn a_feed_whose_node_is_gone_is_made_anew_when_it_is_asked_for() {
    let mut pair = pair(config()).await;
    pair.ask().await;
    pair.second.stop("a", 0).await.unwrap();
    let broken = async {
        loop {
            // Each is answered by ICMP.
            pair.sender.rtp(pair.source.picture(40));
            tokio::time::sleep(Duration::from_millis(10)).await;
            if pair.first.stream("a").await.unwrap().legs.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), broken).await.expect("it goes on");
    pair.ask().await;
    assert!(pair.second.stream("a").await.is_ok());
    pair.drain().await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_holds_up_no_other_and_there_are_only_so_many() {
    let mut pair = pair(config()).await;
    // It takes connections, and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let grpc_url = format!("http://{}", mute.local_addr().unwrap());
    let template = pair.feed.clone();
    let to_mute = |id: &str| {
        let mut feed = template.clone();
        let node_id = format!("mute-{id}");
        feed.lease.as_mut().unwrap().node_id.clone_from(&node_id);
        let node = feed.feed.as_mut().unwrap();
        (node.node_id, node.grpc_url) = (node_id, grpc_url.clone());
        feed
    };
    // Each is asked for twice, of which one waits for the node, and the other is told so.
    let mut asking = JoinSet::new();
    for n in 0..2 * 64 {
        let (mut control, feed) = (pair.first.control.clone(), to_mute(&(n % 64).to_string()));
        asking.spawn(async move { control.start_stream(feed).await.unwrap_err() });
    }
    for _ in 0..64 {
        let busy = asking.join_next().await.unwrap().unwrap();
        assert_eq!(busy.get_details_error_info().unwrap().reason, "BUSY");
    }
    let beyond = pair.refusal(to_mute("beyond")).await;
    assert_eq!(beyond.get_details_error_info().unwrap().reason, "MAX_FEEDS");
    while let Some(late) = asking.join_next().await {
        assert_eq!(late.unwrap().code(), Code::DeadlineExceeded);
    }
    pair.ask().await;
    pair.drain().await;
}

#[tokio::test]
async fn a_node_gives_no_stream_back_that_it_feeds_others_with() {
    let mut config = config();
    config.publish.idle_leg_timeout = Duration::from_millis(100);
    config.rtsp.describe_wait = Duration::from_secs(60);
    let mut first = Bench::start(config.clone()).await;
    let mut ingest = FakeIngest::start(&first, "ingest-1").await;
    ingest.has("a").await;
    let second = further(&first, config).await;
    let mut reader = first.reader("a").await;
    assert_eq!(reader.ask("DESCRIBE", "", "").await.status, 200);
    assert!(matches!(ingest.next().await, Asked::Start(_)));
    let feed = feed_of(&first).await;
    first.start_stream(feed.clone()).await.unwrap();
    drop(reader);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.start_stream(feed.clone()).await.unwrap();
    }
    assert!(!ingest.is_asked());
    stop_feeding(&mut first).await.unwrap();
    assert!(matches!(ingest.next().await, Asked::Stop(_)));
    second.drain().await;
    first.drain().await;
}

#[tokio::test]
async fn what_cannot_be_fed_is_refused_with_the_reason() {
    let mut pair = pair(config()).await;
    let feed = pair.feed.clone();
    let node = feed.feed.clone().unwrap();
    let lease = feed.lease.clone().unwrap();
    let on_this_node = v1::StartStreamRequest {
        lease: Some(v1::Lease { node_id: "node-1".into(), ..lease.clone() }),
        feed: Some(v1::Node { node_id: "node-1".into(), ..node.clone() }),
        ..feed.clone()
    };
    let no_address = v1::Node { rtp_address: "host.example".into(), ..node.clone() };
    let elsewhere = v1::Lease { node_id: "node-3".into(), ..lease.clone() };
    for (field, request) in [
        ("lease", v1::StartStreamRequest { lease: None, ..feed.clone() }),
        ("lease.node_id", v1::StartStreamRequest { lease: Some(elsewhere), ..feed.clone() }),
        ("feed.node_id", on_this_node),
        ("feed.rtp_address", v1::StartStreamRequest { feed: Some(no_address), ..feed.clone() }),
        (
            "session_description",
            v1::StartStreamRequest { session_description: "v=0".into(), ..feed.clone() },
        ),
    ] {
        let status = pair.refusal(request).await;
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let with_epoch = |epoch| v1::StartStreamRequest {
        lease: Some(v1::Lease { epoch, ..lease.clone() }),
        ..feed.clone()
    };
    let stale = pair.refusal(with_epoch(lease.epoch - 1)).await;
    assert_eq!(stale.get_details_error_info().unwrap().reason, "STALE_EPOCH");
    assert_eq!(pair.refusal(with_epoch(lease.epoch + 1)).await.code(), Code::Unavailable);
    let unknown = v1::StartStreamRequest {
        stream_key: "b".into(),
        lease: Some(v1::Lease { stream_key: "b".into(), ..lease }),
        ..feed.clone()
    };
    assert_eq!(pair.refusal(unknown).await.code(), Code::NotFound);
    // Another program has the port: the ingest is told so, and rejects it.
    let port = feed.lease.as_ref().unwrap().rtp_port as u16;
    let held = std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let status = pair.refusal(feed.clone()).await;
    assert_eq!(status.get_details_error_info().unwrap().reason, "PORT_IN_USE");
    drop(held);
    pair.ask().await;
    pair.drain().await;
}
