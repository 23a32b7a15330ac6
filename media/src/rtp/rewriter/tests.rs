use proptest::prelude::*;

use super::*;
use crate::rtp::Header;

/// Packets of these sequence numbers, the last with the marker.
fn unit(timestamp: u32, sequence_numbers: &[u16]) -> PacketBatch {
    let mut packets = PacketBatch::default();
    let mut data = BytesMut::new();
    for (at, sequence_number) in sequence_numbers.iter().enumerate() {
        let marker = u8::from(at + 1 == sequence_numbers.len()) << 7;
        data.extend_from_slice(&[0x80, 33 | marker]);
        data.extend_from_slice(&sequence_number.to_be_bytes());
        data.extend_from_slice(&timestamp.to_be_bytes());
        data.extend_from_slice(&[9, 9, 9, 9, 0x41, at as u8]);
        packets.sizes.push(14);
    }
    packets.data = data.freeze();
    packets
}

fn headers(batch: &PacketBatch) -> Vec<Header> {
    batch.packets().map(|packet| Header::parse(&packet).unwrap()).collect()
}

/// Sequence numbers and timestamp of an access unit when it was rewritten.
fn rewrite(rewriter: &mut Rewriter, timestamp: u32, numbers: &[u16]) -> (Vec<u16>, u32) {
    let headers = headers(&rewriter.rewrite(unit(timestamp, numbers), timestamp));
    assert!(headers.iter().all(|header| header.timestamp == headers[0].timestamp));
    (headers.iter().map(|header| header.sequence_number).collect(), headers[0].timestamp)
}

#[test]
fn only_the_fields_of_the_stream_are_rewritten() {
    let before = unit(5000, &[7, 8]);
    let after = Rewriter::new(0xABCD, 97, 100).rewrite(before.clone(), 5000);
    assert_eq!(after.sizes, before.sizes);
    for (at, (was, is)) in before.packets().zip(after.packets()).enumerate() {
        let header = Header::parse(&is).unwrap();
        assert_eq!((header.ssrc, header.payload_type), (0xABCD, 97));
        assert_eq!((header.sequence_number, header.timestamp), (100 + at as u16, 5000));
        assert_eq!(header.marker, at == 1);
        assert_eq!((was[0], was.slice(12..)), (is[0], is.slice(12..)));
    }
}

#[test]
fn sequence_numbers_go_on_over_the_wrap_of_either_side() {
    let mut rewriter = Rewriter::new(1, 96, 65_534);
    assert_eq!(rewrite(&mut rewriter, 0, &[10, 11]).0, [65_534, 65_535]);
    assert_eq!(rewrite(&mut rewriter, 1, &[12]).0, [0]);
    let mut rewriter = Rewriter::new(1, 96, 300);
    assert_eq!(rewrite(&mut rewriter, 0, &[65_535, 0]).0, [300, 301]);
    assert_eq!(rewrite(&mut rewriter, 1, &[1]).0, [302]);
    assert_eq!(rewriter.next_sequence_number(), 303);
}

#[test]
fn what_the_leg_lost_stays_a_gap_for_readers() {
    let mut rewriter = Rewriter::new(1, 96, 300);
    assert_eq!(rewrite(&mut rewriter, 0, &[65_530, 65_532]).0, [300, 302]);
    assert_eq!(rewrite(&mut rewriter, 1, &[3]).0, [309]);
    assert_eq!(rewriter.next_sequence_number(), 310);
}

#[test]
fn a_new_leg_follows_without_a_gap_and_at_the_distance_in_time_that_is_asked_for() {
    let mut rewriter = Rewriter::new(1, 96, 300);
    assert_eq!(rewrite(&mut rewriter, 90_000, &[5, 6]), (vec![300, 301], 90_000));
    rewriter.resume(1234, 3000);
    assert_eq!(rewriter.map_timestamp(1234), 93_000);
    assert_eq!(rewrite(&mut rewriter, 1234, &[40_000]), (vec![302], 93_000));
    assert_eq!(rewrite(&mut rewriter, 4234, &[40_001]), (vec![303], 96_000));
    // B-frames of the new leg step back as they do there.
    assert_eq!(rewrite(&mut rewriter, 2734, &[40_002]), (vec![304], 94_500));
}

#[test]
fn timestamps_go_on_over_the_wrap_of_either_side() {
    let mut rewriter = Rewriter::new(1, 96, 0);
    assert_eq!(rewrite(&mut rewriter, u32::MAX - 5, &[0]).1, u32::MAX - 5);
    rewriter.resume(u32::MAX - 1, 10);
    assert_eq!(rewrite(&mut rewriter, u32::MAX - 1, &[0]).1, 4);
    assert_eq!(rewrite(&mut rewriter, 1, &[1]).1, 7);
}

#[test]
fn a_leg_that_brought_nothing_leaves_no_trace() {
    let mut rewriter = Rewriter::new(1, 96, 300);
    rewriter.resume(777, 3000);
    assert_eq!(rewrite(&mut rewriter, 777, &[9]), (vec![300], 777));
    rewriter.resume(5, 1);
    rewriter.resume(50_000, 3000);
    assert_eq!(rewrite(&mut rewriter, 50_000, &[77]), (vec![301], 3777));
}

#[test]
fn an_access_unit_without_packets_uses_no_sequence_number() {
    let mut rewriter = Rewriter::new(1, 96, 300);
    assert_eq!(rewriter.rewrite(unit(1, &[]), 1), PacketBatch::default());
    assert_eq!(rewrite(&mut rewriter, 2, &[9]).0, [300]);
}

proptest! {
    #[test]
    fn over_any_number_of_legs_no_sequence_number_is_missing_and_time_goes_on(
        first in any::<u16>(),
        legs in proptest::collection::vec(
            (any::<u16>(), any::<u32>(), proptest::collection::vec(1usize..5, 1..8)), 1..8),
    ) {
        let mut rewriter = Rewriter::new(1, 96, first);
        let (mut expected, mut time) = (first, None);
        for (mut sequence_number, mut timestamp, units) in legs {
            if time.is_some() {
                rewriter.resume(timestamp, 3000);
            }
            for packets in units {
                let numbers: Vec<_> =
                    (0..packets).map(|n| sequence_number.wrapping_add(n as u16)).collect();
                let (rewritten, at) = rewrite(&mut rewriter, timestamp, &numbers);
                for number in rewritten {
                    prop_assert_eq!(number, expected);
                    expected = expected.wrapping_add(1);
                }
                prop_assert_eq!(at, time.map_or(timestamp, |time: u32| time.wrapping_add(3000)));
                time = Some(at);
                sequence_number = sequence_number.wrapping_add(packets as u16);
                timestamp = timestamp.wrapping_add(3000);
            }
        }
    }
}
