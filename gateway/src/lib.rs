//! The gateway as a library: what the binary `rtmp2rtsp` runs, for tests too.

pub mod cli;
pub mod demo;
pub mod health;
pub mod limits;
mod run;

pub use run::{Gateway, Part, Signals};
