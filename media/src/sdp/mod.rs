//! Session descriptions (RFC 8866) of a leg and for readers. See the word "session description" in docs/architecture.md.

use std::net::{IpAddr, SocketAddr};

use crate::codec::CodecConfig;

/// What we say and understand of a session description. Bounded on reading: 64 KiB, 16 media sections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionDescription {
    /// `s=`.
    pub name: String,
    /// `a=source-filter:incl` (RFC 4570): the only address from which packets may come; `None`: any.
    pub source_address: Option<IpAddr>,
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

impl SessionDescription {
    /// Reads a session description.
    pub fn parse(_text: &str) -> Result<Self, SdpError> {
        todo!()
    }
    /// As ingest hands it to a node: all tracks BUNDLEd on the port of `destination`, `a=ssrc` with CNAME, `a=source-filter`.
    pub fn to_leg_sdp(&self, _destination: SocketAddr) -> String {
        todo!()
    }
    /// As DESCRIBE answers it: port 0, `a=control:trackID=N`, `a=range:npt=now-`, fmtp with sprop-parameter-sets, profile-level-id, AAC config.
    /// `origin` is the address of the server, `version` grows with each change of the description.
    pub fn to_reader_sdp(&self, _origin: IpAddr, _session_id: u64, _version: u64) -> String {
        todo!()
    }
}
