use bytes::Bytes;
use proptest::prelude::*;
use rtp::{
    codecs::h265::{H265Packet, H265Payload},
    packetizer::Depacketizer,
};

use super::*;
use crate::{
    codec::{
        fixtures::{hevc, hex},
        h265::DecoderConfigurationRecord,
    },
    rtp::packetizer::tests::{Marker, avcc, packetizer, payloads},
};

/// A NAL unit of a type, with what follows its header of two bytes.
fn nal(kind: u8, length: usize) -> Vec<u8> {
    let payload = (0..length).map(|at| at as u8 | 1);
    [kind << 1, 1].into_iter().chain(payload).collect()
}

fn sets() -> Config {
    DecoderConfigurationRecord::parse(&hex(hevc::MAIN.record)).unwrap().config
}

fn batch(nals: &[Vec<u8>], config: &Config, max_packet_size: usize) -> PacketBatch {
    packetizer(max_packet_size).h265(&avcc(nals, 4), 4, config, 90_000).expect("well-formed")
}

/// Takes an aggregation packet apart (RFC 7798, 4.4.2), checking its header.
fn aggregated(payload: &[u8]) -> Vec<Vec<u8>> {
    let mut nals = vec![];
    let mut rest = &payload[2..];
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        nals.push(rest[2..2 + length].to_vec());
        rest = &rest[2 + length..];
    }
    // F is set if any is; LayerId and TID are the lowest of all.
    let layer_id = |nal: &[u8]| (u16::from_be_bytes([nal[0], nal[1]]) >> 3) & 63;
    assert_eq!(payload[0] >> 7, nals.iter().map(|nal| nal[0] >> 7).max().unwrap());
    assert_eq!(layer_id(payload), nals.iter().map(|nal| layer_id(nal)).min().unwrap());
    assert_eq!(payload[1] & 7, nals.iter().map(|nal| nal[1] & 7).min().unwrap());
    nals
}

/// Takes packets apart by the letter of RFC 7798, 4.4, without DONL.
fn depacketize(batch: &PacketBatch, max_packet_size: usize) -> Vec<Vec<u8>> {
    let mut nals = vec![];
    let mut open: Option<(usize, Vec<u8>)> = None;
    for payload in payloads(batch, max_packet_size, Marker::Last) {
        match payload[0] >> 1 & 63 {
            48 => {
                let units = aggregated(&payload);
                // One alone is there only where its type is one of RFC 7798's own.
                assert!(units.len() > 1 || units[0][0] >> 1 & 63 >= 48);
                nals.extend(units);
            }
            49 => {
                let (start, end, kind) = (payload[2] >> 7, payload[2] >> 6 & 1, payload[2] & 63);
                assert!(
                    start & end == 0 && payload.len() > 3,
                    "two fragments at least, none empty"
                );
                assert_eq!(start == 1, open.is_none());
                let header = [payload[0] & 0x81 | kind << 1, payload[1]];
                let (size, nal) = open.get_or_insert_with(|| (payload.len(), header.to_vec()));
                assert_eq!(nal[..2], header);
                nal.extend_from_slice(&payload[3..]);
                assert!(payload.len() <= *size && (end == 1 || payload.len() == *size));
                assert!(end == 1 || *size == max_packet_size - 12 || kind >= 48, "full packets");
                if end == 1 {
                    nals.extend(open.take().map(|(_, nal)| nal));
                }
            }
            50..=63 => panic!("a type that RFC 7798 reserves"),
            _ => nals.push(payload.to_vec()),
        }
        assert!(open.is_none() || payload[0] >> 1 & 63 == 49, "fragments follow each other");
    }
    assert_eq!(open, None);
    nals
}

fn sent(nals: &[Vec<u8>], config: &Config, max_packet_size: usize) -> Vec<Vec<u8>> {
    depacketize(&batch(nals, config, max_packet_size), max_packet_size)
}

/// The types of the payload headers.
fn packet_types(nals: &[Vec<u8>], max_packet_size: usize) -> Vec<u8> {
    let batch = batch(nals, &Config::default(), max_packet_size);
    batch.packets().map(|packet| packet[12] >> 1 & 63).collect()
}

