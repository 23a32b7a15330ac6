//! What the API shows of a stream that has a leg.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use proto::v1;
use tokio::sync::watch;

use super::LegState;

/// What the API shows of a stream, and when it last changed.
pub(crate) struct StreamStatus {
    now: Mutex<TrackStatus>,
    revision: AtomicU64,
    table: Arc<watch::Sender<u64>>,
}

/// State and tracks.
#[derive(Clone)]
pub(crate) struct TrackStatus {
    /// Whether media flows.
    pub(crate) state: LegState,
    /// The tracks as the API shows them.
    pub(crate) tracks: Vec<v1::Track>,
}

impl StreamStatus {
    /// A stream that waits; `table` is told of each change.
    pub(crate) fn new(table: Arc<watch::Sender<u64>>) -> Self {
        let now = TrackStatus { state: LegState::Waiting, tracks: Vec::new() };
        Self { now: Mutex::new(now), revision: AtomicU64::new(0), table }
    }

    /// As it is now.
    pub(crate) fn now(&self) -> TrackStatus {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Grows with each change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Something that the API shows has changed.
    pub(crate) fn touch(&self) {
        self.revision.fetch_add(1, Ordering::AcqRel);
        self.table.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// It is so now.
    pub(super) fn set(&self, status: TrackStatus) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = status;
        self.touch();
    }
}
