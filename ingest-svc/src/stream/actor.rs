//! The one task that owns a stream.
//!
//! | state | publisher comes | publisher goes | `ingest.hold` passes | StopStream |
//! | --- | --- | --- | --- | --- |
//! | WAITING, no leg | the registry grants a leg (or it is refused), then it is let in | armed: WAITING; else gone | | gone |
//! | LIVE | by `ingest.takeover` (see [`takeover`]) | the standby goes on, else HELD | | it is disconnected, gone |
//! | HELD, the leg stays | let in at once, goes on where the last one ended | | legs end; armed: WAITING; else gone | legs end, gone |
//!
//! | WAITING, offline picture, the leg stays | let in at once, goes on where the picture ended | | | legs end, gone |
//!
//! Where StartStream asked for an offline picture and there is one, HELD ends in WAITING with it instead of ending the legs. LIVE begins with the first access unit, so that a publisher without media shows as what it is.
//!
//! When the service drains, a publisher that understands it is asked to connect again, to another ingest, and any is waited for until it leaves or
//! the service is cut; nodes keep the readers of the stream meanwhile. A stream without one ends at once, as does one that is pulled. A
//! publisher that comes from such an ingest is let in without a lease, and the stream is claimed when its tracks are known (see `claim.rs`).
//!
//! A stream that another ingest has taken over (see `rival.rs`) has no lease any more: its publisher is disconnected, and it is gone, or
//! WAITING if it is armed.

mod absence;
mod admission;
mod fan_out;
mod takeover;

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use media::{
    StreamKey,
    rtmp::{MediaMessage, PublishRefusal},
};
use proto::v1;
use registry::{Grant, LeaseId, LeaseKeeper};
use svc_core::{
    alarm::Alarm,
    config::{HopConfig, IngestConfig, RtpConfig},
    drain::Shutdown,
    tasks::Tasks,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{Span, info_span};

use self::takeover::receive_standby;
use super::{
    LegReply, Legs, Offline, Relay, StreamStatus,
    claim::{self, Claim, Succession},
    standby::{Received, Standby},
};
use crate::{
    leg::{Ending, LegEvent},
    metrics::{Instruments, Refused},
    publisher::Publisher,
    rtmp::PublisherGone,
    streams::Table,
};

/// What publishers are told when the process ends.
const SHUTTING_DOWN: &str = "the service is shutting down";

/// What all streams of the process share.
#[derive(Clone)]
pub(crate) struct Context {
    /// `[ingest]`
    pub(crate) ingest: IngestConfig,
    /// `[rtp]`
    pub(crate) rtp: RtpConfig,
    /// `[hop]`
    pub(crate) hop: HopConfig,
    /// Leases.
    pub(crate) keeper: LeaseKeeper,
    /// Tasks.
    pub(crate) tasks: Tasks,
    /// Metrics.
    pub(crate) metrics: Instruments,
    /// Shutdown.
    pub(crate) shutdown: Shutdown,
}

/// What a stream is told.
pub(crate) enum Command {
    /// A publisher wants in; the span that its stream comes up under.
    Publish(Publisher, Span),
    /// The stream stays when it has no publisher.
    Arm(Arming),
    /// The stream ends; it is answered as it was last.
    Stop(oneshot::Sender<v1::Stream>),
    /// A lease is lost.
    LeaseLost(LeaseId),
    /// A node wants a leg; it is answered when the node has the stream.
    AddLeg(String, LegReply),
    /// The leg to a node is to end; it is answered when it has.
    EndLeg(String, LegReply),
}

/// How StartStream arms a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Arming {
    /// Readers are kept by a still picture while there is no publisher.
    pub(crate) offline_picture: bool,
}

