//! What each access unit carries so that readers can tell which it is, when it was sent and whether it is whole: an SEI message
//! `user_data_unregistered` (H.264, D.1.7).
//!
//! Numbers are written 7 bits to a byte with the top bit set: no byte is zero, so that no emulation prevention is ever needed and a
//! stamp can be written over the one before, in place.

/// Tells our stamps from other user data.
const UUID: [u8; 16] = *b"rtmp2rtsp-load-1";
/// 35 bits of number, 56 of time, 28 of size.
const BODY_BYTES: usize = 5 + 8 + 4;
/// Before the body: NAL unit header, payload type, payload size, UUID.
const BODY_AT: usize = 3 + UUID.len();

/// Of the whole SEI NAL unit, trailing bits included.
pub const SEI_BYTES: usize = BODY_AT + BODY_BYTES + 1;

/// The stamp of one access unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// Counts the access units of the stream.
    pub number: u32,
    /// When it was sent, in microseconds since the tool began; below 2^56.
    pub sent_us: u64,
    /// The bytes of the slice that follows, NAL unit header included; below 2^28.
    pub slice_bytes: u32,
}

impl Stamp {
    /// The SEI NAL unit.
    pub fn sei(&self) -> [u8; SEI_BYTES] {
        let mut sei = [0x80; SEI_BYTES];
        sei[..3].copy_from_slice(&[0x06, 0x05, (UUID.len() + BODY_BYTES) as u8]);
        sei[3..BODY_AT].copy_from_slice(&UUID);
        self.write_over(&mut sei);
        sei
    }

    /// Writes it over another one, in the SEI NAL unit at the beginning of `sei`.
    pub fn write_over(&self, sei: &mut [u8]) {
        let body = &mut sei[BODY_AT..BODY_AT + BODY_BYTES];
        write(&mut body[..5], self.number.into());
        write(&mut body[5..13], self.sent_us);
        write(&mut body[13..], self.slice_bytes.into());
    }

    /// The stamp of an SEI NAL unit, if it is one of ours.
    pub fn read(sei: &[u8]) -> Option<Self> {
        let body = sei.get(BODY_AT..BODY_AT + BODY_BYTES)?;
        if sei[0] & 0x1F != 6 || sei[1] != 5 || sei[3..BODY_AT] != UUID {
            return None;
        }
        Some(Self {
            number: read(&body[..5]) as u32,
            sent_us: read(&body[5..13]),
            slice_bytes: read(&body[13..]) as u32,
        })
    }
}

fn write(bytes: &mut [u8], mut value: u64) {
    for byte in bytes.iter_mut().rev() {
        *byte = 0x80 | (value & 0x7F) as u8;
        value >>= 7;
    }
}

fn read(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7F))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_has_no_zero_byte() {
        for (number, sent_us, slice_bytes) in
            [(0, 0, 0), (1, 2, 3), (u32::MAX, (1 << 56) - 1, (1 << 28) - 1)]
        {
            let stamp = Stamp { number, sent_us, slice_bytes };
            let sei = stamp.sei();
            assert_eq!(Stamp::read(&sei), Some(stamp));
            assert!(!sei.contains(&0));
        }
    }

    #[test]
    fn other_user_data_is_no_stamp() {
        let mut sei = Stamp::default().sei();
        sei[5] ^= 1;
        assert_eq!(Stamp::read(&sei), None);
        assert_eq!(Stamp::read(&sei[..20]), None);
    }
}
