//! Reading: what we write ourselves, and what ffmpeg, GStreamer, cameras and people write.

use std::net::IpAddr;

use sdp_types::{Attribute, Media, Session};

use super::{
    SdpError, SessionDescription, TrackDescription,
    fmtp::{self, Fmtp, Refusal, RtpMap},
};
use crate::{
    ClockRate,
    codec::{CodecConfig, MediaKind},
    srtp::MasterKey,
};

/// The longest session description that is read. One with a track's largest usual parameter sets has 2 KiB.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// The profiles that are carried, without and with feedback (RFC 3551, 4585).
const PLAIN: [&str; 2] = ["RTP/AVP", "RTP/AVPF"];
/// Those of SRTP (RFC 3711, 5124).
const SECURE: [&str; 2] = ["RTP/SAVP", "RTP/SAVPF"];
/// The clock of G.711.
const G711_CLOCK: ClockRate = ClockRate::new(8_000).unwrap();
/// The most media sections that are read. Ours have two; cameras with metadata and back channels have five.
pub(super) const MAX_SECTIONS: usize = 16;

impl SessionDescription {
    /// Reads a session description. Lines may end with LF only; the word `SDP:` in front, as ffmpeg prints it, is passed over.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_BYTES {
            return Err(SdpError::Syntax(format!("{} bytes, {MAX_BYTES} are allowed", text.len())));
        }
        let text = text.trim_start();
        let text = text.strip_prefix("SDP:").unwrap_or(text).trim_start();
        let session =
            Session::parse(text.as_bytes()).map_err(|e| SdpError::Syntax(e.to_string()))?;
        match session.medias.len() {
            0 => return Err(SdpError::NoTracks),
            1..=MAX_SECTIONS => {}
            n => {
                let text = format!("{n} media sections, {MAX_SECTIONS} are allowed");
                return Err(SdpError::Syntax(text));
            }
        }
        let mut source_address = source_address(&session.attributes).map_err(SdpError::Syntax)?;
        let mut tracks: Vec<TrackDescription> = Vec::new();
        let mut crypto = None;
        for (at, media) in session.medias.iter().enumerate() {
            let section = Section { at, media };
            let track = section.track()?;
            let key = section.crypto()?;
            if *crypto.get_or_insert_with(|| key.clone()) != key {
                return Err(section.problem("another a=crypto than in the sections before"));
            }
            if let Some(other) = tracks.iter().position(|other| same_on_the_wire(other, &track)) {
                let problem = "cannot be told from that of section";
                return Err(section
                    .problem(format!("payload type {} {problem} {other}", track.payload_type)));
            }
            tracks.push(track);
            match (self::source_address(&media.attributes), source_address) {
                (Err(problem), _) => return Err(section.problem(problem)),
                (Ok(Some(own)), Some(other)) if own != other => {
                    return Err(section.problem(format!("source {own} besides {other}")));
                }
                (Ok(own), other) => source_address = own.or(other),
            }
        }
        let crypto = crypto.flatten();
        Ok(Self { name: session.session_name, source_address, crypto, tracks })
    }
}

/// Whether the packets of two tracks that come on one port look alike.
fn same_on_the_wire(a: &TrackDescription, b: &TrackDescription) -> bool {
    match (a.ssrc, b.ssrc) {
        (Some(a), Some(b)) => a == b,
        _ => a.payload_type == b.payload_type,
    }
}

/// The source of `a=source-filter: incl <nettype> <address types> <dest> <src>` (RFC 4570, 3), the first if it names several.
/// Excluding filters are passed over.
fn source_address(attributes: &[Attribute]) -> Result<Option<IpAddr>, String> {
    for filter in values(attributes, "source-filter") {
        let mut words = filter.split_ascii_whitespace();
        if !words.next().is_some_and(|mode| mode.eq_ignore_ascii_case("incl")) {
            continue;
        }
        let address = words.nth(3).unwrap_or_default();
        return match address.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(format!("source-filter without an IP address: {filter:?}")),
        };
    }
    Ok(None)
}

/// The values of all attributes of a name.
fn values<'a>(attributes: &'a [Attribute], name: &'static str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |a| a.attribute == name).filter_map(|a| a.value.as_deref())
}

/// A media section and its index.
struct Section<'a> {
    at: usize,
    media: &'a Media,
}

