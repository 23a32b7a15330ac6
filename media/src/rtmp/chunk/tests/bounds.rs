//! Every bound is hit, and nothing is taken by announcement.

use super::*;

#[test]
fn the_65th_chunk_stream_is_refused() {
    let mut bytes = Vec::new();
    for id in 2..66 {
        bytes.extend(message((id, 128), AUDIO, 0, 1, b"a"));
    }
    // Chunk streams that are known go on.
    bytes.extend([&type_3(65, None)[..], b"b", &type_3(2, None), b"b"].concat());
    assert_eq!(read(&bytes).unwrap().len(), 66);
    let at = bytes.len() as u64;
    bytes.extend(message((66, 128), AUDIO, 0, 1, b"a"));
    assert_eq!(read(&bytes), Err(RtmpError::TooManyChunkStreams { id: 66, max: 64, at }));
}

#[test]
fn each_kind_of_message_has_its_longest() {
    let media = 100_000;
    for (type_ids, max) in [
        (&[1, 2, 3, 4, 5, 6][..], MAX_CONTROL_BYTES),
        (&[0, 7, 15, 16, 17, 18, 19, 20, 21, 23, 255], MAX_COMMAND_BYTES),
        (&[8, 9, 22], media),
    ] {
        for &type_id in type_ids {
            let mut reader = ChunkReader::new(media, 0);
            let header = type_0(3, 0, max, type_id, 1);
            assert_eq!(reader.read(&mut BytesMut::from(&header[..])), Ok(None), "{type_id}");
            for (at, header) in [
                (0, type_0(3, 0, max + 1, type_id, 1)),
                (0, type_0(3, 0, 0xFF_FFFF, type_id, 1)),
                (0, type_1(3, 0, max + 1, type_id)),
            ] {
                let length = u32::from_be_bytes([0, header[4], header[5], header[6]]) as usize;
                let refused = ChunkReader::new(media, 0).read(&mut BytesMut::from(&header[..]));
                assert_eq!(refused, Err(RtmpError::MessageTooLong { type_id, length, max, at }));
            }
        }
    }
}

#[test]
fn a_message_of_the_longest_length_is_read() {
    let mut reader = ChunkReader::new(100_000, 0);
    let payload = vec![0x17; 100_000];
    let mut input = BytesMut::from(&message((6, 128), VIDEO, 0, 1, &payload)[..]);
    assert_eq!(read_all(&mut reader, &mut input), Ok(vec![says(VIDEO, 0, 1, &payload)]));
}

/// Chunks of one byte less than the longest command, each on a chunk stream of its own.
fn unfinished(id: u32) -> Vec<u8> {
    let header = type_0(id, 0, MAX_COMMAND_BYTES, DATA, 1);
    [&header[..], &[0; MAX_COMMAND_BYTES - 1]].concat()
}

#[test]
fn unfinished_messages_may_hold_a_bounded_sum() {
    let max = 1000 + IN_PROGRESS_RESERVE;
    let mut reader = ChunkReader::new(1000, 0);
    reader.set_chunk_size(MAX_COMMAND_BYTES as u32 - 1).unwrap();
    let fit = (max / (MAX_COMMAND_BYTES - 1)) as u32;
    for id in 0..fit {
        assert_eq!(reader.read(&mut BytesMut::from(&unfinished(10 + id)[..])), Ok(None));
    }
    assert_eq!(reader.in_progress_bytes(), fit as usize * (MAX_COMMAND_BYTES - 1));
    // Finishing one, aborting one and beginning one anew each make room for one.
    let finish = [&type_3(10, None)[..], &[0]].concat();
    assert!(reader.read(&mut BytesMut::from(&finish[..])).unwrap().is_some());
    assert_eq!(reader.read(&mut BytesMut::from(&unfinished(50)[..])), Ok(None));
    reader.abort(50);
    assert_eq!(reader.read(&mut BytesMut::from(&unfinished(51)[..])), Ok(None));
    assert_eq!(reader.read(&mut BytesMut::from(&unfinished(51)[..])), Ok(None));
    let refused = reader.read(&mut BytesMut::from(&unfinished(52)[..]));
    assert!(matches!(refused, Err(RtmpError::TooMuchInProgress { max: m, .. }) if m == max));
}

#[test]
fn a_message_in_one_chunk_counts_against_the_bound_too() {
    let mut reader = ChunkReader::new(1000, 0);
    reader.set_chunk_size(MAX_COMMAND_BYTES as u32 - 1).unwrap();
    for id in 10..26 {
        assert_eq!(reader.read(&mut BytesMut::from(&unfinished(id)[..])), Ok(None));
    }
    let left = 1000 + IN_PROGRESS_RESERVE - reader.in_progress_bytes();
    let whole = message((30, left), DATA, 0, 1, &vec![0; left]);
    assert!(reader.read(&mut BytesMut::from(&whole[..])).unwrap().is_some());
    let whole = message((30, left + 1), DATA, 0, 1, &vec![0; left + 1]);
    let refused = reader.read(&mut BytesMut::from(&whole[..]));
    assert!(matches!(refused, Err(RtmpError::TooMuchInProgress { .. })), "{refused:?}");
}

#[test]
fn an_announced_length_alone_takes_no_memory() {
    let mut reader = ChunkReader::new(0xFF_FFFF, 0);
    reader.set_chunk_size(0xFF_FFFF).unwrap();
    let mut input = BytesMut::from(&type_0(6, 0, 0xFF_FFFF, VIDEO, 1)[..]);
    let mut come = 0;
    for length in [0, 1, 10, 100, 1000, 10_000, 100_000] {
        input.extend_from_slice(&vec![0; length]);
        come += length;
        assert_eq!(reader.read(&mut input), Ok(None));
        let held: usize =
            reader.streams.iter().filter_map(|s| s.partial.as_ref()).map(BytesMut::capacity).sum();
        assert!(held <= 2 * come + 8, "{held} bytes for {come}");
        assert_eq!((reader.in_progress_bytes(), input.len()), (come, 0));
    }
}

#[test]
fn what_stays_in_the_input_is_less_than_one_header() {
    // The longest header: basic header of 3 bytes, type 0, extended timestamp.
    let header = type_0(1000, u32::MAX, 1, AUDIO, 1);
    assert_eq!(header.len(), 18);
    for end in 0..header.len() {
        let mut reader = reader();
        let mut input = BytesMut::from(&header[..end]);
        assert_eq!(reader.read(&mut input), Ok(None));
        assert_eq!((input.len(), reader.position()), (end, 0));
    }
}
