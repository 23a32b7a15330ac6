//! SDP and RTSP: as clients write them, and by hand.

use super::seed;
use crate::corpus::Entry;

/// `ffmpeg -c:v libx264 -flags +global_header -f rtp …`, ffmpeg 5.1, as printed.
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

/// Two outputs of ffmpeg 5.1 with `-sdp_file`.
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

/// From the caps of GStreamer 1.22's rtph264pay and rtpmp4gpay, put into lines by hand.
const GSTREAMER: &str = "v=0
m=video 5004 RTP/AVPF 96
a=rtpmap:96 h264/90000
a=fmtp:96 Packetization-Mode=1;Sprop-Parameter-Sets=\"Z/QADZGbKCg/YC1BgYGQAAADABAAAAMDyPFCmWA,aOvsRIRA\";profile-level-id=f4000d
a=ssrc:2757011052 cname:user1@host
a=ssrc:1 cname:other
m=audio 5004 RTP/AVP 97
a=rtpmap:97 mpeg4-generic/44100/1
a=fmtp:97 streamtype=5;profile-level-id=2;mode=aac-hbr;config=120856e500;sizelength=13;indexlength=3;indexdeltalength=3
a=source-filter:incl IN IP4 * 192.0.2.7
";

/// A leg as ingest describes it.
const LEG: &str = "v=0\r
o=- 0 0 IN IP4 192.0.2.1\r
s=site-3/cam.7\r
c=IN IP4 192.0.2.9\r
t=0 0\r
a=tool:rtmp2rtsp\r
a=group:BUNDLE 0\r
a=source-filter: incl IN IP4 192.0.2.9 192.0.2.1\r
m=video 5004 RTP/AVP 96\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 packetization-mode=1;profile-level-id=4D401F;sprop-parameter-sets=Z01AH+w=,aO+8\r
a=mid:0\r
a=ssrc:4294967295 cname:q8Zk@ingest\r
";

pub(super) fn sdp() -> Vec<Entry> {
    let unknown = "v=0\ns=x\nm=video 0 RTP/AVP 26 96\na=rtpmap:96 H265/90000\n";
    let full = "v=0\ro=a 1 2 IN IP6 ::1\ns=\ni=about\nu=http://h\ne=a@h\np=+1\nc=IN IP6 ::1/3\nb=X-A:1\nt=1 2\n\
        r=7d 1h 0 25h\nz=2882844526 -1h\nk=clear:x\na=recvonly\nm=video 1/2 RTP/AVP 96\ni=m\na=rtpmap:96 H264/90000\n";
    [
        ("ffmpeg-5.1-video", FFMPEG_VIDEO),
        ("ffmpeg-5.1-both", FFMPEG_BOTH),
        ("gstreamer-1.22", GSTREAMER),
        ("leg", LEG),
        ("codec-not-carried", unknown),
        ("every-line", full),
        ("no-media", "v=0\r\ns=x\r\n"),
    ]
    .map(|(name, text)| seed(name, &[text.as_bytes()]))
    .into()
}

const DESCRIBE: &str = "DESCRIBE rtsp://h:8554/cam?t=x RTSP/1.0\r
CSeq: 2\r
User-Agent: Lavf59.27.100\r
Accept: application/sdp\r
\r
";

/// The requests of ffmpeg 5.1, by TCP.
const TCP: &str = "SETUP rtsp://h:8554/cam/trackID=0?t=x RTSP/1.0\r
Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r
CSeq: 3\r
\r
SETUP rtsp://h:8554/cam/trackID=1 RTSP/1.0\r
Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r
CSeq: 4\r
Session: session1\r
\r
PLAY rtsp://h:8554/cam/ RTSP/1.0\r
Range: npt=0.000-\r
CSeq: 5\r
Session: session1\r
\r
$\x01\0\x08\u{1}\0\0\u{1}\0\0\0\u{2}GET_PARAMETER rtsp://h:8554/cam/ RTSP/1.0\r
CSeq: 6\r
Session: session1;timeout=60\r
\r
PAUSE rtsp://h:8554/cam/ RTSP/1.0\r
CSeq: 7\r
\r
TEARDOWN rtsp://h:8554/cam/ RTSP/1.0\r
CSeq: 8\r
Session: session1\r
\r
";

const UDP: &str = "OPTIONS * RTSP/1.0\r
CSeq: 1\r
\r
SETUP rtsp://h/cam/trackID=0 RTSP/1.0\r
CSeq: 2\r
Transport: RTP/AVP;multicast,RTP/AVP/UDP;unicast;client_port=4000-4001;mode=\"PLAY\"\r
\r
PLAY rtsp://h/cam RTSP/1.0\r
CSeq: 3\r
Session: session1\r
\r
";

/// What is refused, each for another reason.
const REFUSED: &str = "ANNOUNCE rtsp://h/cam RTSP/1.0\r
CSeq: 1\r
Content-Length: 5\r
\r
v=0\r
FLY rtsp://h/cam RTSP/1.0\r
CSeq: 2\r
\r
PLAY rtsp://h/cam RTSP/1.0\r
CSeq: 3\r
Require: funky\r
\r
PLAY rtsp://h/cam RTSP/2.0\r
CSeq: 4\r
\r
PLAY http://h/%zz RTSP/1.0\r
CSeq: 5\r
\r
SETUP rtsp://h/cam RTSP/1.0\r
CSeq: 6\r
Transport: RTP/SAVP;unicast\r
\r
SET_PARAMETER rtsp://h/cam RTSP/1.0\r
CSeq: 7\r
Content-Length: 3\r
\r
a=bRTSP/1.0 200 OK\r
CSeq: 8\r
\r
OPTIONS * RTSP/1.0

CSeq: 9

GET / HTTP/1.1\r
Host: h\r
\r
";

pub(super) fn rtsp() -> Vec<Entry> {
    let lines = "PLAY x RTSP/1.0\nCSeq: 3\n\nOPTIONS * RTSP/1.0\r\nCSeq: 9\n\r\n";
    let requests = "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".repeat(40);
    let long = format!("OPTIONS * RTSP/1.0\r\nX: {}\r\nCSeq: 77\r\n\r\n", "x".repeat(16_500));
    vec![
        seed("ffmpeg-5.1-tcp", &[&[40, 0, 0], DESCRIBE.as_bytes(), TCP.as_bytes()]),
        seed("tcp-refused", &[&[7, 0xFF, 0], DESCRIBE.as_bytes(), TCP.as_bytes()]),
        seed("udp", &[&[9, 0, 0], UDP.as_bytes()]),
        seed("udp-not-served", &[&[9, 0, 1], UDP.as_bytes()]),
        seed("refused", &[&[30, 0, 0], REFUSED.as_bytes()]),
        seed("bare-line-feeds", &[&[1, 0, 0], lines.as_bytes()]),
        seed("pipelined", &[&[250, 0, 0], requests.as_bytes()]),
        seed("long-header-block", &[&[16, 0, 0], long.as_bytes()]),
        seed(
            "long-body",
            &[&[5, 0, 0], b"PLAY * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 65537\r\n\r\n"],
        ),
    ]
}
