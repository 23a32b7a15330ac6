//! What a connection has to say: buffers that wait, and how they are framed.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::{Buf as _, Bytes, BytesMut};
use media::rtsp::tunnel::{WebSocketError, close_frame, messages};
use smallvec::SmallVec;
use tokio::net::tcp::OwnedWriteHalf;

use crate::ring::{FRAMING_BYTES, RingUnit, framing};

/// Buffers that one write takes; what a wake-up makes is one or a few.
const MAX_SLICES: usize = 16;
/// Packets that one write gathers: an access unit of 38 KB. Each takes two buffers of the 1,024 that the system allows.
const MAX_GATHERED: usize = 32;

/// What waits to be written.
#[derive(Default)]
pub(super) struct Output {
    waiting: VecDeque<Waiting>,
    framing: Framing,
}

/// What is written in one.
enum Waiting {
    Bytes(Bytes),
    /// The packets of an access unit as they lie in the ring, to be framed for that channel as they are written.
    Unit(Arc<RingUnit>, u8),
}

/// How what is said is framed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Framing {
    #[default]
    Plain,
    WebSocket,
    /// A WebSocket that was closed: nothing more may be said.
    Closed,
}

impl Output {
    /// Of a plain connection or of a tunnel.
    pub(super) fn plain() -> Self {
        Self::default()
    }

    /// Of a WebSocket.
    pub(super) fn websocket() -> Self {
        Self { framing: Framing::WebSocket, ..Self::default() }
    }

    /// Adds a response, or whole interleaved frames.
    pub(super) fn push(&mut self, rtsp: Bytes) {
        match self.framing {
            // An empty one could not be told from a connection that takes nothing more.
            _ if rtsp.is_empty() => {}
            Framing::Plain => self.waiting.push_back(Waiting::Bytes(rtsp)),
            Framing::WebSocket => {
                let mut framed = BytesMut::new();
                messages(&rtsp, &mut framed);
                self.waiting.push_back(Waiting::Bytes(framed.freeze()));
            }
            Framing::Closed => {}
        }
    }

    /// Adds the packets of an access unit, interleaved on that channel. Only who is alone with it gathers it: for all others a copy with the
    /// framing in place is cheaper, as they share it.
    pub(super) fn push_unit(&mut self, unit: &Arc<RingUnit>, channel: u8) {
        let is_small = unit.packets.sizes.len() <= MAX_GATHERED;
        if self.framing == Framing::Plain && is_small && unit.is_first_asked() {
            self.waiting.push_back(Waiting::Unit(unit.clone(), channel));
        } else {
            self.push(unit.framed(channel));
        }
    }

    /// Adds bytes as they are.
    pub(super) fn push_raw(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.waiting.push_back(Waiting::Bytes(bytes));
        }
    }

    /// Says, where there is a way to, that nothing more comes.
    pub(super) fn close(&mut self, why: WebSocketError) {
        if self.framing == Framing::WebSocket {
            self.waiting.push_back(Waiting::Bytes(close_frame(why)));
            self.framing = Framing::Closed;
        }
    }

    /// Writes of what waits what one call takes.
    pub(super) fn write(&self, socket: &OwnedWriteHalf) -> io::Result<usize> {
        match self.waiting.front() {
            Some(Waiting::Unit(unit, channel)) => write_gathered(socket, unit, *channel),
            // The rule; and cheaper than the same by a list of buffers.
            Some(Waiting::Bytes(bytes)) if self.waiting.len() == 1 => socket.try_write(bytes),
            _ => {
                let bytes = self.waiting.iter().map_while(Waiting::bytes).take(MAX_SLICES);
                let slices: SmallVec<[_; MAX_SLICES]> = bytes.map(|b| IoSlice::new(b)).collect();
                socket.try_write_vectored(&slices)
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes off what was written.
    pub(super) fn written(&mut self, mut bytes: usize) {
        while let Some(front) = self.waiting.front_mut() {
            if let Waiting::Unit(unit, channel) = front {
                let whole = unit.packets.data.len() + unit.packets.sizes.len() * FRAMING_BYTES;
                if bytes < whole {
                    *front = Waiting::Bytes(unit.framed(*channel));
                    continue;
                }
                bytes -= whole;
            }
            if let Waiting::Bytes(front) = front {
                let taken = bytes.min(front.len());
                front.advance(taken);
                bytes -= taken;
                if !front.is_empty() {
                    return;
                }
            }
            self.waiting.pop_front();
        }
    }
}

impl Waiting {
    fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unit(..) => None,
        }
    }
}

