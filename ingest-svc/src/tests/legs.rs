//! More legs than one: nodes that ask for a stream, and give it back.

use std::net::Ipv4Addr;

use registry::NodeInfo;
use tonic::Code;

use super::*;

/// A stream "a" that is live on "node-1", and a second node, which has been told of nothing yet.
async fn live(config: Config) -> (Bench, FakeNode, FakeNode, TestPublisher) {
    let (bench, mut first) = Bench::with_node(config).await;
    let mut publisher = bench.publish("a").await;
    send_headers(&mut publisher).await;
    send_gop(&mut publisher, 0).await;
    first.next_start().await;
    until_picture(&mut first, 9).await;
    let mut second = FakeNode::start(16).await;
    second.info.id = "node-2".into();
    bench.engine.register_node(second.info.clone()).await.unwrap();
    (bench, first, second, publisher)
}

/// The first picture that the node gets, when it gets the one that is filled with `last`: the byte that fills it.
async fn until_picture(node: &mut FakeNode, last: u8) -> u8 {
    let mut first = None;
    loop {
        let (header, payload) = node.next_rtp().await;
        if header.payload_type != 96 || !header.marker {
            continue;
        }
        let fill = *payload.last().unwrap();
        first.get_or_insert(fill);
        if fill == last {
            return first.unwrap();
        }
    }
}

fn leg_to(node_id: &str) -> v1::StartStreamRequest {
    let (stream_key, node_id) = ("a".to_owned(), node_id.to_owned());
    v1::StartStreamRequest { stream_key, node_id, ..Default::default() }
}

impl Bench {
    async fn add_leg(&mut self, node_id: &str) -> Result<v1::Stream, tonic::Status> {
        let answer = self.control.start_stream(leg_to(node_id)).await?;
        Ok(answer.into_inner().stream.unwrap())
    }

    async fn end_leg(&mut self, node_id: &str) -> Result<v1::Stream, tonic::Status> {
        let (stream_key, node_id) = ("a".to_owned(), node_id.to_owned());
        let request = v1::StopStreamRequest { stream_key, node_id, ..Default::default() };
        Ok(self.control.stop_stream(request).await?.into_inner().stream.unwrap())
    }

    async fn until_one_lease(&self) {
        let gone = async { while self.leases().await > 1 {} };
        tokio::time::timeout(PATIENCE, gone).await.expect("the lease stays");
    }

    async fn nodes_of_legs(&mut self) -> Vec<String> {
        let legs = self.stream("a").await.unwrap().legs;
        legs.into_iter().map(|leg| leg.node_id).collect()
    }
}

