//! G.711: one byte a sample, 8000 a second.

/// Samples of a second.
pub const SAMPLE_RATE: u32 = 8_000;

/// The companding law.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// A-law, PCMA (RFC 3551, 4.5.14).
    A,
    /// µ-law, PCMU.
    Mu,
}

/// How samples are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The law.
    pub law: Law,
    /// 1 or 2; samples of two channels alternate.
    pub channels: u8,
}

impl Config {
    /// Samples of each channel in so many bytes.
    pub fn samples(self, bytes: usize) -> u32 {
        (bytes / usize::from(self.channels.max(1))) as u32
    }
}
