//! `--demo`: publishes a clip that ships with the gateway, in an endless loop, through the real RTMP port.
//!
//! Timestamps go on over the loop as if the clip had no end. `scripts/make-clips demo` tells how the clip is made.

mod clip;
mod publisher;

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use svc_core::drain::Shutdown;
use tokio::time::{Instant, sleep, sleep_until};

pub use self::{
    clip::{Clip, Kind, Tag, Tags},
    publisher::{Publisher, Refused},
};

/// The key under which the clip is published.
pub const STREAM_KEY: &str = "demo";

/// H.264 (High, 2 B-frames) at 640x360 and 25 pictures a second, AAC-LC at 48 kHz.
const CLIP: &[u8] = include_bytes!("../assets/demo.flv");

/// The wait before the first reconnect; each further one doubles it.
const RECONNECT_MIN: Duration = Duration::from_millis(250);
/// The longest wait before a reconnect.
const RECONNECT_MAX: Duration = Duration::from_secs(10);

/// Publishes the clip as `demo` to the RTMP server at `rtmp` until the drain begins.
///
/// When the server ends the connection or refuses the key, it is tried again with growing waits.
pub async fn run(rtmp: SocketAddr, shutdown: Shutdown) -> anyhow::Result<()> {
    let clip = Clip::parse(&Bytes::from_static(CLIP)).context("the demo clip")?;
    let draining = shutdown.draining();
    // Of the whole run, not of one connection: after a reconnect the clip goes on where real time has arrived. Set by the first
    // connection, so that it enters the clip at its beginning and not at the keyframe after it.
    let mut begin = None;
    let mut wait = RECONNECT_MIN;
    loop {
        let connected = Instant::now();
        let ended = tokio::select! {
            () = draining.cancelled() => return Ok(()),
            ended = publish(&clip, rtmp, &mut begin) => ended,
        };
        if connected.elapsed() > RECONNECT_MAX {
            wait = RECONNECT_MIN;
        }
        let Err(error) = ended;
        tracing::warn!(error = format!("{error:#}"), retry_in = ?wait, "demo is not published");
        tokio::select! {
            () = draining.cancelled() => return Ok(()),
            () = sleep(wait) => wait = (wait * 2).min(RECONNECT_MAX),
        }
    }
}

/// Publishes at the pace of real time until the connection ends.
async fn publish(
    clip: &Clip,
    rtmp: SocketAddr,
    begin: &mut Option<Instant>,
) -> anyhow::Result<std::convert::Infallible> {
    let mut publisher = Publisher::connect(rtmp, "live", STREAM_KEY).await?;
    tracing::info!(stream = STREAM_KEY, "publishing the demo clip");
    let begin = *begin.get_or_insert_with(Instant::now);
    let now = begin.elapsed().as_millis() as u64;
    for header in &clip.headers {
        publisher.send(header.kind, header.body.clone(), now as u32).await?;
    }
    for tag in clip.tags_from(now) {
        let due = begin + Duration::from_millis(tag.timestamp_ms);
        // While nothing is due the server's pings are answered, and its end is seen.
        while tokio::select! {
            () = sleep_until(due) => false,
            readable = publisher.readable() => { readable?; true }
        } {
            publisher.listen().await?;
        }
        // RTMP's timestamps are the lower 32 bits.
        publisher.send(tag.kind, tag.body, tag.timestamp_ms as u32).await?;
    }
    unreachable!("the clip has no end")
}
