//! The client side of one connection, which plays one live stream of a server.
//!
//! | stage | what comes | what is done | next stage |
//! | --- | --- | --- | --- |
//! | handshake | nothing yet | C0, C1 (5.2.2, 5.2.3) | handshake |
//! | | S0, S1 (5.2.3) | C2 (5.2.4) | handshake |
//! | | S2 (5.2.4) | Window Acknowledgement Size, `connect` (7.2.1.1) | connecting |
//! | connecting | `_result` | `createStream` (7.2.1.3) | creating |
//! | creating | `_result` | `play` (7.2.2.1), SetBufferLength (7.1.7) | starting |
//! | connecting, creating, starting | `_error` | [`PlayEnded::Rejected`], or [`PlayEnded::NotFound`] | closed |
//! | starting | `onStatus` NetStream.Play.Start, or audio or video | [`ClientEvent::Playing`] | playing |
//! | playing | audio, video (7.1.4, 7.1.5), data (7.1.2), aggregates (7.1.6) | [`ClientEvent::Media`] | |
//! | starting, playing | `onStatus` NetStream.Play.StreamNotFound | [`PlayEnded::NotFound`] | closed |
//! | | `onStatus` NetStream.Play.UnpublishNotify | [`PlayEnded::Unpublished`] | closed |
//! | | `onStatus` NetStream.Play.Stop, or Complete, also as `onPlayStatus` | [`PlayEnded::Stopped`] | closed |
//! | | Stream EOF (7.1.7) of our message stream | [`PlayEnded::StreamEof`] | closed |
//! | any but handshake | `onStatus` of level "error" | [`PlayEnded::Failed`] | closed |
//! | | `close` | [`PlayEnded::Closed`] | closed |
//! | | Set Chunk Size, Abort, Window Acknowledgement Size (5.4) | done | |
//! | | ping request (7.1.7) | ping response | |
//! | | the acknowledgement window is full (5.4.3) | acknowledgement of all bytes so far | |
//! | | anything else | ignored | |
//! | | what breaks the protocol or a bound | error | closed |
//! | any | [`ClientSession::end`] | `deleteStream` (7.2.2.3), where there is a stream | closed |
//!
//! A server ends by Stream EOF what its publisher ended (nginx-rtmp says nothing else by default): whether there will be
//! another is for a new connection to find out. Some servers never say Play.Start; their media says it for them.
//!
//! Left out on purpose: stored streams, the Flash Player's checks (SWF verification, `_checkbw`), FCSubscribe, Adobe's dialog of
//! user and password, Enhanced RTMP's reconnect request, an answer to Set Peer Bandwidth (5.4.5) beside the window that is said at first.

mod commands;

use std::{collections::VecDeque, fmt};

use bytes::{Bytes, BytesMut};

use super::{
    RtmpError, RtmpUrl,
    acknowledge::Acknowledge,
    chunk::ChunkReader,
    handshake::{HANDSHAKE_BYTES, Handshake},
    message::{self, Incoming, MediaMessage, MediaMessageKind},
    output::Output,
};

/// How much a server is told to keep for us, in milliseconds: what ffmpeg says. Live streams are sent as they come.
const BUFFER_MS: u32 = 3000;

/// Bounds on what a server can make us hold.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The window acknowledgement size that is asked of the server, and its own until it says one. Default 2,500,000, as
    /// ffmpeg has.
    pub window_ack_size: u32,
    /// The largest audio or video message, in bytes. Default 8 MiB, as the server side has.
    pub max_media_message_bytes: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { window_ack_size: 2_500_000, max_media_message_bytes: 8 << 20 }
    }
}

/// What a connection has to tell.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientEvent {
    /// The server plays: once, and before the first media.
    Playing,
    /// Media of the stream.
    Media(MediaMessage),
    /// The stream ended, or never began; nothing follows.
    Ended(PlayEnded),
}

/// Why a stream ended, or never began.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlayEnded {
    /// NetStream.Play.StreamNotFound.
    #[error("the remote has no such stream: {0}")]
    NotFound(Reason),
    /// NetStream.Play.UnpublishNotify.
    #[error("the remote's publisher ended the stream")]
    Unpublished,
    /// NetStream.Play.Stop, or Complete.
    #[error("the remote stopped playing")]
    Stopped,
    /// Stream EOF.
    #[error("the remote ended the stream")]
    StreamEof,
    /// `_error` in answer to `connect`, `createStream` or `play`.
    #[error("the remote refused: {0}")]
    Rejected(Reason),
    /// `onStatus` of level "error".
    #[error("the remote failed: {0}")]
    Failed(Reason),
    /// `close`.
    #[error("the remote closed the connection")]
    Closed,
}

/// What a server says of its reasons, cut to what a person reads. May repeat what it was asked, secrets included.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Reason {
    /// Such as NetConnection.Connect.Rejected; may be empty.
    pub code: String,
    /// May be empty.
    pub description: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.description.as_str()) {
            ("", "") => f.write_str("no reason given"),
            ("", only) | (only, "") => f.write_str(only),
            (code, description) => write!(f, "{code} ({description})"),
        }
    }
}

