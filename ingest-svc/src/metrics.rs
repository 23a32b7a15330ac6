//! All instruments of ingest-svc.

use media::codec::MediaKind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use svc_core::metrics::{Metrics, ReasonLabel};

use crate::pull::Failure;

/// Why a publisher was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Refused {
    /// The key cannot be a stream key.
    InvalidKey,
    /// Only armed keys get in, and this one is not.
    NotArmed,
    /// Another publishes under the key.
    Live,
    /// There are as many streams as there can be.
    TooManyStreams,
    /// The registry granted no leg.
    NoLeg,
    /// The stream or the service is ending.
    Ending,
}

/// Why another publisher goes on with a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Switched {
    /// It took the stream over.
    TakenOver,
    /// It stood by, and the first one left.
    Left,
    /// It stood by, and the first one stalled.
    Stalled,
}

/// Why a stream was taken from another ingest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Superseded {
    /// It did not answer.
    Dead,
    /// It had no publisher of it any more.
    Left,
    /// It drains.
    Drains,
}

/// Why media was not sent on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Drop {
    /// The tag could not be read.
    Malformed,
    /// Its codec is not carried.
    Unsupported,
    /// It is of a further track of a multitrack publisher.
    OtherTrack,
    /// It came before its codec header or first keyframe, or at another clock rate.
    Unusable,
}

impl Refused {
    const fn label(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid_key",
            Self::NotArmed => "not_armed",
            Self::Live => "live",
            Self::TooManyStreams => "too_many_streams",
            Self::NoLeg => "no_leg",
            Self::Ending => "ending",
        }
    }
}

impl Switched {
    const fn label(self) -> &'static str {
        match self {
            Self::TakenOver => "taken_over",
            Self::Left => "left",
            Self::Stalled => "stalled",
        }
    }
}

impl Superseded {
    const fn label(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Drains => "drains",
        }
    }
}

impl Drop {
    const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::OtherTrack => "other_track",
            Self::Unusable => "unusable",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// The instruments; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instruments {
    /// Streams there are.
    pub(crate) streams: Gauge,
    /// Publishers that publish now.
    pub(crate) publishers: Gauge,
    /// Publishers that stand by now.
    pub(crate) standbys: Gauge,
    /// Streams of which readers get the offline picture now.
    pub(crate) offline: Gauge,
    /// Media messages that standbys sent.
    pub(crate) standby_messages: Counter,
    /// Publishers that were let in.
    pub(crate) published: Counter,
    /// Streams that are pulled.
    pub(crate) pulls: Gauge,
    /// Those whose remote plays now.
    pub(crate) pulls_playing: Gauge,
    /// Attempts to pull.
    pub(crate) pull_attempts: Counter,
    /// Media messages received.
    pub(crate) messages: Counter,
    /// Bytes of media received.
    pub(crate) media_bytes: Counter,
    /// Keyframes.
    pub(crate) keyframes: Counter,
    /// Jumps of publishers' clocks that were taken out.
    pub(crate) clock_jumps: Counter,
    /// Audio clocks that were set anew.
    pub(crate) audio_reanchored: Counter,
    /// Composition times that cannot be.
    pub(crate) compositions_repaired: Counter,
    /// GOPs too large for the cache.
    pub(crate) gops_overflowed: Counter,
    /// Legs on which RTP flows.
    pub(crate) legs: Gauge,
    /// Legs that were brought up.
    pub(crate) legs_established: Counter,
    /// Legs that nodes were refused, since the stream had as many as it may have.
    pub(crate) legs_refused: Counter,
    /// Attempts to bring up a leg that failed.
    pub(crate) leg_failures: Counter,
    /// Ports that a node could not bind.
    pub(crate) ports_rejected: Counter,
    /// Publishers that were asked to connect again, elsewhere.
    pub(crate) reconnects_asked: Counter,
    /// Streams that another ingest has taken over.
    pub(crate) fenced: Counter,
    /// What is sent on legs.
    pub(crate) hop: hop::Instruments,
    access_units: Family<KindLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    switched: Family<ReasonLabel, Counter>,
    superseded: Family<ReasonLabel, Counter>,
    dropped: Family<ReasonLabel, Counter>,
    pull_failures: Family<ReasonLabel, Counter>,
}

