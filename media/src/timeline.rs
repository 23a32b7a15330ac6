//! The sending side's timeline: RTMP's 32-bit milliseconds unwrapped, and the sample clock of audio.

use std::time::Duration;

use crate::{ClockRate, MediaTime};

/// Unwraps the 32-bit millisecond timestamps of one publisher (all its tracks share one) into a 64-bit timeline.
/// Signed distances below 2^31 ms from the last one are taken as they are.
#[derive(Debug, Default)]
pub struct TimestampUnwrapper {}

impl TimestampUnwrapper {
    /// The place of `timestamp_ms` on the timeline; the first one keeps its value.
    pub fn unwrap(&mut self, _timestamp_ms: u32) -> MediaTime {
        todo!()
    }
}

/// Stamps audio frames by counting samples, so that they are free of the publisher's millisecond jitter, and re-anchors
/// when the count drifts further than `max_drift` (50 ms) from the publisher's clock.
#[derive(Debug)]
pub struct AudioClock {}

impl AudioClock {
    /// A clock before its first frame.
    pub fn new(_rate: ClockRate, _max_drift: Duration) -> Self {
        todo!()
    }
    /// The time in ticks of `rate` (64 bits, not wrapped) of a frame of `samples` that the publisher stamped `at`.
    pub fn stamp(&mut self, _at: MediaTime, _samples: u32) -> i64 {
        todo!()
    }
    /// How often it was re-anchored after its first frame.
    pub fn reanchored(&self) -> u32 {
        todo!()
    }
}
