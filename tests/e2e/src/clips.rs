//! The clips that the tests publish, made once by `scripts/make-clips`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use gateway::demo::Kind;
use media::{
    codec::{
        h264::{avcc_nal_units, nal_type},
        h265,
    },
    flv::{AudioTag, VideoCodec, VideoTag},
};

use crate::tags::{self, Tag};

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The path of a clip; it is made where it is missing.
pub fn clip(name: &str) -> PathBuf {
    let output = Command::new(repository().join("scripts/make-clips"))
        .arg(name)
        .output()
        .expect("scripts/make-clips does not start");
    assert!(output.status.success(), "clip {name}: {}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8(output.stdout).expect("a path");
    repository().join(path.trim())
}

/// The access units of a clip, bit for bit.
#[derive(Clone, Debug, Default)]
pub struct Units {
    /// Pictures in decode order, as [`pictured`] gives them.
    pub video: Vec<Vec<u8>>,
    /// Presentation times of the pictures in seconds.
    pub video_times: Vec<f64>,
    /// Frames of sound.
    pub audio: Vec<Vec<u8>>,
    /// Times of the frames in seconds, to the millisecond.
    pub audio_times: Vec<f64>,
}

impl Units {
    /// Those of an FLV file (Adobe Flash Video File Format Specification 10.1, E.3).
    pub fn of_clip(path: &Path) -> Self {
        Self::of_tags(&tags::of_flv(&Bytes::from(std::fs::read(path).expect("a clip"))))
    }

    /// Those of tags.
    pub fn of_tags(tags: &[Tag]) -> Self {
        let mut units = Self::default();
        for tag in tags {
            let seconds = f64::from(tag.timestamp_ms) / 1e3;
            match (tag.kind, AudioTag::parse(&tag.body), VideoTag::parse(&tag.body)) {
                (Kind::Audio, Ok(AudioTag::Frame { payload: frame, .. }), _) => {
                    units.audio_times.push(seconds);
                    units.audio.push(frame.to_vec());
                }
                (
                    Kind::Video,
                    _,
                    Ok(VideoTag::Frame { codec, payload, composition_time_ms, .. }),
                ) => {
                    units.video_times.push(seconds + f64::from(composition_time_ms) / 1e3);
                    units.video.push(match codec {
                        VideoCodec::Avc => pictured(nal_units(&payload)),
                        VideoCodec::Hevc => pictured_hevc(nal_units(&payload)),
                        VideoCodec::Av1 | VideoCodec::Vp9 => payload.to_vec(),
                    });
                }
                _ => {}
            }
        }
        units
    }
}

/// NAL units behind lengths of four bytes.
pub fn nal_units(unit: &[u8]) -> impl Iterator<Item = &[u8]> {
    avcc_nal_units(unit, 4).map(|nal| nal.expect("a NAL unit"))
}

/// An access unit of H.264 with its NAL units' lengths in front; without parameter sets and delimiters, which are put in and left out
/// on the way.
pub fn pictured<'a>(nal_units: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    joined(nal_units, |nal| (nal_type::SPS..=nal_type::AUD).contains(&nal_type::of(nal[0])))
}

/// The same of HEVC.
pub fn pictured_hevc<'a>(nal_units: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    joined(nal_units, |nal| {
        let kind = h265::nal_type::of(nal[0]);
        (h265::nal_type::VPS..=h265::nal_type::AUD).contains(&kind)
    })
}

fn joined<'a>(
    nal_units: impl Iterator<Item = &'a [u8]>,
    left_out: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    let mut picture = Vec::new();
    for nal in nal_units.filter(|nal| !left_out(nal)) {
        picture.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        picture.extend_from_slice(nal);
    }
    picture
}

/// Where `read` begins in `published`, all of it being the same from there on. What is silent repeats, so that it is looked for by all
/// of it.
pub fn place<T: PartialEq>(published: &[T], read: &[T]) -> Option<usize> {
    published.windows(read.len().max(1)).position(|window| window == read)
}
