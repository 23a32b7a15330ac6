//! How nodes come, stay and go.

use super::*;

pub(super) async fn a_node_is_listed_as_it_announced_itself(registries: &dyn Registries) {
    let engine = registries.fresh().await;
    let six = NodeInfo { rtp_address: IpAddr::from([1, 0, 0, 0, 0, 0, 0, 7]), ..node("n1", 6, 9) };
    assert_eq!(engine.register_node(six.clone()).await.unwrap(), TTL);
    assert_eq!(engine.keep_alive("n1").await.unwrap(), TTL);
    lease(&*engine, "a", "i").await;
    let nodes = engine.list_nodes().await.unwrap();
    let listed: Vec<_> = nodes.iter().map(|node| (&node.info, node.leases)).collect();
    assert_eq!(listed, [(&six, 1)]);
}

pub(super) async fn nodes_are_listed_in_the_order_of_their_ids(registries: &dyn Registries) {
    let nodes = ["n2", "n10", "n1"].map(|id| node(id, 6000, 6009));
    let engine = with_nodes(registries, &nodes).await;
    let listed = engine.list_nodes().await.unwrap();
    let ids: Vec<_> = listed.iter().map(|node| node.info.id.as_str()).collect();
    assert_eq!(ids, ["n1", "n10", "n2"]);
}

pub(super) async fn a_node_that_does_not_keep_alive_is_gone_after_its_ttl(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    registries.pass(TTL * 9 / 10).await;
    assert_eq!(engine.list_nodes().await.unwrap().len(), 1);
    registries.pass(TTL / 5).await;
    assert!(engine.list_nodes().await.unwrap().is_empty());
    let refused = engine.keep_alive("n").await.unwrap_err();
    assert_eq!(refused, RegistryError::UnknownNode("n".into()));
    assert_eq!(engine.allocate_port(claim("a", "i")).await, Err(RegistryError::NoNode));
    let refused = engine.allocate_port(claim_on("n", "a", "i")).await;
    assert_eq!(refused, Err(RegistryError::UnknownNode("n".into())));
    // It may come again.
    engine.register_node(node("n", 6000, 6009)).await.unwrap();
    lease(&*engine, "a", "i").await;
}

pub(super) async fn a_node_that_keeps_alive_stays(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009), node("n2", 6000, 6009)]).await;
    registries.pass_with_nodes(TTL * 3, &*engine, &["n2"]).await;
    let listed = engine.list_nodes().await.unwrap();
    assert_eq!(listed.iter().map(|node| &node.info.id).collect::<Vec<_>>(), ["n2"]);
}

pub(super) async fn announcing_again_renews(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    let held = lease(&*engine, "a", "i").await;
    for max in [6009, 6009, 6019, 6019] {
        registries.pass(TTL / 2).await;
        engine.register_node(node("n", 6000, max)).await.unwrap();
        engine.renew_leases("i", std::slice::from_ref(&held.id)).await.unwrap();
    }
    let nodes = engine.list_nodes().await.unwrap();
    let listed: Vec<_> = nodes.iter().map(|node| (&node.info, node.leases)).collect();
    assert_eq!(listed, [(&node("n", 6000, 6019), 1)]);
    assert_eq!(engine.list_leases().await.unwrap(), [held]);
}

pub(super) async fn leases_on_a_node_that_is_gone_are_told_to_be_lost(registries: &dyn Registries) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009), node("n2", 6000, 6009)]).await;
    let on_gone = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    let on_other = grant(&*engine, claim_on("n2", "b", "i")).await.lease;
    let both = [on_gone.id.clone(), on_other.id.clone()];
    registries.pass_with_nodes(TTL / 2, &*engine, &["n2"]).await;
    assert_eq!(engine.renew_leases("i", &both).await.unwrap().0, []);
    registries.pass_with_nodes(TTL * 6 / 10, &*engine, &["n2"]).await;
    let (lost, _) = engine.renew_leases("i", &both).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&on_gone.id));
    // The leg is made elsewhere.
    let anew = lease(&*engine, "a", "i").await;
    assert_eq!(anew.node_id, "n2");
    assert!(anew.epoch >= on_gone.epoch);
    assert_eq!(engine.list_leases().await.unwrap(), [anew, on_other]);
}

