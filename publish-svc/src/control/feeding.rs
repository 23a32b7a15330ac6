//! StartStream with a `feed`: the node feeds another, for the ingest that has the stream.

use hop::Target;
use media::StreamKey;
use proto::v1;
use registry::NodeFields;
use svc_core::error::{ApiError, Kind, stream_key};

use super::{Control, fences::stale, read_any_lease};

/// What is asked for, read.
pub(super) struct WantedFeed {
    key: StreamKey,
    target: Target,
}

/// Reads it.
pub(super) fn read(request: v1::StartStreamRequest) -> Result<WantedFeed, ApiError> {
    const FIELDS: NodeFields = NodeFields {
        rtp_address: "feed.rtp_address",
        rtp_port_min: "feed.rtp_port_min",
        rtp_port_max: "feed.rtp_port_max",
    };
    let key = stream_key(&request.stream_key)?;
    if !request.session_description.is_empty() {
        let problem = "is made by the node that feeds another; leave it empty";
        return Err(ApiError::field("session_description", problem));
    }
    let lease = request.lease.ok_or_else(|| ApiError::field("lease", "is missing"))?;
    let lease = read_any_lease(&key, lease)?;
    let node = registry::info_from_proto(request.feed.unwrap_or_default(), &FIELDS)?;
    if lease.node_id != node.id {
        return Err(ApiError::field("lease.node_id", "is not the node_id of the feed"));
    }
    Ok(WantedFeed { key, target: Target { lease, node } })
}

impl Control {
    /// Feeds a node with a stream that is here.
    pub(super) async fn feed(&self, wanted: WantedFeed) -> Result<v1::Stream, ApiError> {
        let WantedFeed { key, target } = wanted;
        if target.node.id == self.context.node_id {
            return Err(ApiError::field("feed.node_id", "is this node"));
        }
        let entry = self.context.streams.entry(&key)?;
        let started = entry.started();
        if started.orphaned || started.lease.epoch < target.lease.epoch {
            // It is about to be told of its new owner.
            let text = "the stream has no leg of that epoch here yet";
            return Err(ApiError::reason(Kind::Unavailable, "STARTING", text));
        }
        if target.lease.epoch < started.lease.epoch {
            return Err(stale(target.lease.epoch, started.lease.epoch));
        }
        entry.feeds.ask(&entry.published, target, &self.context.feeds).await?;
        Ok(self.context.streams.to_proto(&entry))
    }

    /// Feeds it no longer.
    pub(super) fn stop_feed(&self, key: &StreamKey, node_id: &str) -> Result<v1::Stream, ApiError> {
        let entry = self.context.streams.entry(key)?;
        if !entry.feeds.end(node_id) {
            return Err(ApiError::not_found("feed", node_id));
        }
        Ok(self.context.streams.to_proto(&entry))
    }
}
