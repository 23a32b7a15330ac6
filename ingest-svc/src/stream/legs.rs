//! The legs of a stream: the primary one, which the stream has whether or not anybody reads it, and one for each further node whose
//! readers have asked for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use futures_util::future::join_all;
use proto::v1;
use registry::LeaseId;
use svc_core::error::ApiError;
use tokio::sync::oneshot;

use super::Unit;
use crate::leg::{Announced, Ending, Flow, Leg, LegId, Ways};

/// Who waits for one leg to be up: a node asks once for all its readers; operators may ask, too.
const MAX_WAITING: usize = 16;

/// Whom a call for a leg is answered.
pub(crate) type LegReply = oneshot::Sender<Result<v1::Stream, ApiError>>;

/// See the module.
pub(super) struct Legs {
    /// Which way each goes.
    ways: Arc<Ways>,
    /// The primary one first.
    held: Vec<Held>,
    /// Those that are being ended, and the nodes that they went to.
    ending: Vec<(LegId, String)>,
    /// What nodes were told last.
    announced: Option<Announced>,
    last_id: u32,
}

/// A leg.
pub(super) struct Held {
    pub(super) id: LegId,
    pub(super) leg: Leg,
    /// The node that it goes to, where that is settled.
    pub(super) node_id: Option<String>,
    /// Whether it is the primary one, for its own task.
    pub(super) primary: Arc<AtomicBool>,
    /// Whom its being up, or not, is told.
    waiting: Vec<LegReply>,
    /// Who waits for the primary leg to end, whose place this takes when it is up.
    pub(super) replaces_primary: Option<LegReply>,
}

impl Held {
    /// A leg before it is up.
    pub(super) fn new(
        id: LegId,
        leg: Leg,
        node_id: Option<String>,
        primary: Arc<AtomicBool>,
    ) -> Self {
        let (waiting, replaces_primary) = (Vec::new(), None);
        Self { id, leg, node_id, primary, waiting, replaces_primary }
    }

    /// Tells `reply` when it is up or has failed. Given back where too many wait already.
    pub(super) fn wait(&mut self, reply: LegReply) -> Option<LegReply> {
        self.waiting.retain(|waiting| !waiting.is_closed());
        if self.waiting.len() >= MAX_WAITING {
            return Some(reply);
        }
        self.waiting.push(reply);
        None
    }

    /// Answers all who wait.
    pub(super) fn answer(&mut self, answer: &Result<v1::Stream, ApiError>) {
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(answer.clone());
        }
    }
}

impl Legs {
    /// None; at most so many are sent from here.
    pub(super) fn new(max_legs: usize) -> Self {
        let (held, ending) = (Vec::new(), Vec::new());
        Self { ways: Ways::new(max_legs), held, ending, announced: None, last_id: 0 }
    }

    /// Which way each goes.
    pub(super) fn ways(&self) -> Arc<Ways> {
        self.ways.clone()
    }

    /// The name of the next leg.
    pub(super) fn next_id(&mut self) -> LegId {
        self.last_id = self.last_id.wrapping_add(1);
        LegId(self.last_id)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many there are, those that end included.
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.ending.len()
    }

    /// Adds a leg: the first one is the primary one.
    pub(super) fn add(&mut self, held: Held) {
        held.primary.store(self.held.is_empty(), Relaxed);
        self.held.push(held);
    }

    /// A leg by its name.
    pub(super) fn get(&mut self, id: LegId) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.id == id)
    }

    /// Whether it is the primary one.
    pub(super) fn is_primary(&self, id: LegId) -> bool {
        self.held.first().is_some_and(|held| held.id == id)
    }

    /// The primary one.
    pub(super) fn primary(&mut self) -> Option<&mut Held> {
        self.held.first_mut()
    }

    /// The leg to a node.
    pub(super) fn to(&mut self, node_id: &str) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.node_id.as_deref() == Some(node_id))
    }

    /// Whether it could be that a leg goes, or has just gone, to `node_id`, so that another must not be made yet.
    pub(super) fn is_unsettled(&self, node_id: &str) -> bool {
        self.held.iter().any(|held| held.node_id.is_none())
            || self.ending.iter().any(|(_, ending)| ending == node_id)
    }

    /// Takes a leg out.
    pub(super) fn take(&mut self, id: LegId) -> Option<Held> {
        let at = self.held.iter().position(|held| held.id == id)?;
        Some(self.held.remove(at))
    }

    /// Makes another leg that is up the primary one. Whether there is one.
    pub(super) fn promote_another(&mut self) -> bool {
        let another = self.held.iter().enumerate().skip(1).find(|(_, held)| held.leg.is_up());
        let Some(at) = another.map(|(at, _)| at) else { return false };
        self.held[..=at].rotate_right(1);
        for (at, held) in self.held.iter().enumerate() {
            held.primary.store(at == 0, Relaxed);
        }
        true
    }

    /// A leg to a node is being ended.
    pub(super) fn begin_end(&mut self, id: LegId, node_id: String) {
        self.ending.push((id, node_id));
    }

    /// It has ended.
    pub(super) fn ended(&mut self, id: LegId) {
        self.ending.retain(|(ending, _)| *ending != id);
    }

    /// The tracks as nodes were told of them last.
    pub(super) fn announced(&self) -> Option<Announced> {
        self.announced.clone()
    }

    /// The tracks changed.
    pub(super) fn set_tracks(&mut self, tracks: Announced) {
        self.held.iter().for_each(|held| held.leg.set_tracks(tracks.clone()));
        self.announced = Some(tracks);
    }

    /// A lease is lost; the leg whose it is looks for another.
    pub(super) fn lease_lost(&self, lease: &LeaseId) {
        self.held.iter().for_each(|held| held.leg.lease_lost(lease.clone()));
    }

    /// A leg is up: `units` are sent on it at once, and what is [sent](Self::send) from now on. How many of them had to be left out.
    pub(super) fn begin(&mut self, id: LegId, flow: Flow, units: Vec<Arc<Unit>>) -> u32 {
        self.get(id).map_or(0, |held| held.leg.begin(flow, units))
    }

    /// Sends an access unit on all legs that are up. On how many it had to be left out since they are behind.
    pub(super) fn send(&mut self, unit: &Arc<Unit>, starts_gop: bool) -> u32 {
        self.held.iter_mut().map(|held| u32::from(!held.leg.send(unit, starts_gop))).sum()
    }

    /// Waits until what waits to be sent on the primary leg is not too much. The others do not hold a publisher back: one that begins has a GOP
    /// to send first. Cancel safe.
    pub(super) async fn room(&self) {
        if let Some(primary) = self.held.first() {
            primary.leg.room().await;
        }
    }

    /// Ends them all and waits until their leases are released; bounded by the deadline of one call.
    pub(super) async fn end(&mut self, how: Ending) {
        self.announced = None;
        join_all(self.held.drain(..).map(|held| held.leg.end(how))).await;
    }
}
