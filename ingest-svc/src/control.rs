//! StreamControl on ingest-svc (see the comments in `proto/rtmp2rtsp/v1/stream_control.proto`).

use std::sync::Arc;

use media::{StreamKey, rtmp::RtmpUrl};
use proto::v1::{self, stream_control_server::StreamControl};
use svc_core::{
    drain::Shutdown,
    error::{ApiError, stream_key},
    grpc::{WatchResponses, watch_streams},
    tasks::Tasks,
};
use tonic::{Request, Response, Status};

use crate::{stream::Arming, streams::Table};

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

    /// Arms a key, or pulls it, or makes a leg of it to a further node.
    pub(crate) async fn start(
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
        if !request.node_id.is_empty() {
            return self.add_leg(&key, request).await;
        }
        let source = match request.source_url.as_str() {
            "" => None,
            // The error says what is wrong without repeating the URL, which may hold secrets.
            url => Some(RtmpUrl::parse(url).map_err(|error| ApiError::field("source_url", error))?),
        };
        let arming = Arming { offline_picture: request.offline_picture };
        Ok(v1::StartStreamResponse { stream: Some(self.table.start(&key, arming, source)?) })
    }

    async fn add_leg(
        &self,
        key: &StreamKey,
        request: &v1::StartStreamRequest,
    ) -> Result<v1::StartStreamResponse, ApiError> {
        let not_with = "is for a stream that is to be started; leave it out with node_id";
        if !request.source_url.is_empty() {
            return Err(ApiError::field("source_url", not_with));
        }
        if request.offline_picture {
            return Err(ApiError::field("offline_picture", not_with));
        }
        let stream = self.table.add_leg(key, request.node_id.clone()).await?;
        Ok(v1::StartStreamResponse { stream: Some(stream) })
    }

    /// Ends a stream, or one leg of it.
    pub(crate) async fn stop(
        &self,
        request: &v1::StopStreamRequest,
    ) -> Result<v1::StopStreamResponse, ApiError> {
        let key = stream_key(&request.stream_key)?;
        if request.epoch != 0 {
            return Err(ApiError::field("epoch", "is for publish-svc; leave it empty here"));
        }
        let stream = match request.node_id.as_str() {
            "" => self.table.stop(&key).await?,
            node_id => self.table.end_leg(&key, node_id.to_owned()).await?,
        };
        Ok(v1::StopStreamResponse { stream: Some(stream) })
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
        Ok(Response::new(self.start(request.get_ref()).await?))
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

    type WatchStreamsStream = WatchResponses;

    async fn watch_streams(
        &self,
        _request: Request<v1::WatchStreamsRequest>,
    ) -> Result<Response<Self::WatchStreamsStream>, Status> {
        Ok(Response::new(watch_streams(self.table.clone(), &self.tasks, &self.shutdown)))
    }
}
