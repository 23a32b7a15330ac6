//! Several ingests and nodes: any node serves any stream, and none that goes takes a stream with it.

use std::time::{Duration, Instant};

use e2e::{
    clients::{Publisher, Running, Transport, ffmpeg, rtsp_input, run},
    clips::{Units, clip},
    control::{leases, registry, stream_control, streams, until_live},
    eventually,
    follow::{follow_timed, ordered, read},
    process::{Gateway, Setup},
    reader::{Connection, Reader},
};
use futures_util::future::try_join_all;
use proto::v1::{ListNodesRequest, Stream, StreamState};
use tokio::sync::oneshot;

const KEY: &str = "site/cam1";

/// A node with the registry, which has the stream that an ingest publishes there, and a second node.
struct Cluster {
    ingest: Gateway,
    first: Gateway,
    second: Gateway,
    publisher: Running,
}

impl Cluster {
    async fn start(second: Setup) -> Self {
        Self::with(|ingest| ingest, second).await
    }

    async fn with(ingest: impl FnOnce(Setup) -> Setup, second: Setup) -> Self {
        let first = Setup::publish().with("publish-node-id", "first").start().await;
        let ingest = ingest(Setup::ingest(&first.publish_grpc())).start().await;
        let publisher = Publisher::Ffmpeg.start(&clip("small"), &ingest.rtmp_url(KEY));
        until_live(&first.publish_grpc(), KEY).await;
        let second = join(second, "second", &first).await;
        Self { ingest, first, second, publisher }
    }
}

/// A further node of the registry that a node has.
async fn join(setup: Setup, id: &str, first: &Gateway) -> Gateway {
    let grpc = first.publish_grpc();
    let node = setup.with("registry-url", &grpc).with("publish-node-id", id).start().await;
    let mut nodes = registry(&grpc).await;
    eventually("the node has joined", async || {
        let listed = nodes.list_nodes(ListNodesRequest {}).await.ok()?.into_inner().nodes;
        listed.iter().any(|node| node.node_id == id).then_some(())
    })
    .await;
    node
}

/// The status of DESCRIBE, and how long it took.
async fn describe(url: &str) -> (u16, Duration) {
    let began = Instant::now();
    let mut connection = Connection::open(url).await.unwrap();
    let answer = connection.request("DESCRIBE", url, "Accept: application/sdp\r\n").await.unwrap();
    (answer.status, began.elapsed())
}

/// Readers that stay in their sessions, until they are told to stop.
struct Followers(Vec<(oneshot::Sender<()>, tokio::task::JoinHandle<Followed>)>);

type Followed = ([Vec<e2e::reader::AccessUnit>; 2], Duration);

impl Followers {
    async fn start(nodes: &[&Gateway]) -> Self {
        let mut followers = Vec::new();
        for node in nodes {
            for transport in [Transport::Tcp, Transport::Udp] {
                let (stop, stopped) = oneshot::channel();
                let follow = follow_timed(node.rtsp_url(KEY), transport, stopped);
                followers.push((stop, tokio::spawn(follow)));
            }
        }
        for node in nodes {
            eventually("the readers play", async || {
                let stream = stream_at(&node.publish_grpc()).await?;
                (stream.readers.len() == 2).then_some(())
            })
            .await;
        }
        Self(followers)
    }

    /// Ends them: nothing was lost or ran back, in one session each. The longest time for which nothing came.
    async fn stop(self) -> Duration {
        let mut longest = Duration::ZERO;
        for (stop, follower) in self.0 {
            stop.send(()).expect("its session has ended");
            let ([video, audio], gap) = follower.await.unwrap();
            assert!(video.len() > 50 && ordered(&video, 3 * 3600), "pictures run back");
            assert!(ordered(&audio, 0), "sound runs back");
            longest = longest.max(gap);
        }
        longest
    }
}

async fn stream_at(grpc: &str) -> Option<Stream> {
    streams(grpc).await.into_iter().find(|stream| stream.stream_key == KEY)
}

