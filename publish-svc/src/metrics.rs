//! All instruments of publish-svc.
//!
//! What comes in is counted per stream, as the API shows it, and added up here once a second and at a stream's end; what happens less often
//! is counted as it happens.

use std::sync::atomic::{AtomicU32, Ordering};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use svc_core::metrics::{Metrics, ReasonLabel};

use crate::{
    leg::{Counters, ReceiveSockets},
    reception::News,
    stream::Transport,
    tally::{DropReason, SkipReason},
};

/// How many counters a stream has that are added up.
const PER_STREAM: usize = 19;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

/// What of a stream's counters has been added up already.
#[derive(Debug, Default)]
pub(crate) struct Reported([u32; PER_STREAM]);

/// The instruments; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instruments {
    /// Streams there are.
    pub(crate) streams: Gauge,
    /// RTSP connections that were refused since there were too many.
    pub(crate) turned_away: Counter,
    /// What came to the readers' UDP port of RTCP from nobody known.
    pub(crate) strange_rtcp: Counter,
    /// What readers sent as RTCP and is none.
    pub(crate) malformed_rtcp: Counter,
    /// RTP runs that a UDP reader could not be sent.
    pub(crate) unsent: Counter,
    /// DESCRIBEs that were refused since too many wait for a publisher.
    pub(crate) waiters_refused: Counter,
    /// Streams whose lease ended and whose readers were kept.
    pub(crate) orphaned: Counter,
    /// Streams that were not looked up since too many are.
    pub(crate) fetches_refused: Counter,
    fetches: Family<ReasonLabel, Counter>,
    /// Nodes that are fed, a stream each.
    pub(crate) feeds: Gauge,
    /// What is sent to them.
    pub(crate) feed: hop::Instruments,
    /// The RTP sockets of legs.
    pub(crate) leg_sockets: ReceiveSockets,
    skips: Family<ReasonLabel, Counter>,
    access_units_skipped: Counter,
    dropped: Family<ReasonLabel, Counter>,
    reports: Reports,
    waiters: Gauge,
    connections: Gauge,
    accepted: Counter,
    readers: Family<TransportLabel, Gauge>,
    reader_packets: Family<TransportLabel, Counter>,
    responses: Family<StatusLabel, Counter>,
    closed: Family<ReasonLabel, Counter>,
    packets: Counter,
    bytes: Counter,
    lost: Counter,
    discarded: Counter,
    asked_for: Counter,
    recovered: Counter,
    too_late: Counter,
    nacks: Counter,
    malformed: Counter,
    oversized: Counter,
    clocks_by_arrival: Counter,
    keyframes: Counter,
    refused: Family<ReasonLabel, Counter>,
    access_units: Family<KindLabel, Counter>,
}

