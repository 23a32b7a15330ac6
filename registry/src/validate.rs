//! What may stand in the fields of a call. Engines check by these, so that every way into the book is guarded.

use crate::{Claim, Lease, LeaseId, NodeInfo, RegistryError};

/// The longest id of a node, owner or lease, in bytes: a host name and a process id fit twice.
pub(crate) const MAX_ID_BYTES: usize = 128;
/// The longest URL, in bytes: scheme, the longest DNS name (253) and a port fit.
pub(crate) const MAX_URL_BYTES: usize = 512;

/// Every field that [`RegistryError::Invalid`] may name, as the API spells it.
pub(crate) const FIELDS: [&str; 22] = [
    "node",
    "node.node_id",
    "node.rtp_address",
    "node.rtp_port_min",
    "node.rtp_port_max",
    "node.rtsp_url",
    "node.grpc_url",
    "node_id",
    "owner_id",
    "owner_grpc_url",
    "stream_key",
    "lease_id",
    "lease_ids",
    "reassert",
    "reassert.lease_id",
    "reassert.stream_key",
    "reassert.node_id",
    "reassert.owner_id",
    "reassert.rtp_port",
    "reassert.epoch",
    "supersede_epoch",
    "registry_url",
];

/// The refusal of a field.
pub(crate) fn invalid(field: &'static str, problem: impl ToString) -> RegistryError {
    RegistryError::Invalid { field, problem: problem.to_string() }
}

/// An id has 1 to 128 bytes and nothing that would break a line of a log.
pub(crate) fn id(field: &'static str, text: &str) -> Result<(), RegistryError> {
    if text.is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(invalid(field, format!("has {} bytes, at most {MAX_ID_BYTES}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "has a control character"));
    }
    Ok(())
}

/// A URL is `<scheme>://host` with an optional port, of one of `schemes`.
fn url(field: &'static str, text: &str, schemes: &[&str]) -> Result<(), RegistryError> {
    if text.len() > MAX_URL_BYTES {
        return Err(invalid(field, format!("has {} bytes, at most {MAX_URL_BYTES}", text.len())));
    }
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"));
    let Some(rest) = rest else {
        let schemes = schemes.join(":// or ");
        return Err(invalid(field, format!("must begin with {schemes}://")));
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return Err(invalid(field, "names no host"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid(field, "has a space or control character"));
    }
    Ok(())
}

/// Where a StreamControl is called; empty says that it cannot be.
fn owner_url(text: &str) -> Result<(), RegistryError> {
    if text.is_empty() { Ok(()) } else { url("owner_grpc_url", text, &["http", "https"]) }
}

/// An announcement: a usable address, a range with room for a pair, URLs that can be dialled.
pub(crate) fn node(info: &NodeInfo) -> Result<(), RegistryError> {
    id("node.node_id", &info.id)?;
    if info.rtp_address.is_unspecified() || info.rtp_address.is_multicast() {
        let problem = format!("{} is not an address that RTP can be sent to", info.rtp_address);
        return Err(invalid("node.rtp_address", problem));
    }
    let (min, max) = (info.rtp_port_min, info.rtp_port_max);
    if min == 0 || min % 2 != 0 {
        return Err(invalid("node.rtp_port_min", format!("{min} is not an even port above 0")));
    }
    if max <= min {
        let problem = format!("{max} leaves no room for RTP and RTCP from {min}");
        return Err(invalid("node.rtp_port_max", problem));
    }
    url("node.rtsp_url", &info.rtsp_url, &["rtsp", "rtsps"])?;
    url("node.grpc_url", &info.grpc_url, &["http", "https"])
}

/// A wish for a leg.
pub(crate) fn claim(claim: &Claim) -> Result<(), RegistryError> {
    id("owner_id", &claim.owner_id)?;
    owner_url(&claim.owner_grpc_url)?;
    if let Some(node_id) = &claim.node_id {
        id("node_id", node_id)?;
    }
    match &claim.reassert {
        Some(_) if claim.supersede.is_some() => Err(invalid(
            "supersede_epoch",
            "a lease that is re-asserted supersedes by its own epoch",
        )),
        Some(lease) => reassert(claim, lease),
        None => Ok(()),
    }
}

/// A lease that is to be re-asserted has to be one that could have been granted, for this very claim.
fn reassert(claim: &Claim, lease: &Lease) -> Result<(), RegistryError> {
    id("reassert.lease_id", &lease.id.0)?;
    id("reassert.node_id", &lease.node_id)?;
    if lease.stream_key != claim.stream_key {
        return Err(invalid("reassert.stream_key", "is not the stream that is claimed"));
    }
    if lease.owner_id != claim.owner_id {
        return Err(invalid("reassert.owner_id", "is not the owner that claims"));
    }
    if claim.node_id.as_ref().is_some_and(|node_id| *node_id != lease.node_id) {
        return Err(invalid("reassert.node_id", "is not the node that is asked for"));
    }
    if lease.rtp_port == 0 || !lease.rtp_port.is_multiple_of(2) {
        let problem = format!("{} is not an even port above 0", lease.rtp_port);
        return Err(invalid("reassert.rtp_port", problem));
    }
    if lease.epoch == 0 {
        return Err(invalid("reassert.epoch", "must be above 0"));
    }
    Ok(())
}

/// The leases of one renewal.
pub(crate) fn renewal(owner_id: &str, leases: &[LeaseId], max: usize) -> Result<(), RegistryError> {
    id("owner_id", owner_id)?;
    if leases.len() > max {
        return Err(invalid("lease_ids", format!("has {} leases, at most {max}", leases.len())));
    }
    leases.iter().try_for_each(|lease| id("lease_ids", &lease.0))
}
