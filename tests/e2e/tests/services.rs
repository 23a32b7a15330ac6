//! ingest-svc and publish-svc as processes of their own: many streams at once, a node that dies, an ingest that dies, a second node.

use std::collections::HashSet;

use e2e::{
    clients::{Publisher, Running, Transport},
    clips::{Units, clip},
    control::{leases, registry, stream_control, streams, until_live},
    eventually,
    follow::read,
    process::{Gateway, Setup},
    reader::Reader,
};
use futures_util::future::{join_all, try_join_all};
use proto::v1::{ListNodesRequest, StopStreamRequest};

/// How many streams at once.
const STREAMS: usize = 20;
/// How long the registry keeps what nobody renews, in these tests.
const TTL: &str = "2s";

/// A node with the registry, and an ingest that finds it by its URL.
async fn two_processes() -> (Gateway, Gateway) {
    let publish = Setup::publish().with("registry-ttl", TTL).with("publish-hold", "1s");
    let publish = publish.start().await;
    let ingest = Setup::ingest(&publish.publish_grpc()).start().await;
    (ingest, publish)
}

fn key(n: usize) -> String {
    format!("site-{}/cam.{n}", n % 3)
}

/// Publishes the clip under all keys, and waits until the node has them all.
async fn publish_all(ingest: &Gateway, publish: &Gateway, clip_name: &str) -> Vec<Running> {
    let clip = clip(clip_name);
    let publishers =
        (0..STREAMS).map(|n| Publisher::Ffmpeg.start(&clip, &ingest.rtmp_url(&key(n)))).collect();
    let grpc = publish.publish_grpc();
    join_all((0..STREAMS).map(|n| {
        let (grpc, key) = (&grpc, key(n));
        async move { until_live(grpc, &key).await }
    }))
    .await;
    publishers
}

#[tokio::test]
async fn twenty_streams_are_read_over_tcp_and_udp_with_nothing_lost_and_all_ports_come_back() {
    let published = Units::of_clip(&clip("small"));
    let (ingest, publish) = two_processes().await;
    let publishers = publish_all(&ingest, &publish, "small").await;

    let urls: Vec<_> = (0..STREAMS).map(|n| publish.rtsp_url(&key(n))).collect();
    let both = [Transport::Tcp, Transport::Udp];
    let published = &published;
    let reads = urls.iter().flat_map(|url| both.map(|transport| read(url, transport, published)));
    let done = try_join_all(reads).await.unwrap();
    assert_eq!(done.len(), 2 * STREAMS);

    let grpc = publish.publish_grpc();
    let on_node = streams(&grpc).await;
    let ports: HashSet<_> = on_node.iter().map(|stream| stream.rtp_port).collect();
    assert_eq!(ports.len(), STREAMS, "each stream has a port of its own");
    assert!(ports.iter().all(|port| port % 2 == 0), "{ports:?}");
    let leased: HashSet<_> = leases(&grpc).await.iter().map(|lease| lease.rtp_port).collect();
    assert_eq!(leased, ports, "the registry knows the ports that are bound");
    for stream in &on_node {
        let counters = stream.counters.unwrap();
        assert_eq!(counters.packets_lost, 0, "{}", stream.stream_key);
        assert_eq!(counters.packets_refused, 0, "{}", stream.stream_key);
    }

    let mut control = stream_control(&ingest.ingest_grpc()).await;
    for n in 0..STREAMS {
        let request = StopStreamRequest { stream_key: key(n), ..Default::default() };
        control.stop_stream(request).await.unwrap();
    }
    eventually("StopStream releases all leases", async || {
        (leases(&grpc).await.is_empty() && streams(&grpc).await.is_empty()).then_some(())
    })
    .await;
    for publisher in publishers {
        assert!(!publisher.output().await.status.success(), "the publisher was disconnected");
    }
    // The ports can be had again by anybody.
    for port in ports {
        std::net::UdpSocket::bind(("0.0.0.0", port as u16)).unwrap();
    }
}

