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

impl RtcpPacket {
    /// What it says of the reception of others' packets: the blocks of a Sender or Receiver Report.
    pub fn report_blocks(&self) -> &[ReportBlock] {
        match self {
            Self::SenderReport(_, blocks) | Self::ReceiverReport(_, blocks) => blocks,
            Self::Cname(..) | Self::Bye(_) | Self::Nack(..) | Self::Other(_) => &[],
        }
    }
}

/// Why bytes are no RTCP compound.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an RTCP compound packet: {0}")]
pub struct RtcpError(pub String);

/// The most packets of one compound that are read: a datagram of 1,500 bytes holds about as many of the smallest.
const MAX_PACKETS: usize = 64;
/// The size of a report block (RFC 3550, 6.4.1).
const BLOCK_BYTES: usize = 24;
/// The most packets that one NACK asks for. In the worst case each takes four bytes, and the compound is below 1,400 with the longest CNAME.
pub const MAX_NACKED: usize = 256;
/// The most Sender Reports of one compound, which is below 1,400 bytes with the longest CNAME.
pub const MAX_REPORTS: usize = 4;
/// The longest CNAME: an SDES item's length has eight bits (RFC 3550, 6.5). It is UTF-8, so no character is cut.
const MAX_CNAME_BYTES: usize = 255;

/// Reads a compound packet. Bounded: at most 64 packets.
pub fn parse_compound(bytes: &[u8]) -> Result<Vec<RtcpPacket>, RtcpError> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if packets.len() == MAX_PACKETS {
            return Err(RtcpError(format!("more than {MAX_PACKETS} packets")));
        }
        let (packet, behind) = split(rest)?;
        read(packet, &mut packets)?;
        rest = behind;
    }
    if packets.is_empty() { Err(RtcpError("empty".into())) } else { Ok(packets) }
}

/// A packet's header (RFC 3550, 6.4.1) and its body, padding left out.
struct Raw<'a> {
    count: u8,
    packet_type: u8,
    body: &'a [u8],
}

fn split(bytes: &[u8]) -> Result<(Raw<'_>, &[u8]), RtcpError> {
    let header = bytes.first_chunk::<4>().ok_or_else(|| RtcpError("truncated header".into()))?;
    if header[0] >> 6 != 2 {
        return Err(RtcpError(format!("version {}", header[0] >> 6)));
    }
    let size = 4 + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
    let whole = bytes
        .get(..size)
        .ok_or_else(|| RtcpError(format!("{size} bytes announced, {} there", bytes.len())))?;
    let mut body = &whole[4..];
    if header[0] & 0x20 != 0 {
        let padding = usize::from(*body.last().unwrap_or(&0));
        if padding == 0 || padding > body.len() {
            return Err(RtcpError(format!("padding of {padding} bytes")));
        }
        body = &body[..body.len() - padding];
    }
    Ok((Raw { count: header[0] & 0x1f, packet_type: header[1], body }, &bytes[size..]))
}

fn read(raw: Raw<'_>, packets: &mut Vec<RtcpPacket>) -> Result<(), RtcpError> {
    let words = Words(raw.body);
    match raw.packet_type {
        packet_type::SR => {
            let report = SenderReport {
                ssrc: words.at(0)?,
                ntp: NtpTime::from_bits(u64::from(words.at(1)?) << 32 | u64::from(words.at(2)?)),
                rtp_timestamp: words.at(3)?,
                packets: words.at(4)?,
                octets: words.at(5)?,
            };
            packets.push(RtcpPacket::SenderReport(report, blocks(&words, 6, raw.count)?));
        }
        packet_type::RR => {
            // ffmpeg 5.1 counts no block, and sends one.
            let uncounted = raw.count == 0 && raw.body.len() == 4 + BLOCK_BYTES;
            let count = if uncounted { 1 } else { raw.count };
            packets.push(RtcpPacket::ReceiverReport(words.at(0)?, blocks(&words, 1, count)?));
        }
        packet_type::SDES => {
            if let Some(cname) = cname(raw.body) {
                packets.push(cname);
            } else {
                packets.push(RtcpPacket::Other(packet_type::SDES));
            }
        }
        packet_type::BYE => {
            let sources =
                (0..usize::from(raw.count)).map(|i| words.at(i)).collect::<Result<_, _>>()?;
            packets.push(RtcpPacket::Bye(sources));
        }
        packet_type::RTPFB if raw.count == GENERIC_NACK => {
            packets.push(RtcpPacket::Nack(words.at(1)?, missing(raw.body.get(8..).unwrap_or(&[]))));
        }
        other => packets.push(RtcpPacket::Other(other)),
    }
    Ok(())
}

