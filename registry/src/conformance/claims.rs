//! Who gets a stream, under which epoch and on which node.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::*;

pub(super) async fn asking_again_for_what_one_holds_answers_the_same_lease(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009), node("n2", 6000, 6009)]).await;
    let first = lease(&*engine, "a", "i").await;
    assert_eq!(lease(&*engine, "a", "i").await, first);
    let on_its_node = grant(&*engine, claim_on(&first.node_id, "a", "i")).await;
    assert_eq!(on_its_node.lease, first);
    assert_eq!(engine.list_leases().await.unwrap(), [first]);
}

pub(super) async fn another_owner_is_refused_as_long_as_the_claim_lives(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009), node("n2", 6000, 6009)]).await;
    let held = grant(&*engine, claim_on("n1", "a", "i1")).await.lease;
    for wish in [claim("a", "i2"), claim_on("n1", "a", "i2"), claim_on("n2", "a", "i2")] {
        let refused = engine.allocate_port(wish).await.unwrap_err();
        let owned =
            RegistryError::Owned { stream_key: key("a"), owner_id: "i1".into(), epoch: held.epoch };
        assert_eq!(refused, owned);
        assert_eq!(kind(&refused), Kind::AlreadyExists);
    }
    assert_eq!(engine.list_leases().await.unwrap(), [held]);
}

pub(super) async fn of_many_owners_at_once_one_gets_the_stream(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6999)]).await;
    let calls = (0..50).map(|n| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.allocate_port(claim("a", &format!("i{n}"))).await })
    });
    let answers = join_all(calls).await.into_iter().map(Result::unwrap);
    let (granted, refused): (Vec<_>, Vec<_>) = answers.partition(Result::is_ok);
    let [Ok(granted)] = &granted[..] else { panic!("{granted:?}") };
    let lease = &granted.lease;
    assert_eq!(refused.len(), 49);
    for refused in refused {
        let Err(RegistryError::Owned { owner_id, epoch, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((&owner_id, epoch), (&lease.owner_id, lease.epoch));
    }
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(lease));
}

pub(super) async fn each_new_claim_gets_a_higher_epoch(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let mut last = 0;
    for owner in ["i1", "i2", "i2", "i1"] {
        let lease = lease(&*engine, "a", owner).await;
        assert!(lease.epoch > last, "{} after {last}", lease.epoch);
        assert_eq!(lease.owner_id, owner);
        last = lease.epoch;
        engine.release_port(&lease.id).await.unwrap();
    }
}

pub(super) async fn a_further_node_gets_a_further_lease_of_the_same_epoch(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009), node("n2", 6000, 6009)]).await;
    let first = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    // Another stream in between takes the next epoch of the counter.
    lease(&*engine, "b", "i").await;
    let second = grant(&*engine, claim_on("n2", "a", "i")).await.lease;
    assert_eq!(second.node_id, "n2");
    assert_eq!(second.epoch, first.epoch);
    assert_ne!(second.id, first.id);
    // The claim lives on with one of them.
    engine.release_port(&first.id).await.unwrap();
    let owner = engine.lookup_stream(&key("a")).await.unwrap();
    assert_eq!((owner.epoch, owner.leases), (first.epoch, vec![second]));
    let again = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    assert_eq!(again.epoch, first.epoch);
}

pub(super) async fn the_least_loaded_node_is_chosen(registries: &dyn Registries) {
    let nodes = ["n1", "n2", "n3"].map(|id| node(id, 6000, 6099));
    let engine = with_nodes(registries, &nodes).await;
    let mut leases_by_node = BTreeMap::<String, Vec<Lease>>::new();
    for n in 0..12 {
        let lease = lease(&*engine, &format!("s{n}"), "i").await;
        leases_by_node.entry(lease.node_id.clone()).or_default().push(lease);
    }
    let loads: Vec<_> = leases_by_node.values().map(Vec::len).collect();
    assert_eq!(loads, [4, 4, 4]);
    for lease in &leases_by_node["n2"][..3] {
        engine.release_port(&lease.id).await.unwrap();
    }
    for n in 0..3 {
        assert_eq!(lease(&*engine, &format!("t{n}"), "i").await.node_id, "n2");
    }
}

