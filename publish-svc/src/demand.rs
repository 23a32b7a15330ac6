//! Streams that readers ask for and the node does not have: it is looked up who has them, and their ingest is asked for a leg.
//!
//! | the registry knows | its ingest answers | the reader is answered |
//! | --- | --- | --- |
//! | nobody | | 404 |
//! | an ingest | OK, when the node has the stream | as if it had been there |
//! | an ingest | NOT_FOUND | 404 |
//! | an ingest | UNAVAILABLE, nothing | it is asked again until `rtsp.describe_wait` is over, then 503 |
//! | an ingest | anything else | 503 |
//! | another node, and `rtsp.redirect` is on | | 302 |
//! | is not reached | | 503 |
//!
//! All readers of one key share one request, which goes on when they have gone; what it found is good for a moment, and lookups are limited, so
//! that readers of keys that nobody has do not cost the registry more than it can bear.

mod flights;
mod owner;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use media::StreamKey;
use registry::{Engine, Lease, RegistryError, StreamOwner};
use svc_core::{
    config::Config,
    error::{ApiError, Kind},
    tasks::Tasks,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use self::flights::Flights;
use crate::{
    metrics::Instruments,
    stream::StreamSource as _,
    streams::{Entry, Streams},
};

/// How long one request may take with all its attempts: an ingest gives its own calls 7 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause before an ingest is asked again, such as one that does not know the tracks yet; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Keys of which it is kept that the node has asked for them, before those are forgotten that it does not have: as many as a node has ports.
const MAX_ASKED: usize = 32_768;
/// What was heard of and not yet read. Who lags behind takes it that its stream was among them.
const HEARD: usize = 64;

/// What became of a wish for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The node has it now.
    Here,
    /// Another node has it; the URL of that node's RTSP server.
    Elsewhere(String),
    /// Nobody has it.
    Nowhere,
    /// It cannot be had, or told, at the moment.
    Unavailable,
}

