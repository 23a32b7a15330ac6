//! StreamControl on publish-svc (see the comments in `proto/rtmp2rtsp/v1/stream_control.proto`).

mod feeding;
mod fences;
mod leaving;
mod orphans;
mod starting;

use std::{sync::Arc, time::Duration};

use media::{StreamKey, sdp::SessionDescription};
use proto::v1::{self, stream_control_server::StreamControl};
use registry::{Lease, LeaseFields, LeaseKeeper};
use svc_core::{
    config::RingConfig,
    drain::Shutdown,
    error::{ApiError, Kind, stream_key},
    grpc::{WatchResponses, watch_streams},
    tasks::Tasks,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use self::fences::{Fences, stale};
use crate::{
    demand::Demand,
    feeds::FeedContext,
    leg::{LegSettings, LegState, Ports},
    metrics::Instruments,
    streams::{Entry, Streams},
};

/// What the service needs.
pub(crate) struct Context {
    /// The node's id.
    pub(crate) node_id: String,
    /// Binds the ports of legs.
    pub(crate) ports: Ports,
    /// Of the legs.
    pub(crate) legs: LegSettings,
    /// Of the rings.
    pub(crate) ring: RingConfig,
    /// `publish.hold`
    pub(crate) hold: Duration,
    /// For streams that are started by hand.
    pub(crate) keeper: LeaseKeeper,
    /// The node's tasks.
    pub(crate) tasks: Tasks,
    /// The node drains: no stream begins on it any more.
    pub(crate) leaving: CancellationToken,
    /// The end.
    pub(crate) shutdown: Shutdown,
    /// The streams.
    pub(crate) streams: Arc<Streams>,
    /// Streams that the node asked for.
    pub(crate) demand: Arc<Demand>,
    /// For the feeds of further nodes.
    pub(crate) feeds: Arc<FeedContext>,
    /// Where what is counted is added up.
    pub(crate) metrics: Instruments,
}

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    context: Arc<Context>,
    fences: Arc<Fences>,
    /// One start or stop at a time: binding takes no time, and two starts of one stream must not cross.
    order: Arc<tokio::sync::Mutex<()>>,
}

/// What StartStream asks for, read.
struct Wanted {
    key: StreamKey,
    sdp: String,
    description: SessionDescription,
    lease: Option<Lease>,
}

impl Control {
    /// The service.
    pub(crate) fn new(context: Context) -> Self {
        Self { context: Arc::new(context), fences: Arc::default(), order: Arc::default() }
    }

    fn read(&self, request: v1::StartStreamRequest) -> Result<Wanted, ApiError> {
        let key = stream_key(&request.stream_key)?;
        if !request.source_url.is_empty() {
            return Err(ApiError::field("source_url", "is for ingest-svc; leave it empty here"));
        }
        if request.offline_picture {
            return Err(ApiError::field("offline_picture", "is for ingest-svc; leave it out here"));
        }
        if !request.node_id.is_empty() {
            return Err(ApiError::field("node_id", "is for ingest-svc; leave it empty here"));
        }
        let description = SessionDescription::parse(&request.session_description)
            .map_err(|error| ApiError::field("session_description", error))?;
        let lease = match request.lease {
            Some(lease) => Some(self.read_lease(&key, lease)?),
            None => None,
        };
        Ok(Wanted { key, sdp: request.session_description, description, lease })
    }

    fn read_lease(&self, key: &StreamKey, lease: v1::Lease) -> Result<Lease, ApiError> {
        let lease = read_any_lease(key, lease)?;
        if lease.node_id != self.context.node_id {
            let here = &self.context.node_id;
            let problem = format!("unknown node {:?}; this one is {here:?}", lease.node_id);
            return Err(ApiError::field("lease.node_id", problem));
        }
        Ok(lease)
    }

    /// Runs to its end though the caller hangs up, so that nothing is left half done.
    async fn start(&self, wanted: Wanted) -> Result<v1::Stream, ApiError> {
        let _order = self.order.lock().await;
        let draining = || ApiError::reason(Kind::Unavailable, "DRAINING", "the node drains");
        if self.context.shutdown.draining().is_cancelled() {
            // Behind `end_all`, nobody would end it.
            return Err(draining());
        }
        if let Some(lease) = &wanted.lease {
            self.fences.check(&wanted.key, lease.epoch)?;
        }
        let streams = &self.context.streams;
        let entry = match streams.entry(&wanted.key) {
            Err(_) if self.context.leaving.is_cancelled() => return Err(draining()),
            Err(_) => self.start_new(wanted).await?,
            Ok(entry) => self.start_again(entry, wanted).await?,
        };
        Ok(streams.to_proto(&entry))
    }

    async fn remove(&self, key: &StreamKey, entry: &Arc<Entry>) {
        entry.end().await;
        let started = entry.started();
        if started.by_hand {
            self.context.keeper.release(&started.lease.id);
        }
        self.context.streams.remove(key, entry);
    }

