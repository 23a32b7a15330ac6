//! The frames of a WebSocket (RFC 6455, 5), as a server sees them: the payloads of binary messages are one stream of bytes, whatever the
//! borders of messages, frames and pieces.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha1::{Digest as _, Sha1};

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// Goes with the key into the accept key (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The bytes of a client's key.
const KEY_BYTES: usize = 16;
/// The longest payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL_BYTES: u64 = 125;

mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// Why a WebSocket has to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WebSocketError {
    /// 1000: the client has closed it.
    #[error("the client closed the WebSocket")]
    Closed,
    /// 1002: a frame that cannot be.
    #[error("a WebSocket frame {0}")]
    Protocol(&'static str),
    /// 1003: a text message.
    #[error("a text message on a WebSocket")]
    Text,
}

/// Whether it can be the key of a client (RFC 6455, 4.2.1).
pub(super) fn is_key(key: &str) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, 4.2.2).
pub fn accept_key(key: &str) -> String {
    BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Appends what the server says, a response or whole interleaved frames, to `out`: a binary message each, as players take
/// messages apart by their borders.
pub fn messages(rtsp: &[u8], out: &mut BytesMut) {
    let mut rest = rtsp;
    while let Some(&[b'$', _, high, low]) = rest.first_chunk::<4>() {
        let length = 4 + usize::from(u16::from_be_bytes([high, low]));
        let (interleaved, behind) = rest.split_at(length.min(rest.len()));
        frame(opcode::BINARY, interleaved, out);
        rest = behind;
    }
    if !rest.is_empty() {
        frame(opcode::BINARY, rest, out);
    }
}

/// The frame by which the server says why it closes.
pub fn close_frame(why: WebSocketError) -> Bytes {
    let code: u16 = match why {
        WebSocketError::Closed => 1000,
        WebSocketError::Protocol(_) => 1002,
        WebSocketError::Text => 1003,
    };
    let mut out = BytesMut::new();
    frame(opcode::CLOSE, &code.to_be_bytes(), &mut out);
    out.freeze()
}

fn frame(opcode: u8, payload: &[u8], out: &mut BytesMut) {
    out.reserve(10 + payload.len());
    out.put_u8(0x80 | opcode);
    match payload.len() {
        length @ ..126 => out.put_u8(length as u8),
        length @ ..65_536 => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
}

/// Reads a client's frames; holds nothing but the frame's header and the place in its payload.
#[derive(Debug, Default)]
pub struct WebSocketReader {
    /// What is still to come of a data frame, its mask turned to the next byte.
    payload: Option<(u64, [u8; 4])>,
    /// Whether a binary message has begun and not ended.
    in_message: bool,
}

/// A frame's header.
struct Header {
    finished: bool,
    opcode: u8,
    length: u64,
    mask: [u8; 4],
    bytes: usize,
}

impl WebSocketReader {
    /// Takes what it can of `raw` (what it leaves is a header or a control frame that is not whole, less than 140 bytes), appends the
    /// payload of binary messages to `decoded` and what has to be answered to `answers`.
    pub fn read(
        &mut self,
        raw: &mut BytesMut,
        decoded: &mut BytesMut,
        answers: &mut BytesMut,
    ) -> Result<(), WebSocketError> {
        loop {
            if self.payload.is_some() {
                self.payload(raw, decoded);
                if self.payload.is_some() {
                    return Ok(());
                }
            }
            let Some(header) = Header::parse(raw)? else { return Ok(()) };
            if header.opcode < opcode::CLOSE {
                self.begin(&header)?;
                raw.advance(header.bytes);
                continue;
            }
            let Some(payload) = header.control(raw)? else { return Ok(()) };
            match header.opcode {
                opcode::CLOSE => return Err(WebSocketError::Closed),
                opcode::PING => frame(opcode::PONG, &payload, answers),
                opcode::PONG => {}
                _ => return Err(WebSocketError::Protocol("of an unknown type")),
            }
        }
    }

    fn begin(&mut self, header: &Header) -> Result<(), WebSocketError> {
        match (header.opcode, self.in_message) {
            (opcode::CONTINUATION, true) | (opcode::BINARY, false) => {}
            (opcode::TEXT, _) => return Err(WebSocketError::Text),
            (opcode::CONTINUATION, false) => {
                return Err(WebSocketError::Protocol("continues no message"));
            }
            (opcode::BINARY, true) => {
                return Err(WebSocketError::Protocol("begins a message within another"));
            }
            (_, _) => return Err(WebSocketError::Protocol("of an unknown type")),
        }
        self.in_message = !header.finished;
        self.payload = Some((header.length, header.mask));
        Ok(())
    }

    fn payload(&mut self, raw: &mut BytesMut, decoded: &mut BytesMut) {
        let Some((left, mask)) = &mut self.payload else { return };
        let taken = raw.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        decoded.extend(raw[..taken].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        raw.advance(taken);
        mask.rotate_left(taken % 4);
        *left -= taken as u64;
        self.payload.take_if(|(left, _)| *left == 0);
    }
}

impl Header {
    fn parse(raw: &[u8]) -> Result<Option<Self>, WebSocketError> {
        let Some(&[first, second]) = raw.first_chunk::<2>() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(WebSocketError::Protocol("with reserved bits"));
        }
        if second & 0x80 == 0 {
            return Err(WebSocketError::Protocol("without a mask"));
        }
        let (length, at) = match second & 0x7f {
            126 => match raw.get(2..).and_then(|rest| rest.first_chunk::<2>()) {
                Some(&length) => (u64::from(u16::from_be_bytes(length)), 4),
                None => return Ok(None),
            },
            127 => match raw.get(2..).and_then(|rest| rest.first_chunk::<8>()) {
                Some(&length) => (u64::from_be_bytes(length), 10),
                None => return Ok(None),
            },
            length => (u64::from(length), 2),
        };
        let Some(&mask) = raw.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(None);
        };
        let (finished, opcode) = (first & 0x80 != 0, first & 0x0f);
        Ok(Some(Self { finished, opcode, length, mask, bytes: at + 4 }))
    }

    /// Takes the payload of a control frame.
    fn control(&self, raw: &mut BytesMut) -> Result<Option<Vec<u8>>, WebSocketError> {
        if !self.finished || self.length > MAX_CONTROL_BYTES {
            return Err(WebSocketError::Protocol("of control that is not whole or too long"));
        }
        let length = self.length as usize;
        if raw.len() < self.bytes + length {
            return Ok(None);
        }
        raw.advance(self.bytes);
        let payload = raw.split_to(length);
        Ok(Some(payload.iter().zip(self.mask.iter().cycle()).map(|(b, key)| b ^ key).collect()))
    }
}

#[cfg(test)]
mod tests;
