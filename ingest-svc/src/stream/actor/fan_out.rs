//! The legs of the stream: the primary one, which is made when the tracks are known, and those that nodes ask for.
//!
//! | a leg | the primary one | another |
//! | --- | --- | --- |
//! | has no lease, since another ingest has the stream | the stream ends here | the same |
//! | has no lease any more | another that is up takes its place; alone it looks for a lease anywhere | ends |
//! | is to end, by a call | another that is up takes its place, or one that is made on another node first | ends |

use std::sync::{Arc, atomic::AtomicBool};

use registry::{Grant, LeaseId, RegistryError};
use svc_core::error::{ApiError, Kind};
use tracing::{Span, info, warn};

use super::{
    super::{Held, LegReply, claim::Succession},
    Actor,
};
use crate::leg::{Announced, Ending, Leg, LegConfig, LegEvent, LegId, Place};

/// Nodes that one stream goes to, by whatever way: each has its leg's task here.
const MAX_LEGS: usize = 1024;

impl Actor {
    /// Makes the primary leg when the tracks are known; tells all legs when there is one more.
    pub(super) fn announce(&mut self) {
        let Some(tracks) = self.relay.announcement() else { return };
        self.legs.set_tracks(tracks.clone());
        if !self.legs.is_empty() || self.succession.is_some() {
            return;
        }
        match self.succeeds.take() {
            Some(epoch) => {
                let succession = Succession::begin(&self.context, &self.status.key, epoch);
                self.succession = Some(succession);
            }
            None => self.make_primary_leg(tracks),
        }
    }

    /// The registry's word on the stream of an ingest that drains. Without a grant the leg looks for one by itself.
    pub(super) fn succeeded(&mut self, granted: Result<Grant, RegistryError>) {
        match granted {
            Ok(grant) => self.grant = Some(grant),
            Err(error) => {
                warn!(stream = %self.status.key, %error, "the stream of an ingest that drains is not granted");
            }
        }
        if let Some(tracks) = self.legs.announced() {
            self.make_primary_leg(tracks);
        }
    }

    fn make_primary_leg(&mut self, tracks: Announced) {
        let (grant, span) =
            (self.grant.take(), std::mem::replace(&mut self.bring_up, Span::none()));
        self.make_leg(Place::Anywhere, grant, tracks, span);
    }

    fn make_leg(
        &mut self,
        place: Place,
        grant: Option<Grant>,
        tracks: Announced,
        bring_up: Span,
    ) -> LegId {
        let (id, primary) = (self.legs.next_id(), Arc::new(AtomicBool::new(false)));
        let node_id = match (&grant, &place) {
            (Some(grant), _) => Some(grant.lease.node_id.clone()),
            (None, Place::To(node_id)) => Some(node_id.clone()),
            (None, Place::Anywhere | Place::Beside(_)) => None,
        };
        let config = LegConfig {
            id,
            primary: primary.clone(),
            place,
            hop: self.relay.hop(),
            ways: self.legs.ways(),
            keeper: self.context.keeper.clone(),
            origin: self.relay.origin(),
            status: self.status.clone(),
            metrics: self.context.metrics.clone(),
        };
        let events = self.leg_events.0.clone();
        let leg = Leg::spawn(config, grant, tracks, events, (&self.context.tasks, bring_up));
        self.legs.add(Held::new(id, leg, node_id, primary));
        id
    }

    /// A node wants a leg of its own.
    pub(super) fn add_leg(&mut self, node_id: String, reply: LegReply) {
        if reply.is_closed() {
            // Who asked has given up.
            return;
        }
        let refusal = match self.legs.announced() {
            None => Some(busy("STARTING", "its tracks are not known yet")),
            Some(_) if self.legs.to(&node_id).is_some() => None,
            Some(_) if self.legs.is_unsettled(&node_id) => {
                Some(busy("BUSY", "a leg of it is being made or ended"))
            }
            Some(_) if self.legs.len() >= MAX_LEGS => {
                self.context.metrics.legs_refused.inc();
                let text = format!("{} nodes have it already", self.legs.len());
                warn!(node = node_id, "a node is refused a leg: {text}");
                Some(ApiError::reason(Kind::ResourceExhausted, "MAX_LEGS", text))
            }
            Some(tracks) => {
                info!(node = node_id, "a node asks for a leg");
                self.make_leg(Place::To(node_id.clone()), None, tracks, Span::none());
                None
            }
        };
        let Some(held) = self.legs.to(&node_id).filter(|_| refusal.is_none()) else {
            let refusal = refusal.unwrap_or_else(|| busy("BUSY", "it has no such leg"));
            let _ = reply.send(Err(refusal));
            return;
        };
        if held.leg.is_up() {
            let _ = reply.send(Ok(self.status.to_proto()));
        } else if let Some(reply) = held.wait(reply) {
            let _ = reply.send(Err(busy("BUSY", "too many wait for the leg")));
        }
    }

