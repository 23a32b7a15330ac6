//! What a sender knows of a track.

use std::sync::Arc;

use media::{codec::CodecConfig, rtcp::ClockMapping};

/// Where a track's RTP clock lies on the wall clock.
pub trait Clock: Send + Sync {
    /// `None` until that is known.
    fn mapping(&self) -> Option<ClockMapping>;
}

/// A track as its packets are.
#[derive(Clone)]
pub struct Track {
    /// What a decoder needs to know.
    pub config: CodecConfig,
    /// In its packets.
    pub payload_type: u8,
    /// In its packets.
    pub ssrc: u32,
    /// For its Sender Reports.
    pub clock: Arc<dyn Clock>,
}
