//! One GOP of a stream of 2 Mbit/s, and the three paths that every access unit of it takes. `benches/media.rs` takes their time,
//! `examples/instructions.rs` counts their instructions.
//!
//! Left out on purpose: sound, which is a tenth of the bytes, and slices: each picture is one NAL unit, as most encoders write it.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use media::{
    ClockRate,
    codec::{Codec, VideoHeader},
    flv::VideoCodec,
    rtmp::ChunkReader,
    rtp::{
        AccessUnitAssembler, Header, Packetizer, PacketizerConfig, ReceivedPacket, ReorderBuffer,
        Rewriter,
    },
};

/// 30 pictures a second, a keyframe each 2 s: 2 Mbit/s with these sizes.
pub(super) const PICTURES: usize = 60;
const PICTURE_BYTES: usize = 7_200;
const KEYFRAME_BYTES: usize = 72_000;
const PICTURE_MS: u32 = 33;
/// The AVCDecoderConfigurationRecord of `ffmpeg -f lavfi -i testsrc2=s=1280x720 -c:v libx264 -profile:v main` (x264 core 164).
const RECORD: &[u8] = &[
    0x01, 0x4D, 0x40, 0x1F, 0xFF, 0xE1, 0x00, 0x19, 0x67, 0x4D, 0x40, 0x1F, 0xEC, 0xA0, 0x28, 0x02,
    0xDD, 0x80, 0x88, 0x00, 0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x01, 0xE0, 0x78, 0xC1, 0x8C,
    0xB0, 0x01, 0x00, 0x04, 0x68, 0xEF, 0xBC, 0xB2,
];
/// NAL unit headers of an IDR slice and of another that is referred to.
const IDR: u8 = 0x65;
const SLICE: u8 = 0x41;

/// `rtp.max_packet_size`, `rtmp.max_message_bytes` and `rtp.reorder_window`, by default.
const MAX_PACKET_BYTES: usize = 1200;
const MAX_ACCESS_UNIT_BYTES: usize = 8 << 20;
const REORDER_WINDOW: Duration = Duration::from_millis(20);
/// As `publish-svc` has it.
const REORDER_PACKETS: usize = 512;

/// The stream.
pub(super) struct Gop {
    pub(super) header: VideoHeader,
    pub(super) pictures: Vec<Picture>,
}

/// An access unit: one NAL unit behind its length.
pub(super) struct Picture {
    pub(super) keyframe: bool,
    pub(super) unit: Bytes,
    timestamp: u32,
}

impl Gop {
    /// The same each time.
    pub(super) fn new() -> Self {
        let record = Bytes::from_static(RECORD);
        let header =
            VideoHeader::parse(VideoCodec::Avc, &record).expect("the record is a real one");
        let mut noise = Noise(0x2545_F491_4F6C_DD1D);
        let pictures = (0..PICTURES).map(|at| {
            let keyframe = at == 0;
            let (nal_header, size) =
                if keyframe { (IDR, KEYFRAME_BYTES) } else { (SLICE, PICTURE_BYTES) };
            let mut unit = (size as u32 - 4).to_be_bytes().to_vec();
            unit.push(nal_header);
            unit.resize_with(size, || noise.byte());
            Picture { keyframe, unit: unit.into(), timestamp: 90 * PICTURE_MS * at as u32 }
        });
        Self { header, pictures: pictures.collect() }
    }

    /// Bytes of all access units.
    pub(super) fn bytes(&self) -> u64 {
        self.pictures.iter().map(|picture| picture.unit.len() as u64).sum()
    }

    /// The access units as bodies of FLV tags, behind the header that `tag_header` gives.
    pub(super) fn tags<const N: usize>(&self, tag_header: fn(&Picture) -> [u8; N]) -> Vec<Bytes> {
        let tag = |picture| [&tag_header(picture)[..], &picture.unit].concat().into();
        self.pictures.iter().map(tag).collect()
    }
}

/// A xorshift: sizes matter here, values do not.
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as u8
    }
}

/// FrameType and CodecID, AVCPacketType, and no composition time (FLV, E.4.3).
pub(super) fn avc_tag_header(picture: &Picture) -> [u8; 5] {
    [if picture.keyframe { 0x17 } else { 0x27 }, 1, 0, 0, 0]
}

/// What a publisher sends.
pub(super) struct Sent(Vec<Vec<u8>>);

impl Sent {
    pub(super) fn new(gop: &Gop, chunk_size: u32) -> Self {
        let tags = gop.tags(avc_tag_header);
        Self(tags.iter().enumerate().map(|(at, tag)| chunks(at, tag, chunk_size)).collect())
    }

