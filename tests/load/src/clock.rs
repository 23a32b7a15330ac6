//! What all threads of a run share: its clock, and the window in which is measured.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Never, in microseconds of the run.
const NEVER: u64 = u64::MAX;

/// Shared by all threads of a run.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    begin_us: AtomicU64,
    end_us: AtomicU64,
    /// The threads shall end.
    pub stop: AtomicBool,
    /// Publishers may send.
    pub go: AtomicBool,
    /// How many readers have got their first keyframe, or are let in by the floor.
    pub playing: AtomicUsize,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            begin_us: AtomicU64::new(NEVER),
            end_us: AtomicU64::new(NEVER),
            stop: AtomicBool::new(false),
            go: AtomicBool::new(false),
            playing: AtomicUsize::new(0),
        }
    }
}

impl Clock {
    /// Microseconds since the run began, by the monotonic clock.
    pub fn now_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    /// When that was or will be.
    pub fn instant(&self, us: u64) -> Instant {
        self.origin + Duration::from_micros(us)
    }

    /// Measures from then to then.
    pub fn measure(&self, begin_us: u64, end_us: u64) {
        self.end_us.store(end_us, Relaxed);
        self.begin_us.store(begin_us, Relaxed);
    }

    /// Whether that time is measured.
    pub fn is_measured(&self, us: u64) -> bool {
        (self.begin_us.load(Relaxed)..self.end_us.load(Relaxed)).contains(&us)
    }

    /// When measuring begins, once that is known.
    pub fn begins_us(&self) -> Option<u64> {
        Some(self.begin_us.load(Relaxed)).filter(|begin| *begin != NEVER)
    }
}
