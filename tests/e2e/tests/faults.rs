//! What a fault does to who watches: etcd, its leader, the registry, or the way to it goes and comes back. Each says the longest time
//! that a reader went without a picture; that it goes on in its session, with no packet lost, is held to.

use std::time::{Duration, Instant};

use e2e::{
    clients::Running,
    clips::clip,
    control::{answered_leases, leases, registry, streams, until_live, until_nodes},
    encoder, eventually,
    gaps::Watcher,
    hosts::Hosts,
    process::{Gateway, Setup},
};
use proto::v1::{AllocatePortRequest, Lease, ReleasePortRequest};
use test_etcd::Etcd;
use tokio::process::Command;
use tonic::Code;

/// How long the registry keeps what nobody renews, in these tests.
const TTL: Duration = Duration::from_secs(2);

/// The clip again and again, as an encoder would go on.
fn endless(ffmpeg: Command, url: &str) -> Running {
    Running::start(encoder::endless(ffmpeg, &clip("small"), url))
}

fn publish_here(url: &str) -> Running {
    endless(Command::new("ffmpeg"), url)
}

fn node(id: &str) -> Setup {
    Setup::publish().with("registry-ttl", "2s").with("publish-node-id", id)
}

async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The node that has a live stream.
async fn node_of<'a>(nodes: &[&'a Gateway], key: &str) -> &'a Gateway {
    let found = eventually(&format!("a node has {key}"), async || {
        for node in nodes {
            if streams(&node.publish_grpc()).await.iter().any(|stream| stream.stream_key == key) {
                return Some(*node);
            }
        }
        None
    })
    .await;
    until_live(&found.publish_grpc(), key).await;
    found
}

async fn lease_of(url: &str, key: &str) -> Lease {
    eventually(&format!("{key} has a lease"), async || {
        answered_leases(url).await.ok()?.into_iter().find(|lease| lease.stream_key == key)
    })
    .await
}

