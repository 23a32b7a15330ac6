//! RTSP 1.0 (RFC 2326), the server side of one connection, sans-IO.
//!
//! How it travels where only HTTP gets through stands in [`tunnel`].
//!
//! Left out on purpose: RECORD and ANNOUNCE (streams come by RTMP), REDIRECT, RTSP 2.0, seeking (streams are live: any
//! Range is taken, and answered by `npt=now-`).

mod codec;
mod connection;
mod message;
mod session;
mod transport;
pub mod tunnel;
mod url;
mod wishes;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

pub use connection::ServerConnection;
pub use wishes::{Start, Wishes};

/// What a connection needs to know of its server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `Server` header.
    pub server_name: String,
    /// The session timeout that SETUP announces.
    pub session_timeout: Duration,
    /// The UDP ports that SETUP announces for UDP readers (RTP, RTCP); `None`: UDP is refused with 461.
    pub udp_ports: Option<(u16, u16)>,
    /// Whether there is multicast; else it is refused with 461.
    pub multicast: bool,
}

/// Where a track is sent by multicast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// The group.
    pub address: IpAddr,
    /// The port of RTP, which is even; RTCP is the next.
    pub port: u16,
    /// How many routers its packets pass.
    pub ttl: u8,
}

/// How a track of a session is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackTransport {
    /// Interleaved channels for RTP and RTCP.
    Interleaved {
        /// Channel of RTP.
        rtp: u8,
        /// Channel of RTCP.
        rtcp: u8,
    },
    /// The reader's UDP ports at the address of the connection's peer.
    Udp {
        /// Where RTP goes.
        rtp: SocketAddr,
        /// Where RTCP goes and comes from.
        rtcp: SocketAddr,
    },
    /// A group that the shell names in its answer to SETUP.
    Multicast,
}

/// A request whose answer the shell has to give.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// DESCRIBE: answer by [`ServerConnection::answer_describe`] or [`ServerConnection::answer_describe_elsewhere`].
    Describe {
        /// The path of the URL: percent-decoded, no outer slashes.
        path: String,
        /// The query of the URL, without `?`.
        query: String,
        /// What the query asks for.
        wishes: Wishes,
        /// User-Agent, may be empty.
        user_agent: String,
    },
    /// SETUP of a track whose transport was found acceptable: answer by [`ServerConnection::answer_setup`],
    /// for multicast by [`ServerConnection::answer_setup_multicast`].
    Setup {
        /// Path of the stream, the control suffix taken off.
        path: String,
        /// The query of the URL.
        query: String,
        /// N of `trackID=N`; `None` where the URL names no track (right only for a stream with one).
        track: Option<usize>,
        /// How the track will be carried.
        transport: TrackTransport,
        /// Whether this makes a new session.
        new_session: bool,
        /// User-Agent, may be empty.
        user_agent: String,
    },
    /// PLAY, also while playing (then nothing changes): answer by [`ServerConnection::answer_play`].
    Play {
        /// The tracks that were set up, in their order.
        tracks: Vec<(usize, TrackTransport)>,
        /// Where to start: as the query of its URL says, else that of the SETUPs, else that of the DESCRIBE before them.
        start: Start,
    },
    /// PAUSE: stop sending. Answered already.
    Paused,
    /// TEARDOWN: the session is over. Answered already.
    TornDown,
    /// RTCP of a reader on an interleaved channel: the track and the compound.
    Rtcp(usize, Bytes),
}

/// One entry of RTP-Info.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpInfo {
    /// The track.
    pub track: usize,
    /// Sequence number of the first packet that the reader gets; `None`: not known yet.
    pub sequence_number: Option<u16>,
    /// Its timestamp; `None`: not known yet.
    pub rtp_timestamp: Option<u32>,
}

/// Why a request is refused by the shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// 404.
    NotFound,
    /// 503, as while the codec headers of a starting stream do not come.
    Unavailable,
    /// 453, no room for more readers.
    NotEnoughBandwidth,
    /// 459, aggregate operation not allowed; also a track that is set up twice.
    AggregateNotAllowed,
    /// 500.
    Internal,
}

/// Why a connection has to be closed; what is still to be said stands in `poll_output`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RtspError {
    /// The peer sends no RTSP.
    #[error("{what} at byte {at} of the connection")]
    Protocol {
        /// What it did.
        what: &'static str,
        /// Where, counted from the first byte of the connection.
        at: u64,
    },
}
