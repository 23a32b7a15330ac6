//! One stream: its publisher, its pipeline, its legs.
//!
//! An [`Actor`] owns all of it in one task; what others may see of it stands in [`StreamStatus`].

mod actor;
mod claim;
mod gop;
mod legs;
mod offline;
mod origin;
mod pipeline;
mod relay;
mod rival;
mod standby;
mod status;
mod timeline;
mod track;

use media::{MediaTime, codec::MediaKind, rtp::PacketBatch};

pub(crate) use actor::{Actor, Arming, Command, Context, bring_up_span};
pub(crate) use legs::LegReply;
pub(crate) use origin::Origin;
pub(crate) use pipeline::Track;
pub(crate) use status::{Changed, LegFacts, StreamStatus};
use {
    gop::GopCache,
    legs::{Held, Legs},
    offline::Offline,
    pipeline::{Pipeline, PipelineConfig},
    relay::Relay,
    timeline::StreamTimeline,
    track::TrackIdentity,
};

/// An access unit, ready to be sent.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Its track.
    pub(crate) kind: MediaKind,
    /// It holds an IDR.
    pub(crate) keyframe: bool,
    /// Its decoding time on the stream's timeline.
    pub(crate) time: MediaTime,
    /// Its packets.
    pub(crate) packets: PacketBatch,
}
