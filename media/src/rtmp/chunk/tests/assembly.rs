//! Messages of several chunks: interleaved, given up, aborted; chunk sizes; copies.

use super::*;

/// A payload of a pattern that shows where each byte was.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn messages_interleave_within_each_other() {
    let (video, audio, data) = (pattern(300), pattern(200), pattern(130));
    let bytes = [
        &type_0(6, 40, 300, VIDEO, 1)[..],
        &video[..128],
        &type_0(4, 41, 200, AUDIO, 1),
        &audio[..128],
        &type_3(6, None),
        &video[128..256],
        &type_0(5, 42, 130, DATA, 1),
        &data[..128],
        &type_3(4, None),
        &audio[128..],
        &type_3(5, None),
        &data[128..],
        &type_3(6, None),
        &video[256..],
    ]
    .concat();
    let expected =
        vec![says(AUDIO, 41, 1, &audio), says(DATA, 42, 1, &data), says(VIDEO, 40, 1, &video)];
    assert_eq!(read(&bytes), Ok(expected));
}

#[test]
fn a_ping_between_two_chunks_of_a_video_message_breaks_neither() {
    let video = pattern(200);
    let ping = [0, 6, 0, 0, 0, 1];
    let bytes = [
        &type_0(6, 40, 200, VIDEO, 1)[..],
        &video[..128],
        &message((2, 128), 4, 0, 0, &ping),
        &type_3(6, None),
        &video[128..],
    ]
    .concat();
    assert_eq!(read(&bytes), Ok(vec![says(4, 0, 0, &ping), says(VIDEO, 40, 1, &video)]));
}

#[test]
fn a_header_of_types_0_to_2_within_a_message_begins_a_new_one() {
    for (header, ms) in
        [(type_0(6, 80, 200, VIDEO, 1), 80), (type_1(6, 7, 200, VIDEO), 47), (type_2(6, 7), 47)]
    {
        let mut reader = reader();
        let bytes = [
            &type_0(6, 40, 200, VIDEO, 1)[..],
            &[0xEE; 128],
            &header,
            &[1; 128],
            &type_3(6, None),
            &[1; 72],
        ]
        .concat();
        let messages = read_all(&mut reader, &mut BytesMut::from(&bytes[..]));
        assert_eq!(messages, Ok(vec![says(VIDEO, ms, 1, &[1; 200])]));
        assert_eq!(reader.in_progress_bytes(), 0);
    }
}

#[test]
fn an_abort_drops_the_unfinished_message_of_its_chunk_stream_only() {
    let bytes = [
        &type_0(6, 40, 200, VIDEO, 1)[..],
        &[0xEE; 128],
        &type_0(4, 41, 200, AUDIO, 1),
        &[2; 128],
        &message((2, 128), 2, 0, 0, &[0, 0, 0, 6]),
        // Of type 3: a new message, not the rest of the old one.
        &type_3(6, None),
        &[1; 128],
        &type_3(6, None),
        &[1; 72],
        &type_3(4, None),
        &[2; 72],
    ]
    .concat();
    let mut reader = reader();
    let messages = read_all(&mut reader, &mut BytesMut::from(&bytes[..])).unwrap();
    let expected = [says(VIDEO, 80, 1, &[1; 200]), says(AUDIO, 41, 1, &[2; 200])];
    assert_eq!(messages[1..], expected);
    assert_eq!(reader.in_progress_bytes(), 0);
}

#[test]
fn an_abort_of_what_has_not_begun_does_nothing() {
    let bytes = [
        &message((4, 128), AUDIO, 1, 1, b"a")[..],
        &message((2, 128), 2, 0, 0, &[0, 0, 0, 4]),
        &message((2, 128), 2, 0, 0, &[0, 1, 0, 0]),
        &type_2(4, 1),
        b"b",
    ]
    .concat();
    assert_eq!(timestamps(&bytes), [1, 0, 0, 2]);
}

#[test]
fn empty_messages_are_messages() {
    let bytes = [
        &type_0(4, 10, 0, AUDIO, 1)[..],
        &type_3(4, None),
        &type_1(4, 5, 1, AUDIO),
        b"a",
        &type_1(4, 5, 0, VIDEO),
    ]
    .concat();
    let expected = vec![
        says(AUDIO, 10, 1, b""),
        says(AUDIO, 20, 1, b""),
        says(AUDIO, 25, 1, b"a"),
        says(VIDEO, 30, 1, b""),
    ];
    assert_eq!(read(&bytes), Ok(expected));
}

