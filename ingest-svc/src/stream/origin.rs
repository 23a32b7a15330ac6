//! The wall-clock time of the timeline's origin, from the stream's task to its leg's.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use media::NtpTime;

/// See the module. 0 is 1900-01-01: no time that any clock shows.
#[derive(Debug, Default)]
pub(crate) struct Origin(AtomicU64);

impl Origin {
    /// The time, once the stream has begun.
    pub(crate) fn get(&self) -> Option<NtpTime> {
        match self.0.load(Relaxed) {
            0 => None,
            bits => Some(NtpTime::from_bits(bits)),
        }
    }

    pub(super) fn set(&self, origin: NtpTime) {
        self.0.store(origin.bits(), Relaxed);
    }
}
