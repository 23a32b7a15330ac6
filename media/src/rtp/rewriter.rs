//! Received access units to those that readers see.

use super::{AssembledAccessUnit, PacketBatch};

/// Rewrites packets of a received access unit into the space of the stream that readers see: SSRC, payload type, sequence number and
/// timestamp offset. Keeps sequence and timestamp continuous when the leg is made anew.
pub struct Rewriter {}

impl Rewriter {
    /// Output under `ssrc` and `payload_type`, the first packet having `first_sequence_number`. Timestamps are kept as they are
    /// until the first [`Self::resume`].
    pub fn new(_ssrc: u32, _payload_type: u8, _first_sequence_number: u16) -> Self {
        todo!()
    }
    /// The access unit's packets as readers get them. Gaps of lost packets stay gaps in the sequence numbers.
    pub fn rewrite(&mut self, _unit: &AssembledAccessUnit) -> PacketBatch {
        todo!()
    }
    /// A new leg begins: its first packet gets the next sequence number, and its timestamps are shifted so that `first_timestamp` of the new
    /// leg lies `gap_ticks` after the last timestamp that was output.
    pub fn resume(&mut self, _first_timestamp: u32, _gap_ticks: u32) {
        todo!()
    }
    /// The output timestamp of an input timestamp.
    pub fn map_timestamp(&self, _timestamp: u32) -> u32 {
        todo!()
    }
    /// The sequence number that the next output packet has if none is lost.
    pub fn next_sequence_number(&self) -> u16 {
        todo!()
    }
}
