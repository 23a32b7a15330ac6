//! A leg that is up: access units through the pacer into the socket, Sender Reports, Receiver Reports.
//!
//! The stream's actor sends each access unit itself, in the call that hands it over: no task is woken for it. What has to wait, for its
//! burst or for the socket, is left to the leg's task, which also reports and hears the node.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use media::codec::MediaKind;
use svc_core::clock::wall_clock;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tracing::{Span, debug, info_span, trace, warn};

use super::{
    Announced, LegConfig,
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
/// Runs that are sent before others get their turn.
const SEND_BUDGET: usize = 64;
/// The shortest wait that is left to a timer of the runtime. Packets are paced in bursts of a ms, but for access units of 800 KB and more.
const MIN_TIMER: Duration = Duration::from_micros(900);
/// Access units of a track that the node does not know of yet: 2 s of 60 pictures and 47 audio frames a second.
const MAX_EARLY: usize = 256;
/// What may wait to be sent while more is sent than the publisher's pace brings, such as a kept GOP.
const ROOM_BYTES: usize = 1 << 20;

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
pub(crate) struct Carrier {
    sockets: Arc<LegSockets>,
    interval: Duration,
    carried: Mutex<Carried>,
    /// Told when there is something for the leg's task to do.
    left: Notify,
    /// Told when there is room again.
    room: Notify,
}

/// What becomes of an access unit that is handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handed {
    /// It is on its way, or waits for its turn.
    Taken,
    /// It was left out: the leg is behind.
    LeftOut,
    /// The leg is no longer carried.
    Closed,
}

struct Carried {
    config: Arc<LegConfig>,
    sockets: Arc<LegSockets>,
    /// What the node knows of.
    announced: Arc<Announced>,
    status: Arc<LegStatus>,
    /// Of a track that the node does not know of yet.
    early: VecDeque<Arc<Unit>>,
    pacer: Pacer,
    reports: Reports,
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
    /// Why it is no longer carried, once that is so; for the leg's task to take.
    broken: Option<Broken>,
    is_closed: bool,
}

impl Carrier {
    /// Before the first packet.
    pub(super) fn new(config: Arc<LegConfig>, up: &Established, bring_up: Span) -> Self {
        let interval = config.rtp.sender_report_interval;
        let carried = Carried {
            sockets: up.sockets.clone(),
            announced: up.announced.clone(),
            status: up.status.clone(),
            early: VecDeque::new(),
            pacer: Pacer::new(config.rtp.pacing_burst),
            reports: Reports::new(config.cname.clone()),
            reported: false,
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
        };
        let (left, room) = (Notify::new(), Notify::new());
        Self { sockets: up.sockets.clone(), interval, carried: Mutex::new(carried), left, room }
    }

    /// Sends an access unit, or as much of it as may go out now.
    pub(crate) fn send(&self, unit: &Arc<Unit>, starts_gop: bool) -> Handed {
        let mut carried = self.lock();
        if carried.is_closed {
            return Handed::Closed;
        }
        let taken = carried.push(unit, starts_gop);
        match carried.flush() {
            Ok(None) if !carried.blocked => {}
            Ok(_) => self.left.notify_one(),
            Err(broken) => {
                carried.close();
                carried.broken = Some(broken);
                self.left.notify_one();
            }
        }
        if taken { Handed::Taken } else { Handed::LeftOut }
    }

    /// Waits until what is sent beside the publisher's pace is not too much. Cancel safe.
    pub(crate) async fn room(&self) {
        // Who hands over much sends it, too; a node may run on the same thread.
        tokio::task::yield_now().await;
        loop {
            let room = self.room.notified();
            {
                let carried = self.lock();
                if carried.is_closed || carried.pacer.queued_bytes() < ROOM_BYTES {
                    return;
                }
            }
            room.await;
        }
    }

