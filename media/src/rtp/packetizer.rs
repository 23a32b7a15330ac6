//! Access units to RTP packets: RFC 6184 (packetization-mode 1) and RFC 3640 (AAC-hbr) here, other payload formats in files of their
//! own. An access unit becomes one buffer: headers are written in place and each payload byte is copied once.

mod audio;
mod av1;
pub(super) mod h265;
pub(super) mod vp9;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::{Header, PacketBatch};
use crate::codec::{
    AudioHeader, CodecError, VideoHeader,
    h264::{Config, H264Error, avcc_nal_units, nal_type},
    vp9::FrameHeader,
};

/// NAL unit type of a single-time aggregation packet (RFC 6184, 5.7.1).
pub(super) const STAP_A: u8 = 24;
/// NAL unit type of a fragmentation unit (RFC 6184, 5.8).
pub(super) const FU_A: u8 = 28;
/// F and nal_ref_idc of a NAL unit header.
const F_AND_NRI: u8 = 0b1110_0000;
const F: u8 = 0b1000_0000;
const NRI: u8 = 0b0110_0000;

/// The largest AU-size that 13 bits hold (RFC 3640, 3.3.6, sizelength=13).
const MAX_AAC_FRAME_BYTES: usize = 0x1FFF;
/// AU-headers-length and one AU-header.
const AAC_HEADER_BYTES: usize = 4;

/// The smallest and the largest RTP packet that can be asked for; the latter is what a UDP datagram over IPv4 holds.
const PACKET_SIZES: (usize, usize) = (64, 65_507);

/// Makes the RTP packets of one track on the sending side. Owns SSRC, payload type and the next sequence number; no clock.
#[derive(Debug)]
pub struct Packetizer {
    ssrc: u32,
    payload_type: u8,
    next_sequence_number: u16,
    max_payload: usize,
    packets: u32,
    octets: u32,
    /// VP9: 15 bits.
    next_picture_id: u16,
}

/// What a packetizer needs to know.
#[derive(Clone, Debug)]
pub struct PacketizerConfig {
    /// SSRC of the track.
    pub ssrc: u32,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// The first sequence number.
    pub first_sequence_number: u16,
    /// The largest RTP packet, header included, in bytes; at least 64.
    pub max_packet_size: usize,
}

impl Packetizer {
    /// A packetizer before its first packet.
    pub fn new(config: PacketizerConfig) -> Self {
        let max_packet_size = config.max_packet_size.clamp(PACKET_SIZES.0, PACKET_SIZES.1);
        Self {
            ssrc: config.ssrc,
            payload_type: config.payload_type & 0x7F,
            next_sequence_number: config.first_sequence_number,
            max_payload: max_packet_size - Header::FIXED_BYTES,
            packets: 0,
            octets: 0,
            next_picture_id: config.first_sequence_number & 0x7FFF,
        }
    }

    /// One access unit of video as its tag carries it. On an error nothing is sent and no sequence number is used.
    pub fn video(
        &mut self,
        header: &VideoHeader,
        unit: &[u8],
        keyframe: bool,
        timestamp: u32,
    ) -> Result<PacketBatch, CodecError> {
        Ok(match header {
            VideoHeader::H264(record) => {
                self.h264(unit, record.length_size, &record.config, timestamp)?
            }
            VideoHeader::H265(record) => {
                self.h265(unit, record.length_size, &record.config, timestamp)?
            }
            VideoHeader::Av1(config) => self.av1(unit, keyframe, config, timestamp)?,
            VideoHeader::Vp9(_) => self.vp9(unit, &FrameHeader::parse(unit)?, timestamp),
        })
    }

    /// One frame of sound as its tag carries it; of G.711 at most [`Self::max_payload`] bytes. On an error nothing is sent and no
    /// sequence number is used.
    pub fn audio(
        &mut self,
        header: &AudioHeader,
        frame: &[u8],
        timestamp: u32,
    ) -> Result<PacketBatch, CodecError> {
        let packets = match header {
            AudioHeader::Aac(_) => self.aac(frame, timestamp),
            AudioHeader::Opus(_) | AudioHeader::G711(_) => self.whole(frame, timestamp),
            AudioHeader::Mp3(_) => self.mpeg_audio(frame, timestamp),
            AudioHeader::Ac3(_) => self.ac3(frame, timestamp),
        };
        if packets.sizes.is_empty() { Err(CodecError::FrameSize(frame.len())) } else { Ok(packets) }
    }