pub(super) async fn a_full_node_is_passed_over(registries: &dyn Registries) {
    let nodes = [node("n1", 6000, 6001), node("n2", 6000, 6009)];
    let engine = with_nodes(registries, &nodes).await;
    grant(&*engine, claim_on("n1", "a", "i")).await;
    for stream in ["b", "c"] {
        grant(&*engine, claim_on("n2", stream, "i")).await;
    }
    // n1 has fewer leases, yet no port.
    assert_eq!(lease(&*engine, "d", "i").await.node_id, "n2");
}

pub(super) async fn the_node_asked_for_is_used(registries: &dyn Registries) {
    let nodes = [node("n1", 6000, 6099), node("n2", 7000, 7099)];
    let engine = with_nodes(registries, &nodes).await;
    for stream in ["a", "b", "c"] {
        // It is the more loaded one from the second time on.
        let grant = grant(&*engine, claim_on("n2", stream, "i")).await;
        assert_eq!((grant.lease.node_id.as_str(), &grant.node.info), ("n2", &nodes[1]));
        assert!((7000..7099).contains(&grant.lease.rtp_port));
    }
}

pub(super) async fn a_node_that_nobody_knows_is_not_found(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009)]).await;
    let refused = engine.allocate_port(claim_on("n2", "a", "i")).await.unwrap_err();
    assert_eq!(refused, RegistryError::UnknownNode("n2".into()));
    assert_eq!(kind(&refused), Kind::NotFound);
    assert!(engine.lookup_stream(&key("a")).await.is_err());
    assert!(engine.list_leases().await.unwrap().is_empty());
}

pub(super) async fn with_no_node_at_all_a_claim_is_refused(registries: &dyn Registries) {
    let engine = registries.fresh().await;
    let refused = engine.allocate_port(claim("a", "i")).await.unwrap_err();
    assert_eq!(refused, RegistryError::NoNode);
    assert_eq!(kind(&refused), Kind::ResourceExhausted);
    assert!(engine.lookup_stream(&key("a")).await.is_err());
}

pub(super) async fn lookup_tells_the_owner_the_legs_and_their_nodes(registries: &dyn Registries) {
    let nodes = ["n1", "n2", "n3"].map(|id| node(id, 6000, 6009));
    let engine = with_nodes(registries, &nodes).await;
    let unknown = engine.lookup_stream(&key("site/a")).await.unwrap_err();
    assert_eq!(unknown, RegistryError::UnknownStream(key("site/a")));
    assert_eq!(kind(&unknown), Kind::NotFound);

    let second = grant(&*engine, claim_on("n3", "site/a", "i")).await.lease;
    let first = grant(&*engine, claim_on("n1", "site/a", "i")).await.lease;
    grant(&*engine, claim_on("n2", "site/b", "other")).await;
    let owner = engine.lookup_stream(&key("site/a")).await.unwrap();
    assert_eq!((owner.owner_id.as_str(), owner.epoch), ("i", first.epoch));
    assert_eq!(owner.owner_grpc_url, "http://i:50051");
    assert_eq!(owner.leases, [first.clone(), second.clone()]);
    let told: Vec<_> = owner.nodes.iter().map(|node| (&node.info, node.leases)).collect();
    assert_eq!(told, [(&nodes[0], 1), (&nodes[2], 1)]);

    // An owner that moved is found where it is now, whether it claims what it has or a further leg.
    let moved = |url: &str, claim| Claim { owner_grpc_url: url.into(), ..claim };
    grant(&*engine, moved("http://i:9", claim("site/a", "i"))).await;
    assert_eq!(engine.lookup_stream(&key("site/a")).await.unwrap().owner_grpc_url, "http://i:9");
    let third = grant(&*engine, moved("http://i:8", claim_on("n2", "site/a", "i"))).await.lease;
    assert_eq!(engine.lookup_stream(&key("site/a")).await.unwrap().owner_grpc_url, "http://i:8");
    for lease in [first, second, third] {
        engine.release_port(&lease.id).await.unwrap();
    }
    assert_eq!(engine.lookup_stream(&key("site/a")).await, Err(unknown));
}

