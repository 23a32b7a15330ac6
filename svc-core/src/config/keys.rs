//! The table of keys.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    Config,
    value::{Field, Rule, Value},
};

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its section.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// What its value may be.
    pub rule: Rule,
    /// What it does, in one line.
    pub doc: &'static str,
    pub(super) set: fn(&mut Config, &Value) -> bool,
    pub(super) get: fn(&Config, &Rule) -> Value,
}

impl Key {
    /// `section.name`
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
    /// The flag, without its dashes: `rtmp-listen`.
    pub fn flag(&self) -> String {
        format!("{}-{}", self.section, self.name).replace('_', "-")
    }
    /// The environment variable: `RTMP2RTSP_RTMP_LISTEN`.
    pub fn env(&self) -> String {
        format!("RTMP2RTSP_{}_{}", self.section, self.name).to_uppercase()
    }
    /// Its value in `config`.
    pub fn get(&self, config: &Config) -> Value {
        (self.get)(config, &self.rule)
    }
    /// Its default.
    pub fn default(&self) -> Value {
        self.get(&Config::default())
    }
}

/// The sections, in the order of the documentation, and what they are about.
pub const SECTIONS: &[(&str, &str)] = &[
    ("ingest", "ingest-svc as a service"),
    ("rtmp", "the RTMP listener"),
    ("rtp", "RTP packets and the hop from ingest to publish"),
    ("hop", "the hop on networks that lose, overhear or queue"),
    ("publish", "publish-svc as a node"),
    ("ring", "the ring of each stream on the node"),
    ("rtsp", "the RTSP server"),
    ("registry", "where the registry is"),
    (
        "etcd",
        "the etcd that the registry keeps its book in, for several publish-svc that serve one registry",
    ),
    ("log", "logs"),
];

