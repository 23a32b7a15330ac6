//! What a leg that is up carries: its pacer, its reports, and what is known of the node. No task, no waiting.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use media::{
    codec::MediaKind,
    rtcp::{self, RtcpPacket},
    rtp::PacketBatch,
    srtp::Session,
};
use svc_core::clock::wall_clock;
use tracing::{Span, debug, info_span, trace, warn};

use super::{AccessUnit, Broken, OnReport};
use crate::{
    Config, LegStatus, Opened, Track,
    history::History,
    pacer::{PacedRun, Pacer},
    reports::{Opening, Reports},
    seal::{MAX_SEALED_SEGMENTS, with_sealed},
    socket::{LegSockets, Sent},
};

/// So many ICMP port unreachables, none of them longer than [`REFUSED_MEMORY`] after the one before, say that the node is gone.
/// A node that rebinds its port sends one or two. While a stream is HELD a report is refused every 2 s.
const MAX_REFUSED: u32 = 5;
/// See [`MAX_REFUSED`].
const REFUSED_MEMORY: Duration = Duration::from_secs(5);
/// A node that had reported and that reports nothing while it is sent packets for so long is gone without a trace, such as behind a
/// cut cable. Five reports of the longest usual interval.
pub(super) const MAX_UNREPORTED: Duration = Duration::from_secs(25);
/// Runs that are sent before others get their turn.
const SEND_BUDGET: usize = 64;
/// Access units of a track that the node does not know of yet: 2 s of 60 pictures and 47 audio frames a second.
const MAX_EARLY: usize = 256;

/// What the rest of what is to be sent waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Waits {
    /// When some of it may go out.
    pub(super) pace_at: Option<Instant>,
    /// That must not be late.
    pub(super) is_hurried: bool,
    /// The socket is full.
    pub(super) blocked: bool,
}

/// An access unit that is kept.
struct Early {
    kind: MediaKind,
    keyframe: bool,
    packets: PacketBatch,
}

impl Early {
    fn borrow(&self) -> AccessUnit<'_> {
        AccessUnit { kind: self.kind, keyframe: self.keyframe, packets: &self.packets }
    }
}

/// See the module.
pub(super) struct Carried {
    config: Arc<Config>,
    sockets: Arc<LegSockets>,
    /// What the node knows of.
    tracks: Vec<Track>,
    status: Arc<LegStatus>,
    /// Of a track that the node does not know of yet.
    early: VecDeque<Early>,
    pub(super) pacer: Pacer,
    /// What its packets are sealed by, and the node's opened.
    srtp: Option<Session>,
    /// What can be sent again, where that is offered.
    history: Option<History>,
    reports: Reports,
    on_report: OnReport,
    opening: Opening,
    /// The span that the stream comes up under; ended by the first packet.
    bring_up: Option<Span>,
    pub(super) blocked: bool,
    /// The pacer is full: video is left out until the next keyframe.
    behind: bool,
    refused: u32,
    refused_at: Instant,
    /// Whether the node has ever reported.
    heard: bool,
    /// When the first packet that no report has followed was sent, and when the last.
    unreported: Option<(Instant, Instant)>,
    queued_bytes: i64,
    /// Why it is no longer carried, once that is so; for the leg's task to take.
    pub(super) broken: Option<Broken>,
    pub(super) is_closed: bool,
}

impl Carried {
    /// Before the first packet.
    pub(super) fn new(leg: &Opened, on_report: OnReport, bring_up: Span) -> Self {
        let config = leg.config.clone();
        Self {
            sockets: leg.sockets.clone(),
            tracks: leg.tracks.clone(),
            status: leg.status.clone(),
            early: VecDeque::new(),
            pacer: Pacer::new(config.rtp.pacing_burst),
            srtp: leg.key.as_ref().map(Session::new),
            history: config.hop.nack.then(History::default),
            reports: Reports::new(config.cname.clone()),
            on_report,
            opening: Opening::default(),
            bring_up: Some(bring_up),
            blocked: false,
            behind: false,
            refused: 0,
            refused_at: Instant::now(),
            heard: false,
            unreported: None,
            queued_bytes: 0,
            broken: None,
            is_closed: false,
            config,
        }
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.pacer.clear();
        self.early.clear();
        self.count_queued();
    }

