//! The task of one stream's leg: sockets and deadlines around [`Intake`]. It owns the writing side of the stream's ring; the control plane
//! talks to it by commands, so that a leg that is made anew passes its sockets on, or takes new ones, between two packets.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use media::sdp::SessionDescription;
use proto::v1;
use svc_core::{alarm::Alarm, api, clock::wall_clock, config::Config, tasks::Tasks};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{StreamExt as _, wrappers::WatchStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Span;

use super::{
    Counters, LegState, PortPair,
    guard::report_ssrc,
    intake::{Intake, IntakeConfig, Now},
    output::StreamOutput,
    status::{StreamStatus, TrackStatus},
};
use crate::{
    metrics::{Instruments, Reported},
    stream::PublishedStream,
};

/// Receive calls on one wake-up, before timers and commands get their turn: 16 calls of 8 buffers are 8 MiB at the most.
const RECEIVE_BUDGET: usize = 16;
/// Commands that wait; each is one call of the control plane, and those of one stream come one by one.
const COMMANDS: usize = 4;
/// How long the first access unit of a track waits for a Sender Report. Ingest sends them 0, 20, 60 and 140 ms after its first packet: where 2 %
/// are lost, all four are in one case of six million. Nothing waits where a report has come, as it does in front of the first packet.
const REPORT_WAIT: Duration = Duration::from_millis(200);
/// How often rates are worked out.
const TICK: Duration = Duration::from_secs(1);

/// What legs need to know of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LegSettings {
    /// `rtp.reorder_window`
    pub(crate) reorder_window: Duration,
    /// `publish.leg_timeout`
    pub(crate) silence: Duration,
    /// The largest access unit in bytes: what the ring can hold.
    pub(crate) max_access_unit_bytes: usize,
}

impl LegSettings {
    /// What the configuration says of legs.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            reorder_window: config.rtp.reorder_window,
            silence: config.publish.leg_timeout,
            max_access_unit_bytes: config.ring.max_bytes,
        }
    }
}

/// One leg: where it comes in, and what.
pub(crate) struct LegSpec {
    /// Its ports; `None`: those of the leg before.
    pub(crate) ports: Option<PortPair>,
    /// What comes.
    pub(crate) description: SessionDescription,
    /// Open until the first packet has come.
    pub(crate) first_packet: Span,
}

/// A leg's task, seen from the control plane.
pub(crate) struct LegHandle {
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    ended: CancellationToken,
}

enum Command {
    Replace(Box<LegSpec>, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// A place in the queue of a leg's commands; sending from it cannot fail or wait.
pub(crate) struct Slot<'a>(mpsc::Permit<'a, Command>);

impl Slot<'_> {
    /// The leg is made anew; completes when it is.
    pub(crate) fn replace(self, spec: LegSpec) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.0.send(Command::Replace(Box::new(spec), done));
        wait
    }

    /// The leg ends, what readers see stays; completes when its ports are closed.
    pub(crate) fn close(self) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        self.0.send(Command::Close(done));
        wait
    }
}

impl LegHandle {
    /// Waits for a place in the queue; `None` if the task has ended.
    pub(crate) async fn slot(&self) -> Option<Slot<'_>> {
        self.commands.reserve().await.ok().map(Slot)
    }

    /// Tells the task to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Completes when the task has ended and its ports are closed.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// The task.
pub(crate) struct Leg {
    /// The stream that it writes.
    pub(crate) published: Arc<PublishedStream>,
    /// What the API shows.
    pub(crate) status: Arc<StreamStatus>,
    /// What went through.
    pub(crate) counters: Arc<Counters>,
    /// The node's CNAME in Receiver Reports.
    pub(crate) cname: Arc<str>,
    /// Where what is counted is added up.
    pub(crate) metrics: Instruments,
}

