//! The two sockets of a leg: RTP and RTCP, both connected, so that a node that is gone is told by ICMP and strangers are not heard.
//!
//! The runtime does not watch the RTP socket: it would be told of each packet that has left it, and wake a thread for that.

mod marked;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use quinn_udp::{Transmit, UdpSocketState};
use socket2::SockRef;
use svc_core::{config::HopConfig, sockets::set_dscp};
use tokio::net::UdpSocket;
use tracing::warn;

use crate::seal::Segments;

/// Errors of a send with segmentation offload where an interface refuses it; quinn-udp turns it off then, but the packets of that
/// send are to be sent again (quinn-rs/quinn#2399).
const EIO: i32 = 5;
const EINVAL: i32 = 22;

/// How long a socket that is full is left alone: at 1 Gbit/s half of its default size of 212,992 bytes is gone by then.
const FULL: Duration = Duration::from_millis(1);

/// See the module.
pub(crate) struct LegSockets {
    rtp: std::net::UdpSocket,
    state: UdpSocketState,
    rtcp: UdpSocket,
    rtp_address: SocketAddr,
    rtcp_address: SocketAddr,
    /// Packets are marked with a DSCP.
    is_marked: bool,
    /// Segmentation offload was refused to marked ones.
    is_single: AtomicBool,
}

/// What became of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// It is on its way.
    All,
    /// The socket's buffer is full: once more when it is writable.
    Blocked,
    /// Some of it could not be sent.
    Failed(io::ErrorKind),
}

impl LegSockets {
    /// Sockets from any port of `bind` to `rtp_address` and the port above it.
    pub(crate) async fn connect(
        bind: IpAddr,
        rtp_address: SocketAddr,
        hop: &HopConfig,
    ) -> io::Result<Self> {
        let rtcp_port = rtp_address.port().checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        let rtcp_address = SocketAddr::new(rtp_address.ip(), rtcp_port);
        let rtp = connected(bind, rtp_address).await?.into_std()?;
        let rtcp = connected(bind, rtcp_address).await?;
        let state = UdpSocketState::new((&rtp).into())?;
        let is_marked = hop.dscp != 0;
        if is_marked {
            for socket in [SockRef::from(&rtp), SockRef::from(&rtcp)] {
                set_dscp(&socket, hop.dscp)?;
            }
        }
        if hop.send_buffer != 0
            && let Err(error) = SockRef::from(&rtp).set_send_buffer_size(hop.send_buffer)
        {
            warn!(%error, bytes = hop.send_buffer, "hop.send_buffer cannot be had");
        }
        let is_single = AtomicBool::new(false);
        Ok(Self { rtp, state, rtcp, rtp_address, rtcp_address, is_marked, is_single })
    }

    /// The address from which packets come, as the node sees it without NAT between.
    pub(crate) fn local_ip(&self) -> io::Result<IpAddr> {
        Ok(self.rtp.local_addr()?.ip())
    }

    /// How many packets one send takes now; falls to 1 where segmentation offload is refused.
    pub(crate) fn max_segments(&self) -> usize {
        if self.is_single.load(Relaxed) { 1 } else { self.state.max_gso_segments() }
    }

    /// Sends a run, in one piece if it can be; `refused` counts ICMP port unreachable on the way.
    pub(crate) fn send(&self, run: Segments<'_>, refused: &mut u32) -> Sent {
        let packets = run.data.len().div_ceil(run.segment_size.max(1).into());
        if packets <= self.max_segments() {
            match self.send_once(run.data, run.segment_size, refused) {
                Ok(()) => return Sent::All,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Blocked,
                Err(error) if packets > 1 && is_offload_refused(&error) => {
                    self.is_single.store(self.is_marked, Relaxed);
                }
                Err(error) => return Sent::Failed(error.kind()),
            }
        }
        self.send_one_by_one(run, refused)
    }

    fn send_one_by_one(&self, run: Segments<'_>, refused: &mut u32) -> Sent {
        let mut result = Sent::All;
        for (at, packet) in run.data.chunks(run.segment_size.max(1).into()).enumerate() {
            match self.send_once(packet, run.segment_size, refused) {
                Ok(()) => {}
                // What went out already must not go out twice; the receiver sees the rest as lost.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && at == 0 => {
                    return Sent::Blocked;
                }
                Err(error) => result = Sent::Failed(error.kind()),
            }
        }
        result
    }

    fn send_once(&self, contents: &[u8], segment_size: u16, refused: &mut u32) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.rtp_address,
            ecn: None,
            contents,
            segment_size: Some(segment_size.into()),
            src_ip: None,
        };
        let send = || match self.is_marked {
            true => marked::send(&self.rtp, contents, segment_size),
            false => self.state.try_send((&self.rtp).into(), &transmit),
        };
        match send() {
            // Tells of an earlier packet, and keeps this one from being sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                *refused += 1;
                send()
            }
            result => result,
        }
    }

    /// Completes when the RTP socket may take packets again. Cancel safe.
    pub(crate) async fn writable(&self) {
        tokio::time::sleep(FULL).await;
    }

    /// Sends an RTCP compound; whatever the system says: the next one is due soon.
    pub(crate) fn send_rtcp(&self, compound: &[u8]) -> io::Result<()> {
        match self.rtcp.try_send(compound) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.rtcp.try_send(compound).and(Err(error))
            }
            result => result.map(drop),
        }
    }

    /// The next RTCP compound of the node. Cancel safe.
    pub(crate) async fn receive_rtcp(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rtcp.recv(buffer).await
    }

    /// Where RTP goes.
    pub(crate) fn rtp_address(&self) -> SocketAddr {
        self.rtp_address
    }

    /// Where RTCP goes.
    pub(crate) fn rtcp_address(&self) -> SocketAddr {
        self.rtcp_address
    }
}

