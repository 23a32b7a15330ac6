//! What is written of each codec, and what ffmpeg and GStreamer write.

use super::*;
use crate::{
    codec::{
        AudioHeader, VideoHeader,
        fixtures::{audio, av1 as av1_bytes, hevc, hex, vp9 as vp9_bytes},
    },
    flv::{AudioCodec, VideoCodec},
};

/// `-f rtp -sdp_file` of ffmpeg 5.1 and FFmpeg 9.0.2, the session's lines left out. The older knows no AV1 and writes no
/// `a=framerate`; neither sends AC-3.
mod ffmpeg {
    /// `-c:v libx265`, the stream of `hevc::TWO_SUB_LAYERS`.
    pub(super) const H265: &str = "m=video 45110 RTP/AVP 96
b=AS:260
a=framerate:25
a=rtpmap:96 H265/90000
a=fmtp:96 sprop-vps=QAEMAv//AWAAAAMAkAAAAwAAAwA8AACVlKygSA==; sprop-sps=QgECAWAAAAMAkAAAAwAAAwA8AACgCogMHETZZWUrKlJheAtAQAAAAwBAAAAGQg==; sprop-pps=RAHAc8GJ
";
    /// `-c:v libsvtav1`.
    pub(super) const AV1: &str = "m=video 45110 RTP/AVP 96
b=AS:295
a=rtpmap:96 AV1/90000
a=fmtp:96 profile=0;level-idx=0;tier=0
";
    /// `-c:v libvpx-vp9`, whatever the profile.
    pub(super) const VP9: &str = "m=video 45110 RTP/AVP 96
b=AS:439
a=rtpmap:96 VP9/90000
";
    /// `-c:a libopus -ac 2`, and `-ac 1`.
    pub(super) const OPUS: &str = "m=audio 45112 RTP/AVP 97
b=AS:96
a=rtpmap:97 opus/48000/2
a=fmtp:97 sprop-stereo=1
";
    pub(super) const OPUS_MONO: &str = "m=audio 45112 RTP/AVP 97
b=AS:64
a=rtpmap:97 opus/48000/2
";
    /// `-c:a libmp3lame`.
    pub(super) const MP3: &str = "m=audio 45112 RTP/AVP 14
";
    /// `-c:a pcm_mulaw -ar 8000 -ac 1`, `-c:a pcm_alaw` of one channel and of two.
    pub(super) const PCMU: &str = "m=audio 45112 RTP/AVP 0
b=AS:64
";
    pub(super) const PCMA: &str = "m=audio 45112 RTP/AVP 8
b=AS:64
";
    pub(super) const PCMA_STEREO: &str = "m=audio 45112 RTP/AVP 97
b=AS:128
a=rtpmap:97 PCMA/8000/2
";
}

/// From the caps of GStreamer 1.22's payloaders, put into lines by hand.
mod gstreamer {
    /// `x265enc ! rtph265pay config-interval=-1`, 322x182.
    pub(super) const H265: &str = "m=video 5004 RTP/AVP 96
a=rtpmap:96 H265/90000
a=fmtp:96 sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwA/lZgJ;sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA/oApIC5yVllZpJMr/8AAQABagwMDAgAAAAwCAAAAPBA==;sprop-pps=RAHBcrRiQA==
a=framerate:30
";
    /// `opusenc ! rtpopuspay` of one channel and of two.
    pub(super) const OPUS_MONO: &str = "m=audio 5004 RTP/AVP 96
a=rtpmap:96 OPUS/48000/2
a=fmtp:96 sprop-stereo=0;sprop-maxcapturerate=48000
";
    pub(super) const OPUS: &str = "m=audio 5004 RTP/AVP 96
a=rtpmap:96 OPUS/48000/2
a=fmtp:96 sprop-stereo=1;sprop-maxcapturerate=48000
";
    /// `vp9enc ! rtpvp9pay`.
    pub(super) const VP9: &str = "m=video 5004 RTP/AVP 96
a=rtpmap:96 VP9/90000
a=framerate:30
";
    /// `lamemp3enc ! rtpmpapay` and `mulawenc ! rtppcmupay`.
    pub(super) const MP3: &str = "m=audio 5004 RTP/AVP 14
a=rtpmap:14 MPA/90000
";
    pub(super) const PCMU: &str = "m=audio 5004 RTP/AVP 0
a=rtpmap:0 PCMU/8000
";
    /// `avenc_ac3 ! rtpac3pay`.
    pub(super) const AC3: &str = "m=audio 5004 RTP/AVP 96
a=rtpmap:96 AC3/48000
";
}

