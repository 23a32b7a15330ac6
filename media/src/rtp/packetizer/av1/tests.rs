use proptest::prelude::*;

use super::*;
use crate::{
    codec::{
        av1::leb128,
        fixtures::{av1, hex},
    },
    rtp::packetizer::tests::{Marker, packetizer, payloads},
};

/// What the packets of a temporal unit say.
#[derive(Default, PartialEq, Debug)]
struct Read {
    /// Its OBUs, without size fields.
    obus: Vec<Vec<u8>>,
    /// N of its first packet.
    new_sequence: bool,
}

/// Takes packets apart by the letter of the AV1 RTP specification, 4.4, 4.5 and 5.
fn depacketize(batch: &PacketBatch, max_packet_size: usize) -> Read {
    let mut read = Read::default();
    let mut open: Option<Vec<u8>> = None;
    for (at, payload) in payloads(batch, max_packet_size, Marker::Last).into_iter().enumerate() {
        let header = payload[0];
        let (z, y, n) = (header & 0x80 != 0, header & 0x40 != 0, header & 8 != 0);
        assert_eq!(header & 0b0011_0111, 0, "W = 0, and nothing in the reserved bits");
        assert!(!n || at == 0, "N is in the first packet alone");
        read.new_sequence |= n;
        assert_eq!(z, open.is_some(), "Z goes on with what Y announced");
        let mut elements = vec![];
        let mut rest = &payload[1..];
        while !rest.is_empty() {
            let (length, behind) = leb128(rest).expect("a length");
            assert!(length > 0, "an element of nothing");
            let (element, behind) = behind.split_at(length);
            elements.push(element.to_vec());
            rest = behind;
        }
        assert!(!elements.is_empty());
        let count = elements.len();
        let mut layers = vec![];
        for (at, element) in elements.into_iter().enumerate() {
            let mut obu = open.take().unwrap_or_default();
            obu.extend(element);
            if obu[0] & 4 != 0 {
                layers.push(obu[1] >> 3);
            }
            if at + 1 == count && y { open = Some(obu) } else { read.obus.push(obu) }
        }
        layers.dedup();
        assert!(layers.len() <= 1, "layers {layers:?} in one packet");
    }
    assert_eq!(open, None, "the last packet announces nothing");
    read
}

fn obu(kind: u8, length: usize) -> Vec<u8> {
    [vec![kind << 3], (0..length).map(|at| at as u8).collect()].concat()
}

fn layered(kind: u8, extension: u8, length: usize) -> Vec<u8> {
    let mut obu = obu(kind, length);
    obu[0] |= 4;
    obu.insert(1, extension);
    obu
}

/// A temporal unit in the low-overhead format: each OBU with its size, but for the last where `open_end`.
fn temporal_unit(obus: &[Vec<u8>], open_end: bool) -> Vec<u8> {
    let mut unit = vec![];
    for (at, obu) in obus.iter().enumerate() {
        let header = 1 + usize::from(obu[0] >> 2 & 1);
        if open_end && at + 1 == obus.len() {
            unit.extend(obu);
            continue;
        }
        unit.push(obu[0] | 2);
        unit.extend(&obu[1..header]);
        let mut size = obu.len() - header;
        while size >= 0x80 {
            unit.push(0x80 | (size & 0x7F) as u8);
            size >>= 7;
        }
        unit.push(size as u8);
        unit.extend(&obu[header..]);
    }
    unit
}

fn batch(unit: &[u8], keyframe: bool, config: &Config, max_packet_size: usize) -> PacketBatch {
    packetizer(max_packet_size).av1(unit, keyframe, config, 90_000).unwrap()
}

fn sent(obus: &[Vec<u8>], max_packet_size: usize) -> Vec<Vec<u8>> {
    let unit = temporal_unit(obus, false);
    depacketize(&batch(&unit, false, &Config::default(), max_packet_size), max_packet_size).obus
}

fn known() -> Config {
    Config::parse(&hex(av1::AOM.record)).unwrap()
}

#[test]
fn obus_come_back_whatever_the_packet_size() {
    let obus = [obu(1, 11), obu(5, 30), obu(3, 20), obu(4, 5000), obu(4, 40_000), obu(6, 1)];
    let sizes = (64..1600).step_by(7).chain(64..330).chain([9000, 16_390, 16_400, 16_410, 65_507]);
    for max_packet_size in sizes {
        assert_eq!(sent(&obus, max_packet_size), obus, "{max_packet_size}");
    }
}

#[test]
fn obus_of_every_length_come_back() {
    for max_packet_size in [64, 100, 142, 143, 200] {
        for length in 0..600 {
            let obus = [obu(5, 9), obu(6, length), layered(4, 0x20, length), obu(6, 3)];
            assert_eq!(sent(&obus, max_packet_size), obus, "{length} in {max_packet_size}");
        }
    }
}

#[test]
fn a_length_of_three_bytes_does_not_make_a_packet_too_large() {
    // An OBU of which 16 KiB and more go into one packet.
    for max_packet_size in (16_380..16_420).chain([20_000, 65_507]) {
        for left in [0, 1, 2, 3, 4] {
            let obus = [obu(6, max_packet_size - 17 + left)];
            assert_eq!(sent(&obus, max_packet_size), obus, "{left} over {max_packet_size}");
        }
    }
}

