use bytes::Bytes;
use proptest::prelude::*;
use rtp::{codecs::h264::H264Packet, packetizer::Depacketizer};
use webrtc_util::marshal::Unmarshal;

use super::*;

pub(super) const HEADER: usize = Header::FIXED_BYTES;

pub(super) fn packetizer(max_packet_size: usize) -> Packetizer {
    Packetizer::new(PacketizerConfig {
        ssrc: 0x0102_0304,
        payload_type: 96,
        first_sequence_number: 65_534,
        max_packet_size,
    })
}

pub(super) fn avcc(nals: &[Vec<u8>], length_size: u8) -> Vec<u8> {
    let mut out = vec![];
    for nal in nals {
        let length = (nal.len() as u32).to_be_bytes();
        out.extend(&length[4 - usize::from(length_size)..]);
        out.extend(nal);
    }
    out
}

pub(super) fn nal(header: u8, length: usize) -> Vec<u8> {
    let mut nal: Vec<u8> = (0..length).map(|at| at as u8).collect();
    nal[0] = header;
    nal
}

fn sets() -> Config {
    Config { sps: vec![nal(0x67, 20).into()], pps: vec![nal(0x68, 5).into(), nal(0x28, 6).into()] }
}

/// Which packets of an access unit have the marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Marker {
    Last,
    None,
}

/// The payloads of what a packetizer made first, after checking what holds in every payload format.
pub(super) fn payloads(batch: &PacketBatch, max_packet_size: usize, marker: Marker) -> Vec<Bytes> {
    assert_eq!(batch.sizes.iter().map(|&size| usize::from(size)).sum::<usize>(), batch.data.len());
    let payload = |(at, packet): (usize, Bytes)| {
        assert!(packet.len() <= max_packet_size, "packet {at} has {} bytes", packet.len());
        let header = Header::parse(&packet).unwrap();
        let marked = marker == Marker::Last && at + 1 == batch.sizes.len();
        assert_eq!(header.marker, marked, "marker of packet {at}");
        assert_eq!((header.payload_type, header.ssrc), (96, 0x0102_0304));
        assert_eq!(header.sequence_number, 65_534u16.wrapping_add(at as u16));
        assert!(!header.payload.is_empty());
        packet.slice(header.payload)
    };
    batch.packets().enumerate().map(payload).collect()
}

/// Takes packets apart as RFC 6184 says, checking what must hold for every one of them.
fn depacketize(batch: &PacketBatch, max_packet_size: usize) -> Vec<Vec<u8>> {
    let mut nals = vec![];
    let mut fragments: Option<Vec<u8>> = None;
    let mut fragment_bytes = 0;
    assert_eq!(batch.sizes.iter().map(|&size| usize::from(size)).sum::<usize>(), batch.data.len());
    for (at, packet) in batch.packets().enumerate() {
        assert!(packet.len() <= max_packet_size, "packet {at} has {} bytes", packet.len());
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.marker, at + 1 == batch.sizes.len(), "marker of packet {at}");
        assert_eq!((header.payload_type, header.ssrc, header.timestamp), (96, 0x0102_0304, 90_000));
        assert_eq!(header.sequence_number, 65_534u16.wrapping_add(at as u16));
        let payload = &packet[header.payload];
        match payload[0] & 0x1F {
            STAP_A => {
                let first = nals.len();
                let mut rest = &payload[1..];
                while !rest.is_empty() {
                    let (nal, behind) =
                        rest[2..].split_at(usize::from(u16::from_be_bytes([rest[0], rest[1]])));
                    nals.push(nal.to_vec());
                    rest = behind;
                }
                let of = &nals[first..];
                assert_eq!(payload[0] & 0x60, of.iter().map(|nal| nal[0] & 0x60).max().unwrap());
                assert_eq!(payload[0] & 0x80, of.iter().map(|nal| nal[0] & 0x80).max().unwrap());
            }
            FU_A => {
                let start = payload[1] & 0x80 != 0;
                let end = payload[1] & 0x40 != 0;
                assert!(!(start && end) && payload[1] & 0x20 == 0 && payload.len() > 2);
                assert_eq!(start, fragments.is_none());
                if start {
                    fragment_bytes = packet.len();
                }
                assert!(packet.len() <= fragment_bytes, "no fragment is larger than the first");
                let nal =
                    fragments.get_or_insert_with(|| vec![payload[0] & 0xE0 | payload[1] & 0x1F]);
                assert_eq!(nal[0], payload[0] & 0xE0 | payload[1] & 0x1F);
                nal.extend(&payload[2..]);
                if end {
                    nals.extend(fragments.take());
                } else {
                    assert_eq!(packet.len(), fragment_bytes, "only the last fragment is smaller");
                    // What cannot stand alone is halved where it would just fit one packet.
                    assert!(packet.len() == max_packet_size || !can_stand_alone(nal[0]));
                }
            }
            1..=23 => nals.push(payload.to_vec()),
            other => panic!("packet {at} of type {other}"),
        }
    }
    assert_eq!(fragments, None);
    nals
}

