//! Packets in order to access units.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Ordered, PacketBatch};

/// Gathers packets in order into access units: ends one at the marker or where the timestamp changes. Bounded by
/// `max_bytes` per access unit; what exceeds it is dropped whole.
pub struct AccessUnitAssembler {}

/// One access unit as it came off the leg.
#[derive(Clone, Debug)]
pub struct AssembledAccessUnit {
    /// Its packets as they came, in order.
    pub packets: PacketBatch,
    /// Their RTP timestamp.
    pub timestamp: u32,
    /// For H.264 whether an IDR begins in it; for audio always.
    pub keyframe: bool,
    /// Whether packets of it (or, unknowably, between it and its neighbour) are missing.
    pub damaged: bool,
    /// When its first packet came.
    pub received_at: std::time::Instant,
    /// H.264 parameter sets that it carries.
    pub parameter_sets: SmallVec<[Bytes; 2]>,
}

impl AccessUnitAssembler {
    /// An assembler for a track of this kind.
    pub fn new(_kind: crate::codec::MediaKind, _max_bytes: usize) -> Self {
        todo!()
    }
    /// Takes what the reorder buffer gave.
    pub fn handle(&mut self, _ordered: Ordered) {
        todo!()
    }
    /// The next whole access unit.
    pub fn poll(&mut self) -> Option<AssembledAccessUnit> {
        todo!()
    }
    /// Access units dropped for exceeding the bound.
    pub fn oversized(&self) -> u32 {
        todo!()
    }
}