#[tokio::test]
async fn a_node_that_asks_gets_the_last_gop_and_all_that_comes_and_gives_it_back() {
    let (mut bench, mut first, mut second, mut publisher) = live(config()).await;
    let stream = bench.add_leg("node-2").await.unwrap();
    assert_eq!(stream.legs.len(), 2);
    assert!(stream.legs.iter().all(|leg| leg.established), "{stream:?}");
    let (request, _) = second.next_start().await;
    let lease = request.lease.unwrap();
    assert_eq!((lease.node_id.as_str(), lease.epoch), ("node-2", stream.epoch));
    assert_eq!(until_picture(&mut second, 9).await, 0, "from the keyframe on");
    publisher.video(400, avc_picture(false, 0, 2000, 77)).await;
    assert_eq!(until_picture(&mut first, 77).await, 77);
    assert_eq!(until_picture(&mut second, 77).await, 77);

    // To ask for what is there changes nothing.
    for node_id in ["node-1", "node-2"] {
        assert_eq!(bench.add_leg(node_id).await.unwrap().legs.len(), 2);
    }
    assert!(second.try_next().is_none_or(|next| !matches!(next, Received::Start(_))));
    let stream = bench.end_leg("node-2").await.unwrap();
    assert_eq!(stream.legs.len(), 1);
    assert_eq!(second.next_stop().await.stream_key, "a");
    assert_eq!(bench.end_leg("node-2").await.unwrap_err().code(), Code::NotFound);
    publisher.video(440, avc_picture(false, 0, 2000, 78)).await;
    assert_eq!(until_picture(&mut first, 78).await, 78);
    assert_eq!(bench.nodes_of_legs().await, ["node-1"]);
    bench.until_one_lease().await;
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn a_leg_is_made_of_a_stream_that_is_there_and_nothing_is_started_by_it() {
    let (mut bench, _node) = Bench::with_node(config()).await;
    assert_eq!(bench.add_leg("node-1").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.stream("a").await.unwrap_err().code(), Code::NotFound);
    let start = v1::StartStreamRequest { stream_key: "a".into(), ..Default::default() };
    bench.control.start_stream(start).await.unwrap();
    // Armed, it has no tracks yet.
    assert_eq!(bench.add_leg("node-1").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(bench.end_leg("node-1").await.unwrap_err().code(), Code::NotFound);
    use tonic_types::StatusExt;
    let url = "rtmp://127.0.0.1:1/live/a".to_owned();
    for (field, request) in [
        ("source_url", v1::StartStreamRequest { source_url: url, ..leg_to("node-1") }),
        ("offline_picture", v1::StartStreamRequest { offline_picture: true, ..leg_to("node-1") }),
    ] {
        let status = bench.control.start_stream(request).await.unwrap_err();
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    bench.drain().await;
}

fn one_leg() -> Config {
    let mut config = config();
    config.ingest.max_legs = 1;
    config
}

#[tokio::test]
async fn a_node_that_nobody_knows_is_refused() {
    let (mut bench, _first, _second, publisher) = live(one_leg()).await;
    assert_eq!(bench.add_leg("nobody").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.nodes_of_legs().await, ["node-1"]);
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn beyond_the_most_legs_a_node_that_has_the_stream_feeds_the_next() {
    let (mut bench, mut first, mut second, publisher) = live(one_leg()).await;
    let stream = bench.add_leg("node-2").await.unwrap();
    let fed_by: Vec<_> = stream.legs.iter().map(|leg| leg.fed_by.as_str()).collect();
    assert_eq!(fed_by, ["", "node-1"]);
    assert!(stream.legs[1].established);
    let request = first.next_feed().await;
    let (lease, node) = (request.lease.unwrap(), request.feed.unwrap());
    assert_eq!((request.stream_key.as_str(), lease.node_id.as_str()), ("a", "node-2"));
    assert_eq!(
        (&*lease.lease_id, lease.epoch),
        (&*stream.legs[1].lease.clone().unwrap().lease_id, stream.epoch)
    );
    assert_eq!(
        (node.node_id, node.grpc_url),
        (second.info.id.clone(), second.info.grpc_url.clone())
    );
    // It is asked to go on.
    assert_eq!(first.next_feed().await.lease, Some(lease));
    assert!(second.try_next().is_none(), "its feeder tells it");

    bench.end_leg("node-2").await.unwrap();
    assert_eq!(second.next_stop().await.node_id, "");
    assert_eq!(first.next_stop().await.node_id, "node-2");
    bench.until_one_lease().await;
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn who_was_fed_is_sent_to_from_here_when_its_feeder_has_lost_its_leg() {
    let (mut bench, mut first, mut second, mut publisher) = live(one_leg()).await;
    bench.add_leg("node-2").await.unwrap();
    first.next_feed().await;
    bench.end_leg("node-1").await.unwrap();
    let (request, _) = second.next_start().await;
    assert_eq!(request.lease.unwrap().node_id, "node-2");
    assert_eq!(until_picture(&mut second, 9).await, 0, "from the keyframe on");
    publisher.video(400, avc_picture(false, 0, 2000, 77)).await;
    until_picture(&mut second, 77).await;
    let legs = bench.stream("a").await.unwrap().legs;
    assert_eq!((legs.len(), &*legs[0].fed_by), (1, ""));
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn a_node_that_says_that_it_leaves_is_told_of_the_stream_again() {
    let (bench, mut first, _second, mut publisher) = live(config()).await;
    let (report, _, from) = first.next_report().await;
    // One's own word that comes back says nothing.
    first.send_rtcp(&media::rtcp::bye(&[report.ssrc], "ingest"), from).await;
    first.send_rtcp(&media::rtcp::bye(&[report.ssrc ^ 1], "node"), from).await;
    let (again, _) = first.next_start().await;
    assert_eq!(again.lease.unwrap().node_id, "node-1");
    publisher.video(400, avc_picture(false, 0, 2000, 77)).await;
    until_picture(&mut first, 77).await;
    assert_eq!(bench.leases().await, 1);
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn while_its_feeder_fails_a_node_keeps_its_lease_and_waits_for_another_way() {
    let (mut bench, mut first, _second, publisher) = live(one_leg()).await;
    first.refuse_starts(4);
    let stream = bench.add_leg("node-2").await.unwrap();
    assert_eq!(stream.legs[1].fed_by, "node-1");
    let fed = first.next_feed().await.lease.unwrap();
    let granted = stream.legs[1].lease.clone().unwrap();
    assert_eq!((fed.lease_id, bench.leases().await), (granted.lease_id, 2));
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn the_last_leg_stays_unless_another_node_can_have_the_stream() {
    let (mut bench, mut first, mut second, mut publisher) = live(config()).await;
    let status = bench.end_leg("node-1").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let draining = NodeInfo { draining: true, ..first.info.clone() };
    bench.engine.register_node(draining).await.unwrap();
    let stream = bench.end_leg("node-1").await.unwrap();
    assert_eq!(stream.legs.len(), 1);
    second.next_start().await;
    assert_eq!(until_picture(&mut second, 9).await, 0);
    assert_eq!(first.next_stop().await.stream_key, "a");
    publisher.video(400, avc_picture(false, 0, 2000, 77)).await;
    until_picture(&mut second, 77).await;
    assert_eq!(bench.nodes_of_legs().await, ["node-2"]);
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn a_leg_that_is_up_takes_the_place_of_the_one_whose_lease_is_lost() {
    let (mut bench, first, mut second, mut publisher) = live(config()).await;
    bench.add_leg("node-2").await.unwrap();
    second.next_start().await;
    // It has other ports now. The registry tells of the lease at the next renewal.
    let NodeInfo { rtp_port_min, rtp_port_max, .. } = first.info;
    let (rtp_port_min, rtp_port_max) = (rtp_port_min + 100, rtp_port_max + 100);
    let moved = NodeInfo { rtp_port_min, rtp_port_max, ..first.info.clone() };
    bench.engine.register_node(moved).await.unwrap();
    bench.until("a", |s| s.is_some_and(|s| s.legs.len() == 1)).await;
    assert_eq!(bench.nodes_of_legs().await, ["node-2"]);
    assert_eq!(bench.stream("a").await.unwrap().problem, "");
    publisher.video(400, avc_picture(false, 0, 2000, 77)).await;
    until_picture(&mut second, 77).await;
    assert!(second.try_next().is_none_or(|next| !matches!(next, Received::Start(_))));
    let status = bench.end_leg("node-2").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "it is the primary one now");
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn where_nodes_call_the_ingest_is_announced_though_nobody_configured_it() {
    let (bench, _node) = Bench::with_node(config()).await;
    let _publisher = bench.publish("a").await;
    let key = StreamKey::parse("a").unwrap();
    let owner = bench.engine.lookup_stream(&key).await.unwrap();
    assert_eq!(owner.owner_grpc_url, format!("http://{}", bench.addresses.grpc));
    assert_eq!(bench.addresses.grpc.ip(), Ipv4Addr::LOCALHOST);
    bench.drain().await;
}
