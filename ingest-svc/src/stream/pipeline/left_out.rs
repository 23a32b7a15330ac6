//! What of a publisher's media is not carried: each once, as it is warned of and told by GetStream.

use std::fmt;

use media::{codec::MediaKind, flv::UnsupportedCodec};

/// What is left out and warned of at the most: 16 + 16 codec ids, and track ids and FourCCs that a peer may make up.
const MAX_WARNED: usize = 64;

/// What is not carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LeftOut {
    Codec(UnsupportedCodec),
    /// A further track of a multitrack publisher.
    Track(MediaKind, u8),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(codec) => write!(f, "{codec} is not carried"),
            Self::Track(kind, track_id) => {
                let kind = kind.label();
                write!(f, "{kind} track {track_id} is left out: one track of each kind is carried")
            }
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct LeftOutList(Vec<LeftOut>);

impl LeftOutList {
    /// Remembers what is left out, and says whether it was seen for the first time.
    pub(super) fn note(&mut self, left_out: LeftOut) -> bool {
        let new = self.0.len() < MAX_WARNED && !self.0.contains(&left_out);
        if new {
            self.0.push(left_out);
        }
        new
    }

    /// A line each.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(LeftOut::to_string).collect()
    }

    /// How many lines there are, which only grow in number.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
