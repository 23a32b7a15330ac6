//! Where the access units of each payload format end.

use super::*;
use crate::{
    codec::{
        AudioHeader, VideoHeader,
        fixtures::{audio, av1, hevc, hex, vp9},
    },
    flv::{AudioCodec, VideoCodec},
};

/// Timestamp, number of packets and damage of each access unit that is given out.
fn shapes(codec: Codec, input: impl IntoIterator<Item = Ordered>) -> Vec<(u32, usize, bool)> {
    let units = drain(&mut assemble(codec, input));
    units.iter().map(|u| (u.timestamp, u.packets.sizes.len(), u.damaged)).collect()
}

/// A frame of MPEG audio of 417 bytes behind its header of RFC 2250, from an offset on.
fn mpeg_audio(range: std::ops::Range<usize>) -> Vec<u8> {
    let mut frame = hex(audio::MP3[0]).to_vec();
    frame.resize(417, 7);
    let offset = (range.start as u16).to_be_bytes();
    [&[0, 0], &offset[..], &frame[range]].concat()
}

#[test]
fn a_packet_of_opus_and_of_samples_is_a_unit_with_and_without_a_marker() {
    for codec in [Codec::Opus, Codec::G711] {
        for marker in [false, true] {
            let input = [packet(1, marker, &[0xFC, 1]), packet(2, marker, &[0xFC, 2])];
            assert_eq!(shapes(codec, input), [(1, 1, false), (2, 1, false)], "{codec:?}");
        }
        // What is lost between them is lost of none of them.
        let input = [packet(1, false, &[0xFC]), Ordered::Lost(1), packet(3, false, &[0xFC])];
        assert_eq!(shapes(codec, input), [(1, 1, false), (3, 1, true)]);
    }
}

#[test]
fn whole_frames_of_mpeg_audio_are_a_unit_without_a_marker() {
    let two = [&mpeg_audio(0..417)[..], &mpeg_audio(0..417)[4..]].concat();
    let input = [packet(1, false, &mpeg_audio(0..417)), packet(2, false, &two)];
    assert_eq!(shapes(Codec::Mp3, input), [(1, 1, false), (2, 1, false)]);
}

#[test]
fn fragments_of_mpeg_audio_end_where_the_next_frame_begins() {
    let input = [
        packet(1, false, &mpeg_audio(0..200)),
        packet(1, false, &mpeg_audio(200..417)),
        packet(2, false, &mpeg_audio(0..400)),
    ];
    assert_eq!(shapes(Codec::Mp3, input), [(1, 2, false)]);
}

#[test]
fn a_marker_in_mpeg_audio_says_that_sound_begins_and_ends_nothing() {
    let input = [
        packet(1, true, &mpeg_audio(0..200)),
        packet(1, false, &mpeg_audio(200..417)),
        packet(2, true, &mpeg_audio(0..417)),
    ];
    assert_eq!(shapes(Codec::Mp3, input), [(1, 2, false), (2, 1, false)]);
}

#[test]
fn what_begins_within_a_frame_is_damaged() {
    let input = [packet(1, false, &mpeg_audio(200..417)), packet(2, false, &mpeg_audio(0..417))];
    assert_eq!(shapes(Codec::Mp3, input), [(1, 1, true), (2, 1, false)]);
    let input = [packet(1, true, &[3, 2, 9]), packet(2, false, &[0, 1, 9])];
    assert_eq!(shapes(Codec::Ac3, input), [(1, 1, true), (2, 1, false)]);
    let input = [packet(1, true, &[0x90, 2, 9, 9]), packet(2, true, &[0x10, 2, 9, 9])];
    assert_eq!(shapes(Codec::Av1, input), [(1, 1, true), (2, 1, false)]);
    let input = [packet(1, true, &[0x80, 1, 9]), packet(2, true, &[0x88, 1, 9])];
    assert_eq!(shapes(Codec::Vp9, input), [(1, 1, true), (2, 1, false)]);
    let input = [packet(1, true, &[49 << 1, 1, 19, 9]), packet(2, true, &[2, 1, 9])];
    assert_eq!(shapes(Codec::H265, input), [(1, 1, true), (2, 1, false)]);
}