/// The feedback message type of generic NACK (RFC 4585, 6.2.1); it stands where others have a count.
const GENERIC_NACK: u8 = 1;

mod packet_type {
    pub(super) const SR: u8 = 200;
    pub(super) const RR: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const RTPFB: u8 = 205;
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn at(&self, index: usize) -> Result<u32, RtcpError> {
        self.0
            .get(4 * index..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map(|word| u32::from_be_bytes(*word))
            .ok_or_else(|| RtcpError(format!("ends at byte {} of its body", self.0.len())))
    }
}

fn blocks(words: &Words<'_>, first: usize, count: u8) -> Result<Vec<ReportBlock>, RtcpError> {
    (0..usize::from(count))
        .map(|i| {
            let at = first + 6 * i;
            let loss = words.at(at + 1)?;
            Ok(ReportBlock {
                ssrc: words.at(at)?,
                fraction_lost: (loss >> 24) as u8,
                cumulative_lost: (loss << 8) as i32 >> 8,
                highest_sequence_number: words.at(at + 2)?,
                jitter: words.at(at + 3)?,
                last_sr: words.at(at + 4)?,
                delay_since_last_sr: words.at(at + 5)?,
            })
        })
        .collect()
}

/// The CNAME of the first chunk (RFC 3550, 6.5).
fn cname(body: &[u8]) -> Option<RtcpPacket> {
    let source = u32::from_be_bytes(*body.first_chunk::<4>()?);
    let mut rest = &body[4..];
    loop {
        let (&kind, &size) = (rest.first()?, rest.get(1)?);
        if kind == 0 {
            return None;
        }
        let value = rest.get(2..2 + usize::from(size))?;
        if kind == 1 {
            return Some(RtcpPacket::Cname(source, String::from_utf8_lossy(value).into_owned()));
        }
        rest = &rest[2 + usize::from(size)..];
    }
}

/// The sequence numbers of generic NACK's PID and BLP pairs (RFC 4585, 6.2.1).
fn missing(pairs: &[u8]) -> Vec<u16> {
    let mut missing = Vec::new();
    for pair in pairs.chunks_exact(4) {
        let first = u16::from_be_bytes([pair[0], pair[1]]);
        let mask = u16::from_be_bytes([pair[2], pair[3]]);
        missing.push(first);
        missing.extend(
            (0..16).filter(|bit| mask >> bit & 1 == 1).map(|bit| first.wrapping_add(bit + 1)),
        );
    }
    missing
}

fn begin(out: &mut Vec<u8>, count: u8, packet_type: u8, body_bytes: usize) {
    out.extend_from_slice(&[0x80 | count, packet_type]);
    out.extend_from_slice(&((body_bytes / 4) as u16).to_be_bytes());
}

fn put_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    put_cnames(out, &[ssrc], cname);
}

/// One packet, with a chunk for each source.
fn put_cnames(out: &mut Vec<u8>, ssrcs: &[u32], cname: &str) {
    let fits = (0..=cname.len().min(MAX_CNAME_BYTES)).rev().find(|&at| cname.is_char_boundary(at));
    let cname = &cname.as_bytes()[..fits.unwrap_or(0)];
    // The list of items ends with at least one null byte, on a word boundary.
    let padding = 4 - (2 + cname.len()) % 4;
    let chunk = 4 + 2 + cname.len() + padding;
    begin(out, ssrcs.len() as u8, packet_type::SDES, ssrcs.len() * chunk);
    for ssrc in ssrcs {
        out.extend_from_slice(&ssrc.to_be_bytes());
        out.extend_from_slice(&[1, cname.len() as u8]);
        out.extend_from_slice(cname);
        out.resize(out.len() + padding, 0);
    }
}

/// SR + SDES(CNAME) as one compound.
pub fn sender_report(report: &SenderReport, cname: &str) -> Bytes {
    sender_reports(std::slice::from_ref(report), cname)
}

