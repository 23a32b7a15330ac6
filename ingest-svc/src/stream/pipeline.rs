//! RTMP messages in, RTP packets out: FLV tags, the timeline, the packetizers. No socket, clock or random source.
//!
//! Tracks are found from the codec headers, never from onMetaData, which lies or is missing. A stream is announced as
//! soon as both tracks are known, or `track_wait` after the first; its access units are packetized from the beginning.
//!
//! | codec header | then |
//! | --- | --- |
//! | first of its track | the track is known; announced before: announced again with it |
//! | the same again | nothing |
//! | other parameter sets | the next IDR carries them in-band |
//! | other sample rate | the RTP clock would change: frames are dropped until the old rate is back |

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use media::{
    codec::{CodecConfig, MediaKind, aac, h264},
    flv::{AudioTag, FlvError, UnsupportedCodec, VideoTag},
    rtmp::{MediaMessage, MediaMessageKind},
};
use tracing::{debug, warn};

use super::{
    StreamTimeline, Unit,
    track::{AudioTrack, TrackIdentity, VideoTrack},
};

/// Unsupported codecs that are remembered as warned of: 16 + 16 ids, and FourCCs that a peer may make up.
const MAX_WARNED: usize = 64;

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
    warned: HashSet<UnsupportedCodec>,
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
            warned: HashSet::new(),
        }
    }

    /// A publisher begins, or goes on after another: its timestamps are its own, and its video is taken from its first keyframe.
    pub(crate) fn begin_publisher(&mut self) {
        self.timeline.restart();
        if let Some(video) = &mut self.video {
            video.awaits_keyframe = true;
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

    /// What was dropped so far.
    pub(crate) fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// How often the publisher's clock jumped, and how often the audio clock was set anew.
    pub(crate) fn discontinuities(&self) -> (u32, u32) {
        (self.timeline.jumps(), self.audio.as_ref().map_or(0, AudioTrack::reanchored))
    }

    fn handle_video(&mut self, message: &MediaMessage, now: Instant) -> Result<(), TagError> {
        match VideoTag::parse(&message.payload)? {
            VideoTag::AvcSequenceHeader(record) => self.handle_video_header(record, now),
            VideoTag::AvcNalUnits { keyframe, composition_time_ms, payload } => {
                let Some(video) = self.video.as_mut().filter(|video| video.takes(keyframe)) else {
                    self.dropped.unusable = self.dropped.unusable.wrapping_add(1);
                    return Ok(());
                };
                // What cannot be read must not move the timeline.
                video.check(&payload)?;
                let time = self.timeline.place(MediaKind::Video, message.timestamp_ms, now);
                self.units.push_back(video.packetize(&payload, time, composition_time_ms)?);
                Ok(())
            }
            VideoTag::AvcEndOfSequence | VideoTag::Command | VideoTag::Empty => Ok(()),
            VideoTag::Unsupported(codec) => {
                self.warn_unsupported(codec);
                Ok(())
            }
        }
    }

    fn handle_video_header(&mut self, record: Bytes, now: Instant) -> Result<(), TagError> {
        match &mut self.video {
            Some(video) => video.set_record(&record)?,
            None => {
                let max_packet_size = self.config.max_packet_size;
                let video = VideoTrack::new(&record, self.config.video, max_packet_size)?;
                self.video = Some(video);
                self.track_found(now);
            }
        }
        Ok(())
    }

    fn handle_audio(&mut self, message: &MediaMessage, now: Instant) -> Result<(), TagError> {
        match AudioTag::parse(&message.payload)? {
            AudioTag::AacSequenceHeader(config) => self.handle_audio_header(config, now),
            AudioTag::AacRaw(frame) => {
                let Some(audio) = self.audio.as_mut().filter(|audio| audio.takes_frames()) else {
                    self.dropped.unusable = self.dropped.unusable.wrapping_add(1);
                    return Ok(());
                };
                let time = self.timeline.place(MediaKind::Audio, message.timestamp_ms, now);
                self.units.push_back(audio.packetize(&frame, time)?);
                Ok(())
            }
            AudioTag::Empty => Ok(()),
            AudioTag::Unsupported(codec) => {
                self.warn_unsupported(codec);
                Ok(())
            }
        }
    }

    fn handle_audio_header(&mut self, raw: Bytes, now: Instant) -> Result<(), TagError> {
        match &mut self.audio {
            Some(audio) => audio.set_config(raw)?,
            None => {
                let max_packet_size = self.config.max_packet_size;
                let audio = AudioTrack::new(raw, self.config.audio, max_packet_size)?;
                self.audio = Some(audio);
                self.track_found(now);
            }
        }
        Ok(())
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

    fn warn_unsupported(&mut self, codec: UnsupportedCodec) {
        self.dropped.unsupported = self.dropped.unsupported.wrapping_add(1);
        if self.warned.len() < MAX_WARNED && self.warned.insert(codec) {
            warn!(?codec, "the publisher sends a codec that is not carried; the rest goes on");
        }
    }
}

/// Why a tag could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TagError {
    #[error(transparent)]
    Flv(#[from] FlvError),
    #[error(transparent)]
    H264(#[from] h264::H264Error),
    #[error(transparent)]
    Aac(#[from] aac::AacError),
    /// No NAL unit in an access unit.
    #[error("an access unit without a NAL unit")]
    Empty,
    /// RFC 3640 cannot carry it.
    #[error("an AAC frame of {0} bytes, 1 to 8191 can be")]
    FrameSize(usize),
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
