//! What a leg sent last, so that it can be sent again (RFC 4585, 6.2.1). Sans-IO.
//!
//! The packets are kept by reference: what is kept of an access unit is its one buffer, which the GOP cache has, too. So it costs the bytes of
//! packets only of the end of a GOP, for a second after the next has begun.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use media::{codec::MediaKind, rtp::SegmentRun};

/// How long packets are kept. A node waits for half of that at the most.
const KEPT: Duration = Duration::from_secs(1);
/// The most bytes that are kept: a second of 64 Mbit/s.
const MAX_BYTES: usize = 8 << 20;
/// The most packets of a track that are kept, so that their sequence numbers are told apart; a node takes older ones for others.
const MAX_PACKETS: u16 = 8192;
/// How often a packet is sent again: as often as a node asks for it.
const MAX_TIMES: u8 = 5;
/// Halves of packets that can be saved up: 2,048 packets, which is the longest gap that a node asks for.
const MAX_CREDIT: u32 = 2 * 2048;
/// For so many packets a leg counts as lossy when one was asked for: half a percent of loss makes it so for ever.
const LOSSY_PACKETS: u32 = 200;
/// The most packets for which that is so, whatever was lost: 4 s of 5 Mbit/s.
const MAX_LOSSY_PACKETS: u32 = 10 * LOSSY_PACKETS;

/// Why a packet is not sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// It was not sent in the last second.
    NotKept,
    /// It was sent again often enough.
    TooOften,
    /// As many packets were sent again as half of what is sent.
    OverBudget,
}

impl Refused {
    /// As metrics say it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::NotKept => "not_kept",
            Self::TooOften => "too_often",
            Self::OverBudget => "over_budget",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    video: Kept,
    audio: Kept,
    bytes: usize,
    /// Halves of packets that may be sent again.
    credit: u32,
    /// For so many packets more the leg counts as lossy.
    lossy: u32,
}

#[derive(Debug, Default)]
struct Kept {
    /// In the order of their sequence numbers; behind some that a leg that was behind left out there are gaps.
    runs: VecDeque<KeptRun>,
}

#[derive(Debug)]
struct KeptRun {
    /// The sequence number of its first packet.
    first: u16,
    run: SegmentRun,
    at: Instant,
    /// How often each of its packets was sent again; empty while none was.
    times: Vec<u8>,
}

impl History {
    /// A run went out for the first time.
    pub(crate) fn sent(&mut self, kind: MediaKind, run: &SegmentRun, now: Instant) {
        let Some(&[high, low]) = run.data.get(2..4) else { return };
        let first = u16::from_be_bytes([high, low]);
        self.lossy = self.lossy.saturating_sub(run.packets.into());
        self.credit = (self.credit + u32::from(run.packets)).min(MAX_CREDIT);
        self.bytes += run.data.len();
        let kept = KeptRun { first, run: run.clone(), at: now, times: Vec::new() };
        self.kept(kind).runs.push_back(kept);
        while let Some(kind) = self.oldest_over(now) {
            let Some(left) = self.kept(kind).runs.pop_front() else { break };
            self.bytes -= left.run.data.len();
        }
    }

    /// The packet with this sequence number, to be sent again.
    pub(crate) fn again(&mut self, kind: MediaKind, number: u16) -> Result<SegmentRun, Refused> {
        let credit = self.credit;
        let (kept, at) = self.kept(kind).find(number).ok_or(Refused::NotKept)?;
        let packet = kept.run.packet(at);
        kept.times.resize(kept.run.packets.into(), 0);
        let times = kept.times.get_mut(at).ok_or(Refused::NotKept)?;
        if *times == MAX_TIMES {
            return Err(Refused::TooOften);
        }
        if credit < 2 {
            return Err(Refused::OverBudget);
        }
        *times += 1;
        self.credit -= 2;
        self.lossy = (self.lossy + LOSSY_PACKETS).min(MAX_LOSSY_PACKETS);
        Ok(packet)
    }

