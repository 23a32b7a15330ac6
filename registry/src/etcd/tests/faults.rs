//! etcd, a member of it, or the way to it goes and comes back.

use futures_util::StreamExt;

use super::{proxy::Proxy, *};

fn book(ttl_s: u64) -> MemoryConfig {
    MemoryConfig { ttl: Duration::from_secs(ttl_s), rejected_port_rest: Duration::from_secs(60) }
}

/// Two engines on one prefix: one on a way that can be cut, the other straight.
async fn one_that_can_be_cut_off(etcd: &Etcd) -> (Proxy, EtcdEngine, EtcdEngine) {
    let proxy = Proxy::to(etcd.members[0].port).await;
    let straight = config(etcd.endpoints(), book(60));
    let cuttable = EtcdConfig { endpoints: vec![proxy.url()], ..straight.clone() };
    let cuttable = connected(cuttable).await;
    (proxy, cuttable, connected(straight).await)
}

async fn is_down(engine: &EtcdEngine) {
    becomes(async || {
        let refused = engine.lookup_stream(&of("a").stream_key).await;
        matches!(refused, Err(RegistryError::Unavailable(_))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watch_goes_on_behind_the_last_revision_that_it_told() {
    let etcd = start_etcd(1).await;
    let (proxy, engine, other) = one_that_can_be_cut_off(&etcd).await;
    other.register_node(wide_node("n")).await.unwrap();
    let kept = other.allocate_port(of("kept")).await.unwrap().lease;
    becomes(async || engine.list_leases().await.unwrap().pop()).await;
    let mut watch = engine.watch().await.unwrap();
    while watch.next().await.unwrap().unwrap() != WatchEvent::SnapshotEnd {}
    proxy.set_open(false);
    is_down(&engine).await;
    // Granted and gone meanwhile: only a watch that goes on behind the last revision tells of it.
    let passing = other.allocate_port(of("passing")).await.unwrap().lease;
    other.release_port(&passing.id).await.unwrap();
    proxy.set_open(true);
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchEvent::LeaseAdded(passing.clone()));
    let gone = WatchEvent::LeaseRemoved { lease: passing, expired: false };
    assert_eq!(watch.next().await.unwrap().unwrap(), gone);
    engine.connected(PATIENCE).await.unwrap();
    assert_eq!(engine.list_leases().await.unwrap(), [kept]);
}

#[tokio::test]
async fn a_watch_that_was_compacted_is_told_what_changed_in_the_end() {
    let etcd = start_etcd(1).await;
    let (proxy, engine, other) = one_that_can_be_cut_off(&etcd).await;
    other.register_node(wide_node("n")).await.unwrap();
    let gone = other.allocate_port(of("gone")).await.unwrap().lease;
    becomes(async || engine.list_leases().await.unwrap().pop()).await;
    let mut watch = engine.watch().await.unwrap();
    while watch.next().await.unwrap().unwrap() != WatchEvent::SnapshotEnd {}
    proxy.set_open(false);
    is_down(&engine).await;
    other.release_port(&gone.id).await.unwrap();
    let passing = other.allocate_port(of("passing")).await.unwrap().lease;
    other.release_port(&passing.id).await.unwrap();
    let new = other.allocate_port(of("new")).await.unwrap().lease;
    let revision = other.shared.lock().view.revision;
    etcd.ctl(&["compact", &revision.to_string()]);
    proxy.set_open(true);
    let told = [watch.next().await.unwrap().unwrap(), watch.next().await.unwrap().unwrap()];
    let expected = [
        WatchEvent::LeaseRemoved { lease: gone, expired: true },
        WatchEvent::LeaseAdded(new.clone()),
    ];
    assert_eq!(told, expected);
    engine.connected(PATIENCE).await.unwrap();
    assert_eq!(engine.list_leases().await.unwrap(), [new]);
}

#[tokio::test]
async fn without_etcd_calls_fail_at_once_and_what_was_granted_is_there_when_it_is_back() {
    let mut etcd = start_etcd(1).await;
    let engine = engines(&etcd, 1, book(60)).await.pop().unwrap();
    engine.register_node(wide_node("n")).await.unwrap();
    let held = engine.allocate_port(of("a")).await.unwrap().lease;
    etcd.members[0].kill();
    is_down(&engine).await;
    let asked = Instant::now();
    for _ in 0..100 {
        let refused = engine.allocate_port(of("b")).await.unwrap_err();
        assert!(matches!(refused, RegistryError::Unavailable(_)), "{refused}");
    }
    println!("100 refusals without etcd took {:?}", asked.elapsed());
    // What would have expired meanwhile has not: nobody could renew it.
    engine.advance(Duration::from_secs(120)).await;
    etcd.members[0].start();
    engine.connected(PATIENCE).await.unwrap();
    assert_eq!(engine.list_leases().await.unwrap(), std::slice::from_ref(&held));
    let (lost, _) = engine.renew_leases("i", std::slice::from_ref(&held.id)).await.unwrap();
    assert_eq!(lost, []);
    engine.allocate_port(of("b")).await.unwrap();
}

#[tokio::test]
async fn an_etcd_that_lost_its_data_is_followed_anew_and_what_was_held_is_put_back() {
    let etcd = start_etcd(1).await;
    let proxy = Proxy::to(etcd.members[0].port).await;
    let straight = config(etcd.endpoints(), book(60));
    let through = EtcdConfig { endpoints: vec![proxy.url()], ..straight.clone() };
    let engine = connected(through.clone()).await;
    engine.register_node(wide_node("n")).await.unwrap();
    for _ in 0..50 {
        let passing = engine.allocate_port(of("passing")).await.unwrap().lease;
        engine.release_port(&passing.id).await.unwrap();
    }
    let held = engine.allocate_port(of("a")).await.unwrap().lease;
    drop(engine);

    // The same engine on another etcd, whose revisions begin anew.
    let empty = start_etcd(1).await;
    let engine = connected(EtcdConfig { endpoints: empty.endpoints(), ..straight }).await;
    engine.register_node(wide_node("n")).await.unwrap();
    let id = std::slice::from_ref(&held.id);
    assert_eq!(engine.renew_leases("i", id).await.unwrap().0, id);
    let put_back = Claim { reassert: Some(held.clone()), ..of("a") };
    assert_eq!(engine.allocate_port(put_back).await.unwrap().lease, held);
    let next = engine.allocate_port(of("b")).await.unwrap().lease;
    assert!(next.epoch > held.epoch, "{} after {}", next.epoch, held.epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_member_dies_the_next_one_is_used_and_nothing_is_lost() {
    let mut etcd = start_etcd(3).await;
    let engine = engines(&etcd, 1, book(60)).await.pop().unwrap();
    engine.register_node(wide_node("n")).await.unwrap();
    let mut held = vec![engine.allocate_port(of("s0")).await.unwrap().lease];
    let mut watch = engine.watch().await.unwrap();
    while watch.next().await.unwrap().unwrap() != WatchEvent::SnapshotEnd {}
    // One after the other, the leader among them, each back before the next goes.
    for n in 0..3 {
        etcd.members[n].kill();
        let asked = Instant::now();
        let stream = format!("s{}", n + 1);
        let granted = becomes(async || engine.allocate_port(of(&stream)).await.ok()).await;
        println!("member {n} killed: a claim was granted after {:?}", asked.elapsed());
        assert_eq!(
            watch.next().await.unwrap().unwrap(),
            WatchEvent::LeaseAdded(granted.lease.clone())
        );
        held.push(granted.lease);
        etcd.members[n].start();
        let etcd = &etcd;
        tokio::task::block_in_place(|| etcd.wait());
    }
    assert_eq!(engine.list_leases().await.unwrap(), held);
}
