//! A leg that is up: access units through the pacer into the socket, Sender Reports, Receiver Reports.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use media::codec::MediaKind;
use svc_core::clock::wall_clock;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, sleep_until},
};
use tracing::{Span, debug, info_span, trace, warn};

use super::{
    Announced, Backlog, LegConfig, MAX_FED,
    control::Established,
    pacer::{PacedRun, Pacer},
    reports::Reports,
    socket::{LegSockets, Sent},
};
use crate::{
    metrics::Drop as Dropped,
    stream::{LegStatus, Unit},
};

/// So many ICMP port unreachables, none of them longer than [`REFUSED_MEMORY`] after the one before, say that the node is gone.
/// A node that rebinds its port sends one or two. While a stream is HELD the reports of two tracks are refused every 2 s.
const MAX_REFUSED: u32 = 5;
/// See [`MAX_REFUSED`].
const REFUSED_MEMORY: Duration = Duration::from_secs(5);
/// A node that had reported and that reports nothing while it is sent packets for so long is gone without a trace, such as behind a
/// cut cable. Five reports of the longest usual interval.
const MAX_UNREPORTED: Duration = Duration::from_secs(25);
/// The largest RTCP compound that is read; more than any datagram of Ethernet.
const RTCP_BUFFER_BYTES: usize = 2048;
/// Runs that are sent before others of the task get their turn.
const SEND_BUDGET: usize = 64;

/// Why a leg is no longer carried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The node's port is closed.
    #[error("the node's RTP port is closed")]
    Refused,
    /// The node reported, and does no longer.
    #[error("no Receiver Report for {MAX_UNREPORTED:?}")]
    Silent,
    /// A socket is of no more use.
    #[error("the leg's socket: {0}")]
    Socket(io::ErrorKind),
    /// The stream is gone.
    #[error("the stream ended")]
    StreamGone,
}

/// See the module.
pub(super) struct Carrier<'a> {
    config: &'a LegConfig,
    sockets: &'a LegSockets,
    /// What the node knows of.
    announced: Arc<Announced>,
    status: &'a LegStatus,
    feed: mpsc::Receiver<Arc<Unit>>,
    /// Of a track that the node does not know of yet.
    early: VecDeque<Arc<Unit>>,
    pacer: Pacer,
    reports: Reports,
    report_ticks: Interval,
    reported: bool,
    /// The span that the stream comes up under; ended by the first packet.
    bring_up: Option<Span>,
    blocked: bool,
    /// The pacer is full: video is left out until the next keyframe.
    behind: bool,
    refused: u32,
    refused_at: Instant,
    /// Whether the node has ever reported.
    heard: bool,
    /// When the first packet that no report has followed was sent, and when the last.
    unreported: Option<(Instant, Instant)>,
    queued_bytes: i64,
}

impl<'a> Carrier<'a> {
    /// Before the first packet; `backlog` goes out first.
    pub(super) fn new(
        config: &'a LegConfig,
        up: &'a Established,
        bring_up: Span,
        backlog: Backlog,
    ) -> Self {
        let mut report_ticks = interval(config.rtp.sender_report_interval);
        report_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        report_ticks.reset();
        let Backlog { units, feed } = backlog;
        let mut carrier = Self {
            config,
            sockets: &up.sockets,
            announced: up.announced.clone(),
            status: &up.status,
            feed,
            early: VecDeque::new(),
            pacer: Pacer::new(config.rtp.pacing_burst),
            reports: Reports::new(config.cname.clone()),
            report_ticks,
            reported: false,
            bring_up: Some(bring_up),
            blocked: false,
            behind: false,
            refused: 0,
            refused_at: Instant::now(),
            heard: false,
            unreported: None,
            queued_bytes: 0,
        };
        for unit in units {
            carrier.push(&unit);
        }
        carrier
    }

    /// Carries until the leg breaks. Cancel safe.
    pub(super) async fn run(&mut self) -> Broken {
        let mut buffer = [0; RTCP_BUFFER_BYTES];
        loop {
            let pace_at = match self.flush() {
                Ok(pace_at) => pace_at,
                Err(broken) => return broken,
            };
            tokio::select! {
                unit = self.feed.recv() => match unit {
                    Some(unit) => self.push(&unit),
                    None => return Broken::StreamGone,
                },
                () = sleep_until(pace_at.unwrap_or_else(Instant::now).into()), if pace_at.is_some() => {}
                writable = self.sockets.writable(), if self.blocked => match writable {
                    Ok(()) => self.blocked = false,
                    Err(error) => return Broken::Socket(error.kind()),
                },
                received = self.sockets.receive_rtcp(&mut buffer) => match received {
                    Ok(length) => self.read_report(&buffer[..length]),
                    Err(error) => if let Err(broken) = self.rtcp_error(&error) { return broken },
                },
                _ = self.report_ticks.tick() => if let Err(broken) = self.report() { return broken },
            }
        }
    }

