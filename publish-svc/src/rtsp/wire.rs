//! How the bytes of an RTSP connection travel: as they are, through a pair of HTTP requests, or through a WebSocket.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::{Buf as _, Bytes, BytesMut};
use media::rtsp::tunnel::{
    Base64Reader, NotBase64, WebSocketError, WebSocketReader, close_frame, messages,
};
use smallvec::SmallVec;
use tokio::{
    io::AsyncReadExt as _,
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};

use super::{Place, Shared};

/// Buffers that one write takes; what a wake-up makes is one or a few.
const MAX_SLICES: usize = 16;
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

/// What waits to be written.
#[derive(Default)]
pub(super) struct Output {
    waiting: VecDeque<Bytes>,
    framing: Framing,
}

/// How what is said is framed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Framing {
    #[default]
    Plain,
    WebSocket,
    /// A WebSocket that was closed: nothing more may be said.
    Closed,
}

impl Output {
    /// Of a plain connection or of a tunnel.
    pub(super) fn plain() -> Self {
        Self::default()
    }

    /// Of a WebSocket.
    pub(super) fn websocket() -> Self {
        Self { framing: Framing::WebSocket, ..Self::default() }
    }

    /// Adds a response, or whole interleaved frames.
    pub(super) fn push(&mut self, rtsp: Bytes) {
        match self.framing {
            // An empty one could not be told from a connection that takes nothing more.
            _ if rtsp.is_empty() => {}
            Framing::Plain => self.waiting.push_back(rtsp),
            Framing::WebSocket => {
                let mut framed = BytesMut::new();
                messages(&rtsp, &mut framed);
                self.waiting.push_back(framed.freeze());
            }
            Framing::Closed => {}
        }
    }

    /// Adds bytes as they are.
    pub(super) fn push_raw(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.waiting.push_back(bytes);
        }
    }

    /// Says, where there is a way to, that nothing more comes.
    pub(super) fn close(&mut self, why: WebSocketError) {
        if self.framing == Framing::WebSocket {
            self.waiting.push_back(close_frame(why));
            self.framing = Framing::Closed;
        }
    }

    /// Writes of what waits what one call takes.
    pub(super) fn write(&self, socket: &OwnedWriteHalf) -> io::Result<usize> {
        match (self.waiting.len(), self.waiting.front()) {
            // The rule; and cheaper than the same by a list of buffers.
            (1, Some(bytes)) => socket.try_write(bytes),
            _ => {
                let slices = self.waiting.iter().take(MAX_SLICES).map(|bytes| IoSlice::new(bytes));
                socket.try_write_vectored(&slices.collect::<SmallVec<[_; MAX_SLICES]>>())
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes off what was written.
    pub(super) fn written(&mut self, mut bytes: usize) {
        while let Some(front) = self.waiting.front_mut() {
            let taken = bytes.min(front.len());
            front.advance(taken);
            bytes -= taken;
            if !front.is_empty() {
                return;
            }
            self.waiting.pop_front();
        }
    }
}
