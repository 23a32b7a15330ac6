//! Reads chunks (5.3) into messages, whatever the split of the input.
//!
//! Chunk streams may interleave in mid-message. A chunk's header is taken when it is whole; its
//! payload is taken as it comes, so that an input buffer never has to hold more than one header.
//! A message that lies whole in the input is sliced out of it, all others are copied once. A
//! message's memory grows with what has come of it, never by its announced length alone.

use bytes::{Buf, Bytes, BytesMut};

use super::RtmpError;

/// The chunk size before any Set Chunk Size (5.4.1).
const INITIAL_CHUNK_SIZE: u32 = 128;
/// A chunk cannot be larger than a message, whose length has 24 bits (5.4.1).
const MAX_CHUNK_SIZE: u32 = 0xFF_FFFF;
/// Publishers use three to six chunk streams; 64 leaves room for all of the one-byte form.
const MAX_CHUNK_STREAMS: usize = 64;
/// Protocol control messages (5.4) have at most 5 bytes, user control messages (7.1.7) at most 10;
/// SWF verification answers have 44.
const MAX_CONTROL_BYTES: usize = 1024;
/// Commands and metadata are a few hundred bytes; the largest seen carry lists of cue points.
const MAX_COMMAND_BYTES: usize = 64 << 10;
/// Beside the one media message that may be the largest: an audio frame, commands and data that
/// interleave with it.
const IN_PROGRESS_RESERVE: usize = 1 << 20;
/// Messages up to here are copied out of the input: a slice would keep the whole buffer alive, and
/// small ones (sequence headers, metadata) are those that are kept.
const COPY_UP_TO: usize = 1024;
/// A 24-bit timestamp that says "the 32-bit one follows" (5.3.1.3).
const EXTENDED: u32 = 0xFF_FFFF;

/// A message as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Message type id (5.4, 7.1).
    pub type_id: u8,
    /// Milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// Message stream id.
    pub stream_id: u32,
    /// The payload.
    pub payload: Bytes,
}

/// Assembles the messages of one direction of a connection.
pub struct ChunkReader {
    max_media_bytes: usize,
    chunk_size: u32,
    /// At most [`MAX_CHUNK_STREAMS`], few in practice: searched in order.
    streams: Vec<ChunkStream>,
    /// The chunk whose payload is being taken: index into `streams`, bytes still to come.
    current: Option<(usize, usize)>,
    in_progress_bytes: usize,
    /// Bytes consumed since the first of the connection.
    position: u64,
}

/// What later headers of a chunk stream lean on, and its unfinished message.
struct ChunkStream {
    id: u32,
    timestamp_ms: u32,
    /// The timestamp field of the last header of type 0, 1 or 2: what a type 3 that starts a message
    /// adds. After a type 0 this is the timestamp itself (5.3.1.2.4).
    timestamp_field: u32,
    /// Whether that field stood in an extended timestamp.
    extended: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
    partial: Option<BytesMut>,
}

/// A parsed chunk header.
struct Header {
    /// Chunk type 0 to 3.
    format: u8,
    /// Index into the chunk streams, `None` for a new one.
    stream: Option<usize>,
    id: u32,
    /// How many bytes the header has.
    size: usize,
    timestamp_field: u32,
    extended: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

impl ChunkReader {
    /// A reader for a connection that has brought `position` bytes before its first chunk.
    /// `max_media_bytes` bounds audio, video and aggregate messages.
    pub fn new(max_media_bytes: usize, position: u64) -> Self {
        Self {
            max_media_bytes,
            chunk_size: INITIAL_CHUNK_SIZE,
            streams: Vec::new(),
            current: None,
            in_progress_bytes: 0,
            position,
        }
    }

    /// Bytes consumed since the first of the connection.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that unfinished messages hold.
    pub fn in_progress_bytes(&self) -> usize {
        self.in_progress_bytes
    }

    /// The peer's Set Chunk Size (5.4.1): holds for the next chunk on.
    pub fn set_chunk_size(&mut self, size: u32) -> Result<(), RtmpError> {
        // The top bit must be zero; sizes above the largest message mean "never split".
        if size == 0 || size > i32::MAX as u32 {
            return Err(RtmpError::ChunkSize { size, at: self.position });
        }
        self.chunk_size = size.min(MAX_CHUNK_SIZE);
        Ok(())
    }