    /// Bytes of all chunks.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|message| message.len() as u64).sum()
    }

    /// As it is read from a socket, each message by one read.
    pub(super) fn reads(&self) -> Vec<BytesMut> {
        self.0.iter().map(|message| BytesMut::from(&message[..])).collect()
    }
}

/// What a publisher sends, to messages.
pub(super) struct ChunkPath(ChunkReader);

impl ChunkPath {
    pub(super) fn new(chunk_size: u32) -> Self {
        let mut reader = ChunkReader::new(MAX_ACCESS_UNIT_BYTES, 0);
        reader.set_chunk_size(chunk_size).expect("a usual size");
        Self(reader)
    }

    pub(super) fn run(&mut self, reads: Vec<BytesMut>) {
        let mut messages = 0;
        for mut input in reads {
            while let Some(message) = self.0.read(&mut input).expect("chunks are whole") {
                messages += 1;
                black_box(message);
            }
        }
        assert_eq!(messages, PICTURES);
    }
}

/// A message of type 9 as ffmpeg and OBS write it: the first of a chunk stream with a header of type 0, the others of type 1, and type 3
/// behind these.
fn chunks(at: usize, tag: &[u8], chunk_size: u32) -> Vec<u8> {
    const CHUNK_STREAM: u8 = 4;
    let length = (tag.len() as u32).to_be_bytes();
    let [_, a, b, c] = if at == 0 { [0; 4] } else { PICTURE_MS.to_be_bytes() };
    let format = if at == 0 { 0 } else { 1 << 6 };
    let mut out = vec![format | CHUNK_STREAM, a, b, c, length[1], length[2], length[3], 9];
    if at == 0 {
        out.extend([1, 0, 0, 0]);
    }
    for (at, chunk) in tag.chunks(chunk_size as usize).enumerate() {
        if at > 0 {
            out.push(3 << 6 | CHUNK_STREAM);
        }
        out.extend_from_slice(chunk);
    }
    out
}

/// Access units to RTP packets.
pub(super) struct PacketizerPath<'a> {
    gop: &'a Gop,
    packetizer: Packetizer,
}

impl<'a> PacketizerPath<'a> {
    pub(super) fn new(gop: &'a Gop) -> Self {
        let packetizer = Packetizer::new(PacketizerConfig {
            ssrc: 0x1234_5678,
            payload_type: 96,
            first_sequence_number: 0,
            max_packet_size: MAX_PACKET_BYTES,
        });
        Self { gop, packetizer }
    }

    pub(super) fn run(&mut self) {
        let Gop { header, pictures } = self.gop;
        for Picture { keyframe, unit, timestamp } in pictures {
            let packets = self.packetizer.video(header, unit, *keyframe, *timestamp);
            black_box(packets.expect("the access unit is whole"));
        }
    }
}

/// Datagrams of a leg to access units as readers get them.
pub(super) struct NodePath {
    datagrams: Vec<Bytes>,
    assembler: AccessUnitAssembler,
    rewriter: Rewriter,
    now: Instant,
}

impl NodePath {
    pub(super) fn new(gop: &Gop) -> Self {
        let mut packetizer = PacketizerPath::new(gop).packetizer;
        let mut datagrams = Vec::new();
        for Picture { keyframe, unit, timestamp } in &gop.pictures {
            let packets = packetizer.video(&gop.header, unit, *keyframe, *timestamp);
            datagrams.extend(packets.expect("the access unit is whole").packets());
        }
        Self {
            datagrams,
            assembler: AccessUnitAssembler::new(Codec::H264, MAX_ACCESS_UNIT_BYTES),
            rewriter: Rewriter::new(0x8765_4321, 96, 0),
            now: Instant::now(),
        }
    }

    /// Bytes of all datagrams.
    pub(super) fn bytes(&self) -> u64 {
        self.datagrams.iter().map(|datagram| datagram.len() as u64).sum()
    }

    /// As `Intake::handle_rtp` of `publish-svc` does it. Each GOP begins a sequence, so that one can be taken again and again.
    pub(super) fn run(&mut self) {
        let mut reorder = ReorderBuffer::new(ClockRate::VIDEO, REORDER_WINDOW, REORDER_PACKETS);
        let mut units = 0;
        for datagram in &self.datagrams {
            let header = Header::parse(datagram).expect("the packetizer made it");
            if reorder.pass(&header, self.now) {
                self.assembler.packet(&header, datagram, self.now);
            } else {
                let bytes = Bytes::copy_from_slice(datagram);
                reorder.insert(ReceivedPacket { header, bytes, received_at: self.now });
                while let Some(ordered) = reorder.poll(self.now) {
                    self.assembler.handle(ordered);
                }
            }
            while let Some(unit) = self.assembler.poll() {
                units += 1;
                black_box(self.rewriter.rewrite(unit.packets, unit.timestamp));
            }
        }
        assert_eq!(units, PICTURES);
    }
}