/// Whether a claim is refused as it is to be without a registry, and how soon.
async fn refused_as_unavailable(url: &str) -> Duration {
    let asked = Instant::now();
    let request = AllocatePortRequest {
        stream_key: "other".into(),
        owner_id: "nobody".into(),
        ..AllocatePortRequest::default()
    };
    let refused = registry(url).await.allocate_port(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    asked.elapsed()
}

/// Two nodes and an ingest over three members of etcd.
struct Cluster {
    etcd: Etcd,
    nodes: [Gateway; 2],
    ingest: Gateway,
}

impl Cluster {
    async fn start() -> Self {
        let etcd = tokio::task::spawn_blocking(|| Etcd::with(3, "http", &[])).await.unwrap();
        let endpoints = etcd.endpoints().join(",");
        let with_etcd = |id| node(id).with("etcd-endpoints", &endpoints).start();
        let nodes = [with_etcd("n1").await, with_etcd("n2").await];
        let urls = nodes.iter().map(Gateway::publish_grpc).collect::<Vec<_>>().join(",");
        let ingest = Setup::ingest(&urls).start().await;
        for node in &nodes {
            until_nodes(&node.publish_grpc(), 2).await;
        }
        Self { etcd, nodes, ingest }
    }

    fn registry(&self) -> String {
        self.nodes[0].publish_grpc()
    }

    /// A stream can be started and read, and leaves nothing behind; a while later where etcd has yet to find its leader.
    async fn takes_another(&self, key: &str) {
        let publisher = eventually(&format!("{key} can be published"), async || {
            let publisher = publish_here(&self.ingest.rtmp_url(key));
            wait(Duration::from_secs(1)).await;
            let all = answered_leases(&self.registry()).await.ok()?;
            all.iter().any(|lease| lease.stream_key == key).then_some(publisher)
        })
        .await;
        let node = node_of(&[&self.nodes[0], &self.nodes[1]], key).await;
        Watcher::start(&node.rtsp_url(key)).await;
        drop(publisher);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_streams_feel_no_fault_of_etcd() {
    let mut cluster = Cluster::start().await;
    let _publisher = publish_here(&cluster.ingest.rtmp_url("live"));
    let node = node_of(&[&cluster.nodes[0], &cluster.nodes[1]], "live").await;
    let watcher = Watcher::start(&node.rtsp_url("live")).await;
    let registry = cluster.registry();
    let lease = lease_of(&registry, "live").await;

    let began = Instant::now();
    let leader = cluster.etcd.leader();
    cluster.etcd.members[leader].kill();
    wait(TTL * 2).await;
    cluster.takes_another("after-the-leader").await;
    println!("kill -9 of the leader: longest gap {:?}", watcher.longest_gap(began));
    cluster.etcd.members[leader].start();

    let began = Instant::now();
    let leader = cluster.etcd.leader();
    cluster.etcd.members[leader].stop();
    wait(TTL * 3).await;
    cluster.etcd.members[leader].resume();
    cluster.takes_another("after-the-stop").await;
    println!("SIGSTOP of the leader: longest gap {:?}", watcher.longest_gap(began));

    let began = Instant::now();
    for member in &mut cluster.etcd.members[..2] {
        member.kill();
    }
    wait(TTL).await;
    let refusals =
        [refused_as_unavailable(&registry).await, refused_as_unavailable(&registry).await];
    println!("two of three gone: claims refused after {refusals:?}");
    wait(TTL * 2).await;
    for member in &mut cluster.etcd.members[..2] {
        member.start();
    }
    watcher.sees_more().await;
    cluster.takes_another("after-the-quorum").await;
    println!("kill -9 of two of three: longest gap {:?}", watcher.longest_gap(began));

    let after = lease_of(&registry, "live").await;
    assert_eq!((after.rtp_port, after.epoch), (lease.rtp_port, lease.epoch), "it is the same leg");
    drop((watcher, _publisher));
    eventually("no lease is left", async || {
        answered_leases(&registry).await.ok()?.is_empty().then_some(())
    })
    .await;
}

/// The node serves the registry too, as each does here: the others need it for neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_nodes_stream_is_readable_on_another_and_its_ports_come_back() {
    let mut cluster = Cluster::start().await;
    let _publisher = publish_here(&cluster.ingest.rtmp_url("live"));
    let node = node_of(&[&cluster.nodes[0], &cluster.nodes[1]], "live").await;
    let dead = usize::from(node.publish_grpc() == cluster.nodes[1].publish_grpc());
    let lease = lease_of(&cluster.registry(), "live").await;
    let other = 1 - dead;
    let began = Instant::now();
    cluster.nodes[dead].kill().await;
    let url = cluster.nodes[other].rtsp_url("live");
    let first = eventually("the other node plays it", async || {
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-rtsp_transport", "tcp", &url]);
        probe.output().await.ok()?.status.success().then(|| began.elapsed())
    })
    .await;
    println!("kill -9 of a node: ffprobe has read its stream on the other after {first:?}");
    let watcher = Watcher::start(&url).await;
    let registry = cluster.nodes[other].publish_grpc();
    eventually("the dead node's lease is gone", async || {
        let all = leases(&registry).await;
        all.iter().all(|there| there.node_id != lease.node_id).then_some(())
    })
    .await;
    watcher.sees_more().await;
    let after = lease_of(&registry, "live").await;
    assert!(after.epoch >= lease.epoch);
}

/// Its publisher is an encoder that gives up on it and goes to another; what it still holds when it goes on is of an old epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_ingest_that_stands_still_nothing_is_taken_any_more_when_it_goes_on() {
    let cluster = Cluster::start().await;
    let urls = cluster.nodes.iter().map(Gateway::publish_grpc).collect::<Vec<_>>().join(",");
    let other = Setup::ingest(&urls).start().await;
    let old_publisher = publish_here(&cluster.ingest.rtmp_url("live"));
    let node = node_of(&[&cluster.nodes[0], &cluster.nodes[1]], "live").await;
    let registry = cluster.registry();
    let old = lease_of(&registry, "live").await;
    let watcher = Watcher::start(&node.rtsp_url("live")).await;
    let began = Instant::now();
    cluster.ingest.stand_still().await;
    let mut publisher = publish_here(&other.rtmp_url("live"));
    let new = eventually("the other ingest has the stream", async || {
        if publisher.has_ended() {
            // It was refused, as long as the first one might have been alive.
            publisher = publish_here(&other.rtmp_url("live"));
        }
        leases(&registry).await.into_iter().find(|lease| lease.epoch > old.epoch)
    })
    .await;
    assert_ne!(new.owner_id, old.owner_id);
    watcher.sees_more().await;
    println!("SIGSTOP of an ingest: longest gap {:?}", watcher.longest_gap(began));
    let went_on = Instant::now();
    cluster.ingest.go_on().await;
    wait(TTL * 3).await;
    watcher.sees_more().await;
    println!("SIGCONT of it: longest gap {:?}", watcher.longest_gap(went_on));
    let after = lease_of(&registry, "live").await;
    assert_eq!((after.lease_id, after.epoch), (new.lease_id, new.epoch));
    // Its own publisher has been sent away, so that it would find its way to the other.
    drop(old_publisher);
}

/// Each at a registry of its own, which share one etcd.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_ingests_that_claim_one_key_at_once_one_gets_it_a_thousand_times() {
    const TIMES: usize = 1000;
    let cluster = Cluster::start().await;
    let mut registries = [
        registry(&cluster.nodes[0].publish_grpc()).await,
        registry(&cluster.nodes[1].publish_grpc()).await,
    ];
    let claim = |owner: &str| AllocatePortRequest {
        stream_key: "contested".into(),
        owner_id: owner.into(),
        ..AllocatePortRequest::default()
    };
    let (mut last_epoch, mut won_by_first) = (0, 0);
    for _ in 0..TIMES {
        let [first, second] = &mut registries;
        let (one, other) =
            tokio::join!(first.allocate_port(claim("i1")), second.allocate_port(claim("i2")));
        won_by_first += usize::from(one.is_ok());
        let (Ok(granted), Err(refused)) = (if one.is_ok() { (one, other) } else { (other, one) })
        else {
            panic!("not one of two got it");
        };
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        let lease = granted.into_inner().lease.unwrap();
        assert!(lease.epoch > last_epoch, "{} after {last_epoch}", lease.epoch);
        last_epoch = lease.epoch;
        let release = ReleasePortRequest { lease_id: lease.lease_id };
        registries[won_by_first % 2].release_port(release).await.unwrap();
    }
    println!("of {TIMES} claims the first ingest got {won_by_first}");
    assert_eq!(leases(&cluster.registry()).await, []);
}