#[test]
fn nal_units_come_back_whatever_the_packet_size() {
    let nals =
        [nal(35, 1), nal(39, 30), nal(19, 3000), nal(1, 3), nal(0, 60), nal(62, 70), nal(1, 1)];
    for max_packet_size in (64..1600).chain([4000, 9000, 65_507]) {
        assert_eq!(sent(&nals, &Config::default(), max_packet_size), nals, "{max_packet_size}");
    }
}

#[test]
fn nal_units_around_multiples_of_the_fragment_size_come_back_in_equal_fragments() {
    for length in (1..10).chain(80..100).chain(85 * 2 - 5..85 * 2 + 5).chain(85 * 7 - 5..85 * 7 + 5)
    {
        for kind in [1, 19, 48, 49, 50, 63] {
            let nals = [nal(kind, length)];
            assert_eq!(sent(&nals, &Config::default(), 100), nals, "{kind} of {length}");
        }
    }
    // 85 bytes in each fragment behind the header: exactly two full ones, one send.
    let two = batch(&[nal(1, 170)], &Config::default(), 100);
    assert_eq!(two.sizes.as_slice(), [100, 100]);
    let many = batch(&[nal(1, 85 * 9 + 4)], &Config::default(), 100);
    assert_eq!((many.sizes.len(), many.runs(64).count()), (10, 1));
}

#[test]
fn parameter_sets_go_in_front_of_a_random_access_picture_behind_its_delimiter() {
    let Config { vps, sps, pps } = sets();
    let known = [&vps[0], &sps[0], &pps[0]].map(|set| set.to_vec());
    for kind in 16..=23 {
        let picture = nal(kind, 500);
        let front = [&known[..], std::slice::from_ref(&picture)].concat();
        assert_eq!(sent(std::slice::from_ref(&picture), &sets(), 200), front);
        let aud = nal(35, 1);
        let behind = [std::slice::from_ref(&aud), &front[..]].concat();
        assert_eq!(sent(&[aud, picture], &sets(), 200), behind);
    }
    for kind in (0..16).chain(24..32) {
        let picture = [nal(kind, 500)];
        assert_eq!(sent(&picture, &sets(), 200), picture, "{kind}");
    }
}

#[test]
fn only_the_parameter_sets_that_are_missing_are_put_in() {
    let Config { vps, sps, pps } = sets();
    let known = [&vps[0], &sps[0], &pps[0]].map(|set| set.to_vec());
    for own in 0..8_u8 {
        let has = |at: usize| own >> at & 1 == 1;
        let own = (0..3).filter(|&at| has(at)).map(|at| nal(32 + at as u8, 9));
        let unit: Vec<_> = own.chain([nal(20, 100)]).collect();
        let missing = (0..3).filter(|&at| !has(at)).map(|at| known[at].clone());
        let expected: Vec<_> = missing.chain(unit.clone()).collect();
        assert_eq!(sent(&unit, &sets(), 1200), expected);
    }
}

#[test]
fn real_access_units_are_sent_with_their_parameter_sets() {
    let Config { vps, sps, pps } = sets();
    for (unit, keyframe) in
        [(hevc::IDR, true), (hevc::TRAIL, false), (hevc::CRA, true), (hevc::RASL, false)]
    {
        let unit = hex(unit);
        let batch = packetizer(1200).h265(&unit, 4, &sets(), 90_000).unwrap();
        let mut expected = vec![unit[4..].to_vec()];
        if keyframe {
            expected.splice(..0, [&vps[0], &sps[0], &pps[0]].map(|set| set.to_vec()));
        }
        assert_eq!(depacketize(&batch, 1200), expected);
        assert_eq!(batch.sizes.len(), 1);
    }
}

#[test]
fn small_nal_units_share_a_packet_and_large_ones_keep_their_place() {
    let nals = [nal(35, 1), nal(39, 30), nal(1, 300), nal(1, 5), nal(1, 60), nal(1, 60)];
    assert_eq!(packet_types(&nals, 100), [48, 49, 49, 49, 49, 48, 1]);
    // Layer 40 in temporal sub-layer 3, and layer 5 in sub-layer 2, one with its forbidden bit set.
    let layers = [vec![1 << 1 | 1, 8 << 3 | 3, 7], vec![0x82, 5 << 3 | 2, 7]];
    assert_eq!(sent(&layers, &Config::default(), 100), layers);
}

