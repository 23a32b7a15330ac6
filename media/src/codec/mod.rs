//! Codecs: what a track's codec headers say.

pub mod aac;
pub mod ac3;
pub mod av1;
mod bits;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod g711;
pub mod h264;
pub mod h265;
mod header;
pub mod mp3;
pub mod opus;
pub mod sei;
mod silence;
pub mod vp9;

use crate::ClockRate;

pub use header::{AudioHeader, CodecError, VideoFrame, VideoHeader};

/// A codec that is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Codec {
    /// H.264 (RFC 6184).
    H264,
    /// H.265 (RFC 7798).
    H265,
    /// AV1 (RTP Payload Format For AV1).
    Av1,
    /// VP9 (RFC 9628).
    Vp9,
    /// MPEG-4 AAC (RFC 3640).
    Aac,
    /// Opus (RFC 7587).
    Opus,
    /// MPEG audio, layer III (RFC 2250).
    Mp3,
    /// G.711 (RFC 3551).
    G711,
    /// AC-3 (RFC 4184).
    Ac3,
}

/// The decoder configuration of a track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CodecConfig {
    /// H.264.
    H264(h264::Config),
    /// H.265.
    H265(h265::Config),
    /// AV1.
    Av1(av1::Config),
    /// VP9.
    Vp9(vp9::Config),
    /// MPEG-4 AAC.
    Aac(aac::Config),
    /// Opus.
    Opus(opus::Config),
    /// MPEG audio, layer III.
    Mp3(mp3::Config),
    /// G.711.
    G711(g711::Config),
    /// AC-3.
    Ac3(ac3::Config),
}

/// Whether a track is pictures or sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MediaKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl MediaKind {
    /// `video` or `audio`, as SDP, logs and metrics name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

impl Codec {
    /// Whether a track in it is pictures or sound.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::H264 | Self::H265 | Self::Av1 | Self::Vp9 => MediaKind::Video,
            Self::Aac | Self::Opus | Self::Mp3 | Self::G711 | Self::Ac3 => MediaKind::Audio,
        }
    }
}

impl CodecConfig {
    /// The codec.
    pub const fn codec(&self) -> Codec {
        match self {
            Self::H264(_) => Codec::H264,
            Self::H265(_) => Codec::H265,
            Self::Av1(_) => Codec::Av1,
            Self::Vp9(_) => Codec::Vp9,
            Self::Aac(_) => Codec::Aac,
            Self::Opus(_) => Codec::Opus,
            Self::Mp3(_) => Codec::Mp3,
            Self::G711(_) => Codec::G711,
            Self::Ac3(_) => Codec::Ac3,
        }
    }

    /// Whether the track is pictures or sound.
    pub const fn kind(&self) -> MediaKind {
        self.codec().kind()
    }

    /// The RTP clock rate.
    pub fn clock_rate(&self) -> ClockRate {
        let hz = match self {
            Self::H264(_) | Self::H265(_) | Self::Av1(_) | Self::Vp9(_) => ClockRate::VIDEO.hz(),
            // MPA has the clock of video (RFC 2250, 2).
            Self::Mp3(_) => ClockRate::VIDEO.hz(),
            Self::Aac(_) | Self::Opus(_) | Self::G711(_) | Self::Ac3(_) => self.sample_rate(),
        };
        ClockRate::new(hz).unwrap_or(ClockRate::VIDEO)
    }

    /// Samples of a second of sound; 0 for pictures.
    pub fn sample_rate(&self) -> u32 {
        match self {
            Self::H264(_) | Self::H265(_) | Self::Av1(_) | Self::Vp9(_) => 0,
            Self::Aac(config) => config.sample_rate().hz(),
            Self::Opus(_) => opus::SAMPLE_RATE,
            Self::Mp3(config) => config.sample_rate,
            Self::G711(_) => g711::SAMPLE_RATE,
            Self::Ac3(config) => config.sample_rate,
        }
    }

    /// Channels of sound; 0 for pictures, and where a program config element tells them.
    pub fn channels(&self) -> u8 {
        match self {
            Self::H264(_) | Self::H265(_) | Self::Av1(_) | Self::Vp9(_) => 0,
            Self::Aac(config) => config.channels(),
            Self::Opus(config) => config.channels,
            Self::Mp3(config) => config.channels,
            Self::G711(config) => config.channels,
            Self::Ac3(config) => config.channels,
        }
    }

    /// Width and height of the pictures in pixels, where they are known.
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        match self {
            Self::H264(config) => config.dimensions(),
            Self::H265(config) => config.dimensions(),
            Self::Av1(config) => config.dimensions(),
            Self::Vp9(config) => config.dimensions,
            Self::Aac(_) | Self::Opus(_) | Self::Mp3(_) | Self::G711(_) | Self::Ac3(_) => None,
        }
    }

    /// The RFC 6381 string, such as `avc1.4D401F`; empty while the parameter sets are not known.
    pub fn codec_string(&self) -> String {
        match self {
            Self::H264(config) => config.codec_string(),
            Self::H265(config) => config.codec_string(),
            Self::Av1(config) => config.codec_string(),
            Self::Vp9(config) => config.codec_string(),
            Self::Aac(config) => config.codec_string(),
            Self::Opus(_) => "opus".to_owned(),
            Self::Mp3(_) => "mp3".to_owned(),
            Self::G711(config) => match config.law {
                g711::Law::A => "pcma".to_owned(),
                g711::Law::Mu => "pcmu".to_owned(),
            },
            Self::Ac3(_) => "ac-3".to_owned(),
        }
    }

    /// Whether a decoder can start from it: for H.264 and H.265, whether the parameter sets are known.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::H264(config) => config.is_complete(),
            Self::H265(config) => config.is_complete(),
            Self::Av1(_)
            | Self::Vp9(_)
            | Self::Aac(_)
            | Self::Opus(_)
            | Self::Mp3(_)
            | Self::G711(_)
            | Self::Ac3(_) => true,
        }
    }

    /// Whether who was told `before` can go on with this: the codec and its clock are the same, and nothing has changed that a session
    /// description alone tells. Parameter sets of video come in-band.
    pub fn follows(&self, before: &Self) -> bool {
        let told = match (before, self) {
            (Self::Aac(before), Self::Aac(after)) => before == after,
            (Self::G711(before), Self::G711(after)) => before == after,
            (before, after) => before.codec() == after.codec(),
        };
        told && before.clock_rate() == self.clock_rate()
    }

    /// Puts in a parameter set seen in-band. Whether that changed anything.
    pub fn learn(&mut self, parameter_set: &[u8]) -> bool {
        match self {
            Self::H264(config) => config.learn(parameter_set),
            Self::H265(config) => config.learn(parameter_set),
            Self::Av1(_)
            | Self::Vp9(_)
            | Self::Aac(_)
            | Self::Opus(_)
            | Self::Mp3(_)
            | Self::G711(_)
            | Self::Ac3(_) => false,
        }
    }
}