    /// One H.264 access unit (RFC 6184, mode 1) from length-prefixed NAL units. If it holds an IDR, `parameter_sets` go
    /// in front of it (behind an access unit delimiter, which H.264, 7.4.1.2.3 wants first) as a STAP-A (single NAL units or
    /// fragments where they do not fit), unless the access unit carries its own. Small NAL units that follow each other share
    /// a STAP-A. On an error nothing is sent and no sequence number is used.
    pub fn h264(
        &mut self,
        avcc: &[u8],
        length_size: u8,
        parameter_sets: &Config,
        timestamp: u32,
    ) -> Result<PacketBatch, H264Error> {
        let contents = Contents::of(avcc, length_size)?;
        let sps = parameter_sets.sps.iter().filter(|_| contents.idr && !contents.sps);
        let pps = parameter_sets.pps.iter().filter(|_| contents.idr && !contents.pps);
        let mut to_insert = sps.chain(pps).filter(|set| !set.is_empty()).peekable();

        let mut writer = Writer::new(self, timestamp, avcc.len());
        let mut aggregate = Aggregate::default();
        // `Contents::of` has read all of it, so there are no errors left.
        for nal in avcc_nal_units(avcc, length_size).flatten() {
            if to_insert.peek().is_some() && nal_type::of(nal[0]) != nal_type::AUD {
                to_insert.by_ref().for_each(|set| aggregate.add(set, &mut writer));
            }
            aggregate.add(nal, &mut writer);
        }
        aggregate.flush(&mut writer);
        Ok(writer.finish())
    }

    /// One AAC frame (RFC 3640, AAC-hbr: sizelength 13, indexlength 3), fragmented where it exceeds the packet size. A frame
    /// that is empty or longer than the 8191 bytes that the format can say gives no packets.
    pub fn aac(&mut self, frame: &[u8], timestamp: u32) -> PacketBatch {
        if frame.is_empty() || frame.len() > MAX_AAC_FRAME_BYTES {
            return PacketBatch::default();
        }
        let max_fragment = self.max_payload - AAC_HEADER_BYTES;
        let mut writer = Writer::new(self, timestamp, frame.len());
        for fragment in frame.chunks(max_fragment) {
            // AU-headers-length in bits, then AU-size of the whole frame and AU-Index 0 (RFC 3640, 3.2.1).
            writer.begin(AAC_HEADER_BYTES + fragment.len());
            writer.buffer.put_u16(16);
            writer.buffer.put_u16((frame.len() as u16) << 3);
            writer.buffer.put_slice(fragment);
        }
        writer.finish()
    }

    /// The sequence number that the next packet will have.
    pub fn next_sequence_number(&self) -> u16 {
        self.next_sequence_number
    }

    /// Packets and payload octets so far, modulo 2^32, as a Sender Report tells them.
    pub fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }
}

/// What an access unit carries.
#[derive(Default)]
struct Contents {
    idr: bool,
    sps: bool,
    pps: bool,
}

impl Contents {
    fn of(avcc: &[u8], length_size: u8) -> Result<Self, H264Error> {
        let mut contents = Self::default();
        for nal in avcc_nal_units(avcc, length_size) {
            match nal_type::of(nal?[0]) {
                nal_type::IDR => contents.idr = true,
                nal_type::SPS => contents.sps = true,
                nal_type::PPS => contents.pps = true,
                _ => {}
            }
        }
        Ok(contents)
    }
}

/// Writes the packets of one access unit.
struct Writer<'a> {
    track: &'a mut Packetizer,
    timestamp: u32,
    buffer: BytesMut,
    sizes: SmallVec<[u16; 16]>,
    /// Where the header of the last packet lies.
    last: usize,
}

impl<'a> Writer<'a> {
    fn new(track: &'a mut Packetizer, timestamp: u32, access_unit_bytes: usize) -> Self {
        // Room for the packets of an access unit in few NAL units; two more for parameter sets and what is not full.
        let packets = access_unit_bytes / (track.max_payload - AAC_HEADER_BYTES) + 2;
        let overhead = packets * (Header::FIXED_BYTES + AAC_HEADER_BYTES) + 128;
        let buffer = BytesMut::with_capacity(access_unit_bytes + overhead);
        Self { track, timestamp, buffer, sizes: SmallVec::new(), last: 0 }
    }

