//! Publishers whose timestamps wrap, jump or are wrong: nobody is disconnected, and readers get every access unit bit for bit, in order
//! and at its time. A scripted publisher sends the access units of a clip of x264 and ffmpeg's AAC encoder at the pace of real time
//! with stamps of its own, which no encoder at hand can be told to do.

use e2e::{
    clients::{Running, Transport, newest_ffmpeg, rtsp_input},
    clips::{Units, clip},
    control::{streams, until_live},
    eventually,
    follow::{follow, ordered},
    process::Setup,
    reader::AccessUnit,
    tags::{self, Tag},
};
use gateway::demo::Kind;
use tokio::sync::oneshot;

/// How much is published, in milliseconds.
const END_MS: u32 = 9_000;
const HOUR_MS: u32 = 3_600_000;

type Stamp = fn(usize, &Tag) -> u32;

/// What a reader got: the access units of both tracks, and where among the published ones they begin.
struct Read {
    published: Units,
    video: Vec<AccessUnit>,
    audio: Vec<AccessUnit>,
    first: [usize; 2],
}

impl Read {
    /// Holds that all that was read is what was published, without a gap.
    fn new(published: &Units, [video, audio]: [Vec<AccessUnit>; 2]) -> Self {
        let pictures: Vec<_> = video.iter().map(AccessUnit::pictured).collect();
        let sounds: Vec<_> = audio.iter().map(|unit| unit.parts[0].clone()).collect();
        let first = [begins(&published.video, &pictures), begins(&published.audio, &sounds)];
        Self { published: published.clone(), video, audio, first }
    }

    /// The largest difference in ms between the time from the first access unit to each other as it was read and as it was published.
    fn off_ms(&self) -> [f64; 2] {
        let off = |units: &[AccessUnit], times: &[f64], rate: f64| {
            let zero = units[0].timestamp;
            let off = units.iter().zip(times).map(|(unit, time)| {
                let read = f64::from(unit.timestamp.wrapping_sub(zero) as i32) / rate;
                ((time - times[0]) - read).abs() * 1e3
            });
            off.fold(0.0, f64::max)
        };
        let [video, audio] = self.first;
        [
            off(&self.video, &self.published.video_times[video..], 90_000.0),
            off(&self.audio, &self.published.audio_times[audio..], 48_000.0),
        ]
    }
}

/// Where `read` begins among what was published; each of it must be there one behind the other.
fn begins(published: &[Vec<u8>], read: &[Vec<u8>]) -> usize {
    assert!(read.len() >= 100, "{} access units", read.len());
    let at = published.windows(2).position(|two| two == &read[..2]).expect("as published");
    for (n, unit) in read.iter().enumerate() {
        assert!(published[at + n] == *unit, "access unit {n} of {}", read.len());
    }
    at
}

/// Publishes with such stamps; what readers got over TCP and UDP, and how many timestamps were repaired.
async fn read(stamp: Stamp) -> (Vec<Read>, u32) {
    let gateway = Setup::both().start().await;
    let tags = tags::until(&tags::of_clip(&clip("small")).await, END_MS);
    let published = Units::of_tags(&tags);
    let rtmp = gateway.rtmp();
    let publisher = tokio::spawn(tags::publish_stamped(rtmp, "drone1", tags, stamp));
    until_live(&gateway.publish_grpc(), "drone1").await;
    let url = gateway.rtsp_url("drone1");
    let (mut stops, mut followers) = (Vec::new(), Vec::new());
    for transport in [Transport::Tcp, Transport::Udp] {
        let (stop, stopped) = oneshot::channel();
        stops.push(stop);
        followers.push(tokio::spawn(follow(url.clone(), transport, stopped)));
    }
    let mut decode = newest_ffmpeg();
    decode.args(rtsp_input(Transport::Tcp, &url)).args(["-t", "6", "-f", "null", "-"]);
    let decoding = Running::start(decode);
    publisher.await.unwrap().expect("the publisher was disconnected");
    let repaired = streams(&gateway.ingest_grpc()).await.remove(0).counters.unwrap();
    // The last access units are on their way.
    let all = |counters: &proto::v1::StreamCounters| {
        [counters.video_access_units, counters.audio_access_units]
    };
    eventually("all has come", async || {
        let node = streams(&gateway.publish_grpc()).await.remove(0).counters.unwrap();
        (all(&node) == all(&repaired)).then_some(())
    })
    .await;
    let mut reads = Vec::new();
    for (stop, follower) in stops.into_iter().zip(followers) {
        stop.send(()).unwrap();
        reads.push(Read::new(&published, follower.await.unwrap()));
    }
    decoding.silent_success().await;
    (reads, repaired.timestamps_repaired)
}

/// Every time is kept to a millisecond, which the stamps are rounded to.
async fn is_exact(stamp: Stamp) {
    let (reads, repaired) = read(stamp).await;
    assert_eq!(repaired, 0);
    for read in reads {
        let off = read.off_ms();
        assert!(off.iter().all(|off| *off <= 1.0), "{off:?} ms");
    }
}

#[tokio::test]
async fn stamps_may_begin_anywhere() {
    is_exact(|_, tag| tag.timestamp_ms + 1_234_567_890).await;
}

#[tokio::test]
async fn stamps_wrap_at_24_bits_without_a_trace() {
    is_exact(|_, tag| tag.timestamp_ms + 0x00FF_FFFF - END_MS / 2).await;
}

#[tokio::test]
async fn stamps_wrap_at_32_bits_after_fifty_days_without_a_trace() {
    is_exact(|_, tag| tag.timestamp_ms.wrapping_sub(END_MS / 2)).await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_is_followed() {
    let (reads, repaired) = read(|_, tag| match tag.timestamp_ms {
        ms @ ..3_000 => ms + HOUR_MS,
        ms @ 3_000..6_000 => ms + 3 * HOUR_MS,
        ms => ms,
    })
    .await;
    assert!((2..=4).contains(&repaired), "{repaired} repairs");
    for read in reads {
        // A B-frame is shown before the picture it follows, by some pictures.
        assert!(ordered(&read.video, 3 * 3600) && ordered(&read.audio, 0), "time runs back");
        // A jump is as long as it took to come.
        let off = read.off_ms();
        assert!(off.iter().all(|off| *off < 1_000.0), "{off:?} ms");
    }
}

#[tokio::test]
async fn what_is_stamped_hours_away_moves_nothing_but_itself() {
    let (reads, repaired) = read(|at, tag| match (at % 100, tag.kind) {
        (50, Kind::Video) | (51, Kind::Audio) => tag.timestamp_ms + 3 * HOUR_MS,
        (80, Kind::Video) => tag.timestamp_ms.wrapping_sub(5 * HOUR_MS),
        _ => tag.timestamp_ms,
    })
    .await;
    assert!(repaired >= 5, "{repaired} repairs");
    for mut read in reads {
        assert!(ordered(&read.video, 3 * 3600), "pictures run back");
        // The last ones are where they would be without: those in between had no lasting effect.
        let last = [read.video.len() - 1, read.audio.len() - 1];
        read.video.drain(1..last[0]);
        read.audio.drain(1..last[1]);
        let Read { published, first, .. } = &mut read;
        published.video_times.drain(first[0] + 1..first[0] + last[0]);
        published.audio_times.drain(first[1] + 1..first[1] + last[1]);
        let off = read.off_ms();
        assert!(off.iter().all(|off| *off <= 1.0), "{off:?} ms");
    }
}
