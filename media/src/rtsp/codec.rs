//! Bytes of a connection to messages and interleaved frames (RFC 2326, 10.12), in any split. Nothing here knows what a request means.

use bytes::{Buf, Bytes, BytesMut};

/// The longest header block: request lines with tokens and cookies of known clients stay below 4 KiB.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// The longest body; no method served has a use for more than a few lines.
const MAX_BODY_BYTES: usize = 64 << 10;
/// `$`, channel, length.
const FRAME_HEADER_BYTES: usize = 4;

/// What stands whole in the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// An interleaved frame: channel and payload.
    Interleaved(u8, Bytes),
    /// A message: its header block, the empty line included, and its body.
    Message(Bytes, Bytes),
}

/// Why no frame can be read any more; the connection has to be closed, after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Oversize {
    /// The header block does not end within its bound; its whole lines within it.
    Head(Bytes),
    /// The announced body is longer than its bound; the header block.
    Body(Bytes),
}

/// Finds frames. Remembers how far it has looked for the end of a header block, so that slow input costs no repeated search.
#[derive(Debug, Default)]
pub(super) struct Codec {
    searched: usize,
    /// Header block and body of the message at the head of the input, once known.
    message: Option<(usize, usize)>,
    consumed: u64,
}

impl Codec {
    /// How many bytes of the connection have been taken.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Takes the next whole frame out of `input`; `None`: more is needed.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Oversize> {
        if self.message.is_none() && self.searched == 0 {
            // Empty lines between messages (RFC 2326, 4.1).
            let blank = input.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
            input.advance(blank);
            self.consumed += blank as u64;
        }
        if self.message.is_none() && input.first() == Some(&b'$') {
            return Ok(self.interleaved(input));
        }
        let (head, body) = match self.message {
            Some(message) => message,
            None => match self.head(input)? {
                Some(message) => message,
                None => return Ok(None),
            },
        };
        if input.len() < head + body {
            return Ok(None);
        }
        self.message = None;
        self.searched = 0;
        self.consumed += (head + body) as u64;
        let head = input.split_to(head).freeze();
        Ok(Some(Frame::Message(head, input.split_to(body).freeze())))
    }

    fn interleaved(&mut self, input: &mut BytesMut) -> Option<Frame> {
        let &[_, channel, high, low] = input.first_chunk::<FRAME_HEADER_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if input.len() < FRAME_HEADER_BYTES + length {
            return None;
        }
        input.advance(FRAME_HEADER_BYTES);
        self.consumed += (FRAME_HEADER_BYTES + length) as u64;
        Some(Frame::Interleaved(channel, input.split_to(length).freeze()))
    }

    /// The lengths of the header block and of the body that it announces.
    fn head(&mut self, input: &mut BytesMut) -> Result<Option<(usize, usize)>, Oversize> {
        let Some(end) = end_of_head(input, self.searched) else {
            if input.len() > MAX_HEAD_BYTES {
                return Err(endless(input));
            }
            // The last three bytes may be the beginning of the empty line.
            self.searched = input.len().saturating_sub(3);
            return Ok(None);
        };
        if end > MAX_HEAD_BYTES {
            return Err(endless(input));
        }
        let body = match header(&input[..end], "content-length") {
            // What is no number is no length; the request is refused for it later.
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() => {
                text.parse().unwrap_or(usize::MAX)
            }
            Some(_) | None => 0,
        };
        if body > MAX_BODY_BYTES {
            return Err(Oversize::Body(input.split_to(end).freeze()));
        }
        self.message = Some((end, body));
        Ok(self.message)
    }
}

/// What is looked at of a header block beyond its bound: the same however much of it has come, and no line that the bound cuts, as
/// half a CSeq is another CSeq.
fn endless(input: &mut BytesMut) -> Oversize {
    let lines = input[..MAX_HEAD_BYTES].iter().rposition(|&b| b == b'\n').map_or(0, |lf| lf + 1);
    Oversize::Head(input.split_to(lines).freeze())
}

/// The length of the header block with its empty line. Lines may end in LF alone: such a message is refused, but with its CSeq.
fn end_of_head(input: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(lf) = input[at..].iter().position(|&b| b == b'\n') {
        let lf = at + lf;
        match (input.get(lf + 1), input.get(lf + 2)) {
            (Some(b'\n'), _) => return Some(lf + 2),
            (Some(b'\r'), Some(b'\n')) => return Some(lf + 3),
            (_, _) => at = lf + 1,
        }
    }
    None
}

