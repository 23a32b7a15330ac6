//! A leg that is up, until it is left.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hop::{Carrier, LegStatus, NodeError, Opened, Target};
use registry::{Grant, LeaseId};
use svc_core::error::Kind;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{Span, info, warn};

use super::{Control, Established, Left, Link};
use crate::leg::{Announced, Ending, Flow, LegConfig, LegEvent, failure::Pauses, ways::Fed};

/// How often a node that feeds another is asked to go on; it does so for 10 s.
const ASK_TO_FEED: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How soon it is asked again that did not answer, before another is.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Control {
    /// Carries the leg until it is to be left.
    pub(super) async fn carry(
        &mut self,
        up: Established,
        end: &mut oneshot::Receiver<Ending>,
        bring_up: Span,
    ) -> Left {
        // A leg that is up has a lease.
        let Some(grant) = self.grant.clone() else { return Left::LeaseLost };
        let Established { link, announced, way, _offer } = up;
        let left = match link {
            Link::Here(opened) => self.carry_here(&grant, opened, announced, end, bring_up).await,
            Link::Fed { fed, target, status } => {
                Box::pin(self.have_fed(&grant, (*fed, &target), &status, announced, end)).await
            }
        };
        // Kept until now: what comes next takes a way anew.
        drop(way);
        left
    }

    async fn carry_here(
        &mut self,
        grant: &Grant,
        opened: Opened,
        announced: Arc<Announced>,
        end: &mut oneshot::Receiver<Ending>,
        bring_up: Span,
    ) -> Left {
        let (keeper, node_id) = (self.config.keeper.clone(), grant.lease.node_id.clone());
        // A node that reports is there, also for who renews its leases.
        let on_report = Box::new(move || keeper.heard_of(&node_id));
        let carrier = Arc::new(Carrier::new(&opened, on_report, bring_up));
        let _closed = Closing(&carrier);
        if let Err(left) = self.say_ready(grant, Flow::Here(carrier.clone()), end).await {
            return left;
        }
        let (config, signals) = (&self.config, &mut self.signals);
        let _up = Up::new(config);
        let mut announced = announced;
        let mut telling = Telling::default();
        let left = loop {
            tokio::select! {
                ending = &mut *end => break Left::End(ending.unwrap_or(Ending::StreamEnds)),
                broken = carrier.run() => break Left::Broken(broken.to_string()),
                () = lease_lost(&mut signals.lost, &grant.lease.id) => break Left::LeaseLost,
                anew = announced_anew(&mut signals.tracks, announced.announcement) => {
                    if !anew.extends(&announced) {
                        break Left::TracksChanged;
                    }
                    announced = anew;
                    telling.begin(tell(config, &opened, announced.clone()));
                }
                told = telling.done() => carrier.learn(told.to_hop(&config.origin)),
            }
        };
        if matches!(left, Left::End(Ending::StreamEnds)) {
            carrier.say_bye();
        }
        opened.status().established.store(false, Relaxed);
        left
    }

    /// Sees to it that another node sends the leg. What tracks come late its feeder hears of, too, and tells its node.
    async fn have_fed(
        &mut self,
        grant: &Grant,
        (mut fed, target): (Fed, &Target),
        status: &LegStatus,
        announced: Arc<Announced>,
        end: &mut oneshot::Receiver<Ending>,
    ) -> Left {
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        if let Err(left) = self.say_ready(grant, Flow::Fed(over), end).await {
            return left;
        }
        let (config, signals) = (&self.config, &mut self.signals);
        let _up = Up::new(config);
        let gone = fed.gone.clone();
        let (mut announced, mut asking) = (announced, Asking::new(config, target, status));
        let (left, is_there) = loop {
            tokio::select! {
                ending = &mut *end => break (Left::End(ending.unwrap_or(Ending::StreamEnds)), true),
                () = gone.cancelled() => {
                    break (Left::Broken("the node that feeds it has lost its leg".into()), false);
                }
                error = asking.run(&mut fed) => {
                    self.avoid = Some(fed.feeder.node_id().to_owned());
                    break (Left::Broken(format!("not fed: {error}")), false);
                }
                () = lease_lost(&mut signals.lost, &grant.lease.id) => break (Left::LeaseLost, true),
                anew = announced_anew(&mut signals.tracks, announced.announcement) => {
                    if !anew.extends(&announced) {
                        break (Left::TracksChanged, true);
                    }
                    announced = anew;
                }
            }
        };
        if is_there {
            fed.feeder.stop(target).await;
        }
        status.established.store(false, Relaxed);
        left
    }

    /// Tells the stream that RTP can flow.
    async fn say_ready(
        &self,
        grant: &Grant,
        flow: Flow,
        end: &mut oneshot::Receiver<Ending>,
    ) -> Result<(), Left> {
        let (leg, node_id) = (self.config.id, grant.lease.node_id.clone());
        let ready = self.signals.events.send(LegEvent::Ready { leg, node_id, flow });
        let is_there = tokio::select! {
            ending = &mut *end => return Err(Left::End(ending.unwrap_or(Ending::StreamEnds))),
            ready = ready => ready.is_ok(),
        };
        if is_there { Ok(()) } else { Err(Left::Broken("the stream ended".to_owned())) }
    }
}

/// Has a node go on feeding another.
struct Asking<'a> {
    config: &'a LegConfig,
    target: &'a Target,
    status: &'a LegStatus,
    next: Instant,
    /// It did not answer the last time.
    failed: bool,
}

impl<'a> Asking<'a> {
    fn new(config: &'a LegConfig, target: &'a Target, status: &'a LegStatus) -> Self {
        Self { config, target, status, next: Instant::now() + ASK_TO_FEED, failed: false }
    }

    /// Asks again and again until it is not done any more; why. Cancel safe.
    async fn run(&mut self, fed: &mut Fed) -> NodeError {
        loop {
            tokio::time::sleep_until(self.next).await;
            let heard = self.status.reports.load(Relaxed);
            match fed.feeder.feed(self.target, ASK_TIMEOUT).await {
                Ok(leg) => {
                    self.status.adopt(&leg);
                    if leg.reports != heard {
                        // As where it reports to us.
                        self.config.keeper.heard_of(&self.target.node.id);
                    }
                    (self.next, self.failed) = (Instant::now() + ASK_TO_FEED, false);
                }
                Err(error) if !self.failed && is_passing(error.kind) => {
                    (self.next, self.failed) = (Instant::now() + ASK_AGAIN, true);
                }
                Err(error) => return error,
            }
        }
    }
}

/// Whether what a node answered may be different the next time.
pub(super) fn is_passing(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::DeadlineExceeded | Kind::Aborted)
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
