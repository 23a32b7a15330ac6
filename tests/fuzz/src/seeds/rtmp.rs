//! RTMP: recordings of publishers, and chunks and values by hand.

use std::io;

use super::{file, seed};
use crate::corpus::Entry;

/// C0, C1 and C2.
const HANDSHAKE_BYTES: usize = 1 + 1536 + 1536;
const RECORDINGS: [&str; 4] =
    ["ffmpeg-5.1", "ffmpeg-new-hevc", "gstreamer-1.22-rtmp2sink", "gstreamer-1.22-rtmpsink"];
/// Of each recording: commands, metadata, sequence headers and some frames.
const RECORDED_BYTES: usize = 6000;

/// Those of servers.
const SERVED: [&str; 2] = ["nginx-rtmp-1.2.2-live", "nginx-rtmp-1.2.2-not-found"];

/// What a peer said behind its handshake.
fn recording(name: &str) -> io::Result<Vec<u8>> {
    let all = file(&format!("media/tests/fixtures/rtmp/{name}.bin"))?;
    Ok(all.into_iter().skip(HANDSHAKE_BYTES).take(RECORDED_BYTES).collect())
}

/// A chunk of type 0 on chunk stream 3, message stream 1; payloads beyond 128 bytes go on in chunks of type 3.
fn message(type_id: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![3];
    out.extend_from_slice(&timestamp.min(0xFF_FFFF).to_be_bytes()[1..]);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[type_id, 1, 0, 0, 0]);
    let extended = if timestamp >= 0xFF_FFFF { &timestamp.to_be_bytes()[..] } else { &[] };
    out.extend_from_slice(extended);
    for (at, chunk) in payload.chunks(128).enumerate() {
        if at > 0 {
            out.push(0xC3);
            out.extend_from_slice(extended);
        }
        out.extend_from_slice(chunk);
    }
    out
}

pub(super) fn chunk() -> io::Result<Vec<Entry>> {
    let interleaved = [
        // 200 bytes of video on chunk stream 6, with 4 bytes of audio on 4 between its two chunks.
        &[6, 0, 0, 40, 0, 0, 200, 9, 1, 0, 0, 0][..],
        &[0x17; 128],
        &[4, 0, 0, 41, 0, 0, 4, 8, 1, 0, 0, 0, 0xAF, 1, 2, 3],
        &[0xC6],
        &[0x18; 72],
        // Types 1, 2 and 3 that lean on it.
        &[0x44, 0, 0, 23, 0, 0, 2, 8, 0xAF, 1],
        &[0x84, 0, 0, 23, 0xAF, 2],
        &[0xC4, 0xAF, 3],
    ]
    .concat();
    let control = [
        message(1, 0, &[0, 0, 0x10, 0]),
        message(9, 0, &[0x27; 100]),
        // Abort of what has not begun; an unfinished message; its abort.
        message(2, 0, &[0, 0, 0, 3]),
        vec![5, 0, 0, 0, 0, 1, 0, 9, 1, 0, 0, 0],
        vec![0x55; 256],
    ]
    .concat();
    // Basic headers of two and three bytes.
    let wide = b"\0\x05\0\0\0\0\0\x02\x08\x01\0\0\0ab\x01\x05\x01\0\0\0\0\0\x02\x08\x01\0\0\0cd";
    let bounds = &[6, 64];
    Ok(vec![
        seed("ffmpeg-5.1", &[&[50, 15], &recording("ffmpeg-5.1")?]),
        seed("gstreamer-1.22-rtmpsink", &[&[255, 10], &recording("gstreamer-1.22-rtmpsink")?]),
        seed("interleaved", &[bounds, &interleaved]),
        seed("control", &[&[1, 10], &control]),
        seed("wide-chunk-stream-ids", &[bounds, wide]),
        seed("extended-timestamp", &[&[9, 10], &message(9, 0x0100_0000, &[0x17; 300])]),
        seed("empty-messages", &[bounds, &message(8, 5, &[]), &message(20, 5, &[]), &[0xC3]]),
    ])
}

/// An AMF0 string with its marker.
fn string(text: &str) -> Vec<u8> {
    [&[2], &name(text)[..]].concat()
}

