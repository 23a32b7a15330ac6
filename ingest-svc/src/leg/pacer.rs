//! When packets may go out: a burst each millisecond. Sans-IO.
//!
//! A receive buffer of Linux's default size (212,992 bytes) holds some 90 packets of 1200 bytes, for the kernel counts 2304 bytes
//! for each. A keyframe of 2 MB is 1,700 packets: sent at once, most of it would be lost. Timers of the runtime have steps of a
//! millisecond and come up to two late, so what a late one missed is made up for, by one burst more at the most: with bursts of 32 no more
//! than 64 packets go out back to back, and a leg carries up to 300 Mbit/s.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use media::{
    codec::MediaKind,
    rtp::{PacketBatch, SegmentRun},
};

/// The time of a burst; timers of the runtime have steps of 1 ms.
const PAUSE: Duration = Duration::from_millis(1);
/// Bursts that may go out back to back after a timer was late.
const MAX_BURSTS: u32 = 2;
/// The most bytes that wait: a whole GOP cache and the access units that come while it goes out.
pub(crate) const MAX_QUEUED_BYTES: usize = 32 << 20;

/// Packets of one track that go out together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PacedRun {
    /// Their track.
    pub(crate) kind: MediaKind,
    /// They.
    pub(crate) run: SegmentRun,
}

/// What was pushed would have exceeded [`MAX_QUEUED_BYTES`]; it was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pacer {
    queue: VecDeque<PacedRun>,
    queued_bytes: usize,
    burst: usize,
    /// How many packets may go out as of the beginning of the present burst, and when that was.
    credit: usize,
    began: Option<Instant>,
    /// Something waits for the next burst.
    waits: bool,
}

impl Pacer {
    /// A pacer that sends `burst` packets back to back (at least 1).
    pub(crate) fn new(burst: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            burst: burst.max(1),
            credit: 0,
            began: None,
            waits: false,
        }
    }

    /// Queues the packets of one access unit behind those that wait, in runs that a send with `max_segments` takes.
    pub(crate) fn push(
        &mut self,
        kind: MediaKind,
        packets: &PacketBatch,
        max_segments: usize,
    ) -> Result<(), QueueFull> {
        if self.queued_bytes + packets.data.len() > MAX_QUEUED_BYTES {
            return Err(QueueFull);
        }
        self.queued_bytes += packets.data.len();
        let runs = packets.runs(max_segments.min(self.burst).clamp(1, 64));
        self.queue.extend(runs.map(|run| PacedRun { kind, run }));
        Ok(())
    }

    /// The next run that may go out now.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<PacedRun> {
        let packets = usize::from(self.queue.front()?.run.packets);
        self.earn(now);
        if self.credit < packets.min(self.burst) {
            self.waits = true;
            return None;
        }
        let run = self.queue.pop_front()?;
        self.credit = self.credit.saturating_sub(packets);
        self.queued_bytes -= run.run.data.len();
        Some(run)
    }

    /// Each [`PAUSE`] brings a burst; what was left of the one before is lost.
    fn earn(&mut self, now: Instant) {
        let passed = self.began.map_or(PAUSE, |began| now.saturating_duration_since(began));
        let bursts = u32::try_from(passed.as_nanos() / PAUSE.as_nanos()).unwrap_or(u32::MAX);
        if bursts > 0 {
            // Behind a rest there is nothing to make up for.
            let most = if std::mem::take(&mut self.waits) { MAX_BURSTS } else { 1 };
            self.credit = self.burst * bursts.min(most) as usize;
            self.began = Some(now);
        }
    }

    /// Puts back a run that could not be sent.
    pub(crate) fn put_back(&mut self, run: PacedRun) {
        self.queued_bytes += run.run.data.len();
        self.credit += usize::from(run.run.packets);
        self.queue.push_front(run);
    }

    /// When [`poll`](Self::poll) will have a run, if it has none now.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.queue.is_empty()).then_some(())?;
        self.began.map(|began| began + PAUSE)
    }

    /// Bytes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }
}

#[cfg(test)]
mod tests {
    use MediaKind::{Audio, Video};
    use bytes::Bytes;

    use super::*;

    fn batch(packets: usize, size: u16) -> PacketBatch {
        PacketBatch {
            data: Bytes::from(vec![0; packets * usize::from(size)]),
            sizes: std::iter::repeat_n(size, packets).collect(),
        }
    }

    fn drain(pacer: &mut Pacer, now: Instant) -> Vec<u16> {
        std::iter::from_fn(|| pacer.poll(now)).map(|run| run.run.packets).collect()
    }

    #[test]
    fn a_keyframe_goes_out_in_bursts_with_pauses() {
        let mut pacer = Pacer::new(32);
        let t = Instant::now();
        assert_eq!(pacer.poll_timeout(), None);
        pacer.push(Video, &batch(100, 1200), 64).unwrap();
        assert_eq!(drain(&mut pacer, t), [32]);
        assert_eq!(pacer.poll_timeout(), Some(t + PAUSE));
        assert_eq!(drain(&mut pacer, t + PAUSE / 2), [0u16; 0]);
        assert_eq!(drain(&mut pacer, t + PAUSE), [32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 2), [32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 9), [4]);
        assert_eq!((pacer.poll_timeout(), pacer.queued_bytes()), (None, 0));
    }

    #[test]
    fn a_late_timer_is_made_up_for_by_one_burst_and_a_rest_is_not() {
        let mut pacer = Pacer::new(32);
        let t = Instant::now();
        pacer.push(Video, &batch(300, 1200), 64).unwrap();
        assert_eq!(drain(&mut pacer, t), [32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 2), [32, 32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 12), [32, 32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 13), [32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 19), [32, 32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 20), [32]);
        assert_eq!(drain(&mut pacer, t + PAUSE * 21), [12]);
        pacer.push(Video, &batch(100, 1200), 64).unwrap();
        assert_eq!(drain(&mut pacer, t + PAUSE * 99), [32]);
    }

    #[test]
    fn what_comes_behind_a_keyframe_keeps_its_place() {
        let mut pacer = Pacer::new(4);
        let t = Instant::now();
        pacer.push(Video, &batch(6, 1200), 64).unwrap();
        pacer.push(Audio, &batch(1, 300), 64).unwrap();
        pacer.push(Video, &batch(1, 900), 64).unwrap();
        let mut kinds = vec![];
        for step in 0..4 {
            while let Some(run) = pacer.poll(t + PAUSE * step) {
                kinds.push((run.kind, run.run.packets));
            }
        }
        assert_eq!(kinds, [(Video, 4), (Video, 2), (Audio, 1), (Video, 1)]);
    }

    #[test]
    fn a_run_that_was_put_back_goes_out_first() {
        let mut pacer = Pacer::new(4);
        let t = Instant::now();
        pacer.push(Video, &batch(8, 100), 64).unwrap();
        let run = pacer.poll(t).unwrap();
        pacer.put_back(run.clone());
        assert_eq!(pacer.queued_bytes(), 800);
        assert_eq!(pacer.poll(t), Some(run));
        assert_eq!(pacer.poll(t), None);
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let mut pacer = Pacer::new(32);
        let large = batch(64, 65_000);
        let fit = MAX_QUEUED_BYTES / large.data.len();
        for _ in 0..fit {
            pacer.push(Video, &large, 64).unwrap();
        }
        assert_eq!(pacer.push(Video, &large, 64), Err(QueueFull));
        assert_eq!(pacer.queued_bytes(), fit * large.data.len());
    }
}
