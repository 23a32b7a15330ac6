//! What the configuration says of the hop's sockets (`[hop]`).

use std::io;

use socket2::SockRef;

/// Marks what a socket sends with a DSCP (RFC 2474), 0 to 63; of an IPv6 socket what it sends to IPv4 addresses, too.
pub fn set_dscp(socket: &SockRef<'_>, dscp: u16) -> io::Result<()> {
    // The two bits below it are of ECN (RFC 3168).
    let class = u32::from(dscp) << 2;
    let is_ipv6 = socket.local_addr()?.is_ipv6();
    if is_ipv6 {
        socket.set_tclass_v6(class)?;
        // Where it is for IPv6 only, there is nothing to mark.
        let _ = socket.set_tos_v4(class);
        return Ok(());
    }
    socket.set_tos_v4(class)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn both_families_are_marked() {
        let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_dscp(&SockRef::from(&v4), 46).unwrap();
        assert_eq!(SockRef::from(&v4).tos_v4().unwrap(), 184);
        let v6 = UdpSocket::bind("[::1]:0").unwrap();
        set_dscp(&SockRef::from(&v6), 34).unwrap();
        assert_eq!(SockRef::from(&v6).tclass_v6().unwrap(), 136);
    }
}
