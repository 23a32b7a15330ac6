//! The configuration of both services: typed, validated, every key with a default.
//!
//! One TOML file, then the environment (`RTMP2RTSP_RTMP_LISTEN`), then flags (`--rtmp-listen`), each over the one before.
//! Unknown keys and impossible values are refused with the key's name, the value and what is allowed.
//! [`KEYS`] is the one table of keys: the loader, the flags, `--help` and docs/config.md are all made from it.

mod docs;
mod keys;
mod load;
mod multicast;
mod value;

pub use docs::{markdown, to_toml};
pub use keys::{KEYS, Key, SECTIONS};
pub use load::{ConfigError, flags, from_flags, load};
pub use multicast::{MulticastRange, NoMulticastRange};
pub use value::{Rule, Value};

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `[ingest]`
    pub ingest: IngestConfig,
    /// `[rtmp]`
    pub rtmp: RtmpConfig,
    /// `[rtp]`
    pub rtp: RtpConfig,
    /// `[hop]`
    pub hop: HopConfig,
    /// `[publish]`
    pub publish: PublishConfig,
    /// `[ring]`
    pub ring: RingConfig,
    /// `[rtsp]`
    pub rtsp: RtspConfig,
    /// `[registry]`
    pub registry: RegistryConfig,
    /// `[etcd]`
    pub etcd: EtcdConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// `[ingest]`: ingest-svc as a service.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Names the process as an owner of streams; empty: made at start from host name and a random suffix.
    pub id: String,
    /// gRPC: StreamControl, health, reflection. 0.0.0.0:50051
    pub grpc_listen: SocketAddr,
    /// HTTP: the prototype's calls, /metrics, /livez, /readyz. 0.0.0.0:8080
    pub http_listen: SocketAddr,
    /// Where others call our StreamControl ("http://host:port"); empty: made from grpc_listen, rtp.bind_address or the local address used towards
    /// the registry.
    pub advertise_grpc_url: String,
    /// A publisher with an unknown key starts its stream by itself. true
    pub auto_start: bool,
    /// What a publisher of a stream key meets that another publishes. reject
    pub takeover: Takeover,
    /// How long a publisher may send no media before its standby goes on. 1 s
    pub stall: Duration,
    /// How long a stream is HELD after its publisher went away. 15 s
    pub hold: Duration,
    /// Legs of a stream that are sent from here, and nodes that a node feeds with it. 8
    pub max_legs: usize,
    /// How long a stream waits for its second track before it is sent with one. 1 s
    pub track_wait: Duration,
    /// PEM file of authorities that RTMPS servers are believed by when streams are pulled from them, beside the system's; empty: none.
    pub pull_ca_file: String,
    /// How long publishers may take to leave at SIGTERM. 10 s
    pub drain_grace: Duration,
}

/// What a second publisher of a live stream meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takeover {
    /// It is refused.
    Reject,
    /// It takes the stream over; the first one is disconnected.
    Takeover,
    /// It stands by, and goes on when the first one stalls or leaves.
    Backup,
}

/// `[rtmp]`: the RTMP listener.
#[derive(Clone, Debug)]
pub struct RtmpConfig {
    /// 0.0.0.0:1935
    pub listen: SocketAddr,
    /// Connections at one time. 1000
    pub max_connections: usize,
    /// From accept to publish, and from connect to play where a stream is pulled. 10 s
    pub handshake_timeout: Duration,
    /// A publisher that sends nothing for so long is closed, and its key is free again. 30 s
    pub idle_timeout: Duration,
    /// The chunk size of what we send. 4096
    pub chunk_size: u32,
    /// The largest audio or video message, in bytes. 8 MiB
    pub max_message_bytes: usize,
}

/// `[rtp]`: packets and the hop.
#[derive(Clone, Debug)]
pub struct RtpConfig {
    /// The largest RTP packet, header included. 1200 (256 to 1460... 65000 is refused)
    pub max_packet_size: usize,
    /// The local address of legs, of ingest's and of those by which a node feeds another. 0.0.0.0
    pub bind_address: IpAddr,
    /// Sender Reports on the hop. 2 s
    pub sender_report_interval: Duration,
    /// How many packets go out in each ms; twice as many after a rest, three times as many of very large access units. 32
    pub pacing_burst: usize,
    /// How late a packet may come by itself on the node; one that can be asked for is waited for longer. 20 ms
    pub reorder_window: Duration,
}

