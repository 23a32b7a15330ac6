//! A sender of one video and one audio track, sans-IO: the datagrams of a leg, by presentation time in ms.

use std::time::Duration;

use bytes::Bytes;
use media::{
    NtpTime,
    codec::{CodecConfig, aac, h264},
    rtcp::{self, SenderReport},
    rtp::{PacketBatch, Packetizer, PacketizerConfig},
    sdp::{SessionDescription, TrackDescription},
};

/// SPS and PPS of x264, 1280x720, Main profile, as ffmpeg 5.1 sends them.
pub(crate) const SPS: &[u8] = &[
    0x67, 0x4D, 0x40, 0x1F, 0xEC, 0xA0, 0x28, 0x02, 0xDD, 0x80, 0x88, 0x00, 0x00, 0x03, 0x00, 0x08,
    0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xC1, 0x8C, 0xB0,
];
pub(crate) const PPS: &[u8] = &[0x68, 0xEF, 0xBC, 0xB2];

/// The parameter sets above.
fn h264_config() -> h264::Config {
    h264::Config { sps: vec![Bytes::from_static(SPS)], pps: vec![Bytes::from_static(PPS)] }
}

/// AAC-LC, stereo, 48 kHz.
pub(crate) fn aac_config() -> aac::Config {
    aac::Config::parse(Bytes::from_static(&[0x11, 0x90])).unwrap()
}

/// A track of the source: its index in the session description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Track {
    Video = 0,
    Audio = 1,
}

/// See the module.
pub(crate) struct Source {
    pub(crate) ssrcs: [u32; 2],
    /// RTP timestamps at 0 ms.
    pub(crate) bases: [u32; 2],
    /// How far its wall clock is ahead of the tests'.
    pub(crate) clock_ahead: Duration,
    parameter_sets: h264::Config,
    packetizers: [Packetizer; 2],
}

fn packetizer(ssrc: u32, payload_type: u8, first_sequence_number: u16) -> Packetizer {
    let max_packet_size = 1200;
    Packetizer::new(PacketizerConfig { ssrc, payload_type, first_sequence_number, max_packet_size })
}

impl Source {
    /// A source whose SSRCs, sequence numbers and timestamps are told by `seed`.
    pub(crate) fn new(seed: u32) -> Self {
        let numbers = [seed.wrapping_mul(0x9E37_79B9), seed.wrapping_mul(0x85EB_CA6B)];
        let bases = numbers.map(|number| number.rotate_left(7));
        Self::at([2 * seed + 1, 2 * seed + 2], numbers.map(|number| number as u16), bases)
    }

    /// A source with these SSRCs, first sequence numbers and timestamps at 0 ms.
    pub(crate) fn at(ssrcs: [u32; 2], numbers: [u16; 2], bases: [u32; 2]) -> Self {
        Self {
            ssrcs,
            bases,
            clock_ahead: Duration::ZERO,
            parameter_sets: h264_config(),
            packetizers: [
                packetizer(ssrcs[0], 96, numbers[0]),
                packetizer(ssrcs[1], 97, numbers[1]),
            ],
        }
    }

    /// Sends parameter sets in-band no more.
    pub(crate) fn without_parameter_sets(mut self) -> Self {
        self.parameter_sets = h264::Config::default();
        self
    }

    /// The description of the leg by a sender that tells its parameter sets in-band only.
    pub(crate) fn bare_description(&self) -> SessionDescription {
        let mut description = self.description();
        description.tracks[0].config = CodecConfig::H264(h264::Config::default());
        description
    }

    /// The description of the leg, as ingest hands it to a node.
    pub(crate) fn description(&self) -> SessionDescription {
        let configs = [CodecConfig::H264(h264_config()), CodecConfig::Aac(aac_config())];
        let tracks = configs.into_iter().zip([96, 97]).zip(self.ssrcs);
        SessionDescription {
            name: "test".into(),
            source_address: None,
            crypto: None,
            tracks: tracks
                .map(|((config, payload_type), ssrc)| TrackDescription {
                    config,
                    payload_type,
                    ssrc: Some(ssrc),
                    cname: Some("source".into()),
                    nack: false,
                })
                .collect(),
        }
    }

    /// The RTP timestamp of a presentation time.
    pub(crate) fn timestamp(&self, track: Track, ms: u32) -> u32 {
        let ticks_per_ms = [90, 48][track as usize];
        self.bases[track as usize].wrapping_add(ms.wrapping_mul(ticks_per_ms))
    }

    /// A picture of one slice of `bytes`, the last four of which say `id`.
    pub(crate) fn picture_of(
        &mut self,
        ms: u32,
        keyframe: bool,
        bytes: usize,
        id: u32,
    ) -> PacketBatch {
        let mut avcc = (bytes as u32).to_be_bytes().to_vec();
        avcc.push(if keyframe { 0x65 } else { 0x41 });
        avcc.resize(bytes, 0xAB);
        avcc.extend(id.to_be_bytes());
        let timestamp = self.timestamp(Track::Video, ms);
        self.packetizers[0].h264(&avcc, 4, &self.parameter_sets, timestamp).unwrap()
    }

    /// A sound of `bytes`, the last four of which say `id`.
    pub(crate) fn sound_of(&mut self, ms: u32, bytes: usize, id: u32) -> PacketBatch {
        let mut frame = vec![0xCD; bytes - 4];
        frame.extend(id.to_be_bytes());
        let timestamp = self.timestamp(Track::Audio, ms);
        self.packetizers[1].aac(&frame, timestamp)
    }

    /// The sequence numbers of the next packets.
    pub(crate) fn next_numbers(&self) -> [u16; 2] {
        [0, 1].map(|track: usize| self.packetizers[track].next_sequence_number())
    }

    /// The packets of a small keyframe, marked by its time.
    pub(crate) fn keyframe(&mut self, ms: u32) -> Vec<Bytes> {
        self.picture_of(ms, true, 100, ms).packets().collect()
    }

    /// The packets of another picture of three packets, marked by its time.
    pub(crate) fn picture(&mut self, ms: u32) -> Vec<Bytes> {
        self.picture_of(ms, false, 3000, ms).packets().collect()
    }

    /// The packet of a sound, marked by its time.
    pub(crate) fn sound(&mut self, ms: u32) -> Vec<Bytes> {
        self.sound_of(ms, 200, ms).packets().collect()
    }

    /// A Sender Report of a track.
    pub(crate) fn report(&self, track: Track, ms: u32) -> Bytes {
        let (packets, octets) = self.packetizers[track as usize].sent();
        let report = SenderReport {
            ssrc: self.ssrcs[track as usize],
            ntp: ntp(ms, self.clock_ahead),
            rtp_timestamp: self.timestamp(track, ms),
            packets,
            octets,
        };
        rtcp::sender_report(&report, "source")
    }

    /// BYE of both tracks.
    pub(crate) fn bye(&self) -> Bytes {
        rtcp::bye(&self.ssrcs, "source")
    }
}

/// The wall clock at `ms`.
pub(crate) fn ntp(ms: u32, ahead: Duration) -> NtpTime {
    NtpTime::from_unix(
        Duration::from_secs(1_800_000_000) + Duration::from_millis(ms.into()) + ahead,
    )
}
