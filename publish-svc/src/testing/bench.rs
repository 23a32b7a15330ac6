//! The whole service in one process, its registry embedded, and a sender of RTP to it.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use media::StreamKey;
use proto::v1::{self, stream_control_client::StreamControlClient};
use registry::{Claim, Engine, Grant, WatchEvent};
use svc_core::{config::Config, drain::Shutdown, grpc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use super::{Reader, Source};
use crate::{Addresses, Publish};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// RTP and RTCP ports of one bench, and of whatever it starts beside it.
pub(crate) const PORTS: u16 = 32;

/// Ports below those that the system gives out, no two benches' the same, all free just now.
pub(crate) fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::from(std::process::id() as u8) * PORTS;
    loop {
        let next = NEXT.fetch_add(PORTS, Ordering::Relaxed);
        let first = 10_000 + begin.wrapping_add(next) % 9_984;
        let bound = (first..first + PORTS).map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
        if bound.collect::<Result<Vec<_>, _>>().is_ok() {
            return first;
        }
    }
}

/// Everything on loopback and on ports 0, but for the legs.
pub(crate) fn config() -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::default();
    config.publish.node_id = "node-1".into();
    config.publish.grpc_listen = any;
    config.publish.http_listen = any;
    config.publish.rtp_bind_address = any.ip();
    config.publish.rtp_port_min = free_ports();
    config.publish.rtp_port_max = config.publish.rtp_port_min + PORTS - 1;
    // What cannot move is not waited for.
    config.publish.drain_grace = Duration::ZERO;
    config.rtsp.listen = any;
    config.rtsp.rtp_port = 0;
    config
}

/// See the module.
pub(crate) struct Bench {
    pub(crate) addresses: Addresses,
    pub(crate) shutdown: Shutdown,
    pub(crate) control: StreamControlClient<grpc::Channel>,
    pub(crate) registry: registry::Client,
    /// The first of the node's RTP ports.
    pub(crate) first_port: u16,
    service: JoinHandle<()>,
}

impl Bench {
    /// Started, and the node known to its registry.
    pub(crate) async fn start(config: Config) -> Self {
        let publish = Publish::bind(&config).await.unwrap();
        let addresses = publish.addresses();
        let shutdown = Shutdown::new();
        let service = tokio::spawn(publish.run(shutdown.clone()));
        let url = format!("http://{}", addresses.grpc);
        let bench = Self {
            addresses,
            shutdown,
            control: StreamControlClient::new(grpc::channel(&url).unwrap()),
            registry: registry::Client::new(&url).unwrap(),
            first_port: config.publish.rtp_port_min,
            service,
        };
        bench.until_lease_event(|event| matches!(event, WatchEvent::NodeAdded(_))).await;
        bench
    }

    /// Waits for an event of the registry.
    pub(crate) async fn until_lease_event(&self, wanted: impl Fn(&WatchEvent) -> bool) {
        let mut watch = self.registry.watch().await.unwrap();
        let seen =
            async { while !wanted(&watch.next().await.expect("the watch ended").unwrap()) {} };
        tokio::time::timeout(PATIENCE, seen).await.expect("the registry never told it");
    }

    /// Has a lease granted to an ingest.
    pub(crate) async fn allocate(&self, key: &str, owner_id: &str) -> Grant {
        let claim = Claim {
            stream_key: StreamKey::parse(key).unwrap(),
            owner_id: owner_id.into(),
            owner_grpc_url: String::new(),
            node_id: None,
            reassert: None,
            supersede: None,
        };
        self.registry.allocate_port(claim).await.unwrap()
    }

    /// How many leases the registry knows.
    pub(crate) async fn leases(&self) -> usize {
        self.registry.list_leases().await.unwrap().len()
    }

    /// Waits until the node has released, in the background, what it took.
    pub(crate) async fn until_all_is_released(&self) {
        let released = async { while self.leases().await > 0 {} };
        tokio::time::timeout(PATIENCE, released).await.expect("a lease stays");
    }

    /// StartStream.
    pub(crate) async fn start_stream(
        &mut self,
        request: v1::StartStreamRequest,
    ) -> Result<v1::Stream, tonic::Status> {
        Ok(self.control.start_stream(request).await?.into_inner().stream.unwrap())
    }

    /// Starts a stream by hand; the sender of its leg.
    pub(crate) async fn start_by_hand(&mut self, key: &str, source: &Source) -> Sender {
        let stream = self.start_stream(by_hand(key, source)).await.unwrap();
        Sender::to(stream.rtp_port as u16)
    }

    /// StopStream.
    pub(crate) async fn stop(
        &mut self,
        key: &str,
        epoch: u64,
    ) -> Result<v1::Stream, tonic::Status> {
        let request = v1::StopStreamRequest { stream_key: key.into(), epoch, ..Default::default() };
        Ok(self.control.stop_stream(request).await?.into_inner().stream.unwrap())
    }

