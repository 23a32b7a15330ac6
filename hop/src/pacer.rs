//! When packets may go out. Sans-IO.
//!
//! A receive buffer of Linux's default size holds some 90 packets ([`SendPace`]), a node's twice as many. Two bursts of `rtp.pacing_burst` packets go out back to back
//! after a rest, so that keyframes of most streams need no timer at all; then a burst each ms, or more where an access unit is so large that it
//! would not be out within 20 ms: with the default of 32, from 770 KB on.

use std::{collections::VecDeque, time::Instant};

use media::{
    codec::MediaKind,
    rtp::{PacketBatch, SegmentRun, SendPace},
};

/// Bursts that may go out back to back after a rest, or after a timer was late.
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
    /// They went out before.
    pub(crate) is_repeat: bool,
    /// How many packets go out in each ms.
    rate: u32,
}

/// What was pushed would have exceeded [`MAX_QUEUED_BYTES`]; it was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// What is asked for goes first. Bounded by what may be sent again ([`History`](crate::history::History)).
    asked_for: VecDeque<PacedRun>,
    queue: VecDeque<PacedRun>,
    queued_bytes: usize,
    burst: usize,
    pace: SendPace,
}

impl Pacer {
    /// A pacer of runs of `burst` packets (at least 1).
    pub(crate) fn new(burst: usize) -> Self {
        let burst = burst.clamp(1, 64);
        let pace = SendPace::new(MAX_BURSTS * burst as u32, burst as u32);
        let (asked_for, queue) = (VecDeque::new(), VecDeque::new());
        Self { asked_for, queue, queued_bytes: 0, burst, pace }
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
        let runs = packets.runs(max_segments.clamp(1, self.burst));
        let rate = SendPace::rate_of(packets.sizes.len(), self.burst as u32);
        self.queue.extend(runs.map(|run| PacedRun { kind, run, is_repeat: false, rate }));
        Ok(())
    }

    /// Queues a packet that was asked for, before all that waits.
    pub(crate) fn push_asked_for(&mut self, kind: MediaKind, run: SegmentRun) {
        self.queued_bytes += run.data.len();
        let rate = self.burst as u32;
        self.asked_for.push_back(PacedRun { kind, run, is_repeat: true, rate });
    }

    /// Queues the last packet of what waits once more.
    pub(crate) fn repeat_last(&mut self) {
        let Some(last) = self.queue.back() else { return };
        let run = last.run.packet(usize::from(last.run.packets).saturating_sub(1));
        self.queued_bytes += run.data.len();
        let repeat = PacedRun { run, is_repeat: true, ..*last };
        self.queue.push_back(repeat);
    }