    /// The peer's Abort Message (5.4.2): drops the unfinished message of a chunk stream.
    pub fn abort(&mut self, chunk_stream_id: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|s| s.id == chunk_stream_id) {
            self.in_progress_bytes -= stream.partial.take().map_or(0, |p| p.len());
        }
    }

    /// The next message, or `None` when the input has no further whole one. Consumes what it has
    /// used; what stays is less than one header.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Message>, RtmpError> {
        loop {
            if let Some((index, wanted)) = self.current {
                if input.is_empty() && wanted > 0 {
                    return Ok(None);
                }
                if let Some(message) = self.take_payload(index, wanted, input) {
                    return Ok(Some(message));
                }
                continue;
            }
            let Some(header) = self.parse_header(input)? else { return Ok(None) };
            self.check_header(&header)?;
            input.advance(header.size);
            self.position += header.size as u64;
            let index = self.apply_header(&header);
            let stream = &self.streams[index];
            let had = stream.partial.as_ref().map_or(0, BytesMut::len);
            let length = stream.length;
            let wanted = (length - had).min(self.chunk_size as usize);
            let max = self.max_media_bytes.saturating_add(IN_PROGRESS_RESERVE);
            if self.in_progress_bytes + wanted > max {
                return Err(RtmpError::TooMuchInProgress { max, at: self.position });
            }
            if wanted == length && input.len() >= length {
                self.position += length as u64;
                let payload = input.split_to(length);
                let payload = match length {
                    0..=COPY_UP_TO => Bytes::copy_from_slice(&payload),
                    _ => payload.freeze(),
                };
                return Ok(Some(self.streams[index].message(payload)));
            }
            self.current = Some((index, wanted));
        }
    }

    /// Appends what has come of the current chunk to its message.
    fn take_payload(
        &mut self,
        index: usize,
        wanted: usize,
        input: &mut BytesMut,
    ) -> Option<Message> {
        let now = wanted.min(input.len());
        let stream = &mut self.streams[index];
        let length = stream.length;
        let partial = stream.partial.get_or_insert_default();
        let needed = partial.len() + now;
        if partial.capacity() < needed {
            let target = needed.max(2 * partial.capacity()).min(length);
            partial.reserve(target - partial.len());
        }
        partial.extend_from_slice(&input[..now]);
        let whole = partial.len() == length;
        input.advance(now);
        self.position += now as u64;
        self.in_progress_bytes += now;
        self.current = (now < wanted).then_some((index, wanted - now));
        if !whole {
            return None;
        }
        self.in_progress_bytes -= length;
        let payload = stream.partial.take().unwrap_or_default().freeze();
        Some(stream.message(payload))
    }

    /// Reads the next chunk's header (5.3.1) without consuming it; `None` when it is not whole.
    fn parse_header(&self, input: &[u8]) -> Result<Option<Header>, RtmpError> {
        let Some((format, id, basic)) = parse_basic_header(input) else { return Ok(None) };
        let stream = self.streams.iter().position(|s| s.id == id);
        let known = stream.map(|i| &self.streams[i]);
        // librtmp starts its control stream with a type 1; types 2 and 3 have nothing to lean on.
        if known.is_none() && format >= 2 {
            return Err(RtmpError::NoEarlierHeader { format, id, at: self.position });
        }
        let size = basic + [11, 7, 3, 0][usize::from(format)];
        let Some(fields) = input.get(basic..size) else { return Ok(None) };
        let mut header = Header {
            format,
            stream,
            id,
            size,
            timestamp_field: known.map_or(0, |s| s.timestamp_field),
            extended: known.is_some_and(|s| s.extended),
            length: known.map_or(0, |s| s.length),
            type_id: known.map_or(0, |s| s.type_id),
            stream_id: known.map_or(0, |s| s.stream_id),
        };
        if let [a, b, c, ..] = *fields {
            header.timestamp_field = u32::from_be_bytes([0, a, b, c]);
            header.extended = header.timestamp_field == EXTENDED;
        }
        if let [_, _, _, a, b, c, type_id, ..] = *fields {
            header.length = u32::from_be_bytes([0, a, b, c]) as usize;
            header.type_id = type_id;
        }
        if let [.., a, b, c, d] = *fields
            && format == 0
        {
            header.stream_id = u32::from_le_bytes([a, b, c, d]);
        }
        if header.extended {
            let Some(bytes) = parse_extended(&header, &input[size..]) else { return Ok(None) };
            if let Some(field) = bytes {
                header.timestamp_field = field;
                header.size += 4;
            }
        }
        Ok(Some(header))
    }

    /// Holds a header against the bounds, before anything is stored.
    fn check_header(&self, header: &Header) -> Result<(), RtmpError> {
        if header.stream.is_none() && self.streams.len() == MAX_CHUNK_STREAMS {
            let (id, max) = (header.id, MAX_CHUNK_STREAMS);
            return Err(RtmpError::TooManyChunkStreams { id, max, at: self.position });
        }
        let max = match header.type_id {
            1..=6 => MAX_CONTROL_BYTES,
            8 | 9 | 22 => self.max_media_bytes,
            _ => MAX_COMMAND_BYTES,
        };
        if header.length > max {
            let (type_id, length, at) = (header.type_id, header.length, self.position);
            return Err(RtmpError::MessageTooLong { type_id, length, max, at });
        }
        Ok(())
    }

    /// Updates the chunk stream that a header belongs to, and returns its index.
    fn apply_header(&mut self, header: &Header) -> usize {
        let index = header.stream.unwrap_or_else(|| {
            self.streams.push(ChunkStream::new(header.id));
            self.streams.len() - 1
        });
        let stream = &mut self.streams[index];
        if header.format == 3 && stream.partial.is_some() {
            return index;
        }
        // A header of another type in mid-message starts anew: what had come is given up.
        self.in_progress_bytes -= stream.partial.take().map_or(0, |p| p.len());
        stream.timestamp_ms = match header.format {
            0 => header.timestamp_field,
            _ => stream.timestamp_ms.wrapping_add(header.timestamp_field),
        };
        stream.timestamp_field = header.timestamp_field;
        stream.extended = header.extended;
        stream.length = header.length;
        stream.type_id = header.type_id;
        stream.stream_id = header.stream_id;
        index
    }
}

