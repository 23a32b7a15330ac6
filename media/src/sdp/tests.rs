mod codecs;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    parse::{MAX_BYTES, MAX_SECTIONS},
    *,
};
use crate::codec::{aac, ac3, av1, g711, h264, h265, mp3, opus, vp9};

/// `ffmpeg -f lavfi -i testsrc2 … -c:v libx264 -flags +global_header -f rtp rtp://127.0.0.1:45110`, ffmpeg 5.1, as printed.
const FFMPEG_VIDEO: &str = "SDP:
v=0
o=- 0 0 IN IP4 127.0.0.1
s=No Name
c=IN IP4 127.0.0.1
t=0 0
a=tool:libavformat LIBAVFORMAT_VERSION
m=video 45110 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QADazZQUH7ARAAAAMAEAAAAwMg8UKZYA==,aOvjyyLA; profile-level-id=64000D

";

/// Two outputs of ffmpeg 5.1 with `-sdp_file`, the video without `+global_header`.
const FFMPEG_BOTH: &str = "v=0\r
o=- 0 0 IN IP4 127.0.0.1\r
s=No Name\r
t=0 0\r
a=tool:libavformat LIBAVFORMAT_VERSION\r
m=video 45110 RTP/AVP 96\r
c=IN IP4 127.0.0.1\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 packetization-mode=1\r
m=audio 45112 RTP/AVP 97\r
c=IN IP4 127.0.0.1\r
b=AS:69\r
a=rtpmap:97 MPEG4-GENERIC/44100/1\r
a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=120856E500\r
";

/// From the caps of GStreamer 1.22's rtph264pay and rtpmp4gpay, put into lines by hand; padding left out.
const GSTREAMER: &str = "v=0
m=video 5004 RTP/AVPF 96
a=rtpmap:96 h264/90000
a=fmtp:96 Packetization-Mode=1;Sprop-Parameter-Sets=\"Z/QADZGbKCg/YC1BgYGQAAADABAAAAMDyPFCmWA,aOvsRIRA\";profile-level-id=f4000d
a=ssrc:2757011052 cname:user1@host
a=ssrc:2757011052 msid:a b
a=ssrc:1 cname:other
m=audio 5004 RTP/AVP 97
a=rtpmap:97 mpeg4-generic/44100/1
a=fmtp:97 streamtype=5;profile-level-id=2;mode=aac-hbr;config=120856e500;sizelength=13;indexlength=3;indexdeltalength=3
a=source-filter:incl IN IP4 * 192.0.2.7
";

fn track(config: CodecConfig, payload_type: u8) -> TrackDescription {
    TrackDescription { config, payload_type, ssrc: None, cname: None, nack: false }
}

fn aac_config(raw: &'static [u8]) -> CodecConfig {
    CodecConfig::Aac(aac::Config::parse(Bytes::from_static(raw)).unwrap())
}

fn h264_config() -> CodecConfig {
    CodecConfig::H264(h264::Config {
        sps: vec![Bytes::from_static(&[0x67, 0x4D, 0x40, 0x1F, 0xEC])],
        pps: vec![Bytes::from_static(&[0x68, 0xEF, 0xBC]), Bytes::from_static(&[0x68, 0x5F])],
    })
}

fn both() -> SessionDescription {
    let source = |ssrc, track| TrackDescription {
        ssrc: Some(ssrc),
        cname: Some("q8Zk@ingest".into()),
        ..track
    };
    SessionDescription {
        name: "site-3/cam.7".into(),
        source_address: Some([192, 0, 2, 1].into()),
        crypto: None,
        tracks: vec![
            source(0xFFFF_FFFF, track(h264_config(), 96)),
            source(7, track(aac_config(&[0x11, 0x90]), 97)),
        ],
    }
}

#[test]
fn a_leg_is_described_with_one_port_sources_and_cname() {
    let sdp = both().to_leg_sdp("198.51.100.2:5004".parse().unwrap());
    assert_eq!(
        sdp.lines().collect::<Vec<_>>(),
        [
            "v=0",
            "o=- 0 0 IN IP4 192.0.2.1",
            "s=site-3/cam.7",
            "c=IN IP4 198.51.100.2",
            "t=0 0",
            "a=tool:rtmp2rtsp",
            "a=group:BUNDLE 0 1",
            "a=source-filter: incl IN IP4 198.51.100.2 192.0.2.1",
            "m=video 5004 RTP/AVP 96",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1;profile-level-id=4D401F;sprop-parameter-sets=Z01AH+w=,aO+8,aF8=",
            "a=mid:0",
            "a=ssrc:4294967295 cname:q8Zk@ingest",
            "m=audio 5004 RTP/AVP 97",
            "a=rtpmap:97 MPEG4-GENERIC/48000/2",
            "a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190",
            "a=mid:1",
            "a=ssrc:7 cname:q8Zk@ingest",
        ]
    );
    assert!(sdp.ends_with("\r\n") && sdp.matches('\n').count() == sdp.matches("\r\n").count());
}

