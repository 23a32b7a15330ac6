//! Readers that compare what they get with what was published, or stay while publishers, ingests and nodes come and go.

use std::time::{Duration, Instant};

use media::codec::MediaKind;
use tokio::sync::oneshot;

use crate::{
    clients::Transport,
    clips::{Units, place},
    reader::{AccessUnit, Depacketizer, Packet, Reader},
};

/// Access units of video that [`read`] takes: 4 s.
const PICTURES: usize = 100;

/// Reads a number of pictures, in which nothing may be missing.
pub async fn read(url: &str, transport: Transport, published: &Units) -> anyhow::Result<()> {
    let mut reader = Reader::play(url, transport).await?;
    let kinds: Vec<_> = reader.description.tracks.iter().map(|t| t.config.kind()).collect();
    let mut inputs: Vec<_> =
        kinds.iter().enumerate().map(|(track, kind)| Depacketizer::new(*kind, track)).collect();
    let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
    while pictures.len() < PICTURES {
        let packet = reader.next().await?;
        let Some(Packet::Rtp { track, header, bytes }) = packet else {
            anyhow::ensure!(packet.is_some(), "{url}: the server closed the connection");
            continue;
        };
        if let Some(unit) = inputs[track].push(&header, &bytes)? {
            match kinds[track] {
                MediaKind::Video => pictures.push(AccessUnit::pictured(&unit)),
                MediaKind::Audio => sounds.push(unit.parts[0].clone()),
            }
        }
    }
    anyhow::ensure!(place(&published.video, &pictures).is_some(), "{url}: other pictures");
    anyhow::ensure!(place(&published.audio, &sounds).is_some(), "{url}: other sound");
    Ok(())
}

/// The video and the audio access units that a reader is sent until it is told to stop. Lost packets, another SSRC or two times in one access unit are errors of the depacketizer.
pub async fn follow(
    url: String,
    transport: Transport,
    stop: oneshot::Receiver<()>,
) -> [Vec<AccessUnit>; 2] {
    follow_timed(url, transport, stop).await.0
}

/// The same, and the longest time for which no packet of video came.
pub async fn follow_timed(
    url: String,
    transport: Transport,
    mut stop: oneshot::Receiver<()>,
) -> ([Vec<AccessUnit>; 2], Duration) {
    let mut reader = Reader::play(&url, transport).await.unwrap();
    let kinds: Vec<_> = reader.description.tracks.iter().map(|t| t.config.kind()).collect();
    let ssrcs: Vec<_> = reader.description.tracks.iter().map(|t| t.ssrc).collect();
    let mut inputs: Vec<_> =
        kinds.iter().enumerate().map(|(track, kind)| Depacketizer::new(*kind, track)).collect();
    let mut seen = [Vec::new(), Vec::new()];
    let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
    loop {
        let packet = tokio::select! {
            _ = &mut stop => return (seen, gap),
            packet = reader.next() => packet.unwrap().expect("the session ended"),
        };
        if let Packet::Rtp { track, header, bytes } = packet {
            assert!(ssrcs[track].is_none_or(|ssrc| ssrc == header.ssrc), "another SSRC");
            let unit = inputs[track].push(&header, &bytes).unwrap();
            let at = usize::from(kinds[track] == MediaKind::Audio);
            if at == 0 {
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
            seen[at].extend(unit);
        }
    }
}

/// Whether time goes on from each access unit to the next, or back by less than `back` ticks.
pub fn ordered(units: &[AccessUnit], back: u32) -> bool {
    units.windows(2).all(|pair| {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        step > -(back as i32) && step != 0
    })
}
