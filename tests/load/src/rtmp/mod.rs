//! The publisher's side of RTMP: the dialog by `rml_rtmp`, then chunks that were laid out beforehand.

pub mod chunks;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
        PublishRequestType, StreamMetadata,
    },
    time::RtmpTimestamp,
};

use crate::{
    clip::{self, Kind},
    url::Url,
};

/// The chunk size of what is published: that of OBS.
pub const CHUNK_BYTES: usize = 4096;
/// How long the server may take for each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection on which the publish was accepted and the decoder configuration is sent.
pub struct Publish {
    /// The connection; not blocking.
    pub socket: TcpStream,
    /// The message stream, as it stands in chunk headers.
    pub message_stream: [u8; 4],
    session: ClientSession,
}

impl Publish {
    /// Connects, shakes hands, publishes.
    pub fn connect(url: &Url, clip: Kind) -> anyhow::Result<Self> {
        let mut socket = url.connect()?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let early = shake_hands(&mut socket).context("handshake")?;
        let (app, key) = url.path.split_once('/').context("the RTMP URL has no app and key")?;
        let mut config = ClientSessionConfig::new();
        config.chunk_size = CHUNK_BYTES as u32;
        config.tc_url = Some(format!("rtmp://{}/{app}", url.authority));
        let (session, results) = ClientSession::new(config)?;
        let mut publish = Self { socket, message_stream: [1, 0, 0, 0], session };
        publish.carry_out(results)?;
        publish.take(&early)?;
        let connect = publish.session.request_connection(app.to_owned())?;
        publish.ask(connect, &ClientSessionEvent::ConnectionRequestAccepted)?;
        let start = publish.session.request_publishing(key.to_owned(), PublishRequestType::Live)?;
        publish.ask(start, &ClientSessionEvent::PublishRequestAccepted)?;
        publish.send_headers(clip)?;
        publish.socket.set_nonblocking(true)?;
        Ok(publish)
    }

    /// Reads what the server has said and answers it; an error when it has ended the publish.
    pub fn listen(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => bail!("the server ended the connection"),
                Ok(read) => self.take(&buffer[..read])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
        }
    }

    fn send_headers(&mut self, clip: Kind) -> anyhow::Result<()> {
        let (width, height) = clip::picture_size(clip);
        let mut metadata = StreamMetadata::new();
        metadata.video_width = Some(width);
        metadata.video_height = Some(height);
        metadata.video_codec_id = Some(7);
        metadata.video_frame_rate = Some(30.0);
        let metadata = self.session.publish_metadata(&metadata)?;
        self.carry_out([metadata])?;
        let header = Bytes::from(clip::sequence_header(clip));
        let header = self.session.publish_video_data(header, RtmpTimestamp::new(0), false)?;
        if let ClientSessionResult::OutboundResponse(packet) = &header
            && packet.bytes.first().is_some_and(|byte| byte >> 6 == 0)
            && let Some(id) = packet.bytes.get(8..12)
        {
            // The first message of a chunk stream has its header whole: the message stream stands at its end.
            self.message_stream.copy_from_slice(id);
        }
        self.carry_out([header]).map(drop)
    }

    /// Asks, and waits for the answer.
    fn ask(
        &mut self,
        question: ClientSessionResult,
        wanted: &ClientSessionEvent,
    ) -> anyhow::Result<()> {
        self.carry_out([question])?;
        let mut buffer = [0; 4096];
        loop {
            let read = self.socket.read(&mut buffer).context("no answer")?;
            if read == 0 {
                bail!("the server ended the connection");
            }
            if self.take(&buffer[..read])?.contains(wanted) {
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<ClientSessionEvent>> {
        let results = self.session.handle_input(bytes)?;
        let events = self.carry_out(results)?;
        for event in &events {
            match event {
                ClientSessionEvent::ConnectionRequestRejected { description } => {
                    bail!("refused: {description}")
                }
                // Some servers say other things on the way to NetStream.Publish.Start.
                ClientSessionEvent::UnhandleableOnStatusCode { code }
                    if code.contains("Bad")
                        || code.contains("Failed")
                        || code.contains("Denied") =>
                {
                    bail!("refused: {code}")
                }
                _ => {}
            }
        }
        Ok(events)
    }

    fn carry_out(
        &mut self,
        results: impl IntoIterator<Item = ClientSessionResult>,
    ) -> anyhow::Result<Vec<ClientSessionEvent>> {
        let mut events = Vec::new();
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    self.socket.write_all(&packet.bytes)?;
                }
                ClientSessionResult::RaisedEvent(event) => events.push(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(events)
    }
}

/// The client's side of the handshake; gives what the server sent after its own.
fn shake_hands(socket: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut handshake = Handshake::new(PeerType::Client);
    socket.write_all(&handshake.generate_outbound_p0_and_p1()?)?;
    let mut buffer = [0; 4096];
    loop {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            bail!("the server ended the connection");
        }
        match handshake.process_bytes(&buffer[..read])? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                socket.write_all(&response_bytes)?;
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                socket.write_all(&response_bytes)?;
                return Ok(remaining_bytes);
            }
        }
    }
}
