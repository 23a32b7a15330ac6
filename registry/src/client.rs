//! The client of the Registry RPC. It implements [`Engine`], so that whoever needs the lease book does not
//! care whether it is in this process, in another, or in etcd.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, future};
use media::StreamKey;
use proto::v1::{self, registry_client::RegistryClient};
use svc_core::grpc::{Channel, channel};
use tonic::{Request, Response, Status};

use crate::{
    Claim, Engine, Grant, Lease, LeaseId, Node, NodeInfo, RegistryError, StreamOwner,
    convert::{
        answered_lease, answered_node, event_from_proto, grant_from_proto, info_to_proto,
        lease_to_proto,
    },
    engine::Watch,
    service::MAX_RESPONSE_BYTES,
    status::from_status,
    validate::invalid,
};

/// How long a call may take. The registry answers from memory; this is for a network that lost a packet or two.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Calls a remote registry. Each call has a deadline of 2 s; what cannot be reached is
/// [`RegistryError::Unavailable`] at once.
#[derive(Clone)]
pub struct Client {
    inner: RegistryClient<Channel>,
}

impl Client {
    /// A client of the registry at "http://host:port"; connects lazily and again whenever needed. Needs a runtime.
    pub fn new(url: &str) -> Result<Self, RegistryError> {
        let channel = channel(url).map_err(|error| {
            invalid("registry_url", format!("{url:?} is not a URL to call: {error}"))
        })?;
        let inner = RegistryClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
        Ok(Self { inner })
    }
}

/// A request that tells the server the deadline, too.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// Waits for an answer until the deadline.
async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RegistryError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(from_status(status)),
        Err(_elapsed) => Err(RegistryError::Unavailable(format!("no answer in {DEADLINE:?}"))),
    }
}

#[async_trait]
impl Engine for Client {
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError> {
        let request = request(v1::RegisterNodeRequest { node: Some(info_to_proto(node)) });
        let response = answer(self.inner.clone().register_node(request)).await?;
        Ok(proto::std_duration(response.ttl))
    }

    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError> {
        let request = request(v1::KeepAliveRequest { node_id: node_id.to_owned() });
        let response = answer(self.inner.clone().keep_alive(request)).await?;
        Ok(proto::std_duration(response.ttl))
    }

    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError> {
        let request = request(v1::DeregisterNodeRequest { node_id: node_id.to_owned() });
        answer(self.inner.clone().deregister_node(request)).await?;
        Ok(())
    }

    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError> {
        let request = request(v1::AllocatePortRequest {
            stream_key: claim.stream_key.to_string(),
            owner_id: claim.owner_id,
            node_id: claim.node_id.unwrap_or_default(),
            owner_grpc_url: claim.owner_grpc_url,
            reassert: claim.reassert.map(lease_to_proto),
            supersede_epoch: claim.supersede.unwrap_or_default(),
        });
        let response = answer(self.inner.clone().allocate_port(request)).await?;
        grant_from_proto(response.lease, response.node)
    }

    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError> {
        let request = request(v1::RenewLeasesRequest {
            owner_id: owner_id.to_owned(),
            lease_ids: leases.iter().map(|id| id.0.clone()).collect(),
        });
        let response = answer(self.inner.clone().renew_leases(request)).await?;
        let lost = response.lost_lease_ids.into_iter().map(LeaseId).collect();
        Ok((lost, proto::std_duration(response.ttl)))
    }

    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError> {
        let request = request(v1::ReleasePortRequest { lease_id: lease.0.clone() });
        answer(self.inner.clone().release_port(request)).await?;
        Ok(())
    }

    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        let request = request(v1::RejectPortRequest { lease_id: lease.0.clone() });
        let response = answer(self.inner.clone().reject_port(request)).await?;
        grant_from_proto(response.lease, response.node)
    }

    async fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        let request = request(v1::LookupStreamRequest { stream_key: key.to_string() });
        let response = answer(self.inner.clone().lookup_stream(request)).await?;
        Ok(StreamOwner {
            owner_id: response.owner_id,
            owner_grpc_url: response.owner_grpc_url,
            epoch: response.epoch,
            leases: response.leases.into_iter().map(answered_lease).collect::<Result<_, _>>()?,
            nodes: response.nodes.into_iter().map(answered_node).collect::<Result<_, _>>()?,
        })
    }

    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError> {
        let request = request(v1::ListNodesRequest {});
        let response = answer(self.inner.clone().list_nodes(request)).await?;
        response.nodes.into_iter().map(answered_node).collect()
    }

    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError> {
        let request = request(v1::ListLeasesRequest {});
        let response = answer(self.inner.clone().list_leases(request)).await?;
        response.leases.into_iter().map(answered_lease).collect()
    }

    async fn watch(&self) -> Result<Watch, RegistryError> {
        // No deadline goes with it: it lasts as long as the caller wants it to.
        let mut client = self.inner.clone();
        let responses = answer(client.watch(v1::WatchRequest {})).await?;
        let events = responses.map(|response| match response {
            Ok(response) => event_from_proto(response),
            Err(status) => Err(from_status(status)),
        });
        // Both sides end after an error; whatever came after would be without order.
        let events = events.scan(false, |over, event| {
            let event = (!*over).then_some(event);
            *over |= matches!(event, Some(Err(_)));
            future::ready(event)
        });
        Ok(Box::pin(events))
    }
}