fn read(section: &str) -> TrackDescription {
    SessionDescription::parse(&format!("v=0\n{section}")).expect(section).tracks.remove(0)
}

fn g711(law: g711::Law, channels: u8) -> CodecConfig {
    CodecConfig::G711(g711::Config { law, channels })
}

const fn opus(channels: u8) -> CodecConfig {
    CodecConfig::Opus(opus::Config { channels })
}

const fn mp3() -> CodecConfig {
    CodecConfig::Mp3(mp3::Config { sample_rate: 0, channels: 0, samples_per_frame: 1152 })
}

#[test]
fn what_ffmpeg_and_gstreamer_write_of_sound_is_read() {
    for (section, payload_type, config) in [
        (ffmpeg::OPUS, 97, opus(2)),
        (ffmpeg::OPUS_MONO, 97, opus(1)),
        (ffmpeg::MP3, 14, mp3()),
        (ffmpeg::PCMU, 0, g711(g711::Law::Mu, 1)),
        (ffmpeg::PCMA, 8, g711(g711::Law::A, 1)),
        (ffmpeg::PCMA_STEREO, 97, g711(g711::Law::A, 2)),
        (gstreamer::OPUS, 96, opus(2)),
        (gstreamer::OPUS_MONO, 96, opus(1)),
        (gstreamer::MP3, 14, mp3()),
        (gstreamer::PCMU, 0, g711(g711::Law::Mu, 1)),
        (gstreamer::AC3, 96, CodecConfig::Ac3(ac3::Config { sample_rate: 48_000, channels: 1 })),
    ] {
        assert_eq!(read(section), track(config, payload_type), "{section}");
    }
}

#[test]
fn what_ffmpeg_and_gstreamer_write_of_pictures_is_read() {
    for (section, text, dimensions) in [
        (ffmpeg::H265, hevc::TWO_SUB_LAYERS.codec_string, Some(hevc::TWO_SUB_LAYERS.dimensions)),
        (gstreamer::H265, "hvc1.1.6.L63.90", Some((322, 182))),
        (ffmpeg::AV1, "av01.0.00M.08", None),
        (ffmpeg::VP9, "vp09.00.10.08", None),
        (gstreamer::VP9, "vp09.00.10.08", None),
    ] {
        let config = read(section).config;
        assert_eq!((config.codec_string().as_str(), config.dimensions()), (text, dimensions));
        assert!(config.is_complete(), "{section}");
    }
}

/// The lines of a track in DESCRIBE's answer that tell its codec.
fn written(config: CodecConfig) -> Vec<String> {
    let tracks = vec![track(config, 96)];
    let description =
        SessionDescription { name: "x".into(), source_address: None, crypto: None, tracks };
    let sdp = description.to_reader_sdp([192, 0, 2, 1].into(), 1, 1);
    let codec = |line: &&str| line.starts_with("a=rtpmap") || line.starts_with("a=fmtp");
    sdp.lines().filter(codec).map(str::to_owned).collect()
}