    pub(super) fn learn(&mut self, tracks: Vec<Track>) {
        self.tracks = tracks;
        // The first packet of a further track is led by its Sender Report, too.
        self.opening = Opening::default();
        for unit in std::mem::take(&mut self.early) {
            if !self.push(unit.borrow(), unit.keyframe) {
                self.config.metrics.leave_out(1);
            }
        }
    }

    /// [`Self::flush`] for the leg's task: what it is to wait for.
    pub(super) fn flush_on(&mut self) -> Result<Waits, Broken> {
        match self.broken.take() {
            Some(broken) => Err(broken),
            None => self.flush().map(|pace_at| Waits {
                pace_at,
                is_hurried: self.pacer.is_hurried(),
                blocked: self.blocked,
            }),
        }
    }

    /// Whether it is taken.
    pub(super) fn push(&mut self, unit: AccessUnit<'_>, starts_gop: bool) -> bool {
        if self.tracks.iter().all(|track| track.config.kind() != unit.kind) {
            return self.keep_early(unit);
        }
        if self.behind && !starts_gop {
            return false;
        }
        let most = if self.srtp.is_some() { MAX_SEALED_SEGMENTS } else { usize::MAX };
        let max_segments = self.sockets.max_segments().min(most);
        let pushed = self.pacer.push(unit.kind, unit.packets, max_segments);
        self.behind = pushed.is_err();
        if !self.behind && self.history.as_ref().is_some_and(History::is_lossy) {
            self.pacer.repeat_last();
            self.config.metrics.repeated.inc();
        }
        !self.behind
    }

    /// Keeps what the node would refuse until it knows of the track. Too much of it: from the next keyframe on.
    fn keep_early(&mut self, unit: AccessUnit<'_>) -> bool {
        if self.early.len() == MAX_EARLY {
            self.config.metrics.leave_out(MAX_EARLY as u32);
            self.early.clear();
        }
        let keep = !self.early.is_empty() || unit.keyframe || unit.kind == MediaKind::Audio;
        if keep {
            let packets = unit.packets.clone();
            self.early.push_back(Early { kind: unit.kind, keyframe: unit.keyframe, packets });
        }
        keep
    }

    /// Sends what may go out now; when to come back for the rest.
    pub(super) fn flush(&mut self) -> Result<Option<Instant>, Broken> {
        let mut budget = SEND_BUDGET;
        while !self.blocked && budget > 0 {
            let now = Instant::now();
            let Some(run) = self.pacer.poll(now) else { break };
            if self.opening.is_due(now) {
                self.report()?;
            }
            self.send(run)?;
            budget -= 1;
        }
        self.count_queued();
        Ok(if self.blocked { None } else { self.pacer.poll_timeout(Instant::now()) })
    }

    fn count_queued(&mut self) {
        let queued = self.pacer.queued_bytes() as i64;
        if queued != self.queued_bytes {
            self.config.metrics.pacer_bytes.inc_by(queued - self.queued_bytes);
            self.queued_bytes = queued;
        }
    }

    fn send(&mut self, run: PacedRun) -> Result<(), Broken> {
        let mut refused = 0;
        let sockets = &self.sockets;
        let sent = with_sealed(self.srtp.as_mut(), &run.run, |run| sockets.send(run, &mut refused));
        let sent = sent.unwrap_or(Sent::Failed(io::ErrorKind::InvalidData));
        self.note_refused(refused)?;
        let metrics = &self.config.metrics;
        match sent {
            Sent::All => {
                if let Some(history) = self.history.as_mut().filter(|_| !run.is_repeat) {
                    history.sent(run.kind, &run.run, Instant::now());
                }
                metrics.sends.inc();
                metrics.packets.inc_by(run.run.packets.into());
                metrics.packet_bytes.inc_by(run.run.data.len() as u64);
                self.status.packets_sent.fetch_add(run.run.packets.into(), Relaxed);
                self.reports.count(run.kind, &run.run);
                if let Some(bring_up) = self.bring_up.take() {
                    let span = info_span!(parent: &bring_up, "first_rtp_packet");
                    let to = self.sockets.rtp_address();
                    span.in_scope(|| debug!(%to, kind = run.kind.label(), "RTP flows"));
                }
                let now = Instant::now();
                self.unreported = Some((self.unreported.map_or(now, |(first, _)| first), now));
            }
            Sent::Blocked => {
                self.pacer.put_back(run);
                self.blocked = true;
            }
            Sent::Failed(kind) => {
                metrics.fail(run.run.packets.into());
                debug!(%kind, packets = run.run.packets, "packets could not be sent");
            }
        }
        Ok(())
    }

