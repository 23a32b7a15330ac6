//! FLV tags and codec headers: of the demo clip, and by hand.

use super::seed;
use crate::corpus::Entry;

/// Frames larger than this are left out.
const MAX_TAG_BYTES: usize = 6000;

/// What of the demo clip is used: tag bodies.
pub(super) struct Demo {
    avc_header: Vec<u8>,
    aac_header: Vec<u8>,
    keyframe: Vec<u8>,
    frame: Vec<u8>,
    aac_frame: Vec<u8>,
}

impl Demo {
    /// Walks the tags of an FLV file (Adobe Flash Video File Format Specification 10.1, E.3 and E.4.1).
    pub(super) fn read(flv: &[u8]) -> Self {
        let mut tags = vec![];
        let mut rest = flv.get(13..).unwrap_or_default();
        while let Some(&[kind, a, b, c]) = rest.first_chunk() {
            let size = u32::from_be_bytes([0, a, b, c]) as usize;
            tags.extend(rest.get(11..11 + size).map(|body| (kind, body)));
            rest = rest.get(15 + size..).unwrap_or_default();
        }
        let first = |kind: u8, begin: &[u8]| {
            let found = tags.iter().find(|(found, body)| {
                *found == kind && body.starts_with(begin) && body.len() <= MAX_TAG_BYTES
            });
            found.map(|(_, body)| body.to_vec()).unwrap_or_default()
        };
        Self {
            avc_header: first(9, &[0x17, 0]),
            aac_header: first(8, &[0xAF, 0]),
            keyframe: first(9, &[0x17, 1]),
            frame: first(9, &[0x27, 1]),
            aac_frame: first(8, &[0xAF, 1]),
        }
    }

    /// The first NAL unit of a frame.
    pub(super) fn nal(&self) -> &[u8] {
        self.frame.get(9..).unwrap_or_default()
    }

    fn record(&self) -> &[u8] {
        self.avc_header.get(5..).unwrap_or_default()
    }
}

pub(super) fn flv(demo: &Demo) -> Vec<Entry> {
    vec![
        seed("demo-avc-header", &[&demo.avc_header]),
        seed("demo-aac-header", &[&demo.aac_header]),
        seed("demo-frame", &[&demo.frame[..demo.frame.len().min(200)]]),
        seed("demo-aac-frame", &[&demo.aac_frame]),
        seed("end-of-sequence", &[&[0x17, 2]]),
        seed("negative-composition-time", &[&[0x27, 1, 0xFF, 0xFF, 0xF6, 0, 0, 0, 1, 0x41]]),
        seed("command-frame", &[&[0x57, 0]]),
        seed("enhanced-hevc", &[b"\x90hvc1\x01"]),
        seed("enhanced-mod-ex-multitrack", &[b"\x97\x02abc\x06\x11av01"]),
        seed("enhanced-mod-ex-long", &[b"\x97\xFF\0\x01ab\x03vp09"]),
        seed("enhanced-opus", &[b"\x91Opus"]),
        seed("screen-video", &[&[0x13, 0]]),
        seed("mp3", &[&[0x2F, 0xFF, 0xFB]]),
        seed("empty", &[]),
    ]
}

pub(super) fn avcc(demo: &Demo) -> Vec<Entry> {
    let length = (demo.record().len() as u16).to_be_bytes();
    let with =
        |choices: [u8; 2], unit: &[u8]| [&choices, &length[..], demo.record(), unit].concat();
    let of = |body: &[u8]| body.get(5..).unwrap_or_default().to_vec();
    // AUD, SEI, IDR; then a NAL unit type that RFC 6184 takes for its own, and empty ones between.
    let small = b"\0\0\0\x02\x09\xF0\0\0\0\x03\x06\x05\x80\0\0\0\0\0\0\0\x04\x65\x88\x84\x00";
    let record_of_two =
        b"\x01\x4D\x40\x1F\xFE\xE2\0\x04\x67\x4D\x40\x1F\0\x02\x67\x01\x01\0\x03\x68\xEF\xBC";
    let two = (record_of_two.len() as u16).to_be_bytes();
    vec![
        seed("demo-keyframe", &[&with([4, 167], &of(&demo.keyframe))]),
        seed("demo-frame", &[&with([4, 20], &of(&demo.frame))]),
        seed("demo-record", &[&with([4, 0], &[])]),
        seed("aud-sei-idr", &[&[4, 0], &two, record_of_two, small]),
        seed(
            "short-lengths",
            &[&[2, 0, 0, 0, 0, 3, 0x65, 1, 2, 0, 1, 0x7C, 0, 0], &[0, 90], &[0x18; 90]],
        ),
        seed("one-byte-lengths", &[&[1, 5, 0, 0, 200], &[0x65; 200], &[2, 0x06, 1]]),
        seed("truncated", &[&[4, 9, 0, 0, 0, 0, 1, 0, 0x65]]),
        seed("idr-of-64-bytes", &[&[4, 0], &two, record_of_two, &[0, 0, 0, 64, 0x65], &[3; 63]]),
    ]
}

pub(super) fn aac_config(demo: &Demo) -> Vec<Entry> {
    vec![
        seed("demo-config", &[&[167], demo.aac_header.get(2..).unwrap_or_default()]),
        seed("demo-frame", &[&[0], demo.aac_frame.get(2..).unwrap_or_default()]),
        seed("lc-48000-stereo", &[&[0, 0x11, 0x90]]),
        seed("lc-960", &[&[0, 0x11, 0x94]]),
        seed("he-aac-backward-compatible", &[&[0, 0x13, 0x90, 0x56, 0xE5, 0xA0]]),
        seed("he-aac-hierarchical", &[&[0, 0x2B, 0x8A, 0x08, 0x00]]),
        seed("explicit-rate", &[&[0, 0x17, 0x80, 0x5D, 0xC0, 0x10]]),
        seed("escaped-object-type", &[&[0, 0xF9, 0x46, 0x40]]),
        seed("reserved-rate", &[&[0, 0x16, 0x90]]),
    ]
}
