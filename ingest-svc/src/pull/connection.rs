//! One connection to a remote server: a socket and a [`ClientSession`].
//!
//! Nothing here has a task of its own, as in [`crate::rtmp`]: what is half-written stays in the connection, so that each wait may be
//! cancelled.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::{Buf, BytesMut};
use media::rtmp::{
    ClientConfig, ClientEvent, ClientSession, MediaMessage, MediaMessageKind, RtmpUrl,
};
use svc_core::{alarm::Alarm, config::RtmpConfig};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::info;

use super::{
    Failure,
    connect::{Connect, Socket},
};
use crate::input::Input;

/// What may wait to be sent: answers are some ten bytes each, so this is a server that pings thousands of times without reading.
const MAX_OUTGOING_BYTES: usize = 64 << 10;
/// How long a last word may take to be sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the pull is told of its connection.
#[derive(Debug)]
pub(super) enum Told {
    /// The stream takes its media.
    Playing,
    /// It is closed.
    Ended(Failure),
}

/// What a connection is to be told to: both words that there are.
pub(super) const MAX_TOLD: usize = 2;

/// A server that plays for us. Whoever holds it drives it. Its drop closes it, tells the pull, and writes the one line that tells of it.
pub(crate) struct PulledConnection {
    socket: Box<dyn Socket>,
    session: ClientSession,
    input: Input,
    outgoing: BytesMut,
    /// Written to the socket, which may hold it back until it is flushed.
    unflushed: bool,
    url: Arc<RtmpUrl>,
    peer: SocketAddr,
    /// How long it may send no media.
    patience: Duration,
    media_at: Instant,
    silent: Alarm,
    connected_at: SystemTime,
    started: Instant,
    bytes_received: u64,
    /// What came before anybody took it: the first message.
    first: Option<MediaMessage>,
    told: mpsc::Sender<Told>,
    /// The stream takes its media.
    accepted: bool,
    /// Final, once it is set.
    gone: Option<Failure>,
}

impl PulledConnection {
    /// Connects to the server of `url`, and goes on to the first media of its stream.
    pub(super) async fn open(
        url: Arc<RtmpUrl>,
        connect: &dyn Connect,
        config: &RtmpConfig,
        told: mpsc::Sender<Told>,
    ) -> Result<Self, Failure> {
        let within = config.handshake_timeout;
        let playing = async {
            let (socket, peer) = connect.connect(&url, within).await?;
            let mut this = Self::new(socket, peer, url.clone(), config, told);
            match this.until_playing().await {
                Ok(()) => Ok(this),
                Err(failure) => Err(this.fail(failure)),
            }
        };
        let mut this = timeout(within, playing).await.unwrap_or(Err(Failure::Timeout(within)))?;
        this.media_at = Instant::now();
        match this.until_media().await {
            Ok(()) => Ok(this),
            Err(failure) => Err(this.fail(failure)),
        }
    }

    fn new(
        socket: Box<dyn Socket>,
        peer: SocketAddr,
        url: Arc<RtmpUrl>,
        config: &RtmpConfig,
        told: mpsc::Sender<Told>,
    ) -> Self {
        let now = Instant::now();
        let client = ClientConfig {
            max_media_message_bytes: config.max_message_bytes,
            ..ClientConfig::default()
        };
        Self {
            socket,
            session: ClientSession::new(client, RtmpUrl::clone(&url)),
            input: Input::default(),
            outgoing: BytesMut::new(),
            unflushed: false,
            url,
            peer,
            patience: config.idle_timeout,
            media_at: now,
            silent: Alarm::default(),
            connected_at: SystemTime::now(),
            started: now,
            bytes_received: 0,
            first: None,
            told,
            accepted: false,
            gone: None,
        }
    }

    /// Its address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The app that it was asked for.
    pub(crate) fn app(&self) -> &str {
        self.url.app()
    }

    /// When it connected.
    pub(crate) fn connected_at(&self) -> SystemTime {
        self.connected_at
    }

    /// Bytes received so far, under TLS those of RTMP.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// The stream takes its media from now on.
    pub(crate) fn accept(&mut self) {
        self.media_at = Instant::now();
        self.accepted = true;
        let _ = self.told.try_send(Told::Playing);
    }

    /// Says that no more is wanted, and closes. Bounded in time.
    pub(crate) async fn end(mut self, text: &str) {
        self.gone.get_or_insert(Failure::NotTaken(text.to_owned()));
        self.session.end();
        self.take_output();
        let last_words = async {
            self.socket.write_all_buf(&mut self.outgoing).await?;
            self.socket.shutdown().await
        };
        // Whether or not it hears them: it is closed.
        let _ = timeout(CLOSE_TIMEOUT, last_words).await;
    }

