use bytes::Bytes;
use proptest::prelude::*;
use rtp::{codecs::opus::OpusPacket, packetizer::Depacketizer};

use super::*;
use crate::{
    codec::{
        AudioHeader, CodecError,
        fixtures::{audio, hex},
        g711, opus,
    },
    rtp::{
        Header,
        packetizer::tests::{Marker, packetizer, payloads},
    },
};

const OPUS: AudioHeader = AudioHeader::Opus(opus::Config { channels: 2 });
const G711: AudioHeader = AudioHeader::G711(g711::Config { law: g711::Law::A, channels: 1 });

/// A frame of so many bytes.
fn frame(begin: &str, length: usize) -> Vec<u8> {
    let mut frame = hex(begin).to_vec();
    frame.extend((frame.len()..length).map(|at| at as u8 & 0x7F));
    frame
}

/// A frame of 417 bytes, and one of 418.
fn mp3_frames() -> [Vec<u8>; 2] {
    [frame(audio::MP3[0], 417), frame(audio::MP3[1], 418)]
}

/// Timestamp and frames of each packet, fragments put together, by the letter of RFC 2250, 3.5.
fn mpeg_audio(batch: &PacketBatch, max_packet_size: usize) -> Vec<(u32, Vec<u8>)> {
    let mut units: Vec<(u32, Vec<u8>)> = vec![];
    let timestamps = batch.packets().map(|packet| Header::parse(&packet).unwrap().timestamp);
    let payloads = payloads(batch, max_packet_size, Marker::None);
    for (timestamp, payload) in timestamps.zip(payloads) {
        let offset = usize::from(u16::from_be_bytes([payload[2], payload[3]]));
        assert!(payload[..2] == [0, 0] && payload.len() > 4, "MBZ, and something behind it");
        if offset == 0 {
            units.push((timestamp, payload[4..].to_vec()));
        } else {
            let (of, unit) = units.last_mut().expect("begun");
            assert_eq!((*of, unit.len()), (timestamp, offset));
            unit.extend(&payload[4..]);
        }
    }
    units
}

#[test]
fn an_opus_packet_and_samples_are_the_payload_of_one_packet() {
    for (header, bytes) in [(&OPUS, frame(audio::OPUS_PACKET, 300)), (&G711, vec![0xD5; 160])] {
        let batch = packetizer(400).audio(header, &bytes, 960).unwrap();
        assert_eq!(payloads(&batch, 400, Marker::None), [&bytes[..]]);
    }
}

#[test]
fn what_does_not_fit_one_packet_is_refused_and_uses_no_sequence_number() {
    let mut packetizer = packetizer(400);
    assert_eq!(packetizer.max_payload(), 388);
    for header in [&OPUS, &G711] {
        for length in [0, 389, 1000] {
            let refused = packetizer.audio(header, &vec![1; length], 0);
            assert_eq!(refused, Err(CodecError::FrameSize(length)));
        }
    }
    assert_eq!((packetizer.next_sequence_number(), packetizer.sent()), (65_534, (0, 0)));
    assert!(packetizer.audio(&OPUS, &[1; 388], 0).is_ok());
}

#[test]
fn the_webrtc_crate_reads_the_opus_packet() {
    let packet = frame(audio::OPUS_PACKET, 200);
    let batch = packetizer(1200).audio(&OPUS, &packet, 0).unwrap();
    let payload: Bytes = payloads(&batch, 1200, Marker::None).remove(0);
    assert_eq!(OpusPacket.depacketize(&payload).unwrap(), packet);
}

#[test]
fn a_frame_of_mpeg_audio_is_one_packet_or_fragments_with_their_offsets() {
    let [frame, _] = mp3_frames();
    let whole = packetizer(1200).mpeg_audio(&frame, 7);
    assert_eq!(whole.sizes.as_slice(), [12 + 4 + 417]);
    assert_eq!(mpeg_audio(&whole, 1200), [(7, frame.clone())]);
    for max_packet_size in 64..500 {
        let batch = packetizer(max_packet_size).mpeg_audio(&frame, 7);
        assert_eq!(mpeg_audio(&batch, max_packet_size), [(7, frame.clone())]);
        assert_eq!(batch.sizes.len(), 417_usize.div_ceil(max_packet_size - 16));
        assert_eq!(batch.runs(64).count(), 1);
    }
}