/// Writes the packets of an access unit, each behind its framing.
fn write_gathered(socket: &OwnedWriteHalf, unit: &RingUnit, channel: u8) -> io::Result<usize> {
    let sizes = &unit.packets.sizes;
    let framings: SmallVec<[_; MAX_GATHERED]> =
        sizes.iter().map(|&size| framing(channel, size)).collect();
    let mut slices = SmallVec::<[IoSlice<'_>; 2 * MAX_GATHERED]>::new();
    let mut rest = unit.packets.data.as_ref();
    for (framing, &size) in framings.iter().zip(sizes) {
        let (packet, behind) = rest.split_at(usize::from(size).min(rest.len()));
        slices.push(IoSlice::new(framing));
        slices.push(IoSlice::new(packet));
        rest = behind;
    }
    socket.try_write_vectored(&slices)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use media::{codec::MediaKind, rtp::PacketBatch};
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    fn unit(sizes: &[u16]) -> Arc<RingUnit> {
        let bytes: usize = sizes.iter().map(|&size| usize::from(size)).sum();
        let data: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        let packets = PacketBatch { data: data.into(), sizes: sizes.into() };
        RingUnit::new(0, MediaKind::Video, false, 0, 0, packets, Instant::now()).into()
    }

    async fn pair() -> (OwnedWriteHalf, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let writing = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (reading, _) = listener.accept().await.unwrap();
        writing.writable().await.unwrap();
        (writing.into_split().1, reading)
    }

    #[tokio::test]
    async fn who_is_alone_with_an_access_unit_gathers_it_and_others_share_a_copy() {
        let (socket, mut reading) = pair().await;
        let unit = unit(&[60, 1200, 1200, 7]);
        let (mut first, mut second) = (Output::plain(), Output::plain());
        first.push_unit(&unit, 0);
        second.push_unit(&unit, 0);
        assert!(matches!(first.waiting[0], Waiting::Unit(..)));
        assert!(matches!(&second.waiting[0], Waiting::Bytes(bytes) if *bytes == unit.framed(0)));
        for output in [&mut first, &mut second] {
            let written = output.write(&socket).unwrap();
            output.written(written);
            assert!(output.is_empty());
            let mut read = vec![0; written];
            reading.read_exact(&mut read).await.unwrap();
            assert_eq!(read, unit.framed(0));
        }
    }

    #[test]
    fn what_a_socket_did_not_take_of_a_gathered_access_unit_is_left() {
        for taken in [0, 3, 64, 65, 2480, 2483, 2486] {
            let unit = unit(&[60, 1200, 1200, 7]);
            let mut output = Output::plain();
            output.push_unit(&unit, 4);
            output.push(Bytes::from_static(b"behind"));
            output.written(taken);
            let left: Vec<u8> =
                output.waiting.iter().filter_map(Waiting::bytes).flatten().copied().collect();
            let all = [&unit.framed(4)[..], b"behind"].concat();
            assert_eq!(left, all[taken..], "{taken}");
        }
    }

    #[test]
    fn a_websocket_and_a_large_access_unit_take_a_copy() {
        let mut output = Output::websocket();
        output.push_unit(&unit(&[60, 7]), 0);
        assert!(matches!(output.waiting[0], Waiting::Bytes(_)));
        let mut output = Output::plain();
        output.push_unit(&unit(&[100; MAX_GATHERED + 1]), 0);
        assert!(matches!(output.waiting[0], Waiting::Bytes(_)));
    }
}
