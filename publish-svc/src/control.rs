//! StreamControl on publish-svc (see the comments in `proto/rtmp2rtsp/v1/stream_control.proto`).

mod feeding;
mod fences;
mod leaving;
mod orphans;

use std::{
    sync::{Arc, PoisonError, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use media::{StreamKey, sdp::SessionDescription};
use proto::v1::{self, stream_control_server::StreamControl};
use registry::{Lease, LeaseFields, LeaseKeeper};
use svc_core::{
    config::RingConfig,
    drain::Shutdown,
    error::{ApiError, Kind, PORT_IN_USE, stream_key},
    grpc::{WatchResponses, watch_streams},
    tasks::Tasks,
    telemetry,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use self::fences::{Fences, stale};
use crate::{
    demand::Demand,
    feeds::{FeedContext, Feeds},
    leg::{
        BindError, Counters, Leg, LegSettings, LegSpec, LegState, PortPair, Ports, StreamStatus,
    },
    metrics::Instruments,
    stream::PublishedStream,
    streams::{Entry, Started, Streams},
};

/// Ports that other programs may hold, one after the other, before a start by hand gives up.
const MAX_REJECTED: usize = 16;

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

    async fn start_new(&self, wanted: Wanted) -> Result<Arc<Entry>, ApiError> {
        let by_hand = wanted.lease.is_none();
        let (lease, ports) = match wanted.lease {
            Some(lease) => {
                let ports = self.bind(lease.rtp_port).await?;
                (lease, ports)
            }
            None => self.take_port(&wanted.key).await?,
        };
        let context = &self.context;
        let tracks = wanted.description.tracks.len();
        let published = Arc::new(PublishedStream::new(wanted.key.clone(), &context.ring, tracks));
        let status = Arc::new(StreamStatus::new(context.streams.changes.clone()));
        let counters = Arc::<Counters>::default();
        let leg = Leg {
            published: published.clone(),
            status: status.clone(),
            counters: counters.clone(),
            cname: context.node_id.as_str().into(),
            metrics: context.metrics.clone(),
        };
        let spec = spec(Some(ports), wanted.description.clone());
        let leg = leg.spawn(context.legs, spec, &context.tasks);
        let (sdp, description) = (wanted.sdp, wanted.description);
        let started = Started { sdp, description, lease, by_hand, orphaned: false }.into();
        let entry = Arc::new(Entry {
            published,
            feeds: Feeds::new(status.clone()),
            status,
            counters,
            leg,
            started_at: SystemTime::now(),
            started,
            given_back: AtomicBool::new(false),
        });
        context.streams.insert(wanted.key, entry.clone());
        if !by_hand {
            context.demand.started(&entry);
        }
        Ok(entry)
    }

    /// Binds a leased port. What the node itself still has there is of a lease that has ended; where media comes on it, that was since nobody
    /// could renew it for a while, and its owner puts it back.
    async fn bind(&self, port: u16) -> Result<PortPair, ApiError> {
        if let Some((key, entry)) = self.context.streams.on_port(port) {
            if entry.status.now().state == LegState::Live {
                tracing::info!(stream = %key, port, "the port is leased anew, and media comes on it");
                let source = std::io::ErrorKind::AddrInUse.into();
                return Err(unbound(&BindError { port, source }));
            }
            tracing::info!(stream = %key, port, "the port is leased anew, its old stream ends");
            self.remove(&key, &entry).await;
        }
        self.context.ports.bind(port).map_err(|error| unbound(&error))
    }

    /// Takes a lease for a stream that is started by hand, and binds its port.
    async fn take_port(&self, key: &StreamKey) -> Result<(Lease, PortPair), ApiError> {
        let keeper = &self.context.keeper;
        let mut grant = keeper.allocate(key, Some(&self.context.node_id)).await?;
        for _ in 0..MAX_REJECTED {
            // Where this node has no port left, the registry moves the lease to another one.
            if grant.lease.node_id != self.context.node_id {
                break;
            }
            let port = grant.lease.rtp_port;
            let problem = match self.context.ports.bind(port) {
                Ok(ports) => return Ok((grant.lease, ports)),
                Err(problem) if problem.is_about_the_port() => problem,
                Err(problem) => {
                    keeper.release(&grant.lease.id);
                    return Err(unbound(&problem));
                }
            };
            tracing::warn!(port, error = %problem.source, "an RTP port is held by another program");
            match keeper.reject(&grant.lease.id).await {
                Ok(next) => grant = next,
                Err(error) => {
                    keeper.release(&grant.lease.id);
                    return Err(error.into());
                }
            }
        }
        keeper.release(&grant.lease.id);
        let message = format!("all RTP ports, or the first {MAX_REJECTED}, are held by others");
        Err(ApiError::reason(Kind::ResourceExhausted, "NO_PORT", message))
    }

    async fn start_again(&self, entry: Arc<Entry>, wanted: Wanted) -> Result<Arc<Entry>, ApiError> {
        let started = entry.started();
        let Some(lease) = wanted.lease else {
            if started.by_hand && started.sdp == wanted.sdp {
                return Ok(entry);
            }
            let problem = "is started with other parameters";
            return Err(ApiError::exists("stream", &wanted.key, problem));
        };
        if started.by_hand {
            let problem = "was started by hand on this node";
            return Err(ApiError::exists("stream", &wanted.key, problem));
        }
        if lease.epoch < started.lease.epoch {
            return Err(stale(lease.epoch, started.lease.epoch));
        }
        if lease == started.lease && wanted.sdp == started.sdp && !started.orphaned {
            return Ok(entry);
        }
        let Some(description) = aligned(&started.description, &wanted.description) else {
            // Other tracks: the readers' descriptions are wrong now, so they have to come back.
            self.remove(&wanted.key, &entry).await;
            return self.start_new(Wanted { lease: Some(lease), ..wanted }).await;
        };
        let ports = if lease.rtp_port == started.lease.rtp_port && !started.orphaned {
            None
        } else {
            Some(self.bind(lease.rtp_port).await?)
        };
        let Some(slot) = entry.leg.slot().await else {
            return Err(ApiError::not_found("stream", &wanted.key));
        };
        if lease.epoch > started.lease.epoch {
            // Whom it fed it fed for its old owner.
            entry.feeds.end_all();
        }
        let done = slot.replace(spec(ports, description.clone()));
        let _ = done.await;
        *entry.started.lock().unwrap_or_else(PoisonError::into_inner) =
            Started { sdp: wanted.sdp, description, lease, by_hand: false, orphaned: false };
        entry.status.touch();
        self.context.demand.started(&entry);
        Ok(entry)
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

/// With `PORT_IN_USE` the port is rejected, and another asked for.
fn unbound(error: &BindError) -> ApiError {
    let message = format!("RTP port {} cannot be bound: {}", error.port, error.source);
    let reason = if error.is_about_the_port() { PORT_IN_USE } else { "BIND_FAILED" };
    ApiError::reason(Kind::FailedPrecondition, reason, message)
}

/// The tracks of `after` in the order in which readers know those of `before`, and behind them those that have come late; `None` where
/// readers cannot go on, since a track is gone or has become another.
fn aligned(before: &SessionDescription, after: &SessionDescription) -> Option<SessionDescription> {
    let mut late = after.tracks.clone();
    let mut tracks = Vec::with_capacity(late.len());
    for known in &before.tracks {
        let at = late.iter().position(|track| track.config.follows(&known.config))?;
        tracks.push(late.remove(at));
    }
    tracks.append(&mut late);
    Some(SessionDescription { tracks, ..after.clone() })
}

fn spec(ports: Option<PortPair>, description: SessionDescription) -> LegSpec {
    // The first packet may come long after the call is answered.
    let first_packet = tracing::info_span!(parent: None, "first_rtp_packet");
    telemetry::follow(&first_packet);
    LegSpec { ports, description, first_packet }
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
