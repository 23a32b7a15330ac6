//! Accepting connections within a limit.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// How long accepting rests when the system has no descriptors or memory left.
const REST: Duration = Duration::from_millis(100);

/// A listener that accepts while it has permits; a further client waits in the system's backlog.
pub struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Acceptor {
    /// Accepts from `listener` as long as `permits` has any.
    pub fn new(listener: TcpListener, permits: Arc<Semaphore>) -> Self {
        Self { listener, permits }
    }

    /// The next connection, without Nagle's delay, and its permit; drop the permit when the connection ends.
    /// Cancel safe.
    pub async fn accept(&mut self) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            let Ok(permit) = self.permits.clone().acquire_owned().await else {
                // Nobody closes the semaphore; were it closed, there would be nothing to accept any more.
                std::future::pending().await
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Fails only on a connection that is gone already.
                    let _ = stream.set_nodelay(true);
                    return (stream, permit);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting rests");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

/// Whether an error of `accept` tells of the connection that it would have given, not of the listener.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