    /// Writes the header of a packet whose payload of `payload` bytes the caller puts behind it.
    fn begin(&mut self, payload: usize) {
        let track = &mut *self.track;
        self.last = self.buffer.len();
        self.buffer.reserve(Header::FIXED_BYTES + payload);
        self.buffer.put_slice(&[0x80, track.payload_type]);
        self.buffer.put_u16(track.next_sequence_number);
        self.buffer.put_u32(self.timestamp);
        self.buffer.put_u32(track.ssrc);
        // At most `PACKET_SIZES.1`.
        self.sizes.push((Header::FIXED_BYTES + payload) as u16);
        track.next_sequence_number = track.next_sequence_number.wrapping_add(1);
        track.packets = track.packets.wrapping_add(1);
        track.octets = track.octets.wrapping_add(payload as u32);
    }

    /// Fragmentation units of one NAL unit (RFC 6184, 5.8), all of one size but a smaller last one.
    fn fragments(&mut self, nal: &[u8]) {
        let indicator = nal[0] & F_AND_NRI | FU_A;
        let bytes = nal.len() - 1;
        let max_fragment = match self.track.max_payload - 2 {
            // There are two at least; only types that cannot stand alone come here so short.
            max if bytes <= max => bytes.div_ceil(2),
            max => max,
        };
        let count = bytes.div_ceil(max_fragment);
        for (at, fragment) in nal[1..].chunks(max_fragment).enumerate() {
            let start = if at == 0 { 0x80 } else { 0 };
            let end = if at + 1 == count { 0x40 } else { 0 };
            self.begin(2 + fragment.len());
            self.buffer.put_slice(&[indicator, start | end | nal_type::of(nal[0])]);
            self.buffer.put_slice(fragment);
        }
    }

    /// Sets the marker of the last packet.
    fn finish(mut self) -> PacketBatch {
        if let Some(byte) = self.buffer.get_mut(self.last + 1) {
            *byte |= 0x80;
        }
        self.finish_without_marker()
    }

    fn finish_without_marker(self) -> PacketBatch {
        PacketBatch { data: self.buffer.freeze(), sizes: self.sizes }
    }
}

/// NAL units that follow each other and fit one packet together.
#[derive(Default)]
struct Aggregate<'a> {
    nals: SmallVec<[&'a [u8]; 8]>,
    /// The payload of the STAP-A that they would make.
    bytes: usize,
}

impl<'a> Aggregate<'a> {
    fn add(&mut self, nal: &'a [u8], writer: &mut Writer<'_>) {
        let max_payload = writer.track.max_payload;
        if self.nals.is_empty() || self.bytes + 2 + nal.len() > max_payload {
            self.flush(writer);
            self.bytes = 1;
        }
        if nal.len() <= max_payload - if can_stand_alone(nal[0]) { 0 } else { 3 } {
            self.bytes += 2 + nal.len();
            self.nals.push(nal);
        } else {
            writer.fragments(nal);
        }
    }

    fn flush(&mut self, writer: &mut Writer<'_>) {
        match self.nals.as_slice() {
            [] => {}
            [nal] if can_stand_alone(nal[0]) => {
                writer.begin(nal.len());
                writer.buffer.put_slice(nal);
            }
            nals => {
                writer.begin(self.bytes);
                let f = nals.iter().fold(0, |f, nal| f | nal[0] & F);
                let nri = nals.iter().map(|nal| nal[0] & NRI).max().unwrap_or(0);
                writer.buffer.put_u8(f | nri | STAP_A);
                for nal in nals {
                    writer.buffer.put_u16(nal.len() as u16);
                    writer.buffer.put_slice(nal);
                }
            }
        }
        self.nals.clear();
    }
}

/// Whether a payload that begins with this header reads as one NAL unit (RFC 6184, 5.4). H.264 leaves types 0 and 24 to 31
/// unspecified; RFC 6184 takes them for its own, so they travel within a STAP-A or FU-A.
fn can_stand_alone(header: u8) -> bool {
    matches!(nal_type::of(header), 1..=23)
}

#[cfg(test)]
mod tests;
