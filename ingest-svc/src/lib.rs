//! ingest-svc: takes RTMP and forwards RTP over UDP to publish-svc.

mod rtmp;
mod service;

pub use service::{Addresses, Ingest, StartError};