    /// Sends the Sender Reports, as soon as the stream has a clock.
    pub(super) fn report(&mut self) -> Result<(), Broken> {
        if let Some((first, last)) = self.unreported.filter(|_| self.heard)
            && last.duration_since(first) > MAX_UNREPORTED
        {
            return Err(Broken::Silent);
        }
        let compound = self.reports.sender_reports(&self.tracks, wall_clock());
        let Some(compound) = compound else { return Ok(()) };
        self.opening.reported(Instant::now());
        self.send_rtcp(&compound).or_else(|error| self.rtcp_error(&error))
    }

    fn send_rtcp(&mut self, compound: &[u8]) -> io::Result<()> {
        match &mut self.srtp {
            None => self.sockets.send_rtcp(compound),
            Some(session) => {
                let sealed = session.seal_rtcp(compound).map_err(io::Error::other)?;
                self.sockets.send_rtcp(&sealed)
            }
        }
    }

    /// Takes an RTCP compound of the node.
    pub(super) fn read_rtcp(&mut self, mut compound: &mut [u8]) -> Result<(), Broken> {
        if let Some(session) = &mut self.srtp {
            compound = match session.open_rtcp(compound) {
                Ok(opened) => opened,
                Err(refused) => {
                    self.config.metrics.refuse_rtcp(refused);
                    return Ok(());
                }
            };
        }
        let Ok(packets) = rtcp::parse_compound(compound) else {
            self.config.metrics.malformed_rtcp.inc();
            return Ok(());
        };
        self.read_report(&packets);
        for packet in packets {
            match packet {
                RtcpPacket::Nack(source, missing) => self.answer(source, &missing),
                RtcpPacket::Bye(sources) if !self.are_ours(&sources) => return Err(Broken::Left),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether there is no source among them but ours, as where what we said comes back.
    fn are_ours(&self, sources: &[u32]) -> bool {
        sources.iter().all(|source| self.tracks.iter().any(|track| track.ssrc == *source))
    }

    fn read_report(&mut self, packets: &[RtcpPacket]) {
        let reception = Reports::reception(packets, &self.tracks, wall_clock());
        let Some(reception) = reception else { return };
        self.status.reports.fetch_add(1, Relaxed);
        (self.on_report)();
        self.refused = 0;
        self.heard = true;
        self.unreported = None;
        self.status.fraction_lost.store(reception.fraction_lost.into(), Relaxed);
        if let Some(round_trip) = reception.round_trip {
            self.status.round_trip_ns.store(round_trip.as_nanos().max(1) as u64, Relaxed);
        }
        trace!(?reception, "receiver report");
    }

    /// Queues what the node misses, as far as it can be sent again.
    fn answer(&mut self, source: u32, missing: &[u16]) {
        let metrics = &self.config.metrics;
        metrics.nacks.inc();
        let mut tracks = self.tracks.iter();
        let (Some(history), Some(track)) =
            (&mut self.history, tracks.find(|track| track.ssrc == source))
        else {
            return;
        };
        let kind = track.config.kind();
        metrics.nacked.inc_by(missing.len() as u64);
        for &number in missing.iter().take(rtcp::MAX_NACKED) {
            match history.again(kind, number) {
                Ok(packet) => {
                    self.pacer.push_asked_for(kind, packet);
                    metrics.retransmitted.inc();
                }
                Err(refused) => metrics.refuse_retransmission(refused),
            }
        }
    }

    pub(super) fn rtcp_error(&mut self, error: &io::Error) -> Result<(), Broken> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => self.note_refused(1),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
            kind => {
                warn!(%error, to = %self.sockets.rtcp_address(), "RTCP of a leg");
                Err(Broken::Socket(kind))
            }
        }
    }

    fn note_refused(&mut self, count: u32) -> Result<(), Broken> {
        if count == 0 {
            return Ok(());
        }
        self.config.metrics.sends_refused.inc_by(count.into());
        let now = Instant::now();
        if now.duration_since(self.refused_at) > REFUSED_MEMORY {
            self.refused = 0;
        }
        self.refused_at = now;
        self.refused += count;
        if self.refused >= MAX_REFUSED { Err(Broken::Refused) } else { Ok(()) }
    }

    pub(super) fn say_bye(&mut self) {
        let bye = self.reports.bye(&self.tracks);
        let _ = self.send_rtcp(&bye);
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.config.metrics.pacer_bytes.dec_by(self.queued_bytes);
    }
}
