//! What the tests of this crate share: a source of RTP and RTCP, the service with all around it, an RTSP reader.

mod bench;
mod carrier;
mod gate;
mod ingest;
mod reader;
mod source;

pub(crate) use bench::{
    Bench, PATIENCE, PORTS, Sender, by_hand, config, free_ports, lease, leased,
};
pub(crate) use carrier::{Carrier, http, masked, post, tunnel_request};
pub(crate) use gate::Gate;
pub(crate) use ingest::{Asked, FakeIngest};
pub(crate) use reader::{Item, Reader, mark};
pub(crate) use source::{PPS, SPS, Source, Track, aac_config, ntp};
