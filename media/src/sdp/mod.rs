//! Session descriptions (RFC 8866) of a leg and for readers. See the word "session description" in docs/architecture.md.
//! Ports and connection addresses are not read: where a stream is received is for the lease to say.

mod fmtp;
mod parse;
mod write;

use std::net::IpAddr;

use crate::{codec::CodecConfig, srtp::MasterKey};

/// What we say and understand of a session description. Bounded on reading: 64 KiB, 16 media sections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionDescription {
    /// `s=`.
    pub name: String,
    /// `a=source-filter:incl` (RFC 4570): the only address from which packets may come; `None`: any.
    pub source_address: Option<IpAddr>,
    /// The key of `a=crypto` (RFC 4568), one for all tracks, where the profile is RTP/SAVP or RTP/SAVPF.
    pub crypto: Option<MasterKey>,
    /// The tracks, in the order of their media sections.
    pub tracks: Vec<TrackDescription>,
}

/// A media section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackDescription {
    /// Codec and its parameters, from `a=rtpmap` and `a=fmtp`.
    pub config: CodecConfig,
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// `a=ssrc` (RFC 5576).
    pub ssrc: Option<u32>,
    /// `a=ssrc:… cname:…`.
    pub cname: Option<String>,
    /// `a=rtcp-fb:… nack` (RFC 4585, 4.2): packets that are missing may be asked for, and come again with the same SSRC and sequence number.
    pub nack: bool,
}

/// Why a session description cannot be used. Every variant reads as one sentence for the user who wrote it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SdpError {
    /// It is no SDP.
    #[error("not a session description: {0}")]
    Syntax(String),
    /// It has no media section that could be carried.
    #[error("no media section")]
    NoTracks,
    /// A media section with a codec that is not carried.
    #[error("media section {section}: codec {codec:?} is not carried")]
    UnsupportedCodec {
        /// Its index from 0.
        section: usize,
        /// Its encoding name.
        codec: String,
    },
    /// A media section that lacks or contradicts something.
    #[error("media section {section}: {problem}")]
    Section {
        /// Its index from 0.
        section: usize,
        /// What is wrong.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
