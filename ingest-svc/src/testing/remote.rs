//! An RTMP server that plays, on one connection, written with `rml_rtmp`.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use rml_rtmp::{
    chunk_io::Packet,
    handshake::{Handshake, PeerType},
    sessions::{ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult},
    time::RtmpTimestamp,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct TestRemote<S> {
    stream: S,
    session: ServerSession,
    events: VecDeque<ServerSessionEvent>,
    /// App and stream name that were asked for.
    pub(crate) asked: (String, String),
    request: u32,
    stream_id: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TestRemote<S> {
    /// Shakes hands and goes on to what the client asks to be played.
    pub(crate) async fn accept(mut stream: S) -> Self {
        let rest = super::publisher::finish(Handshake::new(PeerType::Server), &mut stream).await;
        let (session, results) = ServerSession::new(ServerSessionConfig::new()).unwrap();
        let asked = Default::default();
        let events = VecDeque::new();
        let mut this = Self { stream, session, events, asked, request: 0, stream_id: 0 };
        this.take(results).await;
        let results = this.session.handle_input(&rest).unwrap();
        this.take(results).await;
        loop {
            match this.event().await.expect("closed before it played") {
                ServerSessionEvent::ConnectionRequested { request_id, .. } => {
                    let results = this.session.accept_request(request_id).unwrap();
                    this.take(results).await;
                }
                ServerSessionEvent::PlayStreamRequested {
                    request_id,
                    app_name,
                    stream_key,
                    stream_id,
                    ..
                } => {
                    (this.request, this.stream_id) = (request_id, stream_id);
                    this.asked = (app_name, stream_key);
                    return this;
                }
                _ => {}
            }
        }
    }

    /// Plays.
    pub(crate) async fn play(&mut self) {
        let results = self.session.accept_request(self.request).unwrap();
        self.take(results).await;
    }

    /// Does not play.
    pub(crate) async fn refuse(&mut self, code: &str, description: &str) {
        let results = self.session.reject_request(self.request, code, description).unwrap();
        self.take(results).await;
    }

    /// Sends a video tag.
    pub(crate) async fn video(&mut self, ms: u32, tag: Bytes) {
        let at = RtmpTimestamp::new(ms);
        let packet = self.session.send_video_data(self.stream_id, tag, at, false).unwrap();
        self.send(packet).await;
    }

    /// Sends an audio tag.
    pub(crate) async fn audio(&mut self, ms: u32, tag: Bytes) {
        let at = RtmpTimestamp::new(ms);
        let packet = self.session.send_audio_data(self.stream_id, tag, at, false).unwrap();
        self.send(packet).await;
    }

    /// Ends the stream, not the connection.
    pub(crate) async fn finish(&mut self) {
        let packet = self.session.finish_playing(self.stream_id).unwrap();
        self.send(packet).await;
    }

    /// The connection, to say on it what no session says.
    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    /// Waits until the client has ended the stream (by deleteStream), or the connection.
    pub(crate) async fn ended(&mut self) -> bool {
        loop {
            match self.event().await {
                Some(ServerSessionEvent::PlayStreamFinished { .. }) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// The next event; `None` when the connection is closed.
    async fn event(&mut self) -> Option<ServerSessionEvent> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            match read.expect("the client says nothing") {
                Ok(0) | Err(_) => return None,
                Ok(n) => {
                    let results = self.session.handle_input(&buffer[..n]).unwrap();
                    self.take(results).await;
                }
            }
        }
    }

    async fn take(&mut self, results: Vec<ServerSessionResult>) {
        for result in results {
            match result {
                ServerSessionResult::OutboundResponse(packet) => self.send(packet).await,
                ServerSessionResult::RaisedEvent(event) => self.events.push_back(event),
                ServerSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
    }

    async fn send(&mut self, packet: Packet) {
        // The client may be gone, which is what the test then looks at.
        let _ = self.stream.write_all(&packet.bytes).await;
    }
}
