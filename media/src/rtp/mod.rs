//! RTP (RFC 3550): packets, packetizing, putting in order.

use bytes::Bytes;
use smallvec::SmallVec;

/// The RTP packets of one access unit, back to back in one buffer, in sequence order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PacketBatch {
    /// The packets, headers included.
    pub data: Bytes,
    /// The size of each in bytes; they add up to `data.len()`.
    pub sizes: SmallVec<[u16; 16]>,
}

/// A run of packets that one send with UDP segmentation offload carries: all of one size but the last, which
/// may be smaller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentRun {
    /// The bytes of the run.
    pub data: Bytes,
    /// The size of each of its packets but the last.
    pub segment_size: u16,
    /// How many packets it holds.
    pub packets: u16,
}

impl PacketBatch {
    /// The packets one by one.
    pub fn packets(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut at = 0;
        self.sizes.iter().map(move |&size| {
            let packet = self.data.slice(at..at + usize::from(size));
            at += usize::from(size);
            packet
        })
    }
    /// The packets in runs of at most `max_segments` packets (1 to 64) and 65,000 bytes.
    pub fn runs(&self, _max_segments: usize) -> impl Iterator<Item = SegmentRun> + '_ {
        std::iter::from_fn(|| todo!())
    }
}

/// The fixed fields of an RTP header (RFC 3550, 5.1) and where the payload lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The marker bit: for H.264 and AAC-hbr the last packet of an access unit.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence_number: u16,
    /// Timestamp in units of the clock rate.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Where the payload lies in the packet, padding and extension left out.
    pub payload: std::ops::Range<usize>,
}

/// Why a packet is no RTP packet.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an RTP packet: {0}")]
pub struct RtpError(pub String);

impl Header {
    /// Reads the header of a packet.
    pub fn parse(_packet: &[u8]) -> Result<Self, RtpError> {
        todo!()
    }
}

/// Makes the RTP packets of one track on the sending side. Owns SSRC, payload type and the next sequence number; no clock.
pub struct Packetizer {}

/// What a packetizer needs to know.
#[derive(Clone, Debug)]
pub struct PacketizerConfig {
    /// SSRC of the track.
    pub ssrc: u32,
    /// Payload type, 96 to 127.
    pub payload_type: u8,
    /// The first sequence number.
    pub first_sequence_number: u16,
    /// The largest RTP packet, header included, in bytes; at least 64.
    pub max_packet_size: usize,
}

impl Packetizer {
    /// A packetizer before its first packet.
    pub fn new(_config: PacketizerConfig) -> Self {
        todo!()
    }
    /// One H.264 access unit (RFC 6184, mode 1) from length-prefixed NAL units. If it holds an IDR, `parameter_sets` go
    /// in front of it as a STAP-A (single NAL units where they do not fit), unless the access unit carries its own.
    pub fn h264(
        &mut self,
        _avcc: &[u8],
        _length_size: u8,
        _parameter_sets: &crate::codec::h264::Config,
        _timestamp: u32,
    ) -> Result<PacketBatch, crate::codec::h264::H264Error> {
        todo!()
    }
    /// One AAC frame (RFC 3640, AAC-hbr: sizelength 13, indexlength 3), fragmented where it exceeds the packet size.
    pub fn aac(&mut self, _frame: &[u8], _timestamp: u32) -> PacketBatch {
        todo!()
    }
    /// The sequence number that the next packet will have.
    pub fn next_sequence_number(&self) -> u16 {
        todo!()
    }
    /// Packets and payload octets so far, modulo 2^32, as a Sender Report tells them.
    pub fn sent(&self) -> (u32, u32) {
        todo!()
    }
}

/// What an H.264 RTP payload (RFC 6184: single, STAP-A, FU-A) holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct H264PayloadInfo {
    /// Begins (single, STAP-A or first FU-A) a slice of an IDR picture.
    pub starts_idr: bool,
    /// Holds a whole SPS or PPS.
    pub has_parameter_sets: bool,
}

/// Looks into an H.264 RTP payload; `on_parameter_set` gets each whole SPS and PPS NAL unit. Malformed payloads give the default.
pub fn inspect_h264(_payload: &[u8], _on_parameter_set: impl FnMut(&[u8])) -> H264PayloadInfo {
    todo!()
}

/// A packet as it came off the leg.
#[derive(Clone, Debug)]
pub struct ReceivedPacket {
    /// Its parsed header.
    pub header: Header,
    /// All its bytes.
    pub bytes: Bytes,
    /// When it came.
    pub received_at: std::time::Instant,
}

