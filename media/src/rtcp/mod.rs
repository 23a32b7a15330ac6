//! RTCP (RFC 3550, 6; feedback RFC 4585): compound packets made and read.

use bytes::Bytes;

use crate::{ClockRate, NtpTime};

/// A report block (RFC 3550, 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Lost since the last report, out of 256.
    pub fraction_lost: u8,
    /// Lost since the beginning, 24 bits signed.
    pub cumulative_lost: i32,
    /// Extended highest sequence number.
    pub highest_sequence_number: u32,
    /// Interarrival jitter in ticks.
    pub jitter: u32,
    /// Middle bits of the last Sender Report's NTP time; 0 if there was none.
    pub last_sr: u32,
    /// Time since then in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// A Sender Report (RFC 3550, 6.4.1), its blocks left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderReport {
    /// The sender.
    pub ssrc: u32,
    /// Wall-clock time of the report.
    pub ntp: NtpTime,
    /// The same instant on the RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent, modulo 2^32.
    pub octets: u32,
}

/// One packet of a compound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RtcpPacket {
    /// SR.
    SenderReport(SenderReport, Vec<ReportBlock>),
    /// RR: sender and blocks.
    ReceiverReport(u32, Vec<ReportBlock>),
    /// SDES: the CNAME of a source.
    Cname(u32, String),
    /// BYE: the sources that leave.
    Bye(Vec<u32>),
    /// Generic NACK (RFC 4585, 6.2.1): media source and the sequence numbers that are missing.
    Nack(u32, Vec<u16>),
    /// Any other type; counted by its packet type.
    Other(u8),
}

/// Why bytes are no RTCP compound.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an RTCP compound packet: {0}")]
pub struct RtcpError(pub String);

/// Reads a compound packet. Bounded: at most 64 packets.
pub fn parse_compound(_bytes: &[u8]) -> Result<Vec<RtcpPacket>, RtcpError> {
    todo!()
}

/// SR + SDES(CNAME) as one compound.
pub fn sender_report(_report: &SenderReport, _cname: &str) -> Bytes {
    todo!()
}

/// RR + SDES(CNAME) as one compound.
pub fn receiver_report(_sender_ssrc: u32, _blocks: &[ReportBlock], _cname: &str) -> Bytes {
    todo!()
}

/// RR (empty) + SDES(CNAME) + BYE as one compound, ending all `sources`.
pub fn bye(_sources: &[u32], _cname: &str) -> Bytes {
    todo!()
}

/// The mapping of one track's RTP clock to wall-clock time, from one anchor, so that every SR of all tracks of a stream
/// lies on the same line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockMapping {
    /// A wall-clock time.
    pub ntp: NtpTime,
    /// The RTP timestamp of that time.
    pub rtp_timestamp: u32,
    /// The RTP clock.
    pub clock_rate: ClockRate,
}

impl ClockMapping {
    /// The RTP timestamp (modulo 2^32) of a wall-clock time.
    pub fn rtp_at(&self, _ntp: NtpTime) -> u32 {
        todo!()
    }
    /// The wall-clock time of an RTP timestamp that lies within 2^31 ticks of the anchor.
    pub fn ntp_at(&self, _rtp_timestamp: u32) -> NtpTime {
        todo!()
    }
}
