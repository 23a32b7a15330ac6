//! Reading: what we write ourselves, and what ffmpeg, GStreamer, cameras and people write.

use std::net::IpAddr;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use sdp_types::{Attribute, Media, Session};

use super::{SdpError, SessionDescription, TrackDescription};
use crate::{
    ClockRate,
    codec::{CodecConfig, MediaKind, aac, h264, h264::nal_type},
};

/// The longest session description that is read. One with a track's largest usual parameter sets has 2 KiB.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// The most media sections that are read. Ours have two; cameras with metadata and back channels have five.
pub(super) const MAX_SECTIONS: usize = 16;

/// Base64 with or without its padding: GStreamer's caps and some cameras leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

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
        for (at, media) in session.medias.iter().enumerate() {
            let section = Section { at, media };
            let track = section.track()?;
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
        Ok(Self { name: session.session_name, source_address, tracks })
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

/// `a=rtpmap:<payload type> <encoding name>/<clock rate>[/<channels>]` (RFC 8866, 6.6), but for the channels, which the
/// AudioSpecificConfig tells.
struct RtpMap<'a> {
    encoding: &'a str,
    clock_rate: ClockRate,
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
        if !["RTP/AVP", "RTP/AVPF"].iter().any(|ours| proto.eq_ignore_ascii_case(ours)) {
            return Err(
                self.problem(format!("transport {proto:?}, RTP/AVP and RTP/AVPF are carried"))
            );
        }
        let mut first_error = None;
        for payload_type in fmt.split_ascii_whitespace() {
            let track = self.payload_type(payload_type).and_then(|payload_type| {
                let config = self.config(payload_type, kind)?;
                let (ssrc, cname) = self.source()?;
                Ok(TrackDescription { config, payload_type, ssrc, cname })
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
        let RtpMap { encoding, clock_rate } = self.rtpmap(payload_type)?;
        let fmtp = Fmtp(self.of_payload_type("fmtp", payload_type).unwrap_or_default());
        let config = if encoding.eq_ignore_ascii_case("H264") {
            if clock_rate != ClockRate::VIDEO {
                return Err(self.problem(format!("H264 at {} Hz, not 90000", clock_rate.hz())));
            }
            CodecConfig::H264(h264(&fmtp).map_err(|problem| self.problem(problem))?)
        } else if encoding.eq_ignore_ascii_case("MPEG4-GENERIC") {
            let config = aac(&fmtp).map_err(|problem| self.problem(problem))?;
            if config.sample_rate() != clock_rate {
                let problem = "which its AudioSpecificConfig contradicts with";
                return Err(self.problem(format!(
                    "{encoding} at {} Hz, {problem} {} Hz",
                    clock_rate.hz(),
                    config.sample_rate().hz()
                )));
            }
            CodecConfig::Aac(config)
        } else {
            return Err(self.unsupported(encoding));
        };
        if config.kind() != kind {
            return Err(self.problem(format!("{encoding} in m={}", self.media.media)));
        }
        Ok(config)
    }

    fn rtpmap(&self, payload_type: u8) -> Result<RtpMap<'_>, SdpError> {
        let Some(map) = self.of_payload_type("rtpmap", payload_type) else {
            // Payload types below 96 have a meaning without (RFC 3551, 6), but none that is carried.
            let name = format!("payload type {payload_type}");
            return Err(match payload_type {
                ..96 => self.unsupported(name),
                96.. => self.problem(format!("{name} without a=rtpmap")),
            });
        };
        let mut parts = map.split('/');
        let encoding = parts.next().unwrap_or_default().trim();
        let clock_rate = parts.next().and_then(|hz| ClockRate::new(hz.trim().parse().ok()?));
        match clock_rate {
            Some(clock_rate) => Ok(RtpMap { encoding, clock_rate }),
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

/// The parameters of `a=fmtp`: `key=value`, apart by `;`, keys in any case.
struct Fmtp<'a>(&'a str);

impl<'a> Fmtp<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then_some(value.trim().trim_matches('"'))
        })
    }
}

/// The parameters of RFC 6184, 8.1.
fn h264(fmtp: &Fmtp<'_>) -> Result<h264::Config, String> {
    match fmtp.get("packetization-mode") {
        None | Some("0" | "1") => {}
        Some(mode) => return Err(format!("packetization-mode {mode}, 0 and 1 are carried")),
    }
    let mut config = h264::Config::default();
    let sets = fmtp.get("sprop-parameter-sets").unwrap_or_default();
    for set in sets.split(',').map(str::trim).filter(|set| !set.is_empty()) {
        let Ok(nal) = BASE64.decode(set).map(Bytes::from) else {
            return Err(format!("sprop-parameter-sets: {set:?} is no Base64"));
        };
        match nal.first().map(|&header| nal_type::of(header)) {
            Some(nal_type::SPS) => config.sps.push(nal),
            Some(nal_type::PPS) => config.pps.push(nal),
            _ => {}
        }
    }
    Ok(config)
}

/// The parameters of RFC 3640, 4.1, of which AAC-hbr fixes all but the config.
fn aac(fmtp: &Fmtp<'_>) -> Result<aac::Config, String> {
    match fmtp.get("mode") {
        Some(mode) if mode.eq_ignore_ascii_case("AAC-hbr") => {}
        mode => return Err(format!("mode {:?}, AAC-hbr is carried", mode.unwrap_or_default())),
    }
    for (name, fixed) in [("sizelength", "13"), ("indexlength", "3"), ("indexdeltalength", "3")] {
        match fmtp.get(name) {
            Some(value) if value != fixed => {
                return Err(format!("{name} {value}, which AAC-hbr fixes to {fixed}"));
            }
            _ => {}
        }
    }
    let config = fmtp.get("config").ok_or("no config, the AudioSpecificConfig")?;
    let raw = hex(config).ok_or_else(|| format!("config {config:?} is not hexadecimal"))?;
    aac::Config::parse(raw.into()).map_err(|e| e.to_string())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}
