//! What a leg says to its node: StartStream, StopStream.

use std::time::Duration;

use media::sdp::{SessionDescription, TrackDescription};
use proto::v1::{self, stream_control_client::StreamControlClient};
use svc_core::{
    error::{Kind, PORT_IN_USE},
    grpc,
};
use tonic_types::StatusExt;
use tracing::debug;

use crate::{Config, Opened, Target, Track};

/// How long a node may take to answer StartStream: it binds a port, which takes milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to answer StopStream.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a node did not start a stream.
#[derive(Debug, thiserror::Error)]
#[error("node {node_id} at {url:?}: {message}")]
pub struct NodeError {
    node_id: String,
    url: String,
    message: String,
    /// How it answered.
    pub kind: Kind,
    /// The node could not bind the port of the lease.
    pub port_in_use: bool,
}

/// Tells the node of a leg what comes on it, and by which key; it has bound its port when it answers.
pub(crate) async fn start(leg: &Opened, tracks: &[Track]) -> Result<(), NodeError> {
    let Opened { config, target, sockets, key, .. } = leg;
    let description = SessionDescription {
        name: config.key.as_str().to_owned(),
        source_address: sockets.local_ip().ok(),
        crypto: key.clone(),
        tracks: tracks.iter().map(|track| describe(config, track)).collect(),
    };
    let request = v1::StartStreamRequest {
        stream_key: config.key.as_str().to_owned(),
        session_description: description.to_leg_sdp(sockets.rtp_address()),
        lease: Some(registry::lease_to_proto(target.lease.clone())),
        ..Default::default()
    };
    let url = &target.node.grpc_url;
    let failure = |kind, message: String, port_in_use| NodeError {
        node_id: target.node.id.clone(),
        url: url.clone(),
        message,
        kind,
        port_in_use,
    };
    let channel = grpc::channel(url)
        .map_err(|error| failure(Kind::InvalidArgument, error.to_string(), false))?;
    let mut request = tonic::Request::new(request);
    request.set_timeout(START_TIMEOUT);
    let mut client = StreamControlClient::new(channel);
    match tokio::time::timeout(START_TIMEOUT, client.start_stream(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => {
            let info = status.get_details_error_info();
            let port_in_use = info.is_some_and(|info| info.reason == PORT_IN_USE);
            Err(failure(Kind::from_code(status.code()), status.message().into(), port_in_use))
        }
        Err(_) => Err(failure(Kind::DeadlineExceeded, "no answer to StartStream".into(), false)),
    }
}

fn describe(config: &Config, track: &Track) -> TrackDescription {
    TrackDescription {
        config: track.config.clone(),
        payload_type: track.payload_type,
        ssrc: Some(track.ssrc),
        cname: Some(config.cname.clone()),
        nack: config.hop.nack,
    }
}

/// Tells the node of a leg that the stream ends.
pub async fn stop(config: &Config, target: &Target) {
    let mut request = tonic::Request::new(v1::StopStreamRequest {
        stream_key: config.key.as_str().to_owned(),
        epoch: target.lease.epoch,
        ..Default::default()
    });
    request.set_timeout(STOP_TIMEOUT);
    let Ok(channel) = grpc::channel(&target.node.grpc_url) else { return };
    let mut client = StreamControlClient::new(channel);
    match tokio::time::timeout(STOP_TIMEOUT, client.stop_stream(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(status)) => debug!(%status, "StopStream on the node"),
        Err(_) => debug!("no answer to StopStream from the node"),
    }
}
