//! Received packets in order (RFC 3550, A.1, A.3 and A.8).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::Header;
use crate::{ClockRate, rtcp::ReportBlock};

/// RFC 3550, A.1: a jump further ahead than this is a restart or a stray.
const MAX_DROPOUT: i64 = 3000;
/// RFC 3550, A.1: further back than this is no late packet but a restart or a stray.
const MAX_MISORDER: i64 = 100;

/// A packet as it came off the leg.
#[derive(Clone, Debug)]
pub struct ReceivedPacket {
    /// Its parsed header.
    pub header: Header,
    /// All its bytes.
    pub bytes: Bytes,
    /// When it came.
    pub received_at: Instant,
}

/// Puts the packets of one SSRC in order within a small window, sans-IO. In-order packets pass at once. It also keeps the
/// receiver statistics of RFC 3550, A.3 and A.8. Bounded by its window in packets.
pub struct ReorderBuffer {
    window: Duration,
    max_packets: usize,
    rate: ClockRate,
    /// Extended sequence number of the next packet to give out; `None` before the first.
    next: Option<i64>,
    ready: VecDeque<Ordered>,
    /// Later packets that wait for a missing one, by extended sequence number.
    waiting: BTreeMap<i64, ReceivedPacket>,
    /// The sequence number that would confirm a restart.
    probation: Option<ReceivedPacket>,
    discarded: u32,
    lost: u32,
    statistics: Statistics,
}

#[derive(Default)]
struct Statistics {
    base: i64,
    highest: i64,
    received: i64,
    expected_prior: i64,
    received_prior: i64,
    /// Jitter in 1/16 ticks (RFC 3550, A.8).
    jitter: i64,
    transit: Option<(Instant, u32)>,
}

/// What comes out of a [`ReorderBuffer`].
#[derive(Clone, Debug)]
pub enum Ordered {
    /// The next packet.
    Packet(ReceivedPacket),
    /// So many packets before the next one never came.
    Lost(u32),
    /// The source began anew at another place of the sequence (RFC 3550, A.1); the next packet follows nothing.
    Restarted,
}

impl ReorderBuffer {
    /// A missing packet is waited for at most `window` and at most while `max_packets` later ones have come.
    pub fn new(clock_rate: ClockRate, window: Duration, max_packets: usize) -> Self {
        Self {
            window,
            max_packets,
            rate: clock_rate,
            next: None,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            probation: None,
            discarded: 0,
            lost: 0,
            statistics: Statistics::default(),
        }
    }

    /// Whether a packet with this header, which came then, is the next one and waits for nothing. It is counted then, and does not come out of
    /// [`Self::poll`]: the caller has it. Else it is to be [inserted](Self::insert).
    pub fn pass(&mut self, header: &Header, received_at: Instant) -> bool {
        let is_next = |next: i64| header.sequence_number == next as u16;
        let Some(next) = self.next.filter(|&next| is_next(next)) else { return false };
        if !self.ready.is_empty() || !self.waiting.is_empty() || self.probation.is_some() {
            return false;
        }
        self.statistics.count(next, header, received_at, self.rate);
        self.next = Some(next + 1);
        true
    }

    /// Takes a packet.
    pub fn insert(&mut self, packet: ReceivedPacket) {
        let Some(next) = self.next else {
            self.begin(packet);
            return;
        };
        let step = i64::from(packet.header.sequence_number.wrapping_sub(next as u16) as i16);
        if !(-MAX_MISORDER..=MAX_DROPOUT).contains(&step) {
            self.restart_or_stray(packet);
            return;
        }
        if self.probation.take().is_some() {
            self.discarded = self.discarded.wrapping_add(1);
        }
        let sequence = next + step;
        if step < 0 || self.waiting.contains_key(&sequence) {
            self.discarded = self.discarded.wrapping_add(1);
            return;
        }
        self.statistics.count(sequence, &packet.header, packet.received_at, self.rate);
        if step == 0 {
            self.next = Some(next + 1);
            self.ready.push_back(Ordered::Packet(packet));
            self.give_out_followers();
        } else {
            self.waiting.insert(sequence, packet);
            if self.waiting.len() > self.max_packets {
                self.give_up_gap();
            }
        }
    }

