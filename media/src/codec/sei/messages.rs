//! The messages of a SEI NAL unit, one after the other.

use crate::codec::bits::Unescaped;

/// Of a NAL unit no more is looked at. x264 tells its settings in less than 1 KiB, captions have some hundred bytes.
const MAX_NAL_BYTES: usize = 16 * 1024;
/// Of a message no more is looked at: OBS tells up to four times with 27 bytes each.
const MAX_PAYLOAD_BYTES: usize = 160;

/// The messages of a SEI NAL unit (H.264, 7.3.2.3.1; H.265, 7.3.5), without a copy of the whole.
pub(super) struct Messages<'a> {
    bytes: Unescaped<'a>,
    payload: [u8; MAX_PAYLOAD_BYTES],
    length: usize,
}

impl<'a> Messages<'a> {
    /// `data` is what follows the header of the NAL unit.
    pub(super) fn new(data: &'a [u8]) -> Self {
        let data = &data[..data.len().min(MAX_NAL_BYTES)];
        Self { bytes: Unescaped::new(data), payload: [0; MAX_PAYLOAD_BYTES], length: 0 }
    }

    /// Goes on to the next message, and gives its payloadType. `None` at the end, be it the trailing bits, a cut, or nonsense.
    pub(super) fn next_message(&mut self) -> Option<u32> {
        let (payload_type, size) = (self.number()?, self.number()? as usize);
        self.length = size.min(MAX_PAYLOAD_BYTES);
        for byte in &mut self.payload[..self.length] {
            *byte = self.bytes.next()?;
        }
        match size - self.length {
            0 => {}
            left => drop(self.bytes.nth(left - 1)?),
        }
        Some(payload_type)
    }

    /// The beginning of the message's payload.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload[..self.length]
    }

    /// payloadType and payloadSize: 255 for each byte of 0xFF, and the byte behind. Bounded by the bytes there are.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        loop {
            match self.bytes.next()? {
                0xFF => number += 0xFF,
                last => return Some(number + u32::from(last)),
            }
        }
    }
}
