//! Fuzz targets over the parsers and state machines of `media`. Each takes any bytes and panics where something does not
//! hold that must: README.md beside this crate says how they are run and how one is added.

pub mod corpus;
mod input;
pub mod mutate;
pub mod random;
pub mod seeds;
mod targets;

/// A parser or state machine under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Feeds it and panics where an invariant does not hold.
    pub run: fn(&[u8]),
    /// How many mutated inputs `cargo test` tries: 2 to 3 seconds in a debug build.
    pub iterations: u64,
}

/// All targets.
pub const TARGETS: [Target; 18] = [
    Target { name: "rtmp_chunk", run: targets::rtmp_chunk::run, iterations: 25_000 },
    Target { name: "rtmp_amf0", run: targets::rtmp_amf0::run, iterations: 200_000 },
    Target { name: "rtmp_session", run: targets::rtmp_session::run, iterations: 1_000 },
    Target { name: "rtmp_client", run: targets::rtmp_client::run, iterations: 1_000 },
    Target { name: "flv", run: targets::flv::run, iterations: 500_000 },
    Target { name: "avcc", run: targets::avcc::run, iterations: 120_000 },
    Target { name: "aac_config", run: targets::aac_config::run, iterations: 300_000 },
    Target { name: "hevc", run: targets::hevc::run, iterations: 80_000 },
    Target { name: "av1", run: targets::av1::run, iterations: 120_000 },
    Target { name: "vp9", run: targets::vp9::run, iterations: 150_000 },
    Target { name: "sei", run: targets::sei::run, iterations: 150_000 },
    Target { name: "sound", run: targets::sound::run, iterations: 150_000 },
    Target { name: "h264_inspect", run: targets::h264_inspect::run, iterations: 500_000 },
    Target { name: "rtp_header", run: targets::rtp_header::run, iterations: 500_000 },
    Target { name: "rtp_receive", run: targets::rtp_receive::run, iterations: 15_000 },
    Target { name: "rtcp", run: targets::rtcp::run, iterations: 250_000 },
    Target { name: "sdp", run: targets::sdp::run, iterations: 25_000 },
    Target { name: "rtsp_connection", run: targets::rtsp_connection::run, iterations: 4_000 },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
