mod assembly;
mod bounds;
mod splits;

use super::*;
use crate::rtmp::wire::{basic, message, type_0, type_1, type_2, type_3};

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const DATA: u8 = 18;

fn reader() -> ChunkReader {
    ChunkReader::new(8 << 20, 0)
}

/// Reads all that is whole, and does what the peer's control messages say, as a session would.
fn read_all(reader: &mut ChunkReader, input: &mut BytesMut) -> Result<Vec<Message>, RtmpError> {
    let mut messages = Vec::new();
    while let Some(message) = reader.read(input)? {
        if let (1 | 2, Some(number)) = (message.type_id, message.payload.first_chunk()) {
            let number = u32::from_be_bytes(*number);
            match message.type_id {
                1 => reader.set_chunk_size(number)?,
                _ => reader.abort(number),
            }
        }
        messages.push(message);
    }
    Ok(messages)
}

/// Reads one connection that came in one piece.
fn read(bytes: &[u8]) -> Result<Vec<Message>, RtmpError> {
    read_all(&mut reader(), &mut BytesMut::from(bytes))
}

/// The timestamps of all messages.
fn timestamps(bytes: &[u8]) -> Vec<u32> {
    read(bytes).unwrap().iter().map(|message| message.timestamp_ms).collect()
}

fn says(type_id: u8, timestamp_ms: u32, stream_id: u32, payload: &[u8]) -> Message {
    Message { type_id, timestamp_ms, stream_id, payload: Bytes::copy_from_slice(payload) }
}

#[test]
fn a_type_0_header_says_all_about_its_message() {
    let bytes = [4, 1, 2, 3, 0, 0, 2, 8, 5, 6, 7, 8, 0xAF, 1];
    assert_eq!(read(&bytes), Ok(vec![says(AUDIO, 0x01_0203, 0x0807_0605, &[0xAF, 1])]));
}

#[test]
fn later_headers_lean_on_the_earlier_ones_of_their_chunk_stream() {
    let bytes = [
        &type_0(4, 1000, 2, AUDIO, 7)[..],
        b"ab",
        &type_1(4, 20, 3, VIDEO),
        b"cde",
        &type_2(4, 23),
        b"fgh",
        &type_3(4, None),
        b"ijk",
        &type_3(4, None),
        b"lmn",
    ]
    .concat();
    let expected = vec![
        says(AUDIO, 1000, 7, b"ab"),
        says(VIDEO, 1020, 7, b"cde"),
        says(VIDEO, 1043, 7, b"fgh"),
        says(VIDEO, 1066, 7, b"ijk"),
        says(VIDEO, 1089, 7, b"lmn"),
    ];
    assert_eq!(read(&bytes), Ok(expected));
}

#[test]
fn chunk_streams_do_not_lean_on_each_other() {
    let bytes = [
        &type_0(4, 1000, 1, AUDIO, 1)[..],
        b"a",
        &type_0(6, 5000, 2, VIDEO, 2),
        b"vv",
        &type_2(4, 10),
        b"b",
        &type_2(6, 40),
        b"ww",
    ]
    .concat();
    assert_eq!(timestamps(&bytes), [1000, 5000, 1010, 5040]);
}

#[test]
fn a_type_3_that_starts_a_message_after_a_type_0_adds_the_timestamp_itself() {
    // 5.3.1.2.4: "the timestamp delta for this Type 3 chunk is the same as the timestamp of the
    // Type 0 chunk".
    let bytes = [&type_0(4, 40, 1, AUDIO, 1)[..], b"a", &type_3(4, None), b"b"].concat();
    assert_eq!(timestamps(&bytes), [40, 80]);
    let bytes = [&type_0(4, 0, 1, AUDIO, 1)[..], b"a", &type_3(4, None), b"b"].concat();
    assert_eq!(timestamps(&bytes), [0, 0]);
}

#[test]
fn a_chunk_stream_may_begin_with_a_type_1_but_not_with_a_type_2_or_3() {
    // librtmp begins its control stream so.
    let bytes = [&type_1(2, 5, 4, 3)[..], &[0, 0, 0, 9]].concat();
    assert_eq!(read(&bytes), Ok(vec![says(3, 5, 0, &[0, 0, 0, 9])]));
    for format in [2, 3] {
        let bytes = [&message((4, 128), AUDIO, 0, 1, b"a")[..], &basic(format, 5)].concat();
        let at = bytes.len() as u64 - 1;
        assert_eq!(read(&bytes), Err(RtmpError::NoEarlierHeader { format, id: 5, at }));
    }
}

#[test]
fn every_form_of_the_basic_header_names_its_chunk_stream() {
    for id in [2, 3, 63, 64, 65, 319, 320, 321, 0x1234, 65_598, 65_599] {
        let mut reader = reader();
        let mut input = BytesMut::from(&message((id, 128), AUDIO, 1, 1, b"a")[..]);
        assert_eq!(read_all(&mut reader, &mut input), Ok(vec![says(AUDIO, 1, 1, b"a")]));
        assert_eq!(reader.streams.iter().map(|s| s.id).collect::<Vec<_>>(), [id]);
    }
}

#[test]
fn two_forms_of_one_chunk_stream_id_are_one_chunk_stream() {
    // 64 to 319 can stand in two and in three bytes (5.3.1.1).
    let bytes = [&message((100, 128), AUDIO, 1000, 1, b"a")[..], &[0x81, 36, 0], &[0, 0, 5], b"b"];
    assert_eq!(timestamps(&bytes.concat()), [1000, 1005]);
}