impl Instruments {
    /// The instruments, registered.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let dropped = Family::default();
        let hop = hop::Instruments::new(metrics, "ingest", dropped.clone());
        let this = Self { dropped, hop, ..Self::default() };
        let i = this.clone();
        metrics.register(|r| {
            r.register("ingest_streams", "Streams", i.streams);
            r.register("ingest_publishers", "Publishers that publish now", i.publishers);
            r.register("ingest_standbys", "Publishers that stand by now", i.standbys);
            let help = "Streams without a publisher whose readers get the offline picture now";
            r.register("ingest_streams_offline", help, i.offline);
            let help = "RTMP media messages that publishers sent while they stood by";
            r.register("ingest_standby_messages", help, i.standby_messages);
            let help = "Live streams with which another publisher went on";
            r.register("ingest_publisher_switches", help, i.switched);
            let help = "Streams that were taken over from another ingest";
            r.register("ingest_streams_superseded", help, i.superseded);
            let help = "Streams that another ingest has taken over from this one";
            r.register("ingest_streams_fenced", help, i.fenced);
            let help = "Publishers that were asked to connect again since the service drains";
            r.register("ingest_reconnects_asked", help, i.reconnects_asked);
            r.register("ingest_published", "Publishers that were let in", i.published);
            r.register("ingest_publishers_refused", "Publishers that were refused", i.refused);
            r.register("ingest_pulls", "Streams that are pulled", i.pulls);
            let help = "Pulled streams whose remote plays now";
            r.register("ingest_pulls_playing", help, i.pulls_playing);
            r.register("ingest_pull_attempts", "Attempts to pull a stream", i.pull_attempts);
            let help = "Attempts to pull that failed, and pulled connections that ended";
            r.register("ingest_pull_failures", help, i.pull_failures);
            r.register("ingest_messages", "RTMP media messages received", i.messages);
            r.register("ingest_media_bytes", "Bytes of RTMP media received", i.media_bytes);
            r.register("ingest_access_units", "Access units packetized", i.access_units);
            r.register("ingest_keyframes", "Keyframes packetized", i.keyframes);
            r.register("ingest_dropped", "Tags or access units not sent on", i.dropped);
            let help = "Jumps of publishers' clocks that were taken out";
            r.register("ingest_clock_jumps", help, i.clock_jumps);
            let help = "Audio clocks set anew after drifting";
            r.register("ingest_audio_reanchored", help, i.audio_reanchored);
            let help = "Pictures whose composition time cannot be, and was taken as 0";
            r.register("ingest_compositions_repaired", help, i.compositions_repaired);
            let help = "GOPs too large to be kept for new legs";
            r.register("ingest_gops_overflowed", help, i.gops_overflowed);
            r.register("ingest_legs", "Legs on which RTP flows", i.legs);
            r.register("ingest_legs_established", "Legs brought up", i.legs_established);
            let help = "Legs that nodes asked for beyond what one stream can have";
            r.register("ingest_legs_refused", help, i.legs_refused);
            let help = "Failed attempts to bring up a leg";
            r.register("ingest_leg_failures", help, i.leg_failures);
            r.register("ingest_ports_rejected", "Ports a node could not bind", i.ports_rejected);
        });
        this
    }

    /// A publisher was refused.
    pub(crate) fn refuse(&self, reason: Refused) {
        self.refused.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }

    /// Another publisher goes on with a stream.
    pub(crate) fn switch(&self, reason: Switched) {
        self.switched.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }

    /// A stream was taken from another ingest.
    pub(crate) fn supersede(&self, reason: Superseded) {
        self.superseded.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }

    /// A pull failed or ended.
    pub(crate) fn pull_failed(&self, failure: &Failure) {
        self.pull_failures.get_or_create(&ReasonLabel { reason: failure.label() }).inc();
    }

    /// The counter of access units of a kind.
    pub(crate) fn access_units(&self, kind: MediaKind) -> Counter {
        self.access_units.get_or_create_owned(&KindLabel { kind: kind.label() })
    }

    /// Media was not sent on.
    pub(crate) fn drop(&self, reason: Drop, count: u32) {
        if count > 0 {
            self.dropped
                .get_or_create(&ReasonLabel { reason: reason.label() })
                .inc_by(count.into());
        }
    }
}
