//! The client of the Registry RPC. It implements [`Engine`], so that whoever needs the lease book does not
//! care whether it is in this process, in another, or in etcd.

mod addresses;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, future};
use media::StreamKey;
use proto::v1::{self, registry_client::RegistryClient};
use svc_core::grpc::Channel;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use addresses::Addresses;

use crate::{
    Claim, Engine, Grant, Lease, LeaseId, Node, NodeInfo, RegistryError, StreamOwner,
    convert::{
        answered_lease, answered_node, event_from_proto, grant_from_proto, info_to_proto,
        lease_to_proto,
    },
    engine::Watch,
    status::from_status,
};

/// How long a call may take. The registry answers from memory; this is for a network that lost a packet or two.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Calls a remote registry, at the first of its addresses that takes a connection; when that fails, at another. Each call has a
/// deadline of 2 s for all that it tries; what cannot be reached is [`RegistryError::Unavailable`].
#[derive(Clone)]
pub struct Client {
    addresses: Arc<Addresses>,
}

type Inner = RegistryClient<Channel>;

impl Client {
    /// A client of the registry at "http://host:port", or at several, separated by commas, that share one engine. A name stands for all
    /// addresses that it has. Connects lazily and again whenever needed; needs a runtime.
    pub fn new(urls: &str) -> Result<Self, RegistryError> {
        Ok(Self { addresses: Arc::new(Addresses::new(urls)?) })
    }

    /// Asks one address after the other until one answers; of a call that must not be made twice only one.
    async fn ask<T, F>(
        &self,
        tries: usize,
        mut call: impl FnMut(Inner) -> F + Send,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let deadline = Instant::now() + DEADLINE;
        let mut last = RegistryError::Unavailable(format!("no answer in {DEADLINE:?}"));
        for left in (0..tries).rev() {
            let (number, client) = self.addresses.current();
            // With another address to ask there is time left for it.
            let more = left > 0 && self.addresses.has_others();
            let until = if more { deadline.min(Instant::now() + DEADLINE / 2) } else { deadline };
            last = match timeout_at(until, call(client)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => match from_status(status) {
                    error @ RegistryError::Unavailable(_) => error,
                    refusal => return Err(refusal),
                },
                Err(_elapsed) => {
                    let asked = self.addresses.asked();
                    RegistryError::Unavailable(format!("{asked} did not answer"))
                }
            };
            self.addresses.failed(number);
            if !more {
                break;
            }
        }
        Err(last)
    }
}

/// How many addresses one call may ask.
const TRIES: usize = 3;

/// A request that tells the server the deadline, too.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

#[async_trait]
impl Engine for Client {
    async fn register_node(&self, node: NodeInfo) -> Result<Duration, RegistryError> {
        let message = v1::RegisterNodeRequest { node: Some(info_to_proto(node)) };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.register_node(request).await }
        };
        let response = self.ask(TRIES, call).await?;
        Ok(proto::std_duration(response.ttl))
    }

    async fn keep_alive(&self, node_id: &str) -> Result<Duration, RegistryError> {
        let message = v1::KeepAliveRequest { node_id: node_id.to_owned() };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.keep_alive(request).await }
        };
        let response = self.ask(TRIES, call).await?;
        Ok(proto::std_duration(response.ttl))
    }

    async fn deregister_node(&self, node_id: &str) -> Result<(), RegistryError> {
        let message = v1::DeregisterNodeRequest { node_id: node_id.to_owned() };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.deregister_node(request).await }
        };
        self.ask(TRIES, call).await?;
        Ok(())
    }

    async fn allocate_port(&self, claim: Claim) -> Result<Grant, RegistryError> {
        let message = v1::AllocatePortRequest {
            stream_key: claim.stream_key.to_string(),
            owner_id: claim.owner_id,
            node_id: claim.node_id.unwrap_or_default(),
            owner_grpc_url: claim.owner_grpc_url,
            reassert: claim.reassert.map(lease_to_proto),
            supersede_epoch: claim.supersede.unwrap_or_default(),
        };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.allocate_port(request).await }
        };
        let response = self.ask(TRIES, call).await?;
        grant_from_proto(response.lease, response.node)
    }

    async fn renew_leases(
        &self,
        owner_id: &str,
        leases: &[LeaseId],
    ) -> Result<(Vec<LeaseId>, Duration), RegistryError> {
        let message = v1::RenewLeasesRequest {
            owner_id: owner_id.to_owned(),
            lease_ids: leases.iter().map(|id| id.0.clone()).collect(),
        };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.renew_leases(request).await }
        };
        let response = self.ask(TRIES, call).await?;
        let lost = response.lost_lease_ids.into_iter().map(LeaseId).collect();
        Ok((lost, proto::std_duration(response.ttl)))
    }

    async fn release_port(&self, lease: &LeaseId) -> Result<(), RegistryError> {
        let message = v1::ReleasePortRequest { lease_id: lease.0.clone() };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.release_port(request).await }
        };
        self.ask(TRIES, call).await?;
        Ok(())
    }

    async fn reject_port(&self, lease: &LeaseId) -> Result<Grant, RegistryError> {
        let message = v1::RejectPortRequest { lease_id: lease.0.clone() };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.reject_port(request).await }
        };
        let response = self.ask(1, call).await?;
        grant_from_proto(response.lease, response.node)
    }

    async fn lookup_stream(&self, key: &StreamKey) -> Result<StreamOwner, RegistryError> {
        let message = v1::LookupStreamRequest { stream_key: key.to_string() };
        let call = |mut client: Inner| {
            let request = request(message.clone());
            async move { client.lookup_stream(request).await }
        };
        let response = self.ask(TRIES, call).await?;
        Ok(StreamOwner {
            owner_id: response.owner_id,
            owner_grpc_url: response.owner_grpc_url,
            epoch: response.epoch,
            leases: response.leases.into_iter().map(answered_lease).collect::<Result<_, _>>()?,
            nodes: response.nodes.into_iter().map(answered_node).collect::<Result<_, _>>()?,
        })
    }

    async fn list_nodes(&self) -> Result<Vec<Node>, RegistryError> {
        let message = v1::ListNodesRequest {};
        let call = |mut client: Inner| {
            let request = request(message);
            async move { client.list_nodes(request).await }
        };
        let response = self.ask(TRIES, call).await?;
        response.nodes.into_iter().map(answered_node).collect()
    }

    async fn list_leases(&self) -> Result<Vec<Lease>, RegistryError> {
        let message = v1::ListLeasesRequest {};
        let call = |mut client: Inner| {
            let request = request(message);
            async move { client.list_leases(request).await }
        };
        let response = self.ask(TRIES, call).await?;
        response.leases.into_iter().map(answered_lease).collect()
    }

    async fn watch(&self) -> Result<Watch, RegistryError> {
        // No deadline goes with it: it lasts as long as the caller wants it to.
        let call = |mut client: Inner| async move { client.watch(v1::WatchRequest {}).await };
        let responses = self.ask(TRIES, call).await?;
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

#[cfg(test)]
mod tests;
