//! The RTP sockets of all legs as the system sees them: the size of their receive buffers, and what it dropped since they were full.
//!
//! The drops are read when metrics are, from `/proc/net/udp` and `/proc/net/udp6`: that a socket tells them itself (SO_RXQ_OVFL) takes a control message
//! that quinn-udp does not read. What was dropped between the last reading and the end of a leg is not counted.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::Gauge},
};
use svc_core::config::Config;

use super::{BindError, PortPair};

/// The tables of UDP sockets.
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];
/// Where a line of them has the socket's inode, and its drops.
const INODE_FIELD: usize = 9;
const DROPS_FIELD: usize = 12;

/// What sockets of legs are bound with.
pub(crate) struct Ports {
    /// `publish.rtp_bind_address`
    pub(crate) address: IpAddr,
    /// `hop.receive_buffer`
    pub(crate) receive_buffer: usize,
    /// `hop.dscp`
    pub(crate) dscp: u16,
    /// Their counts.
    pub(crate) sockets: ReceiveSockets,
}

impl Ports {
    /// What the configuration says of them.
    pub(crate) fn new(config: &Config, sockets: ReceiveSockets) -> Self {
        Self {
            address: config.publish.rtp_bind_address,
            receive_buffer: config.hop.receive_buffer,
            dscp: config.hop.dscp,
            sockets,
        }
    }

    /// Binds `port` and the one above it.
    pub(crate) fn bind(&self, port: u16) -> Result<PortPair, BindError> {
        PortPair::bind(self, port)
    }
}

/// See the module; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceiveSockets {
    /// The receive buffer of the socket that was bound last, as the system counts: twice what holds packets.
    pub(crate) receive_buffer: Gauge,
    drops: Arc<Mutex<Drops>>,
}

#[derive(Debug, Default)]
struct Drops {
    total: u64,
    /// What was counted of each socket, by its inode.
    counted: BTreeMap<u64, u64>,
}

/// One of the sockets, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Watched {
    sockets: ReceiveSockets,
    inode: Option<u64>,
}

impl ReceiveSockets {
    /// A socket is one of them.
    pub(super) fn watch(&self, socket: &impl AsRawFd) -> Watched {
        // It is a link to the socket. Where there is none there are no tables, either.
        let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let inode = std::fs::metadata(link).map(|metadata| metadata.ino()).ok();
        if let Some(inode) = inode {
            self.lock().counted.insert(inode, 0);
        }
        Watched { sockets: self.clone(), inode }
    }

    /// Counts on by the tables.
    fn count(&self, tables: &[String]) -> u64 {
        let mut drops = self.lock();
        let Drops { total, counted } = &mut *drops;
        if counted.is_empty() {
            return *total;
        }
        for (inode, now) in tables.iter().flat_map(|table| table.lines().filter_map(read)) {
            if let Some(before) = counted.get_mut(&inode) {
                *total += now.saturating_sub(*before);
                *before = now;
            }
        }
        *total
    }

    fn lock(&self) -> MutexGuard<'_, Drops> {
        self.drops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(inode) = self.inode {
            self.sockets.lock().counted.remove(&inode);
        }
    }
}

/// Inode and drops of a line.
fn read(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(INODE_FIELD);
    let inode = fields.next()?.parse().ok()?;
    let drops = fields.nth(DROPS_FIELD - INODE_FIELD - 1)?.parse().ok()?;
    Some((inode, drops))
}

impl Collector for ReceiveSockets {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tables = TABLES.map(|table| std::fs::read_to_string(table).unwrap_or_default());
        let drops = ConstCounter::new(self.count(&tables));
        let help = "RTP packets that the system dropped since a leg's receive buffer was full";
        let metric = encoder.encode_descriptor(
            "publish_rtp_kernel_drops",
            help,
            None,
            drops.metric_type(),
        )?;
        drops.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_the_system_drops_is_counted_of_the_legs_sockets_alone() {
        let sockets = ReceiveSockets::default();
        let bound = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap()];
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _watched = bound.each_ref().map(|socket| sockets.watch(socket));
        let count = || {
            let tables = TABLES.map(|table| std::fs::read_to_string(table).unwrap());
            sockets.count(&tables)
        };
        assert_eq!(count(), 0);
        for (socket, packets) in [(&bound[0], 300), (&bound[1], 400), (&other, 500)] {
            socket2::SockRef::from(socket).set_recv_buffer_size(4096).unwrap();
            let sender = UdpSocket::bind((socket.local_addr().unwrap().ip(), 0)).unwrap();
            for _ in 0..packets {
                sender.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
            }
        }
        let dropped = count();
        assert!((650..700).contains(&dropped), "{dropped}");
        assert_eq!(count(), dropped, "once");
    }

    #[test]
    fn a_socket_that_is_gone_is_counted_no_more_and_what_it_counted_stays() {
        let sockets = ReceiveSockets::default();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let watched = sockets.watch(&socket);
        let inode = watched.inode.unwrap();
        let line = |drops| {
            format!(
                "  17: 0100007F:138C 00000000:0000 07 0:0 00:0 0     0        0 {inode} 2 bef5 {drops}  "
            )
        };
        assert_eq!(sockets.count(&[line(7)]), 7);
        assert_eq!(sockets.count(&[line(9)]), 9);
        drop(watched);
        assert_eq!(sockets.count(&[line(90)]), 9);
    }
}