fn sent(nals: &[Vec<u8>], config: &Config, max_packet_size: usize) -> Vec<Vec<u8>> {
    let batch =
        packetizer(max_packet_size).h264(&avcc(nals, 4), 4, config, 90_000).expect("well-formed");
    depacketize(&batch, max_packet_size)
}

/// The NAL unit types of each packet's payload header, as they go out.
fn packet_types(nals: &[Vec<u8>], config: &Config, max_packet_size: usize) -> Vec<u8> {
    let batch = packetizer(max_packet_size).h264(&avcc(nals, 4), 4, config, 90_000).unwrap();
    batch.packets().map(|packet| packet[HEADER] & 0x1F).collect()
}

#[test]
fn nal_units_around_multiples_of_the_fragment_size_come_back() {
    for length in (1..10).chain([87, 88, 89, 90]).chain(85 * 2..90 * 2).chain(85 * 7..90 * 7) {
        let slice = vec![nal(0x41, length)];
        assert_eq!(sent(&slice, &Config::default(), 100), slice, "{length}");
    }
    // 86 bytes in each fragment behind the header byte: exactly two full ones.
    let batch = packetizer(100).h264(&avcc(&[nal(0x41, 1 + 172)], 4), 4, &sets(), 90_000).unwrap();
    assert_eq!(batch.sizes.as_slice(), [100, 100]);
    assert_eq!(batch.runs(64).count(), 1);
}

#[test]
fn parameter_sets_go_in_front_of_an_idr() {
    let [sps, pps, pps2] = [nal(0x67, 20), nal(0x68, 5), nal(0x28, 6)];
    let idr = nal(0x65, 500);
    let front = vec![sps.clone(), pps.clone(), pps2.clone(), idr.clone()];
    assert_eq!(sent(std::slice::from_ref(&idr), &sets(), 100), front);
    assert_eq!(packet_types(std::slice::from_ref(&idr), &sets(), 100)[..2], [STAP_A, FU_A]);

    let aud = nal(0x09, 2);
    let behind = vec![aud.clone(), sps.clone(), pps.clone(), pps2.clone(), idr.clone()];
    assert_eq!(sent(&[aud, idr.clone()], &sets(), 100), behind);
}

#[test]
fn parameter_sets_do_not_come_twice_nor_without_an_idr() {
    let slice = vec![nal(0x41, 500)];
    assert_eq!(sent(&slice, &sets(), 100), slice);
    let own = vec![nal(0x67, 9), nal(0x68, 4), nal(0x65, 500)];
    assert_eq!(sent(&own, &sets(), 100), own);
    let only_pps = vec![nal(0x68, 4), nal(0x65, 500)];
    let with_sps = [vec![nal(0x67, 20)], only_pps.clone()].concat();
    assert_eq!(sent(&only_pps, &sets(), 100), with_sps);
}

#[test]
fn parameter_sets_that_do_not_fit_are_never_dropped() {
    let config = Config {
        sps: vec![nal(0x67, 80).into(), nal(0x67, 700).into()],
        pps: vec![nal(0x68, 80).into()],
    };
    let idr = nal(0x65, 80);
    let front = vec![nal(0x67, 80), nal(0x67, 700), nal(0x68, 80), idr.clone()];
    assert_eq!(sent(std::slice::from_ref(&idr), &config, 100), front);
    assert_eq!(packet_types(&[idr], &config, 100)[..3], [7, FU_A, FU_A]);
}

#[test]
fn small_nal_units_share_a_packet_and_large_ones_keep_their_place() {
    let nals = vec![
        nal(0x09, 2),
        nal(0x06, 30),
        nal(0x0C, 1),
        nal(0x41, 300),
        nal(0x01, 1),
        nal(0x01, 60),
        nal(0x01, 60),
    ];
    assert_eq!(sent(&nals, &sets(), 100), nals);
    assert_eq!(packet_types(&nals, &sets(), 100), [STAP_A, FU_A, FU_A, FU_A, FU_A, STAP_A, 1]);
}

