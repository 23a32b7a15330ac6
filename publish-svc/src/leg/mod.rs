//! The receiving end of a stream's leg: RTP and RTCP in, access units for the ring out.

mod demux;
mod guard;
mod intake;
mod output;
mod ports;
mod receiver;
mod socket;
mod status;

use std::sync::atomic::{AtomicU32, Ordering};

use media::codec::MediaKind;

pub(crate) use demux::Refusal;
pub(crate) use intake::LegState;
pub(crate) use ports::{Ports, ReceiveSockets};
pub(crate) use receiver::{Leg, LegHandle, LegSettings, LegSpec};
pub(crate) use socket::{BindError, PortPair};
pub(crate) use status::StreamStatus;

/// What went through a stream since it was started, over all its legs; modulo 2^32 each, as in the API.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Video access units.
    pub(crate) video_access_units: AtomicU32,
    /// Audio access units.
    pub(crate) audio_access_units: AtomicU32,
    /// Undamaged keyframes.
    pub(crate) keyframes: AtomicU32,
    /// RTP packets accepted.
    pub(crate) packets: AtomicU32,
    /// Their bytes.
    pub(crate) bytes: AtomicU32,
    /// RTP packets that never came.
    pub(crate) packets_lost: AtomicU32,
    /// Refused for their source.
    pub(crate) refused_source: AtomicU32,
    /// Refused for their SSRC.
    pub(crate) refused_ssrc: AtomicU32,
    /// Refused for their payload type.
    pub(crate) refused_payload_type: AtomicU32,
    /// Refused since they are not of who has the leg's key, or were changed.
    pub(crate) refused_unauthentic: AtomicU32,
    /// Refused since they are old ones of a leg with a key.
    pub(crate) refused_replayed: AtomicU32,
    /// Came twice or too late.
    pub(crate) packets_discarded: AtomicU32,
    /// Asked for, each as often as it was.
    pub(crate) packets_asked_for: AtomicU32,
    /// Came since they were asked for.
    pub(crate) packets_recovered: AtomicU32,
    /// Came when they were given up; discarded, too.
    pub(crate) packets_too_late: AtomicU32,
    /// Generic NACKs sent.
    pub(crate) nacks: AtomicU32,
    /// No RTP or RTCP.
    pub(crate) malformed: AtomicU32,
    /// Access units dropped for their size.
    pub(crate) oversized: AtomicU32,
    /// Timelines of tracks that began with no Sender Report, and so by when they came.
    pub(crate) clocks_by_arrival: AtomicU32,
    /// Bits per second now.
    pub(crate) bitrate: AtomicU32,
    /// Milliseconds for which media has flowed.
    pub(crate) live_ms: AtomicU32,
}

impl Counters {
    /// Counts on, modulo 2^32.
    pub(crate) fn add(counter: &AtomicU32, by: u32) {
        if by != 0 {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn refuse(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Source => &self.refused_source,
            Refusal::Ssrc => &self.refused_ssrc,
            Refusal::PayloadType => &self.refused_payload_type,
        };
        Self::add(counter, 1);
    }

    fn access_unit(&self, kind: MediaKind, keyframe: bool) {
        match kind {
            MediaKind::Video => {
                Self::add(&self.video_access_units, 1);
                Self::add(&self.keyframes, u32::from(keyframe));
            }
            MediaKind::Audio => Self::add(&self.audio_access_units, 1),
        }
    }

    /// Refused for any reason.
    pub(crate) fn refused(&self) -> u32 {
        let by_reason = [
            &self.refused_source,
            &self.refused_ssrc,
            &self.refused_payload_type,
            &self.refused_unauthentic,
            &self.refused_replayed,
        ];
        by_reason.iter().fold(0, |sum, counter| sum.wrapping_add(counter.load(Ordering::Relaxed)))
    }
}
