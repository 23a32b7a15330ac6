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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// An address at which nobody listens.
    async fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let addresses = vec![closed().await, open, closed().await];
        let (socket, peer) = first_of(addresses, soon()).await.unwrap();
        assert_eq!((peer, socket.peer_addr().unwrap()), (open, open));
    }

    #[tokio::test]
    async fn where_none_answers_the_last_one_says_why() {
        let (first, last) = (closed().await, closed().await);
        let Err(Failure::Connect(why)) = first_of(vec![first, last], soon()).await else {
            panic!("it connected")
        };
        assert!(why.starts_with(&format!("{last}: ")) && why.contains("refused"), "{why}");
        let none = first_of(vec![], soon()).await.err();
        assert_eq!(none, Some(Failure::Connect("the name has no address".to_owned())));
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_not_found() {
        // RFC 6761, 6.4: no name below `invalid` exists.
        let url = RtmpUrl::parse("rtmp://host.invalid/live/a").unwrap();
        let trust = Trust::read("").unwrap();
        let failure = trust.connect(&url, Duration::from_secs(60)).await.err();
        assert!(matches!(failure, Some(Failure::Resolve(_))), "{failure:?}");
    }
}