pub(super) async fn a_node_that_takes_itself_out_takes_its_leases_with_it(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n1", 6000, 6009), node("n2", 6000, 6009)]).await;
    let gone = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    let kept = grant(&*engine, claim_on("n2", "b", "i")).await.lease;
    engine.deregister_node("n1").await.unwrap();
    assert_eq!(engine.list_nodes().await.unwrap().len(), 1);
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&kept));
    let (lost, _) = engine.renew_leases("i", &[gone.id.clone(), kept.id]).await.unwrap();
    assert_eq!(lost, [gone.id]);
    engine.deregister_node("n1").await.unwrap();
    engine.deregister_node("never announced").await.unwrap();
}

pub(super) async fn announcing_a_smaller_range_ends_the_leases_outside(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6005)]).await;
    let mut leases = Vec::new();
    for stream in ["a", "b", "c"] {
        leases.push(lease(&*engine, stream, "i").await);
    }
    // 6004 without its RTCP port is no pair any more.
    engine.register_node(node("n", 6000, 6004)).await.unwrap();
    leases.retain(|lease| lease.rtp_port != 6004);
    assert_eq!(leases.len(), 2);
    assert_eq!(engine.list_leases().await.unwrap(), leases);
}

pub(super) async fn announcing_another_address_ends_all_leases_on_the_old_one(
    registries: &dyn Registries,
) {
    let engine = with_nodes(registries, &[node("n", 6000, 6009)]).await;
    lease(&*engine, "a", "i").await;
    let moved = NodeInfo { rtp_address: IpAddr::from([127, 0, 0, 2]), ..node("n", 6000, 6009) };
    engine.register_node(moved.clone()).await.unwrap();
    assert!(engine.list_leases().await.unwrap().is_empty());
    assert_eq!(grant(&*engine, claim("a", "i")).await.node.info, moved);
}

fn draining(node: NodeInfo) -> NodeInfo {
    NodeInfo { draining: true, ..node }
}

pub(super) async fn a_node_that_drains_keeps_its_leases_and_is_granted_no_more(
    registries: &dyn Registries,
) {
    let nodes = [node("n1", 6000, 6099), node("n2", 6000, 6099)];
    let engine = with_nodes(registries, &nodes).await;
    let held = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    engine.register_node(draining(nodes[0].clone())).await.unwrap();
    assert!(engine.list_nodes().await.unwrap()[0].info.draining);
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&held));
    let (lost, _) = engine.renew_leases("i", std::slice::from_ref(&held.id)).await.unwrap();
    assert!(lost.is_empty());
    assert_eq!(grant(&*engine, claim_on("n1", "a", "i")).await.lease, held);
    for stream in ["b", "c", "d"] {
        assert_eq!(lease(&*engine, stream, "i").await.node_id, "n2");
    }
    let refused = engine.allocate_port(claim_on("n1", "e", "i")).await.unwrap_err();
    assert_eq!(kind(&refused), Kind::ResourceExhausted);
    // It has changed its mind.
    engine.register_node(nodes[0].clone()).await.unwrap();
    assert_eq!(lease(&*engine, "e", "i").await.node_id, "n1");
}

pub(super) async fn a_stream_on_a_node_that_drains_is_granted_another_beside_it(
    registries: &dyn Registries,
) {
    let nodes = [node("n1", 6000, 6099), node("n2", 6000, 6099)];
    let engine = with_nodes(registries, &nodes).await;
    let held = grant(&*engine, claim_on("n1", "a", "i")).await.lease;
    engine.register_node(draining(nodes[0].clone())).await.unwrap();
    let beside = lease(&*engine, "a", "i").await;
    assert_eq!((beside.node_id.as_str(), beside.epoch), ("n2", held.epoch));
    assert_eq!(engine.list_leases().await.unwrap(), [held, beside.clone()]);
    assert_eq!(lease(&*engine, "a", "i").await, beside);
    // With no other node there is none.
    let alone = with_nodes(registries, &nodes[..1]).await;
    grant(&*alone, claim_on("n1", "a", "i")).await;
    alone.register_node(draining(nodes[0].clone())).await.unwrap();
    let refused = alone.allocate_port(claim("a", "i")).await.unwrap_err();
    assert_eq!(kind(&refused), Kind::ResourceExhausted);
    assert_eq!(alone.list_leases().await.unwrap().len(), 1);
}