#[test]
fn types_that_rfc_6184_took_for_its_own_travel_inside() {
    for header in [0x00, 0x18, 0x7C, 0x1F] {
        for length in [1, 85, 86, 88, 89, 500] {
            let nals = vec![nal(header, length)];
            assert_eq!(sent(&nals, &sets(), 100), nals, "{header:#x} of {length}");
        }
    }
}

#[test]
fn a_malformed_access_unit_is_refused_and_uses_no_sequence_number() {
    let mut packetizer = packetizer(100);
    let mut bytes = avcc(&[nal(0x65, 300), nal(0x65, 20)], 4);
    bytes.pop();
    let refused = packetizer.h264(&bytes, 4, &sets(), 0);
    assert_eq!(refused, Err(H264Error::Truncated { at: 327, needed: 1 }));
    assert_eq!((packetizer.next_sequence_number(), packetizer.sent()), (65_534, (0, 0)));
    assert_eq!(packetizer.h264(&[], 4, &sets(), 0), Ok(PacketBatch::default()));
    assert_eq!(packetizer.h264(&[0; 8], 4, &sets(), 0), Ok(PacketBatch::default()));
}

#[test]
fn a_sender_report_finds_packets_and_payload_octets() {
    let mut packetizer = packetizer(100);
    let batch = packetizer.h264(&avcc(&[nal(0x41, 300)], 4), 4, &sets(), 0).unwrap();
    let payload = batch.data.len() - HEADER * batch.sizes.len();
    assert_eq!(packetizer.sent(), (4, payload as u32));
    assert_eq!(packetizer.next_sequence_number(), 2);
    packetizer.aac(&[1, 2, 3], 0);
    assert_eq!(packetizer.sent(), (5, payload as u32 + 7));
}

#[test]
fn an_aac_frame_is_one_packet_with_its_au_header() {
    let batch = packetizer(1200).aac(&[0xAA; 371], 1024);
    assert_eq!(batch.sizes.as_slice(), [12 + 4 + 371]);
    assert_eq!(batch.data[1], 0x80 | 96, "marker");
    // 16 bits of AU-header: 371 << 3.
    assert_eq!(batch.data[12..16], [0, 16, 0x0B, 0x98]);
    assert_eq!(batch.data[16..], [0xAA; 371]);
}

#[test]
fn a_large_aac_frame_is_fragmented_under_its_full_size() {
    let frame: Vec<u8> = (0..1000).map(|at| at as u8).collect();
    let batch = packetizer(416).aac(&frame, 0);
    assert_eq!(batch.sizes.as_slice(), [416, 416, 216]);
    let mut whole = Vec::<u8>::new();
    for (at, packet) in batch.packets().enumerate() {
        assert_eq!(packet[12..16], [0, 16, 0x1F, 0x40]);
        assert_eq!(packet[1] & 0x80 != 0, at == 2);
        whole.extend(&packet[16..]);
    }
    assert_eq!(whole, frame);
}

#[test]
fn an_aac_frame_that_the_format_cannot_say_gives_no_packets() {
    for length in [0, 8192] {
        assert_eq!(packetizer(1200).aac(&vec![0; length], 0), PacketBatch::default());
    }
    assert_eq!(packetizer(1200).aac(&[0; 8191], 0).sizes.len(), 7);
}

fn any_nals() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let nal = (any::<u8>(), prop_oneof![1usize..8, 1usize..700])
        .prop_map(|(header, length)| nal(header, length));
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
            .h264(&avcc(&nals, length_size), length_size, &Config::default(), 90_000)
            .unwrap();
        prop_assert_eq!(depacketize(&batch, max_packet_size), nals);
    }

    #[test]
    fn the_webrtc_crate_reads_the_same(
        nals in any_nals(),
        max_packet_size in 64usize..400,
    ) {
        // It takes no NAL unit below three bytes and loses the forbidden bit.
        let nals: Vec<_> = nals
            .into_iter()
            .filter(|nal| nal.len() > 2 && matches!(nal[0], 1..=0x7F) && can_stand_alone(nal[0]))
            .collect();
        let batch = packetizer(max_packet_size)
            .h264(&avcc(&nals, 4), 4, &Config::default(), 90_000)
            .unwrap();
        let mut depacketizer = H264Packet::default();
        depacketizer.is_avc = true;
        let mut out = vec![];
        for packet in batch.packets() {
            let mut bytes: Bytes = packet;
            let packet = rtp::packet::Packet::unmarshal(&mut bytes).unwrap();
            out.extend(depacketizer.depacketize(&packet.payload).unwrap());
        }
        prop_assert_eq!(out, avcc(&nals, 4));
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..120),
        length_size in 0u8..=5,
    ) {
        let _ = packetizer(0).h264(&bytes, length_size, &sets(), 0);
    }
}
