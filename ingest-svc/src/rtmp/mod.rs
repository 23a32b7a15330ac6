//! The RTMP side: listener and publisher connections.

mod connection;
mod server;

pub use connection::{PublisherConnection, PublisherGone};
pub use server::{PublisherSink, serve};
