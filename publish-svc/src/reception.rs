//! What a reader says of what it receives: the report blocks of its RTCP (RFC 3550, 6.4.1), by track. No socket, no clock.
//!
//! A reader tells only of itself: blocks on other sources than its session's tracks are passed over, and what it makes up is shown as what it
//! says. Bounded: the last block of each track, and a few Sender Reports that a block may answer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use media::{ClockRate, MediaTime, NtpTime, rtcp::RtcpPacket};
use smallvec::SmallVec;

/// Sender Reports that a block may answer. It answers the last that came; at the longest interval and a link that holds them up for
/// half a minute, that is one of the last few.
const SENT_REPORTS: usize = 8;
/// By how much the reader's own delay may be longer than all the time that has passed: it counts in 1/65536 s, and some round up.
const ROUNDING: Duration = Duration::from_millis(1);

/// How a reader receives one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reception {
    /// The index of the track.
    pub(crate) track: usize,
    /// Lost since the report before, out of 256.
    pub(crate) fraction_lost: u8,
    /// Lost since the beginning; negative where packets came twice.
    pub(crate) packets_lost: i32,
    /// Interarrival jitter.
    pub(crate) jitter: Duration,
    /// To the reader and back; `None` where it answers none of the last Sender Reports.
    pub(crate) round_trip: Option<Duration>,
    /// When the report came.
    pub(crate) at: SystemTime,
}

/// What a report says anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct News {
    /// What it says.
    pub(crate) reception: Reception,
    /// Packets by which the loss of the track exceeds what was ever reported of it before.
    pub(crate) newly_lost: u32,
}

/// The receptions of one session's tracks.
#[derive(Debug, Default)]
pub(crate) struct Receptions {
    /// As many as a session can set up at the most.
    tracks: Mutex<SmallVec<[Track; 2]>>,
    sent: Arc<Mutex<SentReports>>,
}

/// The middle bits of the Sender Reports' NTP times, and when they were sent; the newest last.
type SentReports = VecDeque<(u32, Instant)>;

#[derive(Debug)]
struct Track {
    index: usize,
    ssrc: u32,
    clock_rate: ClockRate,
    most_lost: i32,
    last: Option<Reception>,
}

impl Receptions {
    /// Those of a session in a group, whose Sender Reports are sent to all.
    pub(crate) fn in_group(group: &Self) -> Self {
        Self { tracks: Mutex::default(), sent: group.sent.clone() }
    }

    /// The session has one more track.
    pub(crate) fn add_track(&self, index: usize, ssrc: u32, clock_rate: ClockRate) {
        let track = Track { index, ssrc, clock_rate, most_lost: 0, last: None };
        lock(&self.tracks).push(track);
    }

    /// Sender Reports of all tracks went out, which say `ntp`.
    pub(crate) fn sent(&self, ntp: NtpTime, now: Instant) {
        let mut sent = lock(&self.sent);
        if sent.len() == SENT_REPORTS {
            sent.pop_front();
        }
        sent.push_back((ntp.middle_bits(), now));
    }

    /// Takes what a compound says that came at `now`; what is new, at most one for each track.
    pub(crate) fn take(
        &self,
        compound: &[RtcpPacket],
        now: Instant,
        at: SystemTime,
    ) -> SmallVec<[News; 2]> {
        let (mut tracks, sent) = (lock(&self.tracks), lock(&self.sent));
        let news = tracks.iter_mut().filter_map(|track| {
            let mut blocks = compound.iter().rev().flat_map(RtcpPacket::report_blocks);
            let block = blocks.find(|block| block.ssrc == track.ssrc)?;
            let jitter = MediaTime::from_ticks(block.jitter.into(), track.clock_rate);
            let sent_at = sent.iter().rev().find(|(ntp, _)| *ntp == block.last_sr);
            let sent_at = sent_at.filter(|_| block.last_sr != 0);
            let reception = Reception {
                track: track.index,
                fraction_lost: block.fraction_lost,
                packets_lost: block.cumulative_lost,
                jitter: Duration::from_nanos(jitter.as_nanos().unsigned_abs()),
                round_trip: sent_at.and_then(|&(_, sent_at)| {
                    round_trip(now.saturating_duration_since(sent_at), block.delay_since_last_sr)
                }),
                at,
            };
            let newly_lost = block.cumulative_lost.saturating_sub(track.most_lost).max(0);
            track.most_lost = track.most_lost.max(block.cumulative_lost);
            track.last = Some(reception);
            Some(News { reception, newly_lost: newly_lost.unsigned_abs() })
        });
        news.collect()
    }

    /// The last of each track that was reported on, in the order of the tracks.
    pub(crate) fn list(&self) -> Vec<Reception> {
        let mut list: Vec<_> = lock(&self.tracks).iter().filter_map(|track| track.last).collect();
        list.sort_by_key(|reception| reception.track);
        list
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left of the time since the Sender Report, `delay` in 1/65536 s taken off; `None` where the reader held it longer than that.
fn round_trip(passed: Duration, delay: u32) -> Option<Duration> {
    let delay = Duration::from_nanos((u64::from(delay) * 1_000_000_000) >> 16);
    (passed + ROUNDING >= delay).then(|| passed.saturating_sub(delay))
}

#[cfg(test)]
mod tests;
