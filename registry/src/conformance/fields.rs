//! What cannot be is refused, by the name that the field has in the API, and changes nothing.

use super::*;
use crate::LeaseId;

fn assert_names<T: std::fmt::Debug>(field: &str, answer: Result<T, RegistryError>) {
    match answer {
        Err(ref error @ RegistryError::Invalid { field: named, .. }) => {
            assert_eq!((named, kind(error)), (field, Kind::InvalidArgument), "{error}");
        }
        other => panic!("{field}: {other:?}"),
    }
}

/// Ids that no call takes: empty, too long, or such as would break a log's line.
fn bad_ids() -> [String; 3] {
    [String::new(), "x".repeat(129), "a\nb".into()]
}

pub(super) async fn a_node_that_cannot_be_is_refused_by_its_field(registries: &dyn Registries) {
    let engine = registries.fresh().await;
    let good = node("n", 6000, 6009);
    let url = |url: &str| url.to_owned();
    let mut cases = vec![
        ("node.rtp_address", NodeInfo { rtp_address: [0, 0, 0, 0].into(), ..good.clone() }),
        ("node.rtp_address", NodeInfo { rtp_address: [239, 0, 0, 1].into(), ..good.clone() }),
        ("node.rtp_port_min", node("n", 6001, 6009)),
        ("node.rtp_port_min", node("n", 0, 6009)),
        ("node.rtp_port_max", node("n", 6000, 6000)),
        ("node.rtp_port_max", node("n", 6000, 5999)),
        ("node.rtsp_url", NodeInfo { rtsp_url: url("http://n:8554"), ..good.clone() }),
        ("node.rtsp_url", NodeInfo { rtsp_url: url(""), ..good.clone() }),
        ("node.rtsp_url", NodeInfo { rtsp_url: url("rtsp://:8554"), ..good.clone() }),
        ("node.grpc_url", NodeInfo { grpc_url: url("rtsp://n:8554"), ..good.clone() }),
        ("node.grpc_url", NodeInfo { grpc_url: url("http://a b"), ..good.clone() }),
        ("node.grpc_url", NodeInfo { grpc_url: format!("http://{:0600}", 7), ..good.clone() }),
    ];
    cases.extend(bad_ids().map(|id| ("node.node_id", NodeInfo { id, ..good.clone() })));
    for (field, node) in cases {
        assert_names(field, engine.register_node(node).await);
    }
    assert!(engine.list_nodes().await.unwrap().is_empty());
    engine.register_node(good).await.unwrap();
}

pub(super) async fn a_claim_that_cannot_be_is_refused_by_its_field(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    for id in bad_ids() {
        assert_names("owner_id", engine.allocate_port(claim("a", &id)).await);
        // An empty node id is, on the wire, no wish at all.
        if !id.is_empty() {
            assert_names("node_id", engine.allocate_port(claim_on(&id, "a", "i")).await);
        }
    }
    let wish = Claim { owner_grpc_url: "ftp://i".into(), ..claim("a", "i") };
    assert_names("owner_grpc_url", engine.allocate_port(wish).await);
    assert!(engine.list_leases().await.unwrap().is_empty());
    grant(&*engine, Claim { owner_grpc_url: String::new(), ..claim("a", "i") }).await;
}

pub(super) async fn a_reassertion_that_cannot_be_is_refused_by_its_field(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let lost = lease(&*engine, "a", "i").await;
    engine.release_port(&lost.id).await.unwrap();
    let cases = [
        ("reassert.lease_id", Lease { id: LeaseId(String::new()), ..lost.clone() }),
        ("reassert.node_id", Lease { node_id: String::new(), ..lost.clone() }),
        ("reassert.stream_key", Lease { stream_key: key("b"), ..lost.clone() }),
        ("reassert.owner_id", Lease { owner_id: "other".into(), ..lost.clone() }),
        ("reassert.rtp_port", Lease { rtp_port: 6001, ..lost.clone() }),
        ("reassert.rtp_port", Lease { rtp_port: 0, ..lost.clone() }),
        ("reassert.epoch", Lease { epoch: 0, ..lost.clone() }),
        ("reassert.epoch", Lease { epoch: u64::MAX, ..lost.clone() }),
    ];
    for (field, lease) in cases {
        let wish = Claim { reassert: Some(lease), ..claim("a", "i") };
        assert_names(field, engine.allocate_port(wish).await);
    }
    let wish = Claim { reassert: Some(lost.clone()), ..claim_on("other", "a", "i") };
    assert_names("reassert.node_id", engine.allocate_port(wish).await);
    let wish = Claim { supersede: Some(lost.epoch), ..reclaim(&lost) };
    assert_names("supersede_epoch", engine.allocate_port(wish).await);
    assert!(engine.list_leases().await.unwrap().is_empty());
    grant(&*engine, reclaim(&lost)).await;
}

pub(super) async fn ids_that_cannot_be_are_refused_by_their_field(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let held = lease(&*engine, "a", "i").await;
    for id in bad_ids() {
        assert_names("node_id", engine.keep_alive(&id).await);
        assert_names("node_id", engine.deregister_node(&id).await);
        assert_names("owner_id", engine.renew_leases(&id, &[]).await);
        let bad = LeaseId(id);
        assert_names("lease_id", engine.release_port(&bad).await);
        assert_names("lease_id", engine.reject_port(&bad).await);
        assert_names("lease_ids", engine.renew_leases("i", &[held.id.clone(), bad]).await);
    }
    assert_eq!(engine.list_leases().await.unwrap(), [held]);
}