#[test]
fn the_ends_of_sequence_and_bitstream_which_are_headers_alone_are_carried() {
    let (eos, eob) = (nal(36, 0), nal(37, 0));
    for size in [10, 60, 100, 300] {
        let nals = [nal(1, size), eos.clone(), eob.clone()];
        assert_eq!(sent(&nals, &Config::default(), 100), nals, "{size}");
    }
    // Where there is nothing that it fits, it is a packet of its own.
    assert_eq!(packet_types(&[nal(1, 80), eos.clone()], 100), [1, 36]);
    assert_eq!(packet_types(&[nal(1, 30), eos], 100), [48]);
}

#[test]
fn what_is_too_short_for_a_header_is_left_out() {
    let nals = [vec![0x02], nal(1, 30), vec![0x28]];
    assert_eq!(sent(&nals, &sets(), 100), [nal(1, 30)]);
    assert_eq!(batch(&[vec![0x02]], &sets(), 100), PacketBatch::default());
}

#[test]
fn a_malformed_access_unit_is_refused_and_uses_no_sequence_number() {
    let mut packetizer = packetizer(100);
    let unit = avcc(&[nal(19, 300), nal(19, 20)], 4);
    for end in (1..unit.len()).filter(|&end| end != 306) {
        assert!(packetizer.h265(&unit[..end], 4, &sets(), 0).is_err(), "{end}");
    }
    assert_eq!((packetizer.next_sequence_number(), packetizer.sent()), (65_534, (0, 0)));
}

fn any_nals() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let nal = (any::<[u8; 2]>(), prop_oneof![0usize..8, 1usize..700])
        .prop_map(|(header, length)| [&header[..], &nal(1, length)[2..]].concat());
    proptest::collection::vec(nal, 0..12)
}

proptest! {
    #[test]
    fn every_nal_unit_comes_back_bit_for_bit(
        nals in any_nals(),
        max_packet_size in 64usize..400,
        length_size in 2u8..=4,
    ) {
        let batch = packetizer(max_packet_size)
            .h265(&avcc(&nals, length_size), length_size, &Config::default(), 90_000)
            .unwrap();
        prop_assert_eq!(depacketize(&batch, max_packet_size), nals);
    }

    #[test]
    fn the_webrtc_crate_reads_the_same(nals in any_nals(), max_packet_size in 64usize..400) {
        // It takes no packet with nothing behind its header, none with the forbidden bit, and no aggregate of one.
        let nals: Vec<_> =
            nals.into_iter().filter(|nal| nal.len() > 2 && nal[0] < 48 << 1).collect();
        let batch = packetizer(max_packet_size)
            .h265(&avcc(&nals, 4), 4, &Config::default(), 90_000)
            .unwrap();
        let mut out: Vec<Vec<u8>> = vec![];
        for payload in payloads(&batch, max_packet_size, Marker::Last) {
            let mut packet = H265Packet::default();
            packet.depacketize(&payload).unwrap();
            match packet.payload() {
                H265Payload::H265SingleNALUnitPacket(_) => out.push(payload.to_vec()),
                H265Payload::H265AggregationPacket(packet) => {
                    let first = packet.first_unit().expect("a first one").nal_unit();
                    let others = packet.other_units().iter().map(|unit| unit.nal_unit());
                    out.extend([first].into_iter().chain(others).map(|nal: Bytes| nal.to_vec()));
                }
                H265Payload::H265FragmentationUnitPacket(packet) => {
                    let fu = packet.fu_header();
                    if fu.s() {
                        out.push(vec![payload[0] & 0x81 | fu.fu_type() << 1, payload[1]]);
                    }
                    out.last_mut().expect("begun").extend(&packet.payload()[..]);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(out, nals);
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..120),
        length_size in 0u8..=5,
    ) {
        let _ = packetizer(0).h265(&bytes, length_size, &sets(), 0);
    }
}
