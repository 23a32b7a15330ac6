//! Sound: RFC 7587 (Opus), RFC 3551 (G.711), RFC 2250 (MPEG audio), RFC 4184 (AC-3).

use bytes::BufMut;

use super::{PacketBatch, Packetizer, Writer};

/// MBZ and Frag_offset (RFC 2250, 3.5).
const MPA_HEADER_BYTES: usize = 4;
/// FT and NF (RFC 4184, 4.1.1).
const AC3_HEADER_BYTES: usize = 2;

impl Packetizer {
    /// The largest payload of a packet, in bytes: what [`Self::whole`] takes.
    pub fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// A frame that is the payload of one packet, as Opus packets and G.711 samples are. No packet if it is empty or too large.
    pub fn whole(&mut self, frame: &[u8], timestamp: u32) -> PacketBatch {
        if frame.is_empty() || frame.len() > self.max_payload {
            return PacketBatch::default();
        }
        let mut writer = Writer::new(self, timestamp, frame.len());
        writer.begin(frame.len());
        writer.buffer.put_slice(frame);
        writer.finish()
    }

    /// One frame of MPEG audio, or several, fragmented where they exceed the packet size.
    pub fn mpeg_audio(&mut self, frames: &[u8], timestamp: u32) -> PacketBatch {
        // Frag_offset has 16 bits.
        if frames.is_empty() || frames.len() > usize::from(u16::MAX) {
            return PacketBatch::default();
        }
        let max_fragment = self.max_payload - MPA_HEADER_BYTES;
        let mut writer = Writer::new(self, timestamp, frames.len());
        for (at, fragment) in frames.chunks(max_fragment).enumerate() {
            writer.begin(MPA_HEADER_BYTES + fragment.len());
            writer.buffer.put_u16(0);
            writer.buffer.put_u16((at * max_fragment) as u16);
            writer.buffer.put_slice(fragment);
        }
        writer.finish()
    }

    /// One syncframe of AC-3, fragmented where it exceeds the packet size.
    pub fn ac3(&mut self, frame: &[u8], timestamp: u32) -> PacketBatch {
        let max_fragment = self.max_payload - AC3_HEADER_BYTES;
        let count = frame.len().div_ceil(max_fragment);
        // NF has 8 bits.
        let Ok(fragments @ 1..) = u8::try_from(count) else { return PacketBatch::default() };
        let mut writer = Writer::new(self, timestamp, frame.len());
        for (at, fragment) in frame.chunks(max_fragment).enumerate() {
            let frame_type = match (count, at) {
                (1, _) => 0,
                // The first fragment holds 5/8 of the frame or not.
                (_, 0) if fragment.len() * 8 >= frame.len() * 5 => 1,
                (_, 0) => 2,
                (..) => 3,
            };
            writer.begin(AC3_HEADER_BYTES + fragment.len());
            writer.buffer.put_slice(&[frame_type, fragments]);
            writer.buffer.put_slice(fragment);
        }
        writer.finish()
    }
}