/// An AMF0 property name.
fn name(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A command without command object: name, transaction, null, arguments.
fn command(called: &str, transaction: f64, arguments: &[u8]) -> Vec<u8> {
    let number = [&[0], &transaction.to_be_bytes()[..]].concat();
    [&string(called)[..], &number, &[5], arguments].concat()
}

/// `connect` with an app.
fn connect(app: &str) -> Vec<u8> {
    let object = [&[3], &name("app")[..], &string(app), &[0, 0, 9]].concat();
    [&string("connect")[..], &[0], &1_f64.to_be_bytes(), &object].concat()
}

pub(super) fn amf0() -> io::Result<Vec<Entry>> {
    let recorded = recording("ffmpeg-5.1")?;
    // The first message is `connect`: its chunks of 128 bytes put together.
    let length = usize::from(u16::from_be_bytes([recorded[5], recorded[6]]));
    let body: Vec<u8> = recorded[12..]
        .chunks(129)
        .enumerate()
        .flat_map(|(at, chunk)| chunk[..chunk.len().min(128)].iter().map(move |b| (at, *b)))
        .map(|(_, byte)| byte)
        .take(length)
        .collect();
    let ecma = [&[8, 0, 0, 0, 1][..], &name("width"), &[0], &640_f64.to_be_bytes()].concat();
    let every = [
        &[0, 0x7F, 0xF8, 0, 0, 0, 0, 0, 0, 1, 1, 4, 5, 6, 7, 0, 1, 13, 14][..],
        &[10, 0, 0, 0, 2, 5, 1, 0],
        &[11, 0x42, 0x76, 0, 0, 0, 0, 0, 0, 0, 60],
        &[12, 0, 0, 0, 3, b'a', b'b', 0xFF, 15, 0, 0, 0, 0],
        &[16, 0, 1, b'C', 0, 1, b'p', 6, 0, 0, 9, 17, 9, 9],
    ]
    .concat();
    let nested = [&[10, 0, 0, 0, 1].repeat(31)[..], &[5]].concat();
    Ok(vec![
        seed("ffmpeg-5.1-connect", &[&body]),
        seed("connect", &[&connect("live")]),
        seed("publish", &[&command("publish", 5.0, &[string("cam?t=1"), string("live")].concat())]),
        seed("ecma-array-counted", &[&string("onMetaData"), &ecma, &[0, 0, 9]]),
        seed("ecma-array-without-end", &[&ecma, &string("more"), &[5]]),
        seed("every-marker", &[&every]),
        seed("nested", &[&nested]),
    ])
}

pub(super) fn session() -> io::Result<Vec<Entry>> {
    let mut seeds = Vec::new();
    for (at, name) in RECORDINGS.iter().enumerate() {
        let choices = [[200, 0, 5 + 0xE0], [90, 2, 0xE0]][at % 2];
        seeds.push(seed(name, &[&choices, &recording(name)?]));
    }
    let publish = |key: &str| message(20, 0, &command("publish", 5.0, &string(key)));
    let start = [
        message(20, 0, &connect("live/site")),
        message(20, 0, &command("releaseStream", 2.0, &string("a"))),
        message(20, 0, &command("FCPublish", 3.0, &string("a"))),
        message(20, 0, &command("createStream", 4.0, &[])),
        publish("a?token=x"),
    ]
    .concat();
    // Two FLV tags with their back pointers.
    let aggregate = b"\x08\0\0\x02\0\0\x07\0\0\0\0\xAF\x01\0\0\0\x0D\x09\0\0\x02\0\0\x09\0\0\0\0\x27\x01\0\0\0\x0D";
    let media = [
        message(8, 0, &[0xAF, 0, 0x11, 0x90]),
        message(9, 40, &[0x17; 200]),
        message(22, 80, aggregate),
        message(4, 0, &[0, 6, 1, 2, 3, 4]),
        message(20, 0, &command("FCUnpublish", 6.0, &string("a"))),
        publish("b"),
        message(20, 0, &command("deleteStream", 7.0, &[&[0], &1_f64.to_be_bytes()[..]].concat())),
        message(17, 0, &[&[0], &command("play", 8.0, &string("b"))[..]].concat()),
        message(20, 0, &command("getStreamLength", 9.0, &string("b"))),
        message(20, 0, &connect("again")),
    ]
    .concat();
    seeds.push(seed("whole-life", &[&[11, 0, 0x40], &start, &media]));
    seeds.push(seed("refused", &[&[3, 0xFF, 0x41], &start, &publish("c")]));
    seeds.push(seed("without-connect", &[&[3, 0, 0x42], &publish("a")]));
    Ok(seeds)
}

pub(super) fn client() -> io::Result<Vec<Entry>> {
    let mut seeds = Vec::new();
    for (name, choices) in SERVED.into_iter().zip([[60, 0xE2], [3, 0xE0]]) {
        seeds.push(seed(name, &[&choices, &recording(name)?]));
    }
    let number = |number: f64| [&[0][..], &number.to_be_bytes()].concat();
    let info = |code: &str, level: &str| {
        let properties =
            [&name("level")[..], &string(level), &name("code"), &string(code), &[0, 0, 9]];
        [&[3][..], &properties.concat()].concat()
    };
    let said = |called, transaction, arguments: &[u8]| {
        message(20, 0, &command(called, transaction, arguments))
    };
    let start = [
        message(5, 0, &[0, 0, 4, 0]),
        message(1, 0, &[0, 0, 0, 200]),
        said("_result", 1.0, &info("NetConnection.Connect.Success", "status")),
        said("_result", 2.0, &number(1.0)),
        message(4, 0, &[0, 0, 0, 0, 0, 1]),
    ]
    .concat();
    let play = said("onStatus", 0.0, &info("NetStream.Play.Start", "status"));
    let media = [message(9, 40, &[0x17; 100]), message(4, 0, &[0, 6, 1, 2, 3, 4])].concat();
    let stop = said("onStatus", 0.0, &info("NetStream.Play.Stop", "status"));
    let refused = said("_error", 1.0, &info("NetConnection.Connect.Rejected", "error"));
    seeds.push(seed("whole-life", &[&[11, 2], &start, &play, &media, &stop, &media]));
    seeds.push(seed("without-start", &[&[7, 0x22], &start, &media, &said("close", 0.0, &[])]));
    seeds.push(seed("refused", &[&[3, 0x41], &refused, &start]));
    Ok(seeds)
}