async fn connected(bind: IpAddr, to: SocketAddr) -> io::Result<UdpSocket> {
    // The unspecified address of the other family says "any" as well.
    let bind = match (bind.is_unspecified(), to) {
        (true, SocketAddr::V4(_)) => IpAddr::from([0, 0, 0, 0]),
        (true, SocketAddr::V6(_)) => IpAddr::from([0u16; 8]),
        (false, _) => bind,
    };
    let socket = UdpSocket::bind(SocketAddr::new(bind, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

fn is_offload_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EIO | EINVAL))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media::{codec::MediaKind, rtp::PacketBatch};

    use super::*;
    use crate::pacer::Pacer;

    async fn connect(to: SocketAddr, hop: &HopConfig) -> LegSockets {
        LegSockets::connect([0, 0, 0, 0].into(), to, hop).await.unwrap()
    }

    fn keyframe(bytes: usize) -> PacketBatch {
        let sizes: Vec<u16> =
            (0..bytes).step_by(1200).map(|at| (bytes - at).min(1200) as u16).collect();
        let data: Vec<u8> = (0..bytes).map(|at| (at / 1200 % 251) as u8).collect();
        PacketBatch { data: data.into(), sizes: sizes.into() }
    }

    async fn send_paced(sockets: &LegSockets, packets: &PacketBatch) {
        let mut pacer = Pacer::new(32);
        pacer.push(MediaKind::Video, packets, sockets.max_segments()).unwrap();
        loop {
            while let Some(run) = pacer.poll(std::time::Instant::now()) {
                match sockets.send((&run.run).into(), &mut 0) {
                    Sent::All => {}
                    Sent::Blocked => {
                        pacer.put_back(run);
                        sockets.writable().await;
                    }
                    Sent::Failed(kind) => panic!("{kind}"),
                }
            }
            let Some(at) = pacer.poll_timeout(std::time::Instant::now()) else { return };
            tokio::time::sleep_until(at.into()).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_keyframe_of_2_mb_arrives_whole_in_a_receive_buffer_of_default_size() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // As a node asks for; more is not permitted by default.
        SockRef::from(&receiver).set_recv_buffer_size(212_992).unwrap();
        let sockets = connect(receiver.local_addr().unwrap(), &HopConfig::default()).await;
        let packets = keyframe(2 << 20);
        let expected: Vec<Bytes> = packets.packets().collect();
        let count = expected.len();
        let receive = tokio::spawn(async move {
            let mut received = vec![];
            let mut buffer = [0; 2048];
            while received.len() < count {
                let next = receiver.recv(&mut buffer);
                match tokio::time::timeout(Duration::from_secs(5), next).await {
                    Ok(n) => received.push(Bytes::copy_from_slice(&buffer[..n.unwrap()])),
                    Err(_) => break,
                }
            }
            received
        });
        send_paced(&sockets, &packets).await;
        let received = receive.await.unwrap();
        assert_eq!(received.len(), expected.len(), "packets");
        assert!(received == expected, "in order and unchanged");
    }

    #[tokio::test]
    async fn a_node_that_is_gone_is_told_and_costs_no_packet() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let sockets = connect(address, &HopConfig::default()).await;
        let run = keyframe(100).runs(1).next().unwrap();
        let mut refused = 0;
        for _ in 0..10 {
            assert_eq!(sockets.send((&run).into(), &mut refused), Sent::All);
        }
        assert!(refused > 0);
    }

    #[tokio::test]
    async fn marked_packets_arrive_as_they_are_with_the_socket_that_is_asked_for() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(bind).await.unwrap();
            let hop = HopConfig { dscp: 46, send_buffer: 50_000, ..HopConfig::default() };
            let sockets = connect(receiver.local_addr().unwrap(), &hop).await;
            // The system counts twice what it is asked for.
            let buffer = SockRef::from(&sockets.rtp).send_buffer_size().unwrap();
            assert_eq!(buffer, 100_000);
            let packets = keyframe(30_000);
            for run in packets.runs(sockets.max_segments()) {
                assert_eq!(sockets.send((&run).into(), &mut 0), Sent::All);
            }
            let mut buffer = [0; 2048];
            for packet in packets.packets() {
                let length = receiver.recv(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], &packet[..]);
            }
        }
    }
}
