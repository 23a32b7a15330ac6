//! The Transport header (RFC 2326, 12.39): of what the client offers, the first alternative that can be served.

use std::net::{IpAddr, SocketAddr};

use super::{Group, TrackTransport};

/// The alternatives of one header that are looked at; clients offer up to three.
const MAX_ALTERNATIVES: usize = 16;

/// What can be served now.
pub(super) struct Offer<'a> {
    /// The server's UDP ports; `None`: no UDP.
    pub(super) udp_ports: Option<(u16, u16)>,
    /// Whether there is multicast.
    pub(super) multicast: bool,
    /// The address of the connection's peer, the only place where RTP goes: `destination=` is not honoured.
    pub(super) peer: IpAddr,
    /// The transports of the session's other tracks; all tracks go by UDP, all by multicast, or all interleaved.
    pub(super) taken: &'a [TrackTransport],
}

/// The alternative that was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Choice {
    pub(super) transport: TrackTransport,
    /// The protocol as the client wrote it, for the answer.
    protocol: &'static str,
}

#[derive(Default)]
struct Parameters<'a> {
    multicast: bool,
    interleaved: Option<&'a str>,
    client_port: Option<&'a str>,
    mode: Option<&'a str>,
}

/// The first acceptable alternative of a Transport header.
pub(super) fn choose(header: &str, offer: &Offer<'_>) -> Option<Choice> {
    header.split(',').take(MAX_ALTERNATIVES).find_map(|spec| choose_one(spec.trim(), offer))
}

fn choose_one(spec: &str, offer: &Offer<'_>) -> Option<Choice> {
    let mut parts = spec.split(';').map(str::trim);
    let protocol = parts.next()?;
    let protocol = ["RTP/AVP", "RTP/AVP/UDP", "RTP/AVP/TCP"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(protocol))?;
    let mut parameters = Parameters::default();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.to_ascii_lowercase().as_str() {
            "multicast" => parameters.multicast = true,
            "interleaved" => parameters.interleaved = Some(value),
            "client_port" => parameters.client_port = Some(value),
            "mode" => parameters.mode = Some(value.trim_matches('"')),
            // unicast is what is served; destination, source, ssrc, ttl, layers, append and unknown ones change nothing.
            _ => {}
        }
    }
    let plays = parameters.mode.is_none_or(|mode| mode.eq_ignore_ascii_case("play"));
    if !plays {
        return None;
    }
    let transport = if protocol == "RTP/AVP/TCP" {
        if parameters.multicast {
            return None;
        }
        interleaved(parameters.interleaved, offer)?
    } else if parameters.multicast {
        // The group, its ports and its TTL are ours to choose.
        let alone = offer.taken.iter().all(|taken| *taken == TrackTransport::Multicast);
        (offer.multicast && alone).then_some(TrackTransport::Multicast)?
    } else {
        udp(parameters.client_port?, offer)?
    };
    Some(Choice { transport, protocol })
}

fn interleaved(channels: Option<&str>, offer: &Offer<'_>) -> Option<TrackTransport> {
    let mut used = Vec::new();
    for taken in offer.taken {
        match taken {
            TrackTransport::Interleaved { rtp, rtcp } => used.extend([*rtp, *rtcp]),
            TrackTransport::Udp { .. } | TrackTransport::Multicast => return None,
        }
    }
    let free = |(rtp, rtcp): (u8, u8)| rtp != rtcp && !used.contains(&rtp) && !used.contains(&rtcp);
    let (rtp, rtcp) = match channels {
        Some(text) => pair(text).filter(|&channels| free(channels))?,
        None => (0..=127).map(|n| (2 * n, 2 * n + 1)).find(|&channels| free(channels))?,
    };
    Some(TrackTransport::Interleaved { rtp, rtcp })
}

