//! RTMP messages in, RTP packets out: FLV tags, the timeline, the packetizers. No socket, clock or random source.
//!
//! Tracks are found from the codec headers, never from onMetaData, which lies or is missing. A stream is announced as
//! soon as both tracks are known, or `track_wait` after the first; its access units are packetized from the beginning.
//!
//! | codec header | then |
//! | --- | --- |
//! | first of its track | the track is known; announced before: announced again with it |
//! | the same again | nothing |
//! | other parameter sets of video | the next keyframe carries them in-band; readers to come are told |
//! | another codec, or another config of audio | the track is another one: announced again, and readers come back to a right SDP |
//!
//! Codecs whose frames tell all (MP3, G.711, AC-3, Opus) need no codec header. Of multitrack messages the first track that is seen is
//! taken.

mod absence;
mod left_out;
mod tags;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use media::{
    MediaTime,
    codec::{CodecConfig, MediaKind, sei::SeiTime},
    flv::UnsupportedCodec,
    rtmp::{MediaMessage, MediaMessageKind},
};
use tracing::{debug, warn};

use self::{
    absence::KeptPicture,
    left_out::{LeftOut, LeftOutList},
};
use super::{
    StreamTimeline, Unit,
    track::{AudioTrack, HeaderChange, TrackIdentity, VideoTrack},
};

/// What a pipeline needs to know.
#[derive(Clone, Debug)]
pub(crate) struct PipelineConfig {
    /// The largest RTP packet, in bytes.
    pub(crate) max_packet_size: usize,
    /// How long a stream waits for its second track.
    pub(crate) track_wait: Duration,
    /// How the video track shows on the wire.
    pub(crate) video: TrackIdentity,
    /// How the audio track shows on the wire.
    pub(crate) audio: TrackIdentity,
}

/// A track as legs announce it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Track {
    /// Codec headers.
    pub(crate) config: CodecConfig,
    /// How it shows on the wire.
    pub(crate) identity: TrackIdentity,
    /// Whether composition offsets were seen.
    pub(crate) has_b_frames: bool,
    /// Whether it came after the stream was announced without it.
    pub(crate) late: bool,
}

/// What could not be sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Dropped {
    /// Tags that could not be read.
    pub(crate) malformed: u32,
    /// Tags of codecs that are not carried.
    pub(crate) unsupported: u32,
    /// Access units before their codec header or their first keyframe, or of another clock rate.
    pub(crate) unusable: u32,
    /// Tags of further tracks of a multitrack publisher.
    pub(crate) other_tracks: u32,
}

/// How often timestamps were repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Repaired {
    /// The publisher's clock jumped, or an access unit was stamped far away.
    pub(crate) jumps: u32,
    /// Samples drifted from the publisher's clock, and were counted anew.
    pub(crate) reanchored: u32,
    /// Composition times that cannot be.
    pub(crate) compositions: u32,
}

impl Repaired {
    /// All of them, modulo 2^32.
    pub(crate) fn sum(self) -> u32 {
        self.jumps.wrapping_add(self.reanchored).wrapping_add(self.compositions)
    }
}

/// See the module.
pub(crate) struct Pipeline {
    config: PipelineConfig,
    timeline: StreamTimeline,
    video: Option<VideoTrack>,
    audio: Option<AudioTrack>,
    units: VecDeque<Unit>,
    /// When the stream is announced with the one track it has.
    announce_at: Option<Instant>,
    /// How often the set of tracks was announced; 0: not yet.
    announced: u32,
    dropped: Dropped,
    left_out: LeftOutList,
    /// The tracks that are taken of multitrack messages.
    video_track_id: Option<u8>,
    audio_track_id: Option<u8>,
    /// How often a track became another one.
    replaced: u32,
    picture: KeptPicture,
}

impl Pipeline {
    /// A pipeline before its first publisher.
    pub(crate) fn new(config: PipelineConfig) -> Self {
        Self {
            config,
            timeline: StreamTimeline::default(),
            video: None,
            audio: None,
            units: VecDeque::new(),
            announce_at: None,
            announced: 0,
            dropped: Dropped::default(),
            left_out: LeftOutList::default(),
            video_track_id: None,
            audio_track_id: None,
            replaced: 0,
            picture: KeptPicture::default(),
        }
    }

    /// A publisher begins, or goes on after another: its timestamps are its own, and its video is taken from its first keyframe.
    pub(crate) fn begin_publisher(&mut self) {
        self.timeline.restart();
        (self.video_track_id, self.audio_track_id) = (None, None);
        if let Some(video) = &mut self.video {
            video.begin_publisher();
        }
        if let Some(audio) = &mut self.audio {
            audio.begin_publisher();
        }
    }

