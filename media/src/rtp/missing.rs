//! What is missing of one sequence: when it is asked for by generic NACK (RFC 4585, 6.2.1), and how long it is waited for. Sans-IO.
//!
//! A packet that is missing may be late only. On a network that keeps the order it is asked for at once; where packets were seen to come by
//! themselves after their gap was, for about as long as they took, and a window at the most. It is asked for again after each round trip.
//!
//! A retransmission is the same packet, with the same sequence number: of the first that comes nothing tells whether it was only late. The
//! second one does: where there is one, the packet had been asked for too early.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

/// How often a packet is asked for. Where two of a hundred packets are lost, so is each 25th answer or its request: after five all are, once in
/// ten million.
const MAX_ASKS: u8 = 5;
/// A longer gap is a cut and no loss: nothing of it is asked for. A receiver that is stalled all through a keyframe of 2 MB misses less.
const MAX_GAP: i64 = 2048;
/// Packets that are asked for and have not come: more are asked for as they come. A sender that sends 32 again each ms has sent them within a
/// round trip that is not measured yet, so that none is asked for twice that only waits for its turn, and a receiver whose buffer has just
/// overflown is not sent all at once.
const MAX_OUTSTANDING: usize = 512;
/// The longest that a packet is waited for that can be asked for: half of what the sender keeps.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// A round trip that is not measured yet.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(20);
/// The bounds of the time after which a packet is asked for again. The lower one is what timers and busy machines take.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// When a packet that was asked for has come, another one of it would have come within this time.
const SETTLED: Duration = Duration::from_millis(250);
/// Packets that came, or were given up, and are remembered.
const MAX_REMEMBERED: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Missing {
    window: Duration,
    /// Whether what is missing can be asked for.
    asks: bool,
    /// In the order of their sequence numbers.
    entries: VecDeque<Entry>,
    timing: Timing,
    /// That came after they were asked for, and of which a second one may tell that they were only late.
    came: VecDeque<Came>,
    /// Extended sequence numbers.
    given_up: VecDeque<i64>,
    asked: u32,
    recovered: u32,
    too_late: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Extended.
    sequence: i64,
    /// When a later one came.
    noticed_at: Instant,
    /// When it was asked for first and last.
    asked_at: Option<(Instant, Instant)>,
    asks: u8,
}

#[derive(Clone, Copy, Debug)]
struct Came {
    sequence: i64,
    noticed_at: Instant,
    /// When it was asked for first, and how often.
    asked_at: Instant,
    asks: u8,
    at: Instant,
}

