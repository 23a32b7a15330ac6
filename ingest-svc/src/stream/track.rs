//! The two kinds of tracks of a publisher: their codec headers, their clocks, their packetizers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use media::{
    ClockRate, MediaTime,
    codec::{
        AudioHeader, CodecError, MediaKind, VideoHeader,
        sei::{SeiClock, SeiTime},
    },
    flv::{AudioCodec, VideoCodec},
    rtcp::ClockMapping,
    rtp::{Packetizer, PacketizerConfig},
    timeline::AudioClock,
};
use tracing::info;

use super::{Origin, Unit, pipeline::Track};

/// How far the count of samples may drift from the publisher's clock: what lip-sync bears (ITU-R BT.1359: 45 ms early is seen).
const MAX_AUDIO_DRIFT: Duration = Duration::from_millis(50);

/// Composition times that are believed, in milliseconds: H.264 holds back 16 pictures at the most (H.264, A.3.1), which are 8 s of 2
/// a second; edit lists that were lost on the way make some negative by as much as pictures are reordered. A node takes it
/// for a new source when time runs back by more than the two are apart.
const COMPOSITION_MS: std::ops::RangeInclusive<i32> = -1_000..=9_000;

/// Payload types that a track takes in turn when it becomes another: 96 and 97, 98 and 99, … for video and audio.
const PAYLOAD_TYPES: std::ops::Range<u8> = 96..128;
/// The static payload type of MPEG audio (RFC 3551, 6), by which alone FFmpeg (5.1 to 9) knows that its frames have a header in front.
const MPA_PAYLOAD_TYPE: u8 = 14;

/// How a track shows on the wire. The same for as long as the stream lives and the track is in one codec at one clock rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TrackIdentity {
    /// Payload type, 96 to 127; 14 of MPEG audio.
    pub(crate) payload_type: u8,
    /// SSRC.
    pub(crate) ssrc: u32,
    /// The first sequence number.
    pub(crate) first_sequence_number: u16,
    /// The RTP timestamp of the origin of the stream's timeline.
    pub(crate) rtp_origin: u32,
}

impl TrackIdentity {
    fn packetizer(self, max_packet_size: usize) -> Packetizer {
        Packetizer::new(PacketizerConfig {
            ssrc: self.ssrc,
            payload_type: self.payload_type,
            first_sequence_number: self.first_sequence_number,
            max_packet_size,
        })
    }

    /// That of the track that takes its place: a node that has not been told of it refuses its packets.
    fn of_successor(self) -> Self {
        let next = self.payload_type + 2;
        let payload_type =
            if PAYLOAD_TYPES.contains(&next) { next } else { PAYLOAD_TYPES.start + (next & 1) };
        // The other track's SSRC differs in more than this with all but certainty, and if not the payload type still tells them apart.
        Self { payload_type, ssrc: self.ssrc.wrapping_add(2), ..self }
    }

    /// That of sound in a codec which has a payload type of its own.
    fn of_audio(self, header: &AudioHeader) -> Self {
        match header {
            AudioHeader::Mp3(_) => Self { payload_type: MPA_PAYLOAD_TYPE, ..self },
            AudioHeader::Aac(_)
            | AudioHeader::Opus(_)
            | AudioHeader::G711(_)
            | AudioHeader::Ac3(_) => self,
        }
    }

    fn rtp_timestamp(self, ticks: i64) -> u32 {
        self.rtp_origin.wrapping_add(ticks as u32)
    }
}

impl Track {
    /// The line from RTP time to wall-clock time, where the origin of the stream's timeline was at `origin`. All tracks of a
    /// stream have the same origin.
    pub(crate) fn clock_mapping(&self, origin: media::NtpTime) -> ClockMapping {
        ClockMapping {
            ntp: origin,
            rtp_timestamp: self.identity.rtp_origin,
            clock_rate: self.config.clock_rate(),
        }
    }

    /// The track as legs send it, on a timeline with this origin.
    pub(crate) fn to_hop(&self, origin: &Arc<Origin>) -> hop::Track {
        hop::Track {
            config: self.config.clone(),
            payload_type: self.identity.payload_type,
            ssrc: self.identity.ssrc,
            clock: Arc::new(TrackClock { origin: origin.clone(), track: self.clone() }),
        }
    }
}

/// Where a track's RTP clock lies on the wall clock, once the stream has begun.
struct TrackClock {
    origin: Arc<Origin>,
    track: Track,
}

impl hop::Clock for TrackClock {
    fn mapping(&self) -> Option<ClockMapping> {
        Some(self.track.clock_mapping(self.origin.get()?))
    }
}

/// What a codec header did to its track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeaderChange {
    /// It says the same again.
    None,
    /// Decoders learn it from the packets; readers to come are told.
    InBand,
    /// The track is another one now: what readers were told of it is wrong.
    OtherTrack,
}

