//! FLV tags as a publisher of our own sends them: what no encoder at hand can be told to do on the way.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use gateway::demo::{Kind, Publisher};
use tokio::time::{Instant, sleep_until};

use crate::clients::{newest_ffmpeg, run};

/// Where the first tag of an FLV file begins (Adobe Flash Video File Format Specification 10.1, E.2 and E.3).
const FIRST_TAG: usize = 9 + 4;
/// The FourCC of HEVC in Enhanced RTMP.
const HEVC: &[u8] = b"hvc1";
/// VideoPacketType CodedFrames, behind which there is a composition time; and CodedFramesX, behind which there is none.
const CODED_FRAMES: u8 = 1;
const CODED_FRAMES_X: u8 = 3;
/// CodecID of HEVC where the encoder knows no Enhanced RTMP.
const LEGACY_HEVC: u8 = 12;

/// How long the connection stays behind the last tag.
const LINGER: Duration = Duration::from_millis(500);

/// An audio or video tag.
#[derive(Clone, Debug)]
pub struct Tag {
    /// What it holds.
    pub kind: Kind,
    /// Its time in milliseconds.
    pub timestamp_ms: u32,
    /// Its body.
    pub body: Bytes,
}

/// The audio and video tags of an FLV file.
pub fn of_flv(file: &Bytes) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut at = FIRST_TAG;
    while let Some(&[kind, a, b, c, t0, t1, t2, t3]) =
        file.get(at..).and_then(|tag| tag.first_chunk::<8>())
    {
        let timestamp_ms = u32::from_be_bytes([t3, t0, t1, t2]);
        let size = u32::from_be_bytes([0, a, b, c]) as usize;
        let body = file.slice(at + 11..at + 11 + size);
        match kind {
            8 => tags.push(Tag { kind: Kind::Audio, timestamp_ms, body }),
            9 => tags.push(Tag { kind: Kind::Video, timestamp_ms, body }),
            _ => {}
        }
        at += 11 + size + 4;
    }
    tags
}

/// The tags that the newest ffmpeg would publish of a clip.
pub async fn of_clip(clip: &Path) -> Vec<Tag> {
    of_clip_again(clip, 0).await
}

/// The same of a clip that it reads so many times more.
pub async fn of_clip_again(clip: &Path, more: u32) -> Vec<Tag> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("clip.flv");
    let mut command = newest_ffmpeg();
    command.args(["-stream_loop", &more.to_string(), "-i"]).arg(clip);
    command.args(["-c", "copy", "-f", "flv"]).arg(&path);
    run(command).await;
    of_flv(&Bytes::from(std::fs::read(&path).expect("an FLV file")))
}

/// Tags of one kind.
pub fn only(tags: &[Tag], kind: Kind) -> Vec<Tag> {
    tags.iter().filter(|tag| tag.kind == kind).cloned().collect()
}

/// The tags up to `ms`.
pub fn until(tags: &[Tag], ms: u32) -> Vec<Tag> {
    tags.iter().filter(|tag| tag.timestamp_ms < ms).cloned().collect()
}

/// The same tags later.
pub fn later(mut tags: Vec<Tag>, ms: u32) -> Vec<Tag> {
    tags.iter_mut().for_each(|tag| tag.timestamp_ms += ms);
    tags
}

/// HEVC of Enhanced RTMP as it was published before there was one: codec id 12, and the packet types of AVC.
pub fn legacy_hevc(mut tags: Vec<Tag>) -> Vec<Tag> {
    for tag in tags.iter_mut().filter(|tag| tag.kind == Kind::Video) {
        let &[first, ref four_cc @ .., _] = tag.body.first_chunk::<6>().expect("a tag");
        assert_eq!(four_cc, HEVC);
        let (frame_type, packet_type) = (first >> 4 & 0b111, first & 0x0F);
        // The type, the composition time, and where the payload begins.
        let (legacy_type, time, payload) = match packet_type {
            CODED_FRAMES => (1, [tag.body[5], tag.body[6], tag.body[7]], 8),
            CODED_FRAMES_X => (1, [0; 3], 5),
            // Sequence start and end have the same numbers in both.
            packet_type => (packet_type, [0; 3], 5),
        };
        let mut body = vec![frame_type << 4 | LEGACY_HEVC, legacy_type];
        body.extend_from_slice(&time);
        body.extend_from_slice(&tag.body[payload..]);
        tag.body = body.into();
    }
    tags
}

/// Publishes tags at the pace of real time.
pub async fn publish(rtmp: SocketAddr, key: &str, tags: Vec<Tag>) -> anyhow::Result<()> {
    publish_stamped(rtmp, key, tags, |_, tag| tag.timestamp_ms).await
}

/// Publishes tags at the pace of real time; `stamp` says what the tag of an index is stamped.
pub async fn publish_stamped(
    rtmp: SocketAddr,
    key: &str,
    tags: Vec<Tag>,
    stamp: impl Fn(usize, &Tag) -> u32,
) -> anyhow::Result<()> {
    let mut publisher = Publisher::connect(rtmp, "stream", key).await?;
    let begin = Instant::now();
    let mut last = begin;
    for (at, tag) in tags.into_iter().enumerate() {
        last = begin + Duration::from_millis(tag.timestamp_ms.into());
        listen_until(&mut publisher, last).await?;
        let timestamp_ms = stamp(at, &tag);
        publisher.send(tag.kind, tag.body, timestamp_ms).await?;
    }
    // A connection that is closed over what was not read takes what was sent with it.
    listen_until(&mut publisher, last + LINGER).await
}

/// While nothing is due the server's pings are answered, and its end is seen.
async fn listen_until(publisher: &mut Publisher, due: Instant) -> anyhow::Result<()> {
    while tokio::select! {
        () = sleep_until(due) => false,
        readable = publisher.readable() => { readable?; true }
    } {
        publisher.listen().await?;
    }
    Ok(())
}
