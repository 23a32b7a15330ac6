//! Writing: the description of a leg and the answer to DESCRIBE.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, MediaType, Origin, Session, Time, TransportProto};

use super::{SessionDescription, TrackDescription, fmtp};
use crate::codec::MediaKind;

impl SessionDescription {
    /// As ingest hands it to a node: all tracks BUNDLEd on the port of `destination`, `a=ssrc` with CNAME, `a=source-filter`, `a=rtcp-fb`
    /// and the key in `a=crypto`.
    pub fn to_leg_sdp(&self, destination: SocketAddr) -> String {
        let address = destination.ip();
        let origin = Origin::with_ip_addr(0, 0, self.source_address.unwrap_or(address));
        let mut session = self.session(origin, address);
        let mids: String = (0..self.tracks.len()).map(|mid| format!(" {mid}")).collect();
        session.attributes.push(Attribute::with_value("group", format!("BUNDLE{mids}")));
        if let Some(source) = self.source_address {
            session.attributes.push(source_filter(address, source));
        }
        for (mid, track) in self.tracks.iter().enumerate() {
            // Feedback and encryption take profiles of their own (RFC 4585, 4.1; RFC 3711, 5124).
            let proto = match (self.crypto.is_some(), track.nack) {
                (false, false) => TransportProto::RtpAvp,
                (false, true) => TransportProto::RtpAvpf,
                (true, false) => TransportProto::RtpSavp,
                (true, true) => TransportProto::RtpSavpf,
            };
            let mut media = track.media(destination.port(), proto);
            if let Some(key) = &self.crypto {
                media.attributes.push(Attribute::with_value("crypto", key.to_attribute()));
            }
            if track.nack {
                media.attributes.push(Attribute::with_value("rtcp-fb", "* nack"));
            }
            media.attributes.push(Attribute::with_value("mid", mid));
            if let Some(ssrc) = track.ssrc {
                let cname = track.cname.as_ref().map(|cname| format!(" cname:{cname}"));
                let value = format!("{ssrc}{}", cname.unwrap_or_default());
                media.attributes.push(Attribute::with_value("ssrc", value));
            }
            session.medias.push(media);
        }
        session.to_string()
    }

    /// As DESCRIBE answers it: port 0, `a=control:trackID=N`, `a=range:npt=now-`, fmtp with sprop-parameter-sets, profile-level-id, AAC config.
    /// `origin` is the address of the server, `version` grows with each change of the description.
    pub fn to_reader_sdp(&self, origin: IpAddr, session_id: u64, version: u64) -> String {
        // Where RTP goes is for SETUP to say (RFC 2326, C.1.7).
        let nowhere = match origin {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let mut session = self.session(Origin::with_ip_addr(session_id, version, origin), nowhere);
        session.attributes.push(Attribute::with_value("control", "*"));
        session.attributes.push(Attribute::with_value("range", "npt=now-"));
        for (at, track) in self.tracks.iter().enumerate() {
            let mut media = track.media(0, TransportProto::RtpAvp);
            media.attributes.push(Attribute::with_value("control", format!("trackID={at}")));
            session.medias.push(media);
        }
        session.to_string()
    }

    /// What both have at the session level.
    fn session(&self, origin: Origin, connection: IpAddr) -> Session {
        // The line may not be empty (RFC 8866, 5.3).
        let name = if self.name.is_empty() { "-" } else { &self.name };
        let mut session = Session::new(origin, name);
        session.connection = Some(Connection::from_ip_addr(connection));
        session.times.push(Time::new(0, 0));
        session.attributes.push(Attribute::with_value("tool", "rtmp2rtsp"));
        session
    }
}

/// RFC 4570, 3. The two addresses share an address type; where they differ, the destination is left open.
fn source_filter(destination: IpAddr, source: IpAddr) -> Attribute {
    let address_type = if source.is_ipv4() { "IP4" } else { "IP6" };
    let destination = match destination.is_ipv4() == source.is_ipv4() {
        true => destination.to_string(),
        false => "*".to_owned(),
    };
    let value = format!(" incl IN {address_type} {destination} {source}");
    Attribute::with_value("source-filter", value)
}

impl TrackDescription {
    /// The media section with codec and parameters.
    fn media(&self, port: u16, proto: TransportProto) -> Media {
        let payload_type = self.payload_type;
        let media_type = match self.config.kind() {
            MediaKind::Video => MediaType::Video,
            MediaKind::Audio => MediaType::Audio,
        };
        let mut media = Media::new(media_type, port, proto, payload_type);
        let rtpmap = Some(("rtpmap", fmtp::rtpmap(&self.config)));
        let fmtp = fmtp::fmtp(&self.config).map(|fmtp| ("fmtp", fmtp));
        for (name, value) in rtpmap.into_iter().chain(fmtp) {
            let value = format!("{payload_type} {value}");
            media.attributes.push(Attribute::with_value(name, value));
        }
        media
    }
}
