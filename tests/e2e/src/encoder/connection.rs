//! A publisher's connection by `rml_rtmp`, which says in `connect` that it can be asked to reconnect.

use std::{collections::VecDeque, net::SocketAddr};

use anyhow::bail;
use bytes::Bytes;
use gateway::demo::Kind;
use rml_amf0::Amf0Value;
use rml_rtmp::{
    chunk_io::ChunkSerializer,
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    messages::{MessagePayload, RtmpMessage},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
        PublishRequestType,
    },
    time::RtmpTimestamp,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// `capsEx`: it can be asked to reconnect.
const RECONNECTS: f64 = 1.0;
/// What it is asked by.
const RECONNECT_REQUEST: &str = "NetConnection.Connect.ReconnectRequest";

/// A connection on which the server has accepted the publish.
pub(super) struct Connection {
    socket: TcpStream,
    session: ClientSession,
    events: VecDeque<ClientSessionEvent>,
}

impl Connection {
    pub(super) async fn open(server: SocketAddr, app: &str, key: &str) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let early = shake_hands(&mut socket).await?;
        let (session, results) = ClientSession::new(ClientSessionConfig::new())?;
        let mut connection = Self { socket, session, events: VecDeque::new() };
        connection.carry_out(results).await?;
        let results = connection.session.handle_input(&early)?;
        connection.carry_out(results).await?;
        // The library knows nothing of `capsEx`: what it would say is said with it.
        connection.session.request_connection(app.to_owned())?;
        connection.socket.write_all(&connect(app)?).await?;
        connection.answer(&ClientSessionEvent::ConnectionRequestAccepted).await?;
        let publish =
            connection.session.request_publishing(key.to_owned(), PublishRequestType::Live)?;
        connection.carry_out([publish]).await?;
        connection.answer(&ClientSessionEvent::PublishRequestAccepted).await?;
        Ok(connection)
    }

    /// Sends the body of one FLV tag.
    pub(super) async fn send(
        &mut self,
        kind: Kind,
        body: Bytes,
        timestamp_ms: u32,
    ) -> anyhow::Result<()> {
        let timestamp = RtmpTimestamp::new(timestamp_ms);
        let result = match kind {
            Kind::Audio => self.session.publish_audio_data(body, timestamp, false)?,
            Kind::Video => self.session.publish_video_data(body, timestamp, false)?,
        };
        self.carry_out([result]).await
    }

    /// Waits until the server says something, or ends. May be dropped at any time.
    pub(super) async fn readable(&self) -> anyhow::Result<()> {
        Ok(self.socket.readable().await?)
    }

    /// Reads what the server says. Whether it asks to reconnect; an error when it ends the publish or the connection.
    pub(super) async fn listen(&mut self) -> anyhow::Result<bool> {
        self.read().await?;
        let mut asked = false;
        while let Some(event) = self.events.pop_front() {
            if let ClientSessionEvent::UnhandleableOnStatusCode { code } = event {
                if code != RECONNECT_REQUEST {
                    bail!("the server ended the publish: {code}");
                }
                asked = true;
            }
        }
        Ok(asked)
    }

    async fn answer(&mut self, wanted: &ClientSessionEvent) -> anyhow::Result<()> {
        loop {
            match self.events.pop_front() {
                Some(event) if event == *wanted => return Ok(()),
                Some(ClientSessionEvent::UnhandleableOnStatusCode { code }) => bail!("{code}"),
                Some(_) => {}
                None => self.read().await?,
            }
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
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

fn connect(app: &str) -> anyhow::Result<Vec<u8>> {
    let text = |text: &str| Amf0Value::Utf8String(text.to_owned());
    let properties = [
        ("app", text(app)),
        ("tcUrl", text(&format!("rtmp://localhost/{app}"))),
        ("flashVer", text("encoder")),
        ("capsEx", Amf0Value::Number(RECONNECTS)),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value));
    let message = RtmpMessage::Amf0Command {
        command_name: "connect".to_owned(),
        transaction_id: 1.0,
        command_object: Amf0Value::Object(properties.into()),
        additional_arguments: vec![],
    };
    let payload = MessagePayload::from_rtmp_message(message, RtmpTimestamp::new(0), 0)?;
    Ok(ChunkSerializer::new().serialize(&payload, true, false)?.bytes)
}

/// The client's side of the handshake; what the server sent behind its own.
async fn shake_hands(socket: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut handshake = Handshake::new(PeerType::Client);
    socket.write_all(&handshake.generate_outbound_p0_and_p1()?).await?;
    loop {
        let mut buffer = [0; 4096];
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
