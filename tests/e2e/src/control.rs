//! The gRPC API as the tests call it.

use proto::v1::{
    Lease, ListLeasesRequest, ListNodesRequest, ListStreamsRequest, Stream, StreamState,
    registry_client::RegistryClient, stream_control_client::StreamControlClient,
};
use tokio::process::Command;
use tonic::{Status, transport::Channel};

use crate::{clients::run, eventually};

/// StreamControl at `url`.
pub async fn stream_control(url: &str) -> StreamControlClient<Channel> {
    StreamControlClient::connect(url.to_owned()).await.expect("StreamControl")
}

/// The Registry at `url`.
pub async fn registry(url: &str) -> RegistryClient<Channel> {
    RegistryClient::connect(url.to_owned()).await.expect("Registry")
}

/// All streams of the service at `url`.
pub async fn streams(url: &str) -> Vec<Stream> {
    let mut control = stream_control(url).await;
    control.list_streams(ListStreamsRequest {}).await.expect("ListStreams").into_inner().streams
}

/// All leases of the registry at `url`.
pub async fn leases(url: &str) -> Vec<Lease> {
    answered_leases(url).await.expect("ListLeases")
}

/// All leases of the registry at `url`, where it may be without its store.
pub async fn answered_leases(url: &str) -> Result<Vec<Lease>, Status> {
    let mut registry = registry(url).await;
    Ok(registry.list_leases(ListLeasesRequest {}).await?.into_inner().leases)
}

/// Waits until the registry at `url` knows so many nodes.
pub async fn until_nodes(url: &str, count: usize) {
    eventually(&format!("{count} nodes are known"), async || {
        let listed = registry(url).await.list_nodes(ListNodesRequest {}).await.ok()?;
        (listed.into_inner().nodes.len() == count).then_some(())
    })
    .await;
}

/// What the service at `http` has counted under `name`, `rtmp2rtsp_` left out; with labels, all of them together.
pub async fn metric(http: &str, name: &str) -> u64 {
    let mut curl = Command::new("curl");
    curl.args(["-sS", &format!("{http}/metrics")]);
    let text = run(curl).await;
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("rtmp2rtsp_")?.strip_prefix(name)?;
        let value =
            rest.strip_prefix(' ').or_else(|| Some(rest.strip_prefix('{')?.split_once("} ")?.1));
        value?.trim().parse::<u64>().ok()
    });
    values.sum()
}

/// Waits until the node at `url` has the stream and media flows.
pub async fn until_live(url: &str, key: &str) -> Stream {
    eventually(&format!("{key} is live"), async || {
        streams(url).await.into_iter().find(|stream| {
            stream.stream_key == key
                && stream.state() == StreamState::Live
                && !stream.session_description.is_empty()
        })
    })
    .await
}