#[test]
fn fragments_of_ac_3_end_with_the_marker_and_whole_frames_without() {
    let input = [
        packet(1, false, &[2, 2, 0x0B]),
        packet(1, true, &[3, 2, 9]),
        packet(2, false, &[0, 1, 0x0B]),
        packet(3, true, &[0, 1, 0x0B]),
    ];
    assert_eq!(shapes(Codec::Ac3, input), [(1, 2, false), (2, 1, false), (3, 1, false)]);
}

/// A keyframe and another picture of each codec, each of several packets.
fn pictures(codec: VideoCodec) -> (VideoHeader, [Vec<u8>; 2]) {
    let long = |begin: &str| [&hex(begin)[..], &[9; 200]].concat();
    let nal = |kind: u8| [&[0, 0, 0, 200, kind << 1, 1], &[9; 198][..]].concat();
    // A frame of AV1 without its size, so that all behind it is of it.
    let frame = |begin: &str| [&hex(begin)[..], &[0x30], &[9; 200]].concat();
    let (record, pictures) = match codec {
        VideoCodec::Hevc => (hevc::MAIN.record, [nal(19), nal(1)]),
        VideoCodec::Av1 => (av1::AOM.record, [frame("1200"), frame("1200")]),
        VideoCodec::Vp9 => (vp9::PROFILE_0.record, [long(vp9::KEYFRAME), long(vp9::FRAME)]),
        VideoCodec::Avc => unreachable!("has tests of its own"),
    };
    (VideoHeader::parse(codec, &hex(record)).unwrap(), pictures)
}

fn ordered(batch: &PacketBatch) -> Vec<Ordered> {
    let packet = |bytes: Bytes| {
        let header = Header::parse(&bytes).unwrap();
        Ordered::Packet(ReceivedPacket { header, bytes, received_at: Instant::now() })
    };
    batch.packets().map(packet).collect()
}

fn packetizer() -> Packetizer {
    let (ssrc, payload_type, first_sequence_number, max_packet_size) = (1, 96, 65_530, 64);
    Packetizer::new(PacketizerConfig { ssrc, payload_type, first_sequence_number, max_packet_size })
}

#[test]
fn pictures_that_are_sent_come_out_as_they_were_with_their_keyframes() {
    for codec in [VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9] {
        let (header, [keyframe, other]) = pictures(codec);
        let mut packetizer = packetizer();
        let sent = [
            packetizer.video(&header, &keyframe, true, 1).unwrap(),
            packetizer.video(&header, &other, false, 2).unwrap(),
        ];
        let mut assembler = assemble(header.config().codec(), sent.iter().flat_map(ordered));
        let units = drain(&mut assembler);
        assert_eq!(units.len(), 2, "{codec:?}");
        for (at, unit) in units.iter().enumerate() {
            assert!(unit.packets == sent[at] && unit.packets.sizes.len() > 2 && !unit.damaged);
            assert_eq!(unit.keyframe, at == 0, "{codec:?}");
            let sets = if codec == VideoCodec::Hevc && at == 0 { 3 } else { 0 };
            // The SPS does not fit a packet with the others here, and each stands whole in one.
            assert_eq!(unit.parameter_sets.len(), sets);
        }
    }
}

#[test]
fn sound_that_is_sent_comes_out_as_it_was() {
    let mut mp3 = hex(audio::MP3[0]).to_vec();
    mp3.resize(417, 7);
    let ac3 = [&hex(audio::AC3_STEREO)[..], &[9; 200]].concat();
    let opus = hex(audio::OPUS_PACKET).to_vec();
    for (codec, frame) in [
        (AudioCodec::Mp3, mp3),
        (AudioCodec::Ac3, ac3),
        (AudioCodec::Opus, opus),
        (AudioCodec::Pcmu(1), vec![9; 40]),
    ] {
        let header = AudioHeader::of_frame(codec, &frame).unwrap().unwrap();
        let mut packetizer = packetizer();
        let sent = [1, 2, 3].map(|at| packetizer.audio(&header, &frame, at).unwrap());
        let mut assembler = assemble(header.config().codec(), sent.iter().flat_map(ordered));
        let units = drain(&mut assembler);
        // Of fragments of MPEG audio the last are not known to be the last.
        let known = if codec == AudioCodec::Mp3 { 2 } else { 3 };
        assert_eq!(units.len(), known, "{codec:?}");
        for (unit, batch) in units.iter().zip(&sent) {
            assert!(unit.packets == *batch && unit.keyframe && !unit.damaged);
        }
    }
}
