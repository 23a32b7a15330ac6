//! publish-svc: receives RTP legs and serves them by RTSP.

mod ring;
mod rtsp;
mod service;
mod stream;

pub use service::{Addresses, Publish, StartError};