    async fn stop(&self, key: StreamKey, epoch: u64) -> Result<v1::Stream, ApiError> {
        let _order = self.order.lock().await;
        let entry = self.context.streams.entry(&key)?;
        let present = entry.started().lease.epoch;
        if epoch != 0 && present > epoch {
            return Err(stale(epoch, present));
        }
        self.remove(&key, &entry).await;
        Ok(self.context.streams.to_proto(&entry))
    }

    /// The leases of all streams that have one.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        let started = self.context.streams.list().into_iter().map(|entry| entry.started());
        started.filter(|started| !started.orphaned).map(|started| started.lease).collect()
    }

    /// Whether packets come on a lease.
    pub(crate) fn is_live(&self, lease: &Lease) -> bool {
        self.context.streams.entry(&lease.stream_key).is_ok_and(|entry| {
            entry.started().lease.id == lease.id && entry.status.now().state == LegState::Live
        })
    }

    /// Told of a lease that was granted, to whatever node. One of a newer epoch says that the stream has another owner: what the node has under
    /// an older one has ended.
    pub(crate) async fn hear(&self, lease: &Lease) {
        self.context.demand.hear(lease);
        self.fences.hear(&lease.stream_key, lease.epoch);
        let Ok(entry) = self.context.streams.entry(&lease.stream_key) else { return };
        let present = entry.started().lease;
        if present.epoch < lease.epoch {
            self.fences.raise(&lease.stream_key, lease.epoch);
            self.lease_ended(&lease.stream_key, &present.id).await;
        }
    }

    /// Ends all streams.
    pub(crate) async fn end_all(&self) {
        let _order = self.order.lock().await;
        for entry in self.context.streams.list() {
            self.remove(&entry.published.key, &entry).await;
        }
    }
}

/// A lease of this stream, on whatever node.
fn read_any_lease(key: &StreamKey, lease: v1::Lease) -> Result<Lease, ApiError> {
    const FIELDS: LeaseFields =
        LeaseFields { stream_key: "lease.stream_key", rtp_port: "lease.rtp_port" };
    let lease = registry::lease_from_proto(lease, &FIELDS)?;
    if lease.stream_key != *key {
        return Err(ApiError::field(FIELDS.stream_key, "is not the stream_key of the request"));
    }
    if lease.rtp_port == 0 || lease.rtp_port % 2 == 1 {
        return Err(ApiError::field(FIELDS.rtp_port, "is an even port from 2 to 65534"));
    }
    Ok(lease)
}

/// Runs `work` in a task of its own, so that a caller who hangs up leaves nothing half done.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, Status> {
    use tracing::Instrument as _;
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!(%error, "a call's task failed");
            Err(Status::internal("the call failed; the log says why"))
        }
    }
}

#[tonic::async_trait]
impl StreamControl for Control {
    async fn start_stream(
        &self,
        request: Request<v1::StartStreamRequest>,
    ) -> Result<Response<v1::StartStreamResponse>, Status> {
        let (control, request) = (self.clone(), request.into_inner());
        let stream = if request.feed.is_some() {
            let wanted = feeding::read(request)?;
            whole(async move { control.feed(wanted).await }).await?
        } else {
            let wanted = self.read(request)?;
            whole(async move { control.start(wanted).await }).await?
        };
        Ok(Response::new(v1::StartStreamResponse { stream: Some(stream) }))
    }

    async fn stop_stream(
        &self,
        request: Request<v1::StopStreamRequest>,
    ) -> Result<Response<v1::StopStreamResponse>, Status> {
        let request = request.into_inner();
        let key = stream_key(&request.stream_key)?;
        if !request.node_id.is_empty() {
            let stream = self.stop_feed(&key, &request.node_id)?;
            return Ok(Response::new(v1::StopStreamResponse { stream: Some(stream) }));
        }
        let control = self.clone();
        let stream = whole(async move { control.stop(key, request.epoch).await }).await?;
        Ok(Response::new(v1::StopStreamResponse { stream: Some(stream) }))
    }

    async fn get_stream(
        &self,
        request: Request<v1::GetStreamRequest>,
    ) -> Result<Response<v1::GetStreamResponse>, Status> {
        let streams = &self.context.streams;
        let entry = streams.entry(&stream_key(&request.get_ref().stream_key)?)?;
        Ok(Response::new(v1::GetStreamResponse { stream: Some(streams.to_proto(&entry)) }))
    }

    async fn list_streams(
        &self,
        _request: Request<v1::ListStreamsRequest>,
    ) -> Result<Response<v1::ListStreamsResponse>, Status> {
        let streams = &self.context.streams;
        let streams = streams.list().iter().map(|entry| streams.to_proto(entry)).collect();
        Ok(Response::new(v1::ListStreamsResponse { streams }))
    }

    type WatchStreamsStream = WatchResponses;

    async fn watch_streams(
        &self,
        _request: Request<v1::WatchStreamsRequest>,
    ) -> Result<Response<Self::WatchStreamsStream>, Status> {
        let Context { streams, tasks, shutdown, .. } = &*self.context;
        Ok(Response::new(watch_streams(streams.clone(), tasks, shutdown)))
    }
}

#[cfg(test)]
mod tests;
