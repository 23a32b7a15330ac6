//! The reports of a group's members. They go to the group, from a port that SETUP does not tell, so that a session is known by its
//! host alone: a report is believed where one session of the group comes from there. Of several on one host none is told from the others, and
//! what others say in the group is not even counted.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::super::{
    rtcp,
    udp::{Ear, RTCP_BYTES},
};
use crate::metrics::Instruments;

/// The sessions of a group; as many as there are connections at the most.
#[derive(Default)]
pub(super) struct Members(Mutex<Vec<Arc<Ear>>>);

/// A session in its group, for as long as this lives.
pub(in crate::rtsp) struct Member {
    members: Arc<Members>,
    ear: Arc<Ear>,
}

impl Members {
    /// Adds a session.
    pub(super) fn add(self: &Arc<Self>, ear: Ear) -> Member {
        let ear = Arc::new(ear);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ear.clone());
        Member { members: self.clone(), ear }
    }

    /// Reads what comes to the group's port of RTCP, for ever.
    pub(super) async fn hear(&self, socket: &UdpSocket, metrics: &Instruments) {
        let mut buffer = [0; RTCP_BYTES];
        loop {
            if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                self.take(&buffer[..length], from, metrics);
            }
        }
    }

    fn take(&self, datagram: &[u8], from: SocketAddr, metrics: &Instruments) {
        let Some(ear) = self.only_one_of(from) else { return };
        // Our own Sender Reports come back to us, from a host that may have a reader too: only a report on the group's tracks is its own.
        if rtcp::take(datagram, &ear.reader, metrics).is_some_and(|reports| reports > 0) {
            *ear.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    fn only_one_of(&self, from: SocketAddr) -> Option<Arc<Ear>> {
        let host = from.ip().to_canonical();
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_host = members.iter().filter(|ear| ear.reader.peer.ip().to_canonical() == host);
        let first = of_host.next()?;
        of_host.next().is_none().then(|| first.clone())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.members.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|ear| !Arc::ptr_eq(ear, &self.ear));
    }
}

/// Takes part in a group on a port, which readers on this host listen to as well.
pub(super) fn join(group: Ipv4Addr, port: u16, interface: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((group, port)).into())?;
    socket.join_multicast_v4(&group, &interface)?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests;
