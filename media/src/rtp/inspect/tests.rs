use proptest::prelude::*;

use super::*;
use crate::{
    codec::{
        AudioHeader, VideoHeader,
        fixtures::{audio, av1, hevc, hex, vp9},
    },
    flv::{AudioCodec, VideoCodec},
    rtp::{Header, PacketBatch, Packetizer, PacketizerConfig},
};

fn inspect(payload: &[u8]) -> (bool, Vec<Vec<u8>>) {
    let mut sets = vec![];
    let info = inspect_h264(payload, |set| sets.push(set.to_vec()));
    assert_eq!(info.has_parameter_sets, !sets.is_empty());
    (info.starts_keyframe, sets)
}

#[test]
fn an_idr_is_seen_where_it_begins() {
    assert!(inspect(&[0x65, 0x88]).0, "single");
    assert!(inspect(&[0x78, 0, 1, 0x09, 0, 2, 0x65, 0x88]).0, "STAP-A");
    assert!(inspect(&[0x7C, 0x85, 0x88]).0, "first FU-A");
    assert!(!inspect(&[0x7C, 0x05, 0x88]).0, "later FU-A");
    assert!(!inspect(&[0x7C, 0x81, 0x88]).0, "first FU-A of another slice");
    assert!(!inspect(&[0x41, 0x88]).0, "another slice");
}

#[test]
fn only_a_later_fu_a_goes_on_with_a_nal_unit() {
    let continues = |payload: &[u8]| inspect_h264(payload, |_| {}).continues;
    assert!(continues(&[0x7C, 0x05, 0x88]), "in the middle");
    assert!(continues(&[0x7C, 0x41, 0x88]), "the last");
    for payload in [&[][..], &[0x7C], &[0x7C, 0x85, 0x88], &[0x65, 0x05], &[0x78, 0, 1, 0x65]] {
        assert!(!continues(payload), "{payload:?}");
    }
}

#[test]
fn whole_parameter_sets_are_handed_out() {
    assert_eq!(inspect(&[0x67, 1, 2]).1, [[0x67, 1, 2]]);
    let stap = [0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2, 0, 1, 0x65];
    assert_eq!(inspect(&stap), (true, vec![vec![0x67, 1], vec![0x68, 2]]));
    for end in [2, 3, 4, 6, 8, 10] {
        assert_eq!(inspect(&stap[..end]), (false, vec![]), "cut at {end}");
    }
}

