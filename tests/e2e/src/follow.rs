//! A reader that stays while publishers come and go.

use media::codec::MediaKind;
use tokio::sync::oneshot;

use crate::{
    clients::Transport,
    reader::{AccessUnit, Depacketizer, Packet, Reader},
};

/// The video and the audio access units that a reader is sent until it is told to stop. Lost packets, another SSRC or two times in one access unit are errors of the depacketizer.
pub async fn follow(
    url: String,
    transport: Transport,
    mut stop: oneshot::Receiver<()>,
) -> [Vec<AccessUnit>; 2] {
    let mut reader = Reader::play(&url, transport).await.unwrap();
    let kinds: Vec<_> = reader.description.tracks.iter().map(|t| t.config.kind()).collect();
    let ssrcs: Vec<_> = reader.description.tracks.iter().map(|t| t.ssrc).collect();
    let mut inputs: Vec<_> =
        kinds.iter().enumerate().map(|(track, kind)| Depacketizer::new(*kind, track)).collect();
    let mut seen = [Vec::new(), Vec::new()];
    loop {
        let packet = tokio::select! {
            _ = &mut stop => return seen,
            packet = reader.next() => packet.unwrap().expect("the session ended"),
        };
        if let Packet::Rtp { track, header, bytes } = packet {
            assert!(ssrcs[track].is_none_or(|ssrc| ssrc == header.ssrc), "another SSRC");
            let unit = inputs[track].push(&header, &bytes).unwrap();
            let at = usize::from(kinds[track] == MediaKind::Audio);
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
