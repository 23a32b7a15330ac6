//! The instruments of all legs that a service sends.

use media::srtp;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use svc_core::metrics::{Metrics, ReasonLabel};

use crate::history;

/// Access units that were not sent since the leg was behind, as a reason.
const LEG_BEHIND: &str = "leg_behind";
/// Packets that the system did not take.
const SEND_FAILED: &str = "send_failed";

/// The instruments; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Instruments {
    /// RTP packets sent.
    pub(crate) packets: Counter,
    /// Bytes of RTP packets sent.
    pub(crate) packet_bytes: Counter,
    /// Sends of RTP (one system call each).
    pub(crate) sends: Counter,
    /// ICMP port unreachable from nodes.
    pub(crate) sends_refused: Counter,
    /// Bytes that wait in pacers.
    pub(crate) pacer_bytes: Gauge,
    /// RTP packets sent twice unasked.
    pub(crate) repeated: Counter,
    /// RTP packets sent again when asked for.
    pub(crate) retransmitted: Counter,
    /// Generic NACKs of nodes.
    pub(crate) nacks: Counter,
    /// RTP packets that they asked for.
    pub(crate) nacked: Counter,
    /// Datagrams of nodes that are no RTCP.
    pub(crate) malformed_rtcp: Counter,
    rtcp_refused: Family<ReasonLabel, Counter>,
    retransmissions_refused: Family<ReasonLabel, Counter>,
    dropped: Family<ReasonLabel, Counter>,
}

impl Instruments {
    /// The instruments, registered under names that begin with `prefix`, but for `dropped`, which the service has already.
    pub fn new(metrics: &Metrics, prefix: &str, dropped: Family<ReasonLabel, Counter>) -> Self {
        let this = Self { dropped, ..Self::default() };
        let i = this.clone();
        let name = |rest: &str| format!("{prefix}_{rest}");
        metrics.register(|r| {
            r.register(name("rtp_packets"), "RTP packets sent", i.packets);
            r.register(name("rtp_bytes"), "Bytes of RTP packets sent", i.packet_bytes);
            r.register(name("rtp_sends"), "System calls that sent RTP", i.sends);
            let help = "Sends answered by ICMP port unreachable";
            r.register(name("rtp_refused"), help, i.sends_refused);
            r.register(name("pacer_queued_bytes"), "Bytes that wait in pacers", i.pacer_bytes);
            r.register(name("nacks"), "Generic NACKs received from nodes", i.nacks);
            let help = "RTP packets that nodes asked for by generic NACK";
            r.register(name("rtp_asked_for"), help, i.nacked);
            let help = "RTP packets sent again since nodes asked for them";
            r.register(name("rtp_retransmitted"), help, i.retransmitted);
            let help = "RTP packets that nodes asked for and were not sent again";
            r.register(name("rtp_retransmissions_refused"), help, i.retransmissions_refused);
            let help = "Last RTP packets of access units sent twice on lossy legs";
            r.register(name("rtp_repeated"), help, i.repeated);
            let help =
                "RTCP to legs with a key that was refused: no SRTCP, not authentic, or replayed";
            r.register(name("rtcp_refused"), help, i.rtcp_refused);
            let help = "Datagrams from nodes that are no RTCP";
            r.register(name("malformed_rtcp"), help, i.malformed_rtcp);
        });
        this
    }

    /// A packet that a node asked for is not sent again.
    pub(crate) fn refuse_retransmission(&self, reason: history::Refused) {
        self.retransmissions_refused.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }

    /// A datagram of who claims to be a node is not opened.
    pub(crate) fn refuse_rtcp(&self, refused: srtp::Refused) {
        let reason = match refused {
            srtp::Refused::Malformed => "malformed",
            srtp::Refused::Unauthentic => "unauthentic",
            srtp::Refused::CameBefore | srtp::Refused::TooOld => "replayed",
        };
        self.rtcp_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Access units were left out on a leg that is behind.
    pub fn leave_out(&self, access_units: u32) {
        self.drop(LEG_BEHIND, access_units);
    }

    /// The system did not take packets.
    pub(crate) fn fail(&self, packets: u32) {
        self.drop(SEND_FAILED, packets);
    }

    fn drop(&self, reason: &'static str, count: u32) {
        if count > 0 {
            self.dropped.get_or_create(&ReasonLabel { reason }).inc_by(count.into());
        }
    }
}
