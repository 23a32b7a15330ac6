//! What real encoders and publishers wrote, for tests. Codec headers and access units are those of Enhanced RTMP, as FFmpeg 9.0.2
//! publishes them (`-c copy -f flv`), tag headers and the SEI of encoders' settings taken off.

use bytes::Bytes;

/// Bytes in hexadecimal.
pub(crate) fn hex(text: &str) -> Bytes {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hexadecimal") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A codec header, and what other software says of it.
pub(crate) struct Header {
    pub(crate) record: &'static str,
    /// For HEVC by GStreamer 1.22 (`gst_codec_utils_caps_get_mime_codec`), else by the DASH muxer of FFmpeg 9.0.2.
    pub(crate) codec_string: &'static str,
    /// By ffprobe 5.1.
    pub(crate) dimensions: (u32, u32),
}

/// HEVC by libx265 3.5 out of ffmpeg 5.1, `-f lavfi -i testsrc2=s=<dimensions>:r=25 -c:v libx265 -preset ultrafast`.
pub(crate) mod hevc {
    use super::Header;

    /// `-pix_fmt yuv420p`; coded as 1920x1088.
    pub(crate) const MAIN: Header = Header {
        record: "01016000000090000000000078f000fcfdf8f800000f03200001001840010c01ffff01600000030090\
                 0000030000030078959409210001002c420101016000000300900000030000030078a003c08011075365\
                 95952930bc05a02000000300200000030321220001000644\
                 01c073c189",
        codec_string: "hvc1.1.6.L120.90",
        dimensions: (1918, 1078),
    };

    /// `-pix_fmt yuv420p -x265-params temporal-layers=1:bframes=3:b-pyramid=1`: two sub-layers, coded as 336x192.
    pub(crate) const TWO_SUB_LAYERS: Header = Header {
        record: "0101600000009000000000003cf000fcfdf8f800001303200001001c40010c02ffff01600000030090\
                 000003000003003c00009594aca048210001002e42010201600000030090000003000003003c0000a00a\
                 880c1c44d965652b2a5261780b404000000300400000064222000100064401c073c189",
        codec_string: "hvc1.1.6.L60.90",
        dimensions: (322, 182),
    };

    /// `-pix_fmt yuv422p10le`.
    pub(crate) const REXT_422: Header = Header {
        record: "0104080000009d08000000003cf000fcfefafa00000f03200001001740010c01ffff0408000003009d\
                 0800000300003c959409210001002b4201010408000003009d0800000300003cb00a880c1c445b659595\
                 2930bc05a0200000030020000003032122000100064401c073c189",
        codec_string: "hvc1.4.10.L60.9D.08",
        dimensions: (322, 182),
    };

    /// `-pix_fmt yuv444p`.
    pub(crate) const REXT_444: Header = Header {
        record: "0104080000009e08000000003cf000fcfff8f800000f03200001001740010c01ffff0408000003009e\
                 0800000300003c959409210001002a4201010408000003009e0800000300003c90015101838f8bcb2b2a\
                 5261780b4040000003004000000642220001000844\
                 01c07318301890",
        codec_string: "hvc1.4.10.L60.9E.08",
        dimensions: (322, 182),
    };

    /// `-pix_fmt yuv420p10le -x265-params high-tier=1:level-idc=5.1`. GStreamer 1.22 says `L153`, for it takes another bit for the tier.
    pub(crate) const MAIN_10_HIGH: Header = Header {
        record: "01222000000090000000000099f000fcfdfafa00000f03200001001840010c01ffff22200000030090\
                 0000030000030099959409210001002b420101222000000300900000030000030099a00a880c1c44cd96\
                 5654a4c2f0168080000003008000000c8422000100064401c073c189",
        codec_string: "hvc1.2.4.H153.90",
        dimensions: (322, 182),
    };

    pub(crate) const ALL: [&Header; 5] =
        [&MAIN, &TWO_SUB_LAYERS, &REXT_422, &REXT_444, &MAIN_10_HIGH];

    /// Access units of `-f lavfi -i color=gray:s=66x34 -x265-params keyint=4:min-keyint=1:open-gop=1:bframes=1` by the libx265 of
    /// FFmpeg 9.0.2, in decode order: an IDR, a TRAIL_R, a CRA and the RASL in front of it. Length prefixes have four bytes.
    pub(crate) const IDR: &str = "0000000e2801ac7539071c2474aa121a10ef";
    pub(crate) const TRAIL: &str = "0000000c0201d0115620e24ca3d82d20";
    pub(crate) const CRA: &str = "000000132a01ac10e89194ec053f507570a012092eef80";
    pub(crate) const RASL: &str = "0000000d1001e066b5e081424ca23830a0";
}

/// AV1: SVT-AV1 1.4.1 and libaom out of ffmpeg 5.1, `testsrc2=s=322x182`.
pub(crate) mod av1 {
    use super::Header;

    /// `-c:v libsvtav1 -preset 12`.
    pub(crate) const SVT: Header = Header {
        record: "81000c000a0b000000043d06d402f80040",
        codec_string: "av01.0.00M.08",
        dimensions: (322, 182),
    };
    /// The sequence header of the same stream's first temporal unit is another.
    pub(crate) const SVT_IN_BAND: &str = "0a0b000000043d06d4fbf90040";
    /// `-c:v libaom-av1 -pix_fmt yuv420p`.
    pub(crate) const AOM: Header = Header {
        record: "81000c000a0b000000043d06d4daf90040",
        codec_string: "av01.0.00M.08",
        dimensions: (322, 182),
    };
    /// `-c:v libaom-av1 -pix_fmt yuv444p10le`.
    pub(crate) const AOM_444: Header = Header {
        record: "812040000a0a200000043d06d4daf942",
        codec_string: "av01.1.00M.10",
        dimensions: (322, 182),
    };
    /// `-c:v libaom-av1 -pix_fmt yuv422p12le`.
    pub(crate) const AOM_422: Header = Header {
        record: "814068000a0b400000043d06d4daf96220",
        codec_string: "av01.2.00M.12",
        dimensions: (322, 182),
    };

    pub(crate) const ALL: [&Header; 4] = [&SVT, &AOM, &AOM_444, &AOM_422];

    /// `-f lavfi -i color=gray:s=66x34 -c:v libaom-av1 -lag-in-frames 0` by FFmpeg 9.0.2: the first two temporal units, with their
    /// temporal delimiters.
    pub(crate) const KEYFRAME: &str =
        "12000a0a000000032c184daf9004320e10008800000100004008fae71b80";
    pub(crate) const FRAME: &str = "120032143003c080000006a0000001400010009941b55008";
    /// The same with libsvtav1: a temporal unit that shows a frame of before, all in a frame header.
    pub(crate) const SHOW_EXISTING: &str = "12001a01c8";
}

/// VP9 by libvpx out of ffmpeg 5.1, `testsrc2=s=322x182 -c:v libvpx-vp9 -deadline realtime`.
pub(crate) mod vp9 {
    use super::Header;

    /// `-pix_fmt yuv420p`.
    pub(crate) const PROFILE_0: Header = Header {
        record: "01000000000b820202020000",
        codec_string: "vp09.00.11.08",
        dimensions: (322, 182),
    };
    pub(crate) const PROFILE_0_KEYFRAME: &str = "824983420014100b560638241c184a000b905fc9f7fbfc9f";
    /// `-pix_fmt gbrp`.
    pub(crate) const PROFILE_1_RGB: Header = Header {
        record: "01000000010b870202000000",
        codec_string: "vp09.01.11.08",
        dimensions: (322, 182),
    };
    pub(crate) const PROFILE_1_RGB_KEYFRAME: &str =
        "a2498342e014100b560638241c184a0010605f11f7daf89f";
    /// `-pix_fmt yuv444p10le`.
    pub(crate) const PROFILE_3: Header = Header {
        record: "01000000030ba60202020000",
        codec_string: "vp09.03.11.10",
        dimensions: (322, 182),
    };
    pub(crate) const PROFILE_3_KEYFRAME: &str = "b124c1a10000a0805ab031c120e0c2c0006c805f7fbfbfbb";

    pub(crate) const ALL: [(&Header, &str); 3] = [
        (&PROFILE_0, PROFILE_0_KEYFRAME),
        (&PROFILE_1_RGB, PROFILE_1_RGB_KEYFRAME),
        (&PROFILE_3, PROFILE_3_KEYFRAME),
    ];

    /// `-f lavfi -i color=gray:s=66x34` by FFmpeg 9.0.2: the first two frames, whole.
    pub(crate) const KEYFRAME: &str =
        "8249834200041002160638241c184a00002040006b38f7a69b004f012e77e31b5fc000";
    pub(crate) const FRAME: &str = "860040929c485000000370000054565e40";
}

/// Sound by FFmpeg 9.0.2, `-f lavfi -i sine=440`.
pub(crate) mod audio {
    /// `-c:a libopus -ac 2` and `-ac 1`.
    pub(crate) const OPUS_STEREO: &str = "4f707573486561640102380180bb0000000000";
    pub(crate) const OPUS_MONO: &str = "4f707573486561640101380180bb0000000000";
    /// The beginning of the first packet, which lasts 20 ms.
    pub(crate) const OPUS_PACKET: &str = "fc7e0299e7f9ecf511d616dc1948c3c0e4bdcdfff6756e03";
    /// The beginnings of `-c:a libmp3lame -ac 2 -ar 44100 -b:a 128k`: frames of 417 and 418 bytes.
    pub(crate) const MP3: [&str; 2] =
        ["fffb90640000023c08d0bd3c20080000", "fffb92646908f260154c6f74400c0000"];
    /// The beginning of `-c:a ac3 -ar 48000 -ac 6 -b:a 384k`: a frame of 1536 bytes.
    pub(crate) const AC3_5_1: &str = "0b77e3b81c40ebf8403eff74fe1e1080";
    /// Likewise `-ar 44100 -ac 2`: 834 bytes.
    pub(crate) const AC3_STEREO: &str = "0b775068544043e106f575f0c0c21818";
}
