//! The control plane of a leg: lease, sockets, StartStream on the node; again with growing pauses until it is up.
//!
//! | the node answers | then |
//! | --- | --- |
//! | OK | the leg is up |
//! | `PORT_IN_USE` | another port of the lease, at once |
//! | UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED | once more; the third time with another lease |
//! | anything else | once more with another lease |

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use hop::{Broken, Carrier, NodeError, OpenError, Opened, Target};
use registry::{Grant, LeaseId, RegistryError};
use svc_core::error::{ApiError, Kind};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, Span, debug, info, warn};

use super::{
    Announced, Ending, LegConfig, LegEvent, Place,
    failure::{Failure, Pauses},
};
use crate::stream::LegFacts;

/// Attempts with one lease at a node that does not answer.
const MAX_ATTEMPTS_PER_LEASE: u32 = 3;
/// Ports that are rejected in one attempt before it pauses.
const MAX_REJECTIONS: u32 = 32;

/// What a leg hears and says.
pub(super) struct Signals {
    pub(super) tracks: watch::Receiver<Arc<Announced>>,
    pub(super) lost: mpsc::Receiver<LeaseId>,
    pub(super) events: mpsc::Sender<LegEvent>,
}

/// See the module.
pub(super) struct Control {
    config: Arc<LegConfig>,
    signals: Signals,
    grant: Option<Grant>,
    /// Where it goes next when it has no lease.
    place: Place,
    /// Why it has no lease any more, where the stream was not asked yet whether it is to look for another.
    lost: Option<ApiError>,
    /// Failed attempts with the present lease.
    attempts: u32,
    /// The node may know the stream under this lease.
    told: bool,
    /// The span under which the stream comes up first.
    bring_up: Span,
}

/// A leg that is up.
struct Established {
    opened: Opened,
    announced: Arc<Announced>,
}

/// Why the task left a leg that was up.
enum Left {
    End(Ending),
    Broken(Broken),
    LeaseLost,
    /// A track has become another one.
    TracksChanged,
}

impl Control {
    pub(super) fn new(
        config: LegConfig,
        grant: Option<Grant>,
        signals: Signals,
        bring_up: Span,
    ) -> Self {
        let place = config.place.clone();
        let config = Arc::new(config);
        Self { config, signals, grant, place, lost: None, attempts: 0, told: false, bring_up }
    }

    /// Brings the leg up and carries it, again and again until it is told to end.
    pub(super) async fn run(mut self, mut end: oneshot::Receiver<Ending>) {
        let ending = loop {
            let span = std::mem::replace(&mut self.bring_up, Span::none());
            let established = tokio::select! {
                // An actor that is gone without a word ended by a panic.
                ending = &mut end => break ending.unwrap_or(Ending::StreamEnds),
                established = self.bring_up().instrument(span.clone()) => match established {
                    Some(established) => established,
                    // Nothing is left on the node.
                    None => break Ending::ProcessEnds,
                },
            };
            match self.carry(established, &mut end, span).await {
                Left::End(ending) => break ending,
                left => self.leave(left).await,
            }
        };
        self.finish(ending).await;
    }