impl Section<'_> {
    fn problem(&self, problem: impl Into<String>) -> SdpError {
        SdpError::Section { section: self.at, problem: problem.into() }
    }

    fn unsupported(&self, codec: impl Into<String>) -> SdpError {
        SdpError::UnsupportedCodec { section: self.at, codec: codec.into() }
    }

    /// The track of the section's first payload type whose codec is carried.
    fn track(&self) -> Result<TrackDescription, SdpError> {
        let Media { media, proto, fmt, .. } = self.media;
        let kind = match media.to_ascii_lowercase().as_str() {
            "video" => MediaKind::Video,
            "audio" => MediaKind::Audio,
            _ => return Err(self.unsupported(media)),
        };
        if ![PLAIN, SECURE].as_flattened().iter().any(|ours| proto.eq_ignore_ascii_case(ours)) {
            let carried = "RTP/AVP, RTP/AVPF, RTP/SAVP and RTP/SAVPF are carried";
            return Err(self.problem(format!("transport {proto:?}, {carried}")));
        }
        let mut first_error = None;
        for payload_type in fmt.split_ascii_whitespace() {
            let track = self.payload_type(payload_type).and_then(|payload_type| {
                let config = self.config(payload_type, kind)?;
                let (ssrc, cname) = self.source()?;
                let nack = self.answers_nack(payload_type);
                Ok(TrackDescription { config, payload_type, ssrc, cname, nack })
            });
            match track {
                Ok(track) => return Ok(track),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| self.problem("no payload type")))
    }

    fn payload_type(&self, text: &str) -> Result<u8, SdpError> {
        let number = text.parse().ok().filter(|&payload_type| payload_type < 128);
        number.ok_or_else(|| self.problem(format!("payload type {text:?}, 0 to 127 are allowed")))
    }

    /// Codec and parameters of a payload type.
    fn config(&self, payload_type: u8, kind: MediaKind) -> Result<CodecConfig, SdpError> {
        let map = self.rtpmap(payload_type)?;
        let fmtp = Fmtp(self.of_payload_type("fmtp", payload_type).unwrap_or_default());
        let config = fmtp::config(&map, &fmtp).map_err(|refusal| match refusal {
            Refusal::Unsupported => self.unsupported(map.encoding),
            Refusal::Problem(problem) => self.problem(problem),
        })?;
        if config.kind() != kind {
            return Err(self.problem(format!("{} in m={}", map.encoding, self.media.media)));
        }
        Ok(config)
    }

    fn rtpmap(&self, payload_type: u8) -> Result<RtpMap<'_>, SdpError> {
        let Some(map) = self.of_payload_type("rtpmap", payload_type) else {
            // Payload types below 96 have a meaning without (RFC 3551, 6).
            let name = format!("payload type {payload_type}");
            return match payload_type {
                0 => Ok(RtpMap { encoding: "PCMU", clock_rate: G711_CLOCK, channels: 1 }),
                8 => Ok(RtpMap { encoding: "PCMA", clock_rate: G711_CLOCK, channels: 1 }),
                14 => Ok(RtpMap { encoding: "MPA", clock_rate: ClockRate::VIDEO, channels: 1 }),
                96.. => Err(self.problem(format!("{name} without a=rtpmap"))),
                _ => Err(self.unsupported(name)),
            };
        };
        let mut parts = map.split('/');
        let encoding = parts.next().unwrap_or_default().trim();
        let clock_rate = parts.next().and_then(|hz| ClockRate::new(hz.trim().parse().ok()?));
        let channels = parts.next().and_then(|channels| channels.trim().parse().ok());
        let channels = channels.filter(|&channels| channels > 0).unwrap_or(1);
        match clock_rate {
            Some(clock_rate) => Ok(RtpMap { encoding, clock_rate, channels }),
            None => Err(self.problem(format!("no clock rate in a=rtpmap {map:?}"))),
        }
    }

    /// What stands behind the payload type in `a=<name>:<payload type> …`.
    fn of_payload_type(&self, name: &'static str, payload_type: u8) -> Option<&str> {
        values(&self.media.attributes, name).find_map(|value| {
            let (number, rest) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
            (number.parse() == Ok(payload_type)).then_some(rest.trim())
        })
    }

    /// The key of a profile that has one: the first of its `a=crypto` that can be used. Elsewhere such lines say what the sender would like.
    fn crypto(&self) -> Result<Option<MasterKey>, SdpError> {
        if !SECURE.iter().any(|secure| self.media.proto.eq_ignore_ascii_case(secure)) {
            return Ok(None);
        }
        let mut first_error = None;
        for value in values(&self.media.attributes, "crypto") {
            match MasterKey::from_attribute(value) {
                Ok(key) => return Ok(Some(key)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let problem = first_error.map(|error| error.to_string());
        Err(self
            .problem(problem.unwrap_or_else(|| format!("{} without a=crypto", self.media.proto))))
    }

    /// Whether `a=rtcp-fb:<payload type or *> nack` is there (RFC 4585, 4.2); with a parameter, as in `nack pli`, it is something else.
    fn answers_nack(&self, payload_type: u8) -> bool {
        values(&self.media.attributes, "rtcp-fb").any(|value| {
            let mut words = value.split_ascii_whitespace();
            let of = words.next().unwrap_or_default();
            (of == "*" || of.parse() == Ok(payload_type)) && words.eq(["nack"])
        })
    }

    /// The first source of `a=ssrc:<ssrc> <attribute>` (RFC 5576, 4.1) and its CNAME.
    fn source(&self) -> Result<(Option<u32>, Option<String>), SdpError> {
        let (mut ssrc, mut cname) = (None, None);
        for value in values(&self.media.attributes, "ssrc") {
            let (number, attribute) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
            let Ok(number) = number.parse() else {
                return Err(self.problem(format!("a=ssrc {number:?} is no 32-bit number")));
            };
            if *ssrc.get_or_insert(number) == number {
                cname = cname.or(attribute.trim().strip_prefix("cname:").map(str::to_owned));
            }
        }
        Ok((ssrc, cname))
    }
}
