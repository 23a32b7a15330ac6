//! The server side of one connection.
//!
//! | stage | what comes | what is done | next stage |
//! | --- | --- | --- | --- |
//! | handshake | C0, C1 (5.2.2, 5.2.3) | S0, S1, S2 | handshake |
//! | | C2 (5.2.4) | | unconnected |
//! | unconnected | `connect` (7.2.1.1) | Window Acknowledgement Size, Set Peer Bandwidth, Set Chunk Size, `_result` | connected |
//! | | `connect` of a client whose user is asked for (see `credentials.rs`) | `_error` NetConnection.Connect.Rejected | |
//! | | `createStream`, `publish` | error | closed |
//! | connected | `connect` | `_error` NetConnection.Connect.Rejected | |
//! | | `createStream` (7.2.1.3) | `_result` with the lowest free id, or `_error` from the 17th on | |
//! | | `releaseStream`, `FCPublish`, `getStreamLength`, `_checkbw` | `_result` where an answer is wanted; `onFCPublish` | |
//! | | `publish` (7.2.2.6), none yet | [`Event::PublishRequested`] | asking |
//! | | `publish` without a key | `onStatus` NetStream.Publish.Denied | |
//! | | `play` (7.2.2.1) | `onStatus` NetStream.Play.StreamNotFound | |
//! | | audio, video, data | dropped | |
//! | asking | anything | left in the input until we have answered | |
//! | | [`ServerSession::accept_publish`] | StreamBegin, `onStatus` NetStream.Publish.Start | publishing |
//! | | [`ServerSession::refuse_publish`] | `onStatus` BadName, Denied or Failed | connected |
//! | publishing | audio, video (7.1.4, 7.1.5), data (7.1.2), aggregates (7.1.6) | [`Event::Media`] | |
//! | | `publish` | `onStatus` NetStream.Publish.Failed | |
//! | | `FCUnpublish`, `deleteStream` (7.2.2.3), `closeStream` | [`Event::PublishEnded`] | connected |
//! | | [`ServerSession::end_publish`] | `onStatus` NetStream.Unpublish.Success, StreamEOF | connected |
//! | connected, asking, publishing | [`ServerSession::ask_to_reconnect`], where `capsEx` says that it can | `onStatus` NetConnection.Connect.ReconnectRequest | |
//! | any but handshake | Set Chunk Size, Abort, Window Acknowledgement Size (5.4) | done | |
//! | | ping request (7.1.7) | ping response | |
//! | | the acknowledgement window is full (5.4.3) | acknowledgement of all bytes so far | |
//! | | anything unknown | ignored | |
//! | | what breaks the protocol or a bound | error | closed |
//!
//! Media is taken on any message stream: one connection has one publish, and encoders are known that
//! number their message streams by themselves. Empty audio and video messages say nothing and are
//! dropped.

mod commands;
mod credentials;
mod path;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use self::commands::Connected;
pub(super) use self::credentials::decode;
pub use self::credentials::{AdobeAuth, AdobeResponse, Credentials};
use super::{
    RtmpError,
    acknowledge::Acknowledge,
    chunk::{ChunkReader, Message},
    handshake::{HANDSHAKE_BYTES, Handshake},
    message::{self, Incoming, MediaMessage},
    output::{Output, Status},
};

/// Bounds on what a peer can make us hold. The defaults are derived where they are declared.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The chunk size that we announce for what we send, 128 to 65536. Default 4096, as OBS has: all
    /// that we send fits into one chunk.
    pub chunk_size: u32,
    /// The window acknowledgement size that we ask of the peer, in bytes. Default 2,500,000: some
    /// 2 s of a 10 Mbit/s stream.
    pub window_ack_size: u32,
    /// The largest audio or video message, in bytes. Default 8 MiB: three times the keyframe of a
    /// 4K stream at its highest quality.
    pub max_media_message_bytes: usize,
    /// How clients are asked for their user. Default: they are not, and what they ask by themselves has no random answer.
    pub adobe: AdobeAuth,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            chunk_size: 4096,
            window_ack_size: 2_500_000,
            max_media_message_bytes: 8 << 20,
            adobe: AdobeAuth::default(),
        }
    }
}

