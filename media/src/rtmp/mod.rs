//! RTMP (Adobe's Real Time Messaging Protocol 1.0, 2012): what a publisher and we say to each other.
//!
//! [`ServerSession`] is the whole server side of one connection on which a publisher comes: handshake, chunk streams, AMF
//! commands. [`ClientSession`] is the client side of one on which we play what a remote server has, so that it is our publisher.
//! Everything that comes in is read by code of our own, with a bound on each size that a peer declares; what goes out is written
//! by `rml_rtmp`, as is the handshake.
//!
//! Left out on purpose: sending streams by RTMP, RTMPE and RTMPT, shared objects, remote procedure calls, AMF3 values. What
//! Enhanced RTMP carries is read in [`crate::flv`].

mod acknowledge;
pub mod amf0;
mod chunk;
mod client;
mod clock;
mod error;
mod handshake;
mod message;
mod output;
mod session;
mod url;
#[cfg(test)]
mod wire;

pub use chunk::{ChunkReader, Message};
pub use client::{ClientConfig, ClientEvent, ClientSession, PlayEnded, Reason};
pub use clock::told_time;
pub use error::RtmpError;
pub use message::{MediaMessage, MediaMessageKind};
pub use session::{
    AdobeAuth, AdobeResponse, Credentials, Event, PublishRefusal, PublishRequest, PublishRequestId,
    ServerConfig, ServerSession,
};
pub use url::{RtmpUrl, UrlError};
