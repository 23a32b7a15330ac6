//! Sound: RFC 7587 (Opus), RFC 3551 (G.711), RFC 2250 (MPEG audio), RFC 4184 (AC-3).
//!
//! Of these the marker ends a frame in RFC 4184 alone. In the others it says that sound begins again after a silence, at which
//! players let their clocks jump; who sends on through silence never sets it (RFC 3551, 4.1).

use bytes::BufMut;

use super::{PacketBatch, Packetizer, Writer};
use crate::codec::mp3;

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
        writer.finish_without_marker()
    }

    /// One frame of MPEG audio, or several: whole ones as fit a packet, those that exceed it in fragments. `timestamp` is that of the
    /// first; packets of later ones have theirs.
    pub fn mpeg_audio(&mut self, frames: &[u8], timestamp: u32) -> PacketBatch {
        // Frag_offset has 16 bits.
        if frames.is_empty() || frames.len() > usize::from(u16::MAX) {
            return PacketBatch::default();
        }
        let max_fragment = self.max_payload - MPA_HEADER_BYTES;
        let mut writer = Writer::new(self, timestamp, frames.len());
        // Where the frames that wait begin and end, and how long those before each place last.
        let (mut from, mut to, mut elapsed, mut elapsed_at_from) = (0, 0, 0, 0);
        for (frame, config) in mp3::frames(frames) {
            if to > from && to - from + frame.len() > max_fragment {
                writer.timestamp = timestamp.wrapping_add(elapsed_at_from);
                writer.mpeg_audio_fragments(&frames[from..to], max_fragment);
                (from, elapsed_at_from) = (to, elapsed);
            }
            to += frame.len();
            elapsed += config.map_or(0, mp3::Config::ticks_per_frame);
        }
        writer.timestamp = timestamp.wrapping_add(elapsed_at_from);
        writer.mpeg_audio_fragments(&frames[from..to], max_fragment);
        writer.finish_without_marker()
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

impl Writer<'_> {
    /// Whole frames in one packet, or one frame in several.
    fn mpeg_audio_fragments(&mut self, frames: &[u8], max_fragment: usize) {
        for (at, fragment) in frames.chunks(max_fragment).enumerate() {
            self.begin(MPA_HEADER_BYTES + fragment.len());
            self.buffer.put_u16(0);
            self.buffer.put_u16((at * max_fragment) as u16);
            self.buffer.put_slice(fragment);
        }
    }
}

#[cfg(test)]
mod tests;