    /// Takes a message; then drain [`poll_unit`](Self::poll_unit).
    pub(crate) fn handle_message(&mut self, message: &MediaMessage, now: Instant) {
        let taken = match message.kind {
            MediaMessageKind::Video => self.handle_video(message, now),
            MediaMessageKind::Audio => self.handle_audio(message, now),
            // Tracks are found from their codec headers alone.
            MediaMessageKind::Data => Ok(()),
        };
        if let Err(error) = taken {
            debug!(%error, "malformed tag");
            self.dropped.malformed = self.dropped.malformed.wrapping_add(1);
        }
    }

    /// Where on the timeline what is stamped so lies, be it no access unit.
    pub(crate) fn place_of(&self, timestamp_ms: u32) -> Option<MediaTime> {
        self.timeline.peek(timestamp_ms)
    }

    /// What the pictures of the last message told of the wall-clock time at a place on the timeline.
    pub(crate) fn take_told(&mut self) -> Option<(MediaTime, SeiTime)> {
        self.video.as_mut()?.take_told()
    }

    /// The next access unit to send.
    pub(crate) fn poll_unit(&mut self) -> Option<Unit> {
        self.units.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.announce_at
    }

    /// The time has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce();
        }
    }

    /// How often the set of tracks was announced: legs are made after the first, and again after each further one.
    pub(crate) fn announcements(&self) -> u32 {
        self.announced
    }

    /// Grows with each change of [`tracks`](Self::tracks), those that are not announced included: what a leg that is made later
    /// is told.
    pub(crate) fn revision(&self) -> u32 {
        let video = self.video.as_ref().map_or(0, |video| video.revision);
        let audio = self.audio.as_ref().map_or(0, |audio| audio.revision);
        self.announced.wrapping_add(video).wrapping_add(audio)
    }

    /// The tracks, video first.
    pub(crate) fn tracks(&self) -> Vec<Track> {
        let video = self.video.iter().map(VideoTrack::describe);
        let audio = self.audio.iter().map(AudioTrack::describe);
        video.chain(audio).collect()
    }

    /// Whether there is a video track.
    pub(crate) fn has_video(&self) -> bool {
        self.video.is_some()
    }

    /// What of the publisher's media is not carried, a line each.
    pub(crate) fn left_out(&self) -> Vec<String> {
        self.left_out.lines()
    }

    /// How many lines [`Self::left_out`] has, which only grow in number.
    pub(crate) fn left_out_count(&self) -> usize {
        self.left_out.len()
    }

    /// How often a track became another one: what was packetized before is of no use to a leg that is made later.
    pub(crate) fn replaced(&self) -> u32 {
        self.replaced
    }

    /// What was dropped so far.
    pub(crate) fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Which of the publisher's timestamps were not taken as they are.
    pub(crate) fn repaired(&self) -> Repaired {
        Repaired {
            jumps: self.timeline.jumps(),
            reanchored: self.audio.as_ref().map_or(0, AudioTrack::reanchored),
            compositions: self.video.as_ref().map_or(0, |video| video.repaired),
        }
    }

    fn header_changed(&mut self, change: HeaderChange) {
        if change == HeaderChange::OtherTrack {
            self.replaced = self.replaced.wrapping_add(1);
            // What waits was made for the track that is gone.
            self.units.clear();
            if self.announced > 0 {
                self.announce();
            }
        }
    }

    fn track_found(&mut self, now: Instant) {
        if self.announced > 0 || (self.video.is_some() && self.audio.is_some()) {
            self.announce();
        } else {
            self.announce_at = Some(now + self.config.track_wait);
        }
    }

    fn announce(&mut self) {
        self.announce_at = None;
        self.announced = self.announced.wrapping_add(1);
    }

    fn leave_out(&mut self, codec: UnsupportedCodec) {
        self.dropped.unsupported = self.dropped.unsupported.wrapping_add(1);
        if self.left_out.note(LeftOut::Codec(codec)) {
            warn!(%codec, "the publisher sends a codec that is not carried; the rest goes on");
        }
    }

    fn leave_out_track(&mut self, kind: MediaKind, track_id: u8) {
        self.dropped.other_tracks = self.dropped.other_tracks.wrapping_add(1);
        if self.left_out.note(LeftOut::Track(kind, track_id)) {
            let kind = kind.label();
            warn!(kind, track_id, "the publisher sends a further track, which is left out");
        }
    }
}

#[cfg(test)]
mod tests;