#[tokio::test]
async fn live_streams_feel_no_registry_that_stands_still() {
    let first = node("first").start().await;
    let url = first.publish_grpc();
    let second = Setup::publish().with("registry-url", &url).with("publish-node-id", "second");
    let second = second.start().await;
    let ingest = Setup::ingest(&url).start().await;
    // Of two streams one is on each node.
    let _publishers = ["a", "b"].map(|key| publish_here(&ingest.rtmp_url(key)));
    let key = eventually("the second node has a stream", async || {
        streams(&second.publish_grpc()).await.into_iter().next().map(|stream| stream.stream_key)
    })
    .await;
    until_live(&second.publish_grpc(), &key).await;
    let lease = lease_of(&url, &key).await;
    let watcher = Watcher::start(&second.rtsp_url(&key)).await;
    let began = Instant::now();
    first.stand_still().await;
    // All that it knows has expired when it goes on.
    wait(TTL * 4).await;
    first.go_on().await;
    eventually("the lease is there again", async || {
        let all = leases(&url).await;
        all.into_iter().find(|there| there.lease_id == lease.lease_id)
    })
    .await;
    // Longer than the node waits for a lease to be put back.
    wait(TTL * 3).await;
    watcher.sees_more().await;
    println!("SIGSTOP of the registry: longest gap {:?}", watcher.longest_gap(began));
    assert_eq!(lease_of(&url, &key).await.rtp_port, lease.rtp_port);
}