#[test]
fn a_leg_that_answers_nacks_says_so_and_readers_are_not_told() {
    let mut description = both();
    description.tracks.iter_mut().for_each(|track| track.nack = true);
    let sdp = description.to_leg_sdp("198.51.100.2:5004".parse().unwrap());
    assert!(sdp.contains("m=video 5004 RTP/AVPF 96\r\n"), "{sdp}");
    assert_eq!(sdp.matches("a=rtcp-fb:* nack\r\n").count(), 2, "{sdp}");
    assert_eq!(SessionDescription::parse(&sdp), Ok(description.clone()));
    let sdp = description.to_reader_sdp("192.0.2.1".parse().unwrap(), 81, 3);
    assert!(!sdp.contains("rtcp-fb") && !sdp.contains("AVPF"), "{sdp}");
}

#[test]
fn a_key_is_told_to_the_node_and_to_nobody_else() {
    let key = MasterKey::new([0x5A; MasterKey::BYTES]);
    let mut description = SessionDescription { crypto: Some(key), ..both() };
    description.tracks[0].nack = true;
    let sdp = description.to_leg_sdp("198.51.100.2:5004".parse().unwrap());
    let line = "a=crypto:1 AEAD_AES_128_GCM inline:WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWg==\r\n";
    assert!(sdp.contains("m=video 5004 RTP/SAVPF 96\r\n"), "{sdp}");
    assert!(sdp.contains("m=audio 5004 RTP/SAVP 97\r\n"), "{sdp}");
    assert_eq!(sdp.matches(line).count(), 2, "{sdp}");
    assert_eq!(SessionDescription::parse(&sdp), Ok(description.clone()));
    let shown = [
        description.to_reader_sdp("192.0.2.1".parse().unwrap(), 81, 3),
        format!("{description:?}"),
    ];
    assert!(shown.iter().all(|text| !text.contains("WlpaWl") && !text.contains("90, 90")));
}

#[test]
fn a_secure_profile_takes_one_key_and_what_is_wrong_is_told_without_it() {
    let key = "inline:WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWg==";
    let section = |profile: &str, lines: &str| {
        format!("m=video 5004 {profile} 96\r\na=rtpmap:96 H264/90000\r\n{lines}")
    };
    let read =
        |sections: &[String]| SessionDescription::parse(&format!("v=0\r\n{}", sections.concat()));
    let gcm = format!("a=crypto:1 AEAD_AES_128_GCM {key}\r\n");
    let cm = format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 {key}\r\n");
    let has_key = |read: Result<SessionDescription, SdpError>| read.unwrap().crypto.is_some();
    assert!(has_key(read(&[section("RTP/SAVP", &gcm)])));
    assert!(has_key(read(&[section("RTP/SAVPF", &format!("{cm}{gcm}"))])), "the one that can be");
    assert!(!has_key(read(&[section("RTP/AVP", &gcm)])), "it is plain");
    let other = gcm.replace("Wlpa", "AAAA");
    let audio = |profile: &str, lines: &str| {
        section(profile, lines)
            .replace("video", "audio")
            .replace("96 H264/90000", "97 PCMU/8000")
            .replace(" 96", " 97")
    };
    for (sections, problem) in [
        ([section("RTP/SAVP", ""), String::new()], "without a=crypto"),
        ([section("RTP/SAVP", &cm), String::new()], "another suite"),
        ([section("RTP/SAVP", &gcm), audio("RTP/AVP", "")], "another a=crypto"),
        ([section("RTP/SAVP", &gcm), audio("RTP/SAVP", &other)], "another a=crypto"),
    ] {
        let error = read(&sections).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert!(!error.contains("Wlpa") && !error.contains("AAAA"), "{error}");
    }
}

#[test]
fn only_generic_nack_of_the_tracks_own_payload_type_is_one() {
    let nack = |feedback: &str| {
        let section = "m=video 5004 RTP/AVPF 96\r\na=rtpmap:96 H264/90000\r\n";
        let sdp = format!("v=0\r\n{section}a=rtcp-fb:{feedback}\r\n");
        SessionDescription::parse(&sdp).unwrap().tracks[0].nack
    };
    assert!(nack("* nack") && nack("96 nack"));
    assert!(!nack("97 nack") && !nack("* nack pli") && !nack("* ccm fir") && !nack("*"));
}

