//! Which ports are granted, set aside and freed.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::*;
use crate::LeaseId;

pub(super) async fn ports_are_even_and_leave_room_for_rtcp_in_the_nodes_range(
    registries: &dyn Registries,
) {
    // The RTCP port of 6010 would be beyond the range.
    let engine = with_nodes(registries, &[node("n", 6000, 6010)]).await;
    let mut ports = BTreeSet::new();
    for n in 0..5 {
        ports.insert(lease(&*engine, &format!("s{n}"), "i").await.rtp_port);
    }
    assert_eq!(ports, BTreeSet::from([6000, 6002, 6004, 6006, 6008]));
    let refused = engine.allocate_port(claim("one-more", "i")).await;
    assert!(matches!(refused, Err(RegistryError::NoPort(_))), "{refused:?}");
}

pub(super) async fn two_leases_on_one_node_never_share_a_port(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6019)]).await;
    let mut leases = Vec::new();
    for round in 0..6 {
        while leases.len() < 10 {
            leases.push(lease(&*engine, &format!("s{round}-{}", leases.len()), "i").await);
        }
        let listed = engine.list_leases().await.unwrap();
        let ports: BTreeSet<_> = listed.iter().map(|lease| lease.rtp_port).collect();
        assert_eq!((listed.len(), ports.len()), (10, 10), "{listed:?}");
        // Others in each round, so that the free ports lie scattered.
        for at in (0..10).rev().filter(|at| at % 3 == round % 3) {
            engine.release_port(&leases.remove(at).id).await.unwrap();
        }
    }
}

pub(super) async fn one_port_may_be_granted_on_two_nodes(registries: &dyn Registries) {
    let nodes = [node("n1", 6000, 6001), node("n2", 6000, 6001)];
    let engine = with_nodes(registries, &nodes).await;
    let first = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    let second = grant(&*engine, claim_on("n2", "b", "i")).await.lease;
    assert_eq!((first.rtp_port, second.rtp_port), (6000, 6000));
}

pub(super) async fn a_thousand_calls_at_once_are_granted_a_thousand_ports(
    registries: &dyn Registries,
) {
    const CALLS: u16 = 1000;
    let engine = with_nodes(registries, &[node("n", 10_000, 10_000 + 2 * CALLS - 1)]).await;
    let calls = (0..CALLS).map(|n| {
        let engine = engine.clone();
        tokio::spawn(async move { lease(&*engine, &format!("s{n}"), "i").await.rtp_port })
    });
    let ports: BTreeSet<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let all: BTreeSet<_> = (0..CALLS).map(|n| 10_000 + 2 * n).collect();
    assert_eq!(ports, all);
    assert_eq!(engine.list_leases().await.unwrap().len(), usize::from(CALLS));
}

pub(super) async fn without_a_free_port_a_claim_is_refused_and_leaves_nothing(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6001)]).await;
    let held = lease(&*engine, "a", "i").await;
    for wish in [claim("b", "i"), claim_on("n", "b", "i")] {
        let refused = engine.allocate_port(wish).await.unwrap_err();
        assert!(matches!(refused, RegistryError::NoPort(_)), "{refused:?}");
        assert_eq!(kind(&refused), Kind::ResourceExhausted);
    }
    assert!(engine.lookup_stream(&key("b")).await.is_err());
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&held));
    // What is held already needs no port.
    assert_eq!(lease(&*engine, "a", "i").await, held);
    engine.release_port(&held.id).await.unwrap();
    assert_eq!(lease(&*engine, "b", "i").await.rtp_port, 6000);
}

pub(super) async fn a_rejected_port_is_set_aside_and_another_is_granted(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6005)]).await;
    let first = lease(&*engine, "a", "i").await;
    let second = engine.reject_port(&first.id).await.unwrap();
    assert_ne!(second.lease.rtp_port, first.rtp_port);
    let same_but_for_its_port = Lease { rtp_port: second.lease.rtp_port, ..first.clone() };
    assert_eq!(second.lease, same_but_for_its_port);
    assert_eq!(second.node.info.id, "n");
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&second.lease));

    let third = lease(&*engine, "b", "i").await;
    assert!(![first.rtp_port, second.lease.rtp_port].contains(&third.rtp_port));
    let refused = engine.allocate_port(claim("c", "i")).await;
    assert!(matches!(refused, Err(RegistryError::NoPort(_))), "{refused:?}");
}

