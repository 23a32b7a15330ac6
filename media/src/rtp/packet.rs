//! RTP packets: batches of those that are made, the header of those that come.

use std::ops::Range;

use bytes::Bytes;
use rtp_types::RtpPacket;
use smallvec::SmallVec;

/// The most that one send with segmentation offload carries: a UDP datagram over IPv4 holds 65,507 bytes, the kernel
/// counts segments together against the same bound.
const MAX_RUN_BYTES: usize = 65_000;

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

impl SegmentRun {
    /// One of its packets, which are counted from 0, as a run of its own; empty where there is none.
    pub fn packet(&self, at: usize) -> Self {
        let segment = usize::from(self.segment_size);
        let start = (at * segment).min(self.data.len());
        let data = self.data.slice(start..(start + segment).min(self.data.len()));
        Self { segment_size: data.len() as u16, data, packets: 1 }
    }
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
    pub fn runs(&self, max_segments: usize) -> impl Iterator<Item = SegmentRun> + '_ {
        let mut at = 0;
        let mut sizes = self.sizes.as_slice();
        std::iter::from_fn(move || {
            let &segment_size = sizes.first()?;
            let segment = usize::from(segment_size);
            // A run always holds its first packet, however large.
            let most = (MAX_RUN_BYTES / segment.max(1)).min(max_segments).max(1);
            let full = sizes.iter().take(most).take_while(|&&size| size == segment_size).count();
            let mut packets = full;
            let mut length = full * segment;
            if let Some(&last) = sizes.get(full).filter(|&&last| full < most && last < segment_size)
            {
                packets += 1;
                length += usize::from(last);
            }
            let data = self.data.slice(at..at + length);
            at += length;
            sizes = &sizes[packets..];
            Some(SegmentRun { data, segment_size, packets: packets as u16 })
        })
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
    pub payload: Range<usize>,
}

/// Why a packet is no RTP packet.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an RTP packet: {0}")]
pub struct RtpError(pub String);

impl Header {
    /// Bytes of a header without contributing sources and extension.
    pub const FIXED_BYTES: usize = RtpPacket::MIN_RTP_PACKET_LEN;

    /// Reads the header of a packet. RTCP that went astray is told by its packet types 192 to 223 and refused (RFC 5761, 4).
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        match packet.first_chunk::<{ Self::FIXED_BYTES }>() {
            // The rule: version 2, and neither padding nor extension nor contributing sources.
            Some(fixed) if fixed[0] == 0x80 && !is_rtcp(packet) => {
                Ok(Self::of_fixed(fixed, packet.len()))
            }
            _ => Self::parse_any(packet),
        }
    }

    fn of_fixed(fixed: &[u8; Self::FIXED_BYTES], packet_bytes: usize) -> Self {
        let [_, marker_and_type, s1, s0, t3, t2, t1, t0, ssrc @ ..] = *fixed;
        Self {
            marker: marker_and_type & 0x80 != 0,
            payload_type: marker_and_type & 0x7F,
            sequence_number: u16::from_be_bytes([s1, s0]),
            timestamp: u32::from_be_bytes([t3, t2, t1, t0]),
            ssrc: u32::from_be_bytes(ssrc),
            payload: Self::FIXED_BYTES..packet_bytes,
        }
    }

    fn parse_any(packet: &[u8]) -> Result<Self, RtpError> {
        if is_rtcp(packet) {
            return Err(RtpError(format!("RTCP packet type {}", packet[1])));
        }
        let parsed = RtpPacket::parse(packet).map_err(|e| RtpError(e.to_string()))?;
        let start = parsed.payload_offset();
        Ok(Self {
            marker: parsed.marker_bit(),
            payload_type: parsed.payload_type(),
            sequence_number: parsed.sequence_number(),
            timestamp: parsed.timestamp(),
            ssrc: parsed.ssrc(),
            payload: start..start + parsed.payload_len(),
        })
    }
}