#[tokio::test]
async fn a_killed_ingest_leaves_no_lease_and_no_stream_behind() {
    let (mut ingest, publish) = two_processes().await;
    let _publishers = publish_all(&ingest, &publish, "small").await;
    let grpc = publish.publish_grpc();
    assert_eq!(leases(&grpc).await.len(), STREAMS);
    let mut reader = Reader::play(&publish.rtsp_url(&key(0)), Transport::Tcp).await.unwrap();
    ingest.kill().await;
    eventually("the leases of a dead ingest end", async || {
        (leases(&grpc).await.is_empty() && streams(&grpc).await.is_empty()).then_some(())
    })
    .await;
    // Its readers are told.
    while reader.next().await.unwrap().is_some() {}

    // Another ingest takes the keys over.
    let other = Setup::ingest(&grpc).start().await;
    let _publishers = publish_all(&other, &publish, "small").await;
    assert_eq!(leases(&grpc).await.len(), STREAMS);
}

#[tokio::test]
async fn the_streams_of_a_killed_node_go_to_the_other_and_its_ports_are_free() {
    let (ingest, first) = two_processes().await;
    let grpc = first.publish_grpc();
    let mut second = Setup::publish()
        .with("registry-url", &grpc)
        .with("publish-node-id", "second")
        .start()
        .await;
    let mut nodes = registry(&grpc).await;
    eventually("the second node has joined", async || {
        let listed = nodes.list_nodes(ListNodesRequest {}).await.ok()?.into_inner().nodes;
        (listed.len() == 2).then_some(())
    })
    .await;

    let clip = clip("small");
    let keys = ["a", "b", "c", "d"];
    let _publishers: Vec<_> =
        keys.iter().map(|key| Publisher::Ffmpeg.start(&clip, &ingest.rtmp_url(key))).collect();
    eventually("both nodes have streams", async || {
        let (one, two) = (streams(&grpc).await.len(), streams(&second.publish_grpc()).await.len());
        (one == 2 && two == 2).then_some(())
    })
    .await;
    let published = Units::of_clip(&clip);
    for stream in streams(&second.publish_grpc()).await {
        until_live(&second.publish_grpc(), &stream.stream_key).await;
        read(&second.rtsp_url(&stream.stream_key), Transport::Udp, &published).await.unwrap();
    }

    second.kill().await;
    for key in keys {
        until_live(&grpc, key).await;
    }
    eventually("the dead node and its leases are gone", async || {
        let listed = nodes.list_nodes(ListNodesRequest {}).await.ok()?.into_inner().nodes;
        let leases = leases(&grpc).await;
        (listed.len() == 1 && leases.iter().all(|lease| lease.node_id != "second")).then_some(())
    })
    .await;
    assert_eq!(leases(&grpc).await.len(), keys.len());
    for key in keys {
        read(&first.rtsp_url(key), Transport::Tcp, &published).await.unwrap();
    }
}

#[tokio::test]
async fn live_streams_go_on_while_the_registry_is_gone_and_are_known_again_when_it_is_back() {
    // The registry's node keeps its gRPC port, so that it is found where it was.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let registry = |address: String| {
        Setup::publish().with("publish-grpc-listen", &address).with("registry-ttl", TTL)
    };
    let mut first = registry(port.to_string()).with("publish-node-id", "first").start().await;
    let url = first.publish_grpc();
    let ingest = Setup::ingest(&url).start().await;
    let second = Setup::publish().with("registry-url", &url).with("publish-node-id", "second");
    let second = second.start().await;
    let clip = clip("small");
    let keys = ["a", "b"];
    let _publishers: Vec<_> =
        keys.iter().map(|key| Publisher::Ffmpeg.start(&clip, &ingest.rtmp_url(key))).collect();
    let on_second = eventually("the second node has a stream", async || {
        streams(&second.publish_grpc()).await.into_iter().next()
    })
    .await;
    let key = on_second.stream_key;
    until_live(&second.publish_grpc(), &key).await;

    first.kill().await;
    let published = Units::of_clip(&clip);
    read(&second.rtsp_url(&key), Transport::Tcp, &published).await.unwrap();
    let first = registry(port.to_string()).with("publish-node-id", "first").start().await;
    let lease = eventually("the lease is re-asserted", async || {
        leases(&first.publish_grpc()).await.into_iter().find(|lease| lease.stream_key == key)
    })
    .await;
    assert_eq!((lease.node_id.as_str(), lease.rtp_port), ("second", on_second.rtp_port));
    read(&second.rtsp_url(&key), Transport::Udp, &published).await.unwrap();
    let counters = streams(&second.publish_grpc()).await[0].counters.unwrap();
    assert_eq!(counters.packets_lost, 0);
}