impl Leg {
    /// Starts the task with the first leg.
    pub(crate) fn spawn(self, settings: LegSettings, spec: LegSpec, tasks: &Tasks) -> LegHandle {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let mut random = || rand::random::<u32>();
        let output = StreamOutput::new(&self.published.key, &spec.description, &mut random);
        let config = IntakeConfig {
            reorder_window: settings.reorder_window,
            silence: settings.silence,
            report_wait: REPORT_WAIT,
            max_access_unit_bytes: settings.max_access_unit_bytes,
            report_ssrc: report_ssrc(&spec.description, &mut random),
        };
        let intake = Intake::new(config, &spec.description, output, self.counters.clone());
        // Not the call's span, which ends with the call.
        let span = tracing::info_span!(parent: None, "leg", stream = %self.published.key);
        let mut task = Task {
            span,
            leg: self,
            intake,
            ports: spec.ports,
            description: spec.description,
            first_packet: Some(spec.first_packet),
            tick: Tick { at: Instant::now(), bytes: 0 },
            reported: Reported::default(),
            _ended: ended.clone().drop_guard(),
        };
        // What is known from the start is there before the call is answered.
        task.settle();
        let stopped = stop.clone();
        tasks.spawn_in(Span::none(), "leg", async move { task.run(receiver, stopped).await });
        LegHandle { commands, stop, ended }
    }
}

struct Task {
    /// Entered where something is logged.
    span: Span,
    leg: Leg,
    intake: Intake,
    ports: Option<PortPair>,
    description: SessionDescription,
    first_packet: Option<Span>,
    tick: Tick,
    reported: Reported,
    /// Dropped last, after the ports.
    _ended: DropGuard,
}