    fn begin(&mut self, packet: ReceivedPacket) {
        let sequence = i64::from(packet.header.sequence_number);
        self.statistics = Statistics { base: sequence, highest: sequence, ..Statistics::default() };
        self.statistics.count(sequence, &packet.header, packet.received_at, self.rate);
        self.next = Some(sequence + 1);
        self.ready.push_back(Ordered::Packet(packet));
    }

    /// Two packets in a row at another place of the sequence are a restart; one alone is a stray.
    fn restart_or_stray(&mut self, packet: ReceivedPacket) {
        let expected = self.probation.as_ref().map(|p| p.header.sequence_number.wrapping_add(1));
        if expected == Some(packet.header.sequence_number) {
            let Some(first) = self.probation.take() else { return };
            while !self.waiting.is_empty() {
                self.give_up_gap();
            }
            self.ready.push_back(Ordered::Restarted);
            self.begin(first);
            self.insert(packet);
        } else {
            if self.probation.replace(packet).is_some() {
                self.discarded = self.discarded.wrapping_add(1);
            }
        }
    }

    fn give_out_followers(&mut self) {
        while let Some(next) = self.next
            && let Some(packet) = self.waiting.remove(&next)
        {
            self.ready.push_back(Ordered::Packet(packet));
            self.next = Some(next + 1);
        }
    }

    fn give_up_gap(&mut self) {
        let (Some(next), Some((&first, _))) = (self.next, self.waiting.first_key_value()) else {
            return;
        };
        let missing = u32::try_from(first - next).unwrap_or(0);
        self.lost = self.lost.wrapping_add(missing);
        self.ready.push_back(Ordered::Lost(missing));
        self.next = Some(first);
        self.give_out_followers();
    }

    /// What is in order by `now`.
    pub fn poll(&mut self, now: Instant) -> Option<Ordered> {
        while self.ready.is_empty() && self.deadline().is_some_and(|deadline| deadline <= now) {
            self.give_up_gap();
        }
        self.ready.pop_front()
    }

    /// When `poll` must be called again though no packet came; `None` if nothing is waited for.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|packet| packet.received_at).min().map(|at| at + self.window)
    }

    /// Packets that came twice or too late, and strays.
    pub fn discarded(&self) -> u32 {
        self.discarded
    }

    /// Packets given up.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// The report block for a Receiver Report (RFC 3550, 6.4.1) but for LSR and DLSR; begins a new interval. `None` before the first packet.
    pub fn report_block(&mut self, ssrc: u32) -> Option<ReportBlock> {
        self.next?;
        let s = &mut self.statistics;
        let expected = s.highest - s.base + 1;
        let expected_interval = expected - s.expected_prior;
        let lost_interval = expected_interval - (s.received - s.received_prior);
        (s.expected_prior, s.received_prior) = (expected, s.received);
        let fraction_lost = if expected_interval > 0 && lost_interval > 0 {
            ((lost_interval << 8) / expected_interval).min(255) as u8
        } else {
            0
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: (expected - s.received).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence_number: s.highest as u32,
            jitter: (s.jitter >> 4) as u32,
            last_sr: 0,
            delay_since_last_sr: 0,
        })
    }
}

