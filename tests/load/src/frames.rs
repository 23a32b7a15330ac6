//! The bytes of an RTSP connection as what they are: interleaved packets (RFC 2326, 10.12) and messages.
//!
//! What lies whole in the input is not copied.

/// A message may not be longer.
const MESSAGE_BYTES: usize = 64 << 10;

/// One part of the stream.
#[derive(PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// A packet on its channel.
    Packet(u8, &'a [u8]),
    /// A message, header and body.
    Message(&'a [u8]),
}

/// The server sent what is neither.
#[derive(PartialEq, Eq, Debug)]
pub struct NotRtsp;

/// The beginning of a frame whose end has not come yet.
#[derive(Default, Debug)]
pub struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Gives all frames that end in `input`.
    pub fn take(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(Frame<'_>),
    ) -> Result<(), NotRtsp> {
        while !self.partial.is_empty() {
            // Only as much as is known to belong to this frame; a byte at a time until its length is known, which is rare.
            let missing = match frame_bytes(&self.partial)? {
                Some(size) => size - self.partial.len(),
                None => 1,
            };
            let (head, rest) = input.split_at(missing.min(input.len()));
            self.partial.extend_from_slice(head);
            input = rest;
            match frame_bytes(&self.partial)? {
                Some(size) if size == self.partial.len() => {
                    each(frame(&self.partial));
                    self.partial.clear();
                }
                _ if input.is_empty() => return Ok(()),
                _ => {}
            }
        }
        while let Some(size) = frame_bytes(input)? {
            let Some((whole, rest)) = input.split_at_checked(size) else { break };
            each(frame(whole));
            input = rest;
        }
        self.partial.extend_from_slice(input);
        Ok(())
    }
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    match bytes {
        [b'$', channel, _, _, packet @ ..] => Frame::Packet(*channel, packet),
        message => Frame::Message(message),
    }
}

/// The size of the frame at the beginning of `bytes`, as soon as it is known.
fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, NotRtsp> {
    match *bytes {
        [] | [b'$'] | [b'$', _] | [b'$', _, _] => Ok(None),
        [b'$', _, high, low, ..] => Ok(Some(4 + usize::from(u16::from_be_bytes([high, low])))),
        [b'R' | b'O' | b'A' | b'G' | b'S', ..] => message_bytes(bytes),
        _ => Err(NotRtsp),
    }
}

fn message_bytes(bytes: &[u8]) -> Result<Option<usize>, NotRtsp> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > MESSAGE_BYTES { Err(NotRtsp) } else { Ok(None) };
    };
    let header = str::from_utf8(&bytes[..end]).map_err(|_| NotRtsp)?;
    let length = header.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value.trim())
    });
    let length: usize = length.map_or(Ok(0), str::parse).map_err(|_| NotRtsp)?;
    if length > MESSAGE_BYTES { Err(NotRtsp) } else { Ok(Some(end + 4 + length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_however_the_stream_is_cut() {
        let stream = b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab$\x00\x00\x03xyz$\x01\x00\x00$\x02\x00\x01q";
        let read = |cut: usize, second: usize| {
            let mut frames = Frames::default();
            let mut read = Vec::new();
            for part in [&stream[..cut], &stream[cut..second], &stream[second..]] {
                frames.take(part, |frame| read.push(format!("{frame:?}"))).unwrap();
            }
            read
        };
        let whole = read(stream.len(), stream.len());
        assert_eq!(whole.len(), 4);
        for cut in 0..stream.len() {
            for second in cut..stream.len() {
                assert_eq!(read(cut, second), whole, "cut at {cut} and {second}");
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        assert_eq!(Frames::default().take(b"\x00\x01", |_| {}), Err(NotRtsp));
    }
}