fn udp(ports: &str, offer: &Offer<'_>) -> Option<TrackTransport> {
    offer.udp_ports?;
    let (rtp, rtcp): (u16, u16) = pair(ports).filter(|&(rtp, rtcp)| rtp != 0 && rtcp != 0)?;
    for taken in offer.taken {
        match taken {
            TrackTransport::Interleaved { .. } | TrackTransport::Multicast => return None,
            TrackTransport::Udp { rtp: a, rtcp: b } => {
                if [a.port(), b.port()].iter().any(|port| [rtp, rtcp].contains(port)) {
                    return None;
                }
            }
        }
    }
    let at = |port| SocketAddr::new(offer.peer, port);
    Some(TrackTransport::Udp { rtp: at(rtp), rtcp: at(rtcp) })
}

/// `a-b`, or `a` for `a` and the next.
fn pair<N: Copy + std::str::FromStr + Into<u32> + TryFrom<u32>>(text: &str) -> Option<(N, N)> {
    let (first, second) = match text.split_once('-') {
        Some((first, second)) => (first.trim(), Some(second.trim())),
        None => (text.trim(), None),
    };
    let first: N = first.parse().ok()?;
    let second = match second {
        Some(second) => second.parse().ok()?,
        None => N::try_from(first.into() + 1).ok()?,
    };
    Some((first, second))
}

