//! ingest-svc: takes RTMP and forwards RTP over UDP to publish-svc.

mod control;
mod http;
mod input;
mod leg;
mod metrics;
mod publisher;
mod pull;
mod rtmp;
mod service;
mod stream;
mod streams;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use service::{Addresses, Ingest, StartError};
