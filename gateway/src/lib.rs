//! The gateway as a library: what the binary `rtmp2rtsp` runs, for tests too.

pub mod demo;
