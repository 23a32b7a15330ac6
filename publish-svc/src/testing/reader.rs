//! An RTSP reader over a real connection.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use bytes::{Buf, Bytes, BytesMut};
use media::{
    rtcp::{RtcpPacket, SenderReport, parse_compound},
    rtp::Header,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{bench::PATIENCE, carrier::Carrier};

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// By their names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// What the server sends.
#[derive(Debug)]
pub(crate) enum Item {
    Response(Response),
    /// Of an even channel.
    Rtp(u8, Header, Bytes),
    /// Of an odd channel.
    Rtcp(u8, Vec<RtcpPacket>),
}

/// See the module.
pub(crate) struct Reader {
    stream: TcpStream,
    carrier: Carrier,
    url: String,
    input: BytesMut,
    session: Option<String>,
    /// Media that came before a response that was waited for.
    media: VecDeque<Item>,
}

impl Reader {
    /// Connects; the stream's URL is known from now on.
    pub(crate) async fn connect(to: SocketAddr, key: &str) -> Self {
        Self::over(TcpStream::connect(to).await.unwrap(), key)
    }

    /// Connects with a small buffer for what is not read.
    pub(crate) async fn connect_narrow(to: SocketAddr, key: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket.connect(to).await.unwrap(), key)
    }

    /// Connects through a tunnel of this cookie.
    pub(crate) async fn tunnelled(to: SocketAddr, key: &str, cookie: &str) -> Self {
        let (get, carrier) = Carrier::tunnel(to, cookie).await;
        Self { carrier, ..Self::over(get, key) }
    }

    /// Connects by WebSocket.
    pub(crate) async fn by_websocket(to: SocketAddr, key: &str) -> Self {
        let (stream, carrier) = Carrier::websocket(to).await;
        Self { carrier, ..Self::over(stream, key) }
    }

    fn over(stream: TcpStream, key: &str) -> Self {
        stream.set_nodelay(true).unwrap();
        let url = format!("rtsp://{}/{key}", stream.peer_addr().unwrap());
        let carrier = Carrier::Plain;
        Self { stream, carrier, url, input: BytesMut::new(), session: None, media: VecDeque::new() }
    }

    /// Where it connected from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The bytes of a request; `suffix` stands behind the stream's URL.
    pub(crate) fn request(&self, method: &str, suffix: &str, headers: &str) -> Vec<u8> {
        let session = self.session.as_ref().map(|id| format!("Session: {id}\r\n"));
        let session = session.unwrap_or_default();
        let url = &self.url;
        format!("{method} {url}{suffix} RTSP/1.0\r\nCSeq: 1\r\n{session}{headers}\r\n").into_bytes()
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.carrier.send(&mut self.stream, bytes).await;
    }

    /// What its bytes travel by.
    pub(crate) fn carrier(&mut self) -> &mut Carrier {
        &mut self.carrier
    }

    /// Sends an interleaved frame.
    pub(crate) async fn send_frame(&mut self, channel: u8, payload: &[u8]) {
        let mut frame = vec![b'$', channel];
        frame.extend((payload.len() as u16).to_be_bytes());
        frame.extend(payload);
        self.send(&frame).await;
    }

    /// The next Sender Report on a channel.
    pub(crate) async fn sender_report(&mut self, channel: u8) -> SenderReport {
        loop {
            if let Item::Rtcp(on, packets) = self.next().await.expect("closed")
                && let (true, Some(RtcpPacket::SenderReport(report, _))) =
                    (on == channel, packets.first())
            {
                return *report;
            }
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends bytes; whether the connection was still open.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&mut self, method: &str, suffix: &str, headers: &str) -> Response {
        let request = self.request(method, suffix, headers);
        self.send(&request).await;
        self.response().await
    }

    /// The next response; media before it is kept.
    pub(crate) async fn response(&mut self) -> Response {
        loop {
            match self.read().await.expect("closed before it answered") {
                Item::Response(response) => {
                    if let Some(session) = response.headers.get("session") {
                        self.session = session.split(';').next().map(str::to_owned);
                    }
                    return response;
                }
                media => self.media.push_back(media),
            }
        }
    }

    /// Sets up both tracks interleaved and plays; the answer to PLAY.
    pub(crate) async fn play(&mut self) -> Response {
        for track in 0..2 {
            let transport =
                format!("RTP/AVP/TCP;unicast;interleaved={}-{}", 2 * track, 2 * track + 1);
            self.set_up(track, &transport).await;
        }
        let response = self.ask("PLAY", "", "").await;
        assert_eq!(response.status, 200, "{response:?}");
        response
    }

    /// Sets up one track.
    pub(crate) async fn set_up(&mut self, track: usize, transport: &str) -> Response {
        let headers = format!("Transport: {transport}\r\n");
        let response = self.ask("SETUP", &format!("/trackID={track}"), &headers).await;
        assert_eq!(response.status, 200, "{response:?}");
        response
    }

    /// The next item; `None` when the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        match self.media.pop_front() {
            Some(item) => Some(item),
            None => self.read().await,
        }
    }

    /// The next whole access unit by its packets, reports passed over.
    pub(crate) async fn unit(&mut self) -> Vec<(u8, Header, Bytes)> {
        let mut packets = vec![];
        loop {
            let Item::Rtp(channel, header, packet) = self.next().await.expect("closed") else {
                continue;
            };
            let marker = header.marker;
            packets.push((channel, header, packet));
            if marker {
                return packets;
            }
        }
    }

    /// The mark of the next access unit: its last four bytes.
    pub(crate) async fn mark(&mut self) -> u32 {
        mark(&self.unit().await)
    }

    /// Everything until the connection is closed.
    pub(crate) async fn rest(&mut self) -> Vec<Item> {
        let mut items = vec![];
        while let Some(item) = self.next().await {
            items.push(item);
        }
        items
    }

    async fn read(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.parse() {
                return Some(item);
            }
            let read = self.carrier.read(&mut self.stream, &mut self.input);
            let read = timeout(PATIENCE, read).await;
            if !matches!(read.expect("the server says nothing"), Ok(1..)) {
                return None;
            }
        }
    }

    fn parse(&mut self) -> Option<Item> {
        if self.input.first() == Some(&b'$') {
            let length = u16::from_be_bytes(self.input.get(2..4)?.try_into().unwrap());
            if self.input.len() < 4 + usize::from(length) {
                return None;
            }
            let channel = self.input[1];
            self.input.advance(4);
            let packet = self.input.split_to(length.into()).freeze();
            return Some(match channel % 2 {
                0 => Item::Rtp(channel, Header::parse(&packet).unwrap(), packet),
                _ => Item::Rtcp(channel, parse_compound(&packet).unwrap()),
            });
        }
        let end = self.input.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.input[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<_, _> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        if self.input.len() < end + length {
            return None;
        }
        self.input.advance(end);
        let body = String::from_utf8(self.input.split_to(length).to_vec()).unwrap();
        Some(Item::Response(Response { status, headers, body }))
    }
}

/// The last four bytes of an access unit.
pub(crate) fn mark(unit: &[(u8, Header, Bytes)]) -> u32 {
    let (_, _, packet) = unit.last().unwrap();
    u32::from_be_bytes(*packet.last_chunk().unwrap())
}
