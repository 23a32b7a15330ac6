//! The hop over a network that loses, delays and reorders: nothing is missing at the readers. How much later it
//! comes is told: 60 ms at the most are aimed at, for 99 % of the access units, on a machine that does not keep processes waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use e2e::{
    clients::{Running, Transport, ffmpeg},
    clips::{Units, clip, place},
    control::{metric, until_live},
    frames::{self, Reading},
    process::{Gateway, Setup, port_range},
    reader::{Depacketizer, Packet, Reader},
    relay::{ADDRESS, Network, Relay},
};
use media::codec::MediaKind;
use tokio::{task::JoinHandle, time::Instant};

/// The network that the hop is to stand: 2 % are lost, and delays are 10 ms on average, give or take 10.
const BAD: Network = Network { loss_per_mille: 20, delay: Duration::from_millis(20) };
const GOOD: Network = Network { loss_per_mille: 0, delay: Duration::ZERO };
/// How late a timer of a quiet machine is at the most.
const QUIET: Duration = Duration::from_millis(3);

/// How long processes wait for their turn on this machine, 99 % of the time; on a quiet one nothing.
struct Stalls(Arc<Mutex<Vec<Duration>>>, JoinHandle<()>);

impl Stalls {
    fn watch() -> Self {
        let stalls = Arc::<Mutex<Vec<Duration>>>::default();
        let seen = stalls.clone();
        let watching = tokio::spawn(async move {
            loop {
                let begin = Instant::now();
                tokio::time::sleep(Duration::from_millis(1)).await;
                seen.lock().unwrap().push(begin.elapsed().saturating_sub(QUIET));
            }
        });
        Self(stalls, watching)
    }