    /// GetStream.
    pub(crate) async fn stream(&mut self, key: &str) -> Result<v1::Stream, tonic::Status> {
        let request = v1::GetStreamRequest { stream_key: key.into() };
        Ok(self.control.get_stream(request).await?.into_inner().stream.unwrap())
    }

    /// Waits until the stream is as wanted, by its changes.
    pub(crate) async fn until(&mut self, key: &str, wanted: impl Fn(Option<&v1::Stream>) -> bool) {
        let request = v1::WatchStreamsRequest {};
        let mut events = self.control.watch_streams(request).await.unwrap().into_inner();
        let mut found = false;
        let seen = async {
            loop {
                let event = events.message().await.unwrap().expect("the watch ended");
                let (kind, stream) = (event.event(), event.stream);
                let of_key = stream.as_ref().is_some_and(|stream| stream.stream_key == key);
                found |= of_key;
                let is_wanted = match kind {
                    v1::StreamEvent::Removed => of_key && wanted(None),
                    v1::StreamEvent::SnapshotEnd => !found && wanted(None),
                    _ => of_key && wanted(stream.as_ref()),
                };
                if is_wanted {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("it never was as wanted");
    }

    /// Asks for the stream until it is as wanted: counters and reports are no changes that [`Self::until`] would be told of.
    pub(crate) async fn until_asked(
        &mut self,
        key: &str,
        wanted: impl Fn(&v1::Stream) -> bool,
    ) -> v1::Stream {
        let mut stream = self.stream(key).await.unwrap();
        let seen = async {
            while !wanted(&stream) {
                stream = self.stream(key).await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("it is never as wanted: {stream:?}");
        }
        stream
    }

    /// Waits until /metrics has all these lines, `rtmp2rtsp_publish_` left out.
    pub(crate) async fn until_metrics(&self, lines: &[&str]) {
        let (mut text, mut missing) = (String::new(), lines.to_vec());
        let seen = async {
            while !missing.is_empty() {
                text = self.metrics().await;
                missing.retain(|line| !text.contains(&format!("\nrtmp2rtsp_publish_{line}\n")));
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("{missing:?} are missing in {text}");
        }
    }

    async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.addresses.http).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    /// Connects a reader to a stream.
    pub(crate) async fn reader(&self, key: &str) -> Reader {
        Reader::connect(self.addresses.rtsp, key).await
    }

    /// Ends the service in order.
    pub(crate) async fn drain(self) {
        self.shutdown.start_drain();
        tokio::time::timeout(PATIENCE, self.service).await.unwrap().unwrap();
    }
}

/// The lease of a leg as an ingest would pass it on.
pub(crate) fn lease(key: &str, port: u16, epoch: u64) -> v1::Lease {
    v1::Lease {
        lease_id: format!("lease-of-{key}"),
        stream_key: key.into(),
        node_id: "node-1".into(),
        rtp_port: port.into(),
        epoch,
        owner_id: "ingest-1".into(),
        ttl: Some(proto::Duration { seconds: 10, nanos: 0 }),
    }
}

/// StartStream without a lease.
pub(crate) fn by_hand(key: &str, source: &Source) -> v1::StartStreamRequest {
    v1::StartStreamRequest {
        stream_key: key.into(),
        session_description: source.description().to_leg_sdp(([127, 0, 0, 1], 5004).into()),
        ..Default::default()
    }
}

/// StartStream with a lease.
pub(crate) fn leased(key: &str, source: &Source, lease: v1::Lease) -> v1::StartStreamRequest {
    v1::StartStreamRequest { lease: Some(lease), ..by_hand(key, source) }
}

/// The sockets of a leg's sender.
pub(crate) struct Sender {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Sender {
    /// Sends to a port of loopback, RTCP to the one above it.
    pub(crate) fn to(port: u16) -> Self {
        let connect = |port: u16| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            socket
        };
        Self { rtp: connect(port), rtcp: connect(port + 1) }
    }

    /// Sends RTP.
    pub(crate) fn rtp(&self, packets: impl IntoIterator<Item = Bytes>) {
        for packet in packets {
            self.rtp.send(&packet).unwrap();
        }
    }

    /// Sends RTCP.
    pub(crate) fn rtcp(&self, compound: &[u8]) {
        self.rtcp.send(compound).unwrap();
    }

    /// What comes back by RTCP next.
    pub(crate) async fn report(&self) -> Vec<media::rtcp::RtcpPacket> {
        let socket = self.rtcp.try_clone().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 2048];
            let n = socket.recv(&mut buffer).unwrap();
            media::rtcp::parse_compound(&buffer[..n]).unwrap()
        });
        read.await.unwrap()
    }
}
