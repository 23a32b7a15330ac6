//! How fast packets may go out to a receiver whose socket buffer is small: a token bucket. Sans-IO.
//!
//! A receive buffer of Linux's default size (212,992 bytes) holds some 90 packets of 1200 bytes, for the kernel counts 2304 bytes
//! for each. A keyframe of 2 MB is 1,700 packets: sent at once, most of it would be lost.

use std::time::{Duration, Instant};

/// What rates are said of.
pub const PACE_PERIOD: Duration = Duration::from_millis(1);
/// Periods that an access unit may take to go out.
const LONGEST: usize = 20;
/// How much faster large ones may go out for its sake.
const MAX_HURRY: u32 = 3;

/// So many packets may go out back to back after a rest, and then one each so often.
#[derive(Clone, Copy, Debug)]
pub struct SendPace {
    depth: u32,
    rate: u32,
    /// Between packets.
    interval_ns: u64,
    /// Packets that may go out as of `at`.
    credit: u32,
    at: Option<Instant>,
}

impl SendPace {
    /// `depth` packets after a rest (at least 1), `rate` packets in each [`PACE_PERIOD`].
    pub fn new(depth: u32, rate: u32) -> Self {
        Self { depth: depth.max(1), rate, interval_ns: interval_ns(rate), credit: 0, at: None }
    }

    /// The rate of an access unit of so many packets where others have `rate`: as high as lets it be out within 20 ms, at most three times
    /// that.
    pub fn rate_of(access_unit_packets: usize, rate: u32) -> u32 {
        let in_time = u32::try_from(access_unit_packets.div_ceil(LONGEST)).unwrap_or(u32::MAX);
        in_time.clamp(rate, MAX_HURRY * rate)
    }

    /// Whether so many packets may go out at once; if so, they are counted. A run of more than the bucket holds goes when the bucket is full.
    pub fn allow(&mut self, now: Instant, packets: u32) -> bool {
        self.earn(now);
        let needed = packets.min(self.depth);
        let allowed = self.credit >= needed;
        if allowed {
            self.credit -= needed;
        }
        allowed
    }

    /// From now on `rate` packets in each [`PACE_PERIOD`].
    pub fn set_rate(&mut self, rate: u32) {
        if rate != self.rate {
            (self.rate, self.interval_ns) = (rate, interval_ns(rate));
        }
    }

    /// Packets that were allowed did not go out.
    pub fn give_back(&mut self, packets: u32) {
        self.credit = (self.credit + packets).min(self.depth);
    }

    /// When so many packets may go out, as far as is known now; `None`: at once.
    pub fn when(&self, packets: u32) -> Option<Instant> {
        let missing = packets.min(self.depth).saturating_sub(self.credit);
        let wait = Duration::from_nanos(self.interval_ns * u64::from(missing));
        self.at.filter(|_| missing > 0).map(|at| at + wait)
    }

    fn earn(&mut self, now: Instant) {
        let Some(at) = self.at else {
            (self.credit, self.at) = (self.depth, Some(now));
            return;
        };
        let passed = now.saturating_duration_since(at).as_nanos() as u64;
        let earned = passed / self.interval_ns;
        if earned >= u64::from(self.depth - self.credit) {
            (self.credit, self.at) = (self.depth, Some(now.max(at)));
        } else {
            self.credit += earned as u32;
            self.at = Some(at + Duration::from_nanos(self.interval_ns * earned));
        }
    }
}

fn interval_ns(rate: u32) -> u64 {
    (PACE_PERIOD.as_nanos() as u64 / u64::from(rate.max(1))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = PACE_PERIOD;

    #[test]
    fn after_a_rest_the_bucket_goes_at_once_and_then_at_the_rate() {
        let mut pace = SendPace::new(64, 32);
        let t = Instant::now();
        assert_eq!(pace.when(32), None);
        assert!(pace.allow(t, 32) && pace.allow(t, 32));
        assert!(!pace.allow(t, 1));
        assert_eq!(pace.when(32), Some(t + MS));
        assert!(!pace.allow(t + MS / 2, 32));
        // Half of it was earned already.
        assert_eq!(pace.when(32), Some(t + MS));
        assert!(pace.allow(t + MS, 32));
        assert!(!pace.allow(t + MS, 1));
        // However long the rest, there is no more than the bucket.
        assert!(pace.allow(t + MS * 900, 64));
        assert!(!pace.allow(t + MS * 900, 1));
    }

    #[test]
    fn at_no_rate_is_more_sent_than_a_bucket_and_what_the_time_brings() {
        let mut pace = SendPace::new(64, 80);
        let t = Instant::now();
        let mut sent = 0;
        // A timer that comes at odd times.
        let mut now = t;
        for step in 0..1000_u32 {
            while pace.allow(now, 20) {
                sent += 20;
            }
            let most = 64 + (now - t).as_nanos() * 80 / MS.as_nanos();
            assert!(sent <= most, "{sent} of {most} at {:?}", now - t);
            now += MS * (step % 7) / 10;
        }
        let most = (now - t).as_nanos() * 80 / MS.as_nanos();
        assert!(sent * 10 > most * 9, "{sent} of {most}: the rate is kept");
    }

    #[test]
    fn what_is_larger_than_the_bucket_waits_until_it_is_full() {
        let mut pace = SendPace::new(4, 4);
        let t = Instant::now();
        assert!(pace.allow(t, 9));
        assert_eq!(pace.when(9), Some(t + MS));
        assert!(!pace.allow(t + MS / 2, 9));
        assert!(pace.allow(t + MS, 9));
        pace.give_back(9);
        assert!(pace.allow(t + MS, 4));
    }

    #[test]
    fn a_large_access_unit_is_hurried_within_bounds() {
        let rates =
            [1, 640, 641, 1748, 1920, 1_000_000].map(|packets| SendPace::rate_of(packets, 32));
        assert_eq!(rates, [32, 32, 33, 88, 96, 96]);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_earns_nothing() {
        let mut pace = SendPace::new(4, 4);
        let t = Instant::now();
        assert!(pace.allow(t + MS, 4));
        assert!(!pace.allow(t, 1));
        assert!(!pace.allow(t + MS, 1));
        assert!(pace.allow(t + MS * 2, 4));
    }
}