    /// Whether so much was asked for of late that the last packet of each access unit is to be sent twice: that it is missing would be noticed
    /// by the next access unit only.
    pub(crate) fn is_lossy(&self) -> bool {
        self.lossy > 0
    }

    fn kept(&mut self, kind: MediaKind) -> &mut Kept {
        match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        }
    }

    /// The track whose first run is to go.
    fn oldest_over(&self, now: Instant) -> Option<MediaKind> {
        let first = |kept: &Kept| kept.runs.front().map(|first| first.at);
        let is_over = |kept: &Kept| {
            first(kept).is_some_and(|at| now.saturating_duration_since(at) > KEPT)
                || kept.distance_of_first() > MAX_PACKETS
        };
        match (is_over(&self.video), is_over(&self.audio)) {
            (true, _) => Some(MediaKind::Video),
            (_, true) => Some(MediaKind::Audio),
            _ if self.bytes <= MAX_BYTES => None,
            _ => match (first(&self.video), first(&self.audio)) {
                (Some(video), Some(audio)) if audio < video => Some(MediaKind::Audio),
                (Some(_), _) => Some(MediaKind::Video),
                (None, _) => Some(MediaKind::Audio),
            },
        }
    }
}

impl Kept {
    /// The run that has this sequence number, and where.
    fn find(&mut self, number: u16) -> Option<(&mut KeptRun, usize)> {
        let end = self.end()?;
        let distance = end.wrapping_sub(number);
        let behind = self.runs.partition_point(|run| end.wrapping_sub(run.first) >= distance);
        let kept = self.runs.get_mut(behind.checked_sub(1)?)?;
        let at = number.wrapping_sub(kept.first);
        (at < kept.run.packets).then_some((kept, at.into()))
    }

    /// The sequence number behind the last packet.
    fn end(&self) -> Option<u16> {
        self.runs.back().map(|last| last.first.wrapping_add(last.run.packets))
    }

    fn distance_of_first(&self) -> u16 {
        let first = self.runs.front().map(|first| first.first);
        self.end().zip(first).map_or(0, |(end, first)| end.wrapping_sub(first))
    }
}

#[cfg(test)]
mod tests {
    use MediaKind::{Audio, Video};
    use bytes::Bytes;
    use media::rtp::PacketBatch;

    use super::*;

    /// Packets with these sequence numbers, all of `size` but the last, which is shorter.
    fn packets(first: u16, count: u16, size: u16) -> PacketBatch {
        let sizes = (0..count).map(|n| if n + 1 == count { size - 1 } else { size });
        let mut data = vec![];
        for (n, size) in (0..count).zip(sizes.clone()) {
            let number = first.wrapping_add(n);
            data.extend([0x80, 96]);
            data.extend(number.to_be_bytes());
            data.resize(data.len() + usize::from(size) - 4, number as u8);
        }
        PacketBatch { data: data.into(), sizes: sizes.collect() }
    }

    fn send(history: &mut History, kind: MediaKind, packets: &PacketBatch, now: Instant) {
        packets.runs(32).for_each(|run| history.sent(kind, &run, now));
    }

    fn again(history: &mut History, number: u16) -> Result<Bytes, Refused> {
        let run = history.again(Video, number)?;
        assert_eq!(usize::from(run.segment_size), run.data.len());
        assert_eq!(run.packets, 1);
        Ok(run.data)
    }

