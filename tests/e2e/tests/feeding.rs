//! Nodes that feed nodes: a stream that is to be read at more nodes than its ingest sends legs to.

use std::time::{Duration, Instant};

use e2e::{
    clients::{Running, Transport, ffmpeg, rtsp_input},
    clips::{Units, clip},
    control::{leases, streams, until_live, until_nodes},
    encoder::endless,
    eventually,
    follow::read,
    gaps::Watcher,
    process::{Gateway, Setup},
};
use futures_util::future::try_join_all;
use proto::v1::Leg;
use tokio::process::Command;

const KEY: &str = "site/cam1";

/// A node with the registry, two more, and an ingest that sends one leg, to one of them.
struct Chain {
    nodes: Vec<Gateway>,
    ingest: Gateway,
    _publisher: Running,
}

impl Chain {
    async fn start(srtp: &str) -> Self {
        let setup = || Setup::publish().with("hop-srtp", srtp).with("registry-ttl", "2s");
        let first = setup().with("publish-node-id", "n1").start().await;
        let grpc = first.publish_grpc();
        let ingest = Setup::ingest(&grpc).with("hop-srtp", srtp).with("ingest-max-legs", "1");
        let ingest = ingest.start().await;
        let looped = endless(Command::new("ffmpeg"), &clip("small"), &ingest.rtmp_url(KEY));
        let publisher = Running::start(looped);
        until_live(&grpc, KEY).await;
        let mut nodes = vec![first];
        for id in ["n2", "n3"] {
            let node = setup().with("registry-url", &grpc).with("publish-node-id", id);
            nodes.push(node.start().await);
        }
        until_nodes(&grpc, 3).await;
        Self { nodes, ingest, _publisher: publisher }
    }

    /// The legs as the ingest shows them: a node, and who feeds it.
    async fn legs(&self) -> Vec<(String, String)> {
        let streams = streams(&self.ingest.ingest_grpc()).await;
        let legs = streams.into_iter().flat_map(|stream| stream.legs);
        let mut legs: Vec<_> = legs.map(|Leg { node_id, fed_by, .. }| (node_id, fed_by)).collect();
        legs.sort();
        legs
    }
}

fn fed(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(node, by)| ((*node).to_owned(), (*by).to_owned())).collect()
}

#[tokio::test]
async fn beyond_the_legs_of_its_ingest_a_stream_is_read_bit_for_bit_at_nodes_that_nodes_feed() {
    for srtp in ["false", "true"] {
        let chain = Chain::start(srtp).await;
        let published = Units::of_clip(&clip("small"));
        for node in &chain.nodes {
            let began = Instant::now();
            let url = node.rtsp_url(KEY);
            let mut decode = ffmpeg();
            decode.args(rtsp_input(Transport::Tcp, &url)).args(["-t", "1", "-f", "null", "-"]);
            Running::start(decode).silent_success().await;
            println!("a second is played and decoded after {:?}", began.elapsed());
        }
        let readings = chain.nodes.iter().flat_map(|node| {
            [Transport::Tcp, Transport::Udp].map(|transport| (node.rtsp_url(KEY), transport))
        });
        let readings =
            readings.map(async |(url, transport)| read(&url, transport, &published).await);
        try_join_all(readings).await.unwrap();
        // Each feeds one, as the ingest sends one.
        assert_eq!(chain.legs().await, fed(&[("n1", ""), ("n2", "n1"), ("n3", "n2")]));
        let shown = streams(&chain.nodes[0].publish_grpc()).await.remove(0).legs;
        assert_eq!((shown.len(), shown[0].node_id.as_str()), (1, "n2"));
        assert!(shown[0].established && shown[0].packets_sent > 100, "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_fed_nodes_go_on_in_their_sessions_when_their_feeder_is_killed() {
    let mut chain = Chain::start("false").await;
    // The registry goes on: who feeds is a node of its own, where a reader asks first.
    let _first = Watcher::start(&chain.nodes[1].rtsp_url(KEY)).await;
    let watcher = Watcher::start(&chain.nodes[2].rtsp_url(KEY)).await;
    assert_eq!(chain.legs().await, fed(&[("n1", ""), ("n2", "n1"), ("n3", "n2")]));
    let killed = Instant::now();
    chain.nodes[1].kill().await;
    watcher.sees_more().await;
    println!("kill -9 of a feeder: longest gap {:?}", watcher.longest_gap(killed));
    eventually("it is fed by who is left", async || {
        (chain.legs().await == fed(&[("n1", ""), ("n3", "n1")])).then_some(())
    })
    .await;
    let registry = chain.nodes[0].publish_grpc();
    eventually("the dead node has no lease", async || {
        (leases(&registry).await.len() == 2).then_some(())
    })
    .await;
    watcher.sees_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_feeder_drains_who_it_fed_is_sent_to_otherwise() {
    let mut chain = Chain::start("false").await;
    let [n2, n3] = [chain.nodes[1].rtsp_url(KEY), chain.nodes[2].rtsp_url(KEY)];
    let first = Watcher::start(&n2).await;
    let watcher = Watcher::start(&n3).await;
    drop(first);
    let began = Instant::now();
    assert!(chain.nodes[1].terminate().await.success());
    watcher.sees_more().await;
    println!("SIGTERM of a feeder: longest gap {:?}", watcher.longest_gap(began));
    assert_eq!(chain.legs().await, fed(&[("n1", ""), ("n3", "n1")]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    watcher.sees_more().await;
}