#[test]
fn a_reader_gets_controls_and_a_live_range() {
    let sdp = both().to_reader_sdp("2001:db8::5".parse().unwrap(), 81, 3);
    assert_eq!(
        sdp.lines().collect::<Vec<_>>(),
        [
            "v=0",
            "o=- 81 3 IN IP6 2001:db8::5",
            "s=site-3/cam.7",
            "c=IN IP6 ::",
            "t=0 0",
            "a=tool:rtmp2rtsp",
            "a=control:*",
            "a=range:npt=now-",
            "m=video 0 RTP/AVP 96",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1;profile-level-id=4D401F;sprop-parameter-sets=Z01AH+w=,aO+8,aF8=",
            "a=control:trackID=0",
            "m=audio 0 RTP/AVP 97",
            "a=rtpmap:97 MPEG4-GENERIC/48000/2",
            "a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190",
            "a=control:trackID=1",
        ]
    );
}

#[test]
fn what_ffmpeg_prints_is_read() {
    let video = SessionDescription::parse(FFMPEG_VIDEO).unwrap();
    assert_eq!((video.name.as_str(), video.source_address), ("No Name", None));
    assert_eq!(video.tracks[0].config.codec_string(), "avc1.64000D");
    let CodecConfig::H264(config) = &video.tracks[0].config else { panic!("no H.264") };
    assert_eq!(config.dimensions(), Some((320, 240)));

    let both = SessionDescription::parse(FFMPEG_BOTH).unwrap();
    assert_eq!(
        both.tracks,
        [
            track(CodecConfig::H264(h264::Config::default()), 96),
            track(aac_config(&[0x12, 0x08, 0x56, 0xE5, 0x00]), 97)
        ]
    );
}

#[test]
fn what_gstreamer_and_people_write_is_read() {
    let sdp = SessionDescription::parse(GSTREAMER).unwrap();
    assert_eq!(sdp.tracks[0].config.codec_string(), "avc1.F4000D");
    assert!(sdp.tracks[0].config.is_complete());
    assert_eq!(sdp.tracks[0].ssrc, Some(2_757_011_052));
    assert_eq!(sdp.tracks[0].cname.as_deref(), Some("user1@host"));
    assert_eq!((sdp.tracks[1].ssrc, sdp.tracks[1].payload_type), (None, 97));
    assert_eq!(sdp.source_address, Some([192, 0, 2, 7].into()));
}

/// The reason why a media section with these lines is refused.
fn refusal(m: &str, lines: &[&str]) -> String {
    let text = format!("v=0\nm={m}\n{}\n", lines.join("\n"));
    SessionDescription::parse(&text).expect_err(&text).to_string()
}

#[test]
fn what_cannot_be_carried_is_refused_in_one_sentence() {
    let h264 = "a=rtpmap:96 H264/90000";
    let aac = "a=rtpmap:97 MPEG4-GENERIC/48000/2";
    let video = |lines: &[&str]| refusal("video 0 RTP/AVP 96", lines);
    let audio = |lines: &[&str]| refusal("audio 0 RTP/AVP 97", lines);
    assert_eq!(
        video(&[h264, "a=fmtp:96 packetization-mode=2"]),
        "media section 0: packetization-mode 2, 0 and 1 are carried"
    );
    assert_eq!(
        video(&[h264, "a=fmtp:96 sprop-parameter-sets=Z0I$"]),
        "media section 0: sprop-parameter-sets: \"Z0I$\" is no Base64"
    );
    assert_eq!(
        video(&["a=rtpmap:96 JPEG/90000"]),
        "media section 0: codec \"JPEG\" is not carried"
    );
    assert_eq!(video(&["a=rtpmap:96 H264/48000"]), "media section 0: H264 at 48000 Hz, not 90000");
    assert_eq!(video(&["a=rtpmap:96 H264"]), "media section 0: no clock rate in a=rtpmap \"H264\"");
    assert_eq!(video(&[]), "media section 0: payload type 96 without a=rtpmap");
    assert_eq!(video(&[h264, "a=ssrc:x"]), "media section 0: a=ssrc \"x\" is no 32-bit number");
    assert_eq!(audio(&[aac]), "media section 0: mode \"\", AAC-hbr is carried");
    assert_eq!(
        audio(&[aac, "a=fmtp:97 mode=AAC-hbr"]),
        "media section 0: no config, the AudioSpecificConfig"
    );
    assert_eq!(
        audio(&[aac, "a=fmtp:97 mode=AAC-hbr;config=119"]),
        "media section 0: config \"119\" is not hexadecimal"
    );
    assert_eq!(
        audio(&[aac, "a=fmtp:97 mode=AAC-hbr;config=1210"]),
        "media section 0: MPEG4-GENERIC at 48000 Hz, which its AudioSpecificConfig contradicts with 44100 Hz"
    );
    assert_eq!(
        audio(&[aac, "a=fmtp:97 mode=AAC-hbr;sizelength=6;config=1190"]),
        "media section 0: sizelength 6, which AAC-hbr fixes to 13"
    );
    assert_eq!(
        refusal("audio 0 RTP/AVP 3", &[]),
        "media section 0: codec \"payload type 3\" is not carried"
    );
    assert_eq!(refusal("audio 0 RTP/AVP 96", &[h264]), "media section 0: H264 in m=audio");
    assert_eq!(
        refusal("application 0 RTP/AVP 96", &[]),
        "media section 0: codec \"application\" is not carried"
    );
    assert_eq!(
        refusal("video 0 UDP/TLS/RTP/SAVPF 96", &[h264]),
        "media section 0: transport \"UDP/TLS/RTP/SAVPF\", RTP/AVP, RTP/AVPF, RTP/SAVP and RTP/SAVPF are carried"
    );
    assert_eq!(
        refusal("video 0 RTP/AVP 128", &[]),
        "media section 0: payload type \"128\", 0 to 127 are allowed"
    );
    assert_eq!(
        refusal("video 0 RTP/AVP 96", &[h264, "m=video 0 RTP/AVP 96", h264]),
        "media section 1: payload type 96 cannot be told from that of section 0"
    );
    assert_eq!(
        video(&[h264, "a=source-filter: incl IN IP4 * example.org"]),
        "media section 0: source-filter without an IP address: \" incl IN IP4 * example.org\""
    );
}

