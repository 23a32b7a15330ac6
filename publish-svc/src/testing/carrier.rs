//! What a test's reader travels by.

use std::{io, net::SocketAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::bench::PATIENCE;

/// See the module.
pub(crate) enum Carrier {
    Plain,
    /// The POST of a tunnel, unless it was given up.
    Tunnel(Option<TcpStream>),
    WebSocket(WebSocket),
}

/// The frames of a WebSocket as a client sees them.
#[derive(Default)]
pub(crate) struct WebSocket {
    raw: BytesMut,
    /// Type and payload of the control frames that came.
    pub(crate) control: Vec<(u8, Vec<u8>)>,
}

impl Carrier {
    /// GET, and POST once that is answered.
    pub(crate) async fn tunnel(to: SocketAddr, cookie: &str) -> (TcpStream, Self) {
        let (get, head) = http(to, &tunnel_request("GET", cookie)).await;
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        (get, Self::Tunnel(Some(post(to, cookie).await)))
    }

    /// The opening handshake.
    pub(crate) async fn websocket(to: SocketAddr) -> (TcpStream, Self) {
        let request = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: rtsp.onvif.org\r\n\r\n";
        let (stream, head) = http(to, request).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        (stream, Self::WebSocket(WebSocket::default()))
    }

    /// Sends bytes of RTSP.
    pub(super) async fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) {
        match self {
            Self::Plain => stream.write_all(bytes).await.unwrap(),
            Self::Tunnel(post) => {
                let encoded = BASE64_STANDARD.encode(bytes);
                post.as_mut().expect("a POST").write_all(encoded.as_bytes()).await.unwrap();
            }
            Self::WebSocket(_) => stream.write_all(&masked(0x82, bytes)).await.unwrap(),
        }
    }

    /// Reads on; 0 at the end.
    pub(super) async fn read(
        &mut self,
        stream: &mut TcpStream,
        input: &mut BytesMut,
    ) -> io::Result<usize> {
        match self {
            Self::Plain | Self::Tunnel(_) => stream.read_buf(input).await,
            Self::WebSocket(socket) => {
                let read = stream.read_buf(&mut socket.raw).await?;
                while socket.frame(input).is_some() {}
                Ok(read)
            }
        }
    }
}

impl WebSocket {
    fn frame(&mut self, input: &mut BytesMut) -> Option<()> {
        let &[first, length] = self.raw.first_chunk::<2>()?;
        let (length, header) = match length {
            126 => (self.raw.get(2..4)?.try_into().map(u16::from_be_bytes).unwrap().into(), 4),
            length => (usize::from(length), 2),
        };
        if self.raw.len() < header + length {
            return None;
        }
        self.raw.advance(header);
        let payload = self.raw.split_to(length);
        match first {
            0x82 => input.extend_from_slice(&payload),
            _ => self.control.push((first, payload.to_vec())),
        }
        Some(())
    }
}

/// The POST of a tunnel, which is not answered.
pub(crate) async fn post(to: SocketAddr, cookie: &str) -> TcpStream {
    let mut post = TcpStream::connect(to).await.unwrap();
    post.write_all(tunnel_request("POST", cookie).as_bytes()).await.unwrap();
    post
}

/// A request that makes half of a tunnel.
pub(crate) fn tunnel_request(method: &str, cookie: &str) -> String {
    format!(
        "{method} /a HTTP/1.0\r\nx-sessioncookie: {cookie}\r\nContent-Length: 32767\r\n\
         Content-Type: application/x-rtsp-tunnelled\r\n\r\n"
    )
}

/// A connection on which an HTTP request was answered, and the head of the answer.
pub(crate) async fn http(to: SocketAddr, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("no answer").unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// A whole frame of a client; `first` is its first byte.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [7, 0, 0xAA, 1];
    let mut frame = vec![first, 0x80 | 126];
    frame.extend((payload.len() as u16).to_be_bytes());
    if payload.len() < 126 {
        frame.truncate(1);
        frame.push(0x80 | payload.len() as u8);
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