macro_rules! key {
    ($section:ident.$name:ident, $rule:expr, $doc:literal) => {
        Key {
            section: stringify!($section),
            name: stringify!($name),
            rule: $rule,
            doc: $doc,
            set: |config, value| match Field::from_value(value) {
                Some(value) => {
                    config.$section.$name = value;
                    true
                }
                None => false,
            },
            get: |config, rule| config.$section.$name.to_value(rule),
        }
    };
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What waits for a peer: no shorter than a slow link's round trip, and no longer than anyone would wait.
const PATIENCE: Rule = Rule::Time(span(100, HOUR));
const HTTP: Rule = Rule::Url("http");
/// A connection costs a descriptor and some tens of kilobytes.
const CONNECTIONS: Rule = Rule::Count(1..=1_000_000);

const fn span(from_ms: u64, to: Duration) -> RangeInclusive<Duration> {
    Duration::from_millis(from_ms)..=to
}

/// All keys.
pub const KEYS: &[Key] = &[
    key!(
        ingest.id,
        Rule::Id,
        "Names the process as an owner of streams. Empty: made at start from the host's name and a random suffix"
    ),
    key!(ingest.grpc_listen, Rule::Listen, "gRPC: StreamControl, health, reflection"),
    key!(
        ingest.http_listen,
        Rule::Listen,
        "HTTP: /start, /stop, /streams, /metrics, /livez, /readyz"
    ),
    key!(
        ingest.advertise_grpc_url,
        HTTP,
        "Announced for StreamControl, where nodes ask for legs. Empty: made from grpc_listen, or where that is unspecified from rtp.bind_address or the local address used towards the registry"
    ),
    key!(
        ingest.auto_start,
        Rule::Switch,
        "A publisher with a key that nobody started starts its stream by itself"
    ),
    key!(
        ingest.takeover,
        Rule::Takeover,
        "A second publisher of a live stream is refused (reject), goes on in place of the first (takeover), or stands by until that one stalls or leaves (backup)"
    ),
    key!(
        ingest.stall,
        PATIENCE,
        "With takeover = backup: a publisher that sends no media for so long is closed, and its standby goes on"
    ),
    key!(
        ingest.hold,
        Rule::Time(Duration::ZERO..=HOUR),
        "How long a stream is HELD, its readers kept, after its publisher went away"
    ),
    key!(
        ingest.max_legs,
        Rule::Count(1..=64),
        "Legs of a stream that this ingest sends: one that it always has, and one for each further node whose readers ask for it. Beyond that nodes that have the stream feed others, each as many"
    ),
    key!(
        ingest.track_wait,
        Rule::Time(Duration::ZERO..=Duration::from_secs(30)),
        "How long a stream waits for its second track before it goes on with one"
    ),
    key!(
        ingest.pull_ca_file,
        Rule::Path,
        "PEM file of certificate authorities by which servers are believed when streams are pulled over RTMPS, beside the system's. Empty: the system's alone"
    ),
    key!(
        ingest.drain_grace,
        Rule::Time(Duration::ZERO..=HOUR),
        "How long publishers may take to leave at SIGTERM, before they are ended. With both services and the registry in one process they are ended at once"
    ),
    key!(rtmp.listen, Rule::Listen, "RTMP"),
    key!(rtmp.max_connections, CONNECTIONS, "RTMP connections at one time"),
    key!(
        rtmp.handshake_timeout,
        PATIENCE,
        "How long a client may take from connecting to publishing; where a stream is pulled, the server from connecting to playing"
    ),
    key!(
        rtmp.idle_timeout,
        PATIENCE,
        "A publisher that sends nothing for so long is closed, and its key is free again; where a stream is pulled, so is a server that sends no media"
    ),
    key!(
        rtmp.chunk_size,
        Rule::Bytes(128..=65536),
        "The chunk size of what is sent to RTMP clients"
    ),
    key!(
        rtmp.max_message_bytes,
        Rule::Bytes(65536..=16_777_215),
        "The largest audio or video message taken"
    ),
    key!(
        rtp.max_packet_size,
        Rule::Bytes(256..=1460),
        "The largest RTP packet, its header included"
    ),
    key!(
        rtp.bind_address,
        Rule::Ip,
        "The local address from which ingest sends RTP, and a node that feeds another"
    ),
    key!(
        rtp.sender_report_interval,
        Rule::Time(span(100, Duration::from_secs(60))),
        "Time between RTCP Sender Reports from ingest to a node"
    ),
    key!(
        rtp.pacing_burst,
        Rule::Count(1..=64),
        "How many packets go out in each ms; twice as many back to back after a rest, and up to three times as many of very large access units"
    ),
    key!(
        rtp.reorder_window,
        Rule::Time(Duration::ZERO..=SECOND),
        "How late a packet may come by itself on a node; one that can be asked for again is waited for longer (`hop.nack`)"
    ),
    key!(
        hop.nack,
        Rule::Switch,
        "Ingest keeps the last second of what it sent, and sends again what a node asks for; false: nothing is kept or asked for"
    ),
    key!(
        hop.srtp,
        Rule::Switch,
        "RTP and RTCP of the hop are encrypted and authenticated (SRTP, AES-128-GCM), by a key of each leg that ingest makes and tells the node by StartStream"
    ),
    key!(
        hop.dscp,
        Rule::Count(0..=63),
        "How routers are to treat RTP and RTCP of the hop (RFC 4594): 34 is AF41, interactive video; 46 is EF. 0: as anything else"
    ),
    key!(
        hop.receive_buffer,
        Rule::Bytes(0..=1 << 30),
        "What a node asks for to hold RTP of a leg while it is not read; the system gives up to net.core.rmem_max. 0: its default"
    ),
    key!(
        hop.send_buffer,
        Rule::Bytes(0..=1 << 30),
        "What ingest asks for to hold RTP of a leg that cannot go out yet; the system gives up to net.core.wmem_max. 0: its default"
    ),
    key!(
        publish.node_id,
        Rule::Id,
        "The node's id. Empty: made at start from the host's name and a random suffix"
    ),
    key!(publish.grpc_listen, Rule::Listen, "gRPC: StreamControl, Registry, health, reflection"),
    key!(publish.http_listen, Rule::Listen, "HTTP: /metrics, /livez, /readyz"),
    key!(publish.rtp_bind_address, Rule::Ip, "The local address on which RTP ports are bound"),
    key!(
        publish.rtp_address,
        Rule::Ip,
        "The address announced for RTP. Unspecified: the local address used towards the registry, or 127.0.0.1 if that is embedded"
    ),
    key!(
        publish.rtp_port_min,
        Rule::EvenPort { zero: false },
        "The first RTP port of the node's range; RTCP is the next above each"
    ),
    key!(publish.rtp_port_max, Rule::Count(3..=65535), "The last port of the range, RTCP included"),
    key!(
        publish.advertise_rtsp_url,
        Rule::Url("rtsp"),
        "Announced for readers. Empty: made from rtp_address and rtsp.listen"
    ),
    key!(
        publish.advertise_grpc_url,
        HTTP,
        "Announced for StreamControl. Empty: made from rtp_address and grpc_listen"
    ),
    key!(publish.leg_timeout, PATIENCE, "A leg on which nothing comes for so long is HELD"),
    key!(
        publish.hold,
        Rule::Time(Duration::ZERO..=HOUR),
        "How long the readers of a stream are kept whose ingest has gone without stopping it, for another ingest to go on with it"
    ),
    key!(
        publish.idle_leg_timeout,
        PATIENCE,
        "A leg that the node asked for, since a reader did, ends when nobody has read its stream for so long"
    ),
    key!(
        publish.drain_grace,
        Rule::Time(Duration::ZERO..=HOUR),
        "How long the service may take to drain at SIGTERM. Readers are kept until it is nearly over, but for both services and the registry in one process"
    ),
    key!(
        ring.max_bytes,
        Rule::Bytes(1 << 20..=1 << 32),
        "What one stream keeps for its readers, in bytes of packets"
    ),
    key!(
        ring.max_duration,
        Rule::Time(span(500, Duration::from_secs(600))),
        "What one stream keeps for its readers, by when it came"
    ),
    key!(rtsp.listen, Rule::Listen, "RTSP"),
    key!(
        rtsp.rtp_port,
        Rule::EvenPort { zero: true },
        "The UDP port of RTP for all UDP readers; RTCP is the next. 0: any free pair"
    ),
    key!(
        rtsp.udp,
        Rule::Switch,
        "Whether readers may play over UDP; else they are told 461 and use TCP"
    ),
    key!(
        rtsp.multicast,
        Rule::Multicast,
        "The groups of readers by multicast, one for each stream that is read so; no other node may have them. Empty: such readers are told 461"
    ),
    key!(
        rtsp.multicast_port,
        Rule::EvenPort { zero: false },
        "The port of RTP of a group's first track; each further track has the next pair"
    ),
    key!(rtsp.multicast_ttl, Rule::Count(1..=255), "How many routers multicast packets pass"),
    key!(rtsp.max_connections, CONNECTIONS, "RTSP connections at one time"),
    key!(
        rtsp.session_timeout,
        Rule::Time(span(1000, HOUR)),
        "A session that nothing renews for so long ends"
    ),
    key!(
        rtsp.sender_report_interval,
        Rule::Time(span(100, Duration::from_secs(60))),
        "Time between RTCP Sender Reports to a reader"
    ),
    key!(
        rtsp.describe_wait,
        Rule::Time(Duration::ZERO..=Duration::from_secs(60)),
        "How long DESCRIBE waits for a stream that the node has to ask an ingest for, and for the codec headers of one that is starting; then 503"
    ),
    key!(
        rtsp.wait_for_publisher,
        Rule::Time(Duration::ZERO..=Duration::from_secs(60)),
        "How long DESCRIBE waits for a stream that nobody has, instead of 404. `?wait=` in the URL goes over it"
    ),
    key!(
        rtsp.redirect,
        Rule::Switch,
        "DESCRIBE of a stream that another node has is answered 302 with that node's URL, instead of asking its ingest for a leg: for set-ups in which readers reach each node by its own address"
    ),
    key!(
        rtsp.write_timeout,
        PATIENCE,
        "A reader to which nothing could be written for so long is dropped"
    ),
    key!(
        rtsp.max_reader_age,
        Rule::Time(span(100, HOUR)),
        "How old what a reader is sent may be before it skips to the newest keyframe"
    ),
    key!(
        registry.url,
        Rule::Urls(&["http"]),
        "The registry; of several, which have to share one book, the next is asked when one fails, and so of all addresses that a name has. Empty: served by publish-svc itself; for ingest-svc alone http://127.0.0.1:50052"
    ),
    key!(
        registry.ttl,
        Rule::Time(span(1000, HOUR)),
        "Where the registry is served: how long a lease or node lives without a renewal"
    ),
    key!(
        registry.rejected_port_rest,
        Rule::Time(Duration::ZERO..=HOUR),
        "Where the registry is served: how long a port that a node could not bind is set aside"
    ),
    key!(
        etcd.endpoints,
        Rule::Urls(&["http", "https"]),
        "The members of the etcd. Empty: the book of the registry that publish-svc serves is in its memory"
    ),
    key!(
        etcd.prefix,
        Rule::Prefix,
        "What all keys in etcd begin with. Gateways with the same one are one cluster"
    ),
    key!(etcd.user, Rule::Text, "The user that etcd knows this process as. Empty: none"),
    key!(
        etcd.password_file,
        Rule::Path,
        "A file with that user's password, without the end of its line"
    ),
    key!(
        etcd.ca_file,
        Rule::Path,
        "PEM file of the authorities that members are believed by. Empty: the system's. For https"
    ),
    key!(
        etcd.cert_file,
        Rule::Path,
        "PEM file of the certificate that is shown to members that ask for one. Empty: none. For https"
    ),
    key!(etcd.key_file, Rule::Path, "PEM file of the key of that certificate"),
    key!(
        log.level,
        Rule::Filter,
        "What is logged: error, warn, info, debug, trace, also by part, such as info,publish_svc=debug"
    ),
    key!(log.format, Rule::Format, "Text for people, or one JSON object a line"),
];
