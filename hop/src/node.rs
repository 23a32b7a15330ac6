//! What is said to nodes about a leg: StartStream, StopStream.

use std::time::Duration;

use media::sdp::{SessionDescription, TrackDescription};
use proto::v1::{self, stream_control_client::StreamControlClient};
use registry::NodeInfo;
use svc_core::{
    error::{ApiError, Kind, LEG_FAILED, PORT_IN_USE},
    grpc::{self, Channel},
};
use tonic_types::StatusExt;
use tracing::debug;

use crate::{Config, Opened, Target, Track};

/// How long a node may take to answer StartStream: it binds a port, which takes milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to answer StopStream.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a node did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("node {node_id} at {url:?}: {message}")]
pub struct NodeError {
    node_id: String,
    url: String,
    message: String,
    /// How it answered.
    pub kind: Kind,
    /// Of its answer; empty where there was none.
    reason: String,
}

impl NodeError {
    fn new(node: &NodeInfo, kind: Kind, message: String, reason: String) -> Self {
        Self { node_id: node.id.clone(), url: node.grpc_url.clone(), message, kind, reason }
    }

    /// The node of the lease could not bind its port.
    pub fn is_port_in_use(&self) -> bool {
        self.reason == PORT_IN_USE
    }

    /// A feeder did what it was asked for, and the node that it was to feed did not. Otherwise it is the feeder's own fault: it is gone, or
    /// has not the stream.
    pub fn is_of_fed_node(&self) -> bool {
        self.is_port_in_use() || self.reason == LEG_FAILED
    }
}

impl From<&NodeError> for ApiError {
    fn from(error: &NodeError) -> Self {
        let reason = if error.is_port_in_use() { PORT_IN_USE } else { LEG_FAILED };
        Self::reason(error.kind, reason, error.to_string())
    }
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
    let mut client = client(&target.node)?;
    start_on(&target.node, &mut client, request, START_TIMEOUT).await.map(drop)
}

/// A node that is to feed others; clones share one connection.
#[derive(Clone)]
pub struct Feeder {
    node: NodeInfo,
    client: StreamControlClient<Channel>,
}

impl Feeder {
    /// The feeder that this node is.
    pub fn new(node: NodeInfo) -> Result<Self, NodeError> {
        let client = client(&node)?;
        Ok(Self { node, client })
    }

    /// Its node's id.
    pub fn node_id(&self) -> &str {
        &self.node.id
    }

    /// Has it feed the node of `target` with a stream that it has, or go on doing so. The leg as it is there.
    pub async fn feed(
        &mut self,
        target: &Target,
        patience: Duration,
    ) -> Result<v1::Leg, NodeError> {
        let request = v1::StartStreamRequest {
            stream_key: target.lease.stream_key.as_str().to_owned(),
            lease: Some(registry::lease_to_proto(target.lease.clone())),
            feed: Some(registry::info_to_proto(target.node.clone())),
            ..Default::default()
        };
        let stream = start_on(&self.node, &mut self.client, request, patience).await?;
        let mut legs = stream.into_iter().flat_map(|stream| stream.legs);
        let leg = legs.find(|leg| leg.node_id == target.node.id);
        // A node of an older version.
        let no_feed = || "it does not feed other nodes".to_owned();
        leg.ok_or_else(|| NodeError::new(&self.node, Kind::Unimplemented, no_feed(), String::new()))
    }

    /// Tells it to feed the node of `target` no longer.
    pub async fn stop(&mut self, target: &Target) {
        let node_id = target.node.id.clone();
        let request = v1::StopStreamRequest { node_id, ..of_stream(target) };
        stop_on(&self.node, &mut self.client, request).await;
    }
}

async fn start_on(
    node: &NodeInfo,
    client: &mut StreamControlClient<Channel>,
    request: v1::StartStreamRequest,
    patience: Duration,
) -> Result<Option<v1::Stream>, NodeError> {
    let asked = grpc::within(patience, request, |request| client.start_stream(request)).await;
    match asked {
        Ok(started) => Ok(started.stream),
        Err(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason);
            let (kind, message) = (Kind::from_code(status.code()), status.message().to_owned());
            Err(NodeError::new(node, kind, message, reason.unwrap_or_default()))
        }
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
pub async fn stop(target: &Target) {
    let request = v1::StopStreamRequest { epoch: target.lease.epoch, ..of_stream(target) };
    let Ok(mut client) = client(&target.node) else { return };
    stop_on(&target.node, &mut client, request).await;
}

fn of_stream(target: &Target) -> v1::StopStreamRequest {
    let stream_key = target.lease.stream_key.as_str().to_owned();
    v1::StopStreamRequest { stream_key, ..Default::default() }
}

async fn stop_on(
    node: &NodeInfo,
    client: &mut StreamControlClient<Channel>,
    request: v1::StopStreamRequest,
) {
    let asked = grpc::within(STOP_TIMEOUT, request, |request| client.stop_stream(request)).await;
    if let Err(status) = asked {
        debug!(node = node.id, %status, "StopStream");
    }
}

fn client(node: &NodeInfo) -> Result<StreamControlClient<Channel>, NodeError> {
    let channel = grpc::channel(&node.grpc_url);
    let no_url = |error: tonic::transport::Error| {
        NodeError::new(node, Kind::InvalidArgument, error.to_string(), String::new())
    };
    Ok(StreamControlClient::new(channel.map_err(no_url)?))
}
