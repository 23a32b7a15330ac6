//! Putting back what a registry lost.

use super::*;

/// A registry that granted `streams`, each to "i", and one that started again with only the node.
async fn restarted(registries: &dyn Registries, streams: &[&str]) -> (Vec<Lease>, Arc<dyn Engine>) {
    let nodes = [node("n", 6000, 6099)];
    let before = with_nodes(registries, &nodes).await;
    let mut leases = Vec::new();
    for stream in streams {
        leases.push(lease(&*before, stream, "i").await);
    }
    (leases, with_nodes(registries, &nodes).await)
}

fn is_fenced(refused: &Result<Grant, RegistryError>, lease: &Lease) -> bool {
    let Err(error @ RegistryError::Fenced { lease_id, epoch, .. }) = refused else { return false };
    (lease_id, *epoch, kind(error)) == (&lease.id.0, lease.epoch, Kind::FailedPrecondition)
}

pub(super) async fn a_registry_that_lost_a_lease_puts_it_back_as_it_was(
    registries: &dyn Registries,
) {
    let (leases, engine) = restarted(registries, &["a", "b"]).await;
    let ids: Vec<_> = leases.iter().map(|lease| lease.id.clone()).collect();
    assert_eq!(engine.renew_leases("i", &ids).await.unwrap().0, ids);
    for lease in &leases {
        assert_eq!(&grant(&*engine, reclaim(lease)).await.lease, lease);
    }
    assert_eq!(engine.list_leases().await.unwrap(), leases);
    let owner = engine.lookup_stream(&key("b")).await.unwrap();
    assert_eq!((owner.owner_id.as_str(), owner.epoch), ("i", leases[1].epoch));
    assert_eq!(owner.owner_grpc_url, "http://i:50051");
    // From now on it is a lease like any other.
    assert_eq!(engine.renew_leases("i", &ids).await.unwrap(), (vec![], TTL));
    engine.release_port(&ids[0]).await.unwrap();
    assert_eq!(engine.list_leases().await.unwrap(), leases[1..]);
}

pub(super) async fn new_claims_go_on_above_the_epochs_that_were_put_back(
    registries: &dyn Registries,
) {
    let (leases, engine) = restarted(registries, &["a", "b", "c", "d", "e", "f"]).await;
    // The epoch of the last is above where a registry begins that started in the same second.
    let last = &leases[5];
    grant(&*engine, reclaim(last)).await;
    assert!(lease(&*engine, "g", "i").await.epoch > last.epoch);
    engine.release_port(&last.id).await.unwrap();
    assert!(lease(&*engine, "f", "i2").await.epoch > last.epoch);
}

pub(super) async fn a_port_that_was_put_back_is_not_granted_to_another(
    registries: &dyn Registries,
) {
    let (leases, engine) = restarted(registries, &["a", "b"]).await;
    grant(&*engine, reclaim(&leases[1])).await;
    let new = [lease(&*engine, "c", "i").await, lease(&*engine, "d", "i").await];
    assert!(new.iter().all(|lease| lease.rtp_port != leases[1].rtp_port), "{new:?}");
}

pub(super) async fn a_lease_is_not_put_back_before_its_node_is_there(registries: &dyn Registries) {
    let (leases, _) = restarted(registries, &["a"]).await;
    let engine = registries.fresh().await;
    let refused = engine.allocate_port(reclaim(&leases[0])).await;
    assert_eq!(refused, Err(RegistryError::UnknownNode("n".into())));
    engine.register_node(node("n", 6000, 6099)).await.unwrap();
    assert_eq!(grant(&*engine, reclaim(&leases[0])).await.lease, leases[0]);
}

pub(super) async fn a_lease_is_not_put_back_over_another_stream_on_its_port(
    registries: &dyn Registries,
) {
    let (leases, engine) = restarted(registries, &["a"]).await;
    let other = lease(&*engine, "b", "i").await;
    assert_eq!(other.rtp_port, leases[0].rtp_port);
    let refused = engine.allocate_port(reclaim(&leases[0])).await;
    assert!(is_fenced(&refused, &leases[0]), "{refused:?}");
    assert_eq!(engine.list_leases().await.unwrap(), [other]);
    assert!(engine.lookup_stream(&key("a")).await.is_err());
}

pub(super) async fn a_lease_is_not_put_back_over_a_new_owner(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6099)]).await;
    let old = lease(&*engine, "a", "i1").await;
    engine.release_port(&old.id).await.unwrap();
    let new = lease(&*engine, "a", "i2").await;
    let refused = engine.allocate_port(reclaim(&old)).await;
    assert!(is_fenced(&refused, &old), "{refused:?}");
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&new));
    // Nor after the new one has gone: its epoch was there.
    engine.release_port(&new.id).await.unwrap();
    let refused = engine.allocate_port(reclaim(&old)).await;
    assert!(is_fenced(&refused, &old), "{refused:?}");
    assert!(engine.list_leases().await.unwrap().is_empty());
}

pub(super) async fn a_newer_owner_supersedes_an_older_one_that_came_back_first(
    registries: &dyn Registries,
) {
    let nodes = [node("n", 6000, 6099)];
    let before = with_nodes(registries, &nodes).await;
    let old = lease(&*before, "a", "i1").await;
    before.release_port(&old.id).await.unwrap();
    let new = lease(&*before, "a", "i2").await;

    let engine = with_nodes(registries, &nodes).await;
    grant(&*engine, reclaim(&old)).await;
    // Both have the same port: that of the older one does not stand in the way.
    assert_eq!(new.rtp_port, old.rtp_port);
    assert_eq!(grant(&*engine, reclaim(&new)).await.lease, new);
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&new));
    let (lost, _) = engine.renew_leases("i1", std::slice::from_ref(&old.id)).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&old.id));
    let refused = engine.allocate_port(reclaim(&old)).await;
    assert!(is_fenced(&refused, &old), "{refused:?}");
}

pub(super) async fn a_lease_is_not_put_back_where_its_node_does_not_listen_any_more(
    registries: &dyn Registries,
) {
    let (leases, _) = restarted(registries, &["a"]).await;
    let engine = with_nodes(registries, &[node("n", 7000, 7099)]).await;
    let refused = engine.allocate_port(reclaim(&leases[0])).await;
    assert!(is_fenced(&refused, &leases[0]), "{refused:?}");
    assert!(engine.list_leases().await.unwrap().is_empty());
}

pub(super) async fn putting_back_what_is_still_there_renews_it(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6099)]).await;
    let held = lease(&*engine, "a", "i").await;
    registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
    assert_eq!(grant(&*engine, reclaim(&held)).await.lease, held);
    registries.pass_with_nodes(TTL * 6 / 10, &*engine, &["n"]).await;
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&held));
    // The answer to a rejection was lost: the port is the new one.
    let moved = engine.reject_port(&held.id).await.unwrap().lease;
    assert_eq!(grant(&*engine, reclaim(&held)).await.lease, moved);
    assert_eq!(engine.list_leases().await.unwrap(), [moved]);
}

pub(super) async fn what_expired_is_put_back_if_nobody_has_taken_its_place(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6099)]).await;
    let held = lease(&*engine, "a", "i").await;
    registries.pass_with_nodes(TTL * 2, &*engine, &["n"]).await;
    assert!(engine.list_leases().await.unwrap().is_empty());
    assert_eq!(grant(&*engine, reclaim(&held)).await.lease, held);
    assert_eq!(engine.list_leases().await.unwrap(), [held]);
}
