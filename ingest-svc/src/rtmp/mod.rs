//! The RTMP side: listener and publisher connections.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use media::rtmp::{MediaMessage, PublishRefusal, PublishRequest};
use svc_core::{config::RtmpConfig, drain::Shutdown, tasks::Tasks};

/// A connection whose peer has asked to publish. Whoever holds it drives it: no task of its own.
pub struct PublisherConnection {}

/// Why a publisher went away.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PublisherGone {
    /// It ended its publish or closed the connection.
    #[error("the publisher ended the stream")]
    Ended,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(std::io::ErrorKind),
    /// It sent nothing for `rtmp.idle_timeout`.
    #[error("silent for {0:?}")]
    Silent(std::time::Duration),
    /// It broke the protocol.
    #[error("{0}")]
    Protocol(#[from] media::rtmp::RtmpError),
}

impl PublisherConnection {
    /// What it asked for.
    pub fn request(&self) -> &PublishRequest {
        todo!()
    }
    /// Its address.
    pub fn peer(&self) -> SocketAddr {
        todo!()
    }
    /// When it connected.
    pub fn connected_at(&self) -> SystemTime {
        todo!()
    }
    /// Bytes received so far.
    pub fn bytes_received(&self) -> u64 {
        todo!()
    }
    /// Lets it publish.
    pub fn accept(&mut self) {
        todo!()
    }
    /// Refuses it, says so to it, and closes. Bounded in time.
    pub async fn refuse(self, _why: PublishRefusal, _text: &str) {
        todo!()
    }
    /// Ends its publish from our side and closes. Bounded in time.
    pub async fn end(self, _text: &str) {
        todo!()
    }
    /// Appends at least one media message to `batch`: all that one read of the socket brought. Cancel safe. Answers the peer's
    /// control messages meanwhile.
    pub async fn receive(&mut self, _batch: &mut Vec<MediaMessage>) -> Result<(), PublisherGone> {
        todo!()
    }
}

/// Takes publishers: the table of streams.
#[async_trait]
pub trait PublisherSink: Send + Sync + 'static {
    /// Decides on a publisher: accepts and drives it from now on, or refuses it. Returns soon.
    async fn offer(&self, connection: PublisherConnection);
}

/// Accepts RTMP connections until the drain begins, each in a task that ends when the publisher is handed over or gone.
pub async fn serve(
    _listener: tokio::net::TcpListener,
    _config: RtmpConfig,
    _sink: Arc<dyn PublisherSink>,
    _tasks: Tasks,
    _shutdown: Shutdown,
) {
    todo!()
}