    /// Carries until the leg breaks. Cancel safe.
    pub(super) async fn run(&self) -> Broken {
        let mut buffer = [0; RTCP_BUFFER_BYTES];
        let mut report_ticks = interval(self.interval);
        report_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        report_ticks.reset();
        loop {
            let (pace_at, blocked) = match self.lock().flush_on() {
                Ok(waits) => waits,
                Err(broken) => return broken,
            };
            self.room.notify_waiters();
            let done = tokio::select! {
                () = self.left.notified() => Ok(()),
                () = pause(pace_at.unwrap_or_else(Instant::now)), if pace_at.is_some() => Ok(()),
                () = self.sockets.writable(), if blocked => {
                    self.lock().blocked = false;
                    Ok(())
                }
                received = self.sockets.receive_rtcp(&mut buffer) => match received {
                    Ok(length) => {
                        self.lock().read_report(&buffer[..length]);
                        Ok(())
                    }
                    Err(error) => self.lock().rtcp_error(&error),
                },
                _ = report_ticks.tick() => self.lock().report(),
            };
            if let Err(broken) = done {
                return broken;
            }
        }
    }

    /// The node knows of these tracks now; they extend those that it knew of.
    pub(super) fn learn(&self, announced: Arc<Announced>) {
        self.lock().learn(announced);
        self.left.notify_one();
    }

    /// Tells the node that the sources leave.
    pub(super) fn say_bye(&self) {
        self.lock().say_bye();
    }

    /// It is no longer carried: what is handed over is not taken, and what waits is dropped.
    pub(super) fn close(&self) {
        self.lock().close();
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carried {
    fn close(&mut self) {
        self.is_closed = true;
        self.pacer.clear();
        self.early.clear();
        self.count_queued();
    }

    fn learn(&mut self, announced: Arc<Announced>) {
        self.announced = announced;
        // The first packet of a further track is led by its Sender Report, too.
        self.reported = false;
        for unit in std::mem::take(&mut self.early) {
            if !self.push(&unit, unit.keyframe) {
                self.config.metrics.drop(Dropped::LegBehind, 1);
            }
        }
    }

    /// [`Self::flush`] for the leg's task: when to come back, and whether the socket is full.
    fn flush_on(&mut self) -> Result<(Option<Instant>, bool), Broken> {
        match self.broken.take() {
            Some(broken) => Err(broken),
            None => self.flush().map(|pace_at| (pace_at, self.blocked)),
        }
    }

    /// Whether it is taken.
    fn push(&mut self, unit: &Arc<Unit>, starts_gop: bool) -> bool {
        if self.announced.tracks.iter().all(|track| track.config.kind() != unit.kind) {
            return self.keep_early(unit);
        }
        if self.behind && !starts_gop {
            return false;
        }
        let pushed = self.pacer.push(unit.kind, &unit.packets, self.sockets.max_segments());
        self.behind = pushed.is_err();
        !self.behind
    }

    /// Keeps what the node would refuse until it knows of the track. Too much of it: from the next keyframe on.
    fn keep_early(&mut self, unit: &Arc<Unit>) -> bool {
        if self.early.len() == MAX_EARLY {
            self.config.metrics.drop(Dropped::LegBehind, MAX_EARLY as u32);
            self.early.clear();
        }
        let keep = !self.early.is_empty() || unit.keyframe || unit.kind == MediaKind::Audio;
        if keep {
            self.early.push_back(unit.clone());
        }
        keep
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

    fn say_bye(&self) {
        let _ = self.sockets.send_rtcp(&self.reports.bye(&self.announced.tracks));
    }
}

/// Waits. Timers of the runtime have steps of a ms and come up to two late; what is in a hurry is not left to them. Cancel safe.
async fn pause(until: Instant) {
    let wait = until.saturating_duration_since(Instant::now());
    if wait.is_zero() {
        return tokio::task::yield_now().await;
    }
    if wait < MIN_TIMER {
        // It sleeps on one of the runtime's own threads, which are there for that.
        let slept = tokio::task::spawn_blocking(move || std::thread::sleep(wait)).await;
        if slept.is_ok() {
            return;
        }
    }
    sleep_until(until.into()).await;
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.config.metrics.pacer_bytes.dec_by(self.queued_bytes);
    }
}
