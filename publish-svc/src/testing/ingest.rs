//! An ingest that makes legs when nodes ask for them, and ends them.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use futures_util::stream;
use media::StreamKey;
use proto::v1::{
    self,
    stream_control_client::StreamControlClient,
    stream_control_server::{StreamControl, StreamControlServer},
};
use registry::{Claim, Engine, Lease, NodeInfo};
use svc_core::grpc;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::{Bench, Source, bench::PATIENCE, free_ports, leased};

/// What it was asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// StartStream of a leg.
    Start(Box<v1::StartStreamRequest>),
    /// StopStream of a leg.
    Stop(v1::StopStreamRequest),
}

/// See the module.
pub(crate) struct FakeIngest {
    service: Service,
    asked: mpsc::UnboundedReceiver<Asked>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Service {
    id: &'static str,
    url: String,
    registry: registry::Client,
    asked: mpsc::UnboundedSender<Asked>,
    /// Legs that it may make.
    may: Arc<Semaphore>,
    refusal: Arc<Mutex<Option<Status>>>,
}

impl FakeIngest {
    /// An ingest of a bench's registry, where a further node is registered that is none.
    pub(crate) async fn start(bench: &Bench, id: &'static str) -> Self {
        let first = free_ports();
        let other = NodeInfo {
            id: "node-2".into(),
            rtp_address: Ipv4Addr::LOCALHOST.into(),
            rtp_port_min: first,
            rtp_port_max: first + 7,
            rtsp_url: "rtsp://node-2.test:8554".into(),
            grpc_url: "http://127.0.0.1:1".into(),
            draining: false,
        };
        bench.registry.register_node(other).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::unbounded_channel();
        let (may, refusal) = (Arc::new(Semaphore::new(1000)), Arc::default());
        let registry = bench.registry.clone();
        let service = Service { id, url, registry, asked: sender, may, refusal };
        let server = StreamControlServer::new(service.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder().add_service(server);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { service, asked, _server: tasks }
    }

    /// Claims a stream, whose leg goes to the other node.
    pub(crate) async fn has(&self, key: &str) -> Lease {
        self.service.claim(key, "node-2").await
    }

    /// Answers no StartStream until it is let by [`Self::let_one`].
    pub(crate) async fn hold(&self) {
        self.service.may.acquire_many(1000).await.unwrap().forget();
    }

    /// Answers one StartStream that it holds.
    pub(crate) fn let_one(&self) {
        self.service.may.add_permits(1);
    }

    /// Refuses each StartStream from now on, or no more.
    pub(crate) fn refuse(&self, refusal: Option<Status>) {
        *self.service.refusal.lock().unwrap() = refusal;
    }

    /// What it is asked for next.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::time::timeout(PATIENCE, self.asked.recv()).await.expect("nobody asks").unwrap()
    }

    /// Whether it was asked for more than was taken.
    pub(crate) fn is_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }
}

impl Service {
    async fn claim(&self, key: &str, node_id: &str) -> Lease {
        let claim = Claim {
            stream_key: StreamKey::parse(key).unwrap(),
            owner_id: self.id.into(),
            owner_grpc_url: self.url.clone(),
            node_id: Some(node_id.into()),
            reassert: None,
            supersede: None,
        };
        self.registry.allocate_port(claim).await.unwrap().lease
    }

    async fn node(&self, node_id: &str) -> StreamControlClient<grpc::Channel> {
        let nodes = self.registry.list_nodes().await.unwrap();
        let node = nodes.into_iter().find(|node| node.info.id == node_id).unwrap();
        StreamControlClient::new(grpc::channel(&node.info.grpc_url).unwrap())
    }
}

#[tonic::async_trait]
impl StreamControl for Service {
    async fn start_stream(
        &self,
        request: Request<v1::StartStreamRequest>,
    ) -> Result<Response<v1::StartStreamResponse>, Status> {
        let request = request.into_inner();
        let (key, node_id) = (request.stream_key.clone(), request.node_id.clone());
        let _ = self.asked.send(Asked::Start(Box::new(request)));
        self.may.acquire().await.unwrap().forget();
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        let lease = registry::lease_to_proto(self.claim(&key, &node_id).await);
        let start = leased(&key, &Source::new(1), lease);
        self.node(&node_id).await.start_stream(start).await?;
        Ok(Response::new(v1::StartStreamResponse::default()))
    }

    async fn stop_stream(
        &self,
        request: Request<v1::StopStreamRequest>,
    ) -> Result<Response<v1::StopStreamResponse>, Status> {
        let request = request.into_inner();
        let (stream_key, node_id) = (request.stream_key.clone(), request.node_id.clone());
        let _ = self.asked.send(Asked::Stop(request));
        let lease = self.claim(&stream_key, &node_id).await;
        let stop = v1::StopStreamRequest { stream_key, ..Default::default() };
        self.node(&node_id).await.stop_stream(stop).await?;
        self.registry.release_port(&lease.id).await.unwrap();
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
