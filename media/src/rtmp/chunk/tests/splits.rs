//! The same messages come out however the input is split, cut or interleaved.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use rml_rtmp::{chunk_io::ChunkSerializer, messages::MessagePayload, time::RtmpTimestamp};

use super::*;
use crate::rtmp::wire::{ChunkWriter, HANDSHAKE_BYTES, RECORDINGS};

/// Reads pieces one after the other.
fn read_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Message> {
    let (mut reader, mut input) = (reader(), BytesMut::new());
    let mut messages = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        messages.extend(read_all(&mut reader, &mut input).unwrap());
        assert!(input.len() < 18, "{} bytes are left", input.len());
    }
    messages
}

/// All forms of headers, extended timestamps and interleaving in a few hundred bytes.
fn medley() -> Vec<u8> {
    [
        &type_0(6, 0x0100_0000, 200, VIDEO, 1)[..],
        &[0x17; 128],
        &type_0(300, 40, 3, AUDIO, 1),
        b"abc",
        &type_3(6, Some(0x0100_0000)),
        &[0x18; 72],
        &type_1(300, 0x0200_0000, 130, AUDIO),
        &[0x19; 128],
        &type_3(300, None),
        &[0x20; 2],
        &type_3(300, Some(0x0200_0000)),
        &[0x21; 128],
        &message((2, 128), 1, 0, 0, &[0, 0, 0, 40]),
        &type_3(300, Some(0x0200_0000)),
        &[0x22; 2],
        &type_2(6, 5),
        &[0x23; 40],
        &message((2, 128), 2, 0, 0, &[0, 0, 0, 6]),
        &message((1000, 128), DATA, u32::MAX, 7, b""),
    ]
    .concat()
}

/// Each input and where in it each message ends.
fn inputs() -> Vec<(&'static str, Vec<u8>, Vec<u64>)> {
    let recorded = RECORDINGS.map(|(name, bytes)| (name, bytes[HANDSHAKE_BYTES..].to_vec()));
    let all = recorded.into_iter().chain([("medley", medley())]);
    all.map(|(name, bytes)| {
        let (mut reader, mut input) = (reader(), BytesMut::from(&bytes[..]));
        let mut ends = Vec::new();
        while let Some(message) = reader.read(&mut input).unwrap() {
            ends.push(reader.position());
            if message.type_id == 1 {
                reader.set_chunk_size(message.payload.clone().get_u32()).unwrap();
            }
        }
        assert_eq!(ends.last(), Some(&(bytes.len() as u64)), "{name}: the last message is whole");
        (name, bytes, ends)
    })
    .collect()
}

#[test]
fn every_split_in_two_gives_the_same_messages() {
    for (name, bytes, _) in inputs() {
        // Commands, metadata, sequence headers, a keyframe and some frames.
        let bytes = &bytes[..bytes.len().min(4000)];
        let whole = read_pieces([bytes]);
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(read_pieces([first, second]), whole, "{name} split at {at}");
        }
    }
}

#[test]
fn byte_by_byte_each_message_comes_with_its_last_byte_and_not_before() {
    for (name, bytes, ends) in inputs() {
        let whole = read_pieces([&bytes[..]]);
        let (mut reader, mut input) = (reader(), BytesMut::new());
        let mut messages = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            input.extend_from_slice(&[*byte]);
            messages.extend(read_all(&mut reader, &mut input).unwrap());
            let ended = ends.partition_point(|end| *end <= at as u64 + 1);
            assert_eq!(messages.len(), ended, "{name} after byte {at}");
        }
        assert_eq!(messages, whole, "{name}");
    }
}

#[test]
fn every_truncation_gives_the_messages_that_were_whole() {
    for (name, bytes, ends) in inputs() {
        let bytes = &bytes[..bytes.len().min(4000)];
        let whole = read_pieces([bytes]);
        for end in 0..bytes.len() {
            let ended = ends.partition_point(|e| *e <= end as u64);
            assert_eq!(read_pieces([&bytes[..end]]), whole[..ended], "{name} cut at {end}");
        }
    }
}

/// A message on one of a few chunk streams, of one of a few forms, so that headers can lean on each
/// other.
fn messages() -> impl Strategy<Value = Vec<(u32, Message)>> {
    let id = prop::sample::select(vec![3, 4, 63, 64, 319, 320, 65_599]);
    let type_id = prop::sample::select(vec![AUDIO, VIDEO, DATA, 20]);
    let steps = vec![0, 1, 20, 40, 0xFF_FFFE, 0xFF_FFFF, 0x100_0000, 1 << 31, u32::MAX];
    let ms = prop_oneof![prop::sample::select(steps), any::<u32>()];
    let length = prop_oneof![prop::sample::select(vec![0, 1, 128, 129]), 0..1500_usize];
    let payload = length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length));
    let message = (id, type_id, ms, 0..2_u32, payload)
        .prop_map(|(id, type_id, ms, stream_id, p)| (id, says(type_id, ms, stream_id, &p)));
    prop::collection::vec(message, 1..30).prop_map(|mut messages| {
        // Every other message goes on where the one before it on its chunk stream was.
        let mut last = BTreeMap::<u32, Message>::new();
        for (n, (id, message)) in messages.iter_mut().enumerate() {
            if let Some(last) = last.get(id).filter(|_| n % 2 == 0) {
                message.timestamp_ms = last.timestamp_ms.wrapping_add(message.timestamp_ms % 41);
                message.stream_id = last.stream_id;
            }
            last.insert(*id, message.clone());
        }
        messages
    })
}

