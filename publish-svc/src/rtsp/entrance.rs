//! What a new connection is: RTSP, or HTTP that carries it.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use bytes::BytesMut;
use media::rtsp::tunnel::{
    HttpRefusal, HttpRequest, Opening, WebSocketReader, opening, take_request, tunnel_answer,
    websocket_answer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{
    Place, Shared,
    closed::Closed,
    connection::{Connection, LAST_WORDS},
    output::Output,
    wire::{Inbound, Post, READ_BYTES, Tunnel, Wire},
};

/// Bytes that the system takes of a connection before it can send them. It would take 4 MiB, which are 16 s of a stream of 2 Mbit/s: too old
/// when they are sent at last, and so long is a reader that takes nothing not seen to. A window that a link needs is not bounded by this.
#[cfg(target_os = "linux")]
const MAX_UNSENT: u32 = 256 << 10;

/// Room for what a client says at once: some requests of 200 bytes. A connection that plays keeps it.
const INPUT_BYTES: usize = 1024;

/// Serves a connection to its end, or gives it to the tunnel that it is half of.
pub(super) async fn serve(socket: TcpStream, peer: SocketAddr, shared: Arc<Shared>, place: Place) {
    match Entering::new(socket, peer, shared.clone(), place) {
        Ok(entering) => match entering.enter().await {
            Ok(wire) => Connection::new(wire, shared).run().await,
            Err(why) => {
                shared.metrics.close(why.label());
                tracing::info!(%peer, why = why.text(), "HTTP connection done");
            }
        },
        Err(error) => tracing::debug!(%error, "the connection broke at once"),
    }
}

/// A connection whose first lines are read.
struct Entering {
    peer: SocketAddr,
    local: SocketAddr,
    shared: Arc<Shared>,
    place: Place,
    began: Instant,
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
    input: BytesMut,
}

impl Entering {
    fn new(
        socket: TcpStream,
        peer: SocketAddr,
        shared: Arc<Shared>,
        place: Place,
    ) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        // Where the system knows no such bound, what waits for a slow reader gets older than it should, no more.
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(MAX_UNSENT) {
            tracing::debug!(%error, "the system's queue is not bounded");
        }
        let (local, began) = (socket.local_addr()?, Instant::now());
        let (reading, writing) = socket.into_split();
        let input = BytesMut::with_capacity(INPUT_BYTES);
        Ok(Self { peer, local, shared, place, began, reading, writing, input })
    }

    /// The connection that speaks RTSP; else why it is done.
    async fn enter(mut self) -> Result<Wire, Closed> {
        loop {
            match opening(&self.input) {
                Some(Opening::Rtsp) => return Ok(self.plain()),
                Some(Opening::Http) => break,
                None => {}
            }
            if self.read().await.is_err() {
                // Whatever it is, the connection finds it again, and says so.
                return Ok(self.plain());
            }
        }
        loop {
            match take_request(&mut self.input) {
                Ok(Some(request)) => return self.request(request).await,
                Ok(None) => self.read().await?,
                Err(refusal) => return self.refuse(refusal).await,
            }
        }
    }

    async fn read(&mut self) -> Result<(), Closed> {
        let patience = self.began + self.shared.config.session_timeout;
        tokio::select! {
            biased;
            () = self.shared.shutdown.draining().cancelled() => Err(Closed::ServerStops),
            read = self.reading.read_buf(&mut self.input) => match read {
                Ok(0) => Err(Closed::ByReader),
                Ok(_) => Ok(()),
                Err(_) => Err(Closed::Broken),
            },
            () = tokio::time::sleep_until(patience.into()) => Err(Closed::TimedOut),
        }
    }

    async fn request(self, request: HttpRequest) -> Result<Wire, Closed> {
        match request {
            HttpRequest::Get { cookie } => self.tunnel(cookie).await,
            HttpRequest::Post { cookie } => self.join(cookie).await,
            HttpRequest::WebSocket { key } => Ok(self.websocket(&key)),
        }
    }

    fn plain(self) -> Wire {
        Wire {
            peer: self.peer,
            local: self.local,
            began: self.began,
            input: self.input,
            inbound: Inbound::Plain(self.reading),
            output: Output::plain(),
            writing: self.writing,
            place: self.place,
        }
    }

    fn websocket(self, key: &str) -> Wire {
        let Self { peer, local, began, reading, writing, input, place, .. } = self;
        let mut output = Output::websocket();
        output.push_raw(websocket_answer(key));
        let inbound = Inbound::WebSocket {
            half: reading,
            reader: WebSocketReader::default(),
            // What stands behind the request is WebSocket already.
            raw: input,
        };
        let input = BytesMut::with_capacity(READ_BYTES);
        Wire { peer, local, began, input, inbound, output, writing, place }
    }

    async fn tunnel(self, cookie: String) -> Result<Wire, Closed> {
        let Self { peer, local, shared, place, began, reading, writing, .. } = self;
        let Some(tunnel) = Tunnel::open(&shared, peer, cookie, reading) else {
            return refuse(&shared, writing, HttpRefusal::Conflict).await;
        };
        let mut output = Output::plain();
        output.push_raw(tunnel_answer());
        let input = BytesMut::with_capacity(READ_BYTES);
        let inbound = Inbound::Tunnel(Box::new(tunnel));
        Ok(Wire { peer, local, began, input, inbound, output, writing, place })
    }

    async fn join(self, cookie: String) -> Result<Wire, Closed> {
        let Self { peer, shared, place, reading, writing, input, .. } = self;
        let post = Post { reading, writing, input, _place: place };
        match shared.tunnels.join(peer, cookie, post) {
            Ok(()) => Err(Closed::HandedOver),
            Err(post) => refuse(&shared, post.writing, HttpRefusal::NotFound).await,
        }
    }

    async fn refuse(self, refusal: HttpRefusal) -> Result<Wire, Closed> {
        refuse(&self.shared, self.writing, refusal).await
    }
}

async fn refuse(
    shared: &Shared,
    mut writing: OwnedWriteHalf,
    refusal: HttpRefusal,
) -> Result<Wire, Closed> {
    let answer = refusal.answer();
    shared.metrics.respond(super::connection::status_of(&answer));
    let write = async {
        writing.write_all(&answer).await?;
        writing.shutdown().await
    };
    let _ = tokio::time::timeout(LAST_WORDS, write).await;
    Err(Closed::Protocol)
}
