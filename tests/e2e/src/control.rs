//! The gRPC API as the tests call it.

use proto::v1::{
    Lease, ListLeasesRequest, ListStreamsRequest, Stream, StreamState,
    registry_client::RegistryClient, stream_control_client::StreamControlClient,
};
use tonic::transport::Channel;

use crate::eventually;

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
    let mut registry = registry(url).await;
    registry.list_leases(ListLeasesRequest {}).await.expect("ListLeases").into_inner().leases
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
