//! The control plane of a leg: lease, sockets, StartStream on the node; again with growing pauses until it is up.
//!
//! | the node answers | then |
//! | --- | --- |
//! | OK | the leg is up |
//! | `PORT_IN_USE` | another port of the lease, at once |
//! | UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED | once more; the third time with another lease |
//! | anything else | once more with another lease |
//!
//! Where another node is to send it ([`ways`](super::ways)) that node has the stream started on the leg's node, and answers for it. While
//! that one fails itself the lease is kept, for which another way is looked for.

mod up;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hop::{LegStatus, OpenError, Opened, Target};
use registry::{Grant, LeaseId, RegistryError};
use svc_core::error::{ApiError, Kind};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, Span, debug, info, warn};

use super::{
    Announced, Ending, LegConfig, LegEvent, Place,
    failure::{Failure, Pauses},
    ways::{Fed, Offer, Way},
};
use crate::stream::LegFacts;

/// Attempts with one lease at a node that does not answer.
const MAX_ATTEMPTS_PER_LEASE: u32 = 3;
/// How long a node may take to begin to feed another, whose own answer may take 5 s.
const FEED_TIMEOUT: Duration = Duration::from_secs(6);
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
    /// Who failed to feed it the last time.
    avoid: Option<String>,
    /// The span under which the stream comes up first.
    bring_up: Span,
}

/// A leg that is up.
struct Established {
    link: Link,
    announced: Arc<Announced>,
    way: Way,
    /// Its node may feed others.
    _offer: Offer,
}

/// Who sends it.
enum Link {
    /// We.
    Here(Opened),
    /// Another node.
    Fed { fed: Box<Fed>, target: Target, status: Arc<LegStatus> },
}

/// Why the task left a leg that was up.
enum Left {
    End(Ending),
    Broken(String),
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
        let (lost, avoid) = (None, None);
        Self { config, signals, grant, place, lost, attempts: 0, told: false, avoid, bring_up }
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
            let way = self.config.ways.take(&grant.lease.node_id, self.avoid.as_deref());
            let way = way.ok_or(Failure::NoWay)?;
            self.told = true;
            let link = match way.by() {
                None => self.open(&grant, &announced).await,
                // Apart: most legs have no use for its room.
                Some(fed) => Box::pin(self.ask_to_feed(fed, &grant)).await,
            };
            match link {
                Ok(link) => return Ok(self.established(grant, link, way, announced)),
                Err(error) if error.is_port_in_use() && rejections < MAX_REJECTIONS => {
                    rejections += 1;
                    self.config.metrics.ports_rejected.inc();
                    let (node, port) = (&grant.lease.node_id, grant.lease.rtp_port);
                    debug!(node, port, "the node could not bind the port");
                    self.grant = Some(self.config.keeper.reject(&grant.lease.id).await?);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn open(&self, grant: &Grant, announced: &Announced) -> Result<Link, Failure> {
        let tracks = announced.to_hop(&self.config.origin);
        Ok(Link::Here(Opened::open(self.config.hop.clone(), target(grant), tracks).await?))
    }

    async fn ask_to_feed(&mut self, mut fed: Fed, grant: &Grant) -> Result<Link, Failure> {
        let (target, status) = (target(grant), Arc::<LegStatus>::default());
        self.avoid = None;
        match fed.feeder.feed(&target, FEED_TIMEOUT).await {
            Ok(leg) => status.adopt(&leg),
            Err(error) => {
                if !error.is_port_in_use() {
                    self.avoid = Some(fed.feeder.node_id().to_owned());
                }
                return Err(Failure::Feeder(error));
            }
        }
        Ok(Link::Fed { fed: Box::new(fed), target, status })
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
        link: Link,
        way: Way,
        announced: Arc<Announced>,
    ) -> Established {
        self.attempts = 0;
        let (rtp_address, status, fed_by) = match &link {
            Link::Here(opened) => (opened.rtp_address(), opened.status(), None),
            Link::Fed { fed, target, status } => {
                let rtp_address = SocketAddr::new(target.node.rtp_address, target.lease.rtp_port);
                (rtp_address, status.clone(), Some(fed.feeder.node_id().to_owned()))
            }
        };
        status.established.store(true, Relaxed);
        self.config.metrics.legs_established.inc();
        let (node, epoch) = (&grant.lease.node_id, grant.lease.epoch);
        info!(node, %rtp_address, epoch, fed_by, "a leg is up");
        let (id, primary) = (self.config.id, self.config.primary.load(Relaxed));
        let offer = self.config.ways.offer(grant.node.info, &way);
        self.config.status.update(|facts| {
            if primary {
                facts.problem = String::new();
            }
            let leg = LegFacts { rtp_address, lease: grant.lease, status, fed_by };
            facts.legs.insert(id, leg);
        });
        Established { link, announced, way, _offer: offer }
    }

    /// After a failure with which a lease is of no more use.
    fn give_up_lease_after(&mut self, failure: &Failure) {
        let may_pass = match failure {
            // Nothing is held, or whatever is held cannot be told from here.
            Failure::Registry(RegistryError::UnknownLease(_) | RegistryError::Fenced { .. }) => {
                false
            }
            // The node of the lease was not even asked: its readers wait for another way.
            Failure::Feeder(error) if !error.is_of_fed_node() => return,
            Failure::Registry(_) | Failure::NoOther(_) | Failure::NoWay => return,
            Failure::Open(OpenError::Socket { .. }) | Failure::Feeder(_) => true,
            Failure::Open(OpenError::Node(error)) => up::is_passing(error.kind),
        };
        self.attempts += 1;
        if !may_pass || self.attempts >= MAX_ATTEMPTS_PER_LEASE {
            self.release();
        }
    }

    /// Gets ready to bring the leg up anew.
    async fn leave(&mut self, left: Left) {
        match left {
            Left::End(_) => {}
            // The lease holds: a node that came back takes it again.
            Left::Broken(broken) => {
                warn!(broken, "a leg is made anew");
                self.config.set_problem(&broken);
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
            hop::stop(&target(grant)).await;
        }
    }
}

fn target(grant: &Grant) -> Target {
    Target { lease: grant.lease.clone(), node: grant.node.info.clone() }
}
