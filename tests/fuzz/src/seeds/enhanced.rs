//! Codec headers and access units of Enhanced RTMP: of real encoders, and by hand.

use super::seed;
use crate::corpus::Entry;

/// Bytes in hexadecimal.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| Some(c.to_digit(16)? as u8)).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// libx265, two temporal sub-layers.
const HEVC_RECORD: &str = "0101600000009000000000003cf000fcfdf8f800001303200001001c40010c02ffff0160000003009000\
     0003000003003c00009594aca048210001002e42010201600000030090000003000003003c0000a00a880c1c44d965652b2a52\
     61780b404000000300400000064222000100064401c073c189";
const HEVC_IDR: &str = "0000000e2801ac7539071c2474aa121a10ef";
const HEVC_CRA: &str = "000000132a01ac10e89194ec053f507570a012092eef80";
const HEVC_RASL: &str = "0000000d1001e066b5e081424ca23830a0";

pub(super) fn hevc() -> Vec<Entry> {
    let record = hex(HEVC_RECORD);
    let length = (record.len() as u16).to_be_bytes();
    let with = |choices: [u8; 2], unit: &[u8]| [&choices, &length[..], &record, unit].concat();
    let large = [&[0, 0, 1, 44, 0x26, 1][..], &[7; 298]].concat();
    let by_hand = hex("0000000346015000000003 4e01050000000326 0107 000000024801 00000002 4a01");
    let sets_in_band = [&record[28..56], &record[61..107], &record[112..118]];
    let in_band: Vec<u8> = sets_in_band
        .iter()
        .flat_map(|set| [&(set.len() as u32).to_be_bytes()[..], set].concat())
        .collect();
    vec![
        seed("x265-idr", &[&with([4, 167], &hex(HEVC_IDR))]),
        seed("x265-cra", &[&with([4, 0], &hex(HEVC_CRA))]),
        seed("x265-rasl", &[&with([4, 20], &hex(HEVC_RASL))]),
        seed("x265-sets-in-band", &[&[4, 0, 0, 0], &in_band, &hex(HEVC_IDR)]),
        seed("fragments", &[&with([4, 0], &large)]),
        seed("aud-sei-idr-eos-eob", &[&with([4, 20], &by_hand)]),
        seed("reserved-types", &[&[2, 0, 0, 0, 0, 3, 0x60, 1, 2, 0, 70, 0x62, 1], &[3; 68]]),
        seed("truncated", &[&[4, 9, 0, 0, 0, 0, 1, 0, 0x26]]),
    ]
}

/// libaom, 66x34: record, keyframe and another frame with their temporal delimiters.
const AV1_RECORD: &str = "81000c000a0a000000032c184daf9004";
const AV1_KEYFRAME: &str = "12000a0a000000032c184daf9004320e10008800000100004008fae71b80";
const AV1_FRAME: &str = "120032143003c080000006a0000001400010009941b55008";

pub(super) fn av1() -> Vec<Entry> {
    let record = hex(AV1_RECORD);
    let with = |choices: [u8; 2], unit: &[u8]| {
        [&choices, &[record.len() as u8][..], &record, unit].concat()
    };
    let without_header = [&[0x12, 0][..], &hex(AV1_KEYFRAME)[14..]].concat();
    let large = [&[0x12, 0, 0x32, 0xAC, 2][..], &[7; 300]].concat();
    // Two spatial layers, a metadata OBU between them.
    let layers = hex("12003e00032001022a0209093e0805aaaaaaaaaa");
    vec![
        seed("aom-keyframe", &[&with([1, 167], &hex(AV1_KEYFRAME))]),
        seed("aom-frame", &[&with([0, 0], &hex(AV1_FRAME))]),
        seed("aom-444-10-bit", &[&[1, 0, 16], &hex("812040000a0a200000043d06d4daf942"), &layers]),
        seed("aom-422-12-bit", &[&[1, 0, 17], &hex("814068000a0b400000043d06d4daf96220"), &large]),
        seed("svt-shows-existing", &[&with([0, 0], &hex("12001a01c8"))]),
        seed("header-of-the-record", &[&with([1, 0], &without_header)]),
        seed("fragments", &[&with([0, 0], &large)]),
        seed("layers", &[&with([1, 0], &layers)]),
        seed("open-end", &[&[0, 0, 0, 0x30, 1, 2, 3]]),
        seed("truncated", &[&[1, 0, 0, 0x32, 9, 1]]),
    ]
}

/// libvpx, 66x34.
const VP9_RECORD: &str = "01000000000a820202020000";
const VP9_KEYFRAME: &str = "8249834200041002160638241c184a00002040006b38f7a69b004f012e77e31b5fc000";
const VP9_FRAME: &str = "860040929c485000000370000054565e40";

pub(super) fn vp9() -> Vec<Entry> {
    let record = hex(VP9_RECORD);
    let with = |size: u8, frame: &[u8]| [&[size, record.len() as u8][..], &record, frame].concat();
    let large = [&hex(VP9_KEYFRAME)[..], &[7; 300]].concat();
    vec![
        seed("vpx-keyframe", &[&with(167, &hex(VP9_KEYFRAME))]),
        seed("vpx-frame", &[&with(0, &hex(VP9_FRAME))]),
        seed("vpx-rgb", &[&with(0, &hex("a2498342e014100b560638241c184a0010605f11f7daf89f"))]),
        seed("vpx-profile-3", &[&with(0, &hex("b124c1a10000a0805ab031c120e0c2c0006c805f7fbf"))]),
        seed("fragments", &[&with(0, &large)]),
        seed("shows-existing", &[&[0, 3, 0, 31, 0x82, 0x88]]),
        seed("no-frame", &[&[0, 2, 0, 31, 0x42]]),
    ]
}

pub(super) fn sound() -> Vec<Entry> {
    let opus = hex("4f707573486561640102380180bb0000000000");
    let mut mp3 = hex("fffb90640000023c08d0bd3c20080000");
    mp3.resize(417, 0x55);
    // MPEG-2.5, 8 kbit/s at 8 kHz, mono: 72 bytes.
    let small = [&[0xFF, 0xE3, 0x18, 0xC4][..], &[7; 68]].concat();
    let ac3 = hex("0b77e3b81c40ebf8403eff74fe1e1080");
    vec![
        seed("opus-header", &[&[0, 0], &opus]),
        seed("opus-six-channels", &[&[0, 0], &opus[..9], &[6], &opus[10..]]),
        seed("opus-packet", &[&[0, 167], &hex("fc7e0299e7f9ecf511d616dc1948c3c0")]),
        seed("opus-48-frames", &[&[0, 0, 0x83, 48, 9, 9]]),
        seed("lame-frame", &[&[1, 167], &mp3]),
        seed("lame-fragments", &[&[1, 0], &mp3]),
        seed("mp3-several-frames", &[&[1, 20], &small.repeat(7), &mp3[..200]]),
        seed("mp3-then-a-tag", &[&[1, 0], &small, b"TAG", &[0; 125]]),
        seed("ac3-frame", &[&[2, 0], &ac3]),
        seed("ac3-fragments", &[&[2, 0], &ac3, &[9; 300]]),
        seed("pcma", &[&[3, 20], &[0xD5; 160]]),
        seed("pcmu-stereo-too-long", &[&[4, 0], &[0xFF; 161]]),
        seed("empty", &[&[1, 0]]),
    ]
}
