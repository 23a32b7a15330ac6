//! RTMP (Adobe's Real Time Messaging Protocol 1.0, 2012): what a publisher and we say to each other.
//!
//! [`ServerSession`] is the whole server side of one connection: handshake, chunk streams, AMF commands.

use bytes::{Bytes, BytesMut};

/// Bounds on what a peer can make us hold. The defaults are derived where they are declared.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The chunk size that we announce for what we send, 128 to 65536.
    pub chunk_size: u32,
    /// The window acknowledgement size that we ask of the peer, in bytes.
    pub window_ack_size: u32,
    /// The largest audio or video message, in bytes.
    pub max_media_message_bytes: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        todo!()
    }
}

/// The server side of one RTMP connection, sans-IO.
pub struct ServerSession {}

/// What a publisher wants to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishRequest {
    /// Names the request in the answer.
    pub id: PublishRequestId,
    /// The application name of `connect`, without its query and outer slashes.
    pub app: String,
    /// What follows the app: the publishing name without its query, as the peer wrote it. Not validated.
    pub stream_key: String,
    /// The queries of tcUrl/app and publishing name, without `?`, joined by `&`; may hold secrets.
    pub query: String,
    /// flashVer of `connect`.
    pub user_agent: String,
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

/// One message of media, in the order in which its last chunk came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaMessage {
    /// What it is.
    pub kind: MediaMessageKind,
    /// RTMP timestamp: milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// The FLV tag body (audio, video) or AMF0 values (data).
    pub payload: Bytes,
}

/// The kind of a media message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MediaMessageKind {
    /// Type 8.
    Audio,
    /// Type 9.
    Video,
    /// Type 18 (and 15 without its prefix byte): `@setDataFrame`, `onMetaData`, cue points.
    Data,
}

/// What a connection has to tell.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A publisher asks to publish; answer by [`ServerSession::accept_publish`] or [`ServerSession::refuse_publish`].
    PublishRequested(PublishRequest),
    /// Media of the accepted publish.
    Media(MediaMessage),
    /// The publisher ended its publish (FCUnpublish, deleteStream, closeStream); the connection stays.
    PublishEnded,
}

/// Why a connection has to be closed. What must still be said to the peer stands in `poll_output`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RtmpError {
    /// The peer broke the protocol.
    #[error("{what} at byte {at} of the connection")]
    Protocol {
        /// What it did.
        what: &'static str,
        /// Where, counted from the first byte of the connection.
        at: u64,
    },
    // The owner of this module adds variants.
}

impl ServerSession {
    /// A session before its first byte. `random` seeds the handshake.
    pub fn new(_config: ServerConfig) -> Self {
        todo!()
    }
    /// Takes what has come from the peer; leaves in `input` what is not yet whole (bounded).
    /// After an error the session takes no more; drain `poll_output` and `poll_event`, then close.
    pub fn handle_input(&mut self, _input: &mut BytesMut) -> Result<(), RtmpError> {
        todo!()
    }
    /// Bytes to send.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        todo!()
    }
    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// Lets a publisher in.
    pub fn accept_publish(&mut self, _id: PublishRequestId) {
        todo!()
    }
    /// Refuses a publisher, with a text for its user.
    pub fn refuse_publish(&mut self, _id: PublishRequestId, _why: PublishRefusal, _text: &str) {
        todo!()
    }
    /// Ends an accepted publish from our side (StopStream, drain): `NetStream.Unpublish.Success` with a text.
    pub fn end_publish(&mut self, _text: &str) {
        todo!()
    }
    /// Asks the peer for a sign of life (Ping Request); its answer is taken silently.
    pub fn ping(&mut self, _timestamp_ms: u32) {
        todo!()
    }
}
