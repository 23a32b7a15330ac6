//! Which packets came before (RFC 3711, 3.3.2).

/// A window of indexes up to the highest that came.
#[derive(Debug)]
pub(super) struct ReplayWindow {
    highest: Option<u64>,
    /// A bit for each index, by its remainder.
    came: Box<[u64]>,
}

/// What is known of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// It did not come yet.
    New,
    /// It came.
    Came,
    /// It is below the window: nobody knows.
    TooOld,
}

impl ReplayWindow {
    /// Nothing came; `words` times 64 indexes will be remembered.
    pub(super) fn new(words: usize) -> Self {
        Self { highest: None, came: vec![0; words.max(1)].into() }
    }

    /// The highest index that came.
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether an index came.
    pub(super) fn known(&self, index: u64) -> Known {
        match self.highest.map(|highest| highest.checked_sub(index)) {
            None | Some(None) => Known::New,
            Some(Some(behind)) if behind >= self.size() => Known::TooOld,
            Some(Some(_)) => {
                let (word, bit) = self.place(index);
                if self.came[word] & bit == 0 { Known::New } else { Known::Came }
            }
        }
    }

    /// An index that is [new](Known::New) came.
    pub(super) fn come(&mut self, index: u64) {
        let first_new = match self.highest {
            Some(highest) if highest >= index => index,
            Some(highest) => highest + 1,
            None => index,
        };
        if index - first_new >= self.size() {
            self.came.fill(0);
        } else {
            for new in first_new..index {
                let (word, bit) = self.place(new);
                self.came[word] &= !bit;
            }
        }
        let (word, bit) = self.place(index);
        self.came[word] |= bit;
        self.highest = self.highest.max(Some(index));
    }

    fn size(&self) -> u64 {
        64 * self.came.len() as u64
    }

    fn place(&self, index: u64) -> (usize, u64) {
        let at = index % self.size();
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_index_may_be_any() {
        for first in [0, 63, 64, 1_000_000] {
            let mut window = ReplayWindow::new(2);
            assert_eq!(window.known(first), Known::New);
            window.come(first);
            assert_eq!((window.known(first), window.highest()), (Known::Came, Some(first)));
            assert_eq!(window.known(first + 1), Known::New);
        }
    }

    proptest! {
        #[test]
        fn what_came_is_known_while_it_is_in_the_window(
            steps in proptest::collection::vec(prop_oneof![-140i64..140, -3i64..4, 0i64..1000], 1..200),
        ) {
            let (mut window, mut came) = (ReplayWindow::new(2), BTreeSet::new());
            let mut at = 500_u64;
            for step in steps {
                at = at.saturating_add_signed(step);
                let highest = came.last().copied();
                let expected = match highest {
                    Some(highest) if highest >= at + 128 => Known::TooOld,
                    _ if came.contains(&at) => Known::Came,
                    _ => Known::New,
                };
                prop_assert_eq!(window.known(at), expected);
                if expected == Known::New {
                    window.come(at);
                    came.insert(at);
                }
                prop_assert_eq!(window.highest(), came.last().copied());
            }
        }
    }
}
