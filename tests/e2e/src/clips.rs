//! The clips that the tests publish, made once by `scripts/make-clips`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use media::{
    codec::h264::{avcc_nal_units, nal_type},
    flv::{AudioTag, VideoTag},
};

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
    /// Raw AAC frames.
    pub audio: Vec<Vec<u8>>,
    /// Times of the frames in seconds, to the millisecond.
    pub audio_times: Vec<f64>,
}

impl Units {
    /// Those of an FLV file (Adobe Flash Video File Format Specification 10.1, E.3).
    pub fn of_clip(path: &Path) -> Self {
        let file = Bytes::from(std::fs::read(path).expect("a clip"));
        let mut units = Self::default();
        let mut at = 9 + 4;
        while let Some(&[kind, a, b, c, t0, t1, t2, t3]) =
            file.get(at..).and_then(|tag| tag.first_chunk::<8>())
        {
            let ms = f64::from(u32::from_be_bytes([t3, t0, t1, t2]));
            let size = u32::from_be_bytes([0, a, b, c]) as usize;
            let body = file.slice(at + 11..at + 11 + size);
            match (kind, AudioTag::parse(&body), VideoTag::parse(&body)) {
                (8, Ok(AudioTag::Frame { payload: frame, .. }), _) => {
                    units.audio_times.push(ms / 1e3);
                    units.audio.push(frame.to_vec());
                }
                (9, _, Ok(VideoTag::Frame { payload, composition_time_ms, .. })) => {
                    units.video_times.push((ms + f64::from(composition_time_ms)) / 1e3);
                    units.video.push(pictured(avcc_nal_units(&payload, 4).map(|n| n.unwrap())));
                }
                _ => {}
            }
            at += 11 + size + 4;
        }
        units
    }
}

/// An access unit with its NAL units' lengths in front; without parameter sets and delimiters, which are put in and left out on the
/// way.
pub fn pictured<'a>(nal_units: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut picture = Vec::new();
    for nal in
        nal_units.filter(|nal| !(nal_type::SPS..=nal_type::AUD).contains(&nal_type::of(nal[0])))
    {
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
