//! What the tests of this module say as a peer: chunks with every form of header, AMF0 values.

mod amf;

use std::collections::BTreeMap;

pub(super) use self::amf::{amf, object, text};
use super::chunk::Message;

/// C0, C1 and C2.
pub(super) const HANDSHAKE_BYTES: usize = 1 + 1536 + 1536;

/// Bytes that publishers sent, their handshakes included (examples/rtmp_record.rs).
pub(super) const RECORDINGS: [(&str, &[u8]); 4] = [
    ("ffmpeg", include_bytes!("../../tests/fixtures/rtmp/ffmpeg-5.1.bin")),
    ("ffmpeg hevc", include_bytes!("../../tests/fixtures/rtmp/ffmpeg-new-hevc.bin")),
    ("rtmp2sink", include_bytes!("../../tests/fixtures/rtmp/gstreamer-1.22-rtmp2sink.bin")),
    ("rtmpsink", include_bytes!("../../tests/fixtures/rtmp/gstreamer-1.22-rtmpsink.bin")),
];

/// Bytes that servers sent to one who plays, their handshakes included (examples/rtmp_play.rs).
pub(super) const SERVED: [(&str, &[u8]); 2] = [
    ("live", include_bytes!("../../tests/fixtures/rtmp/nginx-rtmp-1.2.2-live.bin")),
    ("not found", include_bytes!("../../tests/fixtures/rtmp/nginx-rtmp-1.2.2-not-found.bin")),
];

/// A basic header in its shortest form (5.3.1.1).
pub(super) fn basic(format: u8, id: u32) -> Vec<u8> {
    let format = format << 6;
    match id {
        2..=63 => vec![format | id as u8],
        64..=319 => vec![format, (id - 64) as u8],
        _ => {
            let [low, high] = ((id - 64) as u16).to_le_bytes();
            vec![format | 1, low, high]
        }
    }
}

/// The 24 bits of a timestamp field and the extended timestamp, where it needs one.
fn timestamp(field: u32) -> ([u8; 3], Vec<u8>) {
    let [_, a, b, c] = field.min(0xFF_FFFF).to_be_bytes();
    let extended = if field >= 0xFF_FFFF { field.to_be_bytes().to_vec() } else { Vec::new() };
    ([a, b, c], extended)
}

/// A header of type 0.
pub(super) fn type_0(id: u32, ms: u32, length: usize, type_id: u8, stream_id: u32) -> Vec<u8> {
    let (ms, extended) = timestamp(ms);
    let length = &(length as u32).to_be_bytes()[1..];
    let stream_id = stream_id.to_le_bytes();
    [&basic(0, id)[..], &ms, length, &[type_id], &stream_id, &extended].concat()
}

/// A header of type 1.
pub(super) fn type_1(id: u32, delta: u32, length: usize, type_id: u8) -> Vec<u8> {
    let (delta, extended) = timestamp(delta);
    let length = &(length as u32).to_be_bytes()[1..];
    [&basic(1, id)[..], &delta, length, &[type_id], &extended].concat()
}

/// A header of type 2.
pub(super) fn type_2(id: u32, delta: u32) -> Vec<u8> {
    let (delta, extended) = timestamp(delta);
    [&basic(2, id)[..], &delta, &extended].concat()
}

/// A header of type 3, with the extended timestamp where one is given.
pub(super) fn type_3(id: u32, extended: Option<u32>) -> Vec<u8> {
    let mut header = basic(3, id);
    header.extend(extended.into_iter().flat_map(u32::to_be_bytes));
    header
}

/// A message in chunks of at most `chunk_size`, type 0 first, its extended timestamp repeated.
pub(super) fn message(
    (id, chunk_size): (u32, usize),
    type_id: u8,
    ms: u32,
    stream_id: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = type_0(id, ms, payload.len(), type_id, stream_id);
    for (at, chunk) in payload.chunks(chunk_size).enumerate() {
        if at > 0 {
            out.extend(type_3(id, (ms >= 0xFF_FFFF).then_some(ms)));
        }
        out.extend(chunk);
    }
    out
}

/// What the next header of a chunk stream may lean on.
#[derive(Clone, Copy)]
struct Last {
    timestamp_ms: u32,
    field: u32,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

/// Writes messages chunk by chunk, with any header that says the truth.
pub(super) struct ChunkWriter {
    pub(super) chunk_size: usize,
    /// Whether chunks of type 3 repeat the extended timestamp even where it would not be missed.
    pub(super) repeats_extended: bool,
    last_by_id: BTreeMap<u32, Last>,
}

impl ChunkWriter {
    pub(super) fn new(repeats_extended: bool) -> Self {
        Self { chunk_size: 128, repeats_extended, last_by_id: BTreeMap::new() }
    }

    /// The chunk of `message` that starts at its byte `at`; its header is the one of those that can
    /// be that `choice` points at. Gives the bytes and where the next chunk starts.
    pub(super) fn chunk(
        &mut self,
        id: u32,
        message: &Message,
        at: usize,
        choice: usize,
    ) -> (Vec<u8>, usize) {
        let end = message.payload.len().min(at + self.chunk_size);
        let mut out = if at > 0 {
            self.type_3(id, message.payload.get(at))
        } else {
            let formats = self.formats(id, message);
            self.first_header(formats[choice % formats.len()], id, message)
        };
        out.extend(&message.payload[at..end]);
        (out, end)
    }

    /// The chunk types that can start `message`.
    fn formats(&self, id: u32, message: &Message) -> Vec<u8> {
        let Some(last) = self.last_by_id.get(&id) else {
            return if message.stream_id == 0 { vec![0, 1] } else { vec![0] };
        };
        let same_kind = message.payload.len() == last.length && message.type_id == last.type_id;
        let same_step = message.timestamp_ms.wrapping_sub(last.timestamp_ms) == last.field;
        let mut formats = vec![0];
        if message.stream_id == last.stream_id {
            formats.push(1);
            if same_kind {
                formats.push(2);
            }
            if same_kind && same_step {
                formats.push(3);
            }
        }
        formats
    }

    fn first_header(&mut self, format: u8, id: u32, message: &Message) -> Vec<u8> {
        let (length, type_id) = (message.payload.len(), message.type_id);
        let timestamp_ms = message.timestamp_ms;
        let delta =
            timestamp_ms.wrapping_sub(self.last_by_id.get(&id).map_or(0, |l| l.timestamp_ms));
        let field = if format == 0 { timestamp_ms } else { delta };
        let header = match format {
            0 => type_0(id, field, length, type_id, message.stream_id),
            1 => type_1(id, field, length, type_id),
            2 => type_2(id, field),
            _ => self.type_3(id, message.payload.first()),
        };
        let stream_id = message.stream_id;
        self.last_by_id.insert(id, Last { timestamp_ms, field, length, type_id, stream_id });
        header
    }

    /// Leaves the extended timestamp out only where `next` byte of payload cannot be taken for it.
    fn type_3(&self, id: u32, next: Option<&u8>) -> Vec<u8> {
        let field = self.last_by_id[&id].field;
        let [first, ..] = field.to_be_bytes();
        let repeats = self.repeats_extended || next.is_none_or(|next| *next == first);
        type_3(id, (repeats && field >= 0xFF_FFFF).then_some(field))
    }
}
