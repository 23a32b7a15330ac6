//! One stream on the node: what its leg writes and its readers read.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, atomic::AtomicU32},
    time::SystemTime,
};

use media::{StreamKey, rtcp::ClockMapping, sdp::SessionDescription};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ring::Ring;

/// A stream that the node serves. Its leg task owns the writing side; RTSP connections hold it while they play.
pub struct PublishedStream {
    /// Its key.
    pub key: StreamKey,
    /// Its access units.
    pub ring: Ring,
    /// What DESCRIBE is made from; `None` until the codec headers are known.
    pub description: watch::Sender<Option<Arc<ReaderDescription>>>,
    /// Per track, the mapping of the readers' RTP clock to wall-clock time; `None` until the leg's first Sender Report.
    pub clocks: Mutex<Vec<Option<ClockMapping>>>,
    /// Who plays it.
    pub readers: Readers,
    /// Cancelled when the stream ends; readers then get BYE and are closed.
    pub ended: CancellationToken,
}

/// What readers are told of the stream.
#[derive(Debug)]
pub struct ReaderDescription {
    /// Tracks as readers get them: payload types and SSRCs of the ring's packets, one CNAME.
    pub description: SessionDescription,
    /// The CNAME of all tracks.
    pub cname: String,
    /// `o=`: session id and version.
    pub session_id: u64,
    /// Grows with each change.
    pub version: u64,
}

impl ReaderDescription {
    /// The SDP that DESCRIBE answers; `origin` is the address that the reader called.
    pub fn sdp(&self, origin: IpAddr) -> String {
        self.description.to_reader_sdp(origin, self.session_id, self.version)
    }
}

/// The readers of a stream, by their public id.
#[derive(Default)]
pub struct Readers {
    by_id: Mutex<BTreeMap<u64, Arc<ReaderEntry>>>,
    /// Told at each change of the table, for WatchStreams.
    pub changed: watch::Sender<u64>,
}

/// A reader as GetStream shows it.
pub struct ReaderEntry {
    /// Its public id.
    pub id: u64,
    /// The RTSP connection's peer.
    pub peer: SocketAddr,
    /// User-Agent.
    pub user_agent: String,
    /// Whether it plays by UDP, else interleaved.
    pub udp: bool,
    /// When its session was made.
    pub connected_at: SystemTime,
    /// Whether it plays now.
    pub playing: std::sync::atomic::AtomicBool,
    /// RTP packets sent to it.
    pub packets_sent: AtomicU32,
    /// Skips.
    pub skips: AtomicU32,
    /// Access units missed by skipping.
    pub access_units_skipped: AtomicU32,
}

impl Readers {
    /// Adds a reader; it is taken out when the guard is dropped.
    pub fn add(self: &Arc<Self>, _entry: ReaderEntry) {
        todo!("returns a guard; owned by the RTSP side")
    }
    /// All readers, in the order of their ids.
    pub fn list(&self) -> Vec<Arc<ReaderEntry>> {
        self.by_id.lock().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }
}

/// What the RTSP side asks of the node: the streams by key.
pub trait StreamSource: Send + Sync + 'static {
    /// The stream, if the node has it.
    fn stream(&self, key: &StreamKey) -> Option<Arc<PublishedStream>>;
}