    /// The next run that may go out now.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<PacedRun> {
        let PacedRun { run: SegmentRun { packets, .. }, rate, .. } = *self.front()?;
        self.pace.set_rate(rate);
        if !self.pace.allow(now, packets.into()) {
            return None;
        }
        let run = self.asked_for.pop_front().or_else(|| self.queue.pop_front())?;
        self.queued_bytes -= run.run.data.len();
        Some(run)
    }

    fn front(&self) -> Option<&PacedRun> {
        self.asked_for.front().or_else(|| self.queue.front())
    }

    /// Puts back a run that could not be sent.
    pub(crate) fn put_back(&mut self, run: PacedRun) {
        self.queued_bytes += run.run.data.len();
        self.pace.give_back(run.run.packets.into());
        let queue = if run.is_repeat { &mut self.asked_for } else { &mut self.queue };
        queue.push_front(run);
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        self.asked_for.clear();
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// When [`poll`](Self::poll) will have a run; `None`: nothing waits.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let next = self.front()?;
        Some(self.pace.when(next.run.packets.into()).unwrap_or(now))
    }

    /// Whether what waits goes out at more than a burst each ms.
    pub(crate) fn is_hurried(&self) -> bool {
        self.front().is_some_and(|next| next.rate as usize > self.burst)
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
    use media::rtp::PACE_PERIOD;

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
        assert_eq!(pacer.poll_timeout(t), None);
        pacer.push(Video, &batch(140, 1200), 64).unwrap();
        assert_eq!(drain(&mut pacer, t), [32, 32]);
        assert_eq!(pacer.poll_timeout(t), Some(t + PACE_PERIOD));
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD / 2), [0u16; 0]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD), [32]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD * 2), [32]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD * 9), [12]);
        assert_eq!((pacer.poll_timeout(t), pacer.queued_bytes()), (None, 0));
    }

    #[test]
    fn a_late_timer_is_made_up_for_by_one_run() {
        let mut pacer = Pacer::new(32);
        let t = Instant::now();
        pacer.push(Video, &batch(300, 1200), 64).unwrap();
        assert!(!pacer.is_hurried());
        assert_eq!(drain(&mut pacer, t), [32, 32]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD * 2), [32, 32]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD * 12), [32, 32]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD * 13), [32]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD * 99), [32, 32]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD * 100), [12]);
    }

    #[test]
    fn a_large_access_unit_is_out_in_time_and_what_follows_is_not_hurried() {
        let mut pacer = Pacer::new(32);
        let t = Instant::now();
        pacer.push(Video, &batch(1280, 1200), 64).unwrap();
        pacer.push(Video, &batch(320, 1200), 64).unwrap();
        let sent = |pacer: &mut Pacer, at| drain(pacer, at).into_iter().map(u32::from).sum::<u32>();
        assert!(pacer.is_hurried());
        let mut by_ms = vec![];
        for step in 0..60 {
            let half = sent(&mut pacer, t + PACE_PERIOD / 2 * (2 * step));
            by_ms.push(half + sent(&mut pacer, t + PACE_PERIOD / 2 * (2 * step + 1)));
        }
        assert!(by_ms[..20].iter().sum::<u32>() >= 1280, "{by_ms:?}");
        assert_eq!(by_ms[1..19], [64; 18]);
        assert_eq!(by_ms[21..28], [32; 7]);
        // However large, at most three times the rate.
        let mut pacer = Pacer::new(32);
        pacer.push(Video, &batch(9600, 1200), 64).unwrap();
        sent(&mut pacer, t);
        let quarters: u32 = (1..=40).map(|at| sent(&mut pacer, t + PACE_PERIOD / 4 * at)).sum();
        assert_eq!(quarters, 10 * 96);
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
            while let Some(run) = pacer.poll(t + PACE_PERIOD * step) {
                kinds.push((run.kind, run.run.packets));
            }
        }
        assert_eq!(kinds, [(Video, 4), (Video, 2), (Audio, 1), (Video, 1)]);
    }

    #[test]
    fn a_run_that_was_put_back_goes_out_first() {
        let mut pacer = Pacer::new(4);
        let t = Instant::now();
        pacer.push(Video, &batch(12, 100), 64).unwrap();
        let run = pacer.poll(t).unwrap();
        pacer.put_back(run.clone());
        assert_eq!(pacer.queued_bytes(), 1200);
        assert_eq!(pacer.poll(t), Some(run));
        assert_eq!(pacer.poll_timeout(t), Some(t), "what may go out at once is not waited for");
        assert!(pacer.poll(t).is_some());
        assert_eq!(pacer.poll(t), None);
    }

    #[test]
    fn what_is_asked_for_goes_first_and_at_the_same_pace() {
        let mut pacer = Pacer::new(4);
        let t = Instant::now();
        pacer.push(Video, &batch(12, 100), 64).unwrap();
        let asked_for = batch(1, 50).runs(1).next().unwrap();
        pacer.push_asked_for(Audio, asked_for.clone());
        assert_eq!(pacer.queued_bytes(), 1250);
        let run = pacer.poll(t).unwrap();
        assert_eq!((run.kind, run.is_repeat, &run.run), (Audio, true, &asked_for));
        pacer.put_back(run.clone());
        assert_eq!(pacer.poll(t), Some(run));
        assert_eq!(drain(&mut pacer, t), [4]);
        assert_eq!(drain(&mut pacer, t + PACE_PERIOD), [4]);
        pacer.clear();
        assert_eq!((pacer.poll(t + 9 * PACE_PERIOD), pacer.queued_bytes()), (None, 0));
    }

    #[test]
    fn the_last_packet_can_be_sent_twice() {
        let mut pacer = Pacer::new(4);
        let mut sent = vec![];
        pacer.repeat_last();
        pacer
            .push(
                Video,
                &PacketBatch { data: b"aabbc"[..].into(), sizes: [2, 2, 1][..].into() },
                64,
            )
            .unwrap();
        pacer.repeat_last();
        while let Some(run) = pacer.poll(Instant::now()) {
            sent.push((run.run.data, run.is_repeat));
        }
        let bytes = |text: &'static [u8]| Bytes::from_static(text);
        assert_eq!(sent, [(bytes(b"aabbc"), false), (bytes(b"c"), true)]);
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
