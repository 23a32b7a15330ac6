//! From packets to access units, as far as is needed to tell them apart: their stamps, whether they are whole, whether they are
//! keyframes.

use crate::stamp::{SEI_BYTES, Stamp};

/// An access unit that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessUnit {
    /// Its stamp; `None` if that is lost.
    pub stamp: Option<Stamp>,
    /// Whether there is an IDR slice.
    pub is_keyframe: bool,
    /// Whether all packets and bytes of it came.
    pub is_whole: bool,
}

/// What the payload of a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// RFC 6184.
    H264,
    /// The floor's: bytes that go on from packet to packet; the SEI is in the first, and sequence numbers are not kept.
    Raw,
}

/// The access unit that is coming.
#[derive(Debug)]
pub struct AccessUnits {
    payload: Payload,
    next_sequence: Option<u16>,
    timestamp: u32,
    packets: u32,
    stamp: Option<Stamp>,
    slice_bytes: u32,
    is_keyframe: bool,
    has_gap: bool,
}

impl AccessUnits {
    /// Nothing has come yet.
    pub fn new(payload: Payload) -> Self {
        Self {
            payload,
            next_sequence: None,
            timestamp: 0,
            packets: 0,
            stamp: None,
            slice_bytes: 0,
            is_keyframe: false,
            has_gap: false,
        }
    }

    /// Takes an RTP packet, and gives the access units that have ended with it: the one before, if its last packet was lost, and its own.
    pub fn packet(&mut self, packet: &[u8], mut ended: impl FnMut(AccessUnit)) {
        let Some((header, payload)) = rtp_payload(packet) else { return };
        let [_, flags, s0, s1, t0, t1, t2, t3, ..] = *header else { return };
        let sequence = u16::from_be_bytes([s0, s1]);
        let timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
        let is_gap = self.payload == Payload::H264
            && self.next_sequence.is_some_and(|next| next != sequence);
        self.next_sequence = Some(sequence.wrapping_add(1));
        if self.packets > 0 && timestamp != self.timestamp {
            self.has_gap |= is_gap;
            ended(self.end());
        }
        self.has_gap |= is_gap;
        self.timestamp = timestamp;
        match self.payload {
            Payload::H264 => self.nal_units(payload),
            Payload::Raw => self.raw(payload),
        }
        self.packets += 1;
        if flags & 0x80 != 0 {
            ended(self.end());
        }
    }

    fn end(&mut self) -> AccessUnit {
        let stamp = self.stamp.take();
        let is_whole =
            !self.has_gap && stamp.is_some_and(|stamp| stamp.slice_bytes == self.slice_bytes);
        let access_unit = AccessUnit { stamp, is_keyframe: self.is_keyframe, is_whole };
        (self.packets, self.slice_bytes) = (0, 0);
        (self.is_keyframe, self.has_gap) = (false, false);
        access_unit
    }

    fn raw(&mut self, mut payload: &[u8]) {
        match self.packets {
            0 => {
                self.stamp = Stamp::read(payload);
                payload = payload.get(SEI_BYTES..).unwrap_or_default();
            }
            1 => self.is_keyframe = payload.first().is_some_and(|byte| byte & 0x1F == 5),
            _ => {}
        }
        self.slice_bytes += payload.len() as u32;
    }

    fn nal_units(&mut self, payload: &[u8]) {
        let Some(first) = payload.first() else { return };
        match first & 0x1F {
            // STAP-A
            24 => {
                let mut rest = &payload[1..];
                while let [high, low, tail @ ..] = rest {
                    let size = usize::from(u16::from_be_bytes([*high, *low]));
                    let Some((nal_unit, tail)) = tail.split_at_checked(size) else { break };
                    self.nal_unit(nal_unit);
                    rest = tail;
                }
            }
            // FU-A
            28 => {
                let Some(header) = payload.get(1) else { return };
                let is_begin = header & 0x80 != 0;
                if matches!(header & 0x1F, 1 | 5) {
                    self.is_keyframe |= header & 0x1F == 5;
                    self.slice_bytes += payload.len() as u32 - 2 + u32::from(is_begin);
                }
            }
            _ => self.nal_unit(payload),
        }
    }

