//! RTP and RTCP, by hand.

use super::{codec::Demo, seed};
use crate::corpus::Entry;

pub(super) fn h264_inspect(demo: &Demo) -> Vec<Entry> {
    vec![
        seed("demo-slice", &[&demo.nal()[..demo.nal().len().min(100)]]),
        seed("single-idr", &[&[0x65, 0x88]]),
        seed("single-sps", &[&[0x67, 0x4D, 0x40, 0x1F]]),
        seed("stap-a", &[&[0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2, 0, 1, 0x65]]),
        seed("stap-a-cut", &[&[0x78, 0, 2, 0x67, 1, 0, 2, 0x68]]),
        seed("fu-a-first", &[&[0x7C, 0x85, 0x88]]),
        seed("fu-a-later", &[&[0x7C, 0x05, 0x88]]),
        seed("stap-b", &[&[0x79, 0, 0, 0, 1, 0x65]]),
        seed("empty", &[]),
    ]
}

pub(super) fn header() -> Vec<Entry> {
    let fixed = [0x80, 0xE0, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4];
    vec![
        seed("plain", &[&fixed, &[0x65, 0x88]]),
        seed("no-payload", &[&fixed]),
        seed(
            "csrc-extension-padding",
            &[
                &[0xB2, 0xE1, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4, 9, 9, 9, 9, 8, 8, 8, 8],
                &[0xBE, 0xDE, 0, 1, 7, 7, 7, 7, 0x41, 0x42, 0x43, 0, 2],
            ],
        ),
        seed("only-padding", &[&[0xA0], &fixed[1..], &[0, 0, 0, 4]]),
        seed("rtcp", &[&[0x80, 200, 0, 6], &[0; 24]]),
        seed("version-1", &[&[0x40], &fixed[1..]]),
    ]
}

/// Flags, milliseconds, step, length, payload.
fn record(flags: u8, ms: u8, step: i8, payload: &[u8]) -> Vec<u8> {
    [&[flags, ms, step as u8, payload.len() as u8], payload].concat()
}

/// Likewise, at a sequence number of its own.
fn elsewhere(flags: u8, ms: u8, sequence_number: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = sequence_number.to_be_bytes();
    [&[flags | 4, ms, high, low, payload.len() as u8], payload].concat()
}

pub(super) fn receive() -> Vec<Entry> {
    const SETS: &[u8] = &[0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2];
    // Kind, window in milliseconds, window in packets, 64 << n bytes per access unit.
    let video = [0, 20, 8, 10];
    let in_order = [
        record(2, 0, 1, SETS),
        record(0, 0, 1, &[0x7C, 0x85, 1]),
        record(1, 0, 1, &[0x7C, 0x45, 2]),
        record(3, 33, 1, &[0x41, 3]),
        record(3, 33, 1, &[0x41, 4]),
    ]
    .concat();
    let swapped = [
        record(3, 0, 1, &[0x65]),
        record(2, 1, 2, &[0x41]),
        record(2, 1, -1, &[0x41]),
        record(0, 1, 0, &[0x41]),
        record(1, 1, 2, &[0x41]),
    ]
    .concat();
    let lost = [
        record(3, 0, 1, &[0x65]),
        record(2, 5, 3, &[0x7C, 0x81]),
        record(1, 40, 1, &[0x7C, 0x41]),
        record(1, 5, -4, &[0x41]),
    ]
    .concat();
    let many: Vec<u8> = (0..12).flat_map(|_| record(3, 1, 2, &[0x41])).collect();
    let stray_and_restart = [
        record(2, 0, 1, &[0x65]),
        elsewhere(0, 1, 30_000, &[9]),
        // The first was 65,533.
        elsewhere(0, 1, 65_534, &[0x65]),
        elsewhere(2, 1, 40_000, &[0x41]),
        elsewhere(1, 1, 40_001, &[0x41]),
    ]
    .concat();
    let large: Vec<u8> = (0..4).flat_map(|_| record(8, 0, 1, &[0x65])).collect();
    vec![
        seed("in-order", &[&video, &in_order]),
        seed("swapped-and-doubled", &[&video, &swapped]),
        seed("lost", &[&video, &lost]),
        seed("window-in-packets", &[&video, &many]),
        seed("stray-and-restart", &[&video, &stray_and_restart]),
        seed("oversized", &[&[0, 20, 8, 5], &large, &record(3, 0, 1, &[0x41])]),
        seed("audio", &[&[1, 20, 8, 10], &in_order]),
    ]
}

pub(super) fn rtcp() -> Vec<Entry> {
    let sender_report = [&[0x80, 200, 0, 6][..], &[0, 0, 0, 7], &[1; 20]].concat();
    let block = [&[0, 0, 0, 9, 3, 0xFF, 0xFF, 0xFB][..], &[2; 16]].concat();
    let receiver_report = [&[0x81, 201, 0, 7, 0, 0, 0, 8][..], &block].concat();
    let cname = b"\x81\xCA\0\x03\0\0\0\x07\x01\x04host\0\0";
    let goodbye = [0x82, 203, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8];
    let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF, 0xFF, 0, 5];
    let padded = [0xA0, 201, 0, 2, 0, 0, 0, 8, 0, 0, 0, 4];
    // Cut within a character.
    let name = &"é".repeat(128).into_bytes()[..255];
    let long_name = [&[0x81, 202, 0, 66, 0, 0, 0, 7, 1, 255][..], name, &[0; 3]];
    vec![
        seed("sender-report-cname", &[&sender_report, cname]),
        seed("receiver-report-cname", &[&receiver_report, cname]),
        seed("bye", &[&[0x80, 201, 0, 1, 0, 0, 0, 7], cname, &goodbye]),
        seed("nack", &[&nack]),
        seed("nack-in-compound", &[&receiver_report, cname, &nack]),
        seed("padding", &[&padded]),
        seed("pli", &[&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]]),
        seed("long-cname", &[&sender_report, &long_name.concat()]),
        seed("sdes-other-items-first", &[b"\x81\xCA\0\x04\0\0\0\x07\x02\x01x\x01\x03abc\0\0\0"]),
        seed("64-empty-packets", &[&[0x80, 204, 0, 0].repeat(64)]),
    ]
}
