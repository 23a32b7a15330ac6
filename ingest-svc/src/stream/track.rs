//! The two kinds of tracks of a publisher: their codec headers, their clocks, their packetizers.

use std::time::Duration;

use bytes::Bytes;
use media::{
    ClockRate, MediaTime,
    codec::{
        CodecConfig, MediaKind, aac,
        h264::{DecoderConfigurationRecord, avcc_nal_units, nal_type},
    },
    rtcp::ClockMapping,
    rtp::{Packetizer, PacketizerConfig},
    timeline::AudioClock,
};
use tracing::{info, warn};

use super::{Unit, pipeline::TagError, pipeline::Track};

/// How far the count of samples may drift from the publisher's clock: what lip-sync bears (ITU-R BT.1359: 45 ms early is seen).
const MAX_AUDIO_DRIFT: Duration = Duration::from_millis(50);

/// How a track shows on the wire. The same for as long as the stream lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TrackIdentity {
    /// Payload type, 96 to 127.
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
}

/// H.264.
pub(super) struct VideoTrack {
    identity: TrackIdentity,
    raw_record: Bytes,
    record: DecoderConfigurationRecord,
    packetizer: Packetizer,
    has_b_frames: bool,
    /// Grows with each change of what `describe` gives.
    pub(super) revision: u32,
    /// Nothing is sent until a keyframe comes.
    pub(super) awaits_keyframe: bool,
}

impl VideoTrack {
    pub(super) fn new(
        raw: &Bytes,
        identity: TrackIdentity,
        max_packet_size: usize,
    ) -> Result<Self, TagError> {
        let (raw_record, record) = read_record(raw)?;
        Ok(Self {
            identity,
            raw_record,
            record,
            packetizer: identity.packetizer(max_packet_size),
            has_b_frames: false,
            revision: 0,
            awaits_keyframe: true,
        })
    }

    /// Takes the record of a further sequence header.
    pub(super) fn set_record(&mut self, raw: &Bytes) -> Result<(), TagError> {
        if *raw != self.raw_record {
            (self.raw_record, self.record) = read_record(raw)?;
            self.revision += 1;
            info!(codec = self.record.config.codec_string(), "the video's parameter sets changed");
        }
        Ok(())
    }

    /// Whether an access unit can be sent now.
    pub(super) fn takes(&self, keyframe: bool) -> bool {
        keyframe || !self.awaits_keyframe
    }

    /// Whether an access unit is whole.
    pub(super) fn check(&self, avcc: &[u8]) -> Result<(), TagError> {
        let mut any = false;
        for nal in avcc_nal_units(avcc, self.record.length_size) {
            nal?;
            any = true;
        }
        if any { Ok(()) } else { Err(TagError::Empty) }
    }

    pub(super) fn packetize(
        &mut self,
        avcc: &[u8],
        dts: MediaTime,
        composition_time_ms: i32,
    ) -> Result<Unit, TagError> {
        let mut idr = false;
        let incomplete = !self.record.config.is_complete();
        for nal in avcc_nal_units(avcc, self.record.length_size).flatten() {
            idr |= nal_type::of(nal[0]) == nal_type::IDR;
            if incomplete && self.record.config.learn(nal) {
                self.revision += 1;
            }
        }
        let pts = dts.as_nanos() + i64::from(composition_time_ms) * 1_000_000;
        let ticks = MediaTime::from_nanos(pts).to_ticks(ClockRate::VIDEO);
        let packets = self.packetizer.h264(
            avcc,
            self.record.length_size,
            &self.record.config,
            self.identity.rtp_timestamp(ticks),
        )?;
        if composition_time_ms != 0 && !self.has_b_frames {
            self.has_b_frames = true;
            self.revision += 1;
        }
        self.awaits_keyframe = false;
        Ok(Unit { kind: MediaKind::Video, keyframe: idr, time: dts, packets })
    }

    pub(super) fn describe(&self) -> Track {
        Track {
            config: CodecConfig::H264(self.record.config.clone()),
            identity: self.identity,
            has_b_frames: self.has_b_frames,
        }
    }
}

/// Reads a record out of a copy, which lives long and must not keep the message's buffer.
fn read_record(raw: &Bytes) -> Result<(Bytes, DecoderConfigurationRecord), TagError> {
    let raw = Bytes::copy_from_slice(raw);
    let record = DecoderConfigurationRecord::parse(&raw)?;
    Ok((raw, record))
}

/// AAC.
pub(super) struct AudioTrack {
    identity: TrackIdentity,
    config: aac::Config,
    packetizer: Packetizer,
    clock: AudioClock,
    last_ticks: Option<i64>,
    /// Grows with each change of what `describe` gives.
    pub(super) revision: u32,
    /// The publisher has changed to another sample rate than the RTP clock.
    other_rate: bool,
}

impl AudioTrack {
    pub(super) fn new(
        raw: Bytes,
        identity: TrackIdentity,
        max_packet_size: usize,
    ) -> Result<Self, TagError> {
        let config = aac::Config::parse(Bytes::copy_from_slice(&raw))?;
        Ok(Self {
            identity,
            packetizer: identity.packetizer(max_packet_size),
            clock: AudioClock::new(config.sample_rate(), MAX_AUDIO_DRIFT),
            config,
            last_ticks: None,
            revision: 0,
            other_rate: false,
        })
    }

    /// Takes the config of a further sequence header.
    pub(super) fn set_config(&mut self, raw: Bytes) -> Result<(), TagError> {
        if raw == *self.config.raw() {
            self.other_rate = false;
            return Ok(());
        }
        let config = aac::Config::parse(Bytes::copy_from_slice(&raw))?;
        let (old, new) = (self.config.sample_rate().hz(), config.sample_rate().hz());
        self.other_rate = old != new;
        if self.other_rate {
            warn!(old, new, "the sample rate changed: audio is dropped until it changes back");
        } else {
            info!(channels = config.channels(), "the audio's config changed");
            self.config = config;
            self.revision += 1;
        }
        Ok(())
    }

    pub(super) fn takes_frames(&self) -> bool {
        !self.other_rate
    }

    pub(super) fn packetize(&mut self, frame: &[u8], time: MediaTime) -> Result<Unit, TagError> {
        let stamp = self.clock.stamp(time, self.config.samples_per_frame().into());
        // An anchor that is set back must not make time run back.
        let ticks = self.last_ticks.map_or(stamp, |last| stamp.max(last + 1));
        let packets = self.packetizer.aac(frame, self.identity.rtp_timestamp(ticks));
        if packets.sizes.is_empty() {
            return Err(TagError::FrameSize(frame.len()));
        }
        self.last_ticks = Some(ticks);
        Ok(Unit { kind: MediaKind::Audio, keyframe: false, time, packets })
    }

    pub(super) fn reanchored(&self) -> u32 {
        self.clock.reanchored()
    }

    pub(super) fn describe(&self) -> Track {
        Track {
            config: CodecConfig::Aac(self.config.clone()),
            identity: self.identity,
            has_b_frames: false,
        }
    }
}
