//! The sending side's timeline: RTMP's 32-bit milliseconds unwrapped, and the sample clock of audio.

use std::time::Duration;

use crate::{ClockRate, MediaTime};

/// 139 years, either way: no publisher comes here but by jumping for ever, and the distance of two such times is still a
/// number of nanoseconds in 64 bits.
const MAX_MS: i64 = 1 << 42;

/// Unwraps the 32-bit millisecond timestamps of one publisher (all its tracks share one) into a 64-bit timeline.
/// Signed distances below 2^31 ms from the last one are taken as they are. What would lie more than 139 years from the
/// origin begins anew at its own value.
#[derive(Debug, Default)]
pub struct TimestampUnwrapper {
    last_ms: Option<i64>,
}

impl TimestampUnwrapper {
    /// Where [`Self::unwrap`] would place `timestamp_ms`; nothing is changed.
    pub fn peek(&self, timestamp_ms: u32) -> MediaTime {
        Self { last_ms: self.last_ms }.unwrap(timestamp_ms)
    }

    /// The place of `timestamp_ms` on the timeline; the first one keeps its value.
    pub fn unwrap(&mut self, timestamp_ms: u32) -> MediaTime {
        let ms = match self.last_ms {
            None => i64::from(timestamp_ms),
            Some(last) => last + i64::from(timestamp_ms.wrapping_sub(last as u32) as i32),
        };
        let ms = if ms.abs() > MAX_MS { i64::from(timestamp_ms) } else { ms };
        self.last_ms = Some(ms);
        MediaTime::from_millis(ms)
    }
}

/// Stamps audio frames by counting samples, so that they are free of the publisher's millisecond jitter, and re-anchors
/// when the count drifts further than `max_drift` (50 ms) from the publisher's clock. Never runs backwards: a
/// re-anchor to an earlier time goes on from the end of the last frame.
#[derive(Debug)]
pub struct AudioClock {
    rate: ClockRate,
    max_drift: i64,
    next: Option<i64>,
    reanchored: u32,
}

impl AudioClock {
    /// A clock before its first frame.
    pub fn new(rate: ClockRate, max_drift: Duration) -> Self {
        let max_drift = MediaTime::from_nanos(max_drift.as_nanos() as i64).to_ticks(rate);
        Self { rate, max_drift, next: None, reanchored: 0 }
    }

    /// The time in ticks of `rate` (64 bits, not wrapped) of a frame of `samples` that the publisher stamped `at`.
    pub fn stamp(&mut self, at: MediaTime, samples: u32) -> i64 {
        let told = at.to_ticks(self.rate);
        let stamp = match self.next {
            None => told,
            Some(next) if (told - next).abs() <= self.max_drift => next,
            Some(next) => {
                // Behind the count: going back would break the order of time, so the count goes on until the
                // publisher has caught up.
                if told > next {
                    self.reanchored = self.reanchored.wrapping_add(1);
                    told
                } else {
                    next
                }
            }
        };
        self.next = Some(stamp + i64::from(samples));
        stamp
    }

    /// How often it was re-anchored after its first frame.
    pub fn reanchored(&self) -> u32 {
        self.reanchored
    }
}

#[cfg(test)]
mod tests;
