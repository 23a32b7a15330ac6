//! What each codec says in `a=rtpmap` and `a=fmtp`, written and read.

use std::fmt::Write as _;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use bytes::Bytes;

use crate::{
    ClockRate,
    codec::{CodecConfig, aac, ac3, av1, g711, h264, h265, mp3, opus, vp9},
};

/// Base64 with or without its padding: GStreamer's caps and some cameras leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The value of `a=rtpmap` behind the payload type: encoding name, clock rate and channels (RFC 8866, 6.6).
pub(super) fn rtpmap(config: &CodecConfig) -> String {
    let encoding = match config {
        CodecConfig::H264(_) => "H264",
        CodecConfig::H265(_) => "H265",
        CodecConfig::Av1(_) => "AV1",
        CodecConfig::Vp9(_) => "VP9",
        CodecConfig::Aac(_) => "MPEG4-GENERIC",
        CodecConfig::Opus(_) => "opus",
        CodecConfig::Mp3(_) => "MPA",
        CodecConfig::G711(config) => match config.law {
            g711::Law::A => "PCMA",
            g711::Law::Mu => "PCMU",
        },
        CodecConfig::Ac3(_) => "ac3",
    };
    let clock_rate = config.clock_rate().hz();
    match config {
        // Always two channels, whatever there are (RFC 7587, 7).
        CodecConfig::Opus(_) => format!("{encoding}/{clock_rate}/2"),
        CodecConfig::Aac(_) | CodecConfig::Ac3(_) if config.channels() != 0 => {
            format!("{encoding}/{clock_rate}/{}", config.channels())
        }
        CodecConfig::G711(g711) if g711.channels > 1 => {
            format!("{encoding}/{clock_rate}/{}", g711.channels)
        }
        _ => format!("{encoding}/{clock_rate}"),
    }
}

/// The value of `a=fmtp` behind the payload type, for those codecs that have one.
pub(super) fn fmtp(config: &CodecConfig) -> Option<String> {
    match config {
        CodecConfig::H264(config) => Some(h264_fmtp(config)),
        CodecConfig::H265(config) => Some(h265_fmtp(config)).filter(|fmtp| !fmtp.is_empty()),
        // AV1 RTP specification, 7.2.
        CodecConfig::Av1(av1) => {
            Some(format!("profile={};level-idx={};tier={}", av1.profile, av1.level_idx, av1.tier))
        }
        // RFC 9628, 6.1.
        CodecConfig::Vp9(config) => Some(format!("profile-id={}", config.profile)),
        CodecConfig::Aac(config) => Some(aac_fmtp(config)),
        // RFC 7587, 6.1.
        CodecConfig::Opus(opus::Config { channels: 2 }) => {
            Some("sprop-stereo=1;stereo=1".to_owned())
        }
        CodecConfig::Opus(_) | CodecConfig::Mp3(_) | CodecConfig::G711(_) | CodecConfig::Ac3(_) => {
            None
        }
    }
}

fn base64_list<'a>(sets: impl IntoIterator<Item = &'a Bytes>) -> String {
    let sets: Vec<_> = sets.into_iter().map(|set| BASE64_STANDARD.encode(set)).collect();
    sets.join(",")
}

/// RFC 6184, 8.1.
fn h264_fmtp(config: &h264::Config) -> String {
    let mut fmtp = "packetization-mode=1".to_owned();
    if let Some([profile, constraints, level]) = config.profile_level_id() {
        // Writing to a String cannot fail.
        let _ = write!(fmtp, ";profile-level-id={profile:02X}{constraints:02X}{level:02X}");
    }
    let sets = base64_list(config.sps.iter().chain(&config.pps));
    if !sets.is_empty() {
        let _ = write!(fmtp, ";sprop-parameter-sets={sets}");
    }
    fmtp
}

/// RFC 7798, 7.1.
fn h265_fmtp(config: &h265::Config) -> String {
    let mut parameters = Vec::new();
    if let Some(ptl) = config.profile_tier_level() {
        parameters.push(format!(
            "profile-space={};profile-id={};tier-flag={};level-id={}",
            ptl.profile_space, ptl.profile, ptl.tier, ptl.level
        ));
    }
    for (name, sets) in
        [("sprop-vps", &config.vps), ("sprop-sps", &config.sps), ("sprop-pps", &config.pps)]
    {
        if !sets.is_empty() {
            parameters.push(format!("{name}={}", base64_list(sets)));
        }
    }
    parameters.join(";")
}

/// RFC 3640, 4.1. The level (1: AAC Profile, level 1) is not looked at by players; ffmpeg writes the same for every stream.
fn aac_fmtp(config: &aac::Config) -> String {
    let hex: String = config.raw().iter().map(|byte| format!("{byte:02X}")).collect();
    format!(
        "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;\
         indexdeltalength=3;config={hex}"
    )
}

/// `a=rtpmap`, read.
pub(super) struct RtpMap<'a> {
    pub(super) encoding: &'a str,
    pub(super) clock_rate: ClockRate,
    /// 1 where nothing is said.
    pub(super) channels: u8,
}

/// The parameters of `a=fmtp`: `key=value`, apart by `;`, keys in any case.
pub(super) struct Fmtp<'a>(pub(super) &'a str);