/// `[hop]`: the hop on networks that lose, overhear or queue.
#[derive(Clone, Debug)]
pub struct HopConfig {
    /// Ingest offers nodes to send again what they miss. true
    pub nack: bool,
    /// Ingest sends SRTP. false
    pub srtp: bool,
    /// The DSCP of RTP and RTCP, 0 to 63. 0
    pub dscp: u16,
    /// What the RTP socket of a leg is to hold on the node, in bytes; 0: the system's default. 1 MiB
    pub receive_buffer: usize,
    /// The same of ingest's, of what goes out. 0
    pub send_buffer: usize,
}

/// `[publish]`: publish-svc as a node.
#[derive(Clone, Debug)]
pub struct PublishConfig {
    /// The node's id; empty: made at start from host name and a random suffix.
    pub node_id: String,
    /// gRPC: StreamControl, Registry, health, reflection. 0.0.0.0:50052
    pub grpc_listen: SocketAddr,
    /// HTTP: /metrics, /livez, /readyz. 0.0.0.0:8081
    pub http_listen: SocketAddr,
    /// The local address on which RTP ports are bound. 0.0.0.0
    pub rtp_bind_address: IpAddr,
    /// The address announced for RTP; unspecified (0.0.0.0): the local address used towards the registry (127.0.0.1 if embedded).
    pub rtp_address: IpAddr,
    /// The first RTP port of legs; even. 5004
    pub rtp_port_min: u16,
    /// The last port of the range. 7999
    pub rtp_port_max: u16,
    /// Announced for readers: "rtsp://host:port"; empty: made from rtp_address and rtsp.listen.
    pub advertise_rtsp_url: String,
    /// Announced for StreamControl: "http://host:port"; empty: made from rtp_address and grpc_listen.
    pub advertise_grpc_url: String,
    /// A leg that sends nothing for so long is HELD. 5 s
    pub leg_timeout: Duration,
    /// How long readers are kept of a stream whose ingest has gone. 15 s
    pub hold: Duration,
    /// A leg that the node asked for ends when nobody has read its stream for so long. 60 s
    pub idle_leg_timeout: Duration,
    /// How long a drain may take at SIGTERM. 10 s
    pub drain_grace: Duration,
}

/// `[ring]`: the ring of each stream on the node.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Bytes of packets that one stream keeps at the most. 16 MiB
    pub max_bytes: usize,
    /// Media time that one stream keeps at the most. 10 s
    pub max_duration: Duration,
}

/// `[rtsp]`: the RTSP server.
#[derive(Clone, Debug)]
pub struct RtspConfig {
    /// 0.0.0.0:8554
    pub listen: SocketAddr,
    /// The even UDP port of RTP for all UDP readers; RTCP is the next. 8000. 0: any free pair
    pub rtp_port: u16,
    /// Whether readers may use UDP; else 461. true
    pub udp: bool,
    /// The groups of readers by multicast, one a stream; empty: no multicast, else 461. Empty
    pub multicast: MulticastRange,
    /// The even port of RTP of a group's first track; each further track has the next pair. 8002
    pub multicast_port: u16,
    /// How many routers multicast passes. 1
    pub multicast_ttl: u16,
    /// Connections at one time. 1000
    pub max_connections: usize,
    /// Session timeout. 60 s
    pub session_timeout: Duration,
    /// Sender Reports to readers. 5 s
    pub sender_report_interval: Duration,
    /// How long DESCRIBE waits for a stream that is on its way from an ingest, and for codec headers. 2 s
    pub describe_wait: Duration,
    /// How long DESCRIBE waits for a stream that nobody has; zero: not at all. 0 s
    pub wait_for_publisher: Duration,
    /// Readers are sent to a node that has the stream. false
    pub redirect: bool,
    /// A reader to which nothing could be written for so long is dropped. 10 s
    pub write_timeout: Duration,
    /// How old what a reader is sent may be before it skips to the newest keyframe. 5 s
    pub max_reader_age: Duration,
}