impl Choice {
    /// The Transport header of the answer.
    pub(super) fn header(
        &self,
        udp_ports: Option<(u16, u16)>,
        group: Option<Group>,
        ssrc: u32,
    ) -> String {
        let protocol = self.protocol;
        match self.transport {
            TrackTransport::Multicast => {
                let to = group.map(|Group { address, port, ttl }| {
                    let rtcp = port.saturating_add(1);
                    format!(";destination={address};port={port}-{rtcp};ttl={ttl}")
                });
                let to = to.unwrap_or_default();
                format!("{protocol};multicast{to};ssrc={ssrc:08X};mode=\"PLAY\"")
            }
            TrackTransport::Interleaved { rtp, rtcp } => {
                format!("{protocol};unicast;interleaved={rtp}-{rtcp};ssrc={ssrc:08X};mode=\"PLAY\"")
            }
            TrackTransport::Udp { rtp, rtcp } => {
                let (rtp, rtcp) = (rtp.port(), rtcp.port());
                let (server_rtp, server_rtcp) = udp_ports.unwrap_or_default();
                format!(
                    "{protocol};unicast;client_port={rtp}-{rtcp};server_port={server_rtp}-{server_rtcp};ssrc={ssrc:08X};mode=\"PLAY\""
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn answer_beside(taken: &[TrackTransport], header: &str) -> Option<String> {
        let peer = IpAddr::from([10, 0, 0, 9]);
        let offer = Offer { udp_ports: Some((8000, 8001)), multicast: true, peer, taken };
        let choice = choose(header, &offer)?;
        if let TrackTransport::Udp { rtp, rtcp } = choice.transport {
            assert_eq!((rtp.ip(), rtcp.ip()), (peer, peer));
        }
        Some(
            choice
                .header(offer.udp_ports, Some(GROUP), 0xAB)
                .replace(";ssrc=000000AB;mode=\"PLAY\"", ""),
        )
    }

    fn answer(header: &str) -> Option<String> {
        answer_beside(&[], header)
    }

    const GROUP: Group =
        Group { address: IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3)), port: 8002, ttl: 7 };
    const MULTICAST: &str = "RTP/AVP;multicast;destination=239.1.2.3;port=8002-8003;ttl=7";
    const TCP_0: &str = "RTP/AVP/TCP;unicast;interleaved=0-1";
    const UDP_4: &str = "RTP/AVP;unicast;client_port=4000-4001;server_port=8000-8001";

    #[test]
    fn what_clients_offer_is_understood() {
        for (offered, answered) in [
            ("RTP/AVP/TCP;unicast;interleaved=0-1", TCP_0),
            ("rtp/avp/tcp;interleaved=0", TCP_0),
            ("RTP/AVP/TCP;unicast", TCP_0),
            (
                "RTP/AVP/TCP;unicast;interleaved=7-3;mode=play",
                "RTP/AVP/TCP;unicast;interleaved=7-3",
            ),
            ("RTP/AVP;unicast;client_port=4000-4001", UDP_4),
            ("RTP/AVP;client_port=4000;mode=\"PLAY\"", UDP_4),
            ("RTP/AVP;unicast;destination=6.6.6.6;client_port=4000-4001", UDP_4),
            ("RTP/AVP;multicast,RTP/AVP;unicast;client_port=4000-4001", MULTICAST),
            ("RTP/AVP;multicast;destination=239.9.9.9;port=1-2;ttl=255;mode=play", MULTICAST),
            ("RAW/RAW/UDP;x, RTP/SAVP;unicast;client_port=1-2, RTP/AVP/TCP;interleaved=0-1", TCP_0),
            ("RTP/AVP;unicast;client_port=x,RTP/AVP/TCP;unicast;interleaved=0-1", TCP_0),
        ] {
            assert_eq!(answer(offered).as_deref(), Some(answered), "{offered}");
        }
        assert!(
            answer("RTP/AVP/UDP;unicast;client_port=4000-4001")
                .unwrap()
                .starts_with("RTP/AVP/UDP;")
        );
    }

    #[test]
    fn without_multicast_the_next_alternative_is_taken() {
        let peer = IpAddr::from([10, 0, 0, 9]);
        let offer = Offer { udp_ports: Some((8000, 8001)), multicast: false, peer, taken: &[] };
        assert_eq!(choose("RTP/AVP;multicast", &offer), None);
        let choice = choose("RTP/AVP/UDP;multicast,RTP/AVP/TCP;interleaved=0-1", &offer).unwrap();
        assert_eq!(choice.transport, TrackTransport::Interleaved { rtp: 0, rtcp: 1 });
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for offered in [
            "",
            ";;,,",
            "RTP/AVP/TCP;multicast;interleaved=0-1",
            "RTP/AVP;multicast;mode=record",
            "RTP/AVP;unicast",
            "RTP/AVP;unicast;client_port=0-1",
            "RTP/AVP;unicast;client_port=65535",
            "RTP/AVP;unicast;client_port=70000-70001",
            "RTP/AVP/TCP;unicast;interleaved=256-257",
            "RTP/AVP/TCP;unicast;interleaved=3-3",
            "RTP/AVP/TCP;unicast;interleaved=255",
            "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record",
            "RTP/SAVPF;unicast;client_port=1-2",
        ] {
            assert_eq!(answer(offered), None, "{offered}");
        }
    }

    #[test]
    fn tracks_of_a_session_share_a_transport_but_no_channel_or_port() {
        let tcp = [TrackTransport::Interleaved { rtp: 0, rtcp: 1 }];
        let at = |port| SocketAddr::from(([10, 0, 0, 9], port));
        let udp = [TrackTransport::Udp { rtp: at(4000), rtcp: at(4001) }];
        let multicast = [TrackTransport::Multicast];
        for (taken, offered) in [
            (&tcp, "RTP/AVP;multicast"),
            (&udp, "RTP/AVP;multicast"),
            (&multicast, TCP_0),
            (&multicast, UDP_4),
        ] {
            assert_eq!(answer_beside(taken, offered), None, "{offered}");
        }
        assert_eq!(answer_beside(&multicast, "RTP/AVP;multicast").as_deref(), Some(MULTICAST));
        assert_eq!(answer_beside(&tcp, "RTP/AVP/TCP;interleaved=1-2"), None);
        assert_eq!(answer_beside(&tcp, UDP_4), None);
        assert_eq!(answer_beside(&udp, TCP_0), None);
        assert_eq!(answer_beside(&udp, UDP_4), None);
        assert_eq!(
            answer_beside(&tcp, "RTP/AVP/TCP").as_deref(),
            Some("RTP/AVP/TCP;unicast;interleaved=2-3")
        );
    }
}
