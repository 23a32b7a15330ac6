//! Pulls over pipes in memory, in paused time. The test is the remote server and the stream.

use std::{net::SocketAddr, time::Duration};

use async_trait::async_trait;
use media::{StreamKey, rtmp::MediaMessageKind};
use svc_core::metrics::Metrics;
use tokio::{io::DuplexStream, sync::watch, task::JoinHandle, time::timeout};

use super::{connect::Socket, *};
use crate::{
    rtmp::PublisherGone,
    testing::{PPS, SPS, TestRemote, avc_header, avc_picture},
};

const SOURCE: &str = "rtmp://me:hush@host/live/cam1?token=s3cret";
/// Longer than any wait of a pull.
const LONG: Duration = Duration::from_secs(3600);

/// Connections that the test makes, or the reasons why there is none.
struct Script(tokio::sync::Mutex<mpsc::Receiver<Result<DuplexStream, Failure>>>);

#[async_trait]
impl Connect for Script {
    async fn connect(
        &self,
        url: &RtmpUrl,
        _within: Duration,
    ) -> Result<(Box<dyn Socket>, SocketAddr), Failure> {
        assert_eq!((url.host(), url.port()), ("host", 1935));
        match self.0.lock().await.recv().await {
            Some(Ok(socket)) => Ok((Box::new(socket), ([192, 0, 2, 1], 1935).into())),
            Some(Err(failure)) => Err(failure),
            None => std::future::pending().await,
        }
    }
}

/// A pull, the stream that it is of, and who connects.
struct Bench {
    connections: mpsc::Sender<Result<DuplexStream, Failure>>,
    commands: mpsc::Receiver<Command>,
    status: Arc<StreamStatus>,
    changes: watch::Receiver<u64>,
    metrics: Instruments,
    draining: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    fn start() -> Self {
        Self::with(Instruments::default())
    }

    fn with(metrics: Instruments) -> Self {
        let changed = Arc::new(watch::Sender::new(0));
        let changes = changed.subscribe();
        let status = Arc::new(StreamStatus::new(StreamKey::parse("a").unwrap(), 1, changed));
        let (connections, script) = mpsc::channel(1);
        let (sender, commands) = mpsc::channel(4);
        let draining = CancellationToken::new();
        let pull = Pull {
            context: PullContext { rtmp: Arc::default(), connect: Arc::new(Script(script.into())) },
            source: Arc::new(RtmpUrl::parse(SOURCE).unwrap()),
            status: status.clone(),
            commands: sender,
            metrics: metrics.clone(),
            draining: draining.clone(),
        };
        pull.begin();
        let task = tokio::spawn(pull.run());
        Self { connections, commands, status, changes, metrics, draining, task }
    }

    fn shown(&self) -> v1::Pull {
        self.status.to_proto().pull.unwrap()
    }

    /// Waits for a state.
    async fn until(&mut self, wanted: impl Fn(&v1::Pull) -> bool) -> v1::Pull {
        let seen = async {
            loop {
                self.changes.borrow_and_update();
                let pull = self.status.to_proto().pull.unwrap();
                if wanted(&pull) {
                    return pull;
                }
                self.changes.changed().await.unwrap();
            }
        };
        timeout(LONG, seen).await.expect("it never was as wanted")
    }

    /// Lets the next attempt fail; how long is waited for it, and what is shown then.
    async fn fail(&mut self, failure: Failure) -> (Duration, v1::Pull) {
        let before = Instant::now();
        self.connections.send(Err(failure)).await.unwrap();
        let failures = self.shown().attempts;
        let shown = self.until(|pull| pull.attempts == failures + 1).await;
        (before.elapsed(), shown)
    }

    /// Lets the next attempt come to a server, which is asked to play.
    async fn connect(&mut self) -> TestRemote<DuplexStream> {
        self.until(|pull| pull.state() == PullState::Connecting).await;
        let (near, far) = tokio::io::duplex(64 << 10);
        self.connections.send(Ok(near)).await.unwrap();
        TestRemote::accept(far).await
    }

    /// The publisher that the stream is offered.
    async fn offered(&mut self) -> Publisher {
        match timeout(LONG, self.commands.recv()).await.expect("nothing is offered") {
            Some(Command::Publish(publisher, _)) => publisher,
            _ => panic!("no publisher"),
        }
    }

    /// A remote that plays, as the stream's publisher.
    async fn playing(&mut self) -> (TestRemote<DuplexStream>, Publisher) {
        let mut remote = self.connect().await;
        remote.play().await;
        remote.video(0, avc_header(SPS, PPS)).await;
        let mut publisher = self.offered().await;
        publisher.accept();
        self.until(|pull| pull.state() == PullState::Playing).await;
        (remote, publisher)
    }
}

fn refused() -> Failure {
    Failure::Connect("192.0.2.1:1935: refused".to_owned())
}