impl fmt::Debug for Reason {
    /// Leaves out the description.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reason").field("code", &self.code).finish_non_exhaustive()
    }
}

/// The client side of one RTMP connection, sans-IO.
///
/// Drain [`poll_output`](Self::poll_output) first, since the client speaks first. Then feed it by
/// [`handle_input`](Self::handle_input), and drain `poll_output` and [`poll_event`](Self::poll_event) until they give `None`.
pub struct ClientSession {
    window_ack_size: u32,
    url: RtmpUrl,
    stage: Stage,
    chunks: ChunkReader,
    acknowledge: Acknowledge,
    events: VecDeque<ClientEvent>,
    output: Output,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a connection has one, and every connection begins with the handshake"
)]
enum Stage {
    Handshake(Handshake),
    Connecting,
    Creating,
    Starting { stream_id: u32 },
    Playing { stream_id: u32 },
    Closed,
}

impl Stage {
    fn stream_id(&self) -> Option<u32> {
        match self {
            Self::Starting { stream_id } | Self::Playing { stream_id } => Some(*stream_id),
            Self::Handshake(_) | Self::Connecting | Self::Creating | Self::Closed => None,
        }
    }
}

impl ClientSession {
    /// A session that plays what `url` names.
    pub fn new(config: ClientConfig, url: RtmpUrl) -> Self {
        let mut output = Output::new();
        Self {
            window_ack_size: config.window_ack_size,
            url,
            stage: Stage::Handshake(Handshake::client(&mut output.chunks)),
            chunks: ChunkReader::new(config.max_media_message_bytes, HANDSHAKE_BYTES as u64),
            acknowledge: Acknowledge::new(config.window_ack_size),
            events: VecDeque::new(),
            output,
        }
    }

    /// Takes what has come from the server; leaves in `input` what is not yet whole (less than one chunk header). After an error,
    /// or the end of the stream, the session takes no more; drain `poll_output` and `poll_event`, then close.
    pub fn handle_input(&mut self, input: &mut BytesMut) -> Result<(), RtmpError> {
        let result = self.take(input);
        if result.is_err() {
            self.stage = Stage::Closed;
        }
        if matches!(self.stage, Stage::Closed) {
            input.clear();
        }
        result
    }

    fn take(&mut self, input: &mut BytesMut) -> Result<(), RtmpError> {
        if let Stage::Handshake(handshake) = &mut self.stage {
            if !handshake.handle_input(input, &mut self.output.chunks)? {
                return Ok(());
            }
            self.connect();
        }
        while !matches!(self.stage, Stage::Closed)
            && let Some(message) = self.chunks.read(input)?
        {
            let incoming = message::parse(message, self.chunks.position())?;
            self.handle_incoming(incoming)?;
        }
        self.acknowledge.take(self.chunks.position(), &mut self.output);
        Ok(())
    }

    fn handle_incoming(&mut self, incoming: Incoming) -> Result<(), RtmpError> {
        match incoming {
            Incoming::SetChunkSize(size) => self.chunks.set_chunk_size(size)?,
            Incoming::Abort { chunk_stream_id } => self.chunks.abort(chunk_stream_id),
            Incoming::WindowAckSize(size) => self.acknowledge.set_window(size),
            Incoming::PingRequest { timestamp_ms } => self.output.ping_response(timestamp_ms),
            Incoming::StreamEof { stream_id } => {
                if self.stage.stream_id() == Some(stream_id) {
                    self.ended(PlayEnded::StreamEof);
                }
            }
            Incoming::Command(command) => self.handle_command(&command),
            Incoming::Media(media) => self.handle_media(media),
            Incoming::Aggregate(aggregate) => {
                for media in message::split_aggregate(aggregate, self.chunks.position())? {
                    self.handle_media(media);
                }
            }
            Incoming::Nothing => {}
        }
        Ok(())
    }

    /// Media is taken on any message stream: a connection has one.
    fn handle_media(&mut self, media: MediaMessage) {
        if media.payload.is_empty() {
            return;
        }
        if media.kind != MediaMessageKind::Data {
            self.playing();
        }
        if matches!(self.stage, Stage::Playing { .. }) {
            self.events.push_back(ClientEvent::Media(media));
        }
    }

    /// The server plays.
    fn playing(&mut self) {
        if let Stage::Starting { stream_id } = self.stage {
            self.stage = Stage::Playing { stream_id };
            self.events.push_back(ClientEvent::Playing);
        }
    }

    fn ended(&mut self, why: PlayEnded) {
        self.stage = Stage::Closed;
        self.events.push_back(ClientEvent::Ended(why));
    }

    /// Bytes to send.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.output.poll()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Says that no more is wanted. Nothing happens after it.
    pub fn end(&mut self) {
        if let Some(stream_id) = self.stage.stream_id() {
            self.delete_stream(stream_id);
        }
        self.stage = Stage::Closed;
        self.events.clear();
    }
}

#[cfg(test)]
mod tests;
