//! The `Registry` RPC over any engine.

use std::{pin::Pin, sync::Arc};

use futures_util::{StreamExt, future, stream::Stream};
use proto::v1::{self, registry_server::RegistryServer};
use tonic::{Request, Response, Status};

use crate::{
    Claim, Engine, LeaseId, RegistryError, WatchEvent,
    convert::{
        REASSERT, event_to_proto, lease_from_proto, lease_to_proto, node_from_proto, node_to_proto,
        stream_key,
    },
    status::to_status,
    validate::invalid,
};

/// The largest response, in bytes: a list of as many leases as a book holds, all ids of the longest.
pub(crate) const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// The gRPC service over `engine`.
pub fn service(engine: Arc<dyn Engine>) -> RegistryServer<Service> {
    RegistryServer::new(Service { engine }).max_encoding_message_size(MAX_RESPONSE_BYTES)
}

/// What [`service`] returns is made of. A caller's deadline is kept by the server around it; a call that is dropped
/// leaves an engine either as it was or with a lease that ends by its TTL.
pub struct Service {
    engine: Arc<dyn Engine>,
}

#[tonic::async_trait]
impl v1::registry_server::Registry for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn register_node(
        &self,
        request: Request<v1::RegisterNodeRequest>,
    ) -> Result<Response<v1::RegisterNodeResponse>, Status> {
        let node = request.into_inner().node.ok_or_else(|| invalid("node", "must be given"));
        let node = node.and_then(node_from_proto).map_err(to_status)?;
        let ttl = self.engine.register_node(node.info).await.map_err(to_status)?;
        Ok(Response::new(v1::RegisterNodeResponse { ttl: Some(proto::duration(ttl)) }))
    }

    async fn keep_alive(
        &self,
        request: Request<v1::KeepAliveRequest>,
    ) -> Result<Response<v1::KeepAliveResponse>, Status> {
        let ttl = self.engine.keep_alive(&request.get_ref().node_id).await.map_err(to_status)?;
        Ok(Response::new(v1::KeepAliveResponse { ttl: Some(proto::duration(ttl)) }))
    }

    async fn deregister_node(
        &self,
        request: Request<v1::DeregisterNodeRequest>,
    ) -> Result<Response<v1::DeregisterNodeResponse>, Status> {
        self.engine.deregister_node(&request.get_ref().node_id).await.map_err(to_status)?;
        Ok(Response::new(v1::DeregisterNodeResponse {}))
    }

    async fn allocate_port(
        &self,
        request: Request<v1::AllocatePortRequest>,
    ) -> Result<Response<v1::AllocatePortResponse>, Status> {
        let claim = claim(request.into_inner()).map_err(to_status)?;
        let grant = self.engine.allocate_port(claim).await.map_err(to_status)?;
        Ok(Response::new(v1::AllocatePortResponse {
            lease: Some(lease_to_proto(grant.lease)),
            node: Some(node_to_proto(grant.node)),
        }))
    }

    async fn renew_leases(
        &self,
        request: Request<v1::RenewLeasesRequest>,
    ) -> Result<Response<v1::RenewLeasesResponse>, Status> {
        let v1::RenewLeasesRequest { owner_id, lease_ids } = request.into_inner();
        let leases: Vec<_> = lease_ids.into_iter().map(LeaseId).collect();
        let (lost, ttl) = self.engine.renew_leases(&owner_id, &leases).await.map_err(to_status)?;
        Ok(Response::new(v1::RenewLeasesResponse {
            lost_lease_ids: lost.into_iter().map(|id| id.0).collect(),
            ttl: Some(proto::duration(ttl)),
        }))
    }

    async fn release_port(
        &self,
        request: Request<v1::ReleasePortRequest>,
    ) -> Result<Response<v1::ReleasePortResponse>, Status> {
        let lease = LeaseId(request.into_inner().lease_id);
        self.engine.release_port(&lease).await.map_err(to_status)?;
        Ok(Response::new(v1::ReleasePortResponse {}))
    }

    async fn reject_port(
        &self,
        request: Request<v1::RejectPortRequest>,
    ) -> Result<Response<v1::RejectPortResponse>, Status> {
        let lease = LeaseId(request.into_inner().lease_id);
        let grant = self.engine.reject_port(&lease).await.map_err(to_status)?;
        Ok(Response::new(v1::RejectPortResponse {
            lease: Some(lease_to_proto(grant.lease)),
            node: Some(node_to_proto(grant.node)),
        }))
    }

    async fn lookup_stream(
        &self,
        request: Request<v1::LookupStreamRequest>,
    ) -> Result<Response<v1::LookupStreamResponse>, Status> {
        let key = stream_key("stream_key", &request.get_ref().stream_key).map_err(to_status)?;
        let owner = self.engine.lookup_stream(&key).await.map_err(to_status)?;
        Ok(Response::new(v1::LookupStreamResponse {
            owner_id: owner.owner_id,
            owner_grpc_url: owner.owner_grpc_url,
            epoch: owner.epoch,
            leases: owner.leases.into_iter().map(lease_to_proto).collect(),
            nodes: owner.nodes.into_iter().map(node_to_proto).collect(),
        }))
    }

    async fn list_nodes(
        &self,
        _request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let nodes = self.engine.list_nodes().await.map_err(to_status)?;
        let nodes = nodes.into_iter().map(node_to_proto).collect();
        Ok(Response::new(v1::ListNodesResponse { nodes }))
    }

    async fn list_leases(
        &self,
        _request: Request<v1::ListLeasesRequest>,
    ) -> Result<Response<v1::ListLeasesResponse>, Status> {
        let leases = self.engine.list_leases().await.map_err(to_status)?;
        let leases = leases.into_iter().map(lease_to_proto).collect();
        Ok(Response::new(v1::ListLeasesResponse { leases }))
    }

    async fn watch(
        &self,
        _request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = self.engine.watch().await.map_err(to_status)?;
        let responses = watch.scan(true, |in_snapshot, event| {
            if event == Ok(WatchEvent::SnapshotEnd) {
                *in_snapshot = false;
            }
            let response = event.map(|event| event_to_proto(event, *in_snapshot));
            future::ready(Some(response.map_err(to_status)))
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

fn claim(request: v1::AllocatePortRequest) -> Result<Claim, RegistryError> {
    let reassert = request.reassert.map(|lease| lease_from_proto(lease, &REASSERT));
    Ok(Claim {
        stream_key: stream_key("stream_key", &request.stream_key)?,
        owner_id: request.owner_id,
        owner_grpc_url: request.owner_grpc_url,
        node_id: Some(request.node_id).filter(|id| !id.is_empty()),
        reassert: reassert.transpose()?,
        supersede: Some(request.supersede_epoch).filter(|epoch| *epoch != 0),
    })
}

#[cfg(test)]
mod tests;