/// Waits until more pictures have come to a node than have come now.
async fn goes_on(node: &Gateway) {
    let grpc = node.publish_grpc();
    let pictures = async || {
        let stream = stream_at(&grpc).await?;
        Some(stream.counters.unwrap().video_access_units)
    };
    let before = pictures().await.expect("the stream");
    eventually("media flows", async || (pictures().await? > before + 25).then_some(())).await;
}

#[tokio::test]
async fn a_node_without_the_stream_plays_it_bit_for_bit_and_gives_it_back() {
    let cluster = Cluster::start(Setup::publish().with("publish-idle-leg-timeout", "1s")).await;
    let Cluster { first, second, ingest, .. } = &cluster;
    let (grpc, url, own) = (first.publish_grpc(), second.rtsp_url(KEY), first.rtsp_url(KEY));
    let published = Units::of_clip(&clip("small"));
    let (status, took) = describe(&url).await;
    assert_eq!(status, 200);
    println!("DESCRIBE at a node that has to ask for the stream: {took:?}");
    assert_eq!(leases(&grpc).await.len(), 2);
    let port = stream_at(&second.publish_grpc()).await.unwrap().rtp_port;
    assert_eq!(stream_at(&ingest.ingest_grpc()).await.unwrap().legs.len(), 2);
    for transport in [Transport::Tcp, Transport::Udp] {
        let both = [read(&url, transport, &published), read(&own, transport, &published)];
        try_join_all(both).await.unwrap();
    }

    let (status, took) = describe(&second.rtsp_url("nobody/has/it")).await;
    assert_eq!(status, 404);
    println!("DESCRIBE of a key that nobody has: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");

    eventually("the leg is given back", async || (leases(&grpc).await.len() == 1).then_some(()))
        .await;
    eventually("its node has no stream", async || {
        streams(&second.publish_grpc()).await.is_empty().then_some(())
    })
    .await;
    std::net::UdpSocket::bind(("0.0.0.0", port as u16)).expect("the port is free");
    // The other one is the stream's own, and stays though nobody reads it.
    goes_on(first).await;
    assert_eq!(stream_at(&ingest.ingest_grpc()).await.unwrap().legs.len(), 1);
    read(&url, Transport::Tcp, &published).await.unwrap();
}

#[tokio::test]
async fn a_stream_whose_ingest_is_gone_is_503_within_the_budget() {
    let mut cluster = Cluster::start(Setup::publish()).await;
    cluster.ingest.kill().await;
    let (status, took) = describe(&cluster.second.rtsp_url(KEY)).await;
    assert_eq!(status, 503);
    println!("DESCRIBE of a stream whose ingest is gone: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn players_follow_a_redirect_to_the_node_that_has_the_stream() {
    let cluster = Cluster::start(Setup::publish().with("rtsp-redirect", "true")).await;
    let url = cluster.second.rtsp_url(KEY);
    let mut connection = Connection::open(&url).await.unwrap();
    let answer = connection.request("DESCRIBE", &format!("{url}?token=x"), "").await.unwrap();
    let location = format!("{}?token=x", cluster.first.rtsp_url(KEY));
    assert_eq!((answer.status, answer.header("Location")), (302, Some(location.as_str())));
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut command = ffmpeg();
        command.args(rtsp_input(transport, &url)).args(["-t", "1", "-f", "null", "-"]);
        run(command).await;
    }
    assert!(streams(&cluster.second.publish_grpc()).await.is_empty());
}