/// `[registry]`: where the registry is.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// "http://host:port" of the registry, several separated by commas; empty on publish-svc: it serves one itself. Empty on ingest-svc alone: http://127.0.0.1:50052.
    pub url: String,
    /// Served here: how long a lease or node lives without a renewal. 10 s
    pub ttl: Duration,
    /// Served here: how long a rejected port is set aside. 60 s
    pub rejected_port_rest: Duration,
}

/// `[etcd]`: the store of the registry that publish-svc serves.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// "http(s)://host:port" of each member, separated by commas; empty: no etcd. Empty
    pub endpoints: String,
    /// What all keys begin with; begins and ends in "/". "/rtmp2rtsp/"
    pub prefix: String,
    /// The user; empty: none.
    pub user: String,
    /// The file with the user's password; empty: none.
    pub password_file: String,
    /// PEM file of authorities; empty: the system's.
    pub ca_file: String,
    /// PEM file of our certificate; empty: none.
    pub cert_file: String,
    /// PEM file of its key; empty: none.
    pub key_file: String,
}

/// `[log]`: logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A `tracing` filter, such as `info` or `info,publish_svc=debug`. info
    pub level: String,
    /// Text or JSON. text
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            id: String::new(),
            grpc_listen: ([0, 0, 0, 0], 50051).into(),
            http_listen: ([0, 0, 0, 0], 8080).into(),
            advertise_grpc_url: String::new(),
            auto_start: true,
            takeover: Takeover::Reject,
            stall: Duration::from_secs(1),
            hold: Duration::from_secs(15),
            max_legs: 8,
            track_wait: Duration::from_secs(1),
            pull_ca_file: String::new(),
            drain_grace: Duration::from_secs(10),
        }
    }
}

impl Default for RtmpConfig {
    fn default() -> Self {
        Self {
            listen: ([0, 0, 0, 0], 1935).into(),
            max_connections: 1000,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            chunk_size: 4096,
            max_message_bytes: 8 << 20,
        }
    }
}

impl Default for RtpConfig {
    fn default() -> Self {
        Self {
            max_packet_size: 1200,
            bind_address: IpAddr::from([0, 0, 0, 0]),
            sender_report_interval: Duration::from_secs(2),
            pacing_burst: 32,
            reorder_window: Duration::from_millis(20),
        }
    }
}

impl Default for HopConfig {
    fn default() -> Self {
        Self { nack: true, srtp: false, dscp: 0, receive_buffer: 1 << 20, send_buffer: 0 }
    }
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self {
            node_id: String::new(),
            grpc_listen: ([0, 0, 0, 0], 50052).into(),
            http_listen: ([0, 0, 0, 0], 8081).into(),
            rtp_bind_address: IpAddr::from([0, 0, 0, 0]),
            rtp_address: IpAddr::from([0, 0, 0, 0]),
            rtp_port_min: 5004,
            rtp_port_max: 7999,
            advertise_rtsp_url: String::new(),
            advertise_grpc_url: String::new(),
            leg_timeout: Duration::from_secs(5),
            hold: Duration::from_secs(15),
            idle_leg_timeout: Duration::from_secs(60),
            drain_grace: Duration::from_secs(10),
        }
    }
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_duration: Duration::from_secs(10) }
    }
}

impl Default for RtspConfig {
    fn default() -> Self {
        Self {
            listen: ([0, 0, 0, 0], 8554).into(),
            rtp_port: 8000,
            udp: true,
            multicast: MulticastRange::default(),
            multicast_port: 8002,
            multicast_ttl: 1,
            max_connections: 1000,
            session_timeout: Duration::from_secs(60),
            sender_report_interval: Duration::from_secs(5),
            describe_wait: Duration::from_secs(2),
            wait_for_publisher: Duration::ZERO,
            redirect: false,
            write_timeout: Duration::from_secs(10),
            max_reader_age: Duration::from_secs(5),
        }
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            ttl: Duration::from_secs(10),
            rejected_port_rest: Duration::from_secs(60),
        }
    }
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: String::new(),
            prefix: "/rtmp2rtsp/".to_owned(),
            user: String::new(),
            password_file: String::new(),
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

#[cfg(test)]
mod tests;