impl Statistics {
    fn count(&mut self, sequence: i64, header: &Header, received_at: Instant, rate: ClockRate) {
        self.received += 1;
        self.highest = self.highest.max(sequence);
        let timestamp = header.timestamp;
        if let Some((at, before)) = self.transit {
            let passed = received_at.saturating_duration_since(at).as_micros() as i64;
            let arrived = passed * i64::from(rate.hz()) / 1_000_000;
            let sent = i64::from(timestamp.wrapping_sub(before) as i32);
            self.jitter += (arrived - sent).abs() - ((self.jitter + 8) >> 4);
        }
        self.transit = Some((received_at, timestamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence_number: u16, at: Instant) -> ReceivedPacket {
        let header = Header {
            marker: false,
            payload_type: 96,
            sequence_number,
            timestamp: 0,
            ssrc: 1,
            payload: 12..12,
        };
        ReceivedPacket { header, bytes: Bytes::new(), received_at: at }
    }

    fn drain(buffer: &mut ReorderBuffer, now: Instant) -> Vec<i32> {
        std::iter::from_fn(|| buffer.poll(now))
            .map(|ordered| match ordered {
                Ordered::Packet(packet) => i32::from(packet.header.sequence_number),
                Ordered::Lost(n) => -(n as i32),
                Ordered::Restarted => i32::MAX,
            })
            .collect()
    }

    fn buffer() -> ReorderBuffer {
        ReorderBuffer::new(ClockRate::VIDEO, Duration::from_millis(20), 64)
    }

    #[test]
    fn packets_swapped_or_sent_twice_come_out_once_and_in_order_over_the_wrap() {
        let (mut buffer, now) = (buffer(), Instant::now());
        for sequence in [65_533, 65_535, 65_534, 65_534, 1, 0, 2] {
            buffer.insert(packet(sequence, now));
        }
        assert_eq!(drain(&mut buffer, now), [65_533, 65_534, 65_535, 0, 1, 2]);
        assert_eq!((buffer.discarded(), buffer.lost(), buffer.deadline()), (1, 0, None));
        assert_eq!(buffer.report_block(7).map(|b| b.highest_sequence_number), Some(65_538));
    }

    #[test]
    fn a_packet_that_is_next_passes_and_one_behind_a_gap_does_not() {
        let (mut buffer, now) = (buffer(), Instant::now());
        let passes =
            |buffer: &mut ReorderBuffer, sequence| buffer.pass(&packet(sequence, now).header, now);
        assert!(!passes(&mut buffer, 65_534), "the first begins a sequence");
        buffer.insert(packet(65_534, now));
        assert!(!passes(&mut buffer, 65_535), "another is to come out first");
        assert_eq!(drain(&mut buffer, now), [65_534]);
        assert!(passes(&mut buffer, 65_535) && passes(&mut buffer, 0));
        assert!(!passes(&mut buffer, 2) && !passes(&mut buffer, 0));
        buffer.insert(packet(2, now));
        assert!(!passes(&mut buffer, 1), "one waits for it");
        buffer.insert(packet(1, now));
        assert_eq!(drain(&mut buffer, now), [1, 2]);
        assert!(passes(&mut buffer, 3));
        let block = buffer.report_block(7).unwrap();
        assert_eq!((block.highest_sequence_number, block.cumulative_lost), (65_539, 0));
    }

    #[test]
    fn a_missing_packet_is_waited_for_one_window_and_no_longer() {
        let (mut buffer, now) = (buffer(), Instant::now());
        buffer.insert(packet(1, now));
        buffer.insert(packet(4, now));
        assert_eq!(drain(&mut buffer, now), [1]);
        let deadline = buffer.deadline().unwrap();
        assert_eq!(deadline, now + Duration::from_millis(20));
        assert_eq!(drain(&mut buffer, deadline), [-2, 4]);
        buffer.insert(packet(3, deadline));
        assert_eq!((buffer.lost(), buffer.discarded()), (2, 1));
    }

    #[test]
    fn the_window_in_packets_bounds_what_waits() {
        let (mut buffer, now) = (buffer(), Instant::now());
        buffer.insert(packet(0, now));
        for sequence in 2..=66 {
            buffer.insert(packet(sequence, now));
        }
        assert_eq!(drain(&mut buffer, now).len(), 67);
        assert_eq!(buffer.lost(), 1);
    }

    #[test]
    fn two_packets_in_a_row_elsewhere_are_a_restart_and_one_is_a_stray() {
        let (mut buffer, now) = (buffer(), Instant::now());
        for sequence in [10, 30_000, 11, 40_000, 40_001] {
            buffer.insert(packet(sequence, now));
        }
        assert_eq!(drain(&mut buffer, now), [10, 11, i32::MAX, 40_000, 40_001]);
        assert_eq!(buffer.discarded(), 1);
    }

    #[test]
    fn every_stray_is_counted_whatever_follows_it() {
        let (mut buffer, now) = (buffer(), Instant::now());
        for sequence in [10, 30_000, 50_000, 11, 30_000, 12] {
            buffer.insert(packet(sequence, now));
        }
        assert_eq!(drain(&mut buffer, now), [10, 11, 12]);
        assert_eq!(buffer.discarded(), 3);
    }
}
