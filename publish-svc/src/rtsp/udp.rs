//! The pair of UDP ports that all UDP readers share: RTP out with segmentation offload, RTCP in by the reader's exact address.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use media::rtp::SegmentRun;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use tokio::net::UdpSocket;

use super::{Shared, rtcp};
use crate::{metrics::Instruments, stream::ReaderEntry};

/// How many free ports are tried for an even one with its neighbour free.
const PAIR_TRIES: usize = 64;
/// No RTCP datagram is larger.
pub(super) const RTCP_BYTES: usize = 2048;

/// When a reader was last heard of.
pub(super) type Heard = Arc<Mutex<Instant>>;

/// Whose RTCP comes from an address.
pub(super) struct Ear {
    pub(super) heard: Heard,
    pub(super) reader: Arc<ReaderEntry>,
}

/// The ports. The runtime does not watch the one of RTP: it would be told of each packet that has left it, and wake a thread for that. What
/// comes in there stays in the socket, which holds little and drops the rest.
pub(super) struct UdpPorts {
    rtp: std::net::UdpSocket,
    rtp_state: UdpSocketState,
    rtcp: UdpSocket,
    port: u16,
    ears_by_address: Mutex<HashMap<SocketAddr, Arc<Ear>>>,
}

/// Takes RTCP of one address for a session, for as long as it lives.
pub(super) struct Listening {
    shared: Arc<Shared>,
    address: SocketAddr,
    ear: Arc<Ear>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(udp) = &self.shared.udp else { return };
        let mut table = udp.ears_by_address.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that came back to its ports is in the table under its new session.
        if table.get(&self.address).is_some_and(|ear| Arc::ptr_eq(ear, &self.ear)) {
            table.remove(&self.address);
        }
    }
}

impl UdpPorts {
    /// Takes the even port of `address` and the next; port 0: any free pair.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { PAIR_TRIES } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_pair(address) {
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
                Ok(ports) => return Ok(ports),
            }
        }
    }

    fn bind_pair(address: SocketAddr) -> io::Result<Self> {
        let rtp = std::net::UdpSocket::bind(address)?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the RTP port must be even"));
        }
        let rtcp = std::net::UdpSocket::bind(SocketAddr::new(address.ip(), port + 1))?;
        rtcp.set_nonblocking(true)?;
        let rtp_state = UdpSocketState::new(UdpSockRef::from(&rtp))?;
        rtp.set_nonblocking(true)?;
        // The least that the system has.
        socket2::SockRef::from(&rtp).set_recv_buffer_size(0)?;
        Ok(Self {
            rtp,
            rtp_state,
            rtcp: UdpSocket::from_std(rtcp)?,
            port,
            ears_by_address: Mutex::default(),
        })
    }

    /// Sends multicast by the interface of this address, over so many routers.
    pub(super) fn set_multicast(&self, interface: Ipv4Addr, ttl: u8) -> io::Result<()> {
        for socket in [socket2::SockRef::from(&self.rtp), socket2::SockRef::from(&self.rtcp)] {
            socket.set_multicast_if_v4(&interface)?;
            socket.set_multicast_ttl_v4(ttl.into())?;
        }
        Ok(())
    }

    /// The ports of RTP and RTCP.
    pub(super) fn ports(&self) -> (u16, u16) {
        (self.port, self.port + 1)
    }

    /// Sends a run; without segmentation offload, where the interface refuses it.
    pub(super) fn send(&self, to: SocketAddr, run: &SegmentRun) -> io::Result<()> {
        let offload = usize::from(run.packets) <= self.rtp_state.max_gso_segments();
        if run.packets == 1 || offload {
            let segment_size = (run.packets > 1).then_some(usize::from(run.segment_size));
            match self.transmit(to, &run.data, segment_size) {
                // The offload is off from now on, but this run has to be sent again.
                Err(error) if segment_size.is_some() && refuses_offload(&error) => {}
                result => return result,
            }
        }
        for packet in run.data.chunks(usize::from(run.segment_size).max(1)) {
            self.transmit(to, packet, None)?;
        }
        Ok(())
    }

    fn transmit(
        &self,
        destination: SocketAddr,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        self.rtp_state.try_send(UdpSockRef::from(&self.rtp), &transmit)
    }

    /// Sends RTCP; what cannot be sent at once is lost, the next report follows.
    pub(super) fn send_rtcp(&self, to: SocketAddr, compound: &[u8]) {
        if let Err(error) = self.rtcp.try_send_to(compound, to) {
            tracing::debug!(%error, %to, "RTCP was not sent");
        }
    }

    /// Takes what comes from `address` as a reader's.
    pub(super) fn listen(shared: &Arc<Shared>, address: SocketAddr, ear: Ear) -> Listening {
        let ear = Arc::new(ear);
        if let Some(udp) = &shared.udp {
            let mut table = udp.ears_by_address.lock().unwrap_or_else(PoisonError::into_inner);
            table.insert(address, ear.clone());
        }
        Listening { shared: shared.clone(), address, ear }
    }

    /// Reads RTCP for ever; what comes from strangers changes nothing.
    pub(super) async fn receive(&self, metrics: &Instruments) {
        let mut rtcp = [0; RTCP_BYTES];
        loop {
            if let Ok((length, from)) = self.rtcp.recv_from(&mut rtcp).await {
                self.take(&rtcp[..length], from, metrics);
            }
        }
    }

    fn take(&self, datagram: &[u8], from: SocketAddr, metrics: &Instruments) {
        let table = self.ears_by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let ear = table.get(&from).cloned();
        drop(table);
        let Some(ear) = ear else {
            metrics.strange_rtcp.inc();
            tracing::debug!(%from, "RTCP from a stranger");
            return;
        };
        if rtcp::take(datagram, &ear.reader, metrics).is_some() {
            *ear.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

fn refuses_offload(error: &io::Error) -> bool {
    // EIO and EINVAL: what interfaces without segmentation offload answer.
    matches!(error.raw_os_error(), Some(5 | 22))
}

#[cfg(test)]
pub(super) mod tests;