impl Missing {
    /// Nothing is missing, and nothing is asked for. Packets may be late by `window`.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            asks: false,
            entries: VecDeque::new(),
            timing: Timing::default(),
            came: VecDeque::new(),
            given_up: VecDeque::new(),
            asked: 0,
            recovered: 0,
            too_late: 0,
        }
    }

    /// Whether what is missing can be asked for from now on.
    pub(super) fn set_asking(&mut self, asks: bool) {
        self.asks = asks;
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asks
    }

    /// These do not follow, a later one has come. They are behind all that are missing already.
    pub(super) fn notice(&mut self, sequences: Range<i64>, noticed_at: Instant) {
        let asks = if sequences.end - sequences.start > MAX_GAP { MAX_ASKS } else { 0 };
        let entry = |sequence| Entry { sequence, noticed_at, asked_at: None, asks };
        self.entries.extend(sequences.map(entry));
    }

    /// These follow what came, which is before all that are missing already.
    pub(super) fn notice_before(&mut self, sequences: Range<i64>, noticed_at: Instant) {
        for sequence in sequences.rev() {
            self.entries.push_front(Entry { sequence, noticed_at, asked_at: None, asks: 0 });
        }
    }

    /// A packet came that had not come before. Whether it had been asked for.
    pub(super) fn come(&mut self, sequence: i64, at: Instant) -> bool {
        let Ok(index) = self.entries.binary_search_by_key(&sequence, |entry| entry.sequence) else {
            return false;
        };
        let Some(entry) = self.entries.remove(index) else { return false };
        let noticed_at = entry.noticed_at;
        let Some((asked_at, _)) = entry.asked_at else {
            self.timing.came_late_by(at.saturating_duration_since(noticed_at));
            return false;
        };
        if self.came.len() == MAX_REMEMBERED {
            self.settle_first();
        }
        let asks = entry.asks;
        self.came.push_back(Came { sequence, noticed_at, asked_at, asks, at });
        true
    }

    /// A packet came that had come before, or was given up.
    pub(super) fn come_again(&mut self, sequence: i64, at: Instant) {
        if let Some(index) = self.came.iter().position(|came| came.sequence == sequence)
            && let Some(came) = self.came.remove(index)
        {
            if came.asks > 1 {
                // They may both be answers.
                self.recovered = self.recovered.wrapping_add(1);
                return;
            }
            // It was late, and this is the answer.
            self.timing.came_late_by(came.at.saturating_duration_since(came.noticed_at));
            self.timing.answered_after(at.saturating_duration_since(came.asked_at));
        } else if let Some(index) = self.given_up.iter().position(|given| *given == sequence) {
            self.given_up.remove(index);
            self.too_late = self.too_late.wrapping_add(1);
        }
    }

    /// What is before `sequence` is waited for no more.
    pub(super) fn give_up(&mut self, sequence: i64) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.sequence < sequence) {
            if self.given_up.len() == MAX_REMEMBERED {
                self.given_up.pop_front();
            }
            self.given_up.push_back(entry.sequence);
            self.entries.pop_front();
        }
    }

    /// What came so long ago that nothing more will come of it was an answer.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_settled = |came: &Came| now.saturating_duration_since(came.at) >= SETTLED;
        while self.came.front().is_some_and(is_settled) {
            self.settle_first();
        }
    }

    fn settle_first(&mut self) {
        let Some(came) = self.came.pop_front() else { return };
        self.timing.came_in_time();
        self.timing.answered_after(came.at.saturating_duration_since(came.asked_at));
        self.recovered = self.recovered.wrapping_add(1);
    }

    /// Another sequence begins.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.came.clear();
        self.given_up.clear();
    }

    /// When the first one is given up.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        self.entries.front().map(|first| self.waits_until(first))
    }

    /// When something is to be asked for.
    pub(super) fn asked_at(&self) -> Option<Instant> {
        let is_full = self.outstanding() >= MAX_OUTSTANDING;
        let waits = |entry: &&Entry| !is_full || entry.asked_at.is_some();
        self.entries.iter().filter(waits).filter_map(|entry| self.asks_at(entry)).min()
    }

    fn outstanding(&self) -> usize {
        self.entries.iter().filter(|entry| entry.asked_at.is_some()).count()
    }

    /// The sequence numbers to be asked for now, in order, as many as fit; they count as asked for.
    pub(super) fn due(&mut self, now: Instant, most: usize) -> SmallVec<[u16; 16]> {
        let mut due = SmallVec::new();
        if !self.asks || self.entries.is_empty() {
            return due;
        }
        let mut outstanding = self.outstanding();
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            let may_be_asked = entry.asked_at.is_some() || outstanding < MAX_OUTSTANDING;
            if due.len() < most && may_be_asked && self.asks_at(&entry).is_some_and(|at| at <= now)
            {
                due.push(entry.sequence as u16);
                outstanding += usize::from(entry.asked_at.is_none());
                let first = entry.asked_at.map_or(now, |(first, _)| first);
                let asks = entry.asks + 1;
                self.entries[index] = Entry { asked_at: Some((first, now)), asks, ..entry };
            }
        }
        self.asked = self.asked.wrapping_add(due.len() as u32);
        due
    }

    /// Packets asked for, each as often as it was.
    pub(super) fn asked(&self) -> u32 {
        self.asked
    }

    /// Packets that came after they were asked for, and no second time: they would not have come by themselves.
    pub(super) fn recovered(&self) -> u32 {
        self.recovered
    }

    /// Packets that came when they were given up.
    pub(super) fn too_late(&self) -> u32 {
        self.too_late
    }

    fn asks_at(&self, entry: &Entry) -> Option<Instant> {
        if !self.asks || entry.asks >= MAX_ASKS {
            return None;
        }
        Some(match entry.asked_at {
            None => entry.noticed_at + self.timing.lateness.min(self.window),
            Some((_, last)) => last + self.timing.ask_again(),
        })
    }

    fn waits_until(&self, entry: &Entry) -> Instant {
        let by_itself = entry.noticed_at + self.window;
        if !self.asks {
            return by_itself;
        }
        let answered = match (entry.asks, entry.asked_at) {
            (MAX_ASKS, None) => return by_itself,
            (MAX_ASKS, Some((_, last))) => last + 2 * self.timing.ask_again(),
            _ => entry.noticed_at + MAX_WAIT,
        };
        answered.min(entry.noticed_at + MAX_WAIT).max(by_itself)
    }
}

/// What the network was seen to do.
#[derive(Debug, Default)]
struct Timing {
    /// By how much packets come late: most of them by less.
    lateness: Duration,
    /// From asking for a packet until it comes: its mean, and how far from that it is in the mean.
    round_trip: Option<(Duration, Duration)>,
}

impl Timing {
    /// Goes up fast and down slowly: where all delays below a bound are equally likely, one of five is above it.
    fn came_late_by(&mut self, late: Duration) {
        match late.checked_sub(self.lateness) {
            Some(more) => self.lateness += more / 2,
            None => self.lateness -= (self.lateness - late) / 32,
        }
    }

    fn came_in_time(&mut self) {
        self.came_late_by(Duration::ZERO);
    }

    /// RFC 6298, 2.3; counted from when it was first asked for, so that a longer round trip than was known is learned.
    fn answered_after(&mut self, sample: Duration) {
        let (mean, deviation) = self.round_trip.unwrap_or((sample, Duration::ZERO));
        let deviation = (deviation * 3 + sample.abs_diff(mean)) / 4;
        self.round_trip = Some(((mean * 7 + sample) / 8, deviation));
    }

    /// A little more than a round trip where all are alike, less where they are not: there waiting for a long one costs more than asking twice.
    fn ask_again(&self) -> Duration {
        let again = match self.round_trip {
            None => INITIAL_ROUND_TRIP,
            Some((mean, deviation)) => (mean * 9 / 8).saturating_sub(deviation),
        };
        again.clamp(ASK_AGAIN.0, ASK_AGAIN.1)
    }
}
