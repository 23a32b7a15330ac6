//! The name of a stream (docs/architecture.md, "The words").

use std::{fmt, sync::Arc};

/// The longest stream key, in bytes.
pub(crate) const MAX_STREAM_KEY_BYTES: usize = 128;

/// The name of one live programme: 1 to 128 of `A-Z a-z 0-9 . _ - /`, no leading, trailing or double
/// `/`, no `.` or `..` segment. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(Arc<str>);

/// Why a text cannot be a stream key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStreamKey {
    /// It has no characters, or more than 128.
    #[error("a stream key has 1 to {MAX_STREAM_KEY_BYTES} characters, this one has {0}")]
    Length(usize),
    /// It has a character outside the allowed set, at this byte.
    #[error("a stream key is made of A-Z a-z 0-9 . _ - /, byte {0} is none of these")]
    Character(usize),
    /// It starts or ends with `/`, or has two in a row, so that a segment is empty.
    #[error("a stream key has no leading, trailing or double '/'")]
    EmptySegment,
    /// One of its segments is `.` or `..`.
    #[error("a stream key has no '.' or '..' segment")]
    DotSegment,
}

impl StreamKey {
    /// Takes `text` as a stream key, exactly as it stands: nothing is trimmed, folded or decoded.
    pub fn parse(text: &str) -> Result<Self, InvalidStreamKey> {
        if text.is_empty() || text.len() > MAX_STREAM_KEY_BYTES {
            return Err(InvalidStreamKey::Length(text.chars().count()));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        if let Some(at) = text.bytes().position(|b| !allowed(b)) {
            return Err(InvalidStreamKey::Character(at));
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(InvalidStreamKey::EmptySegment),
                "." | ".." => return Err(InvalidStreamKey::DotSegment),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_allowed_form_are_taken_as_they_stand() {
        for key in ["a", "drone1", "site-3/cam.7_b", "...", "a/..b", &"x".repeat(128)] {
            assert_eq!(StreamKey::parse(key).map(|k| k.as_str().to_owned()), Ok(key.to_owned()));
        }
    }

    #[test]
    fn other_keys_are_refused_with_the_reason() {
        use InvalidStreamKey::*;
        for (key, why) in [
            ("", Length(0)),
            (&"x".repeat(129), Length(129)),
            ("a b", Character(1)),
            ("é", Character(0)),
            ("a?token=1", Character(1)),
            ("/a", EmptySegment),
            ("a/", EmptySegment),
            ("a//b", EmptySegment),
            ("/", EmptySegment),
            (".", DotSegment),
            ("a/../b", DotSegment),
        ] {
            assert_eq!(StreamKey::parse(key), Err(why), "{key}");
        }
    }
}
