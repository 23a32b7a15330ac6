//! Where RTMP connections read to: one buffer of the thread for all of them, from which media is sliced and, in the same wake-up, packetized.
//!
//! A buffer of its own would cost each connection 64 KiB, and the processor its cache: what was read last would always be what was
//! touched longest ago. What a session leaves over is less than a chunk's header, and moves to the connection.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// What one read may bring: some 50 ms of a 10 Mbit/s stream.
const BUFFER_BYTES: usize = 64 << 10;
/// A read has at least so much room.
const MIN_READ_BYTES: usize = 16 << 10;

thread_local! {
    static BUFFER: RefCell<BytesMut> = RefCell::default();
}

/// What a connection has read and its session has not taken.
#[derive(Debug, Default)]
pub(crate) struct Input(BytesMut);

impl Input {
    /// Reads once, behind what is left; how many bytes came, 0 at the end.
    ///
    /// By the socket's own `poll_read`: a read that does not fill the buffer has emptied the socket, and only this takes it so, instead of
    /// trying once more.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<usize>> {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.capacity() < self.0.len() + MIN_READ_BYTES {
                // Takes the same memory from its beginning, where nothing of it is held any more.
                buffer.reserve(self.0.len() + BUFFER_BYTES);
            }
            buffer.extend_from_slice(&self.0);
            let read = poll_read_buf(Pin::new(socket), context, buffer);
            match read {
                Poll::Ready(Ok(1..)) => self.0 = buffer.split(),
                _ => buffer.clear(),
            }
            read
        })
    }

    /// Lets `take` have what there is; what it leaves is kept.
    pub(crate) fn take<T>(&mut self, take: impl FnOnce(&mut BytesMut) -> T) -> T {
        let taken = take(&mut self.0);
        self.0 = BytesMut::from(&self.0[..]);
        taken
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf as _, Bytes};
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    struct Connection {
        peer: DuplexStream,
        socket: DuplexStream,
        input: Input,
    }

    impl Connection {
        fn new() -> Self {
            let (peer, socket) = duplex(BUFFER_BYTES);
            Self { peer, socket, input: Input::default() }
        }

        async fn read(&mut self) -> usize {
            let (input, socket) = (&mut self.input, &mut self.socket);
            std::future::poll_fn(|context| input.poll_read(context, socket)).await.unwrap()
        }

        async fn hear(&mut self, bytes: &[u8]) {
            self.peer.write_all(bytes).await.unwrap();
            assert_eq!(self.read().await, bytes.len());
        }

        fn slice(&mut self, bytes: usize) -> Bytes {
            self.input.take(|input| input.split_to(bytes).freeze())
        }
    }

    #[tokio::test]
    async fn what_is_left_stands_before_what_comes_next_and_connections_do_not_mix() {
        let mut connections = [Connection::new(), Connection::new()];
        for (connection, bytes) in connections.iter_mut().zip([&b"one,tw"[..], b"eins,zw"]) {
            connection.hear(bytes).await;
        }
        let firsts = [connections[0].slice(4), connections[1].slice(5)];
        for (connection, bytes) in connections.iter_mut().zip([&b"o"[..], b"ei"]) {
            connection.hear(bytes).await;
        }
        assert_eq!(firsts, [&b"one,"[..], b"eins,"]);
        assert_eq!([connections[0].slice(3), connections[1].slice(4)], [&b"two"[..], b"zwei"]);
    }

    #[tokio::test]
    async fn what_was_sliced_out_stays_however_much_is_read_after_it() {
        let mut connection = Connection::new();
        let mut kept = vec![];
        for n in 0..4 * BUFFER_BYTES / 1000 {
            connection.hear(&[n as u8; 1000]).await;
            connection.input.take(|input| input.advance(990));
            let last = connection.slice(10);
            if n % 7 == 0 {
                kept.push((n, last));
            }
        }
        assert!(kept.iter().all(|(n, last)| last[..] == [*n as u8; 10]));
    }

    #[tokio::test]
    async fn the_end_leaves_what_there_was() {
        let mut connection = Connection::new();
        connection.hear(b"abc").await;
        connection.peer.shutdown().await.unwrap();
        assert_eq!(connection.read().await, 0);
        assert_eq!(connection.slice(3), &b"abc"[..]);
    }
}