#[test]
fn every_size_of_the_basic_header_goes_with_every_chunk_type() {
    for id in [3, 200, 20_000] {
        let bytes = [
            &type_0(id, 10, 1, AUDIO, 1)[..],
            b"a",
            &type_1(id, 10, 200, VIDEO),
            &[0x11; 128],
            &type_3(id, None),
            &[0x11; 72],
            &type_2(id, 10),
            &[0x12; 128],
            &type_3(id, None),
            &[0x12; 72],
            &type_3(id, None),
            &[0x13; 128],
            &type_3(id, None),
            &[0x13; 72],
        ]
        .concat();
        let expected = vec![
            says(AUDIO, 10, 1, b"a"),
            says(VIDEO, 20, 1, &[0x11; 200]),
            says(VIDEO, 30, 1, &[0x12; 200]),
            says(VIDEO, 40, 1, &[0x13; 200]),
        ];
        assert_eq!(read(&bytes), Ok(expected));
    }
}

#[test]
fn timestamps_from_24_bits_up_stand_in_the_extended_timestamp() {
    for ms in [0xFF_FFFE, 0xFF_FFFF, 0x100_0000, u32::MAX] {
        let bytes = message((4, 128), AUDIO, ms, 1, b"a");
        assert_eq!(bytes.len(), if ms < 0xFF_FFFF { 13 } else { 17 });
        assert_eq!(timestamps(&bytes), [ms]);
    }
}

#[test]
fn deltas_of_types_1_and_2_may_be_extended() {
    let bytes = [
        &message((4, 128), AUDIO, 1, 1, b"a")[..],
        &type_1(4, 0x100_0000, 1, AUDIO),
        b"b",
        &type_2(4, 0xFF_FFFF),
        b"c",
        &type_2(4, 1),
        b"d",
        &type_3(4, None),
        b"e",
    ]
    .concat();
    assert_eq!(timestamps(&bytes), [1, 0x100_0001, 0x200_0000, 0x200_0001, 0x200_0002]);
}

#[test]
fn an_extended_timestamp_may_be_smaller_than_it_needs_to_be() {
    let bytes = [&[4, 255, 255, 255, 0, 0, 1, 8, 1, 0, 0, 0][..], &[0, 0, 0, 7], b"a"].concat();
    assert_eq!(timestamps(&bytes), [7]);
}

#[test]
fn a_type_3_within_a_message_may_repeat_the_extended_timestamp_or_leave_it_out() {
    // ffmpeg repeats it, as 5.3.1.3 wants; OBS before 30.2 and librtmp leave it out.
    let payload: Vec<u8> = (0..300_u32).map(|n| n as u8 | 0x80).collect();
    for (first, field) in [
        (type_0(6, 0x0123_4567, 300, VIDEO, 1), 0x0123_4567),
        (
            [&message((6, 128), VIDEO, 0, 1, b"")[..], &type_1(6, 0x0200_0000, 300, VIDEO)]
                .concat(),
            0x0200_0000,
        ),
        (
            [
                &message((6, 512), 1, 0, 1, &[0, 0, 4, 0])[..],
                &message((6, 512), VIDEO, 0, 1, &payload),
                &message((2, 128), 1, 0, 0, &[0, 0, 0, 128]),
                &type_2(6, 0x0300_0000),
            ]
            .concat(),
            0x0300_0000,
        ),
    ] {
        for extended in [Some(field), None] {
            let bytes = [
                &first[..],
                &payload[..128],
                &type_3(6, extended),
                &payload[128..256],
                &type_3(6, extended),
                &payload[256..],
            ]
            .concat();
            let messages = read(&bytes).unwrap();
            assert_eq!(messages.last(), Some(&says(VIDEO, field, 1, &payload)), "{extended:?}");
        }
    }
}

#[test]
fn a_type_3_that_starts_a_message_may_repeat_the_extended_delta_or_leave_it_out() {
    for extended in [Some(0x100_0000), None] {
        let bytes = [
            &message((4, 128), AUDIO, 5, 1, b"a")[..],
            &type_1(4, 0x100_0000, 4, AUDIO),
            b"bbbb",
            &type_3(4, extended),
            b"cccc",
            &type_3(4, extended),
            b"dddd",
        ]
        .concat();
        assert_eq!(timestamps(&bytes), [5, 0x100_0005, 0x200_0005, 0x300_0005], "{extended:?}");
    }
}

#[test]
fn a_payload_that_begins_like_the_extended_timestamp_is_not_taken_for_it() {
    // The first three of its four bytes.
    let payload = [&[0x55; 128][..], &[1, 2, 3, 5, 6]].concat();
    let bytes = [
        &type_0(6, 0x0102_0304, payload.len(), VIDEO, 1)[..],
        &payload[..128],
        &type_3(6, None),
        &payload[128..],
    ]
    .concat();
    assert_eq!(read(&bytes), Ok(vec![says(VIDEO, 0x0102_0304, 1, &payload)]));
}

#[test]
fn timestamps_wrap_at_32_bits() {
    let bytes = [
        &message((4, 128), AUDIO, u32::MAX - 9, 1, b"aaaa")[..],
        &type_1(4, 23, 4, AUDIO),
        b"bbbb",
        &type_3(4, None),
        b"cccc",
        // A step back, as senders write it that count modulo 2^32.
        &type_2(4, 0_u32.wrapping_sub(6)),
        b"dddd",
    ]
    .concat();
    assert_eq!(timestamps(&bytes), [u32::MAX - 9, 13, 36, 30]);
}
