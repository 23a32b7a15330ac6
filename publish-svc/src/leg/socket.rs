//! The pair of UDP ports of a leg: RTP on the even one, RTCP on the odd one above it (RFC 3550, 11).
//!
//! RTP is read with receive offload (GRO), many packets to a system call. The receive buffers belong to the worker thread, not to the leg: what
//! is read is taken out of them before the task can be moved. Senders pace for a socket of the default size; ours asks for more, for the moments when
//! it is not read.

use std::{
    cell::RefCell,
    io::{self, IoSliceMut},
    net::SocketAddr,
    task::Poll,
};

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::SockRef;
use svc_core::sockets::set_dscp;
use tokio::{io::Interest, net::UdpSocket};

use super::ports::{Ports, Watched};

/// Buffers of one receive call.
const BATCH: usize = 8;
/// The most that the kernel coalesces into one.
const BUFFER_BYTES: usize = 1 << 16;
/// The largest RTCP compound that is read; what is longer is cut and then malformed. Ours are below 200 bytes.
const RTCP_BYTES: usize = 2048;

thread_local! {
    static BUFFERS: RefCell<Vec<u8>> = RefCell::new(vec![0; BATCH * BUFFER_BYTES]);
}

/// Why ports could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("port {port} cannot be bound: {source}")]
pub(crate) struct BindError {
    /// The port.
    pub(crate) port: u16,
    /// What the system said.
    pub(crate) source: io::Error,
}

impl BindError {
    /// Another program has the port, or it is forbidden: another port may do.
    pub(crate) fn is_about_the_port(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
    }
}

/// Both sockets of a leg.
pub(crate) struct PortPair {
    rtp: UdpSocket,
    rtp_state: UdpSocketState,
    rtcp: UdpSocket,
    _watched: Watched,
}

impl PortPair {
    /// Binds `port` and the one above it.
    pub(super) fn bind(ports: &Ports, port: u16) -> Result<Self, BindError> {
        let bind = |port: u16| {
            std::net::UdpSocket::bind(SocketAddr::new(ports.address, port))
                .and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    UdpSocket::from_std(socket)
                })
                .map_err(|source| BindError { port, source })
        };
        let rtp = bind(port)?;
        let rtcp = bind(port.saturating_add(1))?;
        if ports.dscp != 0
            && let Err(error) = set_dscp(&SockRef::from(&rtcp), ports.dscp)
        {
            tracing::warn!(%error, dscp = ports.dscp, "RTCP of a leg cannot be marked");
        }
        let rtp_state =
            UdpSocketState::new((&rtp).into()).map_err(|source| BindError { port, source })?;
        let watched = ports.sockets.watch(&rtp);
        size_buffer(&rtp, ports);
        Ok(Self { rtp, rtp_state, rtcp, _watched: watched })
    }

    /// Completes when something can be read. For one task at a time.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        // By the sockets' own wakers: futures of their own would be entered and taken out at each wake-up.
        std::future::poll_fn(|context| match self.rtp.poll_recv_ready(context) {
            Poll::Pending => self.rtcp.poll_recv_ready(context),
            ready => ready,
        })
        .await
    }

    /// Reads RTP that has come, one system call's worth. Whether there may be more.
    pub(crate) fn read_rtp(&self, mut take: impl FnMut(SocketAddr, &mut [u8])) -> io::Result<bool> {
        BUFFERS.with_borrow_mut(|buffers| {
            let mut meta = [RecvMeta::default(); BATCH];
            let mut received = 0;
            let read = self.rtp.try_io(Interest::READABLE, || {
                let mut chunks = buffers.chunks_exact_mut(BUFFER_BYTES);
                let mut slices: [IoSliceMut<'_>; BATCH] =
                    std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
                received = self.rtp_state.recv((&self.rtp).into(), &mut slices, &mut meta)?;
                // A call that did not fill all buffers has emptied the socket. To say so here spares another that would find that out;
                // what comes from now on is told of anew.
                if received < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            let filled = meta.iter().zip(buffers.chunks_exact_mut(BUFFER_BYTES)).take(received);
            for (meta, buffer) in filled {
                let bytes = &mut buffer[..meta.len.min(BUFFER_BYTES)];
                for datagram in bytes.chunks_mut(meta.stride.max(1)) {
                    take(meta.addr, datagram);
                }
            }
            match read {
                Err(error) if received == 0 => Err(error),
                read => Ok(read.is_ok()),
            }
        })
    }

    /// Reads one RTCP datagram that has come.
    pub(crate) fn read_rtcp(&self, take: impl FnOnce(SocketAddr, &mut [u8])) -> io::Result<()> {
        let mut buffer = [0; RTCP_BYTES];
        let (length, source) = self.rtcp.try_recv_from(&mut buffer)?;
        take(source, &mut buffer[..length]);
        Ok(())
    }

    /// Sends RTCP. What the socket does not take at once is let go: the next report says the same and more.
    pub(crate) fn send_rtcp(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<usize> {
        self.rtcp.try_send_to(datagram, to)
    }
}

/// Asks for what the socket is to hold while it is not read. The system gives as much of it as it permits (`net.core.rmem_max`), by default twice the
/// default size: 184 packets of 1200 bytes.
fn size_buffer(rtp: &UdpSocket, ports: &Ports) {
    let socket = SockRef::from(rtp);
    if ports.receive_buffer != 0 {
        // Where it gives nothing, the default has to do.
        let _ = socket.set_recv_buffer_size(ports.receive_buffer);
    }
    if let Ok(bytes) = socket.recv_buffer_size() {
        ports.sockets.receive_buffer.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
