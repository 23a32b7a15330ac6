//! The sans-IO core of rtmp2rtsp: time, codecs, FLV, RTMP, RTP, RTCP, SDP and RTSP as pure state
//! machines. Bytes and an `Instant` go in (`handle_*`), events and bytes come out (`poll_*`, drained
//! until `None`). Nothing here owns a clock, a random source, a task or a socket.

pub mod codec;
pub mod flv;
pub mod rtcp;
pub mod rtmp;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod srtp;
mod stream_key;
mod time;
pub mod timeline;
pub mod wall_time;

pub use stream_key::{InvalidStreamKey, StreamKey};
pub use time::{ClockRate, MediaTime, NtpTime};