impl Instruments {
    /// The instruments, registered.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let not_fed = Family::default();
        let feed = hop::Instruments::new(metrics, "publish_feed", not_fed.clone());
        let this = Self { feed, ..Self::default() };
        let i = this.clone();
        metrics.register(|r| {
            r.register("publish_streams", "Streams", i.streams);
            r.register("publish_rtp_packets", "RTP packets accepted", i.packets);
            r.register("publish_rtp_bytes", "Bytes of RTP packets accepted", i.bytes);
            r.register("publish_rtp_lost", "RTP packets that never came", i.lost);
            let help = "RTP packets that came twice or too late";
            r.register("publish_rtp_discarded", help, i.discarded);
            let help = "RTP packets asked for by generic NACK, each as often as it was";
            r.register("publish_rtp_asked_for", help, i.asked_for);
            let help = "RTP packets that came since they were asked for";
            r.register("publish_rtp_recovered", help, i.recovered);
            let help = "RTP packets that came when they had been given up";
            r.register("publish_rtp_too_late", help, i.too_late);
            r.register("publish_nacks", "Generic NACKs sent", i.nacks);
            let help = "RTP packets refused: wrong source, SSRC or payload type, not authentic, or replayed";
            r.register("publish_rtp_refused", help, i.refused);
            let help = "Receive buffer of a leg's RTP socket, as the system counts it";
            let buffer = i.leg_sockets.receive_buffer.clone();
            r.register_with_unit("publish_rtp_receive_buffer", help, Unit::Bytes, buffer);
            r.register_collector(Box::new(i.leg_sockets));
            r.register("publish_malformed", "Datagrams that are no RTP or RTCP", i.malformed);
            r.register("publish_access_units", "Access units received", i.access_units);
            r.register("publish_keyframes", "Undamaged keyframes received", i.keyframes);
            let help = "Access units dropped since the ring could not hold them";
            r.register("publish_oversized", help, i.oversized);
            let help = "Tracks that began with no Sender Report, so that readers' clock went by when they came";
            r.register("publish_clocks_by_arrival", help, i.clocks_by_arrival);
            r.register("publish_rtsp_connections", "RTSP connections", i.connections);
            r.register("publish_rtsp_accepted", "RTSP connections accepted", i.accepted);
            let help = "RTSP connections refused since there were too many";
            r.register("publish_rtsp_turned_away", help, i.turned_away);
            r.register("publish_rtsp_closed", "RTSP connections closed, by reason", i.closed);
            r.register("publish_rtsp_responses", "RTSP responses, by status", i.responses);
            let help = "DESCRIBEs that wait for a publisher";
            r.register("publish_rtsp_waiters", help, i.waiters);
            let help = "DESCRIBEs refused since too many wait for a publisher";
            r.register("publish_rtsp_waiters_refused", help, i.waiters_refused);
            let help =
                "Streams that readers asked for and the node did not have, by what became of it";
            r.register("publish_fetches", help, i.fetches);
            let help = "Streams that were not looked up, and DESCRIBEs refused, since too many are";
            r.register("publish_fetches_refused", help, i.fetches_refused);
            let help = "Streams whose lease ended and whose readers were kept for another ingest";
            r.register("publish_orphaned", help, i.orphaned);
            r.register("publish_feeds", "Streams that are sent on to further nodes", i.feeds);
            let help = "Access units that further nodes were not sent, or packets that failed";
            r.register("publish_feed_dropped", help, not_fed);
            r.register("publish_readers", "Readers that play", i.readers);
            r.register("publish_reader_packets", "RTP packets sent to readers", i.reader_packets);
            let help = "Skips of readers that were too slow, by reason";
            r.register("publish_reader_skips", help, i.skips);
            let help = "Access units that readers missed by skipping";
            r.register("publish_reader_access_units_skipped", help, i.access_units_skipped);
            r.register("publish_readers_dropped", "Readers dropped, by reason", i.dropped);
            i.reports.register(r);
            let help = "Datagrams to the readers' RTCP port from nobody known";
            r.register("publish_reader_strange_rtcp", help, i.strange_rtcp);
            let help = "What readers sent as RTCP and is none";
            r.register("publish_reader_malformed_rtcp", help, i.malformed_rtcp);
            let help = "Runs of RTP packets that a UDP reader could not be sent";
            r.register("publish_reader_unsent", help, i.unsent);
        });
        this
    }

    /// Adds up what a stream has counted since it was last reported.
    pub(crate) fn add_up(&self, counters: &Counters, reported: &mut Reported) {
        let refused = |reason| self.refused.get_or_create_owned(&ReasonLabel { reason });
        let units = |kind| self.access_units.get_or_create_owned(&KindLabel { kind });
        let pairs: [(&AtomicU32, Counter); PER_STREAM] = [
            (&counters.packets, self.packets.clone()),
            (&counters.bytes, self.bytes.clone()),
            (&counters.packets_lost, self.lost.clone()),
            (&counters.packets_discarded, self.discarded.clone()),
            (&counters.malformed, self.malformed.clone()),
            (&counters.oversized, self.oversized.clone()),
            (&counters.clocks_by_arrival, self.clocks_by_arrival.clone()),
            (&counters.keyframes, self.keyframes.clone()),
            (&counters.refused_source, refused("source")),
            (&counters.refused_ssrc, refused("ssrc")),
            (&counters.refused_payload_type, refused("payload_type")),
            (&counters.refused_unauthentic, refused("unauthentic")),
            (&counters.refused_replayed, refused("replayed")),
            (&counters.packets_asked_for, self.asked_for.clone()),
            (&counters.packets_recovered, self.recovered.clone()),
            (&counters.packets_too_late, self.too_late.clone()),
            (&counters.nacks, self.nacks.clone()),
            (&counters.video_access_units, units("video")),
            (&counters.audio_access_units, units("audio")),
        ];
        for ((counter, total), before) in pairs.into_iter().zip(&mut reported.0) {
            let now = counter.load(Ordering::Relaxed);
            // They count modulo 2^32; more than that does not pass in a second.
            total.inc_by(now.wrapping_sub(*before).into());
            *before = now;
        }
    }

    /// A reader plays by a transport.
    pub(crate) fn play(&self, by: Transport) -> Counted {
        Counted::new(self.readers.get_or_create_owned(&transport(by)))
    }

    /// A DESCRIBE waits for a publisher.
    pub(crate) fn wait(&self) -> Counted {
        Counted::new(self.waiters.clone())
    }

    /// A stream was looked up that the node did not have.
    pub(crate) fn fetch(&self, reason: &'static str) {
        self.fetches.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A connection is there.
    pub(crate) fn connect(&self) -> Counted {
        self.accepted.inc();
        Counted::new(self.connections.clone())
    }

    /// Packets sent by a transport.
    pub(crate) fn reader_packets(&self, by: Transport) -> Counter {
        self.reader_packets.get_or_create_owned(&transport(by))
    }

    /// A response went out.
    pub(crate) fn respond(&self, status: u16) {
        self.responses.get_or_create(&StatusLabel { status }).inc();
    }

    /// A reader passed access units over; `began` says why, where a skip began with them.
    pub(crate) fn skip(&self, began: Option<SkipReason>, access_units: u32) {
        if let Some(reason) = began {
            self.skips.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
        }
        self.access_units_skipped.inc_by(access_units.into());
    }

    /// A reader was dropped.
    pub(crate) fn drop_reader(&self, reason: DropReason) {
        self.dropped.get_or_create(&ReasonLabel { reason: reason.label() }).inc();
    }

    /// A reader said how it receives a track.
    pub(crate) fn report(&self, by: Transport, news: &News) {
        let (by, reports) = (transport(by), &self.reports);
        reports.count.get_or_create(&by).inc();
        reports.packets_lost.get_or_create(&by).inc_by(news.newly_lost.into());
        let loss = f64::from(news.reception.fraction_lost) / 256.0;
        reports.loss.get_or_create(&by).observe(loss);
        reports.jitter.get_or_create(&by).observe(news.reception.jitter.as_secs_f64());
        if let Some(round_trip) = news.reception.round_trip {
            reports.round_trip.get_or_create(&by).observe(round_trip.as_secs_f64());
        }
    }

    /// An RTSP connection was closed.
    pub(crate) fn close(&self, reason: &'static str) {
        self.closed.get_or_create(&ReasonLabel { reason }).inc();
    }
}

