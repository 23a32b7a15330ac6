mod codecs;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    ClockRate,
    codec::h264::Config,
    rtp::{Packetizer, PacketizerConfig, ReceivedPacket, ReorderBuffer},
};

/// A slice of another picture, the first and a later fragment of an IDR slice.
const SLICE: &[u8] = &[0x41, 0x9A];
const IDR_BEGINS: &[u8] = &[0x7C, 0x85, 0x88];
const IDR_GOES_ON: &[u8] = &[0x7C, 0x05, 0x88];
const MAX_BYTES: usize = 1000;

fn packet(timestamp: u32, marker: bool, payload: &[u8]) -> Ordered {
    packet_at(Instant::now(), timestamp, marker, payload)
}

fn packet_at(received_at: Instant, timestamp: u32, marker: bool, payload: &[u8]) -> Ordered {
    let mut bytes = vec![0x80, 96 | u8::from(marker) << 7, 0, 0];
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1]);
    bytes.extend_from_slice(payload);
    let header = Header::parse(&bytes).unwrap();
    Ordered::Packet(ReceivedPacket { header, bytes: bytes.into(), received_at })
}

fn assemble(codec: Codec, input: impl IntoIterator<Item = Ordered>) -> AccessUnitAssembler {
    let mut assembler = AccessUnitAssembler::new(codec, MAX_BYTES);
    input.into_iter().for_each(|ordered| assembler.handle(ordered));
    assembler
}

fn drain(assembler: &mut AccessUnitAssembler) -> Vec<AssembledAccessUnit> {
    std::iter::from_fn(|| assembler.poll()).collect()
}

/// Timestamp, number of packets and damage of each access unit of a video track.
fn shapes(input: impl IntoIterator<Item = Ordered>) -> Vec<(u32, usize, bool)> {
    let units = drain(&mut assemble(Codec::H264, input));
    units.iter().map(|u| (u.timestamp, u.packets.sizes.len(), u.damaged)).collect()
}

#[test]
fn an_access_unit_ends_at_its_marker_with_its_packets_as_they_came() {
    let start = Instant::now();
    let later = start + Duration::from_millis(3);
    let mut assembler = assemble(Codec::H264, [packet_at(start, 7, false, SLICE)]);
    assert!(assembler.poll().is_none());
    assembler.handle(packet_at(later, 7, true, &[0x41, 1, 2, 3]));
    let unit = assembler.poll().unwrap();
    assert_eq!((unit.timestamp, unit.damaged, unit.received_at), (7, false, start));
    assert_eq!(unit.packets.sizes[..], [14, 16]);
    let packets: Vec<_> = unit.packets.packets().map(|p| (p[1], p.slice(12..))).collect();
    let expected = [(96, SLICE), (96 | 0x80, &[0x41, 1, 2, 3])];
    assert_eq!(packets, expected.map(|(second, payload)| (second, payload.into())));
    assert!(assembler.poll().is_none());
}

#[test]
fn a_changed_timestamp_ends_an_access_unit_whose_marker_was_not_set() {
    let input = [
        packet(u32::MAX, false, SLICE),
        packet(u32::MAX, false, SLICE),
        packet(5, false, SLICE),
        packet(3, true, SLICE),
    ];
    assert_eq!(shapes(input), [(u32::MAX, 2, false), (5, 1, false), (3, 1, false)]);
}

#[test]
fn two_access_units_of_one_timestamp_are_two() {
    let input = [packet(5, true, SLICE), packet(5, true, SLICE)];
    assert_eq!(shapes(input), [(5, 1, false), (5, 1, false)]);
}

#[test]
fn a_loss_inside_damages_that_access_unit_and_no_other() {
    let input = [
        packet(1, true, SLICE),
        packet(2, false, SLICE),
        Ordered::Lost(1),
        packet(2, false, SLICE),
        packet(2, true, SLICE),
        packet(3, true, SLICE),
    ];
    assert_eq!(shapes(input), [(1, 1, false), (2, 3, true), (3, 1, false)]);
}

#[test]
fn a_loss_over_a_boundary_damages_both_neighbours() {
    let input =
        [packet(1, false, SLICE), Ordered::Lost(2), packet(2, true, SLICE), packet(3, true, SLICE)];
    assert_eq!(shapes(input), [(1, 1, true), (2, 1, true), (3, 1, false)]);
}

#[test]
fn a_loss_behind_a_marker_damages_only_what_follows() {
    let input =
        [packet(1, true, SLICE), Ordered::Lost(1), packet(2, true, SLICE), packet(3, true, SLICE)];
    assert_eq!(shapes(input), [(1, 1, false), (2, 1, true), (3, 1, false)]);
}

#[test]
fn a_loss_of_nothing_damages_nothing() {
    let input = [packet(1, false, SLICE), Ordered::Lost(0), packet(1, true, SLICE)];
    assert_eq!(shapes(input), [(1, 2, false)]);
}

#[test]
fn a_restart_damages_what_it_breaks_off_and_not_what_follows() {
    let input = [
        packet(1, true, SLICE),
        packet(2, false, SLICE),
        Ordered::Restarted,
        packet(2, false, SLICE),
        packet(2, true, SLICE),
    ];
    assert_eq!(shapes(input), [(1, 1, false), (2, 1, true), (2, 2, false)]);
    // What was lost before it was lost from the old place.
    let input = [Ordered::Lost(3), Ordered::Restarted, packet(2, true, SLICE)];
    assert_eq!(shapes(input), [(2, 1, false)]);
}

