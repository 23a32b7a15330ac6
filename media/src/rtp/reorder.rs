//! Received packets in order (RFC 3550, A.1, A.3 and A.8), and those that are missing asked for ([`Missing`]).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Header, missing::Missing};
use crate::{
    ClockRate,
    rtcp::{MAX_NACKED, ReportBlock},
};

/// RFC 3550, A.1: a jump further ahead than this is a restart or a stray.
const MAX_DROPOUT: i64 = 3000;
/// RFC 3550, A.1: further back than this is no late packet but a restart or a stray.
const MAX_MISORDER: i64 = 100;
/// The same where packets are asked for: what a sender keeps to send it again, 8 MiB of packets of 1,024 bytes.
const MAX_MISORDER_ASKED: i64 = 8192;

/// Where the sender answers, the first packets of a sequence are put in order for so many windows before they are given out: one for those that are
/// late, one for those that are asked for.
const START_WINDOWS: u32 = 2;
/// Packets before the first that came, which may be missing: they are asked for once.
const START_REQUESTS: i64 = 2;
/// The furthest before the first that came that a packet is of the beginning.
const MAX_START: i64 = 256;

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

/// Puts the packets of one SSRC in order within a small window, sans-IO. In-order packets pass at once. Where the sender answers it says
/// which packets are to be [asked for](Self::requests), and waits for them. It also keeps the receiver statistics of RFC 3550, A.3 and A.8.
/// Bounded by its window in packets.
pub struct ReorderBuffer {
    window: Duration,
    max_packets: usize,
    /// The sender offers to send again what is missing.
    answers: bool,
    rate: ClockRate,
    /// Extended sequence number of the next packet to give out; `None` before the first.
    next: Option<i64>,
    /// While the beginning of the sequence is put in order.
    start: Option<Start>,
    ready: VecDeque<Ordered>,
    /// Later packets that wait for a missing one, by extended sequence number.
    waiting: BTreeMap<i64, ReceivedPacket>,
    /// Those between the next one and the last that waits.
    missing: Missing,
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

#[derive(Clone, Copy)]
struct Start {
    until: Instant,
    /// What may be missing before it was asked for.
    asked: bool,
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
    /// A missing packet is waited for at most `window`, or longer where it can be [asked for](Self::set_asking), and at most while
    /// `max_packets` later ones have come.
    pub fn new(clock_rate: ClockRate, window: Duration, max_packets: usize) -> Self {
        Self {
            window,
            max_packets,
            answers: false,
            rate: clock_rate,
            next: None,
            start: None,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            missing: Missing::new(window),
            probation: None,
            discarded: 0,
            lost: 0,
            statistics: Statistics::default(),
        }
    }

