use bytes::Bytes;
use proptest::prelude::*;
use rtp::{codecs::vp9::Vp9Packet, packetizer::Depacketizer};

use super::*;
use crate::{
    codec::fixtures::{hex, vp9},
    rtp::packetizer::tests::{Marker, packetizer, payloads},
};

/// What the packets of a picture say.
#[derive(PartialEq, Debug)]
struct Read {
    frame: Vec<u8>,
    picture_id: u16,
    predicted: bool,
    /// Of the scalability structure.
    size: Option<(u16, u16)>,
}

/// Takes packets apart by the letter of RFC 9628, 4.2.
fn depacketize(batch: &PacketBatch, max_packet_size: usize) -> Read {
    let payloads = payloads(batch, max_packet_size, Marker::Last);
    let mut read = Read { frame: vec![], picture_id: 0, predicted: false, size: None };
    for (at, payload) in payloads.iter().enumerate() {
        let flags = payload[0];
        let (first, last) = (at == 0, at + 1 == payloads.len());
        assert_eq!(flags & 0x80, 0x80, "I");
        assert_eq!(flags & 0x31, 0, "no layers, not flexible, no Z");
        assert_eq!((flags & 8 != 0, flags & 4 != 0), (first, last), "B and E");
        let (picture_id, predicted) =
            (u16::from_be_bytes([payload[1], payload[2]]), flags & 0x40 != 0);
        assert!(picture_id & 0x8000 != 0, "15 bits");
        let mut rest = &payload[3..];
        if first {
            (read.picture_id, read.predicted) = (picture_id & 0x7FFF, predicted);
        }
        assert_eq!((picture_id & 0x7FFF, predicted), (read.picture_id, read.predicted));
        if flags & 2 != 0 {
            assert!(first && !predicted, "a structure begins a keyframe");
            // N_S = 0, Y, no picture group.
            assert_eq!(rest[0], 0b0001_0000);
            let field = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
            read.size = Some((field(1), field(3)));
            rest = &rest[5..];
        }
        assert!(!rest.is_empty());
        read.frame.extend(rest);
    }
    let (last, full) = batch.sizes.split_last().unwrap();
    assert!(full.iter().all(|&size| usize::from(size) == max_packet_size), "{full:?}");
    assert!(full.is_empty() || last <= &full[0]);
    read
}

fn sent(packetizer: &mut Packetizer, frame: &[u8]) -> PacketBatch {
    packetizer.vp9(frame, &FrameHeader::parse(frame).unwrap(), 90_000)
}

/// A frame of so many bytes.
fn frame(begin: &str, length: usize) -> Vec<u8> {
    let mut frame = hex(begin).to_vec();
    frame.extend((frame.len()..length).map(|at| at as u8));
    frame
}

#[test]
fn frames_come_back_whatever_the_packet_size() {
    for (begin, predicted, size) in [
        (vp9::PROFILE_0_KEYFRAME, false, Some((322, 182))),
        (vp9::PROFILE_1_RGB_KEYFRAME, false, Some((322, 182))),
        (vp9::PROFILE_3_KEYFRAME, false, Some((322, 182))),
        (vp9::KEYFRAME, false, Some((66, 34))),
        (vp9::FRAME, true, None),
    ] {
        for max_packet_size in (64..1600).chain([9000, 65_507]) {
            let frame = frame(begin, 5000);
            let batch = sent(&mut packetizer(max_packet_size), &frame);
            let picture_id = 65_534 & 0x7FFF;
            let expected = Read { frame, picture_id, predicted, size };
            assert_eq!(depacketize(&batch, max_packet_size), expected);
        }
    }
}

#[test]
fn frames_around_multiples_of_the_packet_size_come_back() {
    for length in 40..400 {
        for begin in [vp9::KEYFRAME, vp9::FRAME] {
            let frame = frame(begin, length);
            let batch = sent(&mut packetizer(64), &frame);
            assert_eq!(depacketize(&batch, 64).frame, frame, "{length}");
            assert_eq!(batch.runs(64).count(), 1);
        }
    }
}

#[test]
fn picture_ids_count_pictures_and_wrap_at_15_bits() {
    let mut packetizer = packetizer(1200);
    let ids: Vec<u16> = (0..4)
        .map(|_| {
            let batch = sent(&mut packetizer, &hex(vp9::FRAME));
            u16::from_be_bytes([batch.data[13], batch.data[14]])
        })
        .collect();
    assert_eq!(ids, [0xFFFE, 0xFFFF, 0x8000, 0x8001]);
}

#[test]
fn a_keyframe_whose_size_cannot_be_told_goes_without() {
    // Without the sync code, and 65536 pixels wide, for which the field is too small.
    let mut without = hex(vp9::KEYFRAME).to_vec();
    without[1] = 0;
    let mut wide = hex(vp9::KEYFRAME).to_vec();
    wide[4..9].copy_from_slice(&[0x0F, 0xFF, 0xF0, 0x02, 0x16]);
    assert_eq!(FrameHeader::parse(&wide).unwrap().dimensions.unwrap().0, 65_536);
    for frame in [without, wide] {
        let read = depacketize(&sent(&mut packetizer(1200), &frame), 1200);
        assert_eq!((read.size, read.predicted, read.frame), (None, false, frame));
    }
}

proptest! {
    #[test]
    fn the_webrtc_crate_reads_the_same(
        length in 40usize..3000,
        max_packet_size in 64usize..1500,
        keyframe in any::<bool>(),
    ) {
        let frame = frame(if keyframe { vp9::PROFILE_3_KEYFRAME } else { vp9::FRAME }, length);
        let batch = sent(&mut packetizer(max_packet_size), &frame);
        let payloads = payloads(&batch, max_packet_size, Marker::Last);
        let mut out = Vec::<u8>::new();
        for (at, payload) in payloads.iter().enumerate() {
            let mut packet = Vp9Packet::default();
            let bytes: Bytes = packet.depacketize(payload).unwrap();
            out.extend(&bytes[..]);
            prop_assert_eq!((packet.b, packet.e), (at == 0, at + 1 == payloads.len()));
            prop_assert_eq!((packet.i, packet.p, packet.picture_id), (true, !keyframe, 0x7FFE));
            prop_assert!(!packet.l && !packet.f && !packet.z);
            prop_assert_eq!(packet.v, keyframe && at == 0);
            if packet.v {
                prop_assert_eq!((packet.ns, packet.y, packet.g), (0, true, false));
                prop_assert_eq!((&packet.width[..], &packet.height[..]), (&[322][..], &[182][..]));
            }
        }
        prop_assert_eq!(out, frame);
    }
}