/// Writes messages interleaved as `choices` say, with chunk sizes that change on the way; gives the
/// bytes, and the messages in the order in which they end.
fn interleave(
    messages: Vec<(u32, Message)>,
    repeats_extended: bool,
    choices: &[usize],
) -> (Vec<u8>, Vec<Message>) {
    let mut choices = choices.iter().copied().cycle();
    let mut choose = move |below: usize| choices.next().unwrap_or_default() % below;
    let mut writer = ChunkWriter::new(repeats_extended);
    let mut queues = BTreeMap::<u32, VecDeque<(Message, usize)>>::new();
    for (id, message) in messages {
        queues.entry(id).or_default().push_back((message, 0));
    }
    let (mut bytes, mut ended) = (Vec::new(), Vec::new());
    while !queues.is_empty() {
        if choose(8) == 0 {
            let size = [1, 7, 128, 200, 4096][choose(5)];
            let set = says(1, 0, 0, &(size as u32).to_be_bytes());
            let mut at = 0;
            while at < 4 {
                let (chunk, end) = writer.chunk(2, &set, at, choose(4));
                bytes.extend(chunk);
                at = end;
            }
            writer.chunk_size = size;
            ended.push(set);
        }
        let id = *queues.keys().nth(choose(queues.len())).unwrap();
        let queue = queues.get_mut(&id).unwrap();
        let (message, at) = queue.front_mut().unwrap();
        let (chunk, end) = writer.chunk(id, message, *at, choose(4));
        bytes.extend(chunk);
        *at = end;
        if end == message.payload.len() {
            ended.extend(queue.pop_front().map(|(message, _)| message));
        }
        if queue.is_empty() {
            queues.remove(&id);
        }
    }
    (bytes, ended)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_any_honest_writer_says_comes_out_as_it_went_in(
        messages in messages(),
        repeats_extended: bool,
        choices in prop::collection::vec(any::<usize>(), 50..100),
        piece in 1..600_usize,
    ) {
        let (bytes, ended) = interleave(messages, repeats_extended, &choices);
        prop_assert_eq!(&read_pieces([&bytes[..]]), &ended);
        prop_assert_eq!(&read_pieces(bytes.chunks(piece)), &ended);
    }

    #[test]
    fn what_rml_rtmp_writes_is_read(
        // It repeats the full header of Set Chunk Size, of 4 bytes, on each chunk of it.
        chunk_sizes in prop::collection::vec(4..5000_u32, 1..4),
        messages in prop::collection::vec(
            (
                prop::sample::select(vec![AUDIO, VIDEO, DATA, 20]),
                prop_oneof![0..50_u32, Just(0xFF_FFFF), Just(0x100_0000)],
                0..2_u32,
                prop::collection::vec(any::<u8>(), 1..1000),
            ),
            1..20,
        ),
    ) {
        let mut serializer = ChunkSerializer::new();
        let (mut bytes, mut expected, mut ms) = (Vec::new(), Vec::new(), 0);
        let mut chunk_sizes = chunk_sizes.into_iter();
        for (type_id, step, stream_id, payload) in messages {
            if let Some(size) = chunk_sizes.next() {
                let packet = serializer.set_max_chunk_size(size, RtmpTimestamp::new(0)).unwrap();
                bytes.extend(packet.bytes);
                expected.push(says(1, 0, 0, &size.to_be_bytes()));
            }
            // It cannot go back in time.
            ms += step;
            let message = says(type_id, ms, stream_id, &payload);
            let theirs = MessagePayload {
                timestamp: RtmpTimestamp::new(ms),
                type_id,
                message_stream_id: stream_id,
                data: message.payload.clone(),
            };
            bytes.extend(serializer.serialize(&theirs, false, false).unwrap().bytes);
            expected.push(message);
        }
        prop_assert_eq!(read_pieces([&bytes[..]]), expected);
    }

    #[test]
    fn any_split_of_a_recording_gives_the_same_messages(
        recording in 0..RECORDINGS.len(),
        splits in prop::collection::vec(0..12_000_usize, 0..20),
    ) {
        let bytes = &RECORDINGS[recording].1[HANDSHAKE_BYTES..];
        let mut splits: Vec<_> = splits.into_iter().map(|at| at.min(bytes.len())).collect();
        splits.extend([0, bytes.len()]);
        splits.sort_unstable();
        let pieces = splits.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(read_pieces(pieces), read_pieces([bytes]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1..50_usize) {
        let (mut reader, mut input) = (ChunkReader::new(500, 0), BytesMut::new());
        for piece in bytes.chunks(piece) {
            input.extend_from_slice(piece);
            if read_all(&mut reader, &mut input).is_err() {
                break;
            }
        }
    }
}
