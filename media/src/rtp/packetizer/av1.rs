//! RTP Payload Format For AV1 (AV1 RTP specification, v1.0), sections 4.3 to 4.5 and 5: aggregation header, OBU elements.
//!
//! OBU elements carry no size fields of their own, temporal delimiters are left out, and every element has its length in front
//! (W = 0), so that an element is cut wherever a packet is full. OBUs of different layers never share a packet.

use bytes::BufMut;
use smallvec::SmallVec;

use super::{PacketBatch, Packetizer, Writer};
use crate::codec::av1::{Av1Error, Config, Obu, obu_type, obus};

/// obu_extension_flag (AV1, 5.3.2).
const EXTENSION_FLAG: u8 = 0b100;

/// The bits of the aggregation header.
mod aggregation {
    /// The first element goes on with an OBU of the packet before.
    pub(super) const Z: u8 = 0x80;
    /// The last element goes on in the packet behind.
    pub(super) const Y: u8 = 0x40;
    /// The first packet of a coded video sequence.
    pub(super) const N: u8 = 0x08;
}

impl Packetizer {
    /// One temporal unit in the low-overhead format. Where `keyframe` says that a coded video sequence begins and it has no sequence
    /// header of its own, that of `config` goes in front. On an error nothing is sent and no sequence number is used.
    pub fn av1(
        &mut self,
        temporal_unit: &[u8],
        keyframe: bool,
        config: &Config,
        timestamp: u32,
    ) -> Result<PacketBatch, Av1Error> {
        let mut elements: SmallVec<[Element<'_>; 8]> = SmallVec::new();
        for obu in obus(temporal_unit) {
            let obu = obu?;
            match obu.obu_type {
                obu_type::TEMPORAL_DELIMITER | obu_type::TILE_LIST | obu_type::PADDING => {}
                _ => elements.push(Element::Obu(obu)),
            }
        }
        let has_header = elements.iter().any(|e| e.obu_type() == obu_type::SEQUENCE_HEADER);
        if keyframe && !has_header && !config.sequence_header.is_empty() {
            elements.insert(0, Element::Header(&config.sequence_header));
        }
        let mut writer = Writer::new(self, timestamp, temporal_unit.len());
        let n = if keyframe { aggregation::N } else { 0 };
        let mut packet = Packet::new(n);
        for element in &elements {
            packet.add(element, &mut writer);
        }
        packet.flush(false, &mut writer);
        Ok(writer.finish())
    }
}

/// What is sent as one OBU element.
enum Element<'a> {
    Obu(Obu<'a>),
    Header(&'a [u8]),
}

impl Element<'_> {
    fn obu_type(&self) -> u8 {
        match self {
            Self::Obu(obu) => obu.obu_type,
            Self::Header(_) => obu_type::SEQUENCE_HEADER,
        }
    }

    /// temporal_id and spatial_id, where there is an extension header.
    fn layer(&self) -> Option<u8> {
        match *self.pieces()[0] {
            [first, extension, ..] if first & EXTENSION_FLAG != 0 => Some(extension >> 3),
            _ => None,
        }
    }

    /// Its bytes in two pieces: header and payload.
    fn pieces(&self) -> [&[u8]; 2] {
        match self {
            Self::Obu(obu) => [obu.header(), obu.payload],
            Self::Header(header) => [header, &[]],
        }
    }
}

/// The packet that is being filled.
struct Packet {
    /// The aggregation header but for Y.
    header: u8,
    body: Vec<u8>,
    /// That of the OBUs in it that have one.
    layer: Option<u8>,
}

impl Packet {
    fn new(header: u8) -> Self {
        Self { header, body: Vec::new(), layer: None }
    }

    fn add(&mut self, element: &Element<'_>, writer: &mut Writer<'_>) {
        let [mut header, mut payload] = element.pieces();
        let layer = element.layer();
        if self.layer.is_some_and(|own| layer.is_some_and(|other| own != other)) {
            self.flush(false, writer);
            self.header = 0;
        }
        loop {
            self.layer = layer.or(self.layer);
            let left = header.len() + payload.len();
            let room = writer.track.max_payload - 1 - self.body.len();
            let whole = leb128_bytes(left) + left;
            if whole <= room {
                self.put(header, payload);
                return;
            }
            // A piece with its length; less than this is not worth a fragment.
            const LEAST: usize = 2 + 16;
            if room >= LEAST {
                let piece = room - leb128_bytes(room - 1);
                let (from_header, rest_header) = header.split_at(header.len().min(piece));
                let from_payload = payload.split_at(piece - from_header.len());
                self.put(from_header, from_payload.0);
                (header, payload) = (rest_header, from_payload.1);
                self.flush(true, writer);
                self.header = aggregation::Z;
            } else {
                self.flush(false, writer);
                self.header = 0;
            }
        }
    }

    fn put(&mut self, header: &[u8], payload: &[u8]) {
        let mut length = header.len() + payload.len();
        while length >= 0x80 {
            self.body.push(0x80 | (length & 0x7F) as u8);
            length >>= 7;
        }
        self.body.push(length as u8);
        self.body.extend_from_slice(header);
        self.body.extend_from_slice(payload);
    }

    fn flush(&mut self, goes_on: bool, writer: &mut Writer<'_>) {
        if self.body.is_empty() {
            return;
        }
        writer.begin(1 + self.body.len());
        writer.buffer.put_u8(self.header | if goes_on { aggregation::Y } else { 0 });
        writer.buffer.put_slice(&self.body);
        self.body.clear();
        self.layer = None;
    }
}

/// Bytes of leb128() (AV1, 4.10.5).
fn leb128_bytes(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    (bits as usize).div_ceil(7).max(1)
}

#[cfg(test)]
mod tests;
