//! The leg of a stream: its control plane and its packets, in one task.
//!
//! A [`Leg`] is brought up ([`control`]), then carries packets ([`carry`]) until it ends or breaks, and is then brought up again: by
//! the same lease while it holds, else by a new one. The stream's actor never waits for it: when the leg is ready it sends on it what it
//! has kept, and each access unit from then on.

mod control;
mod failure;
mod ways;

pub(crate) use ways::Ways;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use hop::{AccessUnit, Carrier, Handed};
use registry::{Grant, LeaseId, LeaseKeeper};
use svc_core::{error::ApiError, tasks::Tasks};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::{
    metrics::Instruments,
    stream::{Origin, StreamStatus, Track, Unit},
};

/// Names a leg within its stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct LegId(pub(crate) u32);

/// Where a leg goes that has no lease yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Where the registry says.
    Anywhere,
    /// To this node.
    To(String),
    /// Where the registry says, but not to this node, which has the stream already.
    Beside(String),
}

/// What a leg needs to know.
pub(crate) struct LegConfig {
    /// Its name.
    pub(crate) id: LegId,
    /// Whether the stream is not to be read without it.
    pub(crate) primary: Arc<AtomicBool>,
    /// Where it goes.
    pub(crate) place: Place,
    /// How it is sent, if it is from here.
    pub(crate) hop: Arc<hop::Config>,
    /// Whether it is.
    pub(crate) ways: Arc<Ways>,
    /// Its leases.
    pub(crate) keeper: LeaseKeeper,
    /// The wall-clock time of the origin of the stream's timeline, once there is an access unit.
    pub(crate) origin: Arc<Origin>,
    /// What others see of it.
    pub(crate) status: Arc<StreamStatus>,
    /// Metrics.
    pub(crate) metrics: Instruments,
}

impl LegConfig {
    /// Says why the stream cannot be read now, if it is by this leg.
    fn set_problem(&self, problem: &str) {
        if self.primary.load(Relaxed) {
            self.status.set_problem(problem);
        }
    }
}

/// What a node is told of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Announced {
    /// Another number: the node is told at once. The same: what changed goes in-band, and is told to a node when the leg is
    /// made anew for another reason.
    pub(crate) announcement: u32,
    /// The tracks.
    pub(crate) tracks: Vec<Track>,
}

impl Announced {
    /// Whether the tracks of `before` are all there as they were on the wire, so that a leg with them may go on.
    fn extends(&self, before: &Self) -> bool {
        before.tracks.iter().all(|known| self.tracks.iter().any(|t| t.identity == known.identity))
    }

    /// The tracks as they are sent, on a timeline with this origin.
    fn to_hop(&self, origin: &Arc<Origin>) -> Vec<hop::Track> {
        self.tracks.iter().map(|track| track.to_hop(origin)).collect()
    }
}

/// How the access units of a leg that is up go.
#[derive(Clone)]
pub(crate) enum Flow {
    /// From here: what was kept, and what comes, is to be sent on this.
    Here(Arc<Carrier>),
    /// By another node, until this is cancelled.
    Fed(CancellationToken),
}

/// What the actor is told by its leg.
pub(crate) enum LegEvent {
    /// RTP can flow.
    Ready {
        /// Which leg it is.
        leg: LegId,
        /// The node that has the stream now.
        node_id: String,
        /// How access units go.
        flow: Flow,
    },
    /// It has no lease any more.
    WithoutLease {
        /// Which leg it is.
        leg: LegId,
        /// Why.
        error: ApiError,
        /// Another owner has the stream now, so that there is no lease anywhere.
        taken: bool,
        /// Whether it is to look for another lease, wherever that leads; else it ends.
        goes_on: oneshot::Sender<bool>,
    },
    /// It was ended, and is.
    Ended(LegId),
}

/// How a leg ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The stream ends: the node ends its readers.
    StreamEnds,
    /// This process ends, the stream may go on from another: the node keeps its readers for a while.
    ProcessEnds,
}

/// The actor's side of a leg.
pub(crate) struct Leg {
    tracks: watch::Sender<Arc<Announced>>,
    lost: mpsc::Sender<LeaseId>,
    end: oneshot::Sender<Ending>,
    done: oneshot::Receiver<()>,
    /// Once the leg is ready, and while it is.
    flow: Option<Flow>,
}

impl Leg {
    /// Brings up a leg for `tracks`, beginning with a lease that was granted before.
    pub(crate) fn spawn(
        config: LegConfig,
        grant: Option<Grant>,
        tracks: Announced,
        events: mpsc::Sender<LegEvent>,
        (tasks, bring_up): (&Tasks, Span),
    ) -> Self {
        let (tracks, tracks_seen) = watch::channel(Arc::new(tracks));
        let (lost, lost_seen) = mpsc::channel(8);
        let (end, end_seen) = oneshot::channel();
        let (done_tx, done) = oneshot::channel();
        let signals = control::Signals { tracks: tracks_seen, lost: lost_seen, events };
        let task = control::Control::new(config, grant, signals, bring_up);
        tasks.spawn("leg", async move {
            task.run(end_seen).await;
            let _ = done_tx.send(());
        });
        Self { tracks, lost, end, done, flow: None }
    }

    /// The leg is ready: `units` are sent on it at once, and what is [sent](Self::send) from now on. How many of them had to be left out.
    pub(crate) fn begin(&mut self, flow: Flow, units: Vec<Arc<Unit>>) -> u32 {
        self.flow = Some(flow);
        units.iter().map(|unit| u32::from(!self.send(unit, unit.keyframe))).sum()
    }

    /// Whether its node has the stream, and RTP can flow.
    pub(crate) fn is_up(&self) -> bool {
        match &self.flow {
            Some(Flow::Here(carrier)) => !carrier.is_closed(),
            Some(Flow::Fed(over)) => !over.is_cancelled(),
            None => false,
        }
    }

    /// Waits until what waits to be sent on the leg is not too much. Cancel safe.
    pub(crate) async fn room(&self) {
        if let Some(Flow::Here(carrier)) = &self.flow {
            carrier.room().await;
        }
    }

    /// Sends an access unit, if the leg is ready. `false` if it had to be left out since the leg is behind.
    pub(crate) fn send(&mut self, unit: &Unit, starts_gop: bool) -> bool {
        // Who is fed gets it from another node.
        let Some(Flow::Here(carrier)) = &self.flow else { return true };
        let Unit { kind, keyframe, ref packets, .. } = *unit;
        let handed = carrier.send(AccessUnit { kind, keyframe, packets }, starts_gop);
        if handed == Handed::Closed {
            self.flow = None;
        }
        handed != Handed::LeftOut
    }

    /// The tracks changed.
    pub(crate) fn set_tracks(&self, tracks: Announced) {
        self.tracks.send_replace(Arc::new(tracks));
    }

    /// A lease is lost; if it is this leg's, the leg is made anew.
    pub(crate) fn lease_lost(&self, lease: LeaseId) {
        // Full: it is being made anew already.
        let _ = self.lost.try_send(lease);
    }

    /// Ends the leg and waits until its lease is released; bounded by the deadline of one call.
    pub(crate) async fn end(self, how: Ending) {
        let _ = self.end.send(how);
        let _ = self.done.await;
    }
}
