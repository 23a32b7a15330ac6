//! What a target makes of its bytes: some for its choices, the rest for the parser.

use crate::random::Random;

/// Takes bytes off the front; past the end there are zeros, so that every input means something.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of an input.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether all has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// The next two bytes, big-endian.
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from(self.u8()) << 8 | u16::from(self.u8())
    }

    /// The next `count` bytes, or what there is of them.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Cuts `data` into pieces as a socket would: of 1 to `pace` bytes each, the sizes drawn from `pace`;
/// all in one piece for 0.
pub(crate) fn pieces(data: &[u8], pace: u8) -> impl Iterator<Item = &[u8]> {
    let mut random = Random::new(pace.into());
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let size = match pace {
            0 => rest.len(),
            pace => 1 + random.below(pace.into()),
        };
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_whole() {
        let data: Vec<u8> = (0..=255).collect();
        for pace in [0, 1, 7, 255] {
            assert_eq!(pieces(&data, pace).collect::<Vec<_>>().concat(), data);
        }
        assert_eq!(pieces(&data, 0).count(), 1);
        assert_eq!(pieces(&data, 1).count(), 256);
    }

    #[test]
    fn an_input_ends_in_zeros() {
        let mut input = Input::new(&[1, 2, 3]);
        assert_eq!((input.u16(), input.take(9), input.u8()), (0x0102, &[3][..], 0));
        assert!(input.is_empty());
    }
}
