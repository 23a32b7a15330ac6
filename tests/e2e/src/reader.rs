//! An RTSP client that shows each packet it is sent. It repairs and hides nothing, which real clients do.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use media::{
    NtpTime,
    codec::{MediaKind, h264::nal_type},
    rtcp::{self, RtcpPacket},
    rtp::Header,
    sdp::SessionDescription,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};

use crate::{clients::Transport, clips::pictured};

/// How long a packet or an answer may take.
const SILENCE: Duration = Duration::from_secs(20);
/// No datagram is larger.
const DATAGRAM: usize = 65_536;

/// A connection on which requests can be made one by one.
pub struct Connection {
    socket: TcpStream,
    input: BytesMut,
    interleaved: VecDeque<(u8, Bytes)>,
    cseq: u32,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    head: String,
    /// What follows the headers.
    pub body: String,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Connection {
    /// Connects to the host of `url`.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let host = url.strip_prefix("rtsp://").and_then(|rest| rest.split('/').next());
        let socket = TcpStream::connect(host.context("no RTSP URL")?).await?;
        let (input, interleaved) = (BytesMut::new(), VecDeque::new());
        Ok(Self { socket, input, interleaved, cseq: 0 })
    }

    /// Makes a request; `headers` are whole lines.
    pub async fn request(
        &mut self,
        method: &str,
        url: &str,
        headers: &str,
    ) -> anyhow::Result<Response> {
        self.cseq += 1;
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{headers}\r\n", self.cseq);
        self.socket.write_all(request.as_bytes()).await?;
        loop {
            match self.next().await? {
                Some(Incoming::Response(response)) => return Ok(response),
                Some(Incoming::Interleaved(channel, bytes)) => {
                    self.interleaved.push_back((channel, bytes));
                }
                None => bail!("the server closed the connection at {method}"),
            }
        }
    }

    /// The next interleaved frame; `None` when the server has closed the connection.
    pub async fn interleaved(&mut self) -> anyhow::Result<Option<(u8, Bytes)>> {
        if let Some(frame) = self.interleaved.pop_front() {
            return Ok(Some(frame));
        }
        match self.next().await? {
            Some(Incoming::Interleaved(channel, bytes)) => Ok(Some((channel, bytes))),
            Some(Incoming::Response(response)) => {
                bail!("an answer that nobody waits for: {response:?}")
            }
            None => Ok(None),
        }
    }

    async fn next(&mut self) -> anyhow::Result<Option<Incoming>> {
        loop {
            if let Some(incoming) = self.parse()? {
                return Ok(Some(incoming));
            }
            let read = self.socket.read_buf(&mut self.input);
            if tokio::time::timeout(SILENCE, read).await.context("silence")?? == 0 {
                ensure!(self.input.is_empty(), "the server closed the connection in mid-message");
                return Ok(None);
            }
        }
    }

    fn parse(&mut self) -> anyhow::Result<Option<Incoming>> {
        if self.input.first() == Some(&b'$') {
            let Some(&[_, channel, high, low]) = self.input.first_chunk::<4>() else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if self.input.len() < 4 + length {
                return Ok(None);
            }
            self.input.advance(4);
            return Ok(Some(Incoming::Interleaved(channel, self.input.split_to(length).freeze())));
        }
        let Some(end) = self.input.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8(self.input[..end].to_vec())?;
        let status = head.strip_prefix("RTSP/1.0 ").and_then(|rest| rest.get(..3));
        let status = status.with_context(|| format!("no RTSP answer: {head:?}"))?.parse()?;
        let mut response = Response { status, head, body: String::new() };
        let length = response.header("Content-Length").unwrap_or("0").parse::<usize>()?;
        if self.input.len() < end + 4 + length {
            return Ok(None);
        }
        self.input.advance(end + 4);
        response.body = String::from_utf8(self.input.split_to(length).to_vec())?;
        Ok(Some(Incoming::Response(response)))
    }
}

enum Incoming {
    Response(Response),
    Interleaved(u8, Bytes),
}

/// A packet that the reader was sent.
#[derive(Clone, Debug)]
pub enum Packet {
    /// RTP.
    Rtp {
        /// The index of its track.
        track: usize,
        /// Its header.
        header: Header,
        /// All of it.
        bytes: Bytes,
    },
    /// RTCP.
    Rtcp {
        /// The index of its track.
        track: usize,
        /// The packets of the compound.
        packets: Vec<RtcpPacket>,
    },
}

/// A session that plays.
pub struct Reader {
    /// What DESCRIBE answered.
    pub description: SessionDescription,
    /// Of each track, the first sequence number and RTP timestamp that PLAY announced.
    pub rtp_info: Vec<(u16, u32)>,
    url: String,
    session: String,
    connection: Connection,
    /// Pairs of RTP and RTCP sockets.
    sockets: Vec<[UdpSocket; 2]>,
}