#[test]
fn fragments_are_of_one_size_but_the_last() {
    for max_packet_size in [64, 141, 142, 143, 1200] {
        let unit = temporal_unit(&[obu(6, 20_000)], true);
        let batch = batch(&unit, false, &Config::default(), max_packet_size);
        let (last, full) = batch.sizes.split_last().unwrap();
        assert!(full.iter().all(|size| size == &full[0]) && *last <= full[0]);
        // A piece of 128 bytes takes two bytes of length, one of 127 takes one.
        assert!(usize::from(full[0]) >= max_packet_size - 1, "{} of {max_packet_size}", full[0]);
        assert_eq!(batch.runs(usize::MAX).count(), 1);
    }
}

#[test]
fn a_real_keyframe_goes_out_without_its_temporal_delimiter() {
    let unit = hex(av1::KEYFRAME);
    let read = depacketize(&batch(&unit, true, &known(), 1200), 1200);
    let frame = [&[0x30], &unit[16..]].concat();
    assert_eq!(read.obus, [hex("08000000032c184daf9004").to_vec(), frame]);
    assert!(read.new_sequence);
}

#[test]
fn a_keyframe_without_a_sequence_header_gets_that_of_the_record() {
    let unit = [hex("1200"), hex(&av1::KEYFRAME[28..])].concat();
    let frame = unit[4..].to_vec();
    let read = depacketize(&batch(&unit, true, &known(), 1200), 1200);
    assert_eq!(read.obus[0], known().sequence_header);
    assert_eq!((read.obus[1][0], &read.obus[1][1..]), (0x30, &frame[..]));
    assert!(read.new_sequence && read.obus.len() == 2);
    // What is no keyframe, and where none is known, stays as it is.
    let read = depacketize(&batch(&unit, false, &known(), 1200), 1200);
    assert_eq!((read.obus.len(), read.new_sequence), (1, false));
    let read = depacketize(&batch(&unit, true, &Config::default(), 1200), 1200);
    assert_eq!((read.obus.len(), read.new_sequence), (1, true));
}

#[test]
fn temporal_delimiters_tile_lists_and_padding_are_left_out() {
    let (frame, header) = (obu(6, 300), obu(1, 11));
    let unit = [obu(2, 0), header.clone(), obu(15, 40), frame.clone(), obu(8, 9), obu(2, 0)];
    assert_eq!(sent(&unit, 100), [header, frame]);
    let none = temporal_unit(&[obu(2, 0), obu(15, 3)], false);
    assert_eq!(batch(&none, false, &known(), 100), PacketBatch::default());
}

#[test]
fn obus_of_different_layers_are_in_packets_of_their_own() {
    // The example of the AV1 RTP specification, 5.1.
    let (base, upper) = (0, 1 << 3);
    let obus = [
        obu(1, 11),
        obu(5, 4),
        layered(5, base, 4),
        layered(3, base, 9),
        layered(4, base, 30),
        layered(5, upper, 4),
        layered(3, upper, 9),
        obu(5, 3),
        layered(4, upper, 30),
    ];
    let unit = temporal_unit(&obus, false);
    let batch = batch(&unit, true, &known(), 1200);
    assert_eq!(batch.sizes.len(), 2);
    let read = depacketize(&batch, 1200);
    assert_eq!((&read.obus[..], read.new_sequence), (&obus[..], true));
    // Where the end of a fragmented one shares a packet with others, too.
    for length in 1..200 {
        let obus = [layered(6, base, length), layered(6, upper, length), layered(6, 0x20, 5)];
        assert_eq!(sent(&obus, 64), obus, "{length}");
    }
}

#[test]
fn a_temporal_unit_that_is_cut_off_is_refused_and_uses_no_sequence_number() {
    let mut packetizer = packetizer(100);
    let unit = hex(av1::KEYFRAME);
    for end in (1..unit.len()).filter(|end| ![2, 14].contains(end)) {
        assert!(packetizer.av1(&unit[..end], true, &known(), 0).is_err(), "{end}");
    }
    assert_eq!((packetizer.next_sequence_number(), packetizer.sent()), (65_534, (0, 0)));
}

fn any_obus() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let kind = prop::sample::select(vec![1, 3, 4, 5, 6, 7, 9, 14]);
    let length = prop_oneof![0usize..8, 1usize..700];
    let one =
        (kind, proptest::option::of(any::<u8>()), length).prop_map(|(kind, extension, length)| {
            match extension {
                Some(extension) => layered(kind, extension, length),
                None => obu(kind, length),
            }
        });
    proptest::collection::vec(one, 1..12)
}

proptest! {
    #[test]
    fn every_obu_comes_back_bit_for_bit(
        obus in any_obus(),
        max_packet_size in 64usize..400,
        (keyframe, open_end) in any::<(bool, bool)>(),
    ) {
        let unit = temporal_unit(&obus, open_end);
        let batch = batch(&unit, keyframe, &known(), max_packet_size);
        let read = depacketize(&batch, max_packet_size);
        let mut expected = obus;
        if keyframe && !expected.iter().any(|obu| obu[0] >> 3 == 1) {
            expected.insert(0, known().sequence_header.to_vec());
        }
        prop_assert_eq!(read, Read { obus: expected, new_sequence: keyframe });
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..200),
        keyframe in any::<bool>(),
    ) {
        if let Ok(batch) = packetizer(0).av1(&bytes, keyframe, &known(), 0) {
            depacketize(&batch, 64);
        }
    }
}
