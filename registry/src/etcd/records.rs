//! The values in etcd: JSON, so that `etcdctl get --prefix` can be read by people.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::NodeInfo;

/// Which engine renews a process and ends what the process no longer renews.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    /// The engine's id.
    pub home: String,
}

/// What a node announced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct NodeRecord {
    pub rtp_address: IpAddr,
    pub rtp_port_min: u16,
    pub rtp_port_max: u16,
    pub rtsp_url: String,
    pub grpc_url: String,
    /// It is about to go.
    #[serde(default)]
    pub draining: bool,
    /// When it first announced itself so, in ms since 1970.
    pub registered_at_ms: u64,
}

impl NodeRecord {
    pub(super) fn new(info: &NodeInfo, now: SystemTime) -> Self {
        Self {
            rtp_address: info.rtp_address,
            rtp_port_min: info.rtp_port_min,
            rtp_port_max: info.rtp_port_max,
            rtsp_url: info.rtsp_url.clone(),
            grpc_url: info.grpc_url.clone(),
            draining: info.draining,
            registered_at_ms: unix_ms(now),
        }
    }

    pub(super) fn info(&self, id: String) -> NodeInfo {
        NodeInfo {
            id,
            rtp_address: self.rtp_address,
            rtp_port_min: self.rtp_port_min,
            rtp_port_max: self.rtp_port_max,
            rtsp_url: self.rtsp_url.clone(),
            grpc_url: self.grpc_url.clone(),
            draining: self.draining,
        }
    }

    pub(super) fn registered_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.registered_at_ms)
    }
}

/// Who has a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ClaimRecord {
    pub owner_id: String,
    pub owner_grpc_url: String,
    pub epoch: EpochRecord,
}

/// How an epoch is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EpochRecord {
    /// By adding the revision in which the stream was claimed.
    Base(u64),
    /// It was put back, or has ended: it is this.
    Is(u64),
}

impl EpochRecord {
    /// The epoch of what was written in `revision`.
    pub(super) fn epoch(self, revision: i64) -> u64 {
        match self {
            Self::Base(base) => base.saturating_add_signed(revision),
            Self::Is(epoch) => epoch,
        }
    }
}

/// A leg.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct LegRecord {
    pub lease_id: String,
    pub rtp_port: u16,
    /// Where the node received RTP when the lease was granted.
    pub rtp_address: IpAddr,
}

/// Who has a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PortRecord {
    /// The lease.
    Lease(String),
    /// Nobody until then, in ms since 1970, since the node could not bind it.
    RestsUntilMs(u64),
}

pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn encode(record: &impl Serialize) -> Vec<u8> {
    // Records have string keys and no maps of ours: they can always be written.
    serde_json::to_vec(record).unwrap_or_default()
}

pub(super) fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}