/// The server side of one RTMP connection, sans-IO.
///
/// Feed it by [`handle_input`](Self::handle_input), then drain [`poll_output`](Self::poll_output) and
/// [`poll_event`](Self::poll_event) until they give `None`. After `accept_publish`, `refuse_publish`
/// and `end_publish` call `handle_input` again with what the input still holds, then drain.
pub struct ServerSession {
    config: ServerConfig,
    stage: Stage,
    chunks: ChunkReader,
    publish: Option<Publish>,
    last_request: u32,
    events: VecDeque<Event>,
    output: Output,
    acknowledge: Acknowledge,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a connection has one, and every connection begins with the handshake"
)]
enum Stage {
    Handshake(Handshake),
    Unconnected,
    Connected(Connected),
    Closed,
}

impl Stage {
    fn connected_mut(&mut self) -> Option<&mut Connected> {
        match self {
            Self::Connected(connected) => Some(connected),
            Self::Handshake(_) | Self::Unconnected | Self::Closed => None,
        }
    }
}

/// The one publish of a connection.
struct Publish {
    id: PublishRequestId,
    stream_id: u32,
    stream_key: String,
    accepted: bool,
}

/// What a publisher wants to publish.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// Names the request in the answer.
    pub id: PublishRequestId,
    /// The first segment of `connect`'s app, without its query.
    pub app: String,
    /// What follows the app: its further segments and the publishing name without its query, as the
    /// peer wrote it. Not empty, not validated.
    pub stream_key: String,
    /// The queries of tcUrl/app and publishing name, without `?`, joined by `&`; may hold secrets.
    pub query: String,
    /// What it gave to be known by, wherever it gave it; may hold secrets, which its `Debug` does not show.
    pub credentials: Credentials,
    /// flashVer of `connect`.
    pub user_agent: String,
}

impl std::fmt::Debug for PublishRequest {
    /// Leaves out the query.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishRequest")
            .field("id", &self.id)
            .field("app", &self.app)
            .field("stream_key", &self.stream_key)
            .field("credentials", &self.credentials)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

/// Names a publish request within its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PublishRequestId(pub u32);

/// Why a publisher is refused; each has its `onStatus` code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishRefusal {
    /// The key is being published by another: `NetStream.Publish.BadName`.
    BadName,
    /// The key is not allowed: `NetStream.Publish.Denied`.
    Denied,
    /// We cannot take it now: `NetStream.Publish.Failed`.
    Failed,
}

impl PublishRefusal {
    /// Its `onStatus` code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadName => "NetStream.Publish.BadName",
            Self::Denied => "NetStream.Publish.Denied",
            Self::Failed => "NetStream.Publish.Failed",
        }
    }
}

/// What a connection has to tell.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A publisher asks to publish; answer by [`ServerSession::accept_publish`] or
    /// [`ServerSession::refuse_publish`]. No further input is taken until then.
    PublishRequested(Box<PublishRequest>),
    /// Media of the accepted publish.
    Media(MediaMessage),
    /// The publisher ended its publish (FCUnpublish, deleteStream, closeStream); the connection stays.
    PublishEnded,
}

impl ServerSession {
    /// A session before its first byte.
    pub fn new(mut config: ServerConfig) -> Self {
        config.chunk_size = config.chunk_size.clamp(128, 65_536);
        Self {
            chunks: ChunkReader::new(config.max_media_message_bytes, HANDSHAKE_BYTES as u64),
            acknowledge: Acknowledge::new(config.window_ack_size),
            config,
            stage: Stage::Handshake(Handshake::server()),
            publish: None,
            last_request: 0,
            events: VecDeque::new(),
            output: Output::new(),
        }
    }

    /// Takes what has come from the peer; leaves in `input` what is not yet whole (less than one
    /// chunk header), and everything while a publish request waits for its answer. After an error
    /// the session takes no more; drain `poll_output` and `poll_event`, then close.
    pub fn handle_input(&mut self, input: &mut BytesMut) -> Result<(), RtmpError> {
        let result = self.take(input);
        if result.is_err() {
            self.stage = Stage::Closed;
            self.publish = None;
        }
        result
    }

