//! The accept loop, and what a connection does until it asks to publish.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use svc_core::{config::RtmpConfig, drain::Shutdown, tasks::Tasks};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::{Instrument, debug, info_span, warn};

use super::{
    PublisherGone,
    connection::{Connection, PublisherConnection},
};

/// How long the accept loop waits after an error that will not go away at once (no file descriptor,
/// no memory): long enough not to spin, short enough for a publisher that waits in the backlog.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Takes publishers: the table of streams.
#[async_trait]
pub(crate) trait PublisherSink: Send + Sync + 'static {
    /// Decides on a publisher: accepts and drives it from now on, or refuses it. Returns soon.
    async fn offer(&self, connection: PublisherConnection);
}

/// Accepts RTMP connections until the drain begins, each in a task that ends when the publisher is
/// handed over or gone. At most `max_connections` live at one time, those handed over included; a
/// further one is closed at once.
pub(crate) async fn serve(
    listener: TcpListener,
    config: RtmpConfig,
    sink: Arc<dyn PublisherSink>,
    tasks: Tasks,
    shutdown: Shutdown,
) {
    let server = Server {
        permits: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
        config,
        salt: rand::random(),
        sink,
        shutdown,
    };
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.shutdown.draining().cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                server.pause_after(e).await;
                continue;
            }
        };
        let Ok(permit) = server.permits.clone().try_acquire_owned() else {
            let max_connections = server.config.max_connections;
            debug!(%peer, max_connections, "RTMP connection closed: too many");
            if !full {
                warn!(
                    max_connections,
                    "RTMP connections are refused: rtmp.max_connections is reached"
                );
            }
            full = true;
            continue;
        };
        full = false;
        let connection = server.take(socket, peer, permit);
        tasks.spawn("rtmp", connection);
    }
}

struct Server {
    config: RtmpConfig,
    /// What publishers' passwords are salted with: each answers on another connection than the one on which it was asked.
    salt: u64,
    permits: Arc<Semaphore>,
    sink: Arc<dyn PublisherSink>,
    shutdown: Shutdown,
}

impl Server {
    /// After a failed accept: at once where only that connection failed.
    async fn pause_after(&self, error: io::Error) {
        match error.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted => {}
            _ => {
                warn!(%error, "no RTMP connection can be accepted, trying again");
                tokio::select! {
                    () = self.shutdown.draining().cancelled() => {}
                    () = tokio::time::sleep(ACCEPT_RETRY) => {}
                }
            }
        }
    }

    fn take(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + 'static {
        static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);
        let conn = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
        let span = info_span!("rtmp", conn, %peer);
        let connection = Connection::new(socket, peer, &self.config, self.salt, permit);
        let (sink, shutdown) = (self.sink.clone(), self.shutdown.clone());
        let handshake_timeout = self.config.handshake_timeout;
        let future = async move {
            let draining = shutdown.draining().clone();
            let publisher = tokio::select! {
                biased;
                () = draining.cancelled() => return,
                publisher = until_publish(connection, handshake_timeout) => publisher,
            };
            if let Some(publisher) = publisher {
                tokio::select! {
                    () = shutdown.cutting().cancelled() => {}
                    () = sink.offer(publisher) => {}
                }
            }
        };
        future.instrument(span)
    }
}

/// Drives a connection up to its publish request; `None` when it is gone before.
async fn until_publish(
    mut connection: Connection,
    handshake_timeout: Duration,
) -> Option<PublisherConnection> {
    match tokio::time::timeout(handshake_timeout, connection.next_request()).await {
        Ok(Ok(request)) => Some(PublisherConnection::new(connection, request)),
        Ok(Err(gone)) => {
            connection.close_as(&gone);
            None
        }
        Err(_) => {
            connection.close_as(&PublisherGone::Silent(handshake_timeout));
            None
        }
    }
}