    /// The leg to a node is to end.
    pub(super) fn end_leg(&mut self, node_id: &str, reply: LegReply) {
        let Some(id) = self.legs.to(node_id).map(|held| held.id) else {
            let _ = reply.send(Err(ApiError::not_found("leg", node_id)));
            return;
        };
        if !self.legs.is_primary(id) || self.promote_another() {
            return self.end_one(id, Some(reply));
        }
        let refusal = match self.legs.announced() {
            // Another leg is not up yet, and will be soon.
            Some(_) if self.legs.len() > 1 => busy("BUSY", "another leg of it is being made"),
            None => busy("STARTING", "its tracks are not known yet"),
            Some(tracks) => {
                info!(node = node_id, "the leg to a node is made anew elsewhere first");
                let place = Place::Beside(node_id.to_owned());
                let beside = self.make_leg(place, None, tracks, Span::none());
                if let Some(held) = self.legs.get(beside) {
                    held.replaces_primary = Some(reply);
                }
                return;
            }
        };
        let _ = reply.send(Err(refusal));
    }

    /// Ends a leg beside the actor, which goes on meanwhile.
    fn end_one(&mut self, id: LegId, reply: Option<LegReply>) {
        let Some(mut held) = self.legs.take(id) else { return };
        held.answer(&Err(busy("BUSY", "the leg is being ended")));
        info!(node = held.node_id, "a leg ends");
        self.legs.begin_end(id, held.node_id.unwrap_or_default());
        let (events, status) = (self.leg_events.0.clone(), self.status.clone());
        self.context.tasks.spawn("end_leg", async move {
            held.leg.end(Ending::StreamEnds).await;
            // Without an actor there is nobody to tell.
            let _ = events.send(LegEvent::Ended(id)).await;
            if let Some(reply) = reply {
                let _ = reply.send(Ok(status.to_proto()));
            }
        });
    }

    /// What a leg has to say.
    pub(super) fn leg_event(&mut self, event: LegEvent) {
        match event {
            LegEvent::Ready { leg, node_id, flow } => {
                self.relay.begin_leg(&mut self.legs, leg, flow);
                let shown = Ok(self.status.to_proto());
                let Some(held) = self.legs.get(leg) else { return };
                held.node_id = Some(node_id);
                held.answer(&shown);
                if let Some(reply) = held.replaces_primary.take() {
                    self.replace_primary(reply);
                }
            }
            LegEvent::WithoutLease { leg, error, taken, goes_on } => {
                self.taken |= taken;
                let alone = !taken && self.legs.is_primary(leg) && !self.promote_another();
                if alone {
                    if let Some(held) = self.legs.primary() {
                        held.node_id = None;
                    }
                } else {
                    self.forget_leg(leg, error);
                }
                let _ = goes_on.send(alone);
            }
            LegEvent::Ended(leg) => self.legs.ended(leg),
        }
    }

    /// Makes another leg that is up the primary one. Whether there is one.
    fn promote_another(&mut self) -> bool {
        let promoted = self.legs.promote_another();
        if promoted {
            self.status.set_problem("");
        }
        promoted
    }

    /// Another leg is up that was made for the primary one to end.
    fn replace_primary(&mut self, reply: LegReply) {
        let Some(old) = self.legs.primary().map(|held| held.id) else { return };
        if self.promote_another() {
            self.end_one(old, Some(reply));
        }
    }

    /// A leg has ended by itself.
    fn forget_leg(&mut self, id: LegId, error: ApiError) {
        let Some(mut held) = self.legs.take(id) else { return };
        info!(node = held.node_id, %error, "a leg has ended");
        if let Some(reply) = held.replaces_primary.take() {
            let _ = reply.send(Err(error.clone()));
        }
        held.answer(&Err(error));
    }

    pub(super) async fn end_legs(&mut self, how: Ending) {
        self.legs.end(how).await;
        (self.succeeds, self.succession) = (None, None);
        if let Some(grant) = self.grant.take() {
            self.context.keeper.release(&grant.lease.id);
        }
    }

    pub(super) fn lease_lost(&mut self, lease: LeaseId) {
        self.legs.lease_lost(&lease);
        if self.grant.as_ref().is_some_and(|grant| grant.lease.id == lease) {
            self.grant = None;
        }
    }
}

/// What is to be tried again soon.
fn busy(reason: &'static str, text: &str) -> ApiError {
    ApiError::reason(Kind::Unavailable, reason, text)
}