    /// Appends at least one media message to `batch`: all that one read of the socket brought. Cancel safe. Answers the server's
    /// control messages meanwhile. An error is final.
    pub(crate) async fn receive(&mut self, batch: &mut Vec<MediaMessage>) -> Result<(), Failure> {
        let before = batch.len();
        batch.extend(self.first.take());
        loop {
            self.process();
            while let Some(event) = self.session.poll_event() {
                match event {
                    ClientEvent::Media(message) => batch.push(message),
                    ClientEvent::Ended(why) => self.ended(Failure::of(&why, &self.url)),
                    ClientEvent::Playing => {}
                }
            }
            if batch.len() > before {
                self.media_at = Instant::now();
                return Ok(());
            }
            self.go_on().await?;
        }
    }

    async fn until_playing(&mut self) -> Result<(), Failure> {
        loop {
            self.process();
            match self.session.poll_event() {
                Some(ClientEvent::Playing) => return Ok(()),
                Some(ClientEvent::Ended(why)) => self.ended(Failure::of(&why, &self.url)),
                Some(ClientEvent::Media(_)) => {}
                None => self.go_on().await?,
            }
        }
    }

    /// To the first audio or video. Servers send data also for a stream that nobody publishes; it says nothing without media.
    async fn until_media(&mut self) -> Result<(), Failure> {
        loop {
            match self.session.poll_event() {
                Some(ClientEvent::Media(message)) if message.kind == MediaMessageKind::Data => {}
                Some(ClientEvent::Media(message)) => {
                    self.first = Some(message);
                    return Ok(());
                }
                Some(ClientEvent::Ended(why)) => self.ended(Failure::of(&why, &self.url)),
                Some(ClientEvent::Playing) => {}
                None => {
                    self.go_on().await?;
                    self.process();
                }
            }
        }
    }

    /// Waits for more, unless it is gone.
    async fn go_on(&mut self) -> Result<(), Failure> {
        if let Some(gone) = &self.gone {
            return Err(gone.clone());
        }
        if let Err(failure) = self.exchange().await {
            self.ended(failure);
        }
        Ok(())
    }

    /// Notes why it is closed; what came first counts.
    fn ended(&mut self, failure: Failure) {
        self.gone.get_or_insert(failure);
    }

    /// Notes why it is closed, for the line that tells of it.
    fn fail(&mut self, failure: Failure) -> Failure {
        self.gone.get_or_insert(failure).clone()
    }

    /// Runs the session over what has come.
    fn process(&mut self) {
        let result = self.input.take(|input| self.session.handle_input(input));
        self.take_output();
        if let Err(error) = result {
            self.ended(error.into());
        } else if self.outgoing.len() > MAX_OUTGOING_BYTES {
            let text = format!("more than {MAX_OUTGOING_BYTES} bytes of answers are unread");
            self.ended(Failure::Broken(text));
        }
    }

    fn take_output(&mut self) {
        while let Some(bytes) = self.session.poll_output() {
            self.outgoing.extend_from_slice(&bytes);
        }
    }

    /// Sends what is to be sent, until something has come. Cancel safe.
    async fn exchange(&mut self) -> Result<(), Failure> {
        poll_fn(|context| self.poll_exchange(context)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while !self.outgoing.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.outgoing) {
                Poll::Ready(Ok(written)) => {
                    self.outgoing.advance(written);
                    self.unflushed = true;
                }
                // What the server sent before it broke the connection is still to be read.
                Poll::Ready(Err(_)) => self.outgoing.clear(),
                Poll::Pending => break,
            }
        }
        if self.unflushed && Pin::new(&mut self.socket).poll_flush(cx).is_ready() {
            self.unflushed = false;
        }
        match self.input.poll_read(cx, &mut self.socket) {
            Poll::Ready(Ok(0)) => {
                let text = "the remote closed the connection".to_owned();
                Poll::Ready(Err(Failure::Ended(text)))
            }
            Poll::Ready(Ok(read)) => {
                self.bytes_received += read as u64;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(Failure::broken(&error))),
            Poll::Pending => self.poll_silence(cx),
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.silent.set(Some((self.media_at + self.patience).into_std()));
        self.silent.poll(cx).map(|()| Err(Failure::Silent(self.patience)))
    }
}

impl Drop for PulledConnection {
    fn drop(&mut self) {
        let closed = match self.accepted {
            true => "closed by this side",
            false => "given up before it was taken",
        };
        let why = self.gone.take().unwrap_or_else(|| Failure::NotTaken(closed.to_owned()));
        info!(
            source = %self.url,
            peer = %self.peer,
            %why,
            duration_s = self.started.elapsed().as_secs_f64(),
            bytes = self.bytes_received,
            "pulled RTMP connection closed"
        );
        let _ = self.told.try_send(Told::Ended(why));
    }
}
