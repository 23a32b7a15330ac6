//! The floor: what this kernel costs at least. A bare loop that hands on what it reads, one `write` for each reader by TCP, one
//! `sendmsg` with segmentation offload for each reader by UDP; no protocol, no ring, no timer, one thread.
//!
//! A connection says first what it is: `PUB key`, `SUB key` or `UDP key port`, and is answered `OK`. Readers by TCP come before
//! the publisher sends: they get the bytes as they are read, wherever those begin.
//!
//! With a hop, what is read is also sent by UDP to a socket of its own, and received there: what two services with UDP between them cost at
//! least, before anybody reads.

use std::{
    collections::HashMap,
    io::{ErrorKind, IoSliceMut, Read as _, Write as _},
    net::SocketAddr,
};

use anyhow::Context as _;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use crate::raw;

/// What one read takes at the most.
const READ_BYTES: usize = 256 << 10;
/// A hello is not longer.
const HELLO_BYTES: usize = 256;
/// A reader for which so much lies is let go.
const PENDING_BYTES: usize = 16 << 20;
/// What one call with segmentation offload may carry (UDP's largest datagram), and how many segments.
const BATCH_BYTES: usize = 65_507;
const LISTENER: Token = Token(usize::MAX);

enum Role {
    Unknown(Vec<u8>),
    Publisher { stream: usize },
    Reader { stream: usize },
}

struct Connection {
    socket: TcpStream,
    role: Role,
    /// What a reader's socket did not take.
    pending: Vec<u8>,
}

#[derive(Default)]
struct Stream {
    by_tcp: Vec<usize>,
    by_udp: Vec<SocketAddr>,
    /// The beginning of a packet whose end is still to come.
    partial: Vec<u8>,
}

/// The loop.
pub struct Floor {
    listener: TcpListener,
    poll: Poll,
    udp: std::net::UdpSocket,
    state: UdpSocketState,
    connections: Vec<Option<Connection>>,
    streams_by_key: HashMap<String, usize>,
    streams: Vec<Stream>,
    buffer: Vec<u8>,
    hop: Option<Hop>,
}

/// The receiving end of a hop.
struct Hop {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Hop {
    fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(listen.ip(), 0))?;
        // Switches receive offload on, and blocking off.
        let state = UdpSocketState::new((&socket).into())?;
        let address = socket.local_addr()?;
        Ok(Self { socket, state, address, buffer: vec![0; 1 << 16] })
    }

    /// Receives what has come.
    fn receive(&mut self) {
        let mut meta = [RecvMeta::default()];
        let mut buffers = [IoSliceMut::new(&mut self.buffer)];
        while self.state.recv((&self.socket).into(), &mut buffers, &mut meta).is_ok() {}
    }
}

impl Floor {
    /// Listens there; with a hop, or without.
    pub fn bind(listen: SocketAddr, has_hop: bool) -> anyhow::Result<Self> {
        let mut listener = TcpListener::bind(listen).context("listen")?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let udp = std::net::UdpSocket::bind(SocketAddr::new(listen.ip(), 0))?;
        let state = UdpSocketState::new((&udp).into())?;
        Ok(Self {
            listener,
            poll,
            udp,
            state,
            connections: Vec::new(),
            streams_by_key: HashMap::new(),
            streams: Vec::new(),
            buffer: vec![0; READ_BYTES],
            hop: has_hop.then(|| Hop::bind(listen)).transpose()?,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Goes on for ever.
    pub fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                polled => polled.context("epoll")?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(at) => self.handle(at, event.is_readable(), event.is_writable()),
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
            socket.set_nodelay(true)?;
            let token = Token(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, token, interest)?;
            let role = Role::Unknown(Vec::new());
            self.connections.push(Some(Connection { socket, role, pending: Vec::new() }));
        }
    }

    fn handle(&mut self, at: usize, is_readable: bool, is_writable: bool) {
        let Some(connection) = self.connections.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        if is_writable && !connection.pending.is_empty() && !connection.flush() {
            self.close(at);
            return;
        }
        if !is_readable {
            return;
        }
        loop {
            let Some(connection) = self.connections[at].as_mut() else { return };
            let read = match connection.socket.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => return self.close(at),
                Ok(read) => read,
            };
            match &mut connection.role {
                Role::Publisher { stream } => {
                    let stream = *stream;
                    self.hand_on(stream, read);
                }
                Role::Reader { .. } => {}
                Role::Unknown(hello) => {
                    hello.extend_from_slice(&self.buffer[..read]);
                    let hello = hello.clone();
                    if !self.hello(at, &hello) {
                        return self.close(at);
                    }
                }
            }
            // A short read has emptied the socket: what comes later is told of anew.
            if read < READ_BYTES {
                return;
            }
        }
    }

