//! Packets in order to access units.

use std::{cell::RefCell, collections::VecDeque, time::Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Header, Ordered, PacketBatch, inspect, inspect::marker_ends_unit};
use crate::codec::{Codec, MediaKind};

/// What a thread keeps of its buffer: of the largest pictures, memory that was never touched would cost more than all the rest.
const KEPT_BYTES: usize = 4 << 20;

thread_local! {
    /// Where access units are gathered, one after the other: most come in one piece. It need not grow each time, and what was written last is in
    /// the processor's cache. A whole access unit is taken out of it as large as it is.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Gathers packets in order into access units: ends one where its payload format says so or the timestamp changes. Bounded by
/// `max_bytes` per access unit; what exceeds it is dropped whole.
pub struct AccessUnitAssembler {
    codec: Codec,
    max_bytes: usize,
    open: Option<Open>,
    /// The packets of the open access unit.
    data: Vec<u8>,
    ready: VecDeque<AssembledAccessUnit>,
    /// Packets are missing before the next one.
    gap: bool,
    oversized: u32,
}

struct Open {
    sizes: SmallVec<[u16; 16]>,
    timestamp: u32,
    keyframe: bool,
    damaged: bool,
    oversized: bool,
    received_at: Instant,
    parameter_sets: SmallVec<[Bytes; 2]>,
}

/// One access unit as it came off the leg.
#[derive(Clone, Debug)]
pub struct AssembledAccessUnit {
    /// Its packets as they came, in order.
    pub packets: PacketBatch,
    /// Their RTP timestamp.
    pub timestamp: u32,
    /// Whether a picture that decoders can start at begins in it; for audio always.
    pub keyframe: bool,
    /// Whether packets of it (or, unknowably, between it and its neighbour) are missing.
    pub damaged: bool,
    /// When its first packet came.
    pub received_at: Instant,
    /// Parameter sets that it carries (H.264, H.265).
    pub parameter_sets: SmallVec<[Bytes; 2]>,
}

impl AccessUnitAssembler {
    /// An assembler for a track in this codec.
    pub fn new(codec: Codec, max_bytes: usize) -> Self {
        Self {
            codec,
            max_bytes,
            open: None,
            data: Vec::new(),
            ready: VecDeque::new(),
            gap: false,
            oversized: 0,
        }
    }

    /// Takes what the reorder buffer gave.
    pub fn handle(&mut self, ordered: Ordered) {
        match ordered {
            Ordered::Packet(packet) => {
                self.packet(&packet.header, &packet.bytes, packet.received_at);
            }
            Ordered::Lost(0) => {}
            Ordered::Lost(_) => {
                if let Some(open) = &mut self.open {
                    open.damaged = true;
                }
                self.gap = true;
            }
            Ordered::Restarted => {
                // Its marker never came, so its end may be missing.
                if let Some(open) = &mut self.open {
                    open.damaged = true;
                }
                self.close();
                self.gap = false;
            }
        }
    }

    /// Takes the next packet, with its header.
    pub fn packet(&mut self, header: &Header, packet: &[u8], received_at: Instant) {
        let timestamp = header.timestamp;
        if self.open.as_ref().is_some_and(|open| open.timestamp != timestamp) {
            self.close();
        }
        let (codec, max_bytes, gap) = (self.codec, self.max_bytes, std::mem::take(&mut self.gap));
        let open = self.open.get_or_insert_with(|| {
            self.data = BUFFER.take();
            Open {
                sizes: SmallVec::new(),
                timestamp,
                keyframe: codec.kind() == MediaKind::Audio,
                damaged: gap,
                oversized: false,
                received_at,
                parameter_sets: SmallVec::new(),
            }
        });
        let mut ends = header.marker && marker_ends_unit(codec);
        let size = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        if self.data.len() + usize::from(size) > max_bytes || usize::from(size) != packet.len() {
            open.oversized = true;
        }
        if !open.oversized {
            self.data.extend_from_slice(packet);
            open.sizes.push(size);
            let sets = &mut open.parameter_sets;
            let payload = packet.get(header.payload.clone()).unwrap_or_default();
            let info = inspect(codec, payload, |set| sets.push(Bytes::copy_from_slice(set)));
            open.keyframe |= info.starts_keyframe;
            // As when a source was joined, or began anew, in the middle of an access unit.
            open.damaged |= info.continues && open.sizes.len() == 1;
            ends |= info.ends_unit;
        }
        if ends {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let mut buffer = std::mem::take(&mut self.data);
        let data = Bytes::copy_from_slice(&buffer);
        buffer.clear();
        buffer.shrink_to(KEPT_BYTES);
        BUFFER.set(buffer);
        if open.oversized {
            self.oversized = self.oversized.wrapping_add(1);
            return;
        }
        self.ready.push_back(AssembledAccessUnit {
            packets: PacketBatch { data, sizes: open.sizes },
            timestamp: open.timestamp,
            keyframe: open.keyframe,
            damaged: open.damaged,
            received_at: open.received_at,
            parameter_sets: open.parameter_sets,
        });
    }

    /// The next whole access unit.
    pub fn poll(&mut self) -> Option<AssembledAccessUnit> {
        self.ready.pop_front()
    }

    /// The whole access units that wait to be polled.
    pub fn ready(&self) -> impl ExactSizeIterator<Item = &AssembledAccessUnit> {
        self.ready.iter()
    }

    /// Access units dropped for exceeding the bound.
    pub fn oversized(&self) -> u32 {
        self.oversized
    }
}

#[cfg(test)]
mod tests;