impl Fetched {
    /// For metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Elsewhere(_) => "elsewhere",
            Self::Nowhere => "nowhere",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What became of a stream whose ingest is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reclaimed {
    /// It has no new owner, or that is on its way to us, or gives no leg.
    NotYet,
    /// It has one, which is worth to be asked again at once.
    Soon,
    /// It has one, whose legs go to other nodes for good, as this one drains.
    Elsewhere,
}

/// What it needs to know.
pub(crate) struct DemandConfig {
    /// The node's id.
    pub(crate) node_id: String,
    /// `rtsp.redirect`
    pub(crate) redirect: bool,
    /// `publish.idle_leg_timeout`
    pub(crate) idle: Duration,
}

impl DemandConfig {
    /// What the configuration says.
    pub(crate) fn new(config: &Config, node_id: &str) -> Self {
        let node_id = node_id.to_owned();
        Self { node_id, redirect: config.rtsp.redirect, idle: config.publish.idle_leg_timeout }
    }
}

/// See the module.
pub(crate) struct Demand {
    config: DemandConfig,
    engine: Arc<dyn Engine>,
    streams: Arc<Streams>,
    tasks: Tasks,
    metrics: Instruments,
    leaving: CancellationToken,
    flights: Mutex<Flights>,
    /// Streams that the node has, or is to have, since it asked for them.
    asked: Mutex<HashSet<StreamKey>>,
    heard: broadcast::Sender<StreamKey>,
}

/// What one attempt came to.
enum Attempt {
    Done(Fetched),
    /// Worth another.
    Again,
}

impl Demand {
    /// Nothing was asked for yet.
    pub(crate) fn new(
        config: DemandConfig,
        engine: Arc<dyn Engine>,
        streams: Arc<Streams>,
        (tasks, leaving): (Tasks, CancellationToken),
        metrics: Instruments,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            engine,
            streams,
            tasks,
            metrics,
            leaving,
            flights: Mutex::default(),
            asked: Mutex::default(),
            heard: broadcast::Sender::new(HEARD),
        })
    }

    /// The streams that the node has.
    pub(crate) fn streams(&self) -> Arc<Streams> {
        self.streams.clone()
    }

    /// Gets a stream that the node does not have. Bounded in time; who no longer waits for it leaves the others waiting.
    pub(crate) async fn fetch(self: &Arc<Self>, key: &StreamKey) -> Fetched {
        let joined = self.flights().join(key);
        let (mut found, tell) = match joined {
            Some(joined) => joined,
            None => {
                self.metrics.fetches_refused.inc();
                return Fetched::Unavailable;
            }
        };
        if let Some(tell) = tell {
            let (demand, key) = (self.clone(), key.clone());
            // Not in the span of the reader, who may hang up.
            self.tasks.spawn_in(Span::none(), "fetch", async move {
                let get = tokio::time::timeout(PATIENCE, demand.get(&key));
                let fetched = get.await.unwrap_or(Fetched::Unavailable);
                demand.metrics.fetch(fetched.label());
                tell.done(fetched);
            });
        }
        found.wait().await
    }

    /// Told of a lease that was granted: what was found out about its stream is not true any more.
    pub(crate) fn hear(&self, lease: &Lease) {
        if lease.node_id != self.config.node_id {
            self.flights().forget(&lease.stream_key);
            // An error says that nobody waits.
            let _ = self.heard.send(lease.stream_key.clone());
        }
    }

    /// The streams of which [`Self::hear`] is told from now on.
    pub(crate) fn heard(&self) -> Heard {
        Heard(self.heard.subscribe())
    }

    async fn get(&self, key: &StreamKey) -> Fetched {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.attempt(key).await {
                Attempt::Done(fetched) => return fetched,
                Attempt::Again => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, key: &StreamKey) -> Attempt {
        if self.leaving.is_cancelled() {
            return Attempt::Done(Fetched::Unavailable);
        }
        let owner = match self.engine.lookup_stream(key).await {
            Ok(owner) => owner,
            Err(RegistryError::UnknownStream(_)) => return Attempt::Done(Fetched::Nowhere),
            Err(error) => {
                tracing::warn!(stream = %key, %error, "it cannot be told who has a stream");
                return Attempt::Done(Fetched::Unavailable);
            }
        };
        if owner.owner_id == self.config.node_id {
            // It was started by hand here, and has just ended.
            return Attempt::Done(Fetched::Nowhere);
        }
        match self.elsewhere(&owner) {
            Some(url) => Attempt::Done(Fetched::Elsewhere(url)),
            None => self.ask(key, &owner).await,
        }
    }

    /// Where readers are sent instead, if they are.
    fn elsewhere(&self, owner: &StreamOwner) -> Option<String> {
        // Where the node has a lease, the stream is about to come; and two nodes must not send a reader to each other.
        let comes = owner.leases.iter().any(|lease| lease.node_id == self.config.node_id);
        if !self.config.redirect || comes {
            return None;
        }
        let nodes: Vec<_> = owner.nodes.iter().filter(|node| !node.info.draining).collect();
        let at = rand::random_range(0..nodes.len().max(1));
        nodes.get(at).map(|node| node.info.rtsp_url.clone())
    }

    async fn ask(&self, key: &StreamKey, owner: &StreamOwner) -> Attempt {
        self.note_asked(key);
        let asked = owner::start(owner, key, &self.config.node_id).await;
        let Err(refusal) = asked else {
            // The ingest may have taken the node for one that has it, which it finds out soon.
            let here = self.streams.stream(key).is_some();
            return if here { Attempt::Done(Fetched::Here) } else { Attempt::Again };
        };
        let owner_id = &owner.owner_id;
        match refusal.kind {
            Kind::Unavailable | Kind::Aborted | Kind::DeadlineExceeded => {
                tracing::debug!(stream = %key, owner_id, %refusal, "no leg yet");
                Attempt::Again
            }
            Kind::NotFound => Attempt::Done(Fetched::Nowhere),
            _ => {
                tracing::warn!(stream = %key, owner_id, %refusal, "the node is given no leg");
                Attempt::Done(Fetched::Unavailable)
            }
        }
    }

    fn note_asked(&self, key: &StreamKey) {
        let mut asked = self.asked();
        if asked.len() >= MAX_ASKED {
            asked.retain(|key| self.streams.stream(key).is_some());
        }
        asked.insert(key.clone());
    }

    /// Asks whoever owns a stream for a leg, unless it comes by itself. Bounded in time. The owner may be the old one, whose leg to here was
    /// lost, or given up after failures that were not this node's.
    pub(crate) async fn reclaim(&self, key: &StreamKey) -> Reclaimed {
        let Ok(owner) = self.engine.lookup_stream(key).await else { return Reclaimed::NotYet };
        if owner.leases.iter().any(|lease| lease.node_id == self.config.node_id) {
            return Reclaimed::NotYet;
        }
        if self.leaving.is_cancelled() {
            return Reclaimed::Elsewhere;
        }
        match self.ask(key, &owner).await {
            Attempt::Again => Reclaimed::Soon,
            Attempt::Done(_) => Reclaimed::NotYet,
        }
    }

    /// A stream has come. If the node has asked for it, it is given back when nobody has read it for a while.
    pub(crate) fn started(self: &Arc<Self>, entry: &Arc<Entry>) {
        let asked = self.asked().contains(&entry.published.key);
        if asked && !entry.given_back.swap(true, Ordering::Relaxed) {
            let (demand, entry) = (self.clone(), entry.clone());
            // Not in the span of the call, which it outlives.
            self.tasks.spawn_in(Span::none(), "idle_leg", async move {
                demand.give_back_when_idle(&entry).await;
            });
        }
    }

    /// Asks for the leg to be ended when the stream has had no reader for `publish.idle_leg_timeout`; completes when the stream has ended.
    async fn give_back_when_idle(&self, entry: &Entry) {
        let (key, readers) = (&entry.published.key, &entry.published.readers);
        let (mut changed, mut fed) = (readers.changed.subscribe(), entry.feeds.changed.subscribe());
        loop {
            changed.borrow_and_update();
            fed.borrow_and_update();
            let idle = async {
                if readers.is_empty() && entry.feeds.is_empty() {
                    tokio::time::sleep(self.config.idle).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = entry.published.ended.cancelled() => break,
                changed = changed.changed() => if changed.is_err() { break },
                fed = fed.changed() => if fed.is_err() { break },
                () = idle => self.give_back(key).await,
            }
        }
    }

    async fn give_back(&self, key: &StreamKey) {
        tracing::info!(stream = %key, "nobody reads the stream, its leg is given back");
        // Before it ends: it may be asked for again at once.
        self.asked().remove(key);
        if let Err(error) = self.leave(key).await {
            // The primary leg stays; whatever else it is, the next time may go better.
            tracing::debug!(stream = %key, %error, "the leg stays");
            self.asked().insert(key.clone());
        }
    }

    /// Has the leg of a stream to this node ended; where it is the stream's only one, another is made on another node first.
    pub(crate) async fn leave(&self, key: &StreamKey) -> Result<(), ApiError> {
        let owner = self.engine.lookup_stream(key).await?;
        owner::stop(&owner, key, &self.config.node_id).await
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<StreamKey>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Demand::hear`] was told.
pub(crate) struct Heard(broadcast::Receiver<StreamKey>);

impl Heard {
    /// Completes when `key` may have been heard of. Cancel safe.
    pub(crate) async fn of(&mut self, key: &StreamKey) {
        loop {
            match self.0.recv().await {
                Ok(heard) if heard == *key => return,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
