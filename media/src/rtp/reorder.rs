//! Received packets in order (RFC 3550, A.1, A.3 and A.8).

use bytes::Bytes;

use super::Header;

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
