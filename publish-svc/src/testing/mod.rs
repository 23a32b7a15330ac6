//! What the tests of this crate share: a source of RTP and RTCP.

mod source;

pub(crate) use source::{PPS, SPS, Source, Track, aac_config, ntp};
