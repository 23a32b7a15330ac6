//! How the bytes of an RTSP connection travel: as they are, through a pair of HTTP requests, or through a WebSocket.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use media::rtsp::tunnel::{Base64Reader, NotBase64, WebSocketError, WebSocketReader};
use tokio::{
    io::AsyncReadExt as _,
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};

use super::{Place, Shared, output::Output};

/// Room for one read of a socket.
pub(super) const READ_BYTES: usize = 4096;

/// A connection that is to speak RTSP.
pub(super) struct Wire {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// When it was accepted.
    pub(super) began: Instant,
    /// What has been read of it already.
    pub(super) input: BytesMut,
    pub(super) inbound: Inbound,
    pub(super) output: Output,
    pub(super) writing: OwnedWriteHalf,
    pub(super) place: Place,
}

/// What a client says.
pub(super) enum Inbound {
    Plain(OwnedReadHalf),
    Tunnel(Box<Tunnel>),
    WebSocket { half: OwnedReadHalf, reader: WebSocketReader, raw: BytesMut },
}

/// What came in.
pub(super) enum Came {
    /// Bytes of RTSP, or none; and what is to be said back at once.
    Bytes(Bytes),
    /// The client has closed the connection.
    End,
}

/// Why nothing more can come in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Deaf {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    NotBase64(#[from] NotBase64),
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
}

impl Inbound {
    /// For logs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => "plain",
            Self::Tunnel(_) => "http",
            Self::WebSocket { .. } => "websocket",
        }
    }

    /// Reads on; what is said is appended to `input`. Cancel safe.
    pub(super) async fn read(&mut self, input: &mut BytesMut) -> Result<Came, Deaf> {
        match self {
            Self::Plain(half) => match half.read_buf(input).await? {
                0 => Ok(Came::End),
                _ => Ok(Came::Bytes(Bytes::new())),
            },
            Self::Tunnel(tunnel) => tunnel.read(input).await,
            Self::WebSocket { half, reader, raw } => {
                // What was read with the upgrade comes first.
                let mut answers = BytesMut::new();
                let before = input.len();
                reader.read(raw, input, &mut answers)?;
                if input.len() == before && answers.is_empty() {
                    raw.reserve(READ_BYTES);
                    if half.read_buf(raw).await? == 0 {
                        return Ok(Came::End);
                    }
                }
                Ok(Came::Bytes(answers.freeze()))
            }
        }
    }
}

/// What a client says through POSTs, one at a time; it is there for as long as its GET is.
pub(super) struct Tunnel {
    get: OwnedReadHalf,
    /// What comes on the GET has no meaning.
    ignored: BytesMut,
    post: Option<Post>,
    base64: Base64Reader,
    posts: mpsc::Receiver<Post>,
    name: TunnelName,
    shared: Arc<Shared>,
}

/// A tunnel's cookie, which is good for the address of its GET.
type TunnelName = (IpAddr, String);

/// The tunnels that are open; as many as there are connections at the most.
#[derive(Default)]
pub(super) struct Tunnels(Mutex<HashMap<TunnelName, mpsc::Sender<Post>>>);

/// The POST of a tunnel.
pub(super) struct Post {
    pub(super) reading: OwnedReadHalf,
    /// Nothing is said on it, but it must not be closed.
    pub(super) writing: OwnedWriteHalf,
    /// What has been read of its body.
    pub(super) input: BytesMut,
    pub(super) _place: Place,
}

impl Tunnel {
    /// A tunnel by its GET; `None`: the cookie has one already.
    pub(super) fn open(
        shared: &Arc<Shared>,
        peer: SocketAddr,
        cookie: String,
        get: OwnedReadHalf,
    ) -> Option<Self> {
        let name = (peer.ip(), cookie);
        let mut tunnels = shared.tunnels.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tunnels.contains_key(&name) {
            return None;
        }
        // One waits at the most; a client has one at a time.
        let (sender, posts) = mpsc::channel(1);
        tunnels.insert(name.clone(), sender);
        drop(tunnels);
        let (ignored, base64) = (BytesMut::with_capacity(READ_BYTES), Base64Reader::default());
        Some(Self { get, ignored, post: None, base64, posts, name, shared: shared.clone() })
    }

    async fn read(&mut self, input: &mut BytesMut) -> Result<Came, Deaf> {
        loop {
            let post = async {
                match &mut self.post {
                    Some(post) => post.reading.read_buf(&mut post.input).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                read = self.get.read_buf(&mut self.ignored) => {
                    if read? == 0 {
                        return Ok(Came::End);
                    }
                    self.ignored.clear();
                }
                Some(next) = self.posts.recv() => {
                    // The client has given the one before up.
                    self.post = Some(next);
                    self.base64 = Base64Reader::default();
                }
                read = post => {
                    if !matches!(read, Ok(1..)) {
                        // The client may make another.
                        self.post = None;
                    }
                }
            }
            if let Some(post) = &mut self.post
                && !post.input.is_empty()
            {
                self.base64.read(&mut post.input, input)?;
                return Ok(Came::Bytes(Bytes::new()));
            }
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let mut tunnels = self.shared.tunnels.0.lock().unwrap_or_else(PoisonError::into_inner);
        tunnels.remove(&self.name);
    }
}

impl Tunnels {
    /// Gives a POST to its tunnel; gives it back where there is none.
    pub(super) fn join(&self, peer: SocketAddr, cookie: String, post: Post) -> Result<(), Post> {
        let tunnels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tunnels.get(&(peer.ip(), cookie)) {
            Some(tunnel) => tunnel.try_send(post).map_err(|full| match full {
                mpsc::error::TrySendError::Full(post) | mpsc::error::TrySendError::Closed(post) => {
                    post
                }
            }),
            None => Err(post),
        }
    }
}