#[tokio::test]
async fn partitions_between_the_parts_end_no_session() {
    // The registry and a node, another node, an ingest with its publisher, a reader.
    const REGISTRY: usize = 0;
    const NODE: usize = 1;
    const INGEST: usize = 2;
    const READER: usize = 3;
    // A node reports to ingest every 2 s, by which ingest knows that it is there when the registry does not: less than that is not enough.
    const TTL: Duration = Duration::from_secs(3);
    let hosts = Hosts::new(4).await;
    let first = Setup::publish()
        .with("registry-ttl", "3s")
        .with("publish-node-id", "first")
        .with("publish-rtp-address", &Hosts::address(REGISTRY))
        .in_namespace(hosts.name(REGISTRY), &Hosts::address(REGISTRY))
        .start()
        .await;
    let url = first.publish_grpc();
    let second = Setup::publish()
        .with("registry-url", &url)
        .with("publish-node-id", "second")
        .in_namespace(hosts.name(NODE), &Hosts::address(NODE))
        .start()
        .await;
    let ingest =
        Setup::ingest(&url).in_namespace(hosts.name(INGEST), &Hosts::address(INGEST)).start().await;
    let _publishers =
        ["a", "b"].map(|key| endless(hosts.on(INGEST, "ffmpeg"), &ingest.rtmp_url(key)));
    let key = eventually("the second node serves a stream", async || {
        for key in ["a", "b"] {
            let mut probe = hosts.on(READER, "ffprobe");
            probe.args(["-v", "error", "-rtsp_transport", "tcp", &second.rtsp_url(key)]);
            if probe.output().await.ok()?.status.success() {
                return Some(key);
            }
        }
        None
    })
    .await;
    let watcher = Watcher::ffmpeg(hosts.on(READER, "ffmpeg"), &second.rtsp_url(key)).await;

    for (what, one, other) in [("the node", NODE, REGISTRY), ("ingest", INGEST, REGISTRY)] {
        let began = Instant::now();
        hosts.cut(one, other).await;
        wait(TTL * 4).await;
        watcher.sees_more().await;
        println!("{what} without the registry: longest gap {:?}", watcher.longest_gap(began));
        hosts.heal(one, other).await;
        wait(TTL * 3).await;
        watcher.sees_more().await;
        println!("{what} with it again: longest gap {:?}", watcher.longest_gap(began));
    }

    let began = Instant::now();
    hosts.cut(INGEST, NODE).await;
    wait(Duration::from_secs(3)).await;
    hosts.heal(INGEST, NODE).await;
    watcher.sees_more().await;
    println!("ingest without the node for 3 s: longest gap {:?}", watcher.longest_gap(began));
}

#[tokio::test]
async fn a_node_that_is_back_after_its_ttl_has_nothing_of_what_was_made_elsewhere_meanwhile() {
    let first = node("first").start().await;
    let url = first.publish_grpc();
    let ingest = Setup::ingest(&url).start().await;
    let second = Setup::publish().with("registry-url", &url).with("publish-node-id", "second");
    let second = second.start().await;
    let _publishers = ["a", "b"].map(|key| publish_here(&ingest.rtmp_url(key)));
    let key = eventually("the second node has a stream", async || {
        streams(&second.publish_grpc()).await.into_iter().next().map(|stream| stream.stream_key)
    })
    .await;
    until_live(&second.publish_grpc(), &key).await;
    let old = lease_of(&url, &key).await;
    let began = Instant::now();
    second.stand_still().await;
    until_live(&first.publish_grpc(), &key).await;
    println!("SIGSTOP of a node: its stream is on another after {:?}", began.elapsed());
    let watcher = Watcher::start(&first.rtsp_url(&key)).await;
    second.go_on().await;
    eventually("the node that was away ends its stream", async || {
        streams(&second.publish_grpc()).await.is_empty().then_some(())
    })
    .await;
    watcher.sees_more().await;
    let all = leases(&url).await;
    let of_key: Vec<_> = all.iter().filter(|lease| lease.stream_key == key).collect();
    assert_eq!(of_key.len(), 1, "{all:?}");
    assert_eq!(of_key[0].node_id, "first");
    assert!(of_key[0].epoch >= old.epoch);
    // The old port is free again.
    std::net::UdpSocket::bind(("127.0.0.1", u16::try_from(old.rtp_port).unwrap())).unwrap();
}
