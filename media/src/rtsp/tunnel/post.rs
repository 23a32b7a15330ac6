//! The Base64 of a tunnel's POST as a stream: clients encode each request by itself, so that padding stands in the middle, and break
//! lines or not.

use bytes::{Buf, BufMut, BytesMut};

/// The body of the POST is no Base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {byte:#04x} in the Base64 of a tunnel")]
pub struct NotBase64 {
    /// What does not belong there.
    pub byte: u8,
}

/// Reads the stream; holds at most three digits of an unfinished group.
#[derive(Debug, Default)]
pub struct Base64Reader {
    /// The bits of the digits of the unfinished group.
    bits: u32,
    digits: u8,
    /// How many `=` of the present group have come.
    padding: u8,
}

impl Base64Reader {
    /// Takes all of `encoded` and appends what it says to `decoded`.
    pub fn read(
        &mut self,
        encoded: &mut BytesMut,
        decoded: &mut BytesMut,
    ) -> Result<(), NotBase64> {
        for &byte in encoded.iter() {
            match (byte, digit(byte)) {
                (b'\r' | b'\n' | b' ' | b'\t', _) => {}
                (b'=', _) => self.pad(decoded)?,
                // A group that has begun to end with padding has no more digits.
                (_, Some(digit)) if self.padding == 0 => self.digit(digit, decoded),
                (byte, _) => return Err(NotBase64 { byte }),
            }
        }
        encoded.advance(encoded.len());
        Ok(())
    }

    fn digit(&mut self, digit: u8, decoded: &mut BytesMut) {
        self.bits = self.bits << 6 | u32::from(digit);
        self.digits += 1;
        if self.digits == 4 {
            decoded.put_slice(&self.bits.to_be_bytes()[1..]);
            *self = Self::default();
        }
    }

    fn pad(&mut self, decoded: &mut BytesMut) -> Result<(), NotBase64> {
        if self.digits < 2 {
            return Err(NotBase64 { byte: b'=' });
        }
        self.padding += 1;
        if self.digits + self.padding == 4 {
            let bits = self.bits << (6 * u32::from(self.padding));
            decoded.put_slice(&bits.to_be_bytes()[1..4 - usize::from(self.padding)]);
            *self = Self::default();
        }
        Ok(())
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<u8>, NotBase64> {
        let (mut reader, mut decoded) = (Base64Reader::default(), BytesMut::new());
        for piece in pieces {
            let mut encoded = BytesMut::from(*piece);
            reader.read(&mut encoded, &mut decoded)?;
            assert!(encoded.is_empty(), "all of it is taken");
        }
        Ok(decoded.to_vec())
    }

    #[test]
    fn requests_that_were_encoded_one_by_one_are_one_stream() {
        let whole = b"T1BUSU9OUw==\r\nKg==IFI=VFNQ\n";
        for split in 0..=whole.len() {
            let (a, b) = whole.split_at(split);
            assert_eq!(read(&[a, b]).unwrap(), b"OPTIONS* RTSP", "split at {split}");
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for (text, byte) in [
            (&b"T1B$"[..], b'$'),
            (b"T1BU\0", 0),
            (b"=", b'='),
            (b"T===", b'='),
            (b"T1==T1======", b'='),
            (b"T1=U", b'U'),
            (b"OPTIONS * RTSP/1.0", b'*'),
            (b"T1-_", b'-'),
        ] {
            assert_eq!(read(&[text]), Err(NotBase64 { byte }), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_requests_come_out_of_any_pieces_as_another_encoder_wrote_them(
            requests in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..50), "[\r\n \t]{0,3}"), 0..6),
            size in 1usize..20,
        ) {
            let (mut encoded, mut expected) = (vec![], vec![]);
            for (request, gap) in requests {
                encoded.extend(BASE64_STANDARD.encode(&request).bytes().chain(gap.bytes()));
                expected.extend(request);
            }
            let pieces: Vec<_> = encoded.chunks(size).collect();
            prop_assert_eq!(read(&pieces).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let decoded = read(&[&bytes]).unwrap_or_default();
            prop_assert!(decoded.len() <= bytes.len() / 4 * 3);
        }
    }
}