    fn nal_unit(&mut self, nal_unit: &[u8]) {
        match nal_unit.first().map(|byte| byte & 0x1F) {
            Some(6) => self.stamp = self.stamp.or_else(|| Stamp::read(nal_unit)),
            Some(kind @ (1 | 5)) => {
                self.is_keyframe |= kind == 5;
                self.slice_bytes += nal_unit.len() as u32;
            }
            _ => {}
        }
    }
}

/// Header and payload of an RTP packet (RFC 3550, 5.1), without CSRCs, extension and padding.
fn rtp_payload(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut at = 12 + usize::from(first & 0x0F) * 4;
    if first & 0x10 != 0 {
        let words = packet.get(at + 2..at + 4)?;
        at += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    let mut end = packet.len();
    if first & 0x20 != 0 {
        end = end.checked_sub(usize::from(*packet.last()?))?;
    }
    Some((packet.get(..12)?, packet.get(at..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;

    const STAMP: Stamp = Stamp { number: 7, sent_us: 8, slice_bytes: 6 };

    fn rtp(sequence: u16, timestamp: u8, marker: bool, payload: &[u8]) -> Vec<u8> {
        let [s0, s1] = sequence.to_be_bytes();
        let flags = if marker { 0xE0 } else { 0x60 };
        [&[0x80, flags, s0, s1, 0, 0, 0, timestamp, 0, 0, 0, 1], payload].concat()
    }

    fn read(packets: &[Vec<u8>]) -> Vec<AccessUnit> {
        let mut access_units = AccessUnits::new(Payload::H264);
        let mut ended = Vec::new();
        packets
            .iter()
            .for_each(|packet| access_units.packet(packet, |access_unit| ended.push(access_unit)));
        ended
    }

    /// An IDR slice of 6 bytes in two fragments, behind a STAP-A of the SEI and a parameter set.
    fn fragmented() -> Vec<Vec<u8>> {
        let sei = STAMP.sei();
        let stap = [&[24, 0, 2, 0x68, 1, 0, sei.len() as u8], &sei[..]].concat();
        vec![
            rtp(0xFFFF, 1, false, &stap),
            rtp(0, 1, false, &[0x7C, 0x85, 1, 2, 3]),
            rtp(1, 1, true, &[0x7C, 0x45, 4, 5]),
        ]
    }

    #[test]
    fn a_keyframe_in_fragments_is_whole() {
        let access_unit = AccessUnit { stamp: Some(STAMP), is_keyframe: true, is_whole: true };
        assert_eq!(read(&fragmented()), [access_unit]);
    }

    #[test]
    fn an_access_unit_in_single_packets_is_whole() {
        let access_unit = AccessUnit { stamp: Some(STAMP), is_keyframe: false, is_whole: true };
        let packets = [rtp(1, 1, false, &STAMP.sei()), rtp(2, 1, true, &[0x41, 1, 2, 3, 4, 5])];
        assert_eq!(read(&packets), [access_unit]);
    }

    #[test]
    fn an_access_unit_is_not_whole_without_any_one_of_its_packets() {
        for lost in 0..3 {
            let mut packets = fragmented();
            packets.insert(0, rtp(0xFFFE, 0, true, &[0x41]));
            packets.remove(lost + 1);
            packets.push(rtp(2, 2, true, &[0x41]));
            let access_units = read(&packets);
            assert_eq!(access_units.len(), 3, "{lost}");
            assert!(!access_units[1].is_whole, "{lost}");
        }
    }

    #[test]
    fn an_access_unit_that_lacks_bytes_is_not_whole() {
        let packets = [rtp(1, 1, false, &STAMP.sei()), rtp(2, 1, true, &[0x41, 1, 2, 3, 4])];
        assert!(!read(&packets)[0].is_whole);
    }

    #[test]
    fn the_floors_packets_are_read_as_well() {
        let stamp = Stamp { slice_bytes: 3000, ..STAMP };
        let mut access_units = AccessUnits::new(Payload::Raw);
        let mut ended = Vec::new();
        for (nal_unit, is_last) in [(&stamp.sei()[..], false), (&[0x65; 3000], true)] {
            let bytes = raw::packets(nal_unit, is_last);
            for frame in bytes.chunks(raw::PACKET_BYTES + raw::FRAMING_BYTES) {
                let packet = &frame[raw::FRAMING_BYTES..];
                access_units.packet(packet, |access_unit| ended.push(access_unit));
            }
        }
        assert_eq!(ended, [AccessUnit { stamp: Some(stamp), is_keyframe: true, is_whole: true }]);
    }
}