    /// The same for a sender that offers to send again what is missing; it is to be told [when it can be asked](Self::set_asking).
    pub fn answered(clock_rate: ClockRate, window: Duration, max_packets: usize) -> Self {
        Self { answers: true, ..Self::new(clock_rate, window, max_packets) }
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

    /// Whether what is missing can be asked for from now on; else it is waited for one window.
    pub fn set_asking(&mut self, asks: bool) {
        self.missing.set_asking(asks);
    }

    /// The sequence numbers that the sender is to be asked for now, in order, as many as one NACK holds: to be called until there are none. Empty where nothing can be asked for.
    pub fn requests(&mut self, now: Instant) -> SmallVec<[u16; 16]> {
        let mut requests = SmallVec::new();
        if let (Some(start), Some(next)) = (&mut self.start, self.next)
            && self.missing.is_asking()
            && !std::mem::replace(&mut start.asked, true)
        {
            requests.extend((next - START_REQUESTS..next).map(|before| before as u16));
        }
        requests.extend(self.missing.due(now, MAX_NACKED - requests.len()));
        requests
    }

    /// Takes a packet.
    pub fn insert(&mut self, packet: ReceivedPacket) {
        let Some(next) = self.next else {
            self.begin(packet);
            return;
        };
        let step = i64::from(packet.header.sequence_number.wrapping_sub(next as u16) as i16);
        let max_misorder = if self.missing.is_asking() { MAX_MISORDER_ASKED } else { MAX_MISORDER };
        if !(-max_misorder..=MAX_DROPOUT).contains(&step) {
            self.restart_or_stray(packet);
            return;
        }
        if self.probation.take().is_some() {
            self.discarded = self.discarded.wrapping_add(1);
        }
        let sequence = next + step;
        if self.start.is_some() && (-MAX_START..0).contains(&step) {
            return self.begin_before(sequence, packet);
        }
        if step < 0 || self.waiting.contains_key(&sequence) {
            self.discarded = self.discarded.wrapping_add(1);
            self.missing.come_again(sequence, packet.received_at);
            return;
        }
        let follows = self.waiting.last_key_value().map_or(next, |(last, _)| last + 1);
        if sequence > follows {
            self.missing.notice(follows..sequence, packet.received_at);
        }
        if self.missing.come(sequence, packet.received_at) {
            // How long it was on its way says nothing of the network's jitter.
            self.statistics.received += 1;
        } else {
            self.statistics.count(sequence, &packet.header, packet.received_at, self.rate);
        }
        if step == 0 {
            self.next = Some(next + 1);
            self.ready.push_back(Ordered::Packet(packet));
            self.give_out_followers();
        } else {
            self.waiting.insert(sequence, packet);
            if self.waiting.len() > self.max_packets {
                match self.start {
                    Some(_) => self.end_start(),
                    None => self.give_up_gap(),
                }
            }
        }
    }

    /// A packet came that was [inserted](Self::insert) before, or passed: it says when what was asked for would have come.
    pub fn repeated(&mut self, sequence_number: u16, received_at: Instant) {
        self.discarded = self.discarded.wrapping_add(1);
        if let Some(next) = self.next {
            let step = i64::from(sequence_number.wrapping_sub(next as u16) as i16);
            self.missing.come_again(next + step, received_at);
        }
    }

    fn begin(&mut self, packet: ReceivedPacket) {
        let sequence = i64::from(packet.header.sequence_number);
        self.statistics = Statistics { base: sequence, highest: sequence, ..Statistics::default() };
        self.statistics.count(sequence, &packet.header, packet.received_at, self.rate);
        self.missing.clear();
        if self.answers && !self.window.is_zero() {
            let until = packet.received_at + START_WINDOWS * self.window;
            self.start = Some(Start { until, asked: false });
            self.next = Some(sequence);
            self.waiting.insert(sequence, packet);
        } else {
            self.next = Some(sequence + 1);
            self.ready.push_back(Ordered::Packet(packet));
        }
    }

    /// A packet that came later is before all others of the beginning.
    fn begin_before(&mut self, sequence: i64, packet: ReceivedPacket) {
        let Some(next) = self.next.replace(sequence) else { return };
        self.missing.notice_before(sequence + 1..next, packet.received_at);
        self.statistics.base = sequence;
        self.statistics.count(sequence, &packet.header, packet.received_at, self.rate);
        self.waiting.insert(sequence, packet);
    }

    /// What has come of the beginning is given out.
    fn end_start(&mut self) {
        self.start = None;
        self.give_out_followers();
    }

    /// Two packets in a row at another place of the sequence are a restart; one alone is a stray.
    fn restart_or_stray(&mut self, packet: ReceivedPacket) {
        let expected = self.probation.as_ref().map(|p| p.header.sequence_number.wrapping_add(1));
        if expected == Some(packet.header.sequence_number) {
            let Some(first) = self.probation.take() else { return };
            self.end_start();
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
        self.missing.give_up(first);
        self.lost = self.lost.wrapping_add(missing);
        self.ready.push_back(Ordered::Lost(missing));
        self.next = Some(first);
        self.give_out_followers();
    }

    /// What is in order by `now`.
    pub fn poll(&mut self, now: Instant) -> Option<Ordered> {
        self.missing.settle(now);
        if self.start.is_some_and(|start| start.until <= now) {
            self.end_start();
        }
        while self.ready.is_empty() && self.given_up_at().is_some_and(|at| at <= now) {
            self.give_up_gap();
        }
        self.ready.pop_front()
    }

    /// What is in order by now, whatever is waited for no longer: for a packet of several that have come at once. [`Self::poll`] is due behind them.
    pub fn poll_ready(&mut self) -> Option<Ordered> {
        self.ready.pop_front()
    }

    /// When [`Self::poll`] and [`Self::requests`] must be called again though no packet came; `None` if nothing is waited for.
    pub fn deadline(&self) -> Option<Instant> {
        let given_out_at = self.start.map(|start| start.until).or_else(|| self.given_up_at());
        [given_out_at, self.missing.asked_at()].into_iter().flatten().min()
    }

    /// When the next gap is given up.
    fn given_up_at(&self) -> Option<Instant> {
        self.missing.given_up_at().filter(|_| self.start.is_none())
    }

    /// Packets asked for, each as often as it was.
    pub fn asked(&self) -> u32 {
        self.missing.asked()
    }

    /// Packets that came after they were asked for, and would not have come by themselves.
    pub fn recovered(&self) -> u32 {
        self.missing.recovered()
    }

    /// Packets that came when they had been given up; they are among the [discarded](Self::discarded).
    pub fn too_late(&self) -> u32 {
        self.missing.too_late()
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
mod tests;
