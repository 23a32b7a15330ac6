//! The chunk reader. Input: pace, bound of media messages, then the bytes of a peer behind its handshake.

use bytes::{Bytes, BytesMut};
use media::rtmp::{ChunkReader, Message, RtmpError};

use crate::input::{Input, pieces};

/// Basic header of three bytes, message header of eleven, extended timestamp of four: what may be left over is less.
const MAX_HEADER_BYTES: usize = 18;
/// The chunk size that holds before any Set Chunk Size.
const CHUNK_BYTES: usize = 128;

/// What a reader made of its input.
#[derive(PartialEq, Debug)]
struct Reading {
    messages: Vec<Message>,
    error: Option<RtmpError>,
    position: u64,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let pace = input.u8();
    let max_media_bytes = 64 << (input.u8() % 16);
    let stream = input.rest();

    let whole = read(pieces(stream, 0), max_media_bytes, true);
    assert_eq!(whole, read(pieces(stream, pace), max_media_bytes, true), "split by {pace}");

    let payload: usize = whole.messages.iter().map(|message| message.payload.len()).sum();
    assert!(payload <= stream.len(), "{payload} bytes out of {}", stream.len());
    let written = write(&whole.messages);
    let again = read(pieces(&written, pace), max_media_bytes, false);
    assert_eq!(again.messages, whole.messages);
    assert_eq!((again.error, again.position), (None, written.len() as u64));
}

/// Reads all pieces; minds Set Chunk Size and Abort as a session would, if `minds_control`.
fn read<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    max_media_bytes: usize,
    minds_control: bool,
) -> Reading {
    let mut reader = ChunkReader::new(max_media_bytes, 0);
    let (mut input, mut messages, mut came) = (BytesMut::new(), vec![], 0);
    let mut next = |input: &mut BytesMut| -> Result<bool, RtmpError> {
        let Some(message) = reader.read(input)? else { return Ok(false) };
        match (message.type_id, message.payload.first_chunk()) {
            (1, Some(size)) if minds_control => reader.set_chunk_size(u32::from_be_bytes(*size))?,
            (2, Some(id)) if minds_control => reader.abort(u32::from_be_bytes(*id)),
            _ => {}
        }
        messages.push(message);
        Ok(true)
    };
    let mut error = None;
    'all: for piece in pieces {
        came += piece.len();
        input.extend_from_slice(piece);
        loop {
            match next(&mut input) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    error = Some(e);
                    break 'all;
                }
            }
        }
        assert!(input.len() < MAX_HEADER_BYTES, "{} bytes are left over", input.len());
    }
    let position = reader.position();
    assert_eq!(position + input.len() as u64, came as u64, "bytes are taken once");
    assert!(reader.in_progress_bytes() <= came, "no memory for what has not come");
    Reading { messages, error, position }
}

/// Chunks as the specification wants them, on one chunk stream.
fn write(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let field = message.timestamp_ms.min(0xFF_FFFF);
        let extended = (field == 0xFF_FFFF).then(|| message.timestamp_ms.to_be_bytes());
        out.push(3);
        out.extend_from_slice(&field.to_be_bytes()[1..]);
        out.extend_from_slice(&(message.payload.len() as u32).to_be_bytes()[1..]);
        out.push(message.type_id);
        out.extend_from_slice(&message.stream_id.to_le_bytes());
        out.extend(extended.iter().flatten());
        write_payload(&mut out, &message.payload, extended);
    }
    out
}

fn write_payload(out: &mut Vec<u8>, payload: &Bytes, extended: Option<[u8; 4]>) {
    for (at, chunk) in payload.chunks(CHUNK_BYTES).enumerate() {
        if at > 0 {
            out.push(0xC3);
            out.extend(extended.iter().flatten());
        }
        out.extend_from_slice(chunk);
    }
}
