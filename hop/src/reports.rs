//! The RTCP of a leg (RFC 3550, 6.4): Sender Reports out, what the node's Receiver Reports say in. No socket, no clock.

use std::time::{Duration, Instant};

use bytes::Bytes;
use media::{
    NtpTime,
    codec::MediaKind,
    rtcp::{self, RtcpPacket, SenderReport},
    rtp::{Header, SegmentRun},
};

use crate::Track;

/// What a node says of a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reception {
    /// The highest loss of its tracks since the last report, out of 256.
    pub(crate) fraction_lost: u8,
    /// To the node and back; `None` while it has had no Sender Report.
    pub(crate) round_trip: Option<Duration>,
}

/// Packets and payload octets that went out, modulo 2^32.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    packets: u32,
    octets: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reports {
    cname: String,
    video: Counts,
    audio: Counts,
}

/// The pace of the first Sender Reports. A node holds back what it cannot put on the wall clock yet, for a short time: the
/// reports come in front of the first packet, and again and again for the case that they are lost (RFC 3550, 6.2 and RFC 8108, 5.2 let
/// them come without a delay between two hosts; RFC 6051, 2 says what readers get by it). Later ones keep the usual interval.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Opening {
    sent: u32,
    due: Option<Instant>,
}

/// From the first reports to the second; each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Reports in front of packets; the last ones come 1.26 s after the first, and outlive a network that stops for a second.
const OPENING_REPORTS: u32 = 7;

impl Opening {
    /// Whether reports go out in front of the next packet.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.sent < OPENING_REPORTS && self.due.is_none_or(|due| due <= now)
    }

    /// Reports went out.
    pub(crate) fn reported(&mut self, now: Instant) {
        if self.sent < OPENING_REPORTS {
            self.due = Some(now + FIRST_PAUSE * (1 << self.sent));
            self.sent += 1;
        }
    }
}

impl Reports {
    /// No packets yet.
    pub(crate) fn new(cname: String) -> Self {
        Self { cname, video: Counts::default(), audio: Counts::default() }
    }

    /// A run went out.
    pub(crate) fn count(&mut self, kind: MediaKind, run: &SegmentRun) {
        let counts = match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        };
        let headers = usize::from(run.packets) * Header::FIXED_BYTES;
        counts.packets = counts.packets.wrapping_add(run.packets.into());
        counts.octets = counts.octets.wrapping_add((run.data.len() - headers) as u32);
    }

    /// The SRs of all tracks whose clocks are known, and SDES, of the same instant and on the same line; `None` where none is. One
    /// compound, so that the node never knows of a new line by one track alone.
    pub(crate) fn sender_reports(&self, tracks: &[Track], now: NtpTime) -> Option<Bytes> {
        let reports = tracks.iter().filter_map(|track| {
            let clock = track.clock.mapping()?;
            let counts = match track.config.kind() {
                MediaKind::Video => self.video,
                MediaKind::Audio => self.audio,
            };
            Some(SenderReport {
                ssrc: track.ssrc,
                ntp: now,
                rtp_timestamp: clock.rtp_at(now),
                packets: counts.packets,
                octets: counts.octets,
            })
        });
        let reports: Vec<_> = reports.collect();
        (!reports.is_empty()).then(|| rtcp::sender_reports(&reports, &self.cname))
    }

    /// BYE for all tracks.
    pub(crate) fn bye(&self, tracks: &[Track]) -> Bytes {
        let sources: Vec<u32> = tracks.iter().map(|track| track.ssrc).collect();
        rtcp::bye(&sources, &self.cname)
    }

    /// What the packets of a compound that came at `now` say of our tracks, if anything.
    pub(crate) fn reception(
        packets: &[RtcpPacket],
        tracks: &[Track],
        now: NtpTime,
    ) -> Option<Reception> {
        let blocks = packets.iter().flat_map(RtcpPacket::report_blocks);
        blocks
            .filter(|block| tracks.iter().any(|track| track.ssrc == block.ssrc))
            .map(|block| Reception {
                fraction_lost: block.fraction_lost,
                round_trip: round_trip(block.last_sr, block.delay_since_last_sr, now),
            })
            .reduce(|a, b| Reception {
                fraction_lost: a.fraction_lost.max(b.fraction_lost),
                round_trip: a.round_trip.or(b.round_trip),
            })
    }
}

/// RFC 3550, 6.4.1. `None` where there was no Sender Report, or where the times make no sense.
fn round_trip(last_sr: u32, delay: u32, now: NtpTime) -> Option<Duration> {
    if last_sr == 0 {
        return None;
    }
    let units = now.middle_bits().wrapping_sub(last_sr).wrapping_sub(delay) as i32;
    // The delay is rounded down by some receivers, and up by others.
    let units = if (-66..0).contains(&units) { 0 } else { u64::try_from(units).ok()? };
    Some(Duration::from_nanos((units * 1_000_000_000) >> 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_is_what_is_left_of_the_time_since_the_report() {
        let sent = NtpTime::from_unix(Duration::from_secs(1_000));
        let now = sent.offset_by_nanos(500_000_000);
        let trip = round_trip(sent.middle_bits(), 1 << 14, now).unwrap();
        assert_eq!(trip, Duration::from_millis(250));
        assert_eq!(round_trip(0, 0, now), None);
        assert_eq!(round_trip(sent.middle_bits(), 1 << 20, now), None, "held longer than it was");
    }

    #[test]
    fn the_first_reports_come_in_quick_succession_and_then_no_more() {
        let (begin, mut opening) = (Instant::now(), Opening::default());
        let due: Vec<u64> = (0..10_000)
            .filter(|ms| {
                let now = begin + Duration::from_millis(*ms);
                let is_due = opening.is_due(now);
                if is_due {
                    opening.reported(now);
                }
                is_due
            })
            .collect();
        assert_eq!(due, [0, 20, 60, 140, 300, 620, 1260]);
    }
}
