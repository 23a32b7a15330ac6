//! One RTMP connection: a socket and a [`ServerSession`].
//!
//! Nothing here has a task of its own. All waiting is for the socket's readiness, and what is
//! half-written stays in the connection, so that each wait may be cancelled.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::{Buf, BytesMut};
use media::rtmp::{
    AdobeAuth, Event, MediaMessage, PublishRefusal, PublishRequest, RtmpError, ServerConfig,
    ServerSession,
};
use svc_core::{alarm::Alarm, config::RtmpConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Instant,
};
use tracing::info;

use crate::{input::Input, pull::Failure};

/// What may wait to be sent: answers are some hundred bytes each, so this is a peer that asks (or
/// pings) a few hundred times without reading once.
const MAX_OUTGOING_BYTES: usize = 64 << 10;
/// How long a last word may take to be sent, and the peer to close after it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// What a peer may still send after our last word before it is cut.
const MAX_DISCARDED_BYTES: usize = 4 << 20;
/// It is read in pieces of this size.
const DISCARDED_AT_ONCE: usize = 16 << 10;

/// Why a publisher went away.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum PublisherGone {
    /// It ended its publish or closed the connection.
    #[error("the publisher ended the stream")]
    Ended,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::ErrorKind),
    /// It sent nothing for `rtmp.idle_timeout`, or no publish within `rtmp.handshake_timeout`.
    #[error("silent for {0:?}")]
    Silent(Duration),
    /// It asks without reading the answers.
    #[error("more than {MAX_OUTGOING_BYTES} bytes of answers are unread")]
    NotReading,
    /// It broke the protocol.
    #[error("{0}")]
    Protocol(#[from] RtmpError),
    /// It is a server that a stream is pulled from, and failed or ended.
    #[error("{0}")]
    Pulled(#[from] Failure),
}

/// A connection whose peer has asked to publish. Whoever holds it drives it: no task of its own.
/// Dropping it closes it.
pub(crate) struct PublisherConnection {
    connection: Connection,
    request: PublishRequest,
}

impl PublisherConnection {
    pub(super) fn new(mut connection: Connection, request: PublishRequest) -> Self {
        connection.publish = Some((request.app.clone(), request.stream_key.clone()));
        connection.why = "closed by this side".to_owned();
        Self { connection, request }
    }

    /// What it asked for.
    pub(crate) fn request(&self) -> &PublishRequest {
        &self.request
    }

    /// Its address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    /// When it connected.
    pub(crate) fn connected_at(&self) -> SystemTime {
        self.connection.connected_at
    }

    /// Bytes received so far.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.connection.bytes_received
    }

    /// Lets it publish. What it is told is sent by the next `receive`.
    pub(crate) fn accept(&mut self) {
        self.connection.session.accept_publish(self.request.id);
        self.connection.last_byte = Instant::now();
    }

    /// Asks it to connect again; sent by the next `receive`. Whether it can.
    pub(crate) fn ask_to_reconnect(&mut self, text: &str) -> bool {
        self.connection.session.ask_to_reconnect(text)
    }

    /// Refuses it, says so to it, and closes. Bounded in time.
    pub(crate) async fn refuse(mut self, why: PublishRefusal, text: &str) {
        self.connection.session.refuse_publish(self.request.id, why, text);
        self.connection.why = format!("refused ({}): {text}", why.code());
        self.connection.close().await;
    }

    /// Ends its publish from our side and closes. Bounded in time.
    pub(crate) async fn end(mut self, text: &str) {
        self.connection.session.end_publish(text);
        self.connection.why = format!("ended by this side: {text}");
        self.connection.close().await;
    }

    /// Appends at least one media message to `batch`: all that one read of the socket brought.
    /// Cancel safe. Answers the peer's control messages meanwhile. An error is final.
    pub(crate) async fn receive(
        &mut self,
        batch: &mut Vec<MediaMessage>,
    ) -> Result<(), PublisherGone> {
        let before = batch.len();
        loop {
            self.connection.process();
            while let Some(event) = self.connection.session.poll_event() {
                match event {
                    Event::Media(message) => batch.push(message),
                    // One connection is one publish here: a further request ends with it.
                    Event::PublishEnded | Event::PublishRequested(_) => {
                        self.connection.gone.get_or_insert(PublisherGone::Ended);
                        break;
                    }
                }
            }
            if batch.len() > before {
                return Ok(());
            }
            if let Some(gone) = self.connection.gone.clone() {
                self.connection.close_as(&gone);
                return Err(gone);
            }
            if let Err(gone) = self.connection.exchange().await {
                self.connection.gone.get_or_insert(gone);
            }
        }
    }
}

