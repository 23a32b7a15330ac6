//! A node that binds what it is told to and hands out what it receives.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use media::{
    rtcp::{RtcpPacket, SenderReport, parse_compound},
    rtp::Header,
    sdp::SessionDescription,
};
use proto::v1::{
    self,
    stream_control_server::{StreamControl, StreamControlServer},
};
use registry::NodeInfo;
use svc_core::error::{ApiError, Kind, PORT_IN_USE};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(10);

/// What a node received.
#[derive(Debug)]
pub(crate) enum Received {
    /// StartStream that it answered with OK.
    Start(v1::StartStreamRequest),
    /// StartStream for a further node, answered with OK.
    Feed(v1::StartStreamRequest),
    /// StopStream.
    Stop(v1::StopStreamRequest),
    /// An RTP packet.
    Rtp(Bytes),
    /// An RTCP compound, and where it came from.
    Rtcp(Bytes, SocketAddr),
}

/// See the module.
pub(crate) struct FakeNode {
    /// What the registry is told of it.
    pub(crate) info: NodeInfo,
    service: Service,
    received: mpsc::UnboundedReceiver<Received>,
    /// Of the compound that came last.
    reports: VecDeque<(SenderReport, String, SocketAddr)>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Service {
    received: mpsc::UnboundedSender<Received>,
    streams: Arc<Mutex<HashMap<String, [AbortHandle; 2]>>>,
    refusals: Arc<AtomicU32>,
    /// Of the stream that was started last.
    rtcp: Arc<Mutex<Option<Arc<UdpSocket>>>>,
}

impl FakeNode {
    /// A node with `ports` RTP ports from some port on.
    pub(crate) async fn start(ports: u16) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let service = Service {
            received: sender,
            streams: Arc::default(),
            refusals: Arc::default(),
            rtcp: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc_url = format!("http://{}", listener.local_addr().unwrap());
        let server = StreamControlServer::new(service.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .add_service(server)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        // A port that another program holds is refused as by any node.
        let rtp_port_min = 20_000 + rand::random::<u16>() % 5_000 * 2;
        let info = NodeInfo {
            id: "node-1".into(),
            rtp_address: Ipv4Addr::LOCALHOST.into(),
            rtp_port_min,
            rtp_port_max: rtp_port_min + ports * 2 - 1,
            rtsp_url: "rtsp://127.0.0.1:8554".into(),
            grpc_url,
            draining: false,
        };
        Self { info, service, received, reports: VecDeque::new(), _server: tasks }
    }

    /// The next that it receives.
    pub(crate) async fn next(&mut self) -> Received {
        tokio::time::timeout(PATIENCE, self.received.recv()).await.expect("nothing came").unwrap()
    }

    /// The next that it has received already.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }

    /// The next StartStream, and its session description.
    pub(crate) async fn next_start(&mut self) -> (v1::StartStreamRequest, SessionDescription) {
        loop {
            if let Received::Start(request) = self.next().await {
                let description = SessionDescription::parse(&request.session_description);
                return (request, description.unwrap());
            }
        }
    }

    /// The next StartStream for a further node.
    pub(crate) async fn next_feed(&mut self) -> v1::StartStreamRequest {
        loop {
            if let Received::Feed(request) = self.next().await {
                return request;
            }
        }
    }

    /// The next StopStream.
    pub(crate) async fn next_stop(&mut self) -> v1::StopStreamRequest {
        loop {
            if let Received::Stop(request) = self.next().await {
                return request;
            }
        }
    }

    /// The next RTP packet.
    pub(crate) async fn next_rtp_packet(&mut self) -> Bytes {
        loop {
            if let Received::Rtp(packet) = self.next().await {
                return packet;
            }
        }
    }

    /// The next RTP packet: its header and its payload.
    pub(crate) async fn next_rtp(&mut self) -> (Header, Bytes) {
        let packet = self.next_rtp_packet().await;
        let header = Header::parse(&packet).unwrap();
        let payload = packet.slice(header.payload.clone());
        (header, payload)
    }

    /// The next Sender Report, with the CNAME beside it and its sender.
    pub(crate) async fn next_report(&mut self) -> (SenderReport, String, SocketAddr) {
        loop {
            if let Some(report) = self.reports.pop_front() {
                return report;
            }
            let Received::Rtcp(compound, from) = self.next().await else { continue };
            let packets = parse_compound(&compound).unwrap();
            let cname = packets.iter().find_map(|packet| match packet {
                RtcpPacket::Cname(_, cname) => Some(cname.clone()),
                _ => None,
            });
            for packet in packets {
                if let RtcpPacket::SenderReport(report, _) = packet {
                    self.reports.push_back((report, cname.clone().unwrap(), from));
                }
            }
        }
    }

    /// Sends RTCP from the port of the stream that was started last.
    pub(crate) async fn send_rtcp(&self, compound: &[u8], to: SocketAddr) {
        let socket = self.service.rtcp.lock().unwrap().clone().expect("a stream was started");
        socket.send_to(compound, to).await.unwrap();
    }

    /// Refuses the next StartStreams.
    pub(crate) fn refuse_starts(&self, count: u32) {
        self.service.refusals.store(count, Relaxed);
    }

    /// Closes all ports and forgets all streams, as a restart does.
    pub(crate) fn forget(&self) {
        *self.service.rtcp.lock().unwrap() = None;
        for (_, tasks) in self.service.streams.lock().unwrap().drain() {
            tasks.iter().for_each(AbortHandle::abort);
        }
    }
}

impl Service {
    async fn bind(&self, port: u16) -> std::io::Result<[AbortHandle; 2]> {
        let rtp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let rtcp = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1)).await?);
        *self.rtcp.lock().unwrap() = Some(rtcp.clone());
        let (to_rtp, to_rtcp) = (self.received.clone(), self.received.clone());
        let rtp = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok(n) = rtp.recv(&mut buffer).await {
                let _ = to_rtp.send(Received::Rtp(Bytes::copy_from_slice(&buffer[..n])));
            }
        });
        let rtcp = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((n, from)) = rtcp.recv_from(&mut buffer).await {
                let _ = to_rtcp.send(Received::Rtcp(Bytes::copy_from_slice(&buffer[..n]), from));
            }
        });
        Ok([rtp.abort_handle(), rtcp.abort_handle()])
    }
}