/// Pictures.
pub(super) struct VideoTrack {
    identity: TrackIdentity,
    max_packet_size: usize,
    raw_record: Bytes,
    header: VideoHeader,
    packetizer: Packetizer,
    sei: SeiClock,
    /// What the last access unit told, and its presentation time.
    told: Option<(MediaTime, SeiTime)>,
    has_b_frames: bool,
    late: bool,
    /// Composition times that were not believed.
    pub(super) repaired: u32,
    /// Grows with each change of what `describe` gives.
    pub(super) revision: u32,
    /// Nothing is sent until a keyframe comes.
    pub(super) awaits_keyframe: bool,
}

impl VideoTrack {
    pub(super) fn new(
        (codec, raw): (VideoCodec, &Bytes),
        identity: TrackIdentity,
        max_packet_size: usize,
        late: bool,
    ) -> Result<Self, CodecError> {
        let (raw_record, header) = read_record(codec, raw)?;
        Ok(Self {
            identity,
            max_packet_size,
            raw_record,
            sei: SeiClock::new(&header),
            told: None,
            header,
            packetizer: identity.packetizer(max_packet_size),
            has_b_frames: false,
            late,
            repaired: 0,
            revision: 0,
            awaits_keyframe: true,
        })
    }

    /// A publisher begins, or goes on after another.
    pub(super) fn begin_publisher(&mut self) {
        self.awaits_keyframe = true;
        self.sei = SeiClock::new(&self.header);
        self.told = None;
    }

    /// Takes the record of a further sequence header.
    pub(super) fn set_record(
        &mut self,
        codec: VideoCodec,
        raw: &Bytes,
    ) -> Result<HeaderChange, CodecError> {
        if codec == self.header.codec() && *raw == self.raw_record {
            return Ok(HeaderChange::None);
        }
        let other_codec = codec != self.header.codec();
        (self.raw_record, self.header) = read_record(codec, raw)?;
        self.sei = SeiClock::new(&self.header);
        self.revision += 1;
        info!(codec = self.header.config().codec_string(), "the video's codec header changed");
        if !other_codec {
            return Ok(HeaderChange::InBand);
        }
        self.identity = self.identity.of_successor();
        self.packetizer = self.identity.packetizer(self.max_packet_size);
        self.has_b_frames = false;
        self.awaits_keyframe = true;
        Ok(HeaderChange::OtherTrack)
    }

    /// Whether an access unit can be sent now.
    pub(super) fn takes(&self, codec: VideoCodec, keyframe: bool) -> bool {
        codec == self.header.codec() && (keyframe || !self.awaits_keyframe)
    }

    /// The access unit of a tag. `place` gives its place on the timeline, and is called only if it can be sent.
    pub(super) fn packetize(
        &mut self,
        unit: &[u8],
        said_keyframe: bool,
        composition_time_ms: i32,
        place: impl FnOnce() -> MediaTime,
    ) -> Result<Unit, CodecError> {
        let frame = self.header.read(unit, said_keyframe)?;
        if frame.learned {
            self.revision += 1;
            self.sei = SeiClock::new(&self.header);
        }
        let is_believed = COMPOSITION_MS.contains(&composition_time_ms);
        let composition_time_ms = if is_believed {
            composition_time_ms
        } else {
            self.repaired = self.repaired.wrapping_add(1);
            0
        };
        let dts = place();
        let pts = dts.as_nanos() + i64::from(composition_time_ms) * 1_000_000;
        let pts = MediaTime::from_nanos(pts);
        let timestamp = self.identity.rtp_timestamp(pts.to_ticks(ClockRate::VIDEO));
        self.told = self.sei.read(unit).filter(|_| is_believed).map(|told| (pts, told));
        let packets = self.packetizer.video(&self.header, unit, frame.keyframe, timestamp)?;
        if composition_time_ms != 0 && !self.has_b_frames {
            self.has_b_frames = true;
            self.revision += 1;
        }
        self.awaits_keyframe = false;
        Ok(Unit { kind: MediaKind::Video, keyframe: frame.keyframe, time: dts, packets })
    }

    /// The wall-clock time that the last access unit told of its presentation time, once.
    pub(super) fn take_told(&mut self) -> Option<(MediaTime, SeiTime)> {
        self.told.take()
    }

    pub(super) fn describe(&self) -> Track {
        Track {
            config: self.header.config(),
            identity: self.identity,
            has_b_frames: self.has_b_frames,
            late: self.late,
        }
    }
}

/// Reads a record out of a copy, which lives long and must not keep the message's buffer.
fn read_record(codec: VideoCodec, raw: &Bytes) -> Result<(Bytes, VideoHeader), CodecError> {
    let raw = Bytes::copy_from_slice(raw);
    let header = VideoHeader::parse(codec, &raw)?;
    Ok((raw, header))
}

/// Sound.
pub(super) struct AudioTrack {
    /// But for the payload type of a codec that has one of its own.
    identity: TrackIdentity,
    max_packet_size: usize,
    header: AudioHeader,
    packetizer: Packetizer,
    /// Counts samples, which is not always what the RTP clock counts.
    clock: AudioClock,
    last_ticks: Option<i64>,
    reanchored_before: u32,
    late: bool,
    /// Grows with each change of what `describe` gives.
    pub(super) revision: u32,
}

