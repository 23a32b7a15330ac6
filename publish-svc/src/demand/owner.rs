//! What a node says to the ingest that has a stream: StartStream and StopStream of its own leg.

use std::time::Duration;

use media::StreamKey;
use proto::v1::{self, stream_control_client::StreamControlClient};
use registry::StreamOwner;
use svc_core::{
    error::{ApiError, Detail, Kind},
    grpc::{self, Channel},
};
use tonic::Status;

/// How long an ingest may take to make a leg: its calls of the registry and of this node have 2 s and 5 s.
const START_TIMEOUT: Duration = Duration::from_secs(8);
/// How long it may take to end one: a further one may have to be made first.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);

/// Asks for a leg of the stream to this node; it has the stream when this is answered.
pub(super) async fn start(
    owner: &StreamOwner,
    key: &StreamKey,
    node_id: &str,
) -> Result<(), ApiError> {
    let mut client = client(owner)?;
    let request = v1::StartStreamRequest {
        stream_key: key.as_str().to_owned(),
        node_id: node_id.to_owned(),
        ..Default::default()
    };
    let asked = grpc::within(START_TIMEOUT, request, |request| client.start_stream(request));
    asked.await.map(drop).map_err(refused)
}

/// Asks for the leg to this node to be ended; it has when this is answered.
pub(super) async fn stop(
    owner: &StreamOwner,
    key: &StreamKey,
    node_id: &str,
) -> Result<(), ApiError> {
    let mut client = client(owner)?;
    let request = v1::StopStreamRequest {
        stream_key: key.as_str().to_owned(),
        node_id: node_id.to_owned(),
        ..Default::default()
    };
    let asked = grpc::within(STOP_TIMEOUT, request, |request| client.stop_stream(request));
    asked.await.map(drop).map_err(refused)
}

fn client(owner: &StreamOwner) -> Result<StreamControlClient<Channel>, ApiError> {
    let StreamOwner { owner_id, owner_grpc_url: url, .. } = owner;
    let channel = grpc::channel(url).map_err(|error| {
        let text = format!("{owner_id} cannot be called at {url:?}: {error}");
        ApiError::reason(Kind::FailedPrecondition, "NO_OWNER_URL", text)
    })?;
    Ok(StreamControlClient::new(channel))
}

fn refused(status: Status) -> ApiError {
    let (kind, message) = (Kind::from_code(status.code()), status.message().to_owned());
    ApiError { kind, message, detail: Detail::None }
}
