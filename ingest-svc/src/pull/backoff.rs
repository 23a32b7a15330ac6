//! When a pull is tried again.

use std::time::Duration;

/// The longest first wait: what a restarting server is away at the least.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait: a camera that is back is seen again within half a minute, and a dead one is asked twice a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// How long a pull must play to be as good as new.
pub(super) const STABLE: Duration = Duration::from_secs(60);

/// Exponential, from [`FIRST`] to [`LONGEST`]. Half of each wait is random, so that many pulls of one server that restarts do
/// not come back at one time.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// It failed: how long to wait. `random` is from 0 to 1.
    pub(super) fn fail(&mut self, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        let longest = FIRST.saturating_mul(doubled).min(LONGEST);
        longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// It has played for [`STABLE`].
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_half_a_second_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.fail(1.0).as_secs_f64()).collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(backoff.failures(), 9);
        backoff.reset();
        assert_eq!((backoff.failures(), backoff.fail(1.0)), (0, FIRST));
    }

    #[test]
    fn half_of_each_wait_is_random() {
        for failures in [0, 3, 20, u32::MAX] {
            let wait = |random| Backoff { failures }.fail(random);
            assert_eq!(wait(0.0) * 2, wait(1.0));
            assert!(wait(0.0) < wait(0.5) && wait(0.5) < wait(1.0));
        }
    }
}