/// The value of the first header `name` (in lower case) of a header block that need not be well formed.
pub(super) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|&b| b == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|&b| b == b':')?;
        let (found, value) = line.split_at(colon);
        if !found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        std::str::from_utf8(value[1..].trim_ascii()).ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(codec: &mut Codec, input: &mut BytesMut) -> Vec<Frame> {
        std::iter::from_fn(|| codec.next(input).unwrap()).collect()
    }

    const GLUED: &[u8] = b"\r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n$\x01\0\x03abc\
        SET_PARAMETER * RTSP/1.0\r\nContent-Length: 4\r\ncseq:2\r\n\r\n$\r\n\n$\0\0\0\
        PLAY x RTSP/1.0\nCSeq: 3\n\n";

    fn glued() -> Vec<Frame> {
        vec![
            Frame::Message(
                Bytes::from_static(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
                Bytes::new(),
            ),
            Frame::Interleaved(1, Bytes::from_static(b"abc")),
            Frame::Message(
                Bytes::from_static(
                    b"SET_PARAMETER * RTSP/1.0\r\nContent-Length: 4\r\ncseq:2\r\n\r\n",
                ),
                Bytes::from_static(b"$\r\n\n"),
            ),
            Frame::Interleaved(0, Bytes::new()),
            Frame::Message(Bytes::from_static(b"PLAY x RTSP/1.0\nCSeq: 3\n\n"), Bytes::new()),
        ]
    }

    #[test]
    fn frames_come_out_the_same_however_the_input_is_split() {
        for split in 0..=GLUED.len() {
            let mut codec = Codec::default();
            let mut input = BytesMut::from(&GLUED[..split]);
            let mut frames = all(&mut codec, &mut input);
            input.extend_from_slice(&GLUED[split..]);
            frames.extend(all(&mut codec, &mut input));
            assert_eq!(frames, glued(), "split at {split}");
            assert_eq!(codec.consumed(), GLUED.len() as u64);
        }
        let (mut codec, mut input, mut frames) = (Codec::default(), BytesMut::new(), vec![]);
        for &byte in GLUED {
            input.extend_from_slice(&[byte]);
            frames.extend(all(&mut codec, &mut input));
        }
        assert_eq!(frames, glued());
    }

    #[test]
    fn a_header_block_or_body_beyond_its_bound_ends_the_connection() {
        let mut input = BytesMut::from(&b"OPTIONS * RTSP/1.0\r\nX: "[..]);
        input.resize(MAX_HEAD_BYTES + 1, b'x');
        assert!(matches!(Codec::default().next(&mut input), Err(Oversize::Head(_))));
        for length in ["65537", "18446744073709551615", "99999999999999999999999"] {
            let text = format!("OPTIONS * RTSP/1.0\r\nContent-Length: {length}\r\n\r\n");
            let mut input = BytesMut::from(text.as_bytes());
            assert!(matches!(Codec::default().next(&mut input), Err(Oversize::Body(_))));
        }
    }

    /// A frame and its bytes.
    fn any_frame() -> impl Strategy<Value = (Vec<u8>, Frame)> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
        // No line of it is empty, as that would end it.
        let line = "[A-Za-z-]{1,12}: [ -~]{0,30}";
        let lines = proptest::collection::vec(line.prop_map(|line| line + "\r\n"), 0..4);
        let message = (lines, bytes(60)).prop_map(|(lines, body)| {
            let length = match body.len() {
                0 => String::new(),
                length => format!("content-LENGTH:{length}\r\n"),
            };
            let head = format!("PLAY * RTSP/1.0\r\n{length}{}\r\n", lines.concat());
            let whole = [head.as_bytes(), &body].concat();
            (whole, Frame::Message(head.into(), body.into()))
        });
        let interleaved = (any::<u8>(), bytes(60)).prop_map(|(channel, payload)| {
            let header = [b'$', channel, 0, payload.len() as u8];
            let whole = [&header[..], &payload].concat();
            (whole, Frame::Interleaved(channel, payload.into()))
        });
        (prop_oneof![message, interleaved], 0usize..3)
            .prop_map(|((bytes, frame), blank)| ([b"\r\n".repeat(blank), bytes].concat(), frame))
    }

    proptest! {
        #[test]
        fn any_frames_come_out_of_pieces_of_any_size(
            frames in proptest::collection::vec(any_frame(), 0..8),
            sizes in proptest::collection::vec(1usize..80, 1..40),
        ) {
            let (bytes, frames): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
            let (mut codec, mut input, mut found) = (Codec::default(), BytesMut::new(), vec![]);
            let bytes = bytes.concat();
            let mut rest = &bytes[..];
            for &size in sizes.iter().cycle() {
                let (piece, behind) = rest.split_at(size.min(rest.len()));
                input.extend_from_slice(piece);
                found.extend(all(&mut codec, &mut input));
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert_eq!((codec.consumed(), input.len()), (bytes.len() as u64, 0));
        }

        #[test]
        fn no_bytes_make_it_panic(chunks in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                Just(b"\r\n\r\n".to_vec()),
                Just(b"$\x00\x00\x09".to_vec()),
                Just(b"PLAY * RTSP/1.0\r\nContent-Length: 7\r\n".to_vec()),
            ], 0..40))
        {
            let (mut codec, mut input) = (Codec::default(), BytesMut::new());
            for chunk in chunks {
                input.extend_from_slice(&chunk);
                while let Ok(Some(_)) = codec.next(&mut input) {}
            }
        }
    }
}
