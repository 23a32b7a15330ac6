//! Bits of bytes, most significant first: read off the front, where `None` tells what lies behind the end, or written.

/// A reader of bits.
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    /// From the first bit of `data` on.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next `count` bits, 32 at the most.
    pub(crate) fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.data.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// The next bit.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit == 1)
    }

    /// Passes over bits.
    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        self.at += count;
        (self.at <= self.data.len() * 8).then_some(())
    }

    /// ue(v) (H.265, 9.2), below 2^31.
    pub(crate) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 30 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.read(zeros)?)
    }
}

/// A writer of bits.
#[derive(Default)]
pub(crate) struct BitWriter {
    data: Vec<u8>,
    count: usize,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`, 32 at the most.
    pub(crate) fn put(&mut self, value: u32, count: usize) {
        for at in (0..count).rev() {
            if self.count.is_multiple_of(8) {
                self.data.push(0);
            }
            let bit = (value >> at & 1) as u8;
            self.data[self.count / 8] |= bit << (7 - self.count % 8);
            self.count += 1;
        }
    }

    /// The bytes, the last one filled up with zeros.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.data
    }
}

/// Bytes of a NAL unit whose emulation prevention (H.264 and H.265, 7.4.1) is taken out.
pub(crate) struct Unescaped<'a> {
    bytes: std::slice::Iter<'a, u8>,
    zeros: u32,
}

impl<'a> Unescaped<'a> {
    /// Of what follows the header of the NAL unit.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { bytes: data.iter(), zeros: 0 }
    }
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let mut byte = *self.bytes.next()?;
        if self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            byte = *self.bytes.next()?;
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        Some(byte)
    }
}

/// The first bytes of a NAL unit behind its header of `header` bytes, their emulation prevention taken out.
pub(crate) fn rbsp(nal: &[u8], header: usize, max_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(max_bytes.min(nal.len()));
    bytes.extend(Unescaped::new(nal.get(header..).unwrap_or_default()).take(max_bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_over_bytes_and_end_where_the_data_ends() {
        let mut bits = BitReader::new(&[0b1010_0000, 0b0111_1111]);
        assert_eq!((bits.read(3), bits.flag(), bits.read(9)), (Some(5), Some(false), Some(15)));
        assert_eq!((bits.read(3), bits.read(1), bits.skip(1)), (Some(7), None, None));
    }

    #[test]
    fn bits_that_are_written_are_read_again() {
        let mut bits = BitWriter::default();
        for (value, count) in [(5, 3), (0, 1), (15, 9), (7, 3), (0x1234_5678, 32), (1, 1)] {
            bits.put(value, count);
        }
        let bytes = bits.finish();
        assert_eq!(bytes.len(), 7);
        let mut bits = BitReader::new(&bytes);
        let read = [3, 1, 9, 3, 32, 1].map(|count| bits.read(count).unwrap());
        assert_eq!(read, [5, 0, 15, 7, 0x1234_5678, 1]);
    }

    #[test]
    fn exp_golomb_codes_are_those_of_the_table() {
        // 1, 010, 011, 00100, 00111: H.265, table 9-2.
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0011, 0b1000_0000]);
        let values: Vec<_> = (0..5).map(|_| bits.exp_golomb()).collect();
        assert_eq!(values, [Some(0), Some(1), Some(2), Some(3), Some(6)]);
        assert_eq!(BitReader::new(&[0; 8]).exp_golomb(), None);
    }

    #[test]
    fn emulation_prevention_is_taken_out() {
        assert_eq!(rbsp(&[0x42, 1, 0, 0, 3, 1, 0, 0, 3, 3], 2, 9), [0, 0, 1, 0, 0, 3]);
        assert_eq!(rbsp(&[0x42, 1, 9, 8, 7], 2, 2), [9, 8]);
    }
}