#[tokio::test]
async fn when_an_ingest_is_killed_its_publisher_comes_back_to_another_under_the_same_sessions() {
    let mut cluster = Cluster::start(Setup::publish()).await;
    let other = Setup::ingest(&cluster.first.publish_grpc()).start().await;
    let followers = Followers::start(&[&cluster.first, &cluster.second]).await;
    goes_on(&cluster.second).await;
    let killed = Instant::now();
    cluster.ingest.kill().await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &other.rtmp_url(KEY));
    eventually("the other ingest has the stream", async || {
        let stream = stream_at(&other.ingest_grpc()).await?;
        (stream.state() == StreamState::Live && stream.legs.len() == 2).then_some(())
    })
    .await;
    println!("from the kill to legs to both nodes: {:?}", killed.elapsed());
    for node in [&cluster.first, &cluster.second] {
        goes_on(node).await;
    }
    let gap = followers.stop().await;
    println!("kill -9 of an ingest: nothing came for {gap:?}");
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}

#[tokio::test]
async fn when_an_ingest_drains_its_publisher_is_waited_for_and_comes_back_under_the_same_sessions()
{
    let graceful = |ingest: Setup| ingest.with("ingest-drain-grace", "2s");
    let mut cluster = Cluster::with(graceful, Setup::publish()).await;
    let other = Setup::ingest(&cluster.first.publish_grpc()).start().await;
    let followers = Followers::start(&[&cluster.first, &cluster.second]).await;
    goes_on(&cluster.second).await;
    let began = Instant::now();
    assert!(cluster.ingest.terminate().await.success());
    println!("SIGTERM of an ingest with a publisher that cannot reconnect: {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(2), "it was not waited for");
    eventually("the publisher is told", async || (!cluster.publisher.runs()).then_some(())).await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &other.rtmp_url(KEY));
    eventually("the other ingest has the stream", async || {
        let stream = stream_at(&other.ingest_grpc()).await?;
        (stream.legs.len() == 2).then_some(())
    })
    .await;
    for node in [&cluster.first, &cluster.second] {
        goes_on(node).await;
    }
    let gap = followers.stop().await;
    println!("drain of an ingest: nothing came for {gap:?}");
    assert!(gap < Duration::from_secs(4), "{gap:?}");
}

#[tokio::test]
async fn when_a_node_drains_its_streams_are_on_another_before_its_readers_are_let_go() {
    // The last by id, so that the stream goes to the other one.
    let first = Setup::publish().with("publish-node-id", "z").start().await;
    let grpc = first.publish_grpc();
    let setup = Setup::publish().with("publish-drain-grace", "4s");
    let mut draining = join(setup, "a", &first).await;
    let ingest = Setup::ingest(&grpc).start().await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &ingest.rtmp_url(KEY));
    until_live(&draining.publish_grpc(), KEY).await;
    let mut reader = Reader::play(&draining.rtsp_url(KEY), Transport::Tcp).await.unwrap();
    let url = first.rtsp_url(KEY);
    let let_go = tokio::spawn(async move {
        while reader.next().await.unwrap().is_some() {}
        // It is read again at once from whatever node there is.
        let began = Instant::now();
        let mut reader = Reader::play(&url, Transport::Tcp).await.unwrap();
        reader.next().await.unwrap().expect("a packet");
        began.elapsed()
    });
    assert!(draining.terminate().await.success());
    let gap = let_go.await.unwrap();
    println!("drain of a node: its reader plays again after {gap:?}");
    assert!(gap < Duration::from_secs(2), "{gap:?}");
    let legs = stream_at(&ingest.ingest_grpc()).await.unwrap().legs;
    assert_eq!(legs.iter().map(|leg| leg.node_id.as_str()).collect::<Vec<_>>(), ["z"]);
    let left = leases(&grpc).await;
    assert_eq!(left.iter().map(|lease| lease.node_id.as_str()).collect::<Vec<_>>(), ["z"]);
    let published = Units::of_clip(&clip("small"));
    read(&first.rtsp_url(KEY), Transport::Udp, &published).await.unwrap();
    let mut control = stream_control(&ingest.ingest_grpc()).await;
    let request = proto::v1::GetStreamRequest { stream_key: KEY.into() };
    let stream = control.get_stream(request).await.unwrap().into_inner().stream.unwrap();
    assert_eq!((stream.state(), stream.problem.as_str()), (StreamState::Live, ""));
}