#[test]
fn the_first_payload_type_that_is_carried_is_taken() {
    let text = "v=0\nm=video 0 RTP/AVP 98 96\na=rtpmap:98 JPEG/90000\na=rtpmap:96 H264/90000\n";
    assert_eq!(SessionDescription::parse(text).unwrap().tracks[0].payload_type, 96);
}

#[test]
fn what_is_read_is_bounded() {
    assert_eq!(SessionDescription::parse("v=0\n"), Err(SdpError::NoTracks));
    for no_sdp in ["", "hello", "{\"a\":1}", "v=1\n"] {
        assert!(matches!(SessionDescription::parse(no_sdp), Err(SdpError::Syntax(_))), "{no_sdp}");
    }
    let long = format!("v=0\ni={}\n", "x".repeat(MAX_BYTES));
    assert!(matches!(SessionDescription::parse(&long), Err(SdpError::Syntax(_))));
    let section = |at| format!("m=video 0 RTP/AVP {at}\na=rtpmap:{at} H264/90000\n");
    let many = |n| (0..n).fold("v=0\n".to_owned(), |text, at| text + &section(at + 90));
    assert_eq!(SessionDescription::parse(&many(MAX_SECTIONS)).unwrap().tracks.len(), MAX_SECTIONS);
    assert!(matches!(SessionDescription::parse(&many(MAX_SECTIONS + 1)), Err(SdpError::Syntax(_))));
}

#[test]
fn every_truncation_and_every_changed_byte_is_survived() {
    for sdp in [FFMPEG_VIDEO, FFMPEG_BOTH, GSTREAMER] {
        for end in 0..sdp.len() {
            let _ = SessionDescription::parse(&sdp[..end]);
            for byte in ["\0", "/", ";", "=", "9", "\n", " "] {
                let _ = SessionDescription::parse(&[&sdp[..end], byte, &sdp[end + 1..]].concat());
            }
        }
    }
}

