//! What became of a stream's readers: how much each was sent, why it skipped, and why the server dropped who is gone.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU32},
    time::SystemTime,
};

use crate::stream::{ReaderEntry, Transport};

/// Why a reader was moved to a newer keyframe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SkipReason {
    /// What came next was older than `rtsp.max_reader_age`.
    TooOld,
    /// What came next had left the ring.
    Overwritten,
}

/// Why the server dropped a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DropReason {
    /// Nothing could be written to it for `rtsp.write_timeout`.
    Stuck,
    /// Nothing was heard of it for `rtsp.session_timeout`.
    Silent,
    /// It broke the protocol.
    Protocol,
}

/// What a reader was sent, or a group whose readers share this.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// RTP packets, modulo 2^32.
    pub(crate) packets: AtomicU32,
    skips: Mutex<Skips>,
}

/// How a reader has skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Skips {
    /// How often.
    pub(crate) count: u32,
    /// Access units missed by it.
    pub(crate) access_units: u32,
    /// Why the last time.
    pub(crate) last: Option<SkipReason>,
}

/// What became of the readers of a stream; counts are modulo 2^32.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Readers there were.
    pub(crate) readers: u32,
    /// Skips of what was too old.
    pub(crate) too_old: u32,
    /// Skips of what had left the ring.
    pub(crate) overwritten: u32,
    /// Access units missed by skipping.
    pub(crate) access_units_skipped: u32,
    /// Dropped as stuck.
    pub(crate) stuck: u32,
    /// Dropped as silent.
    pub(crate) silent: u32,
    /// Dropped for breaking the protocol.
    pub(crate) protocol: u32,
    /// Who was dropped last.
    pub(crate) last_dropped: Option<Dropped>,
}

/// A reader that was dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dropped {
    /// Its public id.
    pub(crate) id: u64,
    /// The RTSP connection's peer.
    pub(crate) peer: SocketAddr,
    /// How it got its packets.
    pub(crate) by: Transport,
    /// Why.
    pub(crate) reason: DropReason,
    /// When.
    pub(crate) at: SystemTime,
    /// How often it had skipped.
    pub(crate) skips: u32,
}

impl SkipReason {
    /// For metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::Overwritten => "overwritten",
        }
    }
}

impl DropReason {
    /// For metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Silent => "silent",
            Self::Protocol => "protocol",
        }
    }
}

impl Sent {
    /// How it has skipped.
    pub(crate) fn skips(&self) -> Skips {
        *self.lock()
    }

    /// Access units were passed over; `began` says why, where a skip began with them.
    pub(crate) fn skip(&self, began: Option<SkipReason>, access_units: u32) {
        let mut skips = self.lock();
        skips.count = skips.count.wrapping_add(u32::from(began.is_some()));
        skips.access_units = skips.access_units.wrapping_add(access_units);
        skips.last = began.or(skips.last);
    }

    fn lock(&self) -> MutexGuard<'_, Skips> {
        self.skips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// A reader has come.
    pub(crate) fn come(&mut self) {
        self.readers = self.readers.wrapping_add(1);
    }

    /// As [`Sent::skip`], of any reader.
    pub(crate) fn skip(&mut self, began: Option<SkipReason>, access_units: u32) {
        let count = match began {
            Some(SkipReason::TooOld) => Some(&mut self.too_old),
            Some(SkipReason::Overwritten) => Some(&mut self.overwritten),
            None => None,
        };
        if let Some(count) = count {
            *count = count.wrapping_add(1);
        }
        self.access_units_skipped = self.access_units_skipped.wrapping_add(access_units);
    }

    /// A reader is dropped.
    pub(crate) fn dropped(&mut self, reader: &ReaderEntry, reason: DropReason, at: SystemTime) {
        let count = match reason {
            DropReason::Stuck => &mut self.stuck,
            DropReason::Silent => &mut self.silent,
            DropReason::Protocol => &mut self.protocol,
        };
        *count = count.wrapping_add(1);
        let ReaderEntry { id, peer, by, .. } = *reader;
        let skips = reader.sent.skips().count;
        self.last_dropped = Some(Dropped { id, peer, by, reason, at, skips });
    }
}
