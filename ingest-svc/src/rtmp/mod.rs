//! The RTMP side: listener and publisher connections.

mod connection;
mod server;

pub(crate) use connection::{PublisherConnection, PublisherGone};
pub(crate) use server::{PublisherSink, serve};
