//! What messages say: protocol control (5.4), user control (7.1.7), commands (7.1.1) and aggregates
//! (7.1.6).

use bytes::{Buf, Bytes};

use super::{
    RtmpError,
    amf0::{self, Value},
    chunk::Message,
};

/// Messages of one aggregate. Flash Media Live Encoder puts some tens into one.
pub(super) const MAX_AGGREGATED: usize = 1024;

/// A message, understood as far as our two sides need.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    SetChunkSize(u32),
    Abort {
        chunk_stream_id: u32,
    },
    WindowAckSize(u32),
    PingRequest {
        timestamp_ms: u32,
    },
    StreamEof {
        stream_id: u32,
    },
    Command(Command),
    Media(MediaMessage),
    Aggregate(Message),
    /// Acknowledgements, peer bandwidth, ping responses, shared objects, and whatever is unknown.
    Nothing,
}

/// One message of media, in the order in which its last chunk came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaMessage {
    /// What it is.
    pub kind: MediaMessageKind,
    /// RTMP timestamp: milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// The FLV tag body (audio, video; never empty) or AMF0 values (data).
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

impl MediaMessage {
    /// A message of type 8, 9 or 18; others are none.
    fn of(Message { type_id, timestamp_ms, payload, .. }: Message) -> Option<Self> {
        let kind = match type_id {
            8 => MediaMessageKind::Audio,
            9 => MediaMessageKind::Video,
            18 => MediaMessageKind::Data,
            _ => return None,
        };
        Some(Self { kind, timestamp_ms, payload })
    }
}

/// A command message (7.2).
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    pub(super) name: String,
    /// 0 when no answer is wanted.
    pub(super) transaction: f64,
    pub(super) object: Value,
    pub(super) arguments: Vec<Value>,
    pub(super) stream_id: u32,
}

/// Understands a message that ended at byte `at` of the connection. Control messages that are too
/// short to say anything say nothing.
pub(super) fn parse(mut message: Message, at: u64) -> Result<Incoming, RtmpError> {
    let number = message.payload.first_chunk().map(|b| u32::from_be_bytes(*b));
    Ok(match message.type_id {
        1 => match number {
            Some(size) => Incoming::SetChunkSize(size),
            None => return Err(RtmpError::Protocol { what: "empty Set Chunk Size", at }),
        },
        2 => number.map_or(Incoming::Nothing, |id| Incoming::Abort { chunk_stream_id: id }),
        4 => parse_user_control(&message.payload),
        5 => number.map_or(Incoming::Nothing, Incoming::WindowAckSize),
        8 | 9 | 18 => media(message),
        15 | 17 => {
            // "AMF3" messages are AMF0 behind one byte of 0, which some encoders leave out.
            if message.payload.first() == Some(&0) {
                message.payload.advance(1);
            }
            match message.type_id {
                15 => media(Message { type_id: 18, ..message }),
                _ => parse_command(message, at)?,
            }
        }
        20 => parse_command(message, at)?,
        22 => Incoming::Aggregate(message),
        _ => Incoming::Nothing,
    })
}

fn media(message: Message) -> Incoming {
    MediaMessage::of(message).map_or(Incoming::Nothing, Incoming::Media)
}

fn parse_user_control(payload: &[u8]) -> Incoming {
    match *payload {
        [0, 1, a, b, c, d, ..] => {
            Incoming::StreamEof { stream_id: u32::from_be_bytes([a, b, c, d]) }
        }
        [0, 6, a, b, c, d, ..] => {
            Incoming::PingRequest { timestamp_ms: u32::from_be_bytes([a, b, c, d]) }
        }
        _ => Incoming::Nothing,
    }
}

fn parse_command(message: Message, at: u64) -> Result<Incoming, RtmpError> {
    let values = amf0::decode(&message.payload).map_err(|source| RtmpError::Amf0 { source, at })?;
    let mut values = values.into_iter();
    let Some(Value::String(name)) = values.next() else { return Ok(Incoming::Nothing) };
    Ok(Incoming::Command(Command {
        name,
        transaction: values.next().and_then(|v| v.as_number()).unwrap_or_default(),
        object: values.next().unwrap_or(Value::Null),
        arguments: values.collect(),
        stream_id: message.stream_id,
    }))
}

/// Splits an aggregate into its messages: FLV tags with their back pointers. The first one has the
/// aggregate's own timestamp, the others keep their distance to it. What is no media is left out.
pub(super) fn split_aggregate(aggregate: Message, at: u64) -> Result<Vec<MediaMessage>, RtmpError> {
    let (mut messages, mut count) = (Vec::new(), 0);
    let mut rest: Bytes = aggregate.payload;
    let mut first_ms = None;
    while !rest.is_empty() {
        count += 1;
        if count > MAX_AGGREGATED {
            return Err(RtmpError::Protocol {
                what: "more than 1024 messages in an aggregate",
                at,
            });
        }
        let cut = RtmpError::Protocol { what: "aggregate that is cut short", at };
        let Some(&[type_id, l0, l1, l2, t0, t1, t2, t3, _, _, _]) = rest.first_chunk() else {
            return Err(cut);
        };
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let timestamp_ms = u32::from_be_bytes([t3, t0, t1, t2]);
        let offset = timestamp_ms.wrapping_sub(*first_ms.get_or_insert(timestamp_ms));
        rest.advance(11);
        if rest.len() < length {
            return Err(cut);
        }
        messages.extend(MediaMessage::of(Message {
            type_id,
            timestamp_ms: aggregate.timestamp_ms.wrapping_add(offset),
            stream_id: aggregate.stream_id,
            payload: rest.split_to(length),
        }));
        rest.advance(rest.len().min(4));
    }
    Ok(messages)
}
