//! Bytes per second of what each byte of a stream goes through, and of what readers say. How to run it stands in docs/performance.md.

mod stream;

use std::{hint::black_box, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use media::{
    flv::VideoTag,
    rtcp::{ReportBlock, receiver_report},
    rtsp::{Event, ServerConfig, ServerConnection},
};
use stream::{ChunkPath, Gop, NodePath, PacketizerPath, Picture, Sent, avc_tag_header};

/// Before any Set Chunk Size, and what OBS sets.
const CHUNK_SIZES: [u32; 2] = [128, 4096];
/// What VLC and ffmpeg send to keep a session.
const GET_PARAMETER: &[u8] = b"GET_PARAMETER rtsp://192.0.2.1:8554/live/cam/ RTSP/1.0\r\n\
    CSeq: 9\r\n\
    User-Agent: LibVLC/3.0.21 (LIVE555 Streaming Media v2016.11.28)\r\n\
    Session: 8f14e45fceea167a\r\n\r\n";
const OPTIONS: &[u8] = b"OPTIONS rtsp://192.0.2.1:8554/live/cam/ RTSP/1.0\r\n\
    CSeq: 9\r\n\
    User-Agent: Lavf60.3.100\r\n\
    Session: 8f14e45fceea167a\r\n\r\n";
/// The channel of RTCP that the session below has.
const RTCP_CHANNEL: u8 = 1;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let gop = Gop::new();
    rtmp_chunks(&mut criterion, &gop);
    flv(&mut criterion, &gop);
    packetizer(&mut criterion, &gop);
    node(&mut criterion, &gop);
    rtsp(&mut criterion);
    criterion.final_summary();
}

fn rtmp_chunks(criterion: &mut Criterion, gop: &Gop) {
    let mut group = criterion.benchmark_group("rtmp_chunks");
    for chunk_size in CHUNK_SIZES {
        let sent = Sent::new(gop, chunk_size);
        let mut path = ChunkPath::new(chunk_size);
        group.throughput(Throughput::Bytes(sent.bytes()));
        group.bench_function(chunk_size.to_string(), |b| {
            b.iter_batched(|| sent.reads(), |reads| path.run(reads), BatchSize::LargeInput);
        });
    }
}

fn flv(criterion: &mut Criterion, gop: &Gop) {
    let mut group = criterion.benchmark_group("flv");
    tags(&mut group, "avc", &gop.tags(avc_tag_header));
    tags(&mut group, "enhanced", &gop.tags(enhanced_tag_header));
}

/// CodedFrames of a FourCC, without a composition time (Enhanced RTMP).
fn enhanced_tag_header(picture: &Picture) -> [u8; 8] {
    let frame_type = if picture.keyframe { 1 } else { 2 };
    [0x80 | frame_type << 4 | 1, b'h', b'v', b'c', b'1', 0, 0, 0]
}

fn tags(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, tags: &[Bytes]) {
    group.throughput(Throughput::Bytes(tags.iter().map(|tag| tag.len() as u64).sum()));
    group.bench_function(name, |b| {
        b.iter(|| {
            for tag in tags {
                let frame = VideoTag::parse(black_box(tag)).expect("the tag is whole");
                assert!(matches!(black_box(frame), VideoTag::Frame { .. }));
            }
        });
    });
}

fn packetizer(criterion: &mut Criterion, gop: &Gop) {
    let mut group = criterion.benchmark_group("packetizer");
    let mut path = PacketizerPath::new(gop);
    group.throughput(Throughput::Bytes(gop.bytes()));
    group.bench_function("h264", |b| b.iter(|| path.run()));
}

fn node(criterion: &mut Criterion, gop: &Gop) {
    let mut group = criterion.benchmark_group("node");
    let mut path = NodePath::new(gop);
    group.throughput(Throughput::Bytes(path.bytes()));
    group.bench_function("h264", |b| b.iter(|| path.run()));
}

fn rtsp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rtsp");
    let rtcp = interleaved_report();
    for (name, message) in [("options", OPTIONS), ("get_parameter", GET_PARAMETER), ("rtcp", &rtcp)]
    {
        let mut reader = Reader::playing();
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |b| b.iter(|| reader.says(black_box(message))));
    }
}

/// A Receiver Report with a CNAME, as readers send it every few seconds.
fn interleaved_report() -> Vec<u8> {
    let block = ReportBlock {
        ssrc: 1,
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_sequence_number: 70_000,
        jitter: 40,
        last_sr: 0x1234_5678,
        delay_since_last_sr: 65_536,
    };
    let report = receiver_report(2, &[block], "reader@192.0.2.7");
    let [high, low] = (report.len() as u16).to_be_bytes();
    [&[b'$', RTCP_CHANNEL, high, low], &report[..]].concat()
}

/// A connection and what it has not taken yet.
struct Reader {
    server: ServerConnection,
    input: BytesMut,
}

impl Reader {
    /// One that has set up a track and plays it.
    fn playing() -> Self {
        let config = ServerConfig {
            server_name: "rtmp2rtsp".to_owned(),
            session_timeout: Duration::from_secs(60),
            udp_ports: None,
            multicast: false,
        };
        let peer = SocketAddr::from(([192, 0, 2, 7], 50_000));
        let local = SocketAddr::from(([192, 0, 2, 1], 8554));
        let server = ServerConnection::new(config, peer, local);
        let mut reader = Self { server, input: BytesMut::new() };
        reader.says(
            b"SETUP rtsp://192.0.2.1:8554/live/cam/trackID=0 RTSP/1.0\r\n\
            CSeq: 1\r\n\
            Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
        );
        reader.server.answer_setup(Ok(1));
        reader.says(
            b"PLAY rtsp://192.0.2.1:8554/live/cam/ RTSP/1.0\r\n\
            CSeq: 2\r\n\
            Session: 8f14e45fceea167a\r\n\r\n",
        );
        reader.server.answer_play(Ok(Vec::new()));
        assert_eq!(reader.says(&interleaved_report()), 1, "the session has its channel");
        reader
    }

    /// Sends what it says, which is answered well. How many reports were in it.
    fn says(&mut self, message: &[u8]) -> usize {
        self.input.extend_from_slice(message);
        let mut session_id = || "8f14e45fceea167a".to_owned();
        self.server.handle_input(&mut self.input, &mut session_id).expect("it is RTSP");
        while let Some(answer) = self.server.poll_output() {
            assert!(black_box(answer).starts_with(b"RTSP/1.0 200 "));
        }
        let mut reports = 0;
        while let Some(event) = self.server.poll_event() {
            reports += usize::from(matches!(black_box(event), Event::Rtcp(..)));
        }
        reports
    }
}