impl Reader {
    /// DESCRIBE, SETUP of all tracks, PLAY.
    pub async fn play(url: &str, transport: Transport) -> anyhow::Result<Self> {
        let mut connection = Connection::open(url).await?;
        let describe = connection.request("DESCRIBE", url, "Accept: application/sdp\r\n").await?;
        ensure!(describe.status == 200, "DESCRIBE {url}: {}", describe.status);
        let base = describe.header("Content-Base").context("no Content-Base")?.to_owned();
        let description = SessionDescription::parse(&describe.body)?;
        let mut controls = Vec::new();
        for line in describe.body.lines() {
            if let Some(control) = line.strip_prefix("a=control:").filter(|c| *c != "*") {
                controls.push(format!("{}/{control}", base.trim_end_matches('/')));
            }
        }
        ensure!(controls.len() == description.tracks.len(), "tracks without a=control");
        let (mut session, mut sockets) = (String::new(), Vec::new());
        for (track, control) in controls.iter().enumerate() {
            let offer = match transport {
                Transport::Tcp => {
                    format!("RTP/AVP/TCP;unicast;interleaved={}-{}", 2 * track, 2 * track + 1)
                }
                Transport::Udp => {
                    let (rtp, rtcp) = port_pair().await?;
                    let port = rtp.local_addr()?.port();
                    sockets.push([rtp, rtcp]);
                    format!("RTP/AVP;unicast;client_port={port}-{}", port + 1)
                }
            };
            let headers = format!("Transport: {offer}\r\n{session}");
            let setup = connection.request("SETUP", control, &headers).await?;
            ensure!(setup.status == 200, "SETUP {control}: {}", setup.status);
            let id = setup.header("Session").and_then(|s| s.split(';').next());
            session = format!("Session: {}\r\n", id.context("no session")?);
        }
        let play = connection.request("PLAY", url, &session).await?;
        ensure!(play.status == 200, "PLAY {url}: {}", play.status);
        let rtp_info = rtp_info(play.header("RTP-Info").unwrap_or_default());
        let url = url.to_owned();
        Ok(Self { description, rtp_info, url, session, connection, sockets })
    }

    /// The next packet; `None` when the server has closed the connection.
    pub async fn next(&mut self) -> anyhow::Result<Option<Packet>> {
        let (channel, bytes) = if self.sockets.is_empty() {
            match self.connection.interleaved().await? {
                Some(frame) => frame,
                None => return Ok(None),
            }
        } else {
            let datagram = datagram(&self.sockets);
            // What was sent before the connection was closed is read before that is said.
            tokio::select! {
                biased;
                datagram = tokio::time::timeout(SILENCE, datagram) => datagram.context("silence")??,
                closed = self.connection.interleaved() => match closed? {
                    None => return Ok(None),
                    Some(_) => bail!("interleaved data in a session by UDP"),
                },
            }
        };
        let track = usize::from(channel / 2);
        ensure!(track < self.description.tracks.len(), "channel {channel}");
        Ok(Some(if channel % 2 == 0 {
            Packet::Rtp { track, header: Header::parse(&bytes)?, bytes }
        } else {
            Packet::Rtcp { track, packets: rtcp::parse_compound(&bytes)? }
        }))
    }

    /// Another request of the session.
    pub async fn request(&mut self, method: &str) -> anyhow::Result<Response> {
        self.connection.request(method, &self.url, &self.session).await
    }
}

/// `url=…;seq=…;rtptime=…` of each track.
fn rtp_info(header: &str) -> Vec<(u16, u32)> {
    let value = |entry: &str, key: &str| {
        let found = entry.split(';').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        found.and_then(|value| value.parse::<u32>().ok()).unwrap_or_default()
    };
    header.split(',').map(|entry| (value(entry, "seq") as u16, value(entry, "rtptime"))).collect()
}

/// What comes next on any socket, and the channel that it would have if it were interleaved.
async fn datagram(sockets: &[[UdpSocket; 2]]) -> anyhow::Result<(u8, Bytes)> {
    let mut waits = Vec::new();
    for (channel, socket) in sockets.iter().flatten().enumerate() {
        waits.push(Box::pin(async move {
            let mut buffer = vec![0; DATAGRAM];
            let length = socket.recv(&mut buffer).await?;
            buffer.truncate(length);
            Ok((channel as u8, Bytes::from(buffer)))
        }));
    }
    futures_util::future::select_all(waits).await.0
}

async fn port_pair() -> anyhow::Result<(UdpSocket, UdpSocket)> {
    for _ in 0..100 {
        let rtp = UdpSocket::bind("127.0.0.1:0").await?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0
            && let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", port + 1)).await
        {
            return Ok((rtp, rtcp));
        }
    }
    bail!("no free pair of ports")
}

