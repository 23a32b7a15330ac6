//! One reader: its sockets, its dialog and what it counts.

use std::{
    io::{self, ErrorKind, IoSliceMut, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use mio::{
    Interest, Registry, Token,
    net::{TcpStream, UdpSocket},
};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::SockRef;

use crate::{
    access_units::{AccessUnits, Payload},
    clock::Clock,
    dialog::{Dialog, Next, Transport},
    frames::{Frame, Frames},
    raw,
    tally::Tally,
    url::{Scheme, Url},
};

/// What one read takes from a connection at the most.
pub const READ_BYTES: usize = 256 << 10;
/// Buffers of one receive call.
const BATCH: usize = 8;
/// The most that the kernel coalesces into one.
const DATAGRAMS_BYTES: usize = 1 << 16;
/// Of a reader's RTP socket: the load tool shall not be the one that loses.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;
/// How often a pair of ports is tried for.
const PORT_ATTEMPTS: usize = 100;

/// Why it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To the end.
    Stay,
    /// Until it has played for a second; then it takes nothing more, and stays.
    Stall,
    /// Until its first keyframe.
    Join,
}

/// Who reads what, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Index of the stream.
    pub stream: usize,
    /// Where it is.
    pub url: Url,
    /// How packets come.
    pub transport: Transport,
    /// Why.
    pub purpose: Purpose,
}

/// The buffers of a thread.
pub struct Buffers {
    bytes: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { bytes: vec![0; READ_BYTES.max(BATCH * DATAGRAMS_BYTES)] }
    }
}

/// The pair of ports of a reader by UDP. What comes by RTCP is left to lie: it is a packet every few seconds.
struct Ports {
    rtp: UdpSocket,
    state: UdpSocketState,
    _rtcp: std::net::UdpSocket,
}

/// One reader.
pub struct Reader {
    /// Who reads what.
    pub plan: Plan,
    /// When it began to connect.
    pub began_us: u64,
    /// Whether it has connected and sent its first request.
    pub has_begun: bool,
    /// Whether the server has let it play.
    pub is_playing: bool,
    /// Whether it takes nothing more.
    pub is_stalled: bool,
    /// Whole access units so far, in and out of the window; a keyframe was the first.
    pub access_units_seen: u64,
    /// What it counts.
    pub tally: Tally,
    tcp: TcpStream,
    ports: Option<Ports>,
    dialog: Dialog,
    frames: Frames,
    access_units: AccessUnits,
}

impl Reader {
    /// Begins to connect. Its tokens are `token` and the one above.
    pub fn open(
        plan: Plan,
        registry: &Registry,
        token: usize,
        began_us: u64,
    ) -> anyhow::Result<Self> {
        let mut tcp = TcpStream::connect(plan.url.address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut tcp, Token(token), interest)?;
        let mut ports = match plan.transport {
            Transport::Tcp => None,
            Transport::Udp => Some(bind_pair(plan.url.address.ip())?),
        };
        let mut client_port = 0;
        if let Some(ports) = &mut ports {
            client_port = ports.rtp.local_addr()?.port();
            registry.register(&mut ports.rtp, Token(token + 1), Interest::READABLE)?;
        }
        let payload = match plan.url.scheme {
            Scheme::Raw => Payload::Raw,
            Scheme::Rtsp | Scheme::Rtmp => Payload::H264,
        };
        Ok(Self {
            dialog: Dialog::new(plan.url.clone(), plan.transport, client_port),
            tally: Tally::new(plan.stream),
            access_units: AccessUnits::new(payload),
            frames: Frames::default(),
            has_begun: false,
            is_playing: false,
            is_stalled: false,
            access_units_seen: 0,
            began_us,
            plan,
            tcp,
            ports,
        })
    }

    /// The connection is made, or has failed: sends the first request.
    pub fn connected(&mut self) -> Result<(), String> {
        let refused = self.tcp.take_error().map_err(|error| error.to_string())?;
        match refused {
            Some(error) => Err(error.to_string()),
            None => {
                self.tcp.set_nodelay(true).map_err(|error| error.to_string())?;
                self.has_begun = true;
                let first = self.dialog.first();
                self.send(&first)
            }
        }
    }