impl ChunkStream {
    fn new(id: u32) -> Self {
        Self {
            id,
            timestamp_ms: 0,
            timestamp_field: 0,
            extended: false,
            length: 0,
            type_id: 0,
            stream_id: 0,
            partial: None,
        }
    }

    fn message(&self, payload: Bytes) -> Message {
        Message {
            type_id: self.type_id,
            timestamp_ms: self.timestamp_ms,
            stream_id: self.stream_id,
            payload,
        }
    }
}

/// Chunk type, chunk stream id and size of a basic header of one to three bytes (5.3.1.1).
fn parse_basic_header(input: &[u8]) -> Option<(u8, u32, usize)> {
    let &first = input.first()?;
    let format = first >> 6;
    match first & 0x3F {
        0 => Some((format, 64 + u32::from(*input.get(1)?), 2)),
        1 => {
            Some((format, 64 + u32::from(u16::from_le_bytes([*input.get(1)?, *input.get(2)?])), 3))
        }
        id => Some((format, u32::from(id), 1)),
    }
}

/// The extended timestamp at the start of `rest`: `None` when more input must come to tell, and
/// `Some(None)` when it is not there. The specification wants it repeated on every type 3
/// (5.3.1.3), which ffmpeg does; OBS before 30.2, librtmp and others leave it out. So on a type 3 it
/// is there exactly when the next four bytes equal it.
fn parse_extended(header: &Header, rest: &[u8]) -> Option<Option<u32>> {
    let come = &rest[..rest.len().min(4)];
    if header.format == 3 && !header.timestamp_field.to_be_bytes().starts_with(come) {
        return Some(None);
    }
    let bytes = come.try_into().ok()?;
    Some(Some(u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests;
