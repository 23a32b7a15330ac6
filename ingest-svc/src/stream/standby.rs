//! A publisher that stands by: its connection, and what the stream needs to go on with it at once.
//!
//! What it sends is read, so that its connection lives and says when it ends, and thrown away but for its codec headers and its last
//! GOP. They are kept as the messages that came, and packetized only when the publisher goes on in place of another: the tracks,
//! sequence numbers and times are the stream's, and known only then.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use media::{
    codec::MediaKind,
    flv::{AudioTag, TrackTag, VideoTag},
    rtmp::{MediaMessage, MediaMessageKind},
};
use tracing::Span;

use crate::publisher::Publisher;

/// The most bytes of a GOP that are kept: 5 s of 12 Mbit/s, and the largest keyframe that a message can be by default. One that has
/// more is given up, and the next keyframe is waited for.
pub(super) const MAX_BYTES: usize = 8 << 20;
/// Codec headers that are kept: one for each track of a multitrack publisher, who has a few.
const MAX_HEADERS: usize = 16;
/// The largest codec header that is kept: parameter sets have some hundred bytes each.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// See the module.
pub(super) struct Standby {
    pub(super) publisher: Publisher,
    /// The span that the stream comes up under if it has not yet when this one goes on.
    pub(super) span: Span,
    pub(super) kept: Kept,
}

/// A message, and when it came.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Received {
    pub(super) message: MediaMessage,
    pub(super) came: Instant,
}

/// Codec headers and the last GOP.
#[derive(Default)]
pub(super) struct Kept {
    /// Those that are in force at the beginning of the GOP, in the order in which their tracks were seen first.
    headers: Vec<(TrackName, MediaMessage)>,
    /// From a keyframe on, or without a video track the last audio frame; empty until there is one.
    gop: VecDeque<Received>,
    bytes: usize,
    /// The video track whose keyframes begin GOPs: the first that was seen, as in the pipeline.
    video: Option<TrackName>,
    overflows: u32,
}

/// Its kind, and its id if its publisher sends several.
type TrackName = (MediaKind, Option<u8>);

/// What a message is to a GOP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Header,
    Keyframe,
    Frame,
    Nothing,
}

impl Kept {
    /// Takes what came.
    pub(super) fn push(&mut self, message: &MediaMessage, came: Instant) {
        let Some((track, role)) = name_and_role(message) else { return };
        if track.0 == MediaKind::Video && role != Role::Nothing && self.video.is_none() {
            // Frames that came before the pictures do not begin a GOP any more.
            self.give_up();
            self.video = Some(track);
        }
        match role {
            Role::Nothing => return,
            Role::Header if self.gop.is_empty() => return self.note_header(track, copy(message)),
            Role::Header => {}
            Role::Keyframe if self.video == Some(track) => self.give_up(),
            Role::Frame if self.video.is_none() => self.give_up(),
            Role::Keyframe | Role::Frame if self.gop.is_empty() => return,
            Role::Keyframe | Role::Frame => {}
        }
        let message = copy(message);
        self.bytes += size(&message);
        self.gop.push_back(Received { message, came });
        if self.bytes > MAX_BYTES {
            self.overflows = self.overflows.wrapping_add(1);
            self.give_up();
        }
    }

    /// Whether the stream can go on with it now.
    pub(super) fn is_ready(&self) -> bool {
        !self.gop.is_empty()
    }

    /// How often a GOP was too large to be kept.
    pub(super) fn overflows(&self) -> u32 {
        self.overflows
    }

    /// All that is kept, codec headers first.
    pub(super) fn into_messages(self, now: Instant) -> VecDeque<Received> {
        let came = self.gop.front().map_or(now, |first| first.came);
        let headers = self.headers.into_iter().map(|(_, message)| Received { message, came });
        headers.chain(self.gop).collect()
    }

    /// Forgets the GOP but for the codec headers in it.
    fn give_up(&mut self) {
        self.bytes = 0;
        for Received { message, .. } in std::mem::take(&mut self.gop) {
            if let Some((track, Role::Header)) = name_and_role(&message) {
                self.note_header(track, message);
            }
        }
    }

    fn note_header(&mut self, track: TrackName, message: MediaMessage) {
        if message.payload.len() > MAX_HEADER_BYTES {
            return;
        }
        if let Some((_, old)) = self.headers.iter_mut().find(|(name, _)| *name == track) {
            *old = message;
        } else if self.headers.len() < MAX_HEADERS {
            self.headers.push((track, message));
        }
    }
}

/// What is kept long must not keep the buffer that it was read into.
fn copy(message: &MediaMessage) -> MediaMessage {
    MediaMessage { payload: Bytes::copy_from_slice(&message.payload), ..message.clone() }
}

/// What a message takes in memory.
fn size(message: &MediaMessage) -> usize {
    message.payload.len() + size_of::<Received>()
}

fn name_and_role(message: &MediaMessage) -> Option<(TrackName, Role)> {
    match message.kind {
        MediaMessageKind::Video => {
            let (id, role) = match VideoTag::parse(&message.payload).ok()? {
                VideoTag::Multitrack(tracks) => {
                    let TrackTag { track_id, tag } = tracks.first()?;
                    (Some(*track_id), video_role(tag))
                }
                tag => (None, video_role(&tag)),
            };
            Some(((MediaKind::Video, id), role))
        }
        MediaMessageKind::Audio => {
            let (id, role) = match AudioTag::parse(&message.payload).ok()? {
                AudioTag::Multitrack(tracks) => {
                    let TrackTag { track_id, tag } = tracks.first()?;
                    (Some(*track_id), audio_role(tag))
                }
                tag => (None, audio_role(&tag)),
            };
            Some(((MediaKind::Audio, id), role))
        }
        // Tracks are found from their codec headers alone.
        MediaMessageKind::Data => None,
    }
}

fn video_role(tag: &VideoTag) -> Role {
    match tag {
        VideoTag::SequenceHeader { .. } => Role::Header,
        VideoTag::Frame { keyframe: true, .. } => Role::Keyframe,
        VideoTag::Frame { keyframe: false, .. } => Role::Frame,
        VideoTag::EndOfSequence
        | VideoTag::Command
        | VideoTag::Empty
        | VideoTag::Multitrack(_)
        | VideoTag::Unsupported(_) => Role::Nothing,
    }
}

fn audio_role(tag: &AudioTag) -> Role {
    match tag {
        AudioTag::SequenceHeader { .. } => Role::Header,
        AudioTag::Frame { .. } => Role::Frame,
        AudioTag::Command
        | AudioTag::Empty
        | AudioTag::Multitrack(_)
        | AudioTag::Unsupported(_) => Role::Nothing,
    }
}

#[cfg(test)]
#[path = "standby_tests.rs"]
mod tests;