/// What a session description tells of each codec; the rest is in the packets.
fn any_config() -> impl Strategy<Value = CodecConfig> {
    let set = |header: &'static [u8]| {
        let rest = proptest::collection::vec(any::<u8>(), 1..40);
        rest.prop_map(move |rest| Bytes::from([header, &rest].concat()))
    };
    let sets = |header| proptest::collection::vec(set(header), 0..3);
    let av1 = |(profile, level_idx, tier)| av1::Config {
        profile,
        level_idx,
        tier,
        ..av1::Config::default()
    };
    let laws = prop::sample::select(vec![g711::Law::A, g711::Law::Mu]);
    let mp3 = mp3::Config { sample_rate: 0, channels: 0, samples_per_frame: 1152 };
    prop_oneof![
        (sets(&[0x67]), sets(&[0x68]))
            .prop_map(|(sps, pps)| CodecConfig::H264(h264::Config { sps, pps })),
        (sets(&[0x40, 1]), sets(&[0x42, 1]), sets(&[0x44, 1]))
            .prop_map(|(vps, sps, pps)| CodecConfig::H265(h265::Config { vps, sps, pps })),
        (0u8..8, 0u8..32, 0u8..2).prop_map(move |fields| CodecConfig::Av1(av1(fields))),
        (0u8..4)
            .prop_map(|profile| CodecConfig::Vp9(vp9::Config { profile, ..Default::default() })),
        (0u8..13, 0u8..16, proptest::collection::vec(any::<u8>(), 0..4)).prop_map(
            |(rate, channels, rest)| {
                let raw = [vec![2 << 3 | rate >> 1, rate << 7 | channels << 3], rest].concat();
                CodecConfig::Aac(aac::Config::parse(raw.into()).unwrap())
            }
        ),
        (1u8..3).prop_map(|channels| CodecConfig::Opus(opus::Config { channels })),
        Just(CodecConfig::Mp3(mp3)),
        (laws, 1u8..3)
            .prop_map(|(law, channels)| CodecConfig::G711(g711::Config { law, channels })),
        (prop::sample::select(vec![48_000, 44_100, 32_000]), 1u8..7).prop_map(
            |(sample_rate, channels)| CodecConfig::Ac3(ac3::Config { sample_rate, channels })
        ),
    ]
}

prop_compose! {
    fn any_description()(
        name in "[A-Za-z0-9._/-]{1,30}",
        source_address in proptest::option::of(any::<IpAddr>()),
        configs in proptest::collection::vec(any_config(), 1..4),
        sources in proptest::option::of((any::<u32>(), proptest::option::of("[a-z0-9@.]{1,20}"))),
        nack in any::<bool>(),
        key in proptest::option::of(any::<[u8; MasterKey::BYTES]>()),
    ) -> SessionDescription {
        let tracks = configs.into_iter().zip(0u8..).map(|(config, at)| TrackDescription {
            config,
            payload_type: 96 + at,
            ssrc: sources.as_ref().map(|(ssrc, _)| ssrc.wrapping_add(at.into())),
            cname: sources.as_ref().and_then(|(_, cname)| cname.clone()),
            nack,
        });
        let crypto = key.map(MasterKey::new);
        SessionDescription { name, source_address, crypto, tracks: tracks.collect() }
    }
}

proptest! {
    #[test]
    fn a_leg_sdp_comes_back_as_it_was(
        description in any_description(),
        address in any::<IpAddr>(),
        port in any::<u16>(),
    ) {
        let sdp = description.to_leg_sdp((address, port).into());
        prop_assert_eq!(SessionDescription::parse(&sdp), Ok(description), "{}", sdp);
    }

    #[test]
    fn a_reader_sdp_comes_back_but_for_what_readers_are_not_told(
        mut description in any_description(),
        address in any::<IpAddr>(),
    ) {
        let sdp = description.to_reader_sdp(address, 1, 1);
        (description.source_address, description.crypto) = (None, None);
        for track in &mut description.tracks {
            (track.ssrc, track.cname, track.nack) = (None, None, false);
        }
        prop_assert_eq!(SessionDescription::parse(&sdp), Ok(description), "{}", sdp);
    }

    #[test]
    fn lines_that_are_missing_doubled_or_swapped_and_a_cut_anywhere_are_survived(
        description in any_description(),
        fates in proptest::collection::vec(0u8..8, 1..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let sdp = description.to_leg_sdp(([192, 0, 2, 9], 5004).into());
        let _ = SessionDescription::parse(&sdp[..cut.index(sdp.len())]);
        let mut lines = vec![];
        for (line, fate) in sdp.lines().zip(fates.iter().cycle()) {
            match fate {
                0 => {}
                1 => lines.extend([line, line]),
                2 => lines.insert(lines.len().saturating_sub(1), line),
                _ => lines.push(line),
            }
        }
        // What is read of it can be written and read again; no name is written as a dash.
        if let Ok(mut read) = SessionDescription::parse(&lines.join("\r\n")) {
            prop_assert!(!read.tracks.is_empty() && read.tracks.len() <= MAX_SECTIONS);
            if read.name.is_empty() {
                read.name.push('-');
            }
            let again = read.to_leg_sdp(([192, 0, 2, 9], 5004).into());
            prop_assert_eq!(SessionDescription::parse(&again), Ok(read), "{}", again);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(v=0\n)?([msactob]=[a-z0-9:/=;, \\PC]{0,30}\n){0,10}") {
        let _ = SessionDescription::parse(&text);
    }
}