/// See the module.
pub(crate) struct Actor {
    context: Context,
    table: Arc<Table>,
    status: Arc<StreamStatus>,
    commands: mpsc::Receiver<Command>,
    armed: Option<Arming>,
    claim: Option<Claim>,
    publisher: Option<Publisher>,
    /// When the publisher last sent media.
    heard_at: Instant,
    standby: Option<Standby>,
    /// What was kept of the publisher while it stood by, and is to be sent on before what it sends now.
    replay: VecDeque<Received>,
    /// A lease without a leg yet.
    grant: Option<Grant>,
    /// The epoch of another ingest that drains, in whose place the stream is claimed when media comes.
    succeeds: Option<u64>,
    /// That claim.
    succession: Option<Succession>,
    /// The span that the first leg comes up under.
    bring_up: Span,
    relay: Relay,
    legs: Legs,
    leg_events: (mpsc::Sender<LegEvent>, mpsc::Receiver<LegEvent>),
    /// Another ingest has the stream now.
    taken: bool,
    /// The service drains: the stream ends when its publisher has left.
    draining: bool,
    held_until: Option<Instant>,
    /// What readers get in place of a publisher.
    offline: Option<Offline>,
}

impl Actor {
    /// A stream that waits for a publisher.
    pub(crate) fn new(
        context: Context,
        table: Arc<Table>,
        status: Arc<StreamStatus>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let legs = Legs::new(context.ingest.max_legs);
        Self {
            relay: Relay::new(&context, status.clone()),
            context,
            table,
            status,
            commands,
            armed: None,
            claim: None,
            publisher: None,
            heard_at: Instant::now(),
            standby: None,
            replay: VecDeque::new(),
            grant: None,
            succeeds: None,
            succession: None,
            bring_up: Span::none(),
            legs,
            // A few legs, each of which waits for its answer: 1 would do.
            leg_events: mpsc::channel(4),
            taken: false,
            draining: false,
            held_until: None,
            offline: None,
        }
    }

    /// Runs until the stream is gone.
    pub(crate) async fn run(mut self) {
        self.context.metrics.streams.inc();
        // Kept over all wake-ups, of which there is one or more for each access unit.
        let shutdown = self.context.shutdown.clone();
        let mut draining = pin!(shutdown.draining().cancelled());
        let (mut cut, mut alarm) = (pin!(shutdown.cutting().cancelled()), Alarm::default());
        let (mut batch, mut standby_batch) = (Vec::new(), Vec::new());
        let stopped = loop {
            if std::mem::take(&mut self.taken) {
                self.let_go().await;
            }
            if self.draining && self.publisher.is_none() {
                self.end(SHUTTING_DOWN, Ending::ProcessEnds).await;
                break None;
            }
            if self.is_over() && self.table.remove_if_idle(&self.status, &self.commands) {
                break None;
            }
            alarm.set(self.wake_at());
            tokio::select! {
                () = &mut draining, if !self.draining => self.begin_drain(),
                () = &mut cut => {
                    self.end(SHUTTING_DOWN, Ending::ProcessEnds).await;
                    break None;
                }
                command = self.commands.recv() => match command {
                    Some(Command::Stop(reply)) => break Some(reply),
                    Some(command) => self.command(command).await,
                    None => break None,
                },
                claimed = claim::claimed(&mut self.claim) => self.claimed(claimed).await,
                granted = claim::succeeded(&mut self.succession) => self.succeeded(granted),
                () = alarm.rings() => self.timeout().await,
                Some(event) = self.leg_events.1.recv() => self.leg_event(event),
                received = receive(&mut self.publisher, &self.legs, &mut batch), if self.replay.is_empty() => {
                    self.received(&mut batch);
                    if let Err(gone) = received {
                        self.publisher_gone(&gone).await;
                    }
                }
                received = receive_standby(&mut self.standby, &mut standby_batch) => {
                    self.standby_received(&mut standby_batch);
                    if let Err(gone) = received {
                        self.standby_gone(&gone);
                    }
                }
                () = replay_room(&self.legs), if !self.replay.is_empty() => self.replay_some(),
            }
        };
        if stopped.is_some() {
            let last = self.status.to_proto();
            self.end("stopped by StopStream", Ending::StreamEnds).await;
            self.table.remove(&self.status);
            if let Some(reply) = stopped {
                let _ = reply.send(last);
            }
        }
        self.table.remove(&self.status);
        self.refuse_the_rest();
        self.context.metrics.streams.dec();
    }