#[test]
fn payloads_that_mode_1_excludes_give_nothing() {
    for payload in
        [&[][..], &[0x7C], &[0x60, 5], &[0x79, 0, 0, 0, 1, 0x65], &[0x7A, 0, 0], &[0x7D, 0x85]]
    {
        assert_eq!(inspect(payload), (false, vec![]), "{payload:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..40), first in any::<u8>()) {
        inspect(&payload);
        let mut payload = payload;
        payload.insert(0, first);
        inspect(&payload);
    }
}

fn of(codec: Codec, payload: &[u8]) -> PayloadInfo {
    super::inspect(codec, payload, |_| {})
}

/// What is seen in H.265, and its parameter sets.
fn of_h265(payload: &[u8]) -> (PayloadInfo, Vec<Vec<u8>>) {
    let mut sets = vec![];
    let info = super::inspect(Codec::H265, payload, |set| sets.push(set.to_vec()));
    assert_eq!(info.has_parameter_sets, !sets.is_empty());
    assert!(!info.ends_unit);
    (info, sets)
}

#[test]
fn a_random_access_picture_of_h265_is_seen_where_it_begins() {
    for kind in 0..64_u8 {
        let irap = (16..=23).contains(&kind);
        let seen = |payload: &[u8]| of_h265(payload).0.starts_keyframe;
        assert_eq!(seen(&[kind << 1, 1, 9]), irap, "single, {kind}");
        assert_eq!(
            seen(&[48 << 1, 1, 0, 3, 35 << 1, 1, 9, 0, 3, kind << 1, 1, 9]),
            irap,
            "AP, {kind}"
        );
        assert_eq!(seen(&[49 << 1, 1, 0x80 | kind, 9]), irap, "first FU, {kind}");
        assert!(!seen(&[49 << 1, 1, kind, 9]) && !seen(&[49 << 1, 1, 0x40 | kind, 9]), "later FU");
    }
}

#[test]
fn only_a_later_fragment_of_h265_goes_on() {
    for (payload, continues) in [
        (&[49 << 1, 1, 0x93, 9][..], false),
        (&[49 << 1, 1, 0x13, 9], true),
        (&[49 << 1, 1, 0x53, 9], true),
        (&[1 << 1, 1, 0x13], false),
        (&[48 << 1, 1, 0x13, 9], false),
        (&[49 << 1, 1], false),
    ] {
        assert_eq!(of_h265(payload).0.continues, continues, "{payload:?}");
    }
}

#[test]
fn whole_parameter_sets_of_h265_are_handed_out() {
    let [vps, sps, pps] = [32, 33, 34].map(|kind| vec![kind << 1, 1, kind]);
    assert_eq!(of_h265(&sps).1, [&sps[..]]);
    let unit = |nal: &[u8]| [&[0, nal.len() as u8], nal].concat();
    let packet = [vec![48 << 1, 1], unit(&vps), unit(&sps), unit(&pps), unit(&[38, 1, 7])].concat();
    let (info, sets) = of_h265(&packet);
    assert!(info.starts_keyframe);
    assert_eq!(sets, [vps, sps, pps]);
    for end in (0..packet.len()).filter(|end| ![2, 7, 12, 17].contains(end)) {
        assert_eq!(of_h265(&packet[..end]), (PayloadInfo::default(), vec![]), "{end}");
    }
    // In a fragment there is none, and PACI packets are not looked into.
    assert!(of_h265(&[49 << 1, 1, 0x80 | 33, 1]).1.is_empty());
    assert_eq!(of_h265(&[50 << 1, 1, 0x40, 0, 33 << 1, 1, 7]).0, PayloadInfo::default());
}

#[test]
fn the_aggregation_header_of_av1_tells_keyframes_and_what_goes_on() {
    for header in 0..=255_u8 {
        let info = of(Codec::Av1, &[header, 2, 0x30, 1]);
        assert_eq!(info.starts_keyframe, header & 8 != 0);
        assert_eq!(info.continues, header & 0x80 != 0);
        assert!(!info.ends_unit && !info.has_parameter_sets);
    }
    assert_eq!(of(Codec::Av1, &[]), PayloadInfo::default());
}

#[test]
fn a_keyframe_of_vp9_begins_with_the_first_layer_of_a_picture_that_is_not_predicted() {
    let seen = |payload: &[u8]| of(Codec::Vp9, payload).starts_keyframe;
    // I, P, L, F, B, E, V, Z. Picture ids of none, 7 and 15 bits; layer indices: T, U, S, D.
    assert!(seen(&[0x08, 0x82]));
    assert!(seen(&[0x88, 0x11, 0x82]) && seen(&[0x88, 0x91, 0x11, 0x82]));
    assert!(seen(&[0x28, 0x00, 0x00, 0x82]) && !seen(&[0x28, 0x02, 0x00, 0x82]), "S without I");
    assert!(seen(&[0xA8, 0x11, 0xF1, 0, 0x82]) && !seen(&[0xA8, 0x11, 0x04, 0, 0x82]));
    assert!(seen(&[0xA8, 0x91, 0x02, 0xF1, 0, 0x82]) && !seen(&[0xA8, 0x91, 0, 0x0E, 0, 0x82]));
    assert!(!seen(&[0xC8, 0x11, 0x82]), "predicted");
    assert!(!seen(&[0x80, 0x11, 0x82]) && of(Codec::Vp9, &[0x80, 0x11, 0x82]).continues);
    assert!(!of(Codec::Vp9, &[0xC8, 0x11, 0x82]).continues);
}

#[test]
fn a_descriptor_of_vp9_that_is_cut_off_gives_nothing() {
    for whole in [&[0x08, 0x82][..], &[0x88, 0x91, 0x11, 0x82], &[0xA8, 0x91, 0x11, 0x00, 0x82]] {
        for end in 0..whole.len() {
            assert_eq!(of(Codec::Vp9, &whole[..end]), PayloadInfo::default(), "{whole:?} {end}");
        }
        assert!(of(Codec::Vp9, whole).starts_keyframe);
    }
}

#[test]
fn a_packet_of_opus_and_of_samples_ends_what_it_begins() {
    let expected = PayloadInfo { ends_unit: true, ..PayloadInfo::default() };
    for codec in [Codec::Opus, Codec::G711] {
        assert_eq!(of(codec, &[0xFC, 1]), expected);
    }
    assert_eq!(of(Codec::Aac, &[0, 16, 0, 8, 1]), PayloadInfo::default());
}

#[test]
fn whole_frames_of_mpeg_audio_end_a_unit_and_fragments_do_not() {
    let mut frame = hex(audio::MP3[0]).to_vec();
    frame.resize(417, 7);
    let ends = |frames: &[u8]| of(Codec::Mp3, &[&[0; 4], frames].concat());
    let whole = PayloadInfo { ends_unit: true, ..PayloadInfo::default() };
    assert_eq!(ends(&frame), whole);
    assert_eq!(ends(&[&frame[..], &frame].concat()), whole);
    for cut in [&frame[..416], &[&frame[..], &frame[..9]].concat(), b"TAG", &[]] {
        assert_eq!(ends(cut), PayloadInfo::default(), "{}", cut.len());
    }
    let later = PayloadInfo { continues: true, ..PayloadInfo::default() };
    for offset in [[0, 1], [1, 0], [5, 0x20]] {
        assert_eq!(of(Codec::Mp3, &[&[0, 0], &offset[..], &frame].concat()), later);
    }
    assert_eq!(of(Codec::Mp3, &[0, 0, 1]), PayloadInfo::default());
}

#[test]
fn the_frame_type_of_ac_3_tells_what_ends_and_what_goes_on() {
    for (frame_type, continues, ends_unit) in
        [(0, false, true), (1, false, false), (2, false, false), (3, true, false)]
    {
        let info = of(Codec::Ac3, &[frame_type, 2, 0x0B, 0x77]);
        assert_eq!((info.continues, info.ends_unit), (continues, ends_unit));
    }
    assert_eq!(of(Codec::Ac3, &[]), PayloadInfo::default());
}

/// What is seen in each packet.
fn seen(codec: Codec, batch: &PacketBatch) -> Vec<PayloadInfo> {
    let payload = |packet: bytes::Bytes| packet.slice(Header::parse(&packet).unwrap().payload);
    batch.packets().map(|packet| of(codec, &payload(packet))).collect()
}

fn packetizer() -> Packetizer {
    let (ssrc, payload_type, first_sequence_number, max_packet_size) = (1, 96, 0, 64);
    Packetizer::new(PacketizerConfig { ssrc, payload_type, first_sequence_number, max_packet_size })
}

#[test]
fn keyframes_that_are_sent_are_seen_in_one_packet_and_other_pictures_in_none() {
    let unit = |kind: u8| [&[0, 0, 0, 200, kind << 1, 1], &[9; 198][..]].concat();
    for (codec, tag, record, keyframe, other) in [
        (Codec::H265, VideoCodec::Hevc, hevc::MAIN.record, unit(21), unit(8)),
        (
            Codec::Av1,
            VideoCodec::Av1,
            av1::AOM.record,
            hex(av1::KEYFRAME).to_vec(),
            hex(av1::FRAME).to_vec(),
        ),
        (
            Codec::Vp9,
            VideoCodec::Vp9,
            vp9::PROFILE_0.record,
            [&hex(vp9::KEYFRAME)[..], &[9; 99]].concat(),
            [&hex(vp9::FRAME)[..], &[9; 99]].concat(),
        ),
    ] {
        let header = VideoHeader::parse(tag, &hex(record)).unwrap();
        let mut packetizer = packetizer();
        let infos = seen(codec, &packetizer.video(&header, &keyframe, true, 0).unwrap());
        let keyframes = infos.iter().filter(|info| info.starts_keyframe).count();
        assert_eq!((keyframes, infos[0].continues), (1, false), "{codec:?}: {infos:?}");
        assert!(infos.iter().all(|info| !info.ends_unit));
        let infos = seen(codec, &packetizer.video(&header, &other, false, 0).unwrap());
        assert!(!infos.iter().any(|info| info.starts_keyframe), "{codec:?}");
        assert!(
            !infos[0].continues && infos[1..].iter().all(|info| info.continues)
                || codec == Codec::Av1
        );
    }
}

#[test]
fn sound_that_is_sent_ends_where_its_payload_format_says_so() {
    let frame = |begin: &str, length: usize| [&hex(begin)[..], &vec![7; length - 16]].concat();
    let ac3 = AudioHeader::of_frame(AudioCodec::Ac3, &hex(audio::AC3_STEREO)).unwrap().unwrap();
    let infos =
        seen(Codec::Ac3, &packetizer().audio(&ac3, &frame(audio::AC3_STEREO, 834), 0).unwrap());
    assert!(!infos[0].continues && infos[1..].iter().all(|info| info.continues));
    let mp3 = AudioHeader::of_frame(AudioCodec::Mp3, &hex(audio::MP3[0])).unwrap().unwrap();
    let infos = seen(Codec::Mp3, &packetizer().audio(&mp3, &frame(audio::MP3[0], 417), 0).unwrap());
    assert!(!infos[0].continues && infos[1..].iter().all(|info| info.continues));
    assert!(infos.iter().all(|info| !info.ends_unit));
}

proptest! {
    #[test]
    fn no_bytes_of_any_codec_make_it_panic(
        payload in proptest::collection::vec(any::<u8>(), 0..40),
        first in prop_oneof![any::<u8>(), prop::sample::select(vec![0x60, 0x62, 0x64])],
    ) {
        use Codec::{Aac, Ac3, Av1, G711, H264, H265, Mp3, Opus, Vp9};
        let with = [&[first], &payload[..]].concat();
        for codec in [H264, H265, Av1, Vp9, Aac, Opus, Mp3, G711, Ac3] {
            for payload in [&payload, &with] {
                let info = super::inspect(codec, payload, |set| assert!(set.len() <= payload.len()));
                prop_assert!(!(info.starts_keyframe && codec.kind() == crate::codec::MediaKind::Audio));
            }
        }
    }
}
