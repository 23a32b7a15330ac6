//! Access units that tell the time: of GStreamer, and by hand.

use super::{enhanced::hex, seed};
use crate::corpus::Entry;

const H264: u8 = 3 << 1;
const H265: u8 = 3 << 1 | 1;
/// GStreamer 1.22: `timecodestamper source=rtc ! x264enc option-string=nal-hrd=cbr:pic-struct=1 ! h264parse update-timecode=true`.
const SPS: &str = "67f4000990d9b2884d80b506060640000003004000000f380800493c002bf38a4c03e244b2c0";
const PICTURE_TIMING: [&str; 3] =
    ["060108000204820eba2ba080020280", "06010800840482013c2ba08080", "06010801010482003c2ba08080"];
/// MISB ST 0604.6, 2026-11-26 12:00:00.123456 UTC.
const MISB: &str = "051c 4d4953506d6963726f7365637469 6d65 1f 0006 ff612c ffaed8 ff3240";
/// OBS Studio's timestamps: of composition, by RFC 3339.
const OBS: &str = "052c 0aecffe752724e2fa62fd19cd61a93b5 00 0101";
/// SEI Stamper of OBS.
const STAMPER: &str =
    "0520 a5b3c2d1e4f56789abcdef0123456789 0000030000030000030000 eeb11ec0 1f9a6b50";

/// An access unit behind its length: NAL units behind lengths of four bytes.
fn unit(nals: &[&[u8]]) -> Vec<u8> {
    let unit = nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat());
    let unit: Vec<u8> = unit.collect();
    [&(unit.len() as u16).to_be_bytes()[..], &unit].concat()
}

pub(super) fn seeds() -> Vec<Entry> {
    let sps = hex(SPS);
    let begin = [&[H264, sps.len() as u8][..], &sps].concat();
    let time_code = PICTURE_TIMING.map(|sei| unit(&[&hex(sei), &[0x41, 0x9A]])).concat();
    let h264 = |message: &[u8]| unit(&[&[&[6][..], message, &[0x80]].concat(), &[0x65, 0x88]]);
    let h265 =
        |message: &[u8]| unit(&[&[2, 1, 0xD0], &[&[0x50, 1][..], message, &[0x80]].concat()]);
    let obs = [&hex(OBS)[..], b"2024-05-31T12:26:03.591Z\0"].concat();
    let both = [&hex(MISB)[..], &hex(PICTURE_TIMING[2])[1..11]].concat();
    // D.2.27 of H.265: 14:05:30:01, then 14:05:30:00.
    let hevc_time_code = [hex("8806 70400bc2b800"), hex("8806 704003c2b800")];
    vec![
        seed("gstreamer-time-code", &[&begin, &time_code]),
        seed("misb", &[&[H264, 0], &h264(&hex(MISB))]),
        seed("misb-hevc", &[&[H265, 0], &h265(&hex(MISB))]),
        seed("obs", &[&[H264, 0], &h264(&obs)]),
        seed("obs-hevc", &[&[H265, 0], &h265(&obs)]),
        seed("stamper", &[&[H264, 0], &h264(&hex(STAMPER))]),
        seed("date-and-time-code", &[&begin, &time_code, &h264(&both)]),
        seed("time-code-hevc", &[&[H265, 0], &hevc_time_code.map(|m| h265(&m)).concat()]),
        seed("long-message", &[&[H264, 0], &h264(&[&[4, 0xFF, 0x45][..], &[7; 324]].concat())]),
        seed("short-lengths", &[&[0, 0, 0, 4, 3, 6, 5, 0x10]]),
    ]
}