#[test]
fn what_begins_in_the_middle_of_a_nal_unit_is_damaged() {
    let joined = [packet(1, false, IDR_GOES_ON), packet(1, true, SLICE), packet(2, true, SLICE)];
    assert_eq!(shapes(joined), [(1, 2, true), (2, 1, false)]);
    let input = [packet(1, true, SLICE), Ordered::Restarted, packet(9, true, IDR_GOES_ON)];
    assert_eq!(shapes(input), [(1, 1, false), (9, 1, true)]);
    let whole = [packet(1, false, IDR_BEGINS), packet(1, true, IDR_GOES_ON)];
    assert_eq!(shapes(whole), [(1, 2, false)]);
}

#[test]
fn what_exceeds_the_bound_is_dropped_whole_and_counted() {
    let full = vec![0x41; MAX_BYTES / 2 - 12];
    let mut assembler = assemble(
        Codec::H264,
        [
            packet(1, false, &full),
            packet(1, true, &full),
            packet(2, false, &full),
            packet(2, false, &full),
            packet(2, false, SLICE),
            packet(2, true, SLICE),
            packet(3, true, &[0x41; MAX_BYTES]),
            packet(4, false, SLICE),
            packet(5, true, SLICE),
        ],
    );
    let units = drain(&mut assembler);
    let timestamps: Vec<_> = units.iter().map(|unit| unit.timestamp).collect();
    assert_eq!((timestamps, assembler.oversized()), (vec![1, 4, 5], 2));
    assert_eq!(units[0].packets.data.len(), MAX_BYTES);
}

#[test]
fn an_endless_access_unit_holds_no_more_than_the_bound() {
    let mut assembler = AccessUnitAssembler::new(Codec::H264, MAX_BYTES);
    for _ in 0..MAX_BYTES {
        assembler.handle(packet(1, false, SLICE));
    }
    let held = assembler.open.as_ref().map(|_| assembler.data.len());
    assert!(held.is_some_and(|held| held <= MAX_BYTES));
}

#[test]
fn a_keyframe_and_its_parameter_sets_are_seen_in_video() {
    let (sps, pps) = ([0x67, 1, 2], [0x68, 3]);
    let stap = [&[0x78, 0, 3][..], &sps, &[0, 2], &pps].concat();
    let input = [
        packet(1, false, &stap),
        packet(1, false, IDR_BEGINS),
        packet(1, true, IDR_GOES_ON),
        packet(2, true, SLICE),
    ];
    let units = drain(&mut assemble(Codec::H264, input));
    assert_eq!((units[0].keyframe, units[1].keyframe), (true, false));
    assert_eq!(units[0].parameter_sets[..], [&sps[..], &pps]);
    assert!(units[1].parameter_sets.is_empty());
}

#[test]
fn every_access_unit_of_audio_is_a_keyframe_and_is_not_looked_into() {
    let units = drain(&mut assemble(Codec::Aac, [packet(1, true, &[0x67, 1, 2])]));
    assert!(units[0].keyframe && units[0].parameter_sets.is_empty());
}

/// Packets of access units with slices of these sizes, each a picture of its own, in one batch each.
fn packetized(slices: &[Vec<usize>]) -> Vec<PacketBatch> {
    let mut packetizer = Packetizer::new(PacketizerConfig {
        ssrc: 1,
        payload_type: 96,
        first_sequence_number: 65_500,
        max_packet_size: 64,
    });
    let slices = slices.iter().zip(1u32..);
    slices
        .map(|(sizes, at)| {
            let nal =
                |&size: &usize| [&(size as u32).to_be_bytes()[..], &vec![0x41; size]].concat();
            let avcc: Vec<u8> = sizes.iter().flat_map(nal).collect();
            packetizer.h264(&avcc, 4, &Config::default(), at * 3000).unwrap()
        })
        .collect()
}

proptest! {
    /// The whole receiving side: what is not damaged is bit for bit what was sent.
    #[test]
    fn whatever_is_lost_or_swapped_an_undamaged_access_unit_is_the_one_that_was_sent(
        slices in proptest::collection::vec(proptest::collection::vec(1usize..200, 1..4), 1..20),
        fates in proptest::collection::vec(0u8..20, 40),
    ) {
        let sent = packetized(&slices);
        let now = Instant::now();
        let mut packets: Vec<_> = sent.iter().flat_map(PacketBatch::packets).collect();
        // The first one comes: a receiver cannot know what was before it.
        let mut fates = [20].iter().chain(fates.iter().cycle());
        packets.retain(|_| fates.next() != Some(&0));
        // In pairs: one that is moved further is one that is given up.
        for at in (2..packets.len()).step_by(2) {
            if fates.next() == Some(&1) {
                packets.swap(at - 1, at);
            }
        }
        let mut reorder = ReorderBuffer::new(ClockRate::VIDEO, Duration::from_millis(20), 3);
        let mut assembler = AccessUnitAssembler::new(Codec::H264, 1 << 20);
        let complete = packets.len() == sent.iter().map(|batch| batch.sizes.len()).sum();
        for bytes in packets {
            let header = Header::parse(&bytes).unwrap();
            reorder.insert(ReceivedPacket { header, bytes, received_at: now });
        }
        while let Some(ordered) = reorder.poll(now + Duration::from_secs(1)) {
            assembler.handle(ordered);
        }
        let units = drain(&mut assembler);
        for unit in &units {
            let batch = &sent[unit.timestamp as usize / 3000 - 1];
            prop_assert!(unit.damaged || unit.packets == *batch, "{}", unit.timestamp);
        }
        if complete {
            prop_assert!(units.len() == sent.len() && !units.iter().any(|unit| unit.damaged));
        }
    }
}
