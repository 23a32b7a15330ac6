//! RTSP where only HTTP gets through, on the port of RTSP: the first line of a connection tells what it is.
//!
//! * Tunnelled (QuickTime; `rtspsrc` by `rtsph://`, `ffmpeg -rtsp_transport http`, many VMS): a GET, whose response never ends, carries what the
//!   server says; a POST on a connection of its own, whose body never ends, what the client says, in Base64. Both name one
//!   `x-sessioncookie`. The POST is not answered, and a further one may take its place.
//! * WebSocket (RFC 6455, ONVIF Streaming Specification 5.1.1.5): the bytes of a connection in binary messages, `Sec-WebSocket-Protocol:
//!   rtsp.onvif.org`.
//!
//! Left out on purpose: bodies in chunks, WebSocket extensions, text messages, HTTP/2.

mod post;
mod websocket;

use bytes::{Buf, Bytes, BytesMut};

use super::codec::header;

pub use post::{Base64Reader, NotBase64};
pub use websocket::{WebSocketError, WebSocketReader, accept_key, close_frame, messages};

/// The longest header block of an HTTP request: as that of an RTSP request.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// The longest cookie; clients send 20 to 40 characters.
const MAX_COOKIE_BYTES: usize = 128;
/// The subprotocol of RTSP over WebSocket.
const SUBPROTOCOL: &str = "rtsp.onvif.org";

/// What a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// RTSP, or what is neither: the RTSP connection answers it.
    Rtsp,
    /// An HTTP request.
    Http,
}

/// An HTTP request that carries RTSP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HttpRequest {
    /// The half of a tunnel that carries what the server says.
    Get {
        /// The tunnel's name.
        cookie: String,
    },
    /// The half of a tunnel that carries what the client says; its body follows.
    Post {
        /// The tunnel's name.
        cookie: String,
    },
    /// RTSP over WebSocket; `key` is that of the client.
    WebSocket {
        /// Sec-WebSocket-Key.
        key: String,
    },
}

/// Why an HTTP request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HttpRefusal {
    /// 400: neither half of a tunnel nor a WebSocket of ours.
    BadRequest,
    /// 404: a POST whose GET is not there.
    NotFound,
    /// 409: the cookie is that of another tunnel.
    Conflict,
    /// 426: another version of WebSocket.
    UpgradeRequired,
    /// 431: the header block does not end within its bound.
    TooLarge,
}

/// What the first bytes of a connection are; `None`: more are needed.
pub fn opening(input: &[u8]) -> Option<Opening> {
    let could_be = |method: &[u8]| method.starts_with(input) || input.starts_with(method);
    if !could_be(b"GET ") && !could_be(b"POST ") {
        return Some(Opening::Rtsp);
    }
    let Some(end) = input.iter().position(|&b| b == b'\n') else {
        return (input.len() > MAX_HEAD_BYTES).then_some(Opening::Http);
    };
    let version = input[..end].trim_ascii_end().rsplit(|&b| b == b' ').next().unwrap_or_default();
    Some(if version.starts_with(b"HTTP/1.") { Opening::Http } else { Opening::Rtsp })
}

/// Takes the HTTP request out of `input`; `None`: more is needed. What is behind the header block stays.
pub fn take_request(input: &mut BytesMut) -> Result<Option<HttpRequest>, HttpRefusal> {
    let window = &input[..input.len().min(MAX_HEAD_BYTES)];
    let Some(end) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
        let too_large = input.len() > MAX_HEAD_BYTES;
        return if too_large { Err(HttpRefusal::TooLarge) } else { Ok(None) };
    };
    let request = request(&input[..end + 2])?;
    input.advance(end + 4);
    Ok(Some(request))
}

fn request(head: &[u8]) -> Result<HttpRequest, HttpRefusal> {
    let post = head.starts_with(b"POST ");
    if let Some(cookie) = header(head, "x-sessioncookie") {
        let fit = (1..=MAX_COOKIE_BYTES).contains(&cookie.len());
        let chunked = header(head, "transfer-encoding").is_some();
        if !fit || !cookie.bytes().all(|b| b.is_ascii_graphic()) || chunked {
            return Err(HttpRefusal::BadRequest);
        }
        let cookie = cookie.to_owned();
        return Ok(if post { HttpRequest::Post { cookie } } else { HttpRequest::Get { cookie } });
    }
    if post || !lists(head, "upgrade", "websocket") || !lists(head, "connection", "upgrade") {
        return Err(HttpRefusal::BadRequest);
    }
    if header(head, "sec-websocket-version") != Some("13") {
        return Err(HttpRefusal::UpgradeRequired);
    }
    let key = header(head, "sec-websocket-key").filter(|key| websocket::is_key(key));
    match key {
        Some(key) if lists(head, "sec-websocket-protocol", SUBPROTOCOL) => {
            Ok(HttpRequest::WebSocket { key: key.to_owned() })
        }
        Some(_) | None => Err(HttpRefusal::BadRequest),
    }
}

/// Whether the list of tokens in the header `name` has `token`.
fn lists(head: &[u8], name: &str, token: &str) -> bool {
    let list = header(head, name).unwrap_or_default();
    list.split(',').any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// The answer to the GET of a tunnel; all that follows is what the server says.
pub fn tunnel_answer() -> Bytes {
    // HTTP/1.0, as the body ends with the connection.
    Bytes::from_static(
        b"HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\nPragma: no-cache\r\n\
          Content-Type: application/x-rtsp-tunnelled\r\n\r\n",
    )
}

/// The answer that opens a WebSocket.
pub fn websocket_answer(key: &str) -> Bytes {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n",
        accept_key(key)
    )
    .into()
}

impl HttpRefusal {
    /// The answer; the connection is closed behind it.
    pub fn answer(self) -> Bytes {
        let (status, more) = match self {
            Self::BadRequest => ("400 Bad Request", ""),
            Self::NotFound => ("404 Not Found", ""),
            Self::Conflict => ("409 Conflict", ""),
            Self::UpgradeRequired => ("426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n"),
            Self::TooLarge => ("431 Request Header Fields Too Large", ""),
        };
        format!("HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Length: 0\r\n\r\n").into()
    }
}

#[cfg(test)]
mod tests;