impl AudioTrack {
    pub(super) fn new(
        header: AudioHeader,
        identity: TrackIdentity,
        max_packet_size: usize,
        late: bool,
    ) -> Self {
        Self {
            identity,
            max_packet_size,
            packetizer: identity.of_audio(&header).packetizer(max_packet_size),
            clock: AudioClock::new(sample_rate(&header), MAX_AUDIO_DRIFT),
            header,
            last_ticks: None,
            reanchored_before: 0,
            late,
            revision: 0,
        }
    }

    /// Takes a further header. Channels and the like are told by SDP alone, so that most changes make another track of it.
    pub(super) fn set_header(&mut self, header: AudioHeader) -> HeaderChange {
        if header == self.header {
            return HeaderChange::None;
        }
        info!(codec = header.config().codec_string(), "the audio's codec header changed");
        self.revision += 1;
        self.identity = self.identity.of_successor();
        let identity = self.identity.of_audio(&header);
        self.packetizer = identity.packetizer(self.max_packet_size);
        self.reanchored_before = self.reanchored();
        self.clock = AudioClock::new(sample_rate(&header), MAX_AUDIO_DRIFT);
        self.last_ticks = None;
        self.header = header;
        HeaderChange::OtherTrack
    }

    /// A publisher begins, or goes on after another: samples are counted from its first frame, so that its sound keeps its distance
    /// to its pictures.
    pub(super) fn begin_publisher(&mut self) {
        self.reanchored_before = self.reanchored();
        self.clock = AudioClock::new(sample_rate(&self.header), MAX_AUDIO_DRIFT);
    }

    /// Whether frames of a codec are read by the header that it has.
    pub(super) fn takes(&self, codec: AudioCodec) -> bool {
        self.header.is_for(codec)
    }

    /// Whether a frame that tells so is of another track: in another codec, or on another clock.
    pub(super) fn is_another(&self, told: &AudioHeader) -> bool {
        match (&self.header, told) {
            // Its sequence header tells more than its packets.
            (AudioHeader::Opus(_), AudioHeader::Opus(_)) => false,
            // Frames of one stream may differ in their channel mode.
            (AudioHeader::Mp3(ours), AudioHeader::Mp3(told)) => {
                ours.sample_rate != told.sample_rate
            }
            (ours, told) => ours != told,
        }
    }

    /// The access units of a tag: one, or of G.711 as many as fill packets. `place` gives its place on the timeline, and is called
    /// only if it can be sent.
    pub(super) fn packetize(
        &mut self,
        frame: &[u8],
        place: impl FnOnce() -> MediaTime,
    ) -> Result<Vec<Unit>, CodecError> {
        // What cannot be read must not move the timeline.
        self.header.samples(frame)?;
        let sample_rate = sample_rate(&self.header);
        let clock_rate = self.header.config().clock_rate();
        let mut time = place();
        let mut units = Vec::new();
        for piece in self.pieces(frame) {
            let samples = self.header.samples(piece)?;
            let stamp = self.clock.stamp(time, samples);
            let stamp = MediaTime::from_ticks(stamp, sample_rate);
            let ticks = stamp.to_ticks(clock_rate);
            // An anchor that is set back must not make time run back.
            let ticks = self.last_ticks.map_or(ticks, |last| ticks.max(last + 1));
            let timestamp = self.identity.rtp_timestamp(ticks);
            let packets = self.packetizer.audio(&self.header, piece, timestamp)?;
            self.last_ticks = Some(ticks);
            units.push(Unit { kind: MediaKind::Audio, keyframe: false, time, packets });
            time = MediaTime::from_nanos(
                time.as_nanos() + MediaTime::from_ticks(samples.into(), sample_rate).as_nanos(),
            );
        }
        Ok(units)
    }

    /// A frame of silence and how long it lasts; `None` of a codec that has none.
    pub(super) fn silence(&self) -> Option<(Bytes, Duration)> {
        let frame = self.header.silence()?;
        let samples = self.header.samples(&frame).ok()?;
        let lasts = MediaTime::from_ticks(samples.into(), sample_rate(&self.header));
        Some((frame, Duration::from_nanos(u64::try_from(lasts.as_nanos()).ok()?)))
    }

    /// Samples can be cut anywhere, frames nowhere.
    fn pieces<'a>(&self, frame: &'a [u8]) -> std::slice::Chunks<'a, u8> {
        let most = match &self.header {
            // Whole samples of two channels.
            AudioHeader::G711(_) => self.packetizer.max_payload() & !1,
            AudioHeader::Aac(_)
            | AudioHeader::Opus(_)
            | AudioHeader::Mp3(_)
            | AudioHeader::Ac3(_) => frame.len(),
        };
        frame.chunks(most.max(1))
    }

    pub(super) fn reanchored(&self) -> u32 {
        self.reanchored_before.wrapping_add(self.clock.reanchored())
    }

    pub(super) fn describe(&self) -> Track {
        Track {
            config: self.header.config(),
            identity: self.identity.of_audio(&self.header),
            has_b_frames: false,
            late: self.late,
        }
    }
}

fn sample_rate(header: &AudioHeader) -> ClockRate {
    ClockRate::new(header.config().sample_rate()).unwrap_or(ClockRate::VIDEO)
}
