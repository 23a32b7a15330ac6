//! What is said to the peer, as server or as client, written by `rml_rtmp`.
//!
//! Rules for its serializer: every message has a payload (it writes none without), every message
//! has the timestamp 0 (it cannot go back in time), and a full header is forced only on a message
//! of one chunk (it would repeat that header on every continuation).

use std::collections::HashMap;

use bytes::Bytes;
use rml_amf0::Amf0Value;
use rml_rtmp::{
    chunk_io::ChunkSerializer,
    messages::{MessagePayload, PeerBandwidthLimitType, RtmpMessage, UserControlEventType},
    time::RtmpTimestamp,
};

/// The longest text of ours in a command, in bytes: what AMF0's short strings hold is far more, and
/// no client shows more.
const MAX_TEXT_BYTES: usize = 1024;

/// Writes messages as chunks.
pub(super) struct Output {
    serializer: ChunkSerializer,
    chunk_size: usize,
    pub(super) chunks: Vec<Bytes>,
}

/// The info object of a status (7.2.1.1, 7.2.2).
#[derive(Clone, Copy)]
pub(super) struct Status<'a> {
    /// "status" or "error".
    pub(super) level: &'a str,
    pub(super) code: &'a str,
    pub(super) description: &'a str,
}

impl Status<'_> {
    fn to_amf(self) -> Amf0Value {
        object([
            ("level", text(self.level)),
            ("code", text(self.code)),
            ("description", text(self.description)),
        ])
    }
}

impl Output {
    pub(super) fn new() -> Self {
        Self { serializer: ChunkSerializer::new(), chunk_size: 128, chunks: Vec::new() }
    }

    /// What is to be sent.
    pub(super) fn poll(&mut self) -> Option<Bytes> {
        let mut chunks = std::mem::take(&mut self.chunks);
        match chunks.len() {
            0 => None,
            1 => chunks.pop(),
            _ => Some(chunks.concat().into()),
        }
    }

    pub(super) fn set_chunk_size(&mut self, size: u32) {
        // Sizes are clamped to what can be when the configuration is taken: this cannot fail.
        if let Ok(packet) = self.serializer.set_max_chunk_size(size, RtmpTimestamp::new(0)) {
            self.chunk_size = size as usize;
            self.chunks.push(packet.bytes.into());
        }
    }

    pub(super) fn window_ack_size(&mut self, size: u32) {
        self.send(RtmpMessage::WindowAcknowledgement { size }, 0);
    }

    pub(super) fn peer_bandwidth(&mut self, size: u32) {
        let limit_type = PeerBandwidthLimitType::Dynamic;
        self.send(RtmpMessage::SetPeerBandwidth { size, limit_type }, 0);
    }

    pub(super) fn acknowledgement(&mut self, sequence_number: u32) {
        self.send(RtmpMessage::Acknowledgement { sequence_number }, 0);
    }

    pub(super) fn stream_begin(&mut self, stream_id: u32) {
        self.user_control(UserControlEventType::StreamBegin, Some(stream_id), None);
    }

    pub(super) fn stream_eof(&mut self, stream_id: u32) {
        self.user_control(UserControlEventType::StreamEof, Some(stream_id), None);
    }

    pub(super) fn set_buffer_length(&mut self, stream_id: u32, milliseconds: u32) {
        let event_type = UserControlEventType::SetBufferLength;
        let (stream_id, buffer_length) = (Some(stream_id), Some(milliseconds));
        let event =
            RtmpMessage::UserControl { event_type, stream_id, buffer_length, timestamp: None };
        self.send(event, 0);
    }

    pub(super) fn ping_request(&mut self, timestamp_ms: u32) {
        self.user_control(UserControlEventType::PingRequest, None, Some(timestamp_ms));
    }

    pub(super) fn ping_response(&mut self, timestamp_ms: u32) {
        self.user_control(UserControlEventType::PingResponse, None, Some(timestamp_ms));
    }

    /// `_result` of `connect`; `capabilities` is `capsEx` of Enhanced RTMP v2. The versions are those that Flash Media Server 3 gives; clients look
    /// for the code only.
    pub(super) fn connect_result(
        &mut self,
        transaction: f64,
        object_encoding: f64,
        capabilities: Option<u32>,
    ) {
        let mut properties = HashMap::from([
            ("fmsVer".to_owned(), text("FMS/3,5,7,7009")),
            ("capabilities".to_owned(), Amf0Value::Number(31.0)),
            ("mode".to_owned(), Amf0Value::Number(1.0)),
        ]);
        if let Some(capabilities) = capabilities {
            properties.insert("capsEx".to_owned(), Amf0Value::Number(capabilities.into()));
        }
        let properties = Amf0Value::Object(properties);
        let info = object([
            ("level", text("status")),
            ("code", text("NetConnection.Connect.Success")),
            ("description", text("Connection succeeded.")),
            ("objectEncoding", Amf0Value::Number(object_encoding)),
        ]);
        self.command("_result", transaction, properties, vec![info], 0);
    }

    /// `_result` with one value.
    pub(super) fn result(&mut self, transaction: f64, value: Amf0Value) {
        self.command("_result", transaction, Amf0Value::Null, vec![value], 0);
    }

    /// `_error` with the reason.
    pub(super) fn error(&mut self, transaction: f64, status: Status<'_>) {
        self.command("_error", transaction, Amf0Value::Null, vec![status.to_amf()], 0);
    }

    /// `onStatus`, `onFCPublish` or `onFCUnpublish`.
    pub(super) fn status(&mut self, command: &str, stream_id: u32, status: Status<'_>) {
        self.command(command, 0.0, Amf0Value::Null, vec![status.to_amf()], stream_id);
    }

    /// A command message (7.2).
    pub(super) fn command(
        &mut self,
        name: &str,
        transaction_id: f64,
        command_object: Amf0Value,
        additional_arguments: Vec<Amf0Value>,
        stream_id: u32,
    ) {
        let command_name = name.to_owned();
        let message = RtmpMessage::Amf0Command {
            command_name,
            transaction_id,
            command_object,
            additional_arguments,
        };
        self.send(message, stream_id);
    }

    fn user_control(
        &mut self,
        event_type: UserControlEventType,
        stream_id: Option<u32>,
        timestamp_ms: Option<u32>,
    ) {
        let timestamp = timestamp_ms.map(RtmpTimestamp::new);
        let event =
            RtmpMessage::UserControl { event_type, stream_id, buffer_length: None, timestamp };
        self.send(event, 0);
    }

    fn send(&mut self, message: RtmpMessage, stream_id: u32) {
        // Fails only on strings and messages longer than any of ours can be.
        let payload = MessagePayload::from_rtmp_message(message, RtmpTimestamp::new(0), stream_id);
        debug_assert!(payload.is_ok());
        let Ok(payload) = payload else { return };
        let one_chunk = payload.data.len() <= self.chunk_size;
        if let Ok(packet) = self.serializer.serialize(&payload, one_chunk, false) {
            self.chunks.push(packet.bytes.into());
        }
    }
}

/// An AMF0 string of ours, cut to a length that every client takes.
pub(super) fn text(text: &str) -> Amf0Value {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Amf0Value::Utf8String(text[..end].to_owned())
}

/// An AMF0 object of ours.
pub(super) fn object<const N: usize>(properties: [(&str, Amf0Value); N]) -> Amf0Value {
    let properties: HashMap<_, _> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Amf0Value::Object(properties)
}
