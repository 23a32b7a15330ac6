//! What a publisher's codec headers say, beyond what a decoder needs to know: how its access units are to be read.

use bytes::Bytes;

use super::{
    CodecConfig, aac, ac3, av1, g711,
    h264::{self, avcc_nal_units},
    h265, mp3, opus, vp9,
};
use crate::flv::{AudioCodec, VideoCodec};

/// Why a codec header or an access unit cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// H.264, and NAL units behind their lengths.
    #[error(transparent)]
    H264(#[from] h264::H264Error),
    /// H.265.
    #[error(transparent)]
    H265(#[from] h265::H265Error),
    /// AV1.
    #[error(transparent)]
    Av1(#[from] av1::Av1Error),
    /// VP9.
    #[error(transparent)]
    Vp9(#[from] vp9::Vp9Error),
    /// AAC.
    #[error(transparent)]
    Aac(#[from] aac::AacError),
    /// Opus.
    #[error(transparent)]
    Opus(#[from] opus::OpusError),
    /// MPEG audio.
    #[error(transparent)]
    Mp3(#[from] mp3::Mp3Error),
    /// AC-3.
    #[error(transparent)]
    Ac3(#[from] ac3::Ac3Error),
    /// An access unit without a NAL unit or a sample.
    #[error("an empty access unit")]
    Empty,
    /// A codec header that comes with another codec's frames.
    #[error("a frame in another codec than its header")]
    OtherCodec,
    /// A frame that its RTP payload format cannot say the size of.
    #[error("a frame of {0} bytes, which its RTP payload format cannot carry")]
    FrameSize(usize),
}

/// How the access units of a video track are to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VideoHeader {
    /// H.264.
    H264(h264::DecoderConfigurationRecord),
    /// H.265.
    H265(h265::DecoderConfigurationRecord),
    /// AV1.
    Av1(av1::Config),
    /// VP9.
    Vp9(vp9::Config),
}

/// What an access unit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VideoFrame {
    /// A decoder can start at it.
    pub keyframe: bool,
    /// Its parameter sets have changed the header.
    pub learned: bool,
}

impl VideoHeader {
    /// Reads the record of a sequence header.
    pub fn parse(codec: VideoCodec, record: &Bytes) -> Result<Self, CodecError> {
        Ok(match codec {
            VideoCodec::Avc => Self::H264(h264::DecoderConfigurationRecord::parse(record)?),
            VideoCodec::Hevc => Self::H265(h265::DecoderConfigurationRecord::parse(record)?),
            VideoCodec::Av1 => Self::Av1(av1::Config::parse(record)?),
            VideoCodec::Vp9 => Self::Vp9(vp9::Config::parse(record)?),
        })
    }

    /// The codec of the tags that it is for.
    pub const fn codec(&self) -> VideoCodec {
        match self {
            Self::H264(_) => VideoCodec::Avc,
            Self::H265(_) => VideoCodec::Hevc,
            Self::Av1(_) => VideoCodec::Av1,
            Self::Vp9(_) => VideoCodec::Vp9,
        }
    }

    /// What a decoder needs to know.
    pub fn config(&self) -> CodecConfig {
        match self {
            Self::H264(record) => CodecConfig::H264(record.config.clone()),
            Self::H265(record) => CodecConfig::H265(record.config.clone()),
            Self::Av1(config) => CodecConfig::Av1(config.clone()),
            Self::Vp9(config) => CodecConfig::Vp9(*config),
        }
    }

    /// Looks through an access unit, of which its tag says whether it is a keyframe, and learns from it. An error says that it cannot
    /// be sent on.
    pub fn read(&mut self, unit: &[u8], said_keyframe: bool) -> Result<VideoFrame, CodecError> {
        match self {
            Self::H264(record) => {
                let mut nals = nal_units(unit, record.length_size)?;
                let incomplete = !record.config.is_complete();
                let learned =
                    incomplete && nals.clone().fold(false, |any, n| record.config.learn(n) | any);
                let keyframe = nals.any(|n| h264::nal_type::of(n[0]) == h264::nal_type::IDR);
                Ok(VideoFrame { keyframe, learned })
            }
            Self::H265(record) => {
                let nals = nal_units(unit, record.length_size)?;
                let incomplete = !record.config.is_complete();
                let learned =
                    incomplete && nals.clone().fold(false, |any, n| record.config.learn(n) | any);
                let mut types = nals.filter_map(h265::nal_type::of_nal);
                let keyframe = types.any(|kind| h265::nal_type::IRAP.contains(&kind));
                Ok(VideoFrame { keyframe, learned })
            }
            Self::Av1(config) => {
                // A temporal unit does not say it in its first bytes; encoders may leave the sequence header to the record.
                let mut frame = VideoFrame { keyframe: said_keyframe, learned: false };
                let obus = av1::obus(unit).collect::<Result<Vec<_>, _>>()?;
                if !obus.iter().any(av1::Obu::is_picture) {
                    return Err(av1::Av1Error::Empty.into());
                }
                for obu in obus {
                    if obu.obu_type == av1::obu_type::SEQUENCE_HEADER {
                        frame.learned |= config.learn(obu);
                    }
                }
                Ok(frame)
            }
            Self::Vp9(config) => {
                let header = vp9::FrameHeader::parse(unit)?;
                let before = *config;
                if header.keyframe {
                    config.profile = header.profile;
                    config.dimensions = header.dimensions.or(config.dimensions);
                }
                Ok(VideoFrame { keyframe: header.keyframe, learned: before != *config })
            }
        }
    }
}

/// All NAL units of an access unit; an error if any is broken, or if there is none. Lengths alone are read, and nothing is kept.
fn nal_units(
    unit: &[u8],
    length_size: u8,
) -> Result<impl Iterator<Item = &[u8]> + Clone, CodecError> {
    let nals = avcc_nal_units(unit, length_size);
    let count = nals.clone().try_fold(0, |count, nal| nal.map(|_| count + 1))?;
    if count == 0 { Err(CodecError::Empty) } else { Ok(nals.map_while(Result::ok)) }
}

/// How the frames of an audio track are to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AudioHeader {
    /// AAC.
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

impl AudioHeader {
    /// Reads a sequence header. `None` for codecs whose frames tell all, and whose sequence headers say nothing.
    pub fn parse(codec: AudioCodec, header: &Bytes) -> Result<Option<Self>, CodecError> {
        Ok(match codec {
            AudioCodec::Aac => Some(Self::Aac(aac::Config::parse(Bytes::copy_from_slice(header))?)),
            AudioCodec::Opus => Some(Self::Opus(opus::Config::parse(header)?)),
            AudioCodec::Mp3 | AudioCodec::Pcma(_) | AudioCodec::Pcmu(_) | AudioCodec::Ac3 => None,
        })
    }

    /// What a frame tells of its track. `None` where only a sequence header does.
    pub fn of_frame(codec: AudioCodec, frame: &[u8]) -> Result<Option<Self>, CodecError> {
        let g711 = |law, channels| Self::G711(g711::Config { law, channels });
        Ok(match codec {
            AudioCodec::Aac => None,
            // Stereo unless a header says otherwise, as RTP always says it (RFC 7587, 7).
            AudioCodec::Opus => Some(Self::Opus(opus::Config::default())),
            AudioCodec::Mp3 => Some(Self::Mp3(mp3::Config::of_frame(frame)?)),
            AudioCodec::Pcma(channels) => Some(g711(g711::Law::A, channels)),
            AudioCodec::Pcmu(channels) => Some(g711(g711::Law::Mu, channels)),
            AudioCodec::Ac3 => Some(Self::Ac3(ac3::Config::of_frame(frame)?)),
        })
    }

    /// Whether frames of `codec` are read by it.
    pub fn is_for(&self, codec: AudioCodec) -> bool {
        match self {
            Self::Aac(_) => codec == AudioCodec::Aac,
            Self::Opus(_) => codec == AudioCodec::Opus,
            Self::Mp3(_) => codec == AudioCodec::Mp3,
            // The tags say all that its config does.
            Self::G711(g711::Config { law: g711::Law::A, channels }) => {
                codec == AudioCodec::Pcma(*channels)
            }
            Self::G711(g711::Config { law: g711::Law::Mu, channels }) => {
                codec == AudioCodec::Pcmu(*channels)
            }
            Self::Ac3(_) => codec == AudioCodec::Ac3,
        }
    }

    /// What a decoder needs to know.
    pub fn config(&self) -> CodecConfig {
        match self {
            Self::Aac(config) => CodecConfig::Aac(config.clone()),
            Self::Opus(config) => CodecConfig::Opus(*config),
            Self::Mp3(config) => CodecConfig::Mp3(*config),
            Self::G711(config) => CodecConfig::G711(*config),
            Self::Ac3(config) => CodecConfig::Ac3(*config),
        }
    }

    /// Samples of a frame, on the clock of [`CodecConfig::sample_rate`].
    pub fn samples(&self, frame: &[u8]) -> Result<u32, CodecError> {
        if frame.is_empty() {
            return Err(CodecError::Empty);
        }
        Ok(match self {
            Self::Aac(config) => config.samples_per_frame().into(),
            Self::Opus(_) => opus::samples(frame)?,
            Self::Mp3(config) => config.samples(frame),
            Self::G711(config) => config.samples(frame.len()),
            Self::Ac3(_) => ac3::SAMPLES_PER_FRAME,
        })
    }
}

#[cfg(test)]
mod tests;
