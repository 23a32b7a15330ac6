//! What of a stream outlives its legs, sans-IO: the RTP space and the one wall clock that readers see.
//!
//! Readers' SSRCs, sequence numbers and timestamps are the node's own and go on without a break however often the leg is made anew.
//! A new leg brings new RTP clocks; its Sender Reports tell where its timestamps lie on the wall clock, and thus where they lie behind
//! what was output already. All tracks of a leg are shifted by one and the same amount of wall-clock time, so that their offsets are kept.

use std::{sync::Arc, time::Instant};

use media::{
    ClockRate, NtpTime, StreamKey,
    codec::{CodecConfig, MediaKind},
    rtcp::ClockMapping,
    rtp::{AssembledAccessUnit, Rewriter},
    sdp::{SessionDescription, TrackDescription},
    wall_time::FAR_NANOS,
};

use crate::{ring::RingUnit, stream::ReaderDescription};

/// Wall clocks that differ by less are taken to be one clock; beyond it the sender's clock is shifted to go on where the last leg's was.
/// Hosts kept by NTP differ by some ms; a publisher that was away is known by arrival to within network jitter.
const ONE_CLOCK_NANOS: i64 = 1_000_000_000;
/// How far behind others a picture that follows them in decode order can be shown, in seconds: H.264 holds back 16 pictures at the
/// most (H.264, A.3.1), which are 8 s of 2 a second.
const MAX_COMPOSITION_SECONDS: u32 = 10;

/// The RTP space of one stream's readers.
pub(crate) struct StreamOutput {
    name: String,
    cname: String,
    session_id: u64,
    version: u64,
    pub(crate) tracks: Vec<TrackOutput>,
}

/// The RTP space of one track's readers.
pub(crate) struct TrackOutput {
    /// What a decoder needs to know; grows by what is seen in-band.
    pub(crate) config: CodecConfig,
    /// Whether presentation order was seen to differ from decode order.
    pub(crate) has_b_frames: bool,
    /// Readers' RTP clock on the wall clock; known from the first access unit on.
    pub(crate) clock: Option<ClockMapping>,
    ssrc: u32,
    payload_type: u8,
    rewriter: Rewriter,
    last: Option<LastOutput>,
}

#[derive(Clone, Copy)]
struct LastOutput {
    /// Of the last access unit in decode order.
    timestamp: u32,
    /// Of the last one in presentation order.
    highest: u32,
    at: Instant,
}

/// Where the first access unit of a new leg lies.
pub(crate) struct Resume {
    /// Its timestamp on the leg.
    pub(crate) timestamp: u32,
    /// When it came.
    pub(crate) at: Instant,
    /// Its wall-clock time as its sender (or, without Sender Reports, its arrival) tells.
    pub(crate) ntp: NtpTime,
    /// The same as its arrival tells.
    pub(crate) arrived: NtpTime,
}

impl StreamOutput {
    /// A stream before its first packet. `random` gives SSRCs, sequence numbers (RFC 3550, 5.1 and 8) and ids.
    pub(crate) fn new(
        key: &StreamKey,
        description: &SessionDescription,
        random: &mut dyn FnMut() -> u32,
    ) -> Self {
        let cname = format!("{:08x}{:08x}", random(), random());
        // 62 bits: some readers keep it in a signed 64-bit number.
        let session_id = (u64::from(random() >> 2) << 32) | u64::from(random());
        let name = key.as_str().to_owned();
        let mut output = Self { name, cname, session_id, version: 0, tracks: Vec::new() };
        output.add_tracks(description, random);
        output
    }

    /// Adds the tracks that stand in `description` behind those that are there.
    fn add_tracks(&mut self, description: &SessionDescription, random: &mut dyn FnMut() -> u32) {
        for track in description.tracks.iter().skip(self.tracks.len()) {
            let ssrc = loop {
                let ssrc = random();
                if ssrc != 0 && self.tracks.iter().all(|t| t.ssrc != ssrc) {
                    break ssrc;
                }
            };
            self.tracks.push(TrackOutput {
                config: track.config.clone(),
                has_b_frames: false,
                clock: None,
                ssrc,
                payload_type: track.payload_type,
                rewriter: Rewriter::new(ssrc, track.payload_type, random() as u16),
                last: None,
            });
        }
    }

    /// Takes over the codec headers of a new leg, where it names any, and the tracks that have come late. Whether that changed
    /// something.
    pub(crate) fn adopt(
        &mut self,
        description: &SessionDescription,
        random: &mut dyn FnMut() -> u32,
    ) -> bool {
        let mut changed = description.tracks.len() > self.tracks.len();
        self.add_tracks(description, random);
        for (ours, theirs) in self.tracks.iter_mut().zip(&description.tracks) {
            if theirs.config.is_complete() && ours.config != theirs.config {
                ours.config = theirs.config.clone();
                changed = true;
            }
        }
        changed
    }

