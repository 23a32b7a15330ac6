//! The streams of the node, by key.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::SystemTime,
};

use media::{StreamKey, sdp::SessionDescription};
use prometheus_client::metrics::gauge::Gauge;
use proto::v1;
use registry::Lease;
use svc_core::{error::ApiError, grpc::WatchedStreams};
use tokio::sync::watch;

use crate::{
    convert,
    feeds::Feeds,
    leg::{Counters, LegHandle, StreamStatus},
    stream::{PublishedStream, StreamSource},
};

/// What a stream was started with.
#[derive(Clone)]
pub(crate) struct Started {
    /// The session description as it came.
    pub(crate) sdp: String,
    /// What it says, its tracks in the order in which readers know them.
    pub(crate) description: SessionDescription,
    /// Its lease.
    pub(crate) lease: Lease,
    /// Whether the node took the lease itself.
    pub(crate) by_hand: bool,
    /// The lease has ended and its port is closed; the readers are kept for another ingest.
    pub(crate) orphaned: bool,
}

/// A stream on the node.
pub(crate) struct Entry {
    /// What readers read.
    pub(crate) published: Arc<PublishedStream>,
    /// State and tracks.
    pub(crate) status: Arc<StreamStatus>,
    /// What went through.
    pub(crate) counters: Arc<Counters>,
    /// Its leg.
    pub(crate) leg: LegHandle,
    /// The nodes that are fed with it.
    pub(crate) feeds: Arc<Feeds>,
    /// When it was started.
    pub(crate) started_at: SystemTime,
    /// With what.
    pub(crate) started: Mutex<Started>,
    /// Whether it is given back when nobody reads it: see `demand.rs`.
    pub(crate) given_back: AtomicBool,
}

impl Entry {
    /// With what it was started.
    pub(crate) fn started(&self) -> Started {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends leg and readers; completes when the ports are closed.
    pub(crate) async fn end(&self) {
        self.published.ended.cancel();
        self.leg.stop();
        self.leg.ended().await;
    }
}

/// The table.
pub(crate) struct Streams {
    by_key: Mutex<BTreeMap<StreamKey, Arc<Entry>>>,
    /// Told at each change of the table or of a stream.
    pub(crate) changes: Arc<watch::Sender<u64>>,
    rtsp_url: String,
    count: Gauge,
}

impl Streams {
    /// No streams; `rtsp_url` is where readers play from, `count` tells how many there are.
    pub(crate) fn new(rtsp_url: String, count: Gauge) -> Self {
        let changes = Arc::new(watch::Sender::new(0));
        Self { by_key: Mutex::default(), changes, rtsp_url, count }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamKey, Arc<Entry>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_change(&self) {
        self.count.set(self.lock().len() as i64);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// A stream by its key.
    pub(crate) fn entry(&self, key: &StreamKey) -> Result<Arc<Entry>, ApiError> {
        self.lock().get(key).cloned().ok_or_else(|| ApiError::not_found("stream", key))
    }

    /// The stream that has this port.
    pub(crate) fn on_port(&self, port: u16) -> Option<(StreamKey, Arc<Entry>)> {
        let found = self.lock();
        let mut streams = found.iter();
        let has_it = |started: Started| started.lease.rtp_port == port && !started.orphaned;
        streams
            .find(|(_, entry)| has_it(entry.started()))
            .map(|(key, entry)| (key.clone(), entry.clone()))
    }

    /// Adds a stream.
    pub(crate) fn insert(&self, key: StreamKey, entry: Arc<Entry>) {
        self.lock().insert(key, entry);
        self.tell_change();
    }

    /// Takes a stream out, if it is still this one.
    pub(crate) fn remove(&self, key: &StreamKey, entry: &Arc<Entry>) {
        let mut streams = self.lock();
        if streams.get(key).is_some_and(|found| Arc::ptr_eq(found, entry)) {
            streams.remove(key);
        }
        drop(streams);
        self.tell_change();
    }

    /// All streams, in the order of their keys.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        self.lock().values().cloned().collect()
    }

    /// A stream as the API shows it.
    pub(crate) fn to_proto(&self, entry: &Entry) -> v1::Stream {
        let (status, started) = (entry.status.now(), entry.started());
        let epoch = started.lease.epoch;
        let lease = Some(started.lease).filter(|_| !started.orphaned);
        let described = entry.published.description.borrow().clone();
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        v1::Stream {
            stream_key: entry.published.key.as_str().to_owned(),
            state: convert::state(status.state).into(),
            started_at: Some(proto::timestamp(entry.started_at)),
            tracks: status.tracks,
            rtp_port: lease.as_ref().map_or(0, |lease| lease.rtp_port.into()),
            rtsp_url: format!("{}/{}", self.rtsp_url, entry.published.key),
            readers: entry.published.readers.list().iter().map(|r| convert::reader(r)).collect(),
            epoch,
            counters: Some(convert::counters(&entry.counters)),
            reader_counters: Some(convert::reader_counters(entry.published.readers.tally())),
            session_description: described.map(|d| d.sdp(unspecified)).unwrap_or_default(),
            lease: lease.map(registry::lease_to_proto),
            legs: entry.feeds.to_proto(),
            ..Default::default()
        }
    }
}

impl StreamSource for Streams {
    fn stream(&self, key: &StreamKey) -> Option<Arc<PublishedStream>> {
        self.lock().get(key).map(|entry| entry.published.clone())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl WatchedStreams for Streams {
    type Stream = Entry;

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn list(&self) -> Vec<Arc<Entry>> {
        self.list()
    }

    fn key(entry: &Entry) -> &StreamKey {
        &entry.published.key
    }

    fn version(entry: &Entry) -> u64 {
        entry.status.revision()
    }

    fn to_proto(&self, entry: &Entry) -> v1::Stream {
        self.to_proto(entry)
    }
}