pub(super) async fn leases_are_listed_in_the_order_of_stream_and_node(registries: &dyn Registries) {
    let nodes = ["n1", "n2"].map(|id| node(id, 6000, 6009));
    let engine = with_nodes(registries, &nodes).await;
    for (node, stream) in [("n2", "b"), ("n1", "c"), ("n2", "a"), ("n1", "b")] {
        grant(&*engine, claim_on(node, stream, "i")).await;
    }
    let leases = engine.list_leases().await.unwrap();
    let order: Vec<_> =
        leases.iter().map(|lease| (lease.stream_key.as_str(), lease.node_id.as_str())).collect();
    assert_eq!(order, [("a", "n2"), ("b", "n1"), ("b", "n2"), ("c", "n1")]);
}

pub(super) async fn a_claim_that_is_superseded_ends_and_its_stream_goes_on_where_it_was(
    registries: &dyn Registries,
) {
    let nodes = ["n1", "n2", "n3"].map(|id| node(id, 6000, 6099));
    let engine = with_nodes(registries, &nodes).await;
    let old = grant(&*engine, claim_on("n2", "a", "i1")).await.lease;
    let further = grant(&*engine, claim_on("n3", "a", "i1")).await.lease;
    // n2 is not the least loaded.
    grant(&*engine, claim_on("n2", "b", "i1")).await;
    let new = grant(&*engine, superseding(old.epoch, "a", "i2")).await.lease;
    assert_eq!((new.node_id.as_str(), new.owner_id.as_str()), ("n2", "i2"));
    assert!(new.epoch > old.epoch, "{} after {}", new.epoch, old.epoch);
    let owner = engine.lookup_stream(&key("a")).await.unwrap();
    assert_eq!((owner.owner_id.as_str(), owner.leases), ("i2", vec![new.clone()]));
    let leases = engine.list_leases().await.unwrap();
    assert!(leases.iter().all(|lease| lease.id != old.id && lease.id != further.id), "{leases:?}");
    // Once is enough: to say it again is to ask for what one holds.
    assert_eq!(grant(&*engine, superseding(old.epoch, "a", "i2")).await.lease, new);
}

pub(super) async fn only_the_epoch_that_is_named_is_superseded(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6099)]).await;
    let held = lease(&*engine, "a", "i1").await;
    for epoch in [held.epoch - 1, held.epoch + 1] {
        let refused = engine.allocate_port(superseding(epoch, "a", "i2")).await.unwrap_err();
        let owned =
            RegistryError::Owned { stream_key: key("a"), owner_id: "i1".into(), epoch: held.epoch };
        assert_eq!(refused, owned);
    }
    // One's own claim is none that could be superseded, and where there is none it is a claim like any other.
    assert_eq!(grant(&*engine, superseding(held.epoch, "a", "i1")).await.lease, held);
    engine.release_port(&held.id).await.unwrap();
    let new = grant(&*engine, superseding(held.epoch, "a", "i2")).await.lease;
    assert!(new.epoch > held.epoch);
}

pub(super) async fn who_was_superseded_has_lost_its_leases_and_cannot_put_them_back(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6099)]).await;
    let old = lease(&*engine, "a", "i1").await;
    let new = grant(&*engine, superseding(old.epoch, "a", "i2")).await.lease;
    let (lost, _) = engine.renew_leases("i1", std::slice::from_ref(&old.id)).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&old.id));
    let refused = engine.allocate_port(reclaim(&old)).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Fenced { .. }), "{refused:?}");
    let refused = engine.allocate_port(claim("a", "i1")).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Owned { .. }), "{refused:?}");
    // Nor may it supersede by what it knows: its own epoch.
    assert!(engine.allocate_port(superseding(old.epoch, "a", "i1")).await.is_err());
    assert_eq!(engine.list_leases().await.unwrap(), [new]);
}