#[test]
fn what_is_written_of_pictures_says_profile_and_parameter_sets() {
    let config = |codec, record| VideoHeader::parse(codec, &hex(record)).unwrap().config();
    let lines = written(config(VideoCodec::Hevc, hevc::MAIN_10_HIGH.record));
    assert_eq!(
        lines,
        [
            "a=rtpmap:96 H265/90000",
            "a=fmtp:96 profile-space=0;profile-id=2;tier-flag=1;level-id=153;\
             sprop-vps=QAEMAf//IiAAAAMAkAAAAwAAAwCZlZQJ;\
             sprop-sps=QgEBIiAAAAMAkAAAAwAAAwCZoAqIDBxEzZZWVKTC8BaAgAAAAwCAAAAMhA==;\
             sprop-pps=RAHAc8GJ",
        ]
    );
    assert_eq!(written(CodecConfig::H265(h265::Config::default())), ["a=rtpmap:96 H265/90000"]);
    assert_eq!(
        written(config(VideoCodec::Av1, av1_bytes::AOM_444.record)),
        ["a=rtpmap:96 AV1/90000", "a=fmtp:96 profile=1;level-idx=0;tier=0"]
    );
    assert_eq!(
        written(config(VideoCodec::Vp9, vp9_bytes::PROFILE_3.record)),
        ["a=rtpmap:96 VP9/90000", "a=fmtp:96 profile-id=3"]
    );
}

#[test]
fn what_is_written_of_sound_says_rate_and_channels() {
    let of_frame =
        |codec, frame| AudioHeader::of_frame(codec, &hex(frame)).unwrap().unwrap().config();
    for (config, lines) in [
        (of_frame(AudioCodec::Mp3, audio::MP3[0]), &["a=rtpmap:96 MPA/90000"][..]),
        (of_frame(AudioCodec::Ac3, audio::AC3_5_1), &["a=rtpmap:96 ac3/48000/6"]),
        (of_frame(AudioCodec::Ac3, audio::AC3_STEREO), &["a=rtpmap:96 ac3/44100/2"]),
        (opus(2), &["a=rtpmap:96 opus/48000/2", "a=fmtp:96 sprop-stereo=1;stereo=1"]),
        (opus(1), &["a=rtpmap:96 opus/48000/2"]),
        (g711(g711::Law::A, 1), &["a=rtpmap:96 PCMA/8000"]),
        (g711(g711::Law::Mu, 2), &["a=rtpmap:96 PCMU/8000/2"]),
    ] {
        assert_eq!(written(config), lines);
    }
}

#[test]
fn static_payload_types_need_no_rtpmap_and_obey_one() {
    assert_eq!(
        read("m=audio 0 RTP/AVP 8\na=rtpmap:8 PCMU/8000/2\n").config,
        g711(g711::Law::Mu, 2)
    );
    let refused = |m: &str, line: &str| refusal(m, &[line]);
    assert_eq!(
        refused("audio 0 RTP/AVP 9", ""),
        "media section 0: codec \"payload type 9\" is not carried"
    );
    assert_eq!(refused("video 0 RTP/AVP 14", ""), "media section 0: MPA in m=video");
    assert_eq!(
        refused("audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/16000"),
        "media section 0: PCMU at 16000 Hz, not 8000"
    );
}

#[test]
fn no_channels_in_an_rtpmap_are_one() {
    for channels in ["", "/", "/0", "/x", "/256"] {
        let section = format!("m=audio 0 RTP/AVP 97\na=rtpmap:97 PCMA/8000{channels}\n");
        assert_eq!(read(&section).config, g711(g711::Law::A, 1), "{channels}");
        let section = format!("m=audio 0 RTP/AVP 97\na=rtpmap:97 ac3/32000{channels}\n");
        let expected = ac3::Config { sample_rate: 32_000, channels: 1 };
        assert_eq!(read(&section).config, CodecConfig::Ac3(expected), "{channels}");
    }
}