struct Tick {
    at: Instant,
    bytes: u32,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        let readers = self.leg.published.readers.changed.subscribe();
        // Kept over all wake-ups, of which there is one or more for each access unit.
        let (mut readers, mut alarm) = (WatchStream::from_changes(readers), Alarm::default());
        let mut stopped = pin!(stop.cancelled());
        loop {
            alarm.set(Some(self.deadline()));
            tokio::select! {
                () = &mut stopped => break,
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => break,
                },
                ready = readable(self.ports.as_ref()) => match ready {
                    Ok(()) => self.receive(),
                    Err(error) => {
                        tracing::error!(parent: &self.span, %error, "a leg's sockets fail; its ports are closed");
                        self.ports = None;
                        self.intake.end_leg();
                    }
                },
                () = alarm.rings() => {}
                Some(_) = readers.next() => self.leg.status.touch(),
            }
            self.settle();
        }
        self.leave();
        self.span.clone().in_scope(|| self.log_end());
    }

    fn deadline(&self) -> Instant {
        let tick = self.tick.at + TICK;
        self.intake.deadline().map_or(tick, |deadline| deadline.min(tick))
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Replace(spec, done) => {
                let spec = *spec;
                let mut random = || rand::random();
                if spec.ports.is_some() {
                    self.intake.begin_leg(&spec.description, &mut random);
                    self.ports = spec.ports;
                } else {
                    self.intake.describe_leg(&spec.description, &mut random);
                }
                self.description = spec.description;
                // Of a leg that goes on, the first packet has come.
                let waits = self.intake.state() != LegState::Live;
                self.first_packet = waits.then_some(spec.first_packet);
                // The caller may have hung up; the leg stands all the same.
                let _ = done.send(());
            }
            Command::Close(done) => {
                self.leave();
                self.intake.end_leg();
                let _ = done.send(());
            }
        }
    }

    /// RTCP goes first, so that a Sender Report that came before the media is known when the media is read.
    fn receive(&mut self) {
        let Some(ports) = &self.ports else { return };
        let now = now();
        for _ in 0..RECEIVE_BUDGET {
            let intake = &mut self.intake;
            if ports.read_rtcp(|from, bytes| intake.receive_rtcp(from, bytes, now)).is_err() {
                break;
            }
        }
        for _ in 0..RECEIVE_BUDGET {
            let intake = &mut self.intake;
            // An error, or nothing more: whoever waits for the socket finds out which.
            let read = ports.read_rtp(|from, bytes| intake.receive_rtp(from, bytes, now));
            if !read.unwrap_or(false) {
                break;
            }
        }
    }

    /// Passes on what the intake has made of it.
    fn settle(&mut self) {
        let now = now();
        self.intake.handle_timeout(now);
        let changes = self.intake.take_changes();
        // Before the access units: a reader that sees one sees its clock and its parameter sets.
        if changes.clocks {
            let clocks = self.intake.output().tracks.iter().map(|track| track.clock).collect();
            let mut shared =
                self.leg.published.clocks.lock().unwrap_or_else(PoisonError::into_inner);
            *shared = clocks;
        }
        if changes.description
            && let Some(description) = self.intake.output().describe()
        {
            self.leg.published.description.send_replace(Some(description));
        }
        let mut any = false;
        while let Some(unit) = self.intake.poll_unit() {
            self.leg.published.ring.push(unit);
            any = true;
        }
        if any {
            // Once for all that has come: one write of each reader.
            self.leg.published.fan_out.advance();
        }
        if changes.status || changes.description {
            self.show();
        }
        let rtcp = self.intake.take_rtcp(now.instant, &self.leg.cname);
        self.send(rtcp);
        if now.instant >= self.tick.at + TICK {
            self.work_out_rates(now.instant);
        }
    }

    fn send(&self, rtcp: Vec<(SocketAddr, Bytes)>) {
        let Some(ports) = &self.ports else { return };
        for (to, compound) in rtcp {
            if let Err(error) = ports.send_rtcp(to, &compound) {
                tracing::debug!(parent: &self.span, %error, %to, "RTCP was not sent");
            }
        }
    }

    /// Closes the ports, and says so.
    fn leave(&mut self) {
        let farewell = self.intake.farewell(&self.leg.cname);
        self.send(farewell);
        self.ports = None;
    }

    fn show(&mut self) {
        let state = self.intake.state();
        let before = self.leg.status.now().state;
        if state != before {
            tracing::info!(parent: &self.span, ?state, "the stream's state changed");
        }
        if state == LegState::Live
            && let Some(span) = self.first_packet.take()
        {
            span.in_scope(|| tracing::info!("the first RTP packet came"));
        }
        let ssrcs: Vec<_> = (0..self.description.tracks.len())
            .map(|track| self.intake.ssrc(track).unwrap_or_default())
            .collect();
        let outputs = &self.intake.output().tracks;
        let tracks = self.description.tracks.iter().zip(outputs).zip(ssrcs).map(
            |((described, output), ssrc)| v1::Track {
                has_b_frames: output.has_b_frames,
                ..api::track(&output.config, described.payload_type, ssrc)
            },
        );
        self.leg.status.set(TrackStatus { state, tracks: tracks.collect() });
    }

    fn work_out_rates(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.tick.at);
        let counters = &self.leg.counters;
        let bytes = counters.bytes.load(Ordering::Relaxed);
        let bits = u64::from(bytes.wrapping_sub(self.tick.bytes)) * 8;
        let rate = bits * 1000 / u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        counters.bitrate.store(u32::try_from(rate).unwrap_or(u32::MAX), Ordering::Relaxed);
        if self.intake.state() == LegState::Live {
            Counters::add(&counters.live_ms, passed.as_millis() as u32);
        }
        self.tick = Tick { at: now, bytes };
        self.leg.metrics.add_up(counters, &mut self.reported);
    }

    fn log_end(&mut self) {
        self.leg.metrics.add_up(&self.leg.counters, &mut self.reported);
        let load = |counter: &std::sync::atomic::AtomicU32| counter.load(Ordering::Relaxed);
        let counters = &self.leg.counters;
        tracing::info!(
            live_ms = load(&counters.live_ms),
            packets = load(&counters.packets),
            lost = load(&counters.packets_lost),
            refused = counters.refused(),
            video_access_units = load(&counters.video_access_units),
            audio_access_units = load(&counters.audio_access_units),
            "the stream has ended"
        );
    }
}

async fn readable(ports: Option<&PortPair>) -> std::io::Result<()> {
    match ports {
        Some(ports) => ports.readable().await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    Now { instant: tokio::time::Instant::now().into_std(), ntp: wall_clock() }
}
