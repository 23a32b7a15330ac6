//! RFC 7798: single NAL unit packets, aggregation packets, fragmentation units. No DONL: packets are in decoding order.

use bytes::BufMut;
use smallvec::SmallVec;

use super::{PacketBatch, Packetizer, Writer};
use crate::codec::{
    h264::{H264Error, avcc_nal_units},
    h265::{Config, NAL_HEADER_BYTES, nal_type},
};

/// NAL unit type of an aggregation packet (RFC 7798, 4.4.2).
pub(in crate::rtp) const AP: u8 = 48;
/// NAL unit type of a fragmentation unit (RFC 7798, 4.4.3).
pub(in crate::rtp) const FU: u8 = 49;
/// PayloadHdr and FU header.
const FU_HEADER_BYTES: usize = 3;

impl Packetizer {
    /// One H.265 access unit (RFC 7798) from length-prefixed NAL units. If it holds an IRAP picture, `parameter_sets` go in front of it
    /// (behind an access unit delimiter) unless it carries its own. Small NAL units that follow each other share an aggregation
    /// packet. On an error nothing is sent and no sequence number is used. What is too short for a NAL unit header is left out.
    pub fn h265(
        &mut self,
        hvcc: &[u8],
        length_size: u8,
        parameter_sets: &Config,
        timestamp: u32,
    ) -> Result<PacketBatch, H264Error> {
        let nals: SmallVec<[&[u8]; 16]> =
            avcc_nal_units(hvcc, length_size).collect::<Result<_, _>>()?;
        let has = |wanted: u8| nals.iter().any(|nal| nal_type::of_nal(nal) == Some(wanted));
        let irap = nals.iter().filter_map(|nal| nal_type::of_nal(nal));
        let irap = irap.clone().any(|t| nal_type::IRAP.contains(&t));
        let sets = [
            (&parameter_sets.vps, nal_type::VPS),
            (&parameter_sets.sps, nal_type::SPS),
            (&parameter_sets.pps, nal_type::PPS),
        ];
        let missing = sets.into_iter().filter(|&(_, kind)| irap && !has(kind));
        let mut to_insert = missing.flat_map(|(sets, _)| sets).peekable();

        let mut writer = Writer::new(self, timestamp, hvcc.len());
        let mut aggregate = Aggregate::default();
        for nal in nals.iter().copied().filter(|nal| nal.len() >= NAL_HEADER_BYTES) {
            if to_insert.peek().is_some() && nal_type::of(nal[0]) != nal_type::AUD {
                to_insert.by_ref().for_each(|set| aggregate.add(set, &mut writer));
            }
            aggregate.add(nal, &mut writer);
        }
        aggregate.flush(&mut writer);
        Ok(writer.finish())
    }
}

/// NAL units that follow each other and fit one packet together.
#[derive(Default)]
struct Aggregate<'a> {
    nals: SmallVec<[&'a [u8]; 8]>,
    /// The payload of the aggregation packet that they would make.
    bytes: usize,
}

impl<'a> Aggregate<'a> {
    fn add(&mut self, nal: &'a [u8], writer: &mut Writer<'_>) {
        let max_payload = writer.track.max_payload;
        if nal.len() < NAL_HEADER_BYTES {
            return;
        }
        if self.nals.is_empty() || self.bytes + 2 + nal.len() > max_payload {
            self.flush(writer);
            self.bytes = NAL_HEADER_BYTES;
        }
        // Types from 48 on are RFC 7798's own: they travel within others.
        let alone = nal_type::of(nal[0]) < AP;
        if nal.len() <= max_payload - if alone { 0 } else { NAL_HEADER_BYTES + 2 } {
            self.bytes += 2 + nal.len();
            self.nals.push(nal);
        } else {
            fragments(nal, writer);
        }
    }

    fn flush(&mut self, writer: &mut Writer<'_>) {
        match self.nals.as_slice() {
            [] => {}
            [nal] if nal_type::of(nal[0]) < AP => {
                writer.begin(nal.len());
                writer.buffer.put_slice(nal);
            }
            nals => {
                writer.begin(self.bytes);
                writer.buffer.put_slice(&aggregation_header(nals));
                for nal in nals {
                    writer.buffer.put_u16(nal.len() as u16);
                    writer.buffer.put_slice(nal);
                }
            }
        }
        self.nals.clear();
    }
}

/// F is that of any, LayerId and TID are the lowest of all (RFC 7798, 4.4.2).
fn aggregation_header(nals: &[&[u8]]) -> [u8; 2] {
    let f = nals.iter().fold(0, |f, nal| f | nal[0] & 0x80);
    let layer = |nal: &[u8]| (nal[0] & 1) << 5 | nal[1] >> 3;
    let layer_id = nals.iter().map(|nal| layer(nal)).min().unwrap_or(0);
    let tid = nals.iter().map(|nal| nal[1] & 0b111).min().unwrap_or(1);
    [f | AP << 1 | layer_id >> 5, layer_id << 3 | tid]
}

/// All of one size but a smaller last one.
fn fragments(nal: &[u8], writer: &mut Writer<'_>) {
    let header = [nal[0] & 0b1000_0001 | FU << 1, nal[1]];
    let payload = &nal[NAL_HEADER_BYTES..];
    let max_fragment = match writer.track.max_payload - FU_HEADER_BYTES {
        // There are two at least; only types that cannot stand alone come here so short.
        max if payload.len() <= max => payload.len().div_ceil(2),
        max => max,
    };
    let count = payload.len().div_ceil(max_fragment);
    for (at, fragment) in payload.chunks(max_fragment).enumerate() {
        let start = if at == 0 { 0x80 } else { 0 };
        let end = if at + 1 == count { 0x40 } else { 0 };
        writer.begin(FU_HEADER_BYTES + fragment.len());
        writer.buffer.put_slice(&header);
        writer.buffer.put_u8(start | end | nal_type::of(nal[0]));
        writer.buffer.put_slice(fragment);
    }
}

#[cfg(test)]
mod tests;