    /// The node knows of these tracks now; they extend those that it knew of.
    pub(super) fn learn(&mut self, announced: Arc<Announced>) {
        self.announced = announced;
        // The first packet of a further track is led by its Sender Report, too.
        self.reported = false;
        for unit in std::mem::take(&mut self.early) {
            self.push(&unit);
        }
    }

    fn push(&mut self, unit: &Arc<Unit>) {
        if self.announced.tracks.iter().all(|track| track.config.kind() != unit.kind) {
            return self.keep_early(unit);
        }
        if self.behind && !unit.keyframe {
            self.config.metrics.drop(Dropped::LegBehind, 1);
            return;
        }
        let pushed = self.pacer.push(unit.kind, &unit.packets, self.sockets.max_segments());
        self.behind = pushed.is_err();
        if self.behind {
            self.config.metrics.drop(Dropped::LegBehind, 1);
        }
    }

    /// Keeps what the node would refuse until it knows of the track. Too much of it: from the next keyframe on.
    fn keep_early(&mut self, unit: &Arc<Unit>) {
        if self.early.len() == MAX_FED {
            self.config.metrics.drop(Dropped::LegBehind, MAX_FED as u32);
            self.early.clear();
        }
        if !self.early.is_empty() || unit.keyframe || unit.kind == MediaKind::Audio {
            self.early.push_back(unit.clone());
        } else {
            self.config.metrics.drop(Dropped::LegBehind, 1);
        }
    }

    /// Sends what may go out now; when to come back for the rest.
    fn flush(&mut self) -> Result<Option<Instant>, Broken> {
        let mut budget = SEND_BUDGET;
        while !self.blocked && budget > 0 {
            let Some(run) = self.pacer.poll(Instant::now()) else { break };
            if !self.reported {
                self.report()?;
            }
            self.send(run)?;
            budget -= 1;
        }
        let queued = self.pacer.queued_bytes() as i64;
        self.config.metrics.pacer_bytes.inc_by(queued - self.queued_bytes);
        self.queued_bytes = queued;
        Ok(if self.blocked { None } else { self.pacer.poll_timeout() })
    }

    fn send(&mut self, run: PacedRun) -> Result<(), Broken> {
        let mut refused = 0;
        let sent = self.sockets.send(&run.run, &mut refused);
        self.note_refused(refused)?;
        let metrics = &self.config.metrics;
        match sent {
            Sent::All => {
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
                metrics.drop(Dropped::SendFailed, run.run.packets.into());
                debug!(%kind, packets = run.run.packets, "packets could not be sent");
            }
        }
        Ok(())
    }

    /// Sends the Sender Reports, as soon as the stream has a clock.
    fn report(&mut self) -> Result<(), Broken> {
        if let Some((first, last)) = self.unreported.filter(|_| self.heard)
            && last.duration_since(first) > MAX_UNREPORTED
        {
            return Err(Broken::Silent);
        }
        let Some(origin) = self.config.origin.get() else { return Ok(()) };
        let compounds: Vec<_> =
            self.reports.sender_reports(&self.announced.tracks, origin, wall_clock()).collect();
        for compound in compounds {
            if let Err(error) = self.sockets.send_rtcp(&compound) {
                self.rtcp_error(&error)?;
            }
        }
        self.reported = true;
        Ok(())
    }

    fn read_report(&mut self, compound: &[u8]) {
        let Some(reception) = Reports::reception(compound, &self.announced.tracks, wall_clock())
        else {
            return;
        };
        // The node is there.
        self.refused = 0;
        self.heard = true;
        self.unreported = None;
        self.status.fraction_lost.store(reception.fraction_lost.into(), Relaxed);
        if let Some(round_trip) = reception.round_trip {
            self.status.round_trip_ns.store(round_trip.as_nanos().max(1) as u64, Relaxed);
        }
        trace!(?reception, "receiver report");
    }

    fn rtcp_error(&mut self, error: &io::Error) -> Result<(), Broken> {
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

    /// Tells the node that the sources leave.
    pub(super) fn say_bye(&self) {
        let _ = self.sockets.send_rtcp(&self.reports.bye(&self.announced.tracks));
    }
}

impl Drop for Carrier<'_> {
    fn drop(&mut self) {
        self.config.metrics.pacer_bytes.dec_by(self.queued_bytes);
    }
}