/// A connection in any state. Its drop writes the one line that tells of it.
pub(super) struct Connection {
    socket: TcpStream,
    session: ServerSession,
    input: Input,
    outgoing: BytesMut,
    peer: SocketAddr,
    idle_timeout: Duration,
    connected_at: SystemTime,
    started: Instant,
    last_byte: Instant,
    silent: Alarm,
    pinged: bool,
    bytes_received: u64,
    /// App and stream key, once known.
    publish: Option<(String, String)>,
    /// Final, once it is set.
    gone: Option<PublisherGone>,
    why: String,
    /// Its place among `rtmp.max_connections`.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        config: &RtmpConfig,
        salt: u64,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        // Answers are small and awaited. That this fails says that the peer is gone: reading will tell.
        let _ = socket.set_nodelay(true);
        let now = Instant::now();
        let session = ServerSession::new(ServerConfig {
            chunk_size: config.chunk_size,
            max_media_message_bytes: config.max_message_bytes,
            // No rule needs a user yet, so that none is demanded.
            adobe: AdobeAuth { demanded: false, salt, opaque: rand::random() },
            ..ServerConfig::default()
        });
        Self {
            socket,
            session,
            input: Input::default(),
            outgoing: BytesMut::new(),
            peer,
            idle_timeout: config.idle_timeout,
            connected_at: SystemTime::now(),
            started: now,
            last_byte: now,
            silent: Alarm::default(),
            pinged: false,
            bytes_received: 0,
            publish: None,
            gone: None,
            why: "closed by this side before it asked to publish".to_owned(),
            _permit: permit,
        }
    }

    /// Goes on to the next publish request.
    pub(super) async fn next_request(&mut self) -> Result<PublishRequest, PublisherGone> {
        loop {
            self.process();
            while let Some(event) = self.session.poll_event() {
                match event {
                    Event::PublishRequested(request) => return Ok(*request),
                    Event::Media(_) | Event::PublishEnded => {}
                }
            }
            if let Some(gone) = &self.gone {
                return Err(gone.clone());
            }
            self.exchange().await?;
        }
    }

    /// Notes why it is closed, for the line that tells of it, and sends what fits of the last words.
    pub(super) fn close_as(&mut self, gone: &PublisherGone) {
        self.why = gone.to_string();
        self.take_output();
        let _ = self.socket.try_write(&self.outgoing);
        self.outgoing.clear();
    }

    /// Runs the session over what has come.
    fn process(&mut self) {
        let result = self.input.take(|input| self.session.handle_input(input));
        self.take_output();
        if let Err(e) = result {
            self.gone.get_or_insert(e.into());
        } else if self.outgoing.len() > MAX_OUTGOING_BYTES {
            self.gone.get_or_insert(PublisherGone::NotReading);
        }
    }

    fn take_output(&mut self) {
        while let Some(bytes) = self.session.poll_output() {
            self.outgoing.extend_from_slice(&bytes);
        }
    }

    /// Waits until the socket takes or gives bytes, once. Cancel safe.
    async fn exchange(&mut self) -> Result<(), PublisherGone> {
        std::future::poll_fn(|context| self.poll_exchange(context)).await
    }

    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PublisherGone>> {
        if !self.outgoing.is_empty() {
            match Pin::new(&mut self.socket).poll_write(context, &self.outgoing) {
                Poll::Ready(Ok(n)) => {
                    self.outgoing.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // What the peer sent before it broke the connection is still to be read.
                Poll::Ready(Err(_)) => self.outgoing.clear(),
                Poll::Pending => {}
            }
        }
        match self.poll_read(context) {
            Poll::Pending => self.poll_silence(context),
            read => read,
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PublisherGone>> {
        Poll::Ready(match ready!(self.input.poll_read(context, &mut self.socket)) {
            Ok(0) => Err(PublisherGone::Ended),
            Ok(n) => {
                self.bytes_received += n as u64;
                self.last_byte = Instant::now();
                self.pinged = false;
                Ok(())
            }
            Err(e) => Err(PublisherGone::Broken(e.kind())),
        })
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PublisherGone>> {
        let silence = if self.pinged { self.idle_timeout } else { self.idle_timeout / 2 };
        self.silent.set(Some((self.last_byte + silence).into_std()));
        ready!(self.silent.poll(context));
        if self.pinged {
            return Poll::Ready(Err(PublisherGone::Silent(self.idle_timeout)));
        }
        self.pinged = true;
        self.session.ping(self.started.elapsed().as_millis() as u32);
        Poll::Ready(Ok(()))
    }

    /// Sends the last words, and waits for the peer to close: closing with unread input would reset
    /// the connection, and the peer might lose them.
    async fn close(mut self) {
        self.take_output();
        let last_words = async {
            self.socket.write_all_buf(&mut self.outgoing).await?;
            self.socket.shutdown().await?;
            let (mut discarded, mut buffer) = (0, vec![0; DISCARDED_AT_ONCE]);
            while discarded < MAX_DISCARDED_BYTES {
                match self.socket.read(&mut buffer).await? {
                    0 => break,
                    n => discarded += n,
                }
            }
            Ok::<(), io::Error>(())
        };
        // Whether or not it hears them: it is closed.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, last_words).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (app, stream) = match &self.publish {
            Some((app, stream)) => (Some(app.as_str()), Some(stream.as_str())),
            None => (None, None),
        };
        info!(
            peer = %self.peer,
            app,
            stream,
            why = self.why,
            duration_s = self.started.elapsed().as_secs_f64(),
            bytes = self.bytes_received,
            "RTMP connection closed"
        );
    }
}
