//! From a host's name to a connection.

use std::{net::SocketAddr, time::Duration};

use async_trait::async_trait;
use media::rtmp::RtmpUrl;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::{Failure, Trust};

/// Addresses of a host that are tried: one of each family, and some more of a name with several servers.
const MAX_ADDRESSES: usize = 4;

/// A connection, with TLS or without.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Connects to servers.
#[async_trait]
pub(crate) trait Connect: Send + Sync {
    /// Connects to the server of `url`. The caller waits for no longer than `within`.
    async fn connect(
        &self,
        url: &RtmpUrl,
        within: Duration,
    ) -> Result<(Box<dyn Socket>, SocketAddr), Failure>;
}

/// By TCP, and TLS over it, to whom the [`Trust`] believes.
#[async_trait]
impl Connect for Trust {
    async fn connect(
        &self,
        url: &RtmpUrl,
        within: Duration,
    ) -> Result<(Box<dyn Socket>, SocketAddr), Failure> {
        let until = Instant::now() + within;
        let found = lookup_host((url.host(), url.port())).await;
        let found = found.map_err(|error| Failure::Resolve(error.to_string()))?;
        let (socket, peer) = first_of(found.take(MAX_ADDRESSES).collect(), until).await?;
        // What we say is small and awaited. That this fails says that the peer is gone: reading will tell.
        let _ = socket.set_nodelay(true);
        if url.is_tls() {
            // A server of plain RTMP waits for more, and so do we: the rest of the time is for what comes behind TLS.
            let left = until.saturating_duration_since(Instant::now());
            let secured = timeout(left / 2, self.secure(url.host(), socket)).await;
            let no_answer = |_| Failure::Tls("no answer; does the remote speak TLS?".to_owned());
            return Ok((Box::new(secured.map_err(no_answer)??), peer));
        }
        Ok((Box::new(socket), peer))
    }
}

/// The first address that answers. Each has its part of the time, so that one that nobody answers at does not stand for all.
async fn first_of(
    addresses: Vec<SocketAddr>,
    until: Instant,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut why = "the name has no address".to_owned();
    let count = addresses.len();
    for (at, address) in addresses.into_iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        // The last may have what is left but for a part for what comes behind the connection.
        let part = left / (count - at + 1) as u32;
        match timeout(part, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok((socket, address)),
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer"),
        }
    }
    Err(Failure::Connect(why))
}