/// The SRs of all sources of one sender + SDES(CNAME) as one compound (RFC 3550, 6.1; RFC 8108, 5.3): a receiver gets all of them or
/// none. What is beyond [`MAX_REPORTS`] is left out.
pub fn sender_reports(reports: &[SenderReport], cname: &str) -> Bytes {
    let reports = &reports[..reports.len().min(MAX_REPORTS)];
    let mut out = Vec::with_capacity(96 * reports.len());
    for report in reports {
        begin(&mut out, 0, packet_type::SR, 24);
        out.extend_from_slice(&report.ssrc.to_be_bytes());
        out.extend_from_slice(&report.ntp.bits().to_be_bytes());
        for word in [report.rtp_timestamp, report.packets, report.octets] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    let ssrcs: Vec<u32> = reports.iter().map(|report| report.ssrc).collect();
    put_cnames(&mut out, &ssrcs, cname);
    out.into()
}

fn put_receiver_report(out: &mut Vec<u8>, sender_ssrc: u32, blocks: &[ReportBlock]) {
    // RC has five bits.
    let blocks = &blocks[..blocks.len().min(31)];
    begin(out, blocks.len() as u8, packet_type::RR, 4 + 24 * blocks.len());
    out.extend_from_slice(&sender_ssrc.to_be_bytes());
    for block in blocks {
        let loss =
            u32::from(block.fraction_lost) << 24 | (block.cumulative_lost as u32 & 0xff_ffff);
        for word in [
            block.ssrc,
            loss,
            block.highest_sequence_number,
            block.jitter,
            block.last_sr,
            block.delay_since_last_sr,
        ] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// RR + SDES(CNAME) as one compound.
pub fn receiver_report(sender_ssrc: u32, blocks: &[ReportBlock], cname: &str) -> Bytes {
    let mut out = Vec::with_capacity(96);
    put_receiver_report(&mut out, sender_ssrc, blocks);
    put_cname(&mut out, sender_ssrc, cname);
    out.into()
}

/// RR (empty) + SDES(CNAME) + generic NACK (RFC 4585, 6.2.1) as one compound: asks `source` for packets by their sequence numbers,
/// which are in order. What is beyond [`MAX_NACKED`] is left out.
pub fn nack(sender_ssrc: u32, source: u32, missing: &[u16], cname: &str) -> Bytes {
    let pairs = pairs(&missing[..missing.len().min(MAX_NACKED)]);
    let mut out = Vec::with_capacity(96 + 4 * pairs.len());
    put_receiver_report(&mut out, sender_ssrc, &[]);
    put_cname(&mut out, sender_ssrc, cname);
    begin(&mut out, GENERIC_NACK, packet_type::RTPFB, 8 + 4 * pairs.len());
    out.extend_from_slice(&sender_ssrc.to_be_bytes());
    out.extend_from_slice(&source.to_be_bytes());
    for (first, mask) in pairs {
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
    }
    out.into()
}

/// PID and BLP of generic NACK: a sequence number, and which of the 16 behind it are missing, too.
fn pairs(missing: &[u16]) -> Vec<(u16, u16)> {
    let mut pairs: Vec<(u16, u16)> = Vec::new();
    for &number in missing {
        match pairs.last_mut().map(|(first, mask)| (number.wrapping_sub(*first), mask)) {
            Some((behind @ 1..=16, mask)) => *mask |= 1 << (behind - 1),
            _ => pairs.push((number, 0)),
        }
    }
    pairs
}

/// RR (empty) + SDES(CNAME) + BYE as one compound, ending all `sources`.
pub fn bye(sources: &[u32], cname: &str) -> Bytes {
    let sources = &sources[..sources.len().min(31)];
    let sender = sources.first().copied().unwrap_or_default();
    let mut out = Vec::with_capacity(64);
    put_receiver_report(&mut out, sender, &[]);
    put_cname(&mut out, sender, cname);
    begin(&mut out, sources.len() as u8, packet_type::BYE, 4 * sources.len());
    for source in sources {
        out.extend_from_slice(&source.to_be_bytes());
    }
    out.into()
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
    pub fn rtp_at(&self, ntp: NtpTime) -> u32 {
        let passed = crate::MediaTime::from_nanos(ntp.nanos_since(self.ntp));
        self.rtp_timestamp.wrapping_add(passed.to_ticks(self.clock_rate) as u32)
    }

    /// The wall-clock time of an RTP timestamp that lies within 2^31 ticks of the anchor.
    pub fn ntp_at(&self, rtp_timestamp: u32) -> NtpTime {
        let ticks = i64::from(rtp_timestamp.wrapping_sub(self.rtp_timestamp) as i32);
        self.ntp.offset_by_nanos(crate::MediaTime::from_ticks(ticks, self.clock_rate).as_nanos())
    }
}

#[cfg(test)]
mod tests;
