//! What is published: pictures of H.264 that have the sizes of real ones, looped with continuous time.
//!
//! Nothing decodes them. The parameter sets are real (x264, High profile, no B-frames), the slices begin as those of x264 do, and
//! the rest of a slice is noise without a zero byte. Sizes are made from a fixed seed, so that every run publishes the same.

use std::{fmt, str::FromStr};

use crate::{raw, rtmp::chunks, stamp::SEI_BYTES, stamp::Stamp};

/// The beginning of an IDR slice and of a P slice that refers to one picture, as x264 writes them.
const IDR_SLICE: [u8; 6] = [0x65, 0x88, 0x84, 0x08, 0x7F, 0xD3];
const P_SLICE: [u8; 6] = [0x41, 0x9A, 0x26, 0x21, 0x2F, 0xD0];
const PPS: &[u8] = &[0x68, 0xEF, 0x0F, 0xCB];
/// 1280x720, level 3.1.
const SPS_720: &[u8] = &[
    0x67, 0x64, 0x00, 0x1F, 0xAC, 0xB4, 0x02, 0x80, 0x2D, 0xD8, 0x08, 0x80, 0x00, 0x00, 0x03, 0x00,
    0x80, 0x00, 0x00, 0x1E, 0x07, 0x8C, 0x19, 0x50,
];
/// 1920x1080, level 4.0.
const SPS_1080: &[u8] = &[
    0x67, 0x64, 0x00, 0x28, 0xAC, 0xB4, 0x03, 0xC0, 0x11, 0x3F, 0x2E, 0x02, 0x20, 0x00, 0x00, 0x03,
    0x00, 0x20, 0x00, 0x00, 0x07, 0x81, 0xE3, 0x06, 0x54,
];
/// AccessUnits a second of all clips.
const PICTURES_A_SECOND: u64 = 30;
/// How much larger a keyframe is than the other pictures, where the clip says nothing else.
const KEYFRAME_RATIO: usize = 10;

/// Which clip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 720p30, 2 Mbit/s, GOPs of 2 s.
    Hd,
    /// 1080p30, 6 Mbit/s, GOPs of 2 s.
    FullHd,
    /// 1080p30, keyframes of 2 MB every 2 s, small pictures between them.
    Huge,
    /// 720p30, 500 kbit/s, GOPs of half a second: for tests of the tool itself.
    Tiny,
}

impl Kind {
    /// All, with their names.
    pub const ALL: [(Self, &str); 4] = [
        (Self::Hd, "720p30"),
        (Self::FullHd, "1080p30"),
        (Self::Huge, "huge"),
        (Self::Tiny, "tiny"),
    ];

    /// Bytes of the keyframe's slice, bytes of each other slice on average, pictures of a GOP.
    fn sizes(self) -> (usize, usize, usize) {
        let of_rate = |bits_a_second: usize, gop: usize| {
            let bytes = bits_a_second * gop / PICTURES_A_SECOND as usize / 8;
            let other = bytes / (gop - 1 + KEYFRAME_RATIO);
            (other * KEYFRAME_RATIO, other, gop)
        };
        match self {
            Self::Hd => of_rate(2_000_000, 60),
            Self::FullHd => of_rate(6_000_000, 60),
            Self::Huge => (2_000_000, 8_000, 60),
            Self::Tiny => of_rate(500_000, 15),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            format!("no clip {text:?}; there are {names}")
        })
    }
}

/// One access unit as it is written to a connection, but for its stamp and time.
pub struct Image {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the SEI NAL unit with the stamp is.
    pub sei_at: usize,
    /// The bytes of its slice.
    pub slice_bytes: u32,
}

/// One GOP, ready to be written again and again.
pub struct Clip {
    /// Its access units; the first is the keyframe.
    pub images: Vec<Image>,
}

