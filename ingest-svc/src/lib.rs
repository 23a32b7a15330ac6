//! ingest-svc: takes RTMP and forwards RTP over UDP to publish-svc.

mod control;
mod http;
mod leg;
mod metrics;
mod rtmp;
mod service;
mod stream;
mod streams;

pub use service::{Addresses, Ingest, StartError};
