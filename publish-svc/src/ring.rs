//! The ring of one stream: access units ready to be written, shared by all its readers (docs/architecture.md). One producer;
//! a reader is a cursor, never a queue. Bounded in bytes and in media time.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use media::{codec::MediaKind, rtp::PacketBatch};
use svc_core::config::RingConfig;

/// One access unit in the ring.
#[derive(Debug)]
pub struct RingUnit {
    /// The index of its track in the stream's description.
    pub track: usize,
    /// Pictures or sound.
    pub kind: MediaKind,
    /// A reader can start here: an undamaged IDR.
    pub keyframe: bool,
    /// Its RTP timestamp as readers get it.
    pub rtp_timestamp: u32,
    /// The sequence number of its first packet as readers get it.
    pub first_sequence_number: u16,
    /// Its packets as readers get them.
    pub packets: PacketBatch,
    /// When its first packet came.
    pub received_at: Instant,
    /// The packets with interleaved framing (RFC 2326, 10.12) for the default channels 2·track, 2·track + 1; made once, by the first who asks.
    framed: OnceLock<Bytes>,
}

/// A reader's place in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(u64);

/// What a reader gets.
#[derive(Debug, Default)]
pub struct Batch {
    /// Access units in decode order.
    pub units: Vec<Arc<RingUnit>>,
    /// How many access units were passed over since they were gone or too old; a skip ends at a keyframe.
    pub skipped: u32,
}

/// The ring.
pub struct Ring {}

impl Ring {
    /// An empty ring.
    pub fn new(_config: &RingConfig) -> Self {
        todo!()
    }
    /// Puts in the next access unit and wakes the readers.
    pub fn push(&self, _unit: RingUnit) {
        todo!()
    }
    /// Where a new reader starts: at the last keyframe of video, or (no video in the stream) at the live edge.
    pub fn last_keyframe(&self) -> Option<Cursor> {
        todo!()
    }
    /// Behind the newest access unit.
    pub fn live_edge(&self) -> Cursor {
        todo!()
    }
    /// What lies behind `cursor`, at most `max_units`, and moves it. A cursor whose place is gone, or (with `max_age`) that is older than that,
    /// is moved to the newest keyframe.
    pub fn read(
        &self,
        _cursor: &mut Cursor,
        _max_units: usize,
        _max_age: std::time::Duration,
    ) -> Batch {
        todo!()
    }
    /// Completes when something lies behind `cursor`.
    pub async fn wait(&self, _cursor: Cursor) {
        todo!()
    }
    /// The first access unit of `track` at or behind `cursor`, for RTP-Info.
    pub fn first_of_track(&self, _cursor: Cursor, _track: usize) -> Option<Arc<RingUnit>> {
        todo!()
    }
    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        todo!()
    }
}

impl RingUnit {
    /// A unit whose framing is not made yet.
    pub fn new(
        track: usize,
        kind: MediaKind,
        keyframe: bool,
        rtp_timestamp: u32,
        first_sequence_number: u16,
        packets: PacketBatch,
        received_at: Instant,
    ) -> Self {
        Self {
            track,
            kind,
            keyframe,
            rtp_timestamp,
            first_sequence_number,
            packets,
            received_at,
            framed: OnceLock::new(),
        }
    }
    /// The packets with interleaved framing on `channel`.
    pub fn framed(&self, _channel: u8) -> Bytes {
        let _ = &self.framed;
        todo!()
    }
}