pub(super) async fn a_port_that_was_set_aside_is_granted_again_after_its_rest(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6003)]).await;
    let first = lease(&*engine, "a", "i").await;
    engine.reject_port(&first.id).await.unwrap();
    engine.release_port(&first.id).await.unwrap();
    registries.pass_with_nodes(REST - TTL, &*engine, &["n"]).await;
    let other = lease(&*engine, "b", "i").await;
    assert_ne!(other.rtp_port, first.rtp_port);
    let refused = engine.allocate_port(claim("c", "i")).await;
    assert!(matches!(refused, Err(RegistryError::NoPort(_))), "{refused:?}");
    registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
    engine.renew_leases("i", std::slice::from_ref(&other.id)).await.unwrap();
    registries.pass_with_nodes(TTL / 2, &*engine, &["n"]).await;
    assert_eq!(lease(&*engine, "c", "i").await.rtp_port, first.rtp_port);
}

pub(super) async fn a_node_that_changes_its_announcement_keeps_its_ports_set_aside(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6003)]).await;
    let first = lease(&*engine, "a", "i").await;
    engine.reject_port(&first.id).await.unwrap();
    engine.register_node(node("n", 6000, 6005)).await.unwrap();
    assert_eq!(lease(&*engine, "b", "i").await.rtp_port, 6004);
    let refused = engine.allocate_port(claim("c", "i")).await;
    assert!(matches!(refused, Err(RegistryError::NoPort(_))), "{refused:?}");
}

pub(super) async fn a_rejection_moves_the_lease_where_its_own_node_has_no_other_port(
    registries: &dyn Registries,
) {
    let nodes = [node("n1", 6000, 6001), node("n2", 7000, 7001)];
    let engine = with_nodes(registries, &nodes).await;
    let first = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    let moved = engine.reject_port(&first.id).await.unwrap();
    let there = Lease { node_id: "n2".into(), rtp_port: 7000, ..first };
    assert_eq!((&moved.lease, moved.node.info.id.as_str()), (&there, "n2"));
    let owner = engine.lookup_stream(&key("a")).await.unwrap();
    assert_eq!(owner.leases, [there]);
    assert_eq!(owner.nodes.iter().map(|node| &node.info).collect::<Vec<_>>(), [&nodes[1]]);
    let loads: Vec<_> = engine.list_nodes().await.unwrap().iter().map(|node| node.leases).collect();
    assert_eq!(loads, [0, 1]);
}

pub(super) async fn a_rejection_with_no_port_left_anywhere_ends_the_lease(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6001)]).await;
    let only = lease(&*engine, "a", "i").await;
    let refused = engine.reject_port(&only.id).await.unwrap_err();
    assert!(matches!(refused, RegistryError::NoPort(_)), "{refused:?}");
    assert_eq!(kind(&refused), Kind::ResourceExhausted);
    assert!(engine.list_leases().await.unwrap().is_empty());
    assert!(engine.lookup_stream(&key("a")).await.is_err());
}

pub(super) async fn rejecting_a_lease_that_is_gone_is_not_found(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6003)]).await;
    let gone = lease(&*engine, "a", "i").await;
    engine.release_port(&gone.id).await.unwrap();
    let refused = engine.reject_port(&gone.id).await.unwrap_err();
    assert_eq!(refused, RegistryError::UnknownLease(gone.id.0));
    assert_eq!(kind(&refused), Kind::NotFound);
    // Nothing was set aside.
    lease(&*engine, "b", "i").await;
    lease(&*engine, "c", "i").await;
}

pub(super) async fn releasing_twice_is_harmless(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6001)]).await;
    let first = lease(&*engine, "a", "i").await;
    engine.release_port(&first.id).await.unwrap();
    // The same stream and port under another lease, which the second release must not touch.
    let second = lease(&*engine, "a", "i").await;
    assert_eq!(second.rtp_port, first.rtp_port);
    assert_ne!(second.id, first.id);
    engine.release_port(&first.id).await.unwrap();
    engine.release_port(&LeaseId("never granted".into())).await.unwrap();
    assert_eq!(engine.list_leases().await.unwrap(), [second]);
}