#[test]
fn an_aggregate_is_one_message_here() {
    let payload = pattern(700);
    let bytes = message((4, 128), 22, 10, 1, &payload);
    assert_eq!(read(&bytes), Ok(vec![says(22, 10, 1, &payload)]));
}

#[test]
fn the_chunk_size_may_be_anything_from_1_up() {
    for size in [1_u32, 2, 127, 129, 4096, 60_000, 0xFF_FFFF, 0x100_0000, i32::MAX as u32] {
        let payload = pattern(70_000);
        let set = message((2, 128), 1, 0, 0, &size.to_be_bytes());
        let bytes = [set, message((6, size as usize), VIDEO, 9, 1, &payload)].concat();
        assert_eq!(read(&bytes).unwrap()[1..], [says(VIDEO, 9, 1, &payload)], "{size}");
    }
}

#[test]
fn a_new_chunk_size_holds_for_the_rest_of_a_message_that_has_begun() {
    // 5.4.1: each side has one chunk size for all its chunk streams; GStreamer sets one in mid-stream.
    let payload = pattern(1000);
    let bytes = [
        &type_0(6, 9, 1000, VIDEO, 1)[..],
        &payload[..128],
        &message((2, 128), 1, 0, 0, &500_u32.to_be_bytes()),
        &type_3(6, None),
        &payload[128..628],
        &message((2, 128), 1, 0, 0, &[0, 0, 0, 200]),
        &type_3(6, None),
        &payload[628..828],
        &type_3(6, None),
        &payload[828..],
    ]
    .concat();
    assert_eq!(read(&bytes).unwrap().last(), Some(&says(VIDEO, 9, 1, &payload)));
}

#[test]
fn a_chunk_size_of_nothing_or_of_more_than_31_bits_is_refused() {
    for size in [0, 1 << 31, u32::MAX] {
        let bytes = message((2, 128), 1, 0, 0, &size.to_be_bytes());
        let at = bytes.len() as u64;
        assert_eq!(read(&bytes), Err(RtmpError::ChunkSize { size, at }));
    }
}

#[test]
fn a_large_payload_that_lies_whole_in_the_input_is_a_slice_of_it() {
    for (length, sliced) in [(COPY_UP_TO, false), (COPY_UP_TO + 1, true)] {
        let mut reader = reader();
        reader.set_chunk_size(4096).unwrap();
        let payload = pattern(length);
        let mut input = BytesMut::from(&message((6, 4096), VIDEO, 0, 1, &payload)[..]);
        let range = input.as_ptr_range();
        let message = reader.read(&mut input).unwrap().unwrap();
        assert_eq!(message.payload, payload);
        assert_eq!(range.contains(&message.payload.as_ptr()), sliced, "{length}");
    }
}

#[test]
fn a_payload_of_several_chunks_or_inputs_is_copied_once_into_memory_of_its_size() {
    let payload = pattern(5000);
    let bytes = message((6, 2000), VIDEO, 0, 1, &payload);
    for split in [bytes.len(), 1000, 3000] {
        let mut reader = reader();
        reader.set_chunk_size(2000).unwrap();
        let mut input = BytesMut::from(&bytes[..split]);
        let mut messages = read_all(&mut reader, &mut input).unwrap();
        input.extend_from_slice(&bytes[split..]);
        messages.extend(read_all(&mut reader, &mut input).unwrap());
        let [message] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(message.payload, payload);
        assert!(!input.as_ptr_range().contains(&message.payload.as_ptr()));
        assert_eq!(reader.in_progress_bytes(), 0);
    }
}

#[test]
fn the_position_counts_all_bytes_that_were_taken() {
    let mut reader = ChunkReader::new(1000, 3073);
    let bytes = message((6, 128), VIDEO, 0, 1, &pattern(300));
    let mut input = BytesMut::from(&bytes[..200]);
    assert_eq!(reader.read(&mut input), Ok(None));
    assert_eq!((reader.position(), input.len()), (3273, 0));
    assert_eq!(reader.in_progress_bytes(), 200 - 12 - 1);
    input.extend_from_slice(&bytes[200..]);
    assert!(reader.read(&mut input).unwrap().is_some());
    assert_eq!(reader.position(), 3073 + bytes.len() as u64);
}