    /// Nothing keeps the stream.
    fn is_over(&self) -> bool {
        let idle = self.publisher.is_none() && self.claim.is_none() && self.held_until.is_none();
        self.armed.is_none() && idle
    }

    fn wake_at(&self) -> Option<Instant> {
        let relay_at = self.relay.poll_timeout(self.publisher.is_some());
        let offline_at = self.offline.as_ref().map(Offline::poll_timeout);
        [relay_at, self.held_until, self.stalls_at(), offline_at].into_iter().flatten().min()
    }

    async fn timeout(&mut self) {
        let now = Instant::now();
        self.relay.handle_timeout(now);
        self.announce();
        self.switch_if_stalled(now).await;
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
            self.hold_is_over().await;
        }
        if let Some(offline) = &mut self.offline {
            self.relay.stand_in(offline, now, &mut self.legs);
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Publish(publisher, span) => self.publish(publisher, span),
            Command::Arm(arming) => self.arm(arming),
            Command::LeaseLost(lease) => self.lease_lost(lease),
            Command::AddLeg(node_id, reply) => self.add_leg(node_id, reply),
            Command::EndLeg(node_id, reply) => self.end_leg(&node_id, reply),
            // Answered by `run`, which ends with it.
            Command::Stop(_) => {}
        }
    }

    fn received(&mut self, batch: &mut Vec<MediaMessage>) {
        let now = Instant::now();
        if !batch.is_empty() {
            self.heard_at = now;
        }
        for message in batch.drain(..) {
            self.relay.take(&message, now, &mut self.legs);
        }
        self.announce();
        self.relay.count_dropped();
    }

    fn arm(&mut self, arming: Arming) {
        self.armed = Some(arming);
        if arming.offline_picture {
            self.relay.keep_picture();
        }
    }

    /// Drops the publisher's connection, which closes it.
    fn forget_publisher(&mut self) -> Option<Publisher> {
        let publisher = self.publisher.take()?;
        self.replay.clear();
        self.context.metrics.publishers.dec();
        self.status.counters.bitrate.store(0, Relaxed);
        self.status.update(|facts| facts.publisher = None);
        Some(publisher)
    }

    /// Ends all that the stream has.
    async fn end(&mut self, text: &'static str, how: Ending) {
        self.refuse_claim(text);
        self.end_standby(text);
        self.end_publisher(text);
        self.end_offline();
        self.end_legs(how).await;
    }

    /// Refuses the publisher that waits for the registry's word.
    fn refuse_claim(&mut self, text: &'static str) {
        if let Some(claim) = self.claim.take() {
            let text = text.to_owned();
            self.refuse(claim.publisher, Refused::Ending, PublishRefusal::Failed, text);
        }
    }

    /// Answers what came while the stream ended.
    fn refuse_the_rest(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Publish(publisher, _) => {
                    let text = "the stream has just ended".to_owned();
                    self.refuse(publisher, Refused::Ending, PublishRefusal::Failed, text);
                }
                Command::Stop(reply) => drop(reply.send(self.status.to_proto())),
                // Who hears nothing is told that there is no such stream.
                Command::Arm(_)
                | Command::LeaseLost(_)
                | Command::AddLeg(..)
                | Command::EndLeg(..) => {}
            }
        }
    }
}

/// The next media of the publisher, if there is one, once the legs have room for it: what comes faster than it can be sent on is held
/// back by the publisher's TCP connection, and not kept here. Cancel safe.
async fn receive(
    publisher: &mut Option<Publisher>,
    legs: &Legs,
    batch: &mut Vec<MediaMessage>,
) -> Result<(), PublisherGone> {
    let Some(publisher) = publisher else { return std::future::pending().await };
    legs.room().await;
    publisher.receive(batch).await
}

/// Waits until the legs take some more of what was kept of a publisher.
async fn replay_room(legs: &Legs) {
    // Who hands over much sends it, too; a node may run on the same thread.
    tokio::task::yield_now().await;
    legs.room().await;
}

/// Names the span under which a stream comes up: from the publisher's connect to the first RTP packet.
pub(crate) fn bring_up_span(key: &StreamKey, peer: std::net::SocketAddr) -> Span {
    info_span!("publish", stream = %key, %peer)
}