    fn p99(&self) -> Duration {
        let mut stalls = self.0.lock().unwrap().clone();
        stalls.sort_unstable();
        stalls[stalls.len() * 99 / 100]
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// An ingest and a node, between them a relay for each of the node's first two ports.
struct Hop {
    ingest: Gateway,
    publish: Gateway,
    good: Relay,
    bad: Relay,
}

impl Hop {
    async fn start(ingest: Setup, publish: Setup) -> Self {
        let ports = port_range();
        let good = Relay::start(ports.0, GOOD, 1).await;
        let bad = Relay::start(ports.0 + 2, BAD, 2).await;
        // RTP comes by the relays, everything else as it is.
        let grpc = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let publish = publish
            .with_ports(ports.0, ports.1)
            .with("publish-rtp-bind-address", "127.0.0.1")
            .with("publish-rtp-address", &ADDRESS.to_string())
            .with("publish-grpc-listen", &grpc.to_string())
            .with("publish-advertise-grpc-url", &format!("http://{grpc}"))
            .start()
            .await;
        let ingest = ingest.with("registry-url", &publish.publish_grpc());
        let ingest = ingest.with("ingest-hold", "2s").start().await;
        Self { ingest, publish, good, bad }
    }

    /// One ffmpeg publishes the clip as "good" and as "bad", which have the relays of their names.
    async fn publish(&self, clip: &std::path::Path) -> Running {
        // A stream of its own takes the first port before the second one comes.
        let mut command = ffmpeg();
        command.args(["-re", "-i"]).arg(clip);
        command.args(["-c", "copy", "-f", "flv", &self.ingest.rtmp_url("good")]);
        command.args(["-c", "copy", "-f", "flv", &self.ingest.rtmp_url("bad")]);
        let publisher = Running::start(command);
        let good = until_live(&self.publish.publish_grpc(), "good").await;
        let bad = until_live(&self.publish.publish_grpc(), "bad").await;
        assert_eq!(good.rtp_port + 2, bad.rtp_port, "the relays are the other way round");
        publisher
    }
}

/// What a reader was sent: of each track the access units, and when the last packet of each came.
#[derive(Default)]
struct Arrivals {
    video: Vec<(Vec<u8>, Instant)>,
    audio: Vec<(Vec<u8>, Instant)>,
}

/// Reads to the end.
fn reading(url: String) -> JoinHandle<anyhow::Result<Arrivals>> {
    tokio::spawn(async move {
        let mut reader = Reader::play(&url, Transport::Tcp).await?;
        let kinds: Vec<_> = reader.description.tracks.iter().map(|t| t.config.kind()).collect();
        let mut inputs: Vec<_> =
            kinds.iter().enumerate().map(|(track, kind)| Depacketizer::new(*kind, track)).collect();
        let mut arrivals = Arrivals::default();
        while let Some(packet) = reader.next().await? {
            let Packet::Rtp { track, header, bytes } = packet else { continue };
            // Anything that is not in order is an error.
            let Some(unit) = inputs[track].push(&header, &bytes)? else { continue };
            match kinds[track] {
                MediaKind::Video => arrivals.video.push((unit.pictured(), Instant::now())),
                MediaKind::Audio => arrivals.audio.push((unit.parts[0].clone(), Instant::now())),
            }
        }
        Ok(arrivals)
    })
}

fn contents(units: &[(Vec<u8>, Instant)]) -> Vec<Vec<u8>> {
    units.iter().map(|(content, _)| content.clone()).collect()
}

/// How much later than by the good network the access units came, sorted. Those that only one of the two was sent before its
/// stream ended tell nothing.
fn lateness(good: &[(Vec<u8>, Instant)], bad: &[(Vec<u8>, Instant)]) -> Vec<Duration> {
    let good: HashMap<_, _> = good.iter().map(|(content, at)| (content, *at)).collect();
    let late = bad
        .iter()
        .filter_map(|(content, at)| Some(at.saturating_duration_since(*good.get(content)?)));
    let mut late: Vec<_> = late.collect();
    late.sort_unstable();
    late
}

async fn nothing_is_missing_and_little_is_late(ingest: Setup) {
    let clip = clip("main");
    let (published, units) = (frames::of_clip(&clip).await, Units::of_clip(&clip));
    let hop = Hop::start(ingest, Setup::publish()).await;
    let stalls = Stalls::watch();
    let publisher = hop.publish(&clip).await;
    let read = Reading::of_url(&hop.publish.rtsp_url("bad"), Transport::Tcp, None);
    let [good, bad] = ["good", "bad"].map(|key| reading(hop.publish.rtsp_url(key)));
    publisher.success().await;

    let what = "the bad network";
    frames::compare_to_the_end(what, &published, &read.frames().await, 3, 20.0);
    let (good, bad) = (good.await.unwrap().unwrap(), bad.await.unwrap().unwrap());
    for (kind, published, good, bad) in [
        ("video", &units.video, &good.video, &bad.video),
        ("audio", &units.audio, &good.audio, &bad.audio),
    ] {
        assert!(place(published, &contents(bad)).is_some(), "other access units of {kind}");
        let late = lateness(good, bad);
        let (median, p99) = (late[late.len() / 2], late[late.len() * 99 / 100]);
        let stalled = stalls.p99();
        println!(
            "{kind}: {} access units, {median:?} later (median); {stalled:?} by the machine itself",
            late.len()
        );
        println!("a hop that loses 2 % and reorders, {kind}: 99 % are later by up to {p99:?}");
        assert!(late.len() > 600, "{} access units of {kind}", late.len());
    }

    let [rtp, rtcp] = [&hop.bad.rtp, &hop.bad.rtcp].map(|tally| tally.lost.load(Ordering::Relaxed));
    let (node, ingest) = (hop.publish.publish_http(), hop.ingest.ingest_http());
    let recovered = metric(&node, "publish_rtp_recovered_total").await;
    let sent_again = metric(&ingest, "ingest_rtp_retransmitted_total").await;
    let nacks = metric(&node, "publish_nacks_total").await;
    let passed = hop.bad.rtp.passed.load(Ordering::Relaxed);
    println!(
        "{rtp} packets lost and {passed} passed on, {rtcp} of RTCP lost; {nacks} NACKs, {sent_again} sent again, {recovered} recovered"
    );
    assert!(rtp > 50 && recovered > 30, "the network was bad");
    assert!(sent_again < passed / 2, "it is not the double that is sent");
    assert_eq!(metric(&node, "publish_rtp_lost_total").await, 0);
    assert_eq!(metric(&node, "publish_clocks_by_arrival_total").await, 0);
    assert_eq!(hop.good.rtp.lost.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_network_that_loses_and_reorders_nothing_is_missing_and_little_is_late() {
    nothing_is_missing_and_little_is_late(Setup::default().arg("ingest-svc")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_where_the_hop_is_encrypted() {
    let ingest = Setup::default().arg("ingest-svc").with("hop-srtp", "true");
    nothing_is_missing_and_little_is_late(ingest).await;
}