/// One access unit that a reader was sent.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// The index of its track.
    pub track: usize,
    /// Its RTP timestamp.
    pub timestamp: u32,
    /// The sequence number of its first packet.
    pub first_sequence_number: u16,
    /// Its NAL units, or its AAC frame alone.
    pub parts: Vec<Vec<u8>>,
}

impl AccessUnit {
    /// The types of its NAL units.
    pub fn nal_types(&self) -> Vec<u8> {
        self.parts.iter().map(|nal| nal_type::of(nal[0])).collect()
    }

    /// Its NAL units as the clips are compared by.
    pub fn pictured(&self) -> Vec<u8> {
        pictured(self.parts.iter().map(Vec::as_slice))
    }
}

/// Packets to access units, written from RFC 6184 and RFC 3640 without what the gateway uses. Anything that is not in order is an error.
#[derive(Debug)]
pub struct Depacketizer {
    kind: MediaKind,
    track: usize,
    next: Option<u16>,
    open: Option<AccessUnit>,
}

impl Depacketizer {
    /// Before the first packet.
    pub fn new(kind: MediaKind, track: usize) -> Self {
        Self { kind, track, next: None, open: None }
    }

    /// Takes a packet; gives the access unit that it ends.
    pub fn push(&mut self, header: &Header, packet: &[u8]) -> anyhow::Result<Option<AccessUnit>> {
        let sequence_number = header.sequence_number;
        if let Some(next) = self.next {
            ensure!(next == sequence_number, "track {}: {sequence_number}, not {next}", self.track);
        }
        self.next = Some(sequence_number.wrapping_add(1));
        let open = self.open.get_or_insert_with(|| AccessUnit {
            track: self.track,
            timestamp: header.timestamp,
            first_sequence_number: sequence_number,
            parts: Vec::new(),
        });
        ensure!(open.timestamp == header.timestamp, "two times in one access unit");
        let payload = &packet[header.payload.clone()];
        match self.kind {
            MediaKind::Video => h264(&mut open.parts, payload)?,
            MediaKind::Audio => {
                // One AU-header of 13 bits of size and 3 of index (RFC 3640, 3.3.6).
                ensure!(payload[..2] == [0, 16], "AU-headers-length");
                let size = usize::from(u16::from_be_bytes([payload[2], payload[3]]) >> 3);
                ensure!(size == payload.len() - 4, "a frame of {size} bytes");
                open.parts.push(payload[4..].to_vec());
            }
        }
        Ok(if header.marker { self.open.take() } else { None })
    }
}

/// RFC 6184, 5.6 to 5.8.
fn h264(nal_units: &mut Vec<Vec<u8>>, payload: &[u8]) -> anyhow::Result<()> {
    match nal_type::of(*payload.first().context("an empty payload")?) {
        1..=23 => nal_units.push(payload.to_vec()),
        24 => {
            let mut rest = &payload[1..];
            while let Some((&[high, low], behind)) = rest.split_first_chunk::<2>() {
                let size = usize::from(u16::from_be_bytes([high, low]));
                nal_units.push(behind.get(..size).context("STAP-A")?.to_vec());
                rest = &behind[size..];
            }
        }
        28 => {
            let &[indicator, fu, ref fragment @ ..] = payload else { bail!("FU-A") };
            if fu & 0x80 != 0 {
                nal_units.push(vec![indicator & 0xe0 | fu & 0x1f]);
            }
            nal_units.last_mut().context("a fragment without its first")?.extend(fragment);
        }
        other => bail!("NAL unit type {other}"),
    }
    Ok(())
}

/// The line from RTP time to wall-clock time that a Sender Report tells.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    ntp: NtpTime,
    rtp_timestamp: u32,
    rate: u32,
}

impl Clock {
    /// That of the Sender Report in a compound, if there is one.
    pub fn of(packets: &[RtcpPacket], rate: u32) -> Option<Self> {
        packets.iter().find_map(|packet| match packet {
            RtcpPacket::SenderReport(report, _) => {
                Some(Self { ntp: report.ntp, rtp_timestamp: report.rtp_timestamp, rate })
            }
            RtcpPacket::ReceiverReport(..)
            | RtcpPacket::Cname(..)
            | RtcpPacket::Bye(_)
            | RtcpPacket::Nack(..)
            | RtcpPacket::Other(_) => None,
        })
    }

    /// The wall-clock time of an RTP timestamp, in seconds after `origin`.
    pub fn seconds_after(&self, origin: NtpTime, rtp_timestamp: u32) -> f64 {
        let ticks = rtp_timestamp.wrapping_sub(self.rtp_timestamp) as i32;
        self.ntp.nanos_since(origin) as f64 / 1e9 + f64::from(ticks) / f64::from(self.rate)
    }

    /// The time of the report.
    pub fn ntp(&self) -> NtpTime {
        self.ntp
    }
}
