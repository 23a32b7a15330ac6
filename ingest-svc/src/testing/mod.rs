//! What the tests of this crate share: FLV tags, an RTMP publisher, an RTMP server that plays, a node.

mod node;
mod publisher;
mod remote;

use std::time::Duration;

use bytes::Bytes;

pub(crate) use node::{FakeNode, Received};
pub(crate) use publisher::TestPublisher;
pub(crate) use remote::TestRemote;

/// SPS and PPS of x264, 1280x720, Main profile, as ffmpeg 5.1 sends them.
pub(crate) const SPS: &[u8] = &[
    0x67, 0x4D, 0x40, 0x1F, 0xEC, 0xA0, 0x28, 0x02, 0xDD, 0x80, 0x88, 0x00, 0x00, 0x03, 0x00, 0x08,
    0x00, 0x00, 0x03, 0x01, 0x90, 0x78, 0xC1, 0x8C, 0xB0,
];
pub(crate) const PPS: &[u8] = &[0x68, 0xEF, 0xBC, 0xB2];

/// An AVC sequence header.
pub(crate) fn avc_header(sps: &[u8], pps: &[u8]) -> Bytes {
    let mut tag = vec![0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xFF, 0xE1];
    tag.extend((sps.len() as u16).to_be_bytes());
    tag.extend(sps);
    tag.push(1);
    tag.extend((pps.len() as u16).to_be_bytes());
    tag.extend(pps);
    tag.into()
}

/// An access unit of one slice of `bytes`, each of them `fill`.
pub(crate) fn avc_picture(keyframe: bool, composition_ms: i32, bytes: usize, fill: u8) -> Bytes {
    let mut tag = vec![if keyframe { 0x17 } else { 0x27 }, 1];
    tag.extend(&composition_ms.to_be_bytes()[1..]);
    tag.extend((bytes as u32 + 1).to_be_bytes());
    tag.push(if keyframe { 0x65 } else { 0x41 });
    tag.extend(std::iter::repeat_n(fill, bytes));
    tag.into()
}

/// The same access unit with a NAL unit before its slice.
pub(crate) fn with_nal(picture: &[u8], nal: &[u8]) -> Bytes {
    let (tag_header, slice) = picture.split_at(5);
    [tag_header, &(nal.len() as u32).to_be_bytes(), nal, slice].concat().into()
}

/// SEI of MISB ST 0604.6: the time in microseconds since 1970.
pub(crate) fn misb_sei(since_1970: Duration) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h] = (since_1970.as_micros() as u64).to_be_bytes();
    let time = [0x1F, a, b, 0xFF, c, d, 0xFF, e, f, 0xFF, g, h];
    [&[6, 5, 28], &b"MISPmicrosectime"[..], &time, &[0x80]].concat()
}

/// An AAC sequence header: AAC-LC, stereo, 48 kHz.
pub(crate) fn aac_header() -> Bytes {
    Bytes::from_static(&[0xAF, 0, 0x11, 0x90])
}

/// An AAC frame of `bytes`, each of them `fill`.
pub(crate) fn aac_frame(bytes: usize, fill: u8) -> Bytes {
    let mut tag = vec![0xAF, 1];
    tag.extend(std::iter::repeat_n(fill, bytes));
    tag.into()
}
