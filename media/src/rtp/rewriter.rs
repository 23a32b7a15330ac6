//! Received access units to those that readers see.

use bytes::BytesMut;

use super::PacketBatch;

/// Rewrites packets of a received access unit into the space of the stream that readers see: SSRC, payload type, sequence number and
/// timestamp offset. Keeps sequence and timestamp continuous when the leg is made anew.
pub struct Rewriter {
    ssrc: u32,
    payload_type: u8,
    next: u16,
    /// Output minus input sequence number; `None` until the first packet of a leg.
    sequence_offset: Option<u16>,
    timestamp_offset: u32,
    last_timestamp: Option<u32>,
}

impl Rewriter {
    /// Output under `ssrc` and `payload_type`, the first packet having `first_sequence_number`. Timestamps are kept as they are
    /// until the first [`Self::resume`].
    pub fn new(ssrc: u32, payload_type: u8, first_sequence_number: u16) -> Self {
        Self {
            ssrc,
            payload_type,
            next: first_sequence_number,
            sequence_offset: None,
            timestamp_offset: 0,
            last_timestamp: None,
        }
    }

    /// An access unit's packets, of that RTP timestamp, as readers get them. Gaps of lost packets stay gaps in the sequence numbers. They
    /// are written over where nobody else has them, which an [`AssembledAccessUnit`](super::AssembledAccessUnit) sees to.
    pub fn rewrite(&mut self, packets: PacketBatch, timestamp: u32) -> PacketBatch {
        let timestamp = self.map_timestamp(timestamp);
        let PacketBatch { data, sizes } = packets;
        let mut data = data.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let mut at = 0;
        for &size in &sizes {
            let end = at + usize::from(size);
            if let Some(header) = data.get_mut(at..end).and_then(|p| p.first_chunk_mut::<12>()) {
                let sequence = u16::from_be_bytes([header[2], header[3]]);
                let offset =
                    *self.sequence_offset.get_or_insert_with(|| self.next.wrapping_sub(sequence));
                let sequence = sequence.wrapping_add(offset);
                header[1] = (header[1] & 0x80) | self.payload_type;
                header[2..4].copy_from_slice(&sequence.to_be_bytes());
                header[4..8].copy_from_slice(&timestamp.to_be_bytes());
                header[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
                self.next = sequence.wrapping_add(1);
            }
            at = end;
        }
        self.last_timestamp = Some(timestamp);
        PacketBatch { data: data.freeze(), sizes }
    }

    /// A new leg begins: its first packet gets the next sequence number, and its timestamps are shifted so that `first_timestamp` of the new
    /// leg lies `gap_ticks` after the last timestamp that was output.
    pub fn resume(&mut self, first_timestamp: u32, gap_ticks: u32) {
        self.sequence_offset = None;
        if let Some(last) = self.last_timestamp {
            self.timestamp_offset = last.wrapping_add(gap_ticks).wrapping_sub(first_timestamp);
        }
    }

    /// The output timestamp of an input timestamp.
    pub fn map_timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    /// The sequence number that the next output packet has if none is lost.
    pub fn next_sequence_number(&self) -> u16 {
        self.next
    }
}

#[cfg(test)]
mod tests;