#[test]
fn parameters_that_cannot_be_are_refused_in_one_sentence() {
    let video = |map: &str, fmtp: &str| {
        let lines = [format!("a=rtpmap:96 {map}"), format!("a=fmtp:96 {fmtp}")];
        refusal("video 0 RTP/AVP 96", &[&lines[0], &lines[1]])
    };
    for (map, fmtp, problem) in [
        ("AV1/90000", "profile=8", "profile \"8\", 0 to 7 are allowed"),
        ("AV1/90000", "level-idx=32", "level-idx \"32\", 0 to 31 are allowed"),
        ("AV1/90000", "tier=2", "tier \"2\", 0 to 1 are allowed"),
        ("AV1/90000", "profile=high", "profile \"high\", 0 to 7 are allowed"),
        ("VP9/90000", "profile-id=4", "profile-id \"4\", 0 to 3 are allowed"),
        ("VP9/90000", "profile-id=-1", "profile-id \"-1\", 0 to 3 are allowed"),
        ("AV1/48000", "profile=0", "AV1 at 48000 Hz, not 90000"),
        ("VP9/8000", "profile-id=0", "VP9 at 8000 Hz, not 90000"),
        ("H265/8000", "x=y", "H265 at 8000 Hz, not 90000"),
        ("H265/90000", "sprop-sps=QgE$", "sprop-sps: \"QgE$\" is no Base64"),
        (
            "H265/90000",
            "sprop-max-don-diff=2",
            "sprop-max-don-diff, only packets in decoding order are carried",
        ),
    ] {
        assert_eq!(video(map, fmtp), format!("media section 0: {problem}"));
    }
    let audio = |map: &str| refusal("audio 0 RTP/AVP 97", &[&format!("a=rtpmap:97 {map}")]);
    assert_eq!(audio("opus/44100/2"), "media section 0: opus at 44100 Hz, not 48000");
    assert_eq!(audio("MPA/44100"), "media section 0: MPA at 44100 Hz, not 90000");
    assert_eq!(audio("PCMA/11025"), "media section 0: PCMA at 11025 Hz, not 8000");
    assert_eq!(audio("VP9/90000"), "media section 0: VP9 in m=audio");
    assert_eq!(audio("eac3/48000"), "media section 0: codec \"eac3\" is not carried");
}

#[test]
fn parameters_are_read_in_any_case_and_what_is_left_out_has_its_default() {
    let config = read(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 av1/90000\na=fmtp:96 Profile=1; LEVEL-IDX = 13 ;Tier=1\n",
    );
    assert_eq!(config.config.codec_string(), "av01.1.13H.08");
    // AV1 RTP specification, 7.2.1: profile 0, level-idx 5, tier 0.
    assert_eq!(
        read("m=video 0 RTP/AVP 96\na=rtpmap:96 AV1/90000\n").config.codec_string(),
        "av01.0.05M.08"
    );
    let h265 = "m=video 0 RTP/AVP 96\na=rtpmap:96 h265/90000\na=fmtp:96 sprop-max-don-diff=0;";
    assert_eq!(read(&format!("{h265}\n")).config, CodecConfig::H265(h265::Config::default()));
    // Two of a kind; a parameter set under another's name, and one of no bytes, are passed over.
    let CodecConfig::H265(config) =
        read(&format!("{h265}sprop-pps=RAHA,RAFA;sprop-sps=RAHA,,QgE=\n")).config
    else {
        panic!("H.265")
    };
    assert_eq!(config.pps, [&[0x44, 1, 0xC0][..], &[0x44, 1, 0x40]]);
    assert!(config.sps.is_empty() && config.vps.is_empty());
}

#[test]
fn every_truncation_of_every_section_is_survived() {
    use {ffmpeg as f, gstreamer as g};
    for section in
        [f::H265, f::AV1, f::VP9, f::OPUS, f::MP3, f::PCMA_STEREO, g::H265, g::OPUS, g::AC3]
    {
        let sdp = format!("v=0\n{section}");
        for end in 0..sdp.len() {
            let _ = SessionDescription::parse(&sdp[..end]);
            for byte in ["\0", "/", ";", "=", "9", ",", "\n"] {
                let _ = SessionDescription::parse(&[&sdp[..end], byte, &sdp[end + 1..]].concat());
            }
        }
    }
}