impl Clip {
    /// For RTMP, in chunks of that size.
    pub fn for_rtmp(kind: Kind, chunk_bytes: usize) -> Self {
        Self::laid_out(kind, |keyframe, sei, slice| {
            let mut tag = vec![if keyframe { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            for nal_unit in [sei, slice] {
                tag.extend((nal_unit.len() as u32).to_be_bytes());
                tag.extend(nal_unit);
            }
            let sei_at = chunks::HEADER_BYTES + 5 + 4;
            Image {
                bytes: chunks::video_message(&tag, chunk_bytes),
                sei_at,
                slice_bytes: slice.len() as u32,
            }
        })
    }

    /// For the floor: as packets of the sizes that an RTSP server has to send. A NAL unit does not share a packet with a fragment of another
    /// (RFC 6184, 5), so that the SEI has one of its own.
    pub fn for_floor(kind: Kind) -> Self {
        Self::laid_out(kind, |_, sei, slice| Image {
            bytes: [raw::packets(sei, false), raw::packets(slice, true)].concat(),
            sei_at: raw::PAYLOAD_AT,
            slice_bytes: slice.len() as u32,
        })
    }

    fn laid_out(kind: Kind, lay_out: impl Fn(bool, &[u8], &[u8]) -> Image) -> Self {
        let (keyframe_bytes, other_bytes, gop) = kind.sizes();
        let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
        let sei = Stamp::default().sei();
        debug_assert_eq!(sei.len(), SEI_BYTES);
        // Pairs of pictures deviate by the same up and down, so that the rate is exact.
        let mut deviation = 0;
        let images = (0..gop).map(|at| {
            let bytes = match at {
                0 => keyframe_bytes,
                at if at % 2 == 1 => {
                    deviation = noise.next() as usize % (other_bytes / 4).max(1);
                    other_bytes + deviation
                }
                _ => other_bytes - deviation,
            };
            let mut slice = if at == 0 { IDR_SLICE } else { P_SLICE }.to_vec();
            slice.resize_with(bytes.max(16), || noise.byte());
            lay_out(at == 0, &sei, &slice)
        });
        Self { images: images.collect() }
    }
}

/// The FLV video tag body with the decoder configuration (ISO/IEC 14496-15, 5.3.3.1).
pub fn sequence_header(kind: Kind) -> Vec<u8> {
    let sps = match kind {
        Kind::Hd | Kind::Tiny => SPS_720,
        Kind::FullHd | Kind::Huge => SPS_1080,
    };
    let mut header = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xFF, 0xE1];
    header.extend((sps.len() as u16).to_be_bytes());
    header.extend(sps);
    header.push(1);
    header.extend((PPS.len() as u16).to_be_bytes());
    header.extend(PPS);
    // High profile: 4:2:0, 8 bits, no further parameter sets.
    header.extend([0xFD, 0xF8, 0xF8, 0]);
    header
}

/// Width and height in pixels.
pub fn picture_size(kind: Kind) -> (u32, u32) {
    match kind {
        Kind::Hd | Kind::Tiny => (1280, 720),
        Kind::FullHd | Kind::Huge => (1920, 1080),
    }
}

/// When picture `number` is due, in microseconds since the first.
pub fn access_unit_time_us(number: u64) -> u64 {
    number * 1_000_000 / PICTURES_A_SECOND
}

/// xorshift64: the same noise every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Never zero: nothing in it looks like a start code.
    fn byte(&mut self) -> u8 {
        (self.next() >> 24) as u8 | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_has_the_bit_rate_that_its_name_tells() {
        for (kind, bits_a_second) in
            [(Kind::Hd, 2_000_000.0), (Kind::FullHd, 6_000_000.0), (Kind::Tiny, 500_000.0)]
        {
            let clip = Clip::for_rtmp(kind, 4096);
            let bytes: u32 = clip.images.iter().map(|image| image.slice_bytes).sum();
            let seconds = clip.images.len() as f64 / PICTURES_A_SECOND as f64;
            let rate = f64::from(bytes) * 8.0 / seconds;
            assert!((rate / bits_a_second - 1.0).abs() < 0.01, "{kind}: {rate}");
        }
    }

    #[test]
    fn the_stamp_of_each_image_is_where_it_says() {
        for clip in [Clip::for_rtmp(Kind::Hd, 128), Clip::for_floor(Kind::Hd)] {
            assert!(clip.images.iter().all(|image| {
                Stamp::read(&image.bytes[image.sei_at..]) == Some(Stamp::default())
            }));
        }
    }
}
