//! RFC 9628: VP9 in non-flexible mode, one spatial and temporal layer. Each packet has a picture id of 15 bits; the first of a keyframe tells
//! its size in a scalability structure.

use bytes::BufMut;

use super::{PacketBatch, Packetizer, Writer};
use crate::codec::vp9::FrameHeader;

/// The bits of the payload descriptor (RFC 9628, 4.2).
pub(in crate::rtp) mod descriptor {
    /// A picture id follows.
    pub(in crate::rtp) const I: u8 = 0x80;
    /// The picture is predicted from others.
    pub(in crate::rtp) const P: u8 = 0x40;
    /// Layer indices follow.
    pub(in crate::rtp) const L: u8 = 0x20;
    /// A frame begins.
    pub(in crate::rtp) const B: u8 = 0x08;
    /// A frame ends.
    pub(in crate::rtp) const E: u8 = 0x04;
    /// A scalability structure follows.
    pub(in crate::rtp) const V: u8 = 0x02;
}
/// Descriptor and picture id.
const DESCRIPTOR_BYTES: usize = 3;
/// N_S = 0, Y = 1, G = 0, width and height (RFC 9628, 4.2.1).
const STRUCTURE_BYTES: usize = 5;
const STRUCTURE_OF_ONE_LAYER: u8 = 0x10;

impl Packetizer {
    /// One VP9 frame or superframe, of which `header` is that of the first frame.
    pub fn vp9(&mut self, frame: &[u8], header: &FrameHeader, timestamp: u32) -> PacketBatch {
        let picture_id = 0x8000 | self.next_picture_id;
        self.next_picture_id = self.next_picture_id.wrapping_add(1) & 0x7FFF;
        let dimensions = header.dimensions.and_then(|(width, height)| {
            Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
        });
        let predicted = if header.keyframe { 0 } else { descriptor::P };
        let mut writer = Writer::new(self, timestamp, frame.len());
        let max_payload = writer.track.max_payload - DESCRIPTOR_BYTES;
        let mut rest = frame;
        let mut begins = descriptor::B;
        while !rest.is_empty() {
            let structure = dimensions.filter(|_| begins != 0);
            let extra = if structure.is_some() { STRUCTURE_BYTES } else { 0 };
            let (piece, behind) = rest.split_at(rest.len().min(max_payload - extra));
            rest = behind;
            let ends = if rest.is_empty() { descriptor::E } else { 0 };
            let v = if extra > 0 { descriptor::V } else { 0 };
            writer.begin(DESCRIPTOR_BYTES + extra + piece.len());
            writer.buffer.put_u8(descriptor::I | predicted | begins | ends | v);
            writer.buffer.put_u16(picture_id);
            if let Some((width, height)) = structure {
                writer.buffer.put_u8(STRUCTURE_OF_ONE_LAYER);
                writer.buffer.put_u16(width);
                writer.buffer.put_u16(height);
            }
            writer.buffer.put_slice(piece);
            begins = 0;
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests;
