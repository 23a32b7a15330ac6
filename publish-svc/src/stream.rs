//! One stream on the node: what its leg writes and its readers read.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use media::{StreamKey, rtcp::ClockMapping, sdp::SessionDescription};
use svc_core::config::RingConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    fan_out::FanOut,
    reception::Receptions,
    ring::Ring,
    tally::{DropReason, Sent, SkipReason, Tally},
};

/// A stream that the node serves. Its leg task owns the writing side; RTSP connections hold it while they play.
pub(crate) struct PublishedStream {
    /// Its key.
    pub(crate) key: StreamKey,
    /// Its access units.
    pub(crate) ring: Ring,
    /// Who is let send when the ring has something new.
    pub(crate) fan_out: Arc<FanOut>,
    /// What DESCRIBE is made from; `None` until the codec headers are known.
    pub(crate) description: watch::Sender<Option<Arc<ReaderDescription>>>,
    /// Per track, the mapping of the readers' RTP clock to wall-clock time; `None` until the leg's first Sender Report.
    pub(crate) clocks: Mutex<Vec<Option<ClockMapping>>>,
    /// Who plays it.
    pub(crate) readers: Arc<Readers>,
    /// Cancelled when the stream ends; readers then get BYE and are closed.
    pub(crate) ended: CancellationToken,
}

impl PublishedStream {
    /// A stream of so many tracks before its first packet.
    pub(crate) fn new(key: StreamKey, ring: &RingConfig, tracks: usize) -> Self {
        Self {
            key,
            ring: Ring::new(ring),
            fan_out: Arc::default(),
            description: watch::Sender::new(None),
            clocks: Mutex::new(vec![None; tracks]),
            readers: Arc::default(),
            ended: CancellationToken::new(),
        }
    }
}

/// What readers are told of the stream.
#[derive(Debug)]
pub(crate) struct ReaderDescription {
    /// Tracks as readers get them: payload types and SSRCs of the ring's packets, one CNAME.
    pub(crate) description: SessionDescription,
    /// The CNAME of all tracks.
    pub(crate) cname: String,
    /// `o=`: session id and version.
    pub(crate) session_id: u64,
    /// Grows with each change.
    pub(crate) version: u64,
}

impl ReaderDescription {
    /// The SDP that DESCRIBE answers; `origin` is the address that the reader called.
    pub(crate) fn sdp(&self, origin: IpAddr) -> String {
        self.description.to_reader_sdp(origin, self.session_id, self.version)
    }
}

/// The readers of a stream, by their public id.
#[derive(Default)]
pub(crate) struct Readers {
    by_id: Mutex<BTreeMap<u64, Arc<ReaderEntry>>>,
    tally: Mutex<Tally>,
    /// Told at each change of the table, for WatchStreams.
    pub(crate) changed: watch::Sender<u64>,
}

/// How a reader gets its packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    /// Interleaved in its connection.
    Tcp,
    /// UDP of its own.
    Udp,
    /// UDP shared with other readers.
    Multicast,
}

/// A reader as GetStream shows it.
pub(crate) struct ReaderEntry {
    /// Its public id.
    pub(crate) id: u64,
    /// The RTSP connection's peer.
    pub(crate) peer: SocketAddr,
    /// User-Agent.
    pub(crate) user_agent: String,
    /// How it gets its packets.
    pub(crate) by: Transport,
    /// When its session was made.
    pub(crate) connected_at: SystemTime,
    /// Whether it plays now.
    pub(crate) playing: AtomicBool,
    /// What it was sent; by multicast what its group was, whose readers share it.
    pub(crate) sent: Arc<Sent>,
    /// How it says that it receives.
    pub(crate) receptions: Receptions,
}

impl Readers {
    /// Adds a reader; it is taken out when the guard is dropped.
    pub(crate) fn add(self: &Arc<Self>, entry: ReaderEntry) -> ReaderGuard {
        let entry = Arc::new(entry);
        self.by_id.lock().unwrap_or_else(|e| e.into_inner()).insert(entry.id, entry.clone());
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).come();
        self.changed.send_modify(|changes| *changes += 1);
        ReaderGuard { readers: self.clone(), entry }
    }
    /// All readers, in the order of their ids.
    pub(crate) fn list(&self) -> Vec<Arc<ReaderEntry>> {
        self.by_id.lock().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.lock().unwrap_or_else(|e| e.into_inner()).is_empty()
    }
    /// What became of them.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// A reader passed access units over; `began` says why, where a skip began with them.
    pub(crate) fn skip(&self, reader: &ReaderEntry, began: Option<SkipReason>, access_units: u32) {
        reader.sent.skip(began, access_units);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.skip(began, access_units);
    }
    /// A reader is dropped; it is listed until its guard is.
    pub(crate) fn dropped(&self, reader: &ReaderEntry, reason: DropReason) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.dropped(reader, reason, SystemTime::now());
    }
}

/// A reader in the table, for as long as this lives.
pub(crate) struct ReaderGuard {
    readers: Arc<Readers>,
    entry: Arc<ReaderEntry>,
}

impl ReaderGuard {
    /// The reader, for who hears of it.
    pub(crate) fn entry(&self) -> Arc<ReaderEntry> {
        self.entry.clone()
    }
    /// Says whether it plays now.
    pub(crate) fn set_playing(&self, playing: bool) {
        self.entry.playing.store(playing, Ordering::Relaxed);
        self.readers.changed.send_modify(|changes| *changes += 1);
    }
}

impl Deref for ReaderGuard {
    type Target = ReaderEntry;
    fn deref(&self) -> &ReaderEntry {
        &self.entry
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.readers.by_id.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.entry.id);
        self.readers.changed.send_modify(|changes| *changes += 1);
    }
}

/// What the RTSP side asks of the node: the streams by key.
pub(crate) trait StreamSource: Send + Sync + 'static {
    /// The stream, if the node has it.
    fn stream(&self, key: &StreamKey) -> Option<Arc<PublishedStream>>;
    /// Told at each change of what [`Self::stream`] gives.
    fn changes(&self) -> watch::Receiver<u64>;
}