/// What readers report of how they receive, all readers of a transport together.
#[derive(Clone, Debug)]
struct Reports {
    count: Family<TransportLabel, Counter>,
    packets_lost: Family<TransportLabel, Counter>,
    loss: Spread,
    jitter: Spread,
    round_trip: Spread,
}

type Spread = Family<TransportLabel, Histogram, fn() -> Histogram>;

impl Default for Reports {
    fn default() -> Self {
        Self {
            count: Family::default(),
            packets_lost: Family::default(),
            // A report tells 256ths.
            loss: Spread::new_with_constructor(|| {
                Histogram::new([0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
            }),
            jitter: Spread::new_with_constructor(seconds),
            round_trip: Spread::new_with_constructor(seconds),
        }
    }
}

/// From a local network to what makes a stream useless.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0])
}

impl Reports {
    fn register(self, r: &mut Registry) {
        let help = "Tracks that readers reported on by RTCP, once for each report";
        r.register("publish_reader_reports", help, self.count);
        let help = "RTP packets that readers reported as lost";
        r.register("publish_reader_packets_lost", help, self.packets_lost);
        let help = "Loss between two reports of a reader";
        r.register_with_unit("publish_reader_loss", help, Unit::Ratios, self.loss);
        let help = "Interarrival jitter that readers report";
        r.register_with_unit("publish_reader_jitter", help, Unit::Seconds, self.jitter);
        let help = "Round-trip time to readers, by the Sender Reports that they answer";
        r.register_with_unit("publish_reader_round_trip", help, Unit::Seconds, self.round_trip);
    }
}

/// One of those that a gauge counts, for as long as this lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn transport(by: Transport) -> TransportLabel {
    TransportLabel {
        transport: match by {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Multicast => "multicast",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_streams_count_is_added_up_once_and_over_their_wrap() {
        let metrics = Metrics::new("test");
        let instruments = Instruments::new(&metrics);
        let (one, other) = (Counters::default(), Counters::default());
        let (mut one_reported, mut other_reported) = (Reported::default(), Reported::default());
        one.packets.store(u32::MAX, Ordering::Relaxed);
        instruments.add_up(&one, &mut one_reported);
        Counters::add(&one.packets, 3);
        Counters::add(&other.packets, 4);
        Counters::add(&other.refused_ssrc, 5);
        for _ in 0..2 {
            instruments.add_up(&one, &mut one_reported);
            instruments.add_up(&other, &mut other_reported);
        }
        let text = metrics.render();
        let total = u64::from(u32::MAX) + 7;
        assert!(text.contains(&format!("rtmp2rtsp_publish_rtp_packets_total {total}\n")), "{text}");
        assert!(
            text.contains("rtmp2rtsp_publish_rtp_refused_total{reason=\"ssrc\"} 5\n"),
            "{text}"
        );
    }
}
