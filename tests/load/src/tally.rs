//! What readers count.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::access_units::AccessUnit;

/// The longest delay that is told apart.
const LONGEST_US: u64 = 60_000_000;

/// Delays in microseconds, exact to 1 %.
pub fn delays() -> Histogram<u64> {
    // Only bounds that cannot be are refused.
    Histogram::new_with_bounds(1, LONGEST_US, 2).unwrap_or_else(|_| unreachable!("sound bounds"))
}

/// One reader's.
#[derive(Debug)]
pub struct Tally {
    /// Index of its stream.
    pub stream: usize,
    /// Bytes that came in the window, with their framing.
    pub bytes: u64,
    /// Whole access units sent in the window.
    pub whole: u64,
    /// Access units of the window that came with bytes missing.
    pub damaged: u64,
    /// Access units whose number was not above the one before.
    pub backwards: u64,
    /// From the publisher's write to the reader's read of the last byte, of whole access units of the window.
    pub delays: Histogram<u64>,
    /// The number of the last one.
    last: Option<u32>,
}

impl Tally {
    /// Of a reader of that stream.
    pub fn new(stream: usize) -> Self {
        let delays = delays();
        Self { stream, bytes: 0, whole: 0, damaged: 0, backwards: 0, delays, last: None }
    }

    /// Counts an access unit; whether it was sent in the window is told by `is_measured`.
    pub fn access_unit(
        &mut self,
        access_unit: &AccessUnit,
        now_us: u64,
        is_measured: impl Fn(u64) -> bool,
    ) {
        let Some(stamp) = access_unit.stamp else {
            // It is lost to those that count numbers; when it was sent nobody knows.
            return;
        };
        if self.last.is_some_and(|last| last >= stamp.number) {
            self.backwards += 1;
            return;
        }
        self.last = Some(stamp.number);
        if !is_measured(stamp.sent_us) {
            return;
        }
        if access_unit.is_whole {
            self.whole += 1;
            self.delays.saturating_record(now_us.saturating_sub(stamp.sent_us).max(1));
        } else {
            self.damaged += 1;
        }
    }
}

/// What a thread of readers has to tell at its end.
#[derive(Debug)]
pub struct Told {
    /// Of all readers that were there from the beginning and did not stall.
    pub tallies: Vec<Tally>,
    /// From connecting to the whole first keyframe, of those that came later.
    pub first_keyframes: Histogram<u64>,
    /// Those that came and got no keyframe.
    pub failed_joins: u64,
    /// Readers that were ended, by reason.
    pub ended: BTreeMap<String, u64>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            tallies: Vec::new(),
            first_keyframes: delays(),
            failed_joins: 0,
            ended: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    fn access_unit(number: u32, sent_us: u64, is_whole: bool) -> AccessUnit {
        let stamp = Some(Stamp { number, sent_us, slice_bytes: 1 });
        AccessUnit { stamp, is_keyframe: false, is_whole }
    }

    #[test]
    fn only_what_was_sent_in_the_window_counts() {
        let mut tally = Tally::new(0);
        for (number, sent_us) in [(1, 9), (2, 10), (3, 19), (4, 20)] {
            tally.access_unit(&access_unit(number, sent_us, true), 30, |us| (10..20).contains(&us));
        }
        assert_eq!((tally.whole, tally.damaged, tally.backwards), (2, 0, 0));
        assert_eq!((tally.delays.min(), tally.delays.max()), (11, 20));
    }

    #[test]
    fn damage_and_repetition_are_told_apart() {
        let mut tally = Tally::new(0);
        for (number, is_whole) in [(1, true), (1, true), (2, false), (0, true)] {
            tally.access_unit(&access_unit(number, 0, is_whole), 1, |_| true);
        }
        assert_eq!((tally.whole, tally.damaged, tally.backwards), (1, 1, 2));
    }
}