    /// Tries until the leg is up, or the stream wants it no more.
    async fn bring_up(&mut self) -> Option<Established> {
        let mut pauses = Pauses::default();
        loop {
            if let Some(error) = self.lost.take()
                && !self.goes_on(error, false).await
            {
                return None;
            }
            let failure = match self.attempt().await {
                Ok(established) => return Some(established),
                Err(failure) => failure,
            };
            self.config.metrics.leg_failures.inc();
            self.config.set_problem(&failure.to_string());
            warn!(error = %failure, "a leg cannot be brought up yet");
            self.give_up_lease_after(&failure);
            let taken = matches!(failure, Failure::Registry(RegistryError::Owned { .. }));
            if self.grant.is_none() && !self.goes_on((&failure).into(), taken).await {
                return None;
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }

    /// Asks the stream whether the leg is to look for a lease wherever there is one.
    async fn goes_on(&mut self, error: ApiError, taken: bool) -> bool {
        let (goes_on, answer) = oneshot::channel();
        let without = LegEvent::WithoutLease { leg: self.config.id, error, taken, goes_on };
        let asked = self.signals.events.send(without).await.is_ok();
        self.place = Place::Anywhere;
        asked && answer.await.unwrap_or(false)
    }

    async fn attempt(&mut self) -> Result<Established, Failure> {
        let mut rejections = 0;
        loop {
            let grant = self.grant().await?;
            let announced = self.signals.tracks.borrow_and_update().clone();
            self.told = true;
            let tracks = announced.to_hop(&self.config.origin);
            match Opened::open(self.config.hop.clone(), target(&grant), tracks).await {
                Ok(opened) => return Ok(self.established(grant, opened, announced)),
                Err(OpenError::Node(NodeError { port_in_use: true, .. }))
                    if rejections < MAX_REJECTIONS =>
                {
                    rejections += 1;
                    self.config.metrics.ports_rejected.inc();
                    let (node, port) = (&grant.lease.node_id, grant.lease.rtp_port);
                    debug!(node, port, "the node could not bind the port");
                    self.grant = Some(self.config.keeper.reject(&grant.lease.id).await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn grant(&mut self) -> Result<Grant, Failure> {
        if let Some(grant) = &self.grant {
            return Ok(grant.clone());
        }
        let node_id = match &self.place {
            Place::To(node_id) => Some(node_id.as_str()),
            Place::Anywhere | Place::Beside(_) => None,
        };
        let grant = self.config.keeper.allocate(&self.config.hop.key, node_id).await?;
        if let Place::Beside(node_id) = &self.place
            && *node_id == grant.lease.node_id
        {
            // It is the lease of the leg that is there.
            return Err(Failure::NoOther(node_id.clone()));
        }
        self.attempts = 0;
        self.grant = Some(grant.clone());
        Ok(grant)
    }

    fn established(
        &mut self,
        grant: Grant,
        opened: Opened,
        announced: Arc<Announced>,
    ) -> Established {
        self.attempts = 0;
        let (status, rtp_address) = (opened.status(), opened.rtp_address());
        status.established.store(true, Relaxed);
        self.config.metrics.legs_established.inc();
        info!(node = grant.node.info.id, %rtp_address, epoch = grant.lease.epoch, "a leg is up");
        let (id, primary) = (self.config.id, self.config.primary.load(Relaxed));
        self.config.status.update(|facts| {
            if primary {
                facts.problem = String::new();
            }
            let leg = LegFacts { rtp_address, lease: grant.lease, status };
            facts.legs.insert(id, leg);
        });
        Established { opened, announced }
    }

    /// After a failure with which a lease is of no more use.
    fn give_up_lease_after(&mut self, failure: &Failure) {
        self.attempts += 1;
        let keep = match failure {
            // Nothing is held, or whatever is held cannot be told from here.
            Failure::Registry(RegistryError::UnknownLease(_) | RegistryError::Fenced { .. }) => {
                false
            }
            Failure::Registry(_) | Failure::NoOther(_) => true,
            Failure::Open(OpenError::Socket { .. }) => self.attempts < MAX_ATTEMPTS_PER_LEASE,
            Failure::Open(OpenError::Node(NodeError { kind, .. })) => {
                matches!(kind, Kind::Unavailable | Kind::DeadlineExceeded | Kind::Aborted)
                    && self.attempts < MAX_ATTEMPTS_PER_LEASE
            }
        };
        if !keep {
            self.release();
        }
    }

    async fn carry(
        &mut self,
        up: Established,
        end: &mut oneshot::Receiver<Ending>,
        bring_up: Span,
    ) -> Left {
        // A leg that is up has a lease.
        let Some(grant) = &self.grant else { return Left::LeaseLost };
        let (leg, node_id) = (self.config.id, grant.lease.node_id.clone());
        let (keeper, reporting) = (self.config.keeper.clone(), node_id.clone());
        // A node that reports is there, also for who renews its leases.
        let on_report = Box::new(move || keeper.heard_of(&reporting));
        let carrier = Arc::new(Carrier::new(&up.opened, on_report, bring_up));
        let _closed = Closing(&carrier);
        let ready = LegEvent::Ready { leg, node_id, carrier: carrier.clone() };
        let ready = self.signals.events.send(ready);
        let is_there = tokio::select! {
            ending = &mut *end => return Left::End(ending.unwrap_or(Ending::StreamEnds)),
            ready = ready => ready.is_ok(),
        };
        if !is_there {
            return Left::Broken(Broken::StreamGone);
        }
        let (config, signals) = (&self.config, &mut self.signals);
        let _up = Up::new(config);
        let mut announced = up.announced.clone();
        let mut telling = Telling::default();
        let left = loop {
            tokio::select! {
                ending = &mut *end => break Left::End(ending.unwrap_or(Ending::StreamEnds)),
                broken = carrier.run() => break Left::Broken(broken),
                () = lease_lost(&mut signals.lost, &grant.lease.id) => break Left::LeaseLost,
                anew = announced_anew(&mut signals.tracks, announced.announcement) => {
                    if !anew.extends(&announced) {
                        break Left::TracksChanged;
                    }
                    announced = anew;
                    telling.begin(tell(config, &up.opened, announced.clone()));
                }
                told = telling.done() => carrier.learn(told.to_hop(&config.origin)),
            }
        };
        if matches!(left, Left::End(Ending::StreamEnds)) {
            carrier.say_bye();
        }
        up.opened.status().established.store(false, Relaxed);
        left
    }

    /// Gets ready to bring the leg up anew.
    async fn leave(&mut self, left: Left) {
        match left {
            Left::End(_) => {}
            // The lease holds: a node that came back takes it again.
            Left::Broken(broken) => {
                warn!(%broken, "a leg is made anew");
                self.config.set_problem(&broken.to_string());
            }
            Left::LeaseLost => {
                warn!("the lease of a leg is lost, it is made anew");
                self.config.set_problem("the lease of the leg was lost");
                self.grant = None;
                self.told = false;
                let text = "the lease of the leg was lost";
                self.lost = Some(ApiError::reason(Kind::Aborted, "LEASE_LOST", text));
            }
            Left::TracksChanged => {
                info!("the tracks changed, the leg is made anew");
                self.stop_on_node().await;
                // The registry says whether the node has released it.
                self.place = match self.grant.take() {
                    Some(grant) => Place::To(grant.lease.node_id),
                    None => Place::Anywhere,
                };
                self.told = false;
            }
        }
    }

    async fn finish(&mut self, ending: Ending) {
        match ending {
            Ending::StreamEnds => self.stop_on_node().await,
            Ending::ProcessEnds => {}
        }
        self.release();
        let id = self.config.id;
        self.config.status.update(|facts| {
            facts.legs.remove(&id);
        });
    }

    fn release(&mut self) {
        if let Some(grant) = self.grant.take() {
            self.config.keeper.release(&grant.lease.id);
        }
        self.told = false;
        self.attempts = 0;
    }

    async fn stop_on_node(&self) {
        if let Some(grant) = self.grant.as_ref().filter(|_| self.told) {
            hop::stop(&self.config.hop, &target(grant)).await;
        }
    }
}

/// Closes a carrier however its leg is left.
struct Closing<'a>(&'a Carrier);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Counts a leg among those that are up.
struct Up<'a>(&'a LegConfig);

impl<'a> Up<'a> {
    fn new(config: &'a LegConfig) -> Self {
        config.metrics.legs.inc();
        Self(config)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.metrics.legs.dec();
    }
}

/// A node that is being told of further tracks while the leg goes on.
#[derive(Default)]
struct Telling<'a>(Option<Pin<Box<dyn Future<Output = Arc<Announced>> + Send + 'a>>>);

impl<'a> Telling<'a> {
    /// Takes the place of what was being told.
    fn begin(&mut self, tell: impl Future<Output = Arc<Announced>> + Send + 'a) {
        self.0 = Some(Box::pin(tell));
    }

    /// Completes when the node knows. Cancel safe.
    async fn done(&mut self) -> Arc<Announced> {
        let Some(telling) = &mut self.0 else { return std::future::pending().await };
        let told = telling.await;
        self.0 = None;
        told
    }
}

/// Tells a node of further tracks, again and again until it knows of them. The leg's other tracks go on meanwhile.
async fn tell(config: &LegConfig, opened: &Opened, announced: Arc<Announced>) -> Arc<Announced> {
    info!("a track has come late, the node is told");
    let mut pauses = Pauses::default();
    let tracks = announced.to_hop(&config.origin);
    while let Err(error) = opened.tell(&tracks).await {
        config.metrics.leg_failures.inc();
        config.set_problem(&error.to_string());
        warn!(%error, "a node cannot be told of a track that has come late");
        tokio::time::sleep(pauses.next()).await;
    }
    config.set_problem("");
    announced
}

fn target(grant: &Grant) -> Target {
    Target { lease: grant.lease.clone(), node: grant.node.info.clone() }
}

/// Completes when `lease` is lost.
async fn lease_lost(lost: &mut mpsc::Receiver<LeaseId>, lease: &LeaseId) {
    loop {
        match lost.recv().await {
            Some(id) if id == *lease => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Completes when another announcement than `announcement` is there.
async fn announced_anew(
    tracks: &mut watch::Receiver<Arc<Announced>>,
    announcement: u32,
) -> Arc<Announced> {
    let anew = tracks.wait_for(|announced| announced.announcement != announcement).await;
    match anew.map(|announced| announced.clone()).ok() {
        Some(announced) => announced,
        None => std::future::pending().await,
    }
}