#[tokio::test(start_paused = true)]
async fn it_plays_what_is_asked_for_as_the_streams_publisher() {
    let mut bench = Bench::start();
    assert_eq!(bench.shown().state(), PullState::Connecting);
    let mut remote = bench.connect().await;
    assert_eq!(remote.asked, ("live".to_owned(), "cam1?token=s3cret".to_owned()));
    remote.play().await;
    remote.video(0, avc_header(SPS, PPS)).await;
    remote.video(40, avc_picture(true, 0, 20_000, 1)).await;
    let mut publisher = bench.offered().await;
    assert_eq!(bench.shown().state(), PullState::Connecting, "not before it is let in");
    assert_eq!(
        (publisher.app(), publisher.peer().to_string().as_str()),
        ("live", "192.0.2.1:1935")
    );
    publisher.accept();
    let mut batch = Vec::new();
    while batch.len() < 2 {
        publisher.receive(&mut batch).await.unwrap();
    }
    assert_eq!(batch.iter().map(|m| m.timestamp_ms).collect::<Vec<_>>(), [0, 40]);
    assert!(batch.iter().all(|message| message.kind == MediaMessageKind::Video));
    assert_eq!(batch[0].payload, avc_header(SPS, PPS));
    assert!(publisher.bytes_received() > 20_000);
    let shown = bench.until(|pull| pull.state() == PullState::Playing).await;
    assert_eq!((shown.attempts, shown.last_error.as_str()), (0, ""));
    assert_eq!(bench.metrics.pulls_playing.get(), 1);
    // What the stream does not want any more it says so to.
    let ended = tokio::join!(publisher.end("over"), remote.ended()).1;
    assert!(ended, "deleteStream");
    let shown = bench.until(|pull| pull.state() == PullState::BackingOff).await;
    assert_eq!(shown.last_error, "not taken: over");
    assert_eq!(bench.metrics.pulls_playing.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn waits_grow_while_it_fails_and_are_shown() {
    let mut bench = Bench::start();
    let (waited, shown) = bench.fail(refused()).await;
    assert_eq!((waited, shown.state()), (Duration::ZERO, PullState::BackingOff));
    assert_eq!(shown.last_error, "no connection: 192.0.2.1:1935: refused");
    assert!(shown.next_attempt_at.is_some());
    for (n, longest) in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0].into_iter().enumerate() {
        let (waited, shown) = bench.fail(refused()).await;
        let waited = waited.as_secs_f64();
        // Timers have milliseconds.
        assert!(waited >= longest / 2.0 && waited <= longest + 0.002, "{n}: {waited}");
        assert_eq!(shown.attempts, n as u32 + 2);
    }
    bench.until(|pull| pull.state() == PullState::Connecting).await;
    let shown = bench.shown();
    assert_eq!((shown.attempts, shown.next_attempt_at), (10, None));
    assert!(!shown.last_error.is_empty(), "it is still the last one");
    assert_eq!(bench.metrics.pull_attempts.get(), 11);
}

#[tokio::test(start_paused = true)]
async fn failures_are_forgotten_after_a_minute_of_play_and_not_before() {
    let mut bench = Bench::start();
    for _ in 0..5 {
        bench.fail(refused()).await;
    }
    let (remote, publisher) = bench.playing().await;
    assert_eq!(bench.shown().attempts, 5);
    drop((remote, publisher));
    assert_eq!(bench.until(|pull| pull.state() == PullState::BackingOff).await.attempts, 6);

    let (_remote, publisher) = bench.playing().await;
    let began = Instant::now();
    let shown = bench.until(|pull| pull.attempts == 0).await;
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!((shown.state(), shown.last_error.as_str()), (PullState::Playing, ""));
    drop(publisher);
    let shown = bench.until(|pull| pull.state() == PullState::BackingOff).await;
    assert_eq!(shown.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_of_the_remotes_is_told_to_the_stream_and_shown() {
    let mut bench = Bench::start();
    let (mut remote, mut publisher) = bench.playing().await;
    remote.video(40, avc_picture(true, 0, 100, 1)).await;
    remote.finish().await;
    let mut batch = Vec::new();
    let gone = loop {
        if let Err(gone) = publisher.receive(&mut batch).await {
            break gone;
        }
    };
    assert_eq!(batch.len(), 2, "what came before the end is taken");
    let PublisherGone::Pulled(Failure::Ended(_)) = &gone else { panic!("{gone:?}") };
    drop(publisher);
    let shown = bench.until(|pull| pull.state() == PullState::BackingOff).await;
    assert_eq!(shown.last_error, gone.to_string());

    let (remote, mut publisher) = bench.playing().await;
    drop(remote);
    while publisher.receive(&mut batch).await.is_ok() {}
    drop(publisher);
    let shown = bench.until(|pull| pull.attempts == 2).await;
    assert_eq!(shown.last_error, "the remote closed the connection");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_there_is_shown_without_what_is_secret() {
    let mut bench = Bench::start();
    let mut remote = bench.connect().await;
    remote.refuse("NetStream.Play.StreamNotFound", "no cam1?token=s3cret for me, hush").await;
    let shown = bench.until(|pull| pull.state() == PullState::BackingOff).await;
    assert_eq!(
        shown.last_error,
        "the remote has no such stream: NetStream.Play.StreamNotFound (no cam1?token=*** for ***, ***)"
    );
    assert_eq!(shown.source_url, "rtmp://host:1935/live/cam1?token=***");
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_their_kind_and_nothing_of_the_url_is_in_the_metrics() {
    let registered = Metrics::new("test");
    let mut bench = Bench::with(Instruments::new(&registered));
    let mut remote = bench.connect().await;
    remote.refuse("NetStream.Play.StreamNotFound", "no cam1?token=s3cret").await;
    bench.until(|pull| pull.attempts == 1).await;
    bench.fail(refused()).await;
    bench.fail(refused()).await;
    let text = registered.render();
    for line in [
        "ingest_pulls 1",
        "ingest_pulls_playing 0",
        "ingest_pull_attempts_total 3",
        "ingest_pull_failures_total{reason=\"connect\"} 2",
        "ingest_pull_failures_total{reason=\"not_found\"} 1",
    ] {
        let is_there = text.lines().any(|l| l.trim_start_matches("rtmp2rtsp_") == line);
        assert!(is_there, "no {line} in\n{text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("cam1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_asks_without_reading_is_given_up() {
    use tokio::io::AsyncWriteExt;
    let mut bench = Bench::start();
    let (remote, mut publisher) = bench.playing().await;
    // A ping is answered by as many bytes as it has: more than the pipe and what may wait behind it.
    let ping = [2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1];
    let (_reader, mut writer) = tokio::io::split(remote.into_stream());
    let flood = tokio::spawn(async move {
        for _ in 0..20_000 {
            if writer.write_all(&ping).await.is_err() {
                return;
            }
        }
    });
    let mut batch = Vec::new();
    let gone = loop {
        if let Err(gone) = publisher.receive(&mut batch).await {
            break gone;
        }
    };
    let PublisherGone::Pulled(Failure::Broken(why)) = gone else { panic!("{gone:?}") };
    assert_eq!(why, "more than 65536 bytes of answers are unread");
    drop(publisher);
    flood.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_never_answers_is_given_up_in_time() {
    let mut bench = Bench::start();
    let (near, _far) = tokio::io::duplex(64 << 10);
    let began = Instant::now();
    bench.connections.send(Ok(near)).await.unwrap();
    let shown = bench.until(|pull| pull.state() == PullState::BackingOff).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(shown.last_error, "the remote did not play within 10s");
}

#[tokio::test(start_paused = true)]
async fn a_remote_without_media_is_no_publisher_and_given_up_in_time() {
    let mut bench = Bench::start();
    let mut remote = bench.connect().await;
    remote.play().await;
    let began = Instant::now();
    let shown = bench.until(|pull| pull.state() == PullState::BackingOff).await;
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(shown.last_error, "the remote sent no media for 30s");
    assert!(bench.commands.try_recv().is_err(), "nothing was offered");
    // Nor is one that stops sending.
    let (_remote, mut publisher) = bench.playing().await;
    let mut batch = Vec::new();
    publisher.receive(&mut batch).await.unwrap();
    let began = Instant::now();
    let gone = publisher.receive(&mut batch).await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(gone, PublisherGone::Pulled(Failure::Silent(Duration::from_secs(30))));
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_speaks_something_else_breaks_the_protocol() {
    use tokio::io::AsyncWriteExt;
    let mut bench = Bench::start();
    let (near, mut far) = tokio::io::duplex(64 << 10);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    bench.connections.send(Ok(near)).await.unwrap();
    let shown = bench.until(|pull| pull.state() == PullState::BackingOff).await;
    assert_eq!(shown.last_error, "the first byte is 0x48, RTMP starts with 0x03");
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_the_stream_refuses_comes_again() {
    use media::rtmp::PublishRefusal;
    let mut bench = Bench::start();
    for failures in 1..3 {
        let mut remote = bench.connect().await;
        remote.play().await;
        remote.video(0, avc_header(SPS, PPS)).await;
        let publisher = bench.offered().await;
        tokio::join!(publisher.refuse(PublishRefusal::BadName, "another is live"), remote.ended());
        let shown = bench.until(|pull| pull.attempts == failures).await;
        assert_eq!(shown.last_error, "not taken: another is live");
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_stream_and_with_the_service_whatever_it_does() {
    // While it connects, while it waits, while it plays.
    for drains in [false, true] {
        for stage in 0..3 {
            let mut bench = Bench::start();
            let mut playing = None;
            match stage {
                0 => tokio::task::yield_now().await,
                1 => drop(bench.fail(refused()).await),
                _ => playing = Some(bench.playing().await),
            }
            assert_eq!(bench.metrics.pulls.get(), 1);
            match drains {
                true => bench.draining.cancel(),
                false => bench.commands.close(),
            }
            timeout(LONG, bench.task).await.expect("it goes on").unwrap();
            assert_eq!((bench.metrics.pulls.get(), bench.metrics.pulls_playing.get()), (0, 0));
            drop(playing);
        }
    }
}