#[tonic::async_trait]
impl StreamControl for Service {
    async fn start_stream(
        &self,
        request: Request<v1::StartStreamRequest>,
    ) -> Result<Response<v1::StartStreamResponse>, Status> {
        let refusals = &self.refusals;
        if refusals.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1)).is_ok() {
            return Err(Status::unavailable("the node refuses"));
        }
        let request = request.into_inner();
        if let Some(fed) = &request.feed {
            let (node_id, lease) = (fed.node_id.clone(), request.lease.clone());
            let leg = v1::Leg { node_id, lease, established: true, ..Default::default() };
            let stream = v1::Stream { legs: vec![leg], ..Default::default() };
            let _ = self.received.send(Received::Feed(request));
            return Ok(Response::new(v1::StartStreamResponse { stream: Some(stream) }));
        }
        let port = request.lease.as_ref().unwrap().rtp_port as u16;
        let started = self.streams.lock().unwrap().contains_key(&request.stream_key);
        if !started {
            let tasks = self.bind(port).await.map_err(|error| {
                ApiError::reason(Kind::FailedPrecondition, PORT_IN_USE, error.to_string())
            })?;
            self.streams.lock().unwrap().insert(request.stream_key.clone(), tasks);
        }
        let _ = self.received.send(Received::Start(request));
        Ok(Response::new(v1::StartStreamResponse::default()))
    }

    async fn stop_stream(
        &self,
        request: Request<v1::StopStreamRequest>,
    ) -> Result<Response<v1::StopStreamResponse>, Status> {
        let request = request.into_inner();
        if !request.node_id.is_empty() {
            let _ = self.received.send(Received::Stop(request));
            return Ok(Response::new(v1::StopStreamResponse::default()));
        }
        let tasks = self.streams.lock().unwrap().remove(&request.stream_key);
        tasks.iter().flatten().for_each(AbortHandle::abort);
        let _ = self.received.send(Received::Stop(request));
        Ok(Response::new(v1::StopStreamResponse::default()))
    }

    async fn get_stream(
        &self,
        _request: Request<v1::GetStreamRequest>,
    ) -> Result<Response<v1::GetStreamResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_streams(
        &self,
        _request: Request<v1::ListStreamsRequest>,
    ) -> Result<Response<v1::ListStreamsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    type WatchStreamsStream = stream::Empty<Result<v1::WatchStreamsResponse, Status>>;

    async fn watch_streams(
        &self,
        _request: Request<v1::WatchStreamsRequest>,
    ) -> Result<Response<Self::WatchStreamsStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}
