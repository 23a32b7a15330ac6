//! publish-svc: receives RTP legs and serves them by RTSP.

mod ring;
mod service;
mod stream;

pub use service::{Addresses, Publish, StartError};