    /// What the connection says it is; `false` if that is nothing.
    fn hello(&mut self, at: usize, hello: &[u8]) -> bool {
        if !hello.ends_with(b"\n") {
            return hello.len() < HELLO_BYTES;
        }
        let Ok(text) = str::from_utf8(hello) else { return false };
        let words: Vec<_> = text.split_whitespace().collect();
        let [verb, key, ..] = words[..] else { return false };
        let count = self.streams.len();
        let stream = *self.streams_by_key.entry(key.to_owned()).or_insert(count);
        if stream == count {
            self.streams.push(Stream::default());
        }
        let Some(connection) = self.connections[at].as_mut() else { return false };
        match (verb, words.get(2).map(|port| port.parse())) {
            ("PUB", None) => connection.role = Role::Publisher { stream },
            ("SUB", None) => {
                connection.role = Role::Reader { stream };
                self.streams[stream].by_tcp.push(at);
            }
            ("UDP", Some(Ok(port))) => {
                let Ok(peer) = connection.socket.peer_addr() else { return false };
                connection.role = Role::Reader { stream };
                self.streams[stream].by_udp.push(SocketAddr::new(peer.ip(), port));
            }
            _ => return false,
        }
        connection.write(b"OK\r\n\r\n")
    }

    /// Hands on what the buffer holds.
    fn hand_on(&mut self, stream: usize, read: usize) {
        let mut gone = Vec::new();
        for &at in &self.streams[stream].by_tcp {
            let connection = self.connections[at].as_mut();
            if connection.is_none_or(|connection| !connection.write(&self.buffer[..read])) {
                gone.push(at);
            }
        }
        gone.into_iter().for_each(|at| self.close(at));
        let stream = &mut self.streams[stream];
        if stream.by_udp.is_empty() {
            stream.by_udp.extend(self.hop.as_ref().map(|hop| hop.address));
        }
        if stream.by_udp.is_empty() {
            return;
        }
        if stream.partial.is_empty() {
            let sent = send(&self.udp, &self.state, &stream.by_udp, &self.buffer[..read]);
            stream.partial.extend_from_slice(&self.buffer[sent..read]);
        } else {
            stream.partial.extend_from_slice(&self.buffer[..read]);
            let sent = send(&self.udp, &self.state, &stream.by_udp, &stream.partial);
            stream.partial.drain(..sent);
        }
        if let Some(hop) = &mut self.hop {
            hop.receive();
        }
    }

    fn close(&mut self, at: usize) {
        let Some(connection) = self.connections[at].take() else { return };
        if let Role::Reader { stream } = connection.role {
            self.streams[stream].by_tcp.retain(|reader| *reader != at);
            if let Ok(peer) = connection.socket.peer_addr() {
                // Readers by UDP are not told apart when they go: a run ends with all of them.
                self.streams[stream].by_udp.retain(|reader| reader.ip() != peer.ip());
            }
        }
    }
}

/// Sends all whole packets to all of them; how many bytes that were.
fn send(
    socket: &std::net::UdpSocket,
    state: &UdpSocketState,
    readers: &[SocketAddr],
    bytes: &[u8],
) -> usize {
    let segments = state.max_gso_segments().max(1);
    let mut at = 0;
    while let Some((length, segment)) = {
        let limit = BATCH_BYTES.min(segments * (raw::PACKET_BYTES + raw::FRAMING_BYTES));
        raw::batch(&bytes[at..], limit)
    } {
        let contents = &bytes[at..at + length];
        for &destination in readers {
            let transmit = Transmit {
                destination,
                ecn: None,
                contents,
                segment_size: (segment < length).then_some(segment),
                src_ip: None,
            };
            // A reader that is gone is no reason to end.
            let _ = state.try_send(socket.into(), &transmit);
        }
        at += length;
    }
    at
}

impl Connection {
    /// Writes at once what goes; keeps the rest. `false` if the reader is gone.
    fn write(&mut self, bytes: &[u8]) -> bool {
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            return self.pending.len() <= PENDING_BYTES;
        }
        match self.socket.write(bytes) {
            Ok(written) if written == bytes.len() => true,
            Ok(written) => {
                self.pending.extend_from_slice(&bytes[written..]);
                // The rest may go at once as well; if not, the socket tells when it does.
                self.flush()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.pending.extend_from_slice(bytes);
                true
            }
            Err(_) => false,
        }
    }

    fn flush(&mut self) -> bool {
        let mut written = 0;
        let is_there = loop {
            match self.socket.write(&self.pending[written..]) {
                Ok(more) => written += more,
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
            if written == self.pending.len() {
                break true;
            }
        };
        self.pending.drain(..written);
        is_there
    }
}
