//! Feeds: a stream that the node has, sent on to further nodes. An ingest sends so many legs itself (`ingest.max_legs`) and has nodes that have
//! the stream send it on beyond that.
//!
//! Lease and epoch of the fed node are the ingest's business, which asks for each feed again and again while it wants it. A feed is made of what
//! readers get: it begins at the last keyframe in the ring, and goes on without a break over a leg of this node that is made anew. The fed
//! node is told nothing when a feed ends; the ingest has another one made, or ends the stream there.

mod feed;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hop::{Config, OpenError, Opened, Target};
use media::StreamKey;
use prometheus_client::metrics::gauge::Gauge;
use proto::v1;
use svc_core::{
    config::{HopConfig, RtpConfig},
    error::{ApiError, Kind},
    tasks::Tasks,
};
use tokio::sync::watch;
use tracing::{Span, info};

use self::feed::{Feed, FeedClock};
use crate::{
    leg::StreamStatus,
    metrics::Instruments,
    stream::{PublishedStream, ReaderDescription},
};

/// Nodes that one stream is fed to: eight times what an ingest asks for by default.
const MAX_FEEDS: usize = 64;

/// What all feeds of a node have in common.
pub(crate) struct FeedContext {
    /// `[rtp]`
    pub(crate) rtp: RtpConfig,
    /// `[hop]`
    pub(crate) hop: HopConfig,
    /// The node's tasks.
    pub(crate) tasks: Tasks,
    /// What is sent.
    pub(crate) metrics: hop::Instruments,
    /// Feeds that there are.
    pub(crate) count: Gauge,
}

impl FeedContext {
    /// What the configuration says.
    pub(crate) fn new(
        config: &svc_core::config::Config,
        tasks: &Tasks,
        metrics: &Instruments,
    ) -> Arc<Self> {
        Arc::new(Self {
            rtp: config.rtp.clone(),
            hop: config.hop.clone(),
            tasks: tasks.clone(),
            metrics: metrics.feed.clone(),
            count: metrics.feeds.clone(),
        })
    }
}

/// The feeds of one stream, by the fed node's id.
pub(crate) struct Feeds {
    /// Of the stream, which is told of each change.
    status: Arc<StreamStatus>,
    by_node: Mutex<BTreeMap<String, Arc<Feed>>>,
    /// The nodes to which one is being begun: two for one node must not cross, and a node that does not answer holds up no other.
    opening: Mutex<BTreeSet<String>>,
    /// Told at each change.
    pub(crate) changed: watch::Sender<u64>,
}

impl Feeds {
    /// Nobody is fed.
    pub(crate) fn new(status: Arc<StreamStatus>) -> Arc<Self> {
        let (by_node, opening) = (Mutex::default(), Mutex::default());
        Arc::new(Self { status, by_node, opening, changed: watch::Sender::default() })
    }

    /// Feeds a node, or goes on doing so. Bounded in time.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        stream: &Arc<PublishedStream>,
        target: Target,
        context: &Arc<FeedContext>,
    ) -> Result<(), ApiError> {
        let node_id = target.node.id.clone();
        let there = self.lock().get(&node_id).cloned();
        if let Some(feed) = there.filter(|feed| feed.goes_on_to(&target)) {
            feed.ask();
            return Ok(());
        }
        let _opening = self.open(&node_id)?;
        let described = stream.description.borrow().clone();
        let Some(description) = described else {
            let text = "its tracks are not known yet";
            return Err(ApiError::reason(Kind::Unavailable, "STARTING", text));
        };
        // Its successor has the same port: no two may send to it.
        self.end(&node_id);
        info!(stream = %stream.key, node = node_id, "the node feeds another");
        let config = config(&stream.key, &description, context);
        let opened = Opened::open(config, target, tracks(stream, &description)).await;
        let opened = opened.map_err(|error| refused(&error))?;
        let feed = Feed::new(opened, stream.clone());
        self.lock().insert(node_id, feed.clone());
        self.tell_change();
        let (feeds, context) = (self.clone(), context.clone());
        let tasks = context.tasks.clone();
        // Not in the span of the call, which it outlives.
        tasks.spawn_in(Span::none(), "feed", async move {
            context.count.inc();
            let why = feed.run(&context.tasks).await;
            context.count.dec();
            info!(stream = %feed.key(), node = feed.node_id(), why, "a feed ends");
            feeds.forget(&feed);
        });
        Ok(())
    }

    fn open(&self, node_id: &str) -> Result<Opening<'_>, ApiError> {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nodes: BTreeSet<_> = self.lock().keys().cloned().collect();
        nodes.extend(opening.iter().cloned());
        nodes.remove(node_id);
        if nodes.len() >= MAX_FEEDS {
            let text = format!("the node feeds {MAX_FEEDS} nodes with it already");
            return Err(ApiError::reason(Kind::ResourceExhausted, "MAX_FEEDS", text));
        }
        if !opening.insert(node_id.to_owned()) {
            let text = "a feed of that node is being begun";
            return Err(ApiError::reason(Kind::Unavailable, "BUSY", text));
        }
        Ok(Opening { feeds: self, node_id: node_id.to_owned() })
    }

    /// Feeds a node no longer. Whether it was fed.
    pub(crate) fn end(&self, node_id: &str) -> bool {
        let ended = self.lock().remove(node_id);
        let Some(feed) = ended else { return false };
        feed.end();
        self.tell_change();
        true
    }

    /// Feeds nobody any more.
    pub(crate) fn end_all(&self) {
        let ended = std::mem::take(&mut *self.lock());
        ended.values().for_each(|feed| feed.end());
        if !ended.is_empty() {
            self.tell_change();
        }
    }

    /// Whether nobody is fed.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// As the API shows them.
    pub(crate) fn to_proto(&self) -> Vec<v1::Leg> {
        self.lock().values().map(|feed| feed.to_proto()).collect()
    }

    fn forget(&self, feed: &Arc<Feed>) {
        let mut by_node = self.lock();
        if by_node.get(feed.node_id()).is_some_and(|there| Arc::ptr_eq(there, feed)) {
            by_node.remove(feed.node_id());
        }
        drop(by_node);
        self.tell_change();
    }

    fn tell_change(&self) {
        self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
        self.status.touch();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Feed>>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A feed is being begun, for as long as this lives.
struct Opening<'a> {
    feeds: &'a Feeds,
    node_id: String,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut opening = self.feeds.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.remove(&self.node_id);
    }
}

fn config(key: &StreamKey, description: &ReaderDescription, context: &FeedContext) -> Arc<Config> {
    Arc::new(Config {
        key: key.clone(),
        cname: description.cname.clone(),
        rtp: context.rtp.clone(),
        hop: context.hop.clone(),
        metrics: context.metrics.clone(),
    })
}

/// The tracks as readers get them.
fn tracks(stream: &Arc<PublishedStream>, description: &ReaderDescription) -> Vec<hop::Track> {
    let tracks = description.description.tracks.iter().enumerate();
    let track = |(index, track): (usize, &media::sdp::TrackDescription)| hop::Track {
        config: track.config.clone(),
        payload_type: track.payload_type,
        ssrc: track.ssrc.unwrap_or_default(),
        clock: Arc::new(FeedClock { stream: stream.clone(), track: index }),
    };
    tracks.map(track).collect()
}

/// The answer of the fed node is the ingest's to hear.
fn refused(error: &OpenError) -> ApiError {
    match error {
        OpenError::Node(error) => error.into(),
        OpenError::Socket { .. } => {
            ApiError::reason(Kind::Unavailable, "FEED_FAILED", error.to_string())
        }
    }
}