impl<'a> Fmtp<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then_some(value.trim().trim_matches('"'))
        })
    }

    /// A number up to `max`, `default` where it is left out.
    fn number(&self, name: &str, default: u8, max: u8) -> Result<u8, String> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = value.parse().ok().filter(|&number| number <= max);
        number.ok_or_else(|| format!("{name} {value:?}, 0 to {max} are allowed"))
    }

    /// The NAL units of a list in Base64.
    fn nal_units(&self, name: &str) -> Result<Vec<Bytes>, String> {
        let sets = self.get(name).unwrap_or_default();
        let sets = sets.split(',').map(str::trim).filter(|set| !set.is_empty());
        sets.map(|set| {
            let decoded = BASE64.decode(set).map(Bytes::from);
            decoded.map_err(|_| format!("{name}: {set:?} is no Base64"))
        })
        .collect()
    }
}

/// Why a media section's codec cannot be used.
pub(super) enum Refusal {
    /// It is not carried.
    Unsupported,
    /// It contradicts itself or lacks something.
    Problem(String),
}

impl From<String> for Refusal {
    fn from(problem: String) -> Self {
        Self::Problem(problem)
    }
}

/// The decoder configuration that a media section tells.
pub(super) fn config(map: &RtpMap<'_>, fmtp: &Fmtp<'_>) -> Result<CodecConfig, Refusal> {
    let is = |name: &str| map.encoding.eq_ignore_ascii_case(name);
    let config = if is("H264") {
        CodecConfig::H264(h264(fmtp)?)
    } else if is("H265") {
        CodecConfig::H265(h265(fmtp)?)
    } else if is("AV1") {
        // As wide as seq_profile, seq_level_idx and seq_tier are.
        CodecConfig::Av1(av1::Config {
            profile: fmtp.number("profile", 0, 7)?,
            level_idx: fmtp.number("level-idx", 5, 31)?,
            tier: fmtp.number("tier", 0, 1)?,
            ..av1::Config::default()
        })
    } else if is("VP9") {
        let profile = fmtp.number("profile-id", 0, 3)?;
        CodecConfig::Vp9(vp9::Config { profile, ..vp9::Config::default() })
    } else if is("MPEG4-GENERIC") {
        CodecConfig::Aac(aac(fmtp)?)
    } else if is("opus") {
        let stereo = fmtp.get("sprop-stereo") == Some("1");
        CodecConfig::Opus(opus::Config { channels: if stereo { 2 } else { 1 } })
    } else if is("MPA") {
        // What the frames say is not in the session description; only the RTP clock matters here.
        CodecConfig::Mp3(mp3::Config { sample_rate: 0, channels: 0, samples_per_frame: 1152 })
    } else if is("PCMA") || is("PCMU") {
        let law = if is("PCMA") { g711::Law::A } else { g711::Law::Mu };
        CodecConfig::G711(g711::Config { law, channels: map.channels })
    } else if is("ac3") {
        let sample_rate = map.clock_rate.hz();
        CodecConfig::Ac3(ac3::Config { sample_rate, channels: map.channels })
    } else {
        return Err(Refusal::Unsupported);
    };
    if config.clock_rate() != map.clock_rate {
        let (told, needed) = (map.clock_rate.hz(), config.clock_rate().hz());
        let why = match config {
            CodecConfig::Aac(_) => {
                format!("which its AudioSpecificConfig contradicts with {needed} Hz")
            }
            _ => format!("not {needed}"),
        };
        return Err(Refusal::Problem(format!("{} at {told} Hz, {why}", map.encoding)));
    }
    Ok(config)
}

/// The parameters of RFC 6184, 8.1.
fn h264(fmtp: &Fmtp<'_>) -> Result<h264::Config, String> {
    use h264::nal_type;
    match fmtp.get("packetization-mode") {
        None | Some("0" | "1") => {}
        Some(mode) => return Err(format!("packetization-mode {mode}, 0 and 1 are carried")),
    }
    let mut config = h264::Config::default();
    for nal in fmtp.nal_units("sprop-parameter-sets")? {
        match nal.first().map(|&header| nal_type::of(header)) {
            Some(nal_type::SPS) => config.sps.push(nal),
            Some(nal_type::PPS) => config.pps.push(nal),
            _ => {}
        }
    }
    Ok(config)
}

/// The parameters of RFC 7798, 7.1.
fn h265(fmtp: &Fmtp<'_>) -> Result<h265::Config, String> {
    use h265::nal_type;
    match fmtp.get("sprop-max-don-diff") {
        None | Some("0") => {}
        Some(_) => {
            return Err("sprop-max-don-diff, only packets in decoding order are carried".into());
        }
    }
    let sets = |name: &str, kind: u8| -> Result<Vec<Bytes>, String> {
        let mut sets = fmtp.nal_units(name)?;
        sets.retain(|nal| nal_type::of_nal(nal) == Some(kind));
        Ok(sets)
    };
    Ok(h265::Config {
        vps: sets("sprop-vps", nal_type::VPS)?,
        sps: sets("sprop-sps", nal_type::SPS)?,
        pps: sets("sprop-pps", nal_type::PPS)?,
    })
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