    #[test]
    fn a_packet_of_the_last_second_is_there_as_it_was_sent() {
        let (mut history, t) = (History::default(), Instant::now());
        let sent = packets(65_500, 100, 200);
        send(&mut history, Video, &sent, t);
        send(&mut history, Audio, &packets(500, 1, 300), t);
        for (n, packet) in (0u16..).zip(sent.packets()) {
            assert_eq!(again(&mut history, 65_500_u16.wrapping_add(n)), Ok(packet.clone()));
            // Of the same memory.
            let run = history.again(Video, 65_500_u16.wrapping_add(n)).unwrap();
            assert_eq!(run.data.as_ptr(), packet.as_ptr());
            history.credit = MAX_CREDIT;
        }
        assert_eq!(again(&mut history, 64), Err(Refused::NotKept), "it was not sent yet");
        assert_eq!(again(&mut history, 65_499), Err(Refused::NotKept));
        assert_eq!(again(&mut history, 500), Err(Refused::NotKept), "it is of the other track");
        send(&mut history, Video, &packets(64, 1, 200), t + KEPT);
        assert!(again(&mut history, 0).is_ok());
        send(&mut history, Video, &packets(65, 1, 200), t + KEPT + Duration::from_millis(1));
        assert_eq!(again(&mut history, 0), Err(Refused::NotKept), "it is older than a second");
        assert!(history.audio.runs.is_empty(), "the other track's is, too");
        assert_eq!(history.bytes, 2 * 199);
    }

    #[test]
    fn what_was_left_out_is_not_there_and_what_follows_it_is() {
        let (mut history, t) = (History::default(), Instant::now());
        send(&mut history, Video, &packets(0, 40, 200), t);
        send(&mut history, Video, &packets(100, 40, 200), t);
        assert_eq!(again(&mut history, 40), Err(Refused::NotKept));
        assert_eq!(again(&mut history, 99), Err(Refused::NotKept));
        assert!(again(&mut history, 39).is_ok() && again(&mut history, 100).is_ok());
    }

    #[test]
    fn bytes_and_packets_are_bounded_however_much_is_sent() {
        let (mut history, t) = (History::default(), Instant::now());
        for n in 0..3000 {
            send(&mut history, Video, &packets(10 * n, 10, 200), t);
            assert!(history.video.distance_of_first() <= MAX_PACKETS);
        }
        assert!(again(&mut history, 29_999).is_ok() && again(&mut history, 22_000).is_ok());
        let mut history = History::default();
        for n in 0..100 {
            send(&mut history, Audio, &packets(n, 1, 100), t);
            send(&mut history, Video, &packets(10 * n, 10, 60_000), t);
            assert!(history.bytes <= MAX_BYTES, "{}", history.bytes);
        }
        assert!(again(&mut history, 999).is_ok());
    }

    #[test]
    fn a_packet_is_sent_again_so_often_and_all_of_them_half_as_often_as_they_were_sent() {
        let (mut history, t) = (History::default(), Instant::now());
        send(&mut history, Video, &packets(0, 100, 200), t);
        for _ in 0..MAX_TIMES {
            assert!(again(&mut history, 7).is_ok());
        }
        assert_eq!(again(&mut history, 7), Err(Refused::TooOften));
        let sent = (0..100).filter(|number| again(&mut history, *number).is_ok()).count();
        assert_eq!(sent, 50 - usize::from(MAX_TIMES));
        assert_eq!(again(&mut history, 99), Err(Refused::OverBudget));
        send(&mut history, Video, &packets(100, 2, 200), t);
        assert!(again(&mut history, 99).is_ok());
        assert_eq!(again(&mut history, 98), Err(Refused::OverBudget));
        for n in 0..200 {
            send(&mut history, Video, &packets(102 + 32 * n, 32, 200), t);
        }
        let sent = (500..6000).filter(|number| again(&mut history, *number).is_ok()).count();
        assert_eq!(sent, 2048, "no more than that is saved up");
    }

    #[test]
    fn a_leg_is_lossy_for_a_while_after_a_packet_was_asked_for() {
        let (mut history, t) = (History::default(), Instant::now());
        send(&mut history, Video, &packets(0, 100, 200), t);
        assert!(!history.is_lossy());
        assert!(again(&mut history, 1).is_ok());
        send(&mut history, Video, &packets(100, LOSSY_PACKETS as u16 - 1, 200), t);
        assert!(history.is_lossy());
        send(&mut history, Audio, &packets(0, 1, 200), t);
        assert!(!history.is_lossy());
    }
}