    /// Reads what has come by TCP.
    pub fn read_tcp(&mut self, buffers: &mut Buffers, clock: &Clock) -> Result<(), String> {
        loop {
            let buffer = &mut buffers.bytes[..READ_BYTES];
            let read = match self.tcp.read(buffer) {
                Ok(0) => return Err("the server ended the connection".to_owned()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            self.take_tcp(&buffers.bytes[..read], clock)?;
            // A short read has emptied the socket: what comes later is told of anew.
            if read < READ_BYTES {
                return Ok(());
            }
        }
    }

    fn take_tcp(&mut self, bytes: &[u8], clock: &Clock) -> Result<(), String> {
        let now_us = clock.now_us();
        let mut messages = Vec::new();
        let Self { frames, access_units, tally, access_units_seen, .. } = self;
        let split = frames.take(bytes, |frame| match frame {
            Frame::Packet(channel, packet) if channel % 2 == 0 => {
                count(access_units, packet, tally, access_units_seen, now_us, clock);
            }
            Frame::Packet(..) => {}
            Frame::Message(message) => messages.push(message.to_vec()),
        });
        split.map_err(|_| "the server sent what is not RTSP".to_owned())?;
        if clock.is_measured(now_us) {
            tally.bytes += bytes.len() as u64;
        }
        for message in messages {
            match self.dialog.answer(&message)? {
                Next::Send(text) => self.send(&text)?,
                Next::Play => self.is_playing = true,
                Next::Wait => {}
            }
        }
        Ok(())
    }

    /// Reads what has come by UDP.
    pub fn read_udp(&mut self, buffers: &mut Buffers, clock: &Clock) -> Result<(), String> {
        let Some(ports) = &self.ports else { return Ok(()) };
        let skipped = if self.plan.url.scheme == Scheme::Raw { raw::FRAMING_BYTES } else { 0 };
        loop {
            let mut meta = [RecvMeta::default(); BATCH];
            let mut parts = buffers.bytes.chunks_exact_mut(DATAGRAMS_BYTES);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
            let received = match ports.state.recv((&ports.rtp).into(), &mut slices, &mut meta) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let now_us = clock.now_us();
            let is_measured = clock.is_measured(now_us);
            for (meta, part) in
                meta.iter().zip(buffers.bytes.chunks_exact(DATAGRAMS_BYTES)).take(received)
            {
                for packet in part[..meta.len.min(part.len())].chunks(meta.stride.max(1)) {
                    let packet = packet.get(skipped..).unwrap_or_default();
                    let (tally, seen) = (&mut self.tally, &mut self.access_units_seen);
                    count(&mut self.access_units, packet, tally, seen, now_us, clock);
                }
                if is_measured {
                    self.tally.bytes += meta.len as u64;
                }
            }
            if received < BATCH {
                return Ok(());
            }
        }
    }

    /// What any client says every now and then, so that it is not taken for gone.
    pub fn keep_alive(&mut self) -> Result<(), String> {
        if self.plan.purpose == Purpose::Stall {
            return Ok(());
        }
        match self.dialog.keep_alive() {
            Some(request) => self.send(&request),
            None => Ok(()),
        }
    }

    /// Says farewell; whether that comes through does not matter.
    pub fn leave(&mut self) {
        if let Some(request) = self.dialog.teardown() {
            let _ = self.tcp.write(request.as_bytes());
        }
    }

    /// Takes nothing more from its sockets.
    pub fn stall(&mut self, registry: &Registry) -> io::Result<()> {
        self.is_stalled = true;
        registry.deregister(&mut self.tcp)?;
        self.ports.as_mut().map_or(Ok(()), |ports| registry.deregister(&mut ports.rtp))
    }

    fn send(&mut self, text: &str) -> Result<(), String> {
        match self.tcp.write(text.as_bytes()) {
            Ok(written) if written == text.len() => Ok(()),
            Ok(_) => Err("the server does not take requests".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn count(
    access_units: &mut AccessUnits,
    packet: &[u8],
    tally: &mut Tally,
    seen: &mut u64,
    now_us: u64,
    clock: &Clock,
) {
    access_units.packet(packet, |access_unit| {
        tally.access_unit(&access_unit, now_us, |us| clock.is_measured(us));
        if access_unit.is_whole && (*seen > 0 || access_unit.is_keyframe) {
            *seen += 1;
        }
    });
}

/// Binds an even port and the one above it.
fn bind_pair(server: IpAddr) -> io::Result<Ports> {
    let host: IpAddr = if server.is_loopback() { server } else { Ipv4Addr::UNSPECIFIED.into() };
    let mut last = io::Error::from(ErrorKind::AddrInUse);
    for _ in 0..PORT_ATTEMPTS {
        let rtp = std::net::UdpSocket::bind(SocketAddr::new(host, 0))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 1 {
            continue;
        }
        match std::net::UdpSocket::bind(SocketAddr::new(host, port + 1)) {
            Err(error) => last = error,
            Ok(rtcp) => {
                rtp.set_nonblocking(true)?;
                SockRef::from(&rtp).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
                let state = UdpSocketState::new((&rtp).into())?;
                return Ok(Ports { rtp: UdpSocket::from_std(rtp), state, _rtcp: rtcp });
            }
        }
    }
    Err(last)
}
