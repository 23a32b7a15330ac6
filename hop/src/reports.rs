//! The RTCP of a leg (RFC 3550, 6.4): Sender Reports out, what the node's Receiver Reports say in. No socket, no clock.

use std::time::Duration;

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

    /// One compound per track whose clock is known: SR and SDES, all of the same instant.
    pub(crate) fn sender_reports(
        &self,
        tracks: &[Track],
        now: NtpTime,
    ) -> impl Iterator<Item = Bytes> {
        tracks.iter().filter_map(move |track| {
            let clock = track.clock.mapping()?;
            let counts = match track.config.kind() {
                MediaKind::Video => self.video,
                MediaKind::Audio => self.audio,
            };
            let report = SenderReport {
                ssrc: track.ssrc,
                ntp: now,
                rtp_timestamp: clock.rtp_at(now),
                packets: counts.packets,
                octets: counts.octets,
            };
            Some(rtcp::sender_report(&report, &self.cname))
        })
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
}