#[test]
fn several_frames_share_a_packet_where_they_fit_and_are_not_cut_where_they_do_not() {
    let [a, b] = mp3_frames();
    let all = [&a[..], &b, &a, &b, &b].concat();
    let ticks = 1152 * 90_000 / 44_100;
    let of = |max: usize| mpeg_audio(&packetizer(max).mpeg_audio(&all, 7), max);
    assert_eq!(of(3000), [(7, all.clone())]);
    let pairs = [
        (7, [&a[..], &b].concat()),
        (7 + 2 * ticks, [&a[..], &b].concat()),
        (7 + 4 * ticks, b.clone()),
    ];
    assert_eq!(of(12 + 4 + 835), pairs);
    let each = [&a, &b, &a, &b, &b];
    for max_packet_size in (64..16 + 835).step_by(11) {
        let units = of(max_packet_size);
        assert_eq!(units.len(), 5);
        for (at, (timestamp, unit)) in (0..).zip(&units) {
            assert_eq!((*timestamp, unit), (7 + at * ticks, each[at as usize]));
        }
    }
}

#[test]
fn mpeg_audio_that_frag_offset_cannot_say_or_that_is_nothing_is_refused() {
    let mut packetizer = packetizer(1200);
    for length in [0, 65_536] {
        assert_eq!(packetizer.mpeg_audio(&vec![1; length], 0), PacketBatch::default());
    }
    // What has no header is one frame.
    let batch = packetizer.mpeg_audio(&[1; 65_535], 0);
    assert_eq!(mpeg_audio(&batch, 1200), [(0, vec![1; 65_535])]);
}

/// A syncframe out of its packets, by the letter of RFC 4184, 4.1.
fn ac3(batch: &PacketBatch, max_packet_size: usize) -> Vec<u8> {
    let payloads = payloads(batch, max_packet_size, Marker::Last);
    let whole: usize = payloads.iter().map(|payload| payload.len() - 2).sum();
    let mut frame = vec![];
    for (at, payload) in payloads.iter().enumerate() {
        let first_has_five_eighths = (payload.len() - 2) * 8 >= whole * 5;
        let frame_type = match (payloads.len(), at) {
            (1, _) => 0,
            (_, 0) if first_has_five_eighths => 1,
            (_, 0) => 2,
            (..) => 3,
        };
        // MBZ and FT; NF: frames, or fragments of the frame.
        assert_eq!(payload[..2], [frame_type, payloads.len() as u8]);
        frame.extend(&payload[2..]);
    }
    frame
}

#[test]
fn a_syncframe_is_one_packet_or_fragments_that_say_how_many_and_which() {
    for (begin, length) in [(audio::AC3_5_1, 1536), (audio::AC3_STEREO, 834)] {
        let frame = frame(begin, length);
        for max_packet_size in 64..1600 {
            let batch = packetizer(max_packet_size).ac3(&frame, 0);
            assert_eq!(ac3(&batch, max_packet_size), frame, "{max_packet_size}");
            assert_eq!(batch.runs(64).count(), 1);
        }
    }
    // 5/8 of 1536 are 960 bytes.
    for (max_packet_size, frame_type) in [(14 + 959, 2), (14 + 960, 1), (14 + 1536, 0)] {
        let batch = packetizer(max_packet_size).ac3(&frame(audio::AC3_5_1, 1536), 0);
        assert_eq!(batch.data[12], frame_type);
    }
}

#[test]
fn a_syncframe_of_more_fragments_than_can_be_said_is_refused() {
    let mut packetizer = packetizer(64);
    for length in [0, 50 * 255 + 1] {
        assert_eq!(packetizer.ac3(&vec![1; length], 0), PacketBatch::default());
    }
    assert_eq!(packetizer.sent(), (0, 0));
    assert_eq!(ac3(&packetizer.ac3(&[1; 50 * 255], 0), 64), [1; 50 * 255]);
}

proptest! {
    #[test]
    fn sound_comes_back_whatever_it_is(
        bytes in proptest::collection::vec(any::<u8>(), 1..2000),
        begins in any::<bool>(),
        max_packet_size in 64usize..1500,
    ) {
        let bytes = if begins { [&hex(audio::MP3[0])[..], &bytes].concat() } else { bytes };
        let batch = packetizer(max_packet_size).mpeg_audio(&bytes, 0);
        let units = mpeg_audio(&batch, max_packet_size);
        let all: Vec<u8> = units.into_iter().flat_map(|(_, unit)| unit).collect();
        prop_assert_eq!(&all, &bytes);
        prop_assert_eq!(ac3(&packetizer(max_packet_size).ac3(&bytes, 0), max_packet_size), bytes);
    }
}
