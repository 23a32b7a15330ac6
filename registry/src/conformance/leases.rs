//! How long leases live.

use super::*;
use crate::LeaseId;

pub(super) async fn a_lease_that_nobody_renews_ends_by_its_ttl(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6001)]).await;
    let first = lease(&*engine, "a", "i").await;
    assert_eq!(first.ttl, TTL);
    registries.pass_with_nodes(TTL * 9 / 10, &*engine, &["n"]).await;
    assert_eq!(engine.list_leases().await.unwrap(), [first]);
    registries.pass_with_nodes(TTL / 5, &*engine, &["n"]).await;
    assert!(engine.list_leases().await.unwrap().is_empty());
    assert!(engine.lookup_stream(&key("a")).await.is_err());
    // Its port did not leak.
    assert_eq!(lease(&*engine, "b", "i").await.rtp_port, 6000);
}

pub(super) async fn a_lease_that_is_renewed_lives_on(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let kept = lease(&*engine, "a", "i").await;
    for _ in 0..6 {
        registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
        let renewed = engine.renew_leases("i", std::slice::from_ref(&kept.id)).await.unwrap();
        assert_eq!(renewed, (vec![], TTL));
    }
    assert_eq!(engine.list_leases().await.unwrap(), [kept]);
}

pub(super) async fn asking_again_for_a_lease_renews_it(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let first = lease(&*engine, "a", "i").await;
    for _ in 0..3 {
        registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
        assert_eq!(lease(&*engine, "a", "i").await, first);
    }
}

pub(super) async fn rejecting_its_port_renews_a_lease(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let first = lease(&*engine, "a", "i").await;
    registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
    let moved = engine.reject_port(&first.id).await.unwrap().lease;
    registries.pass_with_nodes(TTL * 6 / 10, &*engine, &["n"]).await;
    assert_eq!(engine.list_leases().await.unwrap(), [moved]);
}

pub(super) async fn a_renewal_tells_what_is_lost_and_renews_the_rest(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let expired = lease(&*engine, "a", "i").await;
    registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
    let released = lease(&*engine, "b", "i").await;
    let kept = lease(&*engine, "c", "i").await;
    engine.release_port(&released.id).await.unwrap();
    registries.pass_with_nodes(TTL * 6 / 10, &*engine, &["n"]).await;
    // By now the first has expired. The third would within half a TTL.
    let never = LeaseId("never granted".into());
    let all = [&expired.id, &released.id, &kept.id, &never].map(Clone::clone);
    let (mut lost, _) = engine.renew_leases("i", &all).await.unwrap();
    lost.sort();
    let mut gone = vec![expired.id, released.id, never];
    gone.sort();
    assert_eq!(lost, gone);
    registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
    assert_eq!(engine.list_leases().await.unwrap(), [kept]);
}

pub(super) async fn one_owner_cannot_renew_the_leases_of_another(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let other = lease(&*engine, "a", "i1").await;
    registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
    let (lost, _) = engine.renew_leases("i2", std::slice::from_ref(&other.id)).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&other.id));
    // It was neither ended nor renewed by that.
    assert_eq!(engine.list_leases().await.unwrap(), [other]);
    registries.pass_with_nodes(TTL * 6 / 10, &*engine, &["n"]).await;
    assert!(engine.list_leases().await.unwrap().is_empty());
}

pub(super) async fn after_the_ttl_another_owner_takes_the_stream_with_a_higher_epoch(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let old = lease(&*engine, "a", "i1").await;
    registries.pass_with_nodes(TTL * 11 / 10, &*engine, &["n"]).await;
    let new = lease(&*engine, "a", "i2").await;
    assert!(new.epoch > old.epoch);
    let (lost, _) = engine.renew_leases("i1", std::slice::from_ref(&old.id)).await.unwrap();
    assert_eq!(lost, [old.id]);
    assert_eq!(engine.list_leases().await.unwrap(), [new]);
}
