//! The clips in which each codec is carried once.

use crate::frames::Filter;

/// A clip of one codec of pictures and one of sound.
#[derive(Clone, Copy, Debug)]
pub struct Programme {
    /// Its name to `scripts/make-clips`.
    pub clip: &'static str,
    /// The codec of the pictures.
    pub video: &'static str,
    /// The codec of the sound.
    pub audio: &'static str,
    /// What makes its pictures comparable.
    pub filter: Filter,
}

impl Programme {
    /// A clip of these codecs.
    pub const fn new(video: &'static str, audio: &'static str, clip: &'static str) -> Self {
        let filter = match video.as_bytes() {
            b"h264" => Filter::H264,
            b"hevc" => Filter::Hevc,
            b"av1" => Filter::Av1,
            _ => Filter::Whole,
        };
        Self { clip, video, audio, filter }
    }
}

/// One for each codec that is carried.
pub const PROGRAMMES: [Programme; 8] = [
    Programme::new("hevc", "aac", "hevc_aac"),
    Programme::new("av1", "aac", "av1_aac"),
    Programme::new("vp9", "opus", "vp9_opus"),
    Programme::new("h264", "mp3", "h264_mp3"),
    Programme::new("h264", "ac3", "h264_ac3"),
    Programme::new("h264", "pcma", "h264_pcma"),
    Programme::new("h264", "pcmu", "h264_pcmu"),
    Programme::new("h264", "he-aac", "h264_heaac"),
];

/// How the ffmpeg of `scripts/newest-ffmpeg` is named in docs/interop.md, as a publisher and as a reader.
pub const NEWEST: &str = "FFmpeg 9";
/// How the publisher of HEVC without Enhanced RTMP is named.
pub const LEGACY: &str = "codec id 12";