    fn take(&mut self, input: &mut BytesMut) -> Result<(), RtmpError> {
        match &mut self.stage {
            Stage::Handshake(handshake) => {
                if !handshake.handle_input(input, &mut self.output.chunks)? {
                    return Ok(());
                }
                self.stage = Stage::Unconnected;
            }
            Stage::Unconnected | Stage::Connected(_) => {}
            Stage::Closed => {
                input.clear();
                return Ok(());
            }
        }
        while !self.is_asking()
            && let Some(message) = self.chunks.read(input)?
        {
            self.handle_message(message)?;
        }
        self.acknowledge.take(self.position(), &mut self.output);
        Ok(())
    }

    fn is_asking(&self) -> bool {
        self.publish.as_ref().is_some_and(|publish| !publish.accepted)
    }

    fn handle_message(&mut self, message: Message) -> Result<(), RtmpError> {
        let at = self.position();
        match message::parse(message, at)? {
            Incoming::SetChunkSize(size) => self.chunks.set_chunk_size(size)?,
            Incoming::Abort { chunk_stream_id } => self.chunks.abort(chunk_stream_id),
            Incoming::WindowAckSize(size) => self.acknowledge.set_window(size),
            Incoming::PingRequest { timestamp_ms } => self.output.ping_response(timestamp_ms),
            Incoming::Command(command) => self.handle_command(command)?,
            Incoming::Media(media) => self.handle_media(media),
            Incoming::Aggregate(aggregate) => {
                for media in message::split_aggregate(aggregate, at)? {
                    self.handle_media(media);
                }
            }
            // They are said to players.
            Incoming::StreamEof { .. } => {}
            Incoming::Nothing => {}
        }
        Ok(())
    }

    fn handle_media(&mut self, media: MediaMessage) {
        let publishing = self.publish.as_ref().is_some_and(|publish| publish.accepted);
        if publishing && !media.payload.is_empty() {
            self.events.push_back(Event::Media(media));
        }
    }

    /// Bytes taken since the first of the connection.
    fn position(&self) -> u64 {
        self.chunks.position()
    }

    /// Bytes to send.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.output.poll()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Lets a publisher in. Ids that do not wait for an answer do nothing.
    pub fn accept_publish(&mut self, id: PublishRequestId) {
        let Some(publish) = self.publish.as_mut().filter(|p| p.id == id && !p.accepted) else {
            return;
        };
        publish.accepted = true;
        self.output.stream_begin(publish.stream_id);
        let code = "NetStream.Publish.Start";
        let status = Status { level: "status", code, description: &publish.stream_key };
        self.output.status("onStatus", publish.stream_id, status);
    }

    /// Refuses a publisher, with a text for its user. Ids that do not wait for an answer do nothing.
    pub fn refuse_publish(&mut self, id: PublishRequestId, why: PublishRefusal, text: &str) {
        if let Some(publish) = self.publish.take_if(|p| p.id == id && !p.accepted) {
            let status = Status { level: "error", code: why.code(), description: text };
            self.output.status("onStatus", publish.stream_id, status);
        }
    }

    /// Ends an accepted publish from our side (StopStream, drain): `NetStream.Unpublish.Success`
    /// with a text.
    pub fn end_publish(&mut self, text: &str) {
        if let Some(publish) = self.publish.take_if(|p| p.accepted) {
            let code = "NetStream.Unpublish.Success";
            let status = Status { level: "status", code, description: text };
            self.output.status("onStatus", publish.stream_id, status);
            self.output.stream_eof(publish.stream_id);
        }
    }

    /// Asks the peer to connect again, to the same URL, and to leave this connection for that one: Reconnect Request of Enhanced RTMP v2. It
    /// goes on here until it does. Whether it is one that can.
    pub fn ask_to_reconnect(&mut self, text: &str) -> bool {
        let can = self.stage.connected_mut().is_some_and(|connected| connected.reconnects);
        if can {
            let code = "NetConnection.Connect.ReconnectRequest";
            let status = Status { level: "status", code, description: text };
            self.output.status("onStatus", 0, status);
        }
        can
    }

    /// Asks the peer for a sign of life (Ping Request); its answer is taken silently.
    pub fn ping(&mut self, timestamp_ms: u32) {
        match self.stage {
            Stage::Unconnected | Stage::Connected(_) => self.output.ping_request(timestamp_ms),
            // Nothing but the handshake can be said during it.
            Stage::Handshake(_) | Stage::Closed => {}
        }
    }
}

#[cfg(test)]
mod tests;
