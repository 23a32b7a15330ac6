//! A small RTMP publisher over `rml_rtmp`'s client session, for a server that is trusted: our own.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
        PublishRequestType,
    },
    time::RtmpTimestamp,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::Kind;

/// How long the server may take from the connection to NetStream.Publish.Start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What one read takes at the most: a server says little.
const READ_BYTES: usize = 4096;

/// The server refused to let us publish.
#[derive(Debug, thiserror::Error)]
#[error("the server refused the publish: {0}")]
pub struct Refused(
    /// The `code` of `onStatus`, or the description of a refused `connect`.
    pub String,
);

/// A connection on which the server has accepted the publish.
pub struct Publisher {
    socket: TcpStream,
    session: ClientSession,
    events: VecDeque<ClientSessionEvent>,
}

impl Publisher {
    /// Connects, shakes hands and publishes `stream_key` under `app`. A refusal is a [`Refused`] in the error.
    pub async fn connect(server: SocketAddr, app: &str, stream_key: &str) -> anyhow::Result<Self> {
        let publish = Self::connect_unbounded(server, app, stream_key, None);
        timeout(CONNECT_TIMEOUT, publish).await.context("no answer in time")?
    }

    /// The same with this `connect` in chunks, which says what the library does not know of.
    pub async fn connect_by(
        connect: &[u8],
        server: SocketAddr,
        app: &str,
        stream_key: &str,
    ) -> anyhow::Result<Self> {
        let publish = Self::connect_unbounded(server, app, stream_key, Some(connect));
        timeout(CONNECT_TIMEOUT, publish).await.context("no answer in time")?
    }

    async fn connect_unbounded(
        server: SocketAddr,
        app: &str,
        stream_key: &str,
        own_connect: Option<&[u8]>,
    ) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(server).await.context("connect")?;
        socket.set_nodelay(true)?;
        let early = shake_hands(&mut socket).await.context("handshake")?;
        let mut config = ClientSessionConfig::new();
        config.flash_version = concat!("rtmp2rtsp-demo/", env!("CARGO_PKG_VERSION")).into();
        config.tc_url = Some(format!("rtmp://{server}/{app}"));
        let (session, results) = ClientSession::new(config)?;
        let mut publisher = Self { socket, session, events: VecDeque::new() };
        publisher.carry_out(results).await?;
        let results = publisher.session.handle_input(&early)?;
        publisher.carry_out(results).await?;

        let connect = publisher.session.request_connection(app.to_owned())?;
        match own_connect {
            Some(own) => publisher.socket.write_all(own).await?,
            None => publisher.carry_out([connect]).await?,
        }
        publisher.await_answer(&ClientSessionEvent::ConnectionRequestAccepted).await?;
        let publish = publisher
            .session
            .request_publishing(stream_key.to_owned(), PublishRequestType::Live)?;
        publisher.carry_out([publish]).await?;
        publisher.await_answer(&ClientSessionEvent::PublishRequestAccepted).await?;
        Ok(publisher)
    }

    /// Sends the body of one FLV tag.
    pub async fn send(&mut self, kind: Kind, body: Bytes, timestamp_ms: u32) -> anyhow::Result<()> {
        let timestamp = RtmpTimestamp::new(timestamp_ms);
        let result = match kind {
            Kind::Audio => self.session.publish_audio_data(body, timestamp, false)?,
            Kind::Video => self.session.publish_video_data(body, timestamp, false)?,
        };
        self.carry_out([result]).await
    }

    /// Waits until the server says something, or ends. May be dropped at any time.
    pub async fn readable(&self) -> anyhow::Result<()> {
        Ok(self.socket.readable().await?)
    }

    /// Reads what the server says and answers it; an error when it ends the publish or the connection.
    pub async fn listen(&mut self) -> anyhow::Result<()> {
        match self.hear().await?.first() {
            Some(code) => bail!("the server ended the publish: {code}"),
            None => Ok(()),
        }
    }

    /// Reads what the server says and answers it: each `code` of `onStatus` that does not tell of a success.
    pub async fn hear(&mut self) -> anyhow::Result<Vec<String>> {
        self.read().await?;
        let codes = self.events.drain(..).filter_map(|event| match event {
            ClientSessionEvent::UnhandleableOnStatusCode { code } => Some(code),
            _ => None,
        });
        Ok(codes.collect())
    }

    async fn await_answer(&mut self, wanted: &ClientSessionEvent) -> anyhow::Result<()> {
        loop {
            match self.events.pop_front() {
                Some(event) if event == *wanted => return Ok(()),
                Some(ClientSessionEvent::ConnectionRequestRejected { description }) => {
                    return Err(Refused(description).into());
                }
                Some(ClientSessionEvent::UnhandleableOnStatusCode { code }) => {
                    return Err(Refused(code).into());
                }
                Some(_) => {}
                None => self.read().await?,
            }
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; READ_BYTES];
        let read = self.socket.read(&mut buffer).await?;
        if read == 0 {
            bail!("the server ended the connection");
        }
        let results = self.session.handle_input(&buffer[..read])?;
        self.carry_out(results).await
    }

    async fn carry_out(
        &mut self,
        results: impl IntoIterator<Item = ClientSessionResult>,
    ) -> anyhow::Result<()> {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    self.socket.write_all(&packet.bytes).await?;
                }
                ClientSessionResult::RaisedEvent(event) => self.events.push_back(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(())
    }
}

/// The client's side of the handshake; gives what the server sent after its own.
async fn shake_hands(socket: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut handshake = Handshake::new(PeerType::Client);
    socket.write_all(&handshake.generate_outbound_p0_and_p1()?).await?;
    loop {
        let mut buffer = [0; READ_BYTES];
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            bail!("the server ended the connection");
        }
        match handshake.process_bytes(&buffer[..read])? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                socket.write_all(&response_bytes).await?;
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                socket.write_all(&response_bytes).await?;
                return Ok(remaining_bytes);
            }
        }
    }
}
