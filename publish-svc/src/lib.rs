//! publish-svc: receives RTP legs and serves them by RTSP.

mod book;
mod control;
mod convert;
mod demand;
mod fan_out;
mod feeds;
mod leases;
mod leg;
mod metrics;
mod reception;
mod ring;
mod rtsp;
mod service;
mod stream;
mod streams;
mod tally;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use book::Book;
pub use service::{Addresses, Publish, StartError};
