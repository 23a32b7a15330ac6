//! Which address others reach this host by.

use std::net::{IpAddr, UdpSocket};

/// The local address from which packets to the host of `urls` go, the first of those separated by commas; nothing is sent. `None` where it names no host and port, or there is no way to it.
pub fn local_address_towards(urls: &str) -> Option<IpAddr> {
    let uri: http::Uri = urls.split(',').next()?.trim().parse().ok()?;
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect((uri.host()?, uri.port_u16()?)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn towards_this_host_it_is_the_loopback_address_and_towards_nothing_there_is_none() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        for urls in ["http://127.0.0.1:50052", "http://127.0.0.1:1, http://other.host:1"] {
            assert_eq!(local_address_towards(urls), Some(loopback), "{urls}");
        }
        for url in ["", "http://", "http://127.0.0.1", "/path"] {
            assert_eq!(local_address_towards(url), None, "{url}");
        }
    }
}
