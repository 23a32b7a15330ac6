//! SRTP and SRTCP (RFC 3711) with AEAD_AES_128_GCM (RFC 7714), sans-IO.
//!
//! One [`Session`] is one end of a transport on which both ends have one master key: what it seals is of its own SSRCs, what it opens is of the
//! other end's. Neither may send with an SSRC of the other's, for the nonce of a packet is made of its SSRC and index (RFC 7714, 8.1).
//!
//! | | nonce: these, exclusive-or the session salt | authenticated, not encrypted | behind the packet |
//! | --- | --- | --- | --- |
//! | SRTP (RFC 7714, 8) | 0 (16 bits), SSRC, rollover counter, sequence number | the RTP header | tag |
//! | SRTCP (RFC 7714, 9) | 0 (16), SSRC, 0 (16), index (32) | the first 8 bytes, and E and index | tag, E and index |
//!
//! Left out, since no end of ours asks for it: other suites, a master key identifier, a key derivation rate, SRTCP that is authenticated only.

mod key;
mod replay;
mod session;

pub use key::{KeyError, MasterKey, SUITE};
pub use session::{Refused, SealError, Session};

/// What a packet grows by: the tag (RFC 7714, 13.2).
pub const TAG_BYTES: usize = 16;
/// What an RTCP compound grows by: the tag, and E and the index (RFC 7714, 9.2).
pub const RTCP_OVERHEAD_BYTES: usize = TAG_BYTES + 4;

#[cfg(test)]
mod tests;