/// Puts the packets of one SSRC in order within a small window, sans-IO. In-order packets pass at once. It also keeps the
/// receiver statistics of RFC 3550, A.3 and A.8. Bounded by its window in packets.
pub struct ReorderBuffer {}

/// What comes out of a [`ReorderBuffer`].
#[derive(Clone, Debug)]
pub enum Ordered {
    /// The next packet.
    Packet(ReceivedPacket),
    /// So many packets before the next one never came.
    Lost(u32),
    /// The source began anew at another place of the sequence (RFC 3550, A.1); the next packet follows nothing.
    Restarted,
}

impl ReorderBuffer {
    /// A missing packet is waited for at most `window` and at most while `max_packets` later ones have come.
    pub fn new(
        _clock_rate: crate::ClockRate,
        _window: std::time::Duration,
        _max_packets: usize,
    ) -> Self {
        todo!()
    }
    /// Takes a packet.
    pub fn insert(&mut self, _packet: ReceivedPacket) {
        todo!()
    }
    /// What is in order by `now`.
    pub fn poll(&mut self, _now: std::time::Instant) -> Option<Ordered> {
        todo!()
    }
    /// When `poll` must be called again though no packet came; `None` if nothing is waited for.
    pub fn deadline(&self) -> Option<std::time::Instant> {
        todo!()
    }
    /// Packets that came twice or too late.
    pub fn discarded(&self) -> u32 {
        todo!()
    }
    /// Packets given up.
    pub fn lost(&self) -> u32 {
        todo!()
    }
    /// The report block for a Receiver Report (RFC 3550, 6.4.1) but for LSR and DLSR; begins a new interval. `None` before the first packet.
    pub fn report_block(&mut self, _ssrc: u32) -> Option<crate::rtcp::ReportBlock> {
        todo!()
    }
}

/// Gathers packets in order into access units: ends one at the marker or where the timestamp changes. Bounded by
/// `max_bytes` per access unit; what exceeds it is dropped whole.
pub struct AccessUnitAssembler {}

/// One access unit as it came off the leg.
#[derive(Clone, Debug)]
pub struct AssembledAccessUnit {
    /// Its packets as they came, in order.
    pub packets: PacketBatch,
    /// Their RTP timestamp.
    pub timestamp: u32,
    /// For H.264 whether an IDR begins in it; for audio always.
    pub keyframe: bool,
    /// Whether packets of it (or, unknowably, between it and its neighbour) are missing.
    pub damaged: bool,
    /// When its first packet came.
    pub received_at: std::time::Instant,
    /// H.264 parameter sets that it carries.
    pub parameter_sets: SmallVec<[Bytes; 2]>,
}

impl AccessUnitAssembler {
    /// An assembler for a track of this kind.
    pub fn new(_kind: crate::codec::MediaKind, _max_bytes: usize) -> Self {
        todo!()
    }
    /// Takes what the reorder buffer gave.
    pub fn handle(&mut self, _ordered: Ordered) {
        todo!()
    }
    /// The next whole access unit.
    pub fn poll(&mut self) -> Option<AssembledAccessUnit> {
        todo!()
    }
    /// Access units dropped for exceeding the bound.
    pub fn oversized(&self) -> u32 {
        todo!()
    }
}

/// Rewrites packets of a received access unit into the space of the stream that readers see: SSRC, payload type, sequence number and
/// timestamp offset. Keeps sequence and timestamp continuous when the leg is made anew.
pub struct Rewriter {}

impl Rewriter {
    /// Output under `ssrc` and `payload_type`, the first packet having `first_sequence_number`. Timestamps are kept as they are
    /// until the first [`Self::resume`].
    pub fn new(_ssrc: u32, _payload_type: u8, _first_sequence_number: u16) -> Self {
        todo!()
    }
    /// The access unit's packets as readers get them. Gaps of lost packets stay gaps in the sequence numbers.
    pub fn rewrite(&mut self, _unit: &AssembledAccessUnit) -> PacketBatch {
        todo!()
    }
    /// A new leg begins: its first packet gets the next sequence number, and its timestamps are shifted so that `first_timestamp` of the new
    /// leg lies `gap_ticks` after the last timestamp that was output.
    pub fn resume(&mut self, _first_timestamp: u32, _gap_ticks: u32) {
        todo!()
    }
    /// The output timestamp of an input timestamp.
    pub fn map_timestamp(&self, _timestamp: u32) -> u32 {
        todo!()
    }
    /// The sequence number that the next output packet has if none is lost.
    pub fn next_sequence_number(&self) -> u16 {
        todo!()
    }
}
