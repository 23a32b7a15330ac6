//! Loads any RTMP-in/RTSP-out server by two URL templates, and measures what that costs it: CPU, context switches, system calls
//! and memory by process, the delay it adds, what it loses. Beside it stands the floor: the same bytes through a bare loop.
//!
//! A run has one thread of publishers and one or a few of readers; nothing in them is allocated, timed or locked by packet, so that the
//! server saturates first. docs/benchmark.md tells how that was checked.

pub mod access_units;
pub mod bench;
pub mod clip;
pub mod clock;
pub mod costs;
pub mod dialog;
pub mod floor;
pub mod frames;
pub mod publishers;
pub mod raw;
pub mod reader;
pub mod readers;
pub mod report;
pub mod rtmp;
pub mod run;
pub mod servers;
pub mod soak;
pub mod stamp;
pub mod system_calls;
pub mod tally;
pub mod url;