/// Whether a datagram on a port that both share is RTCP: by its packet type (RFC 5761, 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(1), Some(192..=223))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(sizes: &[u16]) -> PacketBatch {
        let total = sizes.iter().map(|&size| usize::from(size)).sum::<usize>();
        let data: Vec<u8> = (0..total).map(|at| at as u8).collect();
        PacketBatch { data: data.into(), sizes: sizes.into() }
    }

    fn shape(sizes: &[u16], max_segments: usize) -> Vec<(u16, u16)> {
        batch(sizes).runs(max_segments).map(|run| (run.segment_size, run.packets)).collect()
    }

    #[test]
    fn runs_are_of_one_size_but_for_a_smaller_last_packet() {
        assert_eq!(shape(&[], 64), []);
        assert_eq!(shape(&[40, 1200, 1200, 1200, 7], 64), [(40, 1), (1200, 4)]);
        assert_eq!(shape(&[1200, 1200, 7, 7, 1200], 64), [(1200, 3), (7, 1), (1200, 1)]);
        assert_eq!(shape(&[10, 10, 10, 10, 4], 2), [(10, 2), (10, 2), (4, 1)]);
        assert_eq!(shape(&[9, 8, 7], 64), [(9, 2), (7, 1)]);
        assert_eq!(shape(&[9, 9, 9], 1), [(9, 1), (9, 1), (9, 1)]);
    }

    #[test]
    fn runs_stay_below_the_largest_datagram() {
        assert_eq!(shape(&[1400; 60], 64), [(1400, 46), (1400, 14)]);
        assert_eq!(shape(&[65_500, 65_500, 1], 64), [(65_500, 1), (65_500, 1), (1, 1)]);
    }

    /// A packet with two contributing sources, an extension of one word, a payload of three and a padding of two bytes.
    const FULL: &[u8] = &[
        0xB2, 0xE1, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4, 9, 9, 9, 9, 8, 8, 8, 8, 0xBE, 0xDE, 0, 1,
        7, 7, 7, 7, 0x41, 0x42, 0x43, 0, 2,
    ];

    #[test]
    fn a_header_is_read_with_all_that_is_optional() {
        let header = Header::parse(FULL).unwrap();
        assert_eq!(&FULL[header.payload.clone()], [0x41, 0x42, 0x43]);
        assert_eq!(
            header,
            Header {
                marker: true,
                payload_type: 97,
                sequence_number: 0x1234,
                timestamp: 9,
                ssrc: 0x0102_0304,
                payload: 28..31
            }
        );
    }

    #[test]
    fn what_is_no_rtp_packet_is_refused() {
        for end in 0..28 {
            assert!(Header::parse(&FULL[..end]).is_err(), "{end}");
        }
        let with = |at: usize, byte: u8| {
            let mut packet = FULL.to_vec();
            packet[at] = byte;
            Header::parse(&packet)
        };
        assert!(with(0, 0x72).is_err(), "version 1");
        assert!(with(32, 0).is_err(), "padding of no bytes");
        assert!(with(32, 6).is_err(), "padding that reaches into the header");
        assert!(with(23, 9).is_err(), "extension longer than the packet");
        assert_eq!(with(1, 200), Err(RtpError("RTCP packet type 200".into())));
    }

    proptest! {
        #[test]
        fn the_short_way_reads_what_the_long_one_reads(
            packet in prop::collection::vec(any::<u8>(), 0..40),
            is_plain: bool,
        ) {
            let mut packet = packet;
            if let Some(first) = packet.first_mut().filter(|_| is_plain) {
                *first = 0x80;
            }
            prop_assert_eq!(Header::parse(&packet), Header::parse_any(&packet));
        }

        #[test]
        fn runs_are_the_packets_in_their_order(
            sizes in proptest::collection::vec(prop_oneof![Just(1200u16), 1..1201u16], 0..200),
            max_segments in 1usize..=64,
        ) {
            let batch = batch(&sizes);
            let mut packets = batch.packets();
            for run in batch.runs(max_segments) {
                prop_assert!(run.data.len() <= MAX_RUN_BYTES && usize::from(run.packets) <= max_segments);
                let segments: Vec<_> = run.data.chunks(run.segment_size.into()).collect();
                prop_assert_eq!(segments.len(), usize::from(run.packets));
                for segment in segments {
                    prop_assert_eq!(&packets.next().unwrap()[..], segment);
                }
            }
            prop_assert_eq!(packets.next(), None);
        }

        #[test]
        fn what_the_library_writes_is_read_back_and_no_cut_gives_bytes_that_were_not_there(
            marker in any::<bool>(),
            payload_type in prop_oneof![0u8..64, 96u8..128],
            sequence_number in any::<u16>(),
            timestamp in any::<u32>(),
            ssrc in any::<u32>(),
            sources in proptest::collection::vec(any::<u32>(), 0..=15),
            extension in proptest::option::of((any::<u16>(), 0usize..4)),
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            padding in proptest::option::of(1u8..20),
        ) {
            let extended = extension.map(|(_, words)| vec![7; 4 * words]);
            let mut builder = rtp_types::RtpPacketBuilder::new()
                .marker_bit(marker)
                .payload_type(payload_type)
                .sequence_number(sequence_number)
                .timestamp(timestamp)
                .ssrc(ssrc)
                .payload(&payload[..]);
            for source in &sources {
                builder = builder.add_csrc(*source);
            }
            if let (Some((profile, _)), Some(extended)) = (extension, &extended) {
                builder = builder.extension(profile, &extended[..]);
            }
            if let Some(padding) = padding {
                builder = builder.padding(padding);
            }
            let packet = builder.write_vec().unwrap();

            let header = Header::parse(&packet).unwrap();
            prop_assert_eq!(&packet[header.payload.clone()], &payload[..]);
            let start = header.payload.start;
            let extension_bytes = extended.map_or(0, |extended| 4 + extended.len());
            prop_assert_eq!(start, Header::FIXED_BYTES + 4 * sources.len() + extension_bytes);
            let expected = Header {
                marker, payload_type, sequence_number, timestamp, ssrc,
                payload: start..start + payload.len(),
            };
            prop_assert_eq!(header, expected);
            for end in 0..packet.len() {
                match Header::parse(&packet[..end]) {
                    Ok(header) => {
                        prop_assert!(end >= start && header.payload.start == start);
                        prop_assert!(header.payload.end <= end);
                        prop_assert!(padding.is_some() || header.payload.end == end);
                    }
                    Err(_) => prop_assert!(end < start || padding.is_some()),
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..60), first in 0x80u8..0xC0) {
            let _ = Header::parse(&packet);
            let mut packet = packet;
            packet.insert(0, first);
            if let Ok(header) = Header::parse(&packet) {
                prop_assert!(packet.get(header.payload).is_some());
            }
        }
    }
}
