//! An RTMP publisher over a real connection, written with `rml_rtmp`.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::Bytes;
use rml_amf0::Amf0Value;
use rml_rtmp::{
    chunk_io::ChunkSerializer,
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    messages::{MessagePayload, RtmpMessage},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
        PublishRequestType, StreamMetadata,
    },
    time::RtmpTimestamp,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct TestPublisher {
    stream: TcpStream,
    session: ClientSession,
    events: VecDeque<ClientSessionEvent>,
}

impl TestPublisher {
    /// Connects and asks to publish; the `onStatus` code of a refusal.
    pub(crate) async fn publish(to: SocketAddr, key: &str) -> Result<Self, String> {
        Self::publish_with(to, key, None).await
    }

    /// The same of a client that says what it can in `capsEx`.
    pub(crate) async fn publish_with(
        to: SocketAddr,
        key: &str,
        capabilities: Option<u32>,
    ) -> Result<Self, String> {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let rest = shake_hands(&mut stream).await;
        let (session, results) = ClientSession::new(ClientSessionConfig::new()).unwrap();
        let mut this = Self { stream, session, events: VecDeque::new() };
        this.take(results).await;
        let results = this.session.handle_input(&rest).unwrap();
        this.take(results).await;
        let result = this.session.request_connection("live".into()).unwrap();
        match capabilities {
            // The library does not know of them: what it would say is said with them.
            Some(capabilities) => this.stream.write_all(&connect(capabilities)).await.unwrap(),
            None => this.take(vec![result]).await,
        }
        assert_eq!(this.event().await, Some(ClientSessionEvent::ConnectionRequestAccepted));
        let how = PublishRequestType::Live;
        let result = this.session.request_publishing(key.into(), how).unwrap();
        this.take(vec![result]).await;
        loop {
            match this.event().await {
                Some(ClientSessionEvent::PublishRequestAccepted) => return Ok(this),
                Some(ClientSessionEvent::UnhandleableOnStatusCode { code }) => return Err(code),
                Some(_) => {}
                None => return Err("closed".into()),
            }
        }
    }

    /// Its address.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends a video tag.
    pub(crate) async fn video(&mut self, ms: u32, tag: Bytes) {
        let result = self.session.publish_video_data(tag, RtmpTimestamp::new(ms), false);
        self.take(vec![result.unwrap()]).await;
    }

    /// Sends an audio tag.
    pub(crate) async fn audio(&mut self, ms: u32, tag: Bytes) {
        let result = self.session.publish_audio_data(tag, RtmpTimestamp::new(ms), false);
        self.take(vec![result.unwrap()]).await;
    }

    /// Sends onMetaData.
    pub(crate) async fn metadata(&mut self, metadata: &StreamMetadata) {
        let result = self.session.publish_metadata(metadata);
        self.take(vec![result.unwrap()]).await;
    }

    /// The next `onStatus` code.
    pub(crate) async fn next_status(&mut self) -> Option<String> {
        loop {
            if let ClientSessionEvent::UnhandleableOnStatusCode { code } = self.event().await? {
                return Some(code);
            }
        }
    }

    /// Waits until the server has ended the publish: its `onStatus` codes until then.
    pub(crate) async fn ended(mut self) -> Vec<String> {
        let mut codes = vec![];
        while let Some(event) = self.event().await {
            if let ClientSessionEvent::UnhandleableOnStatusCode { code } = event {
                codes.push(code);
            }
        }
        codes
    }

    /// The next event; `None` when the connection is closed.
    async fn event(&mut self) -> Option<ClientSessionEvent> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            match read.expect("the server says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(n) => {
                    let results = self.session.handle_input(&buffer[..n]).unwrap();
                    self.take(results).await;
                }
            }
        }
    }

    async fn take(&mut self, results: Vec<ClientSessionResult>) {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    self.stream.write_all(&packet.bytes).await.unwrap();
                }
                ClientSessionResult::RaisedEvent(event) => self.events.push_back(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
    }
}

/// `connect` of a client with `capsEx`.
fn connect(capabilities: u32) -> Vec<u8> {
    let text = |text: &str| Amf0Value::Utf8String(text.to_owned());
    let properties = [
        ("app", text("live")),
        ("tcUrl", text("rtmp://localhost/live")),
        ("flashVer", text("test")),
        ("capsEx", Amf0Value::Number(capabilities.into())),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value));
    let message = RtmpMessage::Amf0Command {
        command_name: "connect".to_owned(),
        transaction_id: 1.0,
        command_object: Amf0Value::Object(properties.into()),
        additional_arguments: vec![],
    };
    let payload = MessagePayload::from_rtmp_message(message, RtmpTimestamp::new(0), 0).unwrap();
    ChunkSerializer::new().serialize(&payload, true, false).unwrap().bytes
}

/// The client's handshake; what came behind it.
async fn shake_hands(stream: &mut TcpStream) -> Vec<u8> {
    let mut handshake = Handshake::new(PeerType::Client);
    let c0_and_c1 = handshake.generate_outbound_p0_and_p1().unwrap();
    stream.write_all(&c0_and_c1).await.unwrap();
    finish(handshake, stream).await
}

/// Goes on with a handshake of either side to its end; what came behind it.
pub(super) async fn finish<S>(mut handshake: Handshake, stream: &mut S) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = [0; 4096];
    loop {
        let n = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(n, 0, "closed within the handshake");
        match handshake.process_bytes(&buffer[..n]).unwrap() {
            HandshakeProcessResult::InProgress { response_bytes } => {
                stream.write_all(&response_bytes).await.unwrap();
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                stream.write_all(&response_bytes).await.unwrap();
                return remaining_bytes;
            }
        }
    }
}
