//! StreamControl on ingest-svc (see the comments in `proto/rtmp2rtsp/v1/stream_control.proto`).

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use futures_util::stream::Stream;
use media::StreamKey;
use proto::v1::{self, StreamEvent, stream_control_server::StreamControl};
use svc_core::{
    drain::Shutdown,
    error::{ApiError, stream_key},
    tasks::Tasks,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    stream::{Arming, StreamStatus},
    streams::Table,
};

/// Changes of one stream within this time are told as one.
const COALESCE: Duration = Duration::from_millis(50);
/// Events that wait for a slow watcher; then it is waited for, and changes meanwhile become one.
const MAX_EVENTS: usize = 64;

/// The service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    table: Arc<Table>,
    tasks: Tasks,
    shutdown: Shutdown,
}

impl Control {
    /// The service over `table`.
    pub(crate) fn new(table: Arc<Table>, tasks: Tasks, shutdown: Shutdown) -> Self {
        Self { table, tasks, shutdown }
    }

    /// Arms a key.
    pub(crate) fn start(
        &self,
        request: &v1::StartStreamRequest,
    ) -> Result<v1::StartStreamResponse, ApiError> {
        let key = stream_key(&request.stream_key)?;
        let not_here = "is for publish-svc; leave it empty here";
        if !request.session_description.is_empty() {
            return Err(ApiError::field("session_description", not_here));
        }
        if request.lease.is_some() {
            return Err(ApiError::field("lease", not_here));
        }
        if !request.source_url.is_empty() {
            return Err(ApiError::field("source_url", "pulling is not served by this version"));
        }
        let arming = Arming { offline_picture: request.offline_picture };
        Ok(v1::StartStreamResponse { stream: Some(self.table.start(&key, arming)?) })
    }

    /// Ends a stream.
    pub(crate) async fn stop(
        &self,
        request: &v1::StopStreamRequest,
    ) -> Result<v1::StopStreamResponse, ApiError> {
        let key = stream_key(&request.stream_key)?;
        if request.epoch != 0 {
            return Err(ApiError::field("epoch", "is for publish-svc; leave it empty here"));
        }
        Ok(v1::StopStreamResponse { stream: Some(self.table.stop(&key).await?) })
    }

    /// All streams.
    pub(crate) fn list(&self) -> v1::ListStreamsResponse {
        let streams = self.table.list().iter().map(|status| status.to_proto()).collect();
        v1::ListStreamsResponse { streams }
    }
}

#[tonic::async_trait]
impl StreamControl for Control {
    async fn start_stream(
        &self,
        request: Request<v1::StartStreamRequest>,
    ) -> Result<Response<v1::StartStreamResponse>, Status> {
        Ok(Response::new(self.start(request.get_ref())?))
    }

    async fn stop_stream(
        &self,
        request: Request<v1::StopStreamRequest>,
    ) -> Result<Response<v1::StopStreamResponse>, Status> {
        Ok(Response::new(self.stop(request.get_ref()).await?))
    }

    async fn get_stream(
        &self,
        request: Request<v1::GetStreamRequest>,
    ) -> Result<Response<v1::GetStreamResponse>, Status> {
        let key = stream_key(&request.get_ref().stream_key)?;
        Ok(Response::new(v1::GetStreamResponse { stream: Some(self.table.stream(&key)?) }))
    }

    async fn list_streams(
        &self,
        _request: Request<v1::ListStreamsRequest>,
    ) -> Result<Response<v1::ListStreamsResponse>, Status> {
        Ok(Response::new(self.list()))
    }

    type WatchStreamsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchStreamsResponse, Status>> + Send>>;

    async fn watch_streams(
        &self,
        _request: Request<v1::WatchStreamsRequest>,
    ) -> Result<Response<Self::WatchStreamsStream>, Status> {
        let (events, receiver) = mpsc::channel(MAX_EVENTS);
        let (table, shutdown) = (self.table.clone(), self.shutdown.clone());
        self.tasks.spawn("watch", async move {
            tokio::select! {
                () = shutdown.draining().cancelled() => {}
                // Ends when the caller hangs up.
                _ = watch(&table, &events) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

type Events = mpsc::Sender<Result<v1::WatchStreamsResponse, Status>>;

/// A stream as a watcher saw it last.
struct Seen {
    instance: u64,
    version: u64,
    status: Arc<StreamStatus>,
}

/// Tells all streams, then every change, until nobody listens.
async fn watch(table: &Table, events: &Events) -> Option<()> {
    let mut changes = table.changes();
    let mut seen = BTreeMap::new();
    for status in table.list() {
        see(&mut seen, &status);
        tell(events, StreamEvent::Snapshot, Some(&status)).await?;
    }
    tell(events, StreamEvent::SnapshotEnd, None).await?;
    loop {
        tokio::select! {
            () = events.closed() => return None,
            changed = changes.changed() => changed.ok()?,
        }
        let now = table.list();
        tell_removed(&mut seen, &now, events).await?;
        for status in &now {
            let event = match seen.get(&status.key) {
                None => StreamEvent::Added,
                Some(Seen { version, .. }) if *version != status.version() => StreamEvent::Changed,
                Some(_) => continue,
            };
            see(&mut seen, status);
            tell(events, event, Some(status)).await?;
        }
        tokio::time::sleep(COALESCE).await;
    }
}

/// Tells of the streams that are gone, those whose key has come again included.
async fn tell_removed(
    seen: &mut BTreeMap<StreamKey, Seen>,
    now: &[Arc<StreamStatus>],
    events: &Events,
) -> Option<()> {
    let is_there = |seen: &Seen| {
        now.binary_search_by(|status| status.key.cmp(&seen.status.key))
            .is_ok_and(|at| now[at].instance == seen.instance)
    };
    let gone: Vec<_> = seen.values().filter(|s| !is_there(s)).map(|s| s.status.clone()).collect();
    for status in gone {
        seen.remove(&status.key);
        tell(events, StreamEvent::Removed, Some(&status)).await?;
    }
    Some(())
}

fn see(seen: &mut BTreeMap<StreamKey, Seen>, status: &Arc<StreamStatus>) {
    let (instance, version) = (status.instance, status.version());
    seen.insert(status.key.clone(), Seen { instance, version, status: status.clone() });
}

/// `None` when nobody listens.
async fn tell(
    events: &Events,
    event: StreamEvent,
    status: Option<&Arc<StreamStatus>>,
) -> Option<()> {
    let stream = status.map(|status| status.to_proto());
    events.send(Ok(v1::WatchStreamsResponse { event: event.into(), stream })).await.ok()
}