    /// A new version of the readers' description; `None` while codec headers are missing.
    pub(crate) fn describe(&mut self) -> Option<Arc<ReaderDescription>> {
        if !self.tracks.iter().all(|track| track.config.is_complete()) {
            return None;
        }
        self.version += 1;
        let tracks = self.tracks.iter().map(|track| TrackDescription {
            config: track.config.clone(),
            payload_type: track.payload_type,
            ssrc: Some(track.ssrc),
            cname: Some(self.cname.clone()),
            nack: false,
        });
        Some(Arc::new(ReaderDescription {
            description: SessionDescription {
                name: self.name.clone(),
                source_address: None,
                crypto: None,
                tracks: tracks.collect(),
            },
            cname: self.cname.clone(),
            session_id: self.session_id,
            version: self.version,
        }))
    }
}

impl TrackOutput {
    /// Whether anything was output.
    pub(crate) fn has_begun(&self) -> bool {
        self.last.is_some()
    }

    /// The RTP clock rate.
    pub(crate) fn clock_rate(&self) -> ClockRate {
        self.config.clock_rate()
    }

    /// The readers' timestamp of a timestamp on the leg.
    pub(crate) fn map_timestamp(&self, timestamp: u32) -> u32 {
        self.rewriter.map_timestamp(timestamp)
    }

    /// Whether the timestamps of the leg have jumped back: its source began anew without telling so by SSRC or sequence numbers.
    pub(crate) fn runs_back(&self, unit: &AssembledAccessUnit) -> bool {
        let Some(last) = self.last else { return false };
        let back = last.highest.wrapping_sub(self.map_timestamp(unit.timestamp)) as i32;
        let most = match self.config.kind() {
            MediaKind::Video => MAX_COMPOSITION_SECONDS * self.clock_rate().hz(),
            MediaKind::Audio => 0,
        };
        i64::from(back) > i64::from(most)
    }

    /// The shift in nanoseconds that makes the sender's wall clock go on where ours is, given that it says `ntp` at the
    /// readers' timestamp `rtp_timestamp`. 0 where both are one clock, or where nothing was output yet.
    pub(crate) fn shift_at(&self, rtp_timestamp: u32, ntp: NtpTime) -> i64 {
        let Some(clock) = self.clock else { return 0 };
        as_one_clock(clock.ntp_at(rtp_timestamp).nanos_since(ntp))
    }

    /// The shift for a leg whose first access unit is this one: it lies as much later as it came later, and never before what was output.
    /// Of a first leg the sender's clock is taken as it is, unless it is hours off (a camera that was never told the time): then it is put on ours.
    pub(crate) fn shift_to_resume(&self, resume: &Resume) -> i64 {
        let (Some(last), Some(clock)) = (self.last, self.clock) else {
            let off = resume.arrived.nanos_since(resume.ntp);
            return if off.abs() > FAR_NANOS { off } else { 0 };
        };
        let passed = nanos(resume.at.saturating_duration_since(last.at).as_nanos());
        let expected = clock.ntp_at(last.timestamp).offset_by_nanos(passed);
        let shift = as_one_clock(expected.nanos_since(resume.ntp));
        let earliest = clock.ntp_at(last.highest.wrapping_add(self.smallest_gap()));
        let early = earliest.nanos_since(resume.ntp.offset_by_nanos(shift));
        shift + early.max(0)
    }

    /// Lets the timestamps of a new leg, shifted by `shift`, follow what was output.
    pub(crate) fn resume(&mut self, resume: &Resume, shift: i64) {
        let (Some(last), Some(clock)) = (self.last, self.clock) else { return };
        let wanted = clock.rtp_at(resume.ntp.offset_by_nanos(shift));
        let earliest = last.highest.wrapping_add(self.smallest_gap());
        let follows = wanted.wrapping_sub(earliest) < 1 << 31;
        let timestamp = if follows { wanted } else { earliest };
        self.rewriter.resume(resume.timestamp, timestamp.wrapping_sub(last.timestamp));
    }

    /// A ms in ticks.
    fn smallest_gap(&self) -> u32 {
        (self.clock_rate().hz() / 1000).max(1)
    }

    /// The entry of the ring for an access unit.
    pub(crate) fn write(&mut self, track: usize, unit: AssembledAccessUnit) -> RingUnit {
        let timestamp = self.rewriter.map_timestamp(unit.timestamp);
        let packets = self.rewriter.rewrite(unit.packets, unit.timestamp);
        let first_sequence_number = packets
            .data
            .get(2..4)
            .map_or(self.rewriter.next_sequence_number(), |b| u16::from_be_bytes([b[0], b[1]]));
        let kind = self.config.kind();
        let highest = match self.last {
            Some(last) if timestamp.wrapping_sub(last.highest) >= 1 << 31 => {
                self.has_b_frames |= kind == MediaKind::Video;
                last.highest
            }
            Some(_) | None => timestamp,
        };
        self.last = Some(LastOutput { timestamp, highest, at: unit.received_at });
        RingUnit::new(
            track,
            kind,
            unit.keyframe && !unit.damaged,
            timestamp,
            first_sequence_number,
            packets,
            unit.received_at,
        )
    }
}

fn as_one_clock(difference: i64) -> i64 {
    if difference.abs() < ONE_CLOCK_NANOS { 0 } else { difference }
}

/// Saturates where it cannot be said: 292 years.
pub(crate) fn nanos(nanos: u128) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}
