//! The keeper of leases.

use super::*;

/// A keeper at work, and a node that keeps itself alive unless it is stopped.
struct Bench {
    registry: Arc<Fake>,
    keeper: LeaseKeeper,
    lost: mpsc::Receiver<LostLease>,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
    node: JoinHandle<()>,
}

impl Bench {
    async fn new() -> Self {
        Self::with_ttl(TTL).await
    }

    async fn with_ttl(ttl: Duration) -> Self {
        let registry = Fake::new(ttl);
        registry.engine().register_node(node()).await.unwrap();
        let (lost_sender, lost) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let (keeper, keep) = LeaseKeeper::new(
            registry.clone(),
            "i".into(),
            "http://i:50051".into(),
            lost_sender,
            stop.clone(),
        );
        let keeping = tokio::spawn(keep);
        let node = tokio::spawn(keep_node(registry.clone()));
        Self { registry, keeper, lost, stop, keeping, node }
    }

    async fn leases(&self, streams: &[&str]) -> Vec<Lease> {
        let mut leases = Vec::new();
        for stream in streams {
            leases.push(self.keeper.allocate(&key(stream), None).await.unwrap().lease);
        }
        leases
    }

    async fn listed(&self) -> Vec<Lease> {
        self.registry.engine().list_leases().await.unwrap()
    }

    async fn stopped(self) {
        self.stop.cancel();
        timeout(LONG, self.keeping).await.unwrap().unwrap();
    }
}

/// A node of a process of its own: nothing of it is in the log.
async fn keep_node(registry: Arc<Fake>) {
    loop {
        if !registry.away.load(Relaxed) {
            registry.engine().register_node(node()).await.unwrap();
        }
        sleep(registry.ttl / 3).await;
    }
}

fn ids(leases: &[Lease]) -> Vec<LeaseId> {
    let mut ids: Vec<_> = leases.iter().map(|lease| lease.id.clone()).collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn one_call_renews_all_leases_every_third_of_the_ttl() {
    let bench = Bench::new().await;
    let leases = bench.leases(&["a", "b", "c", "d", "e"]).await;
    bench.registry.clear();
    let first = bench.registry.until(1, is_renewal).await;
    let tenth = bench.registry.until(10, is_renewal).await;
    assert_eq!(tenth - first, TTL / 3 * 9);
    assert_eq!(bench.registry.calls(), vec![Call::Renew(ids(&leases)); 10]);
    assert_eq!(bench.listed().await, leases);
}

#[tokio::test(start_paused = true)]
async fn a_lease_with_a_short_ttl_is_renewed_in_time_after_it_was_granted() {
    let ttl = Duration::from_millis(600);
    let bench = Bench::with_ttl(ttl).await;
    // The keeper has looked and found nothing to renew.
    sleep(Duration::from_millis(1)).await;
    let granted = Instant::now();
    let leases = bench.leases(&["a"]).await;
    assert_eq!(bench.registry.until(1, is_renewal).await - granted, ttl / 3);
    bench.registry.until(9, is_renewal).await;
    assert!(!bench.registry.calls().iter().any(is_reassertion));
    assert_eq!(bench.listed().await, leases);
}

#[tokio::test(start_paused = true)]
async fn without_leases_nothing_is_called() {
    let bench = Bench::new().await;
    let lease = bench.leases(&["a"]).await.remove(0);
    bench.keeper.release(&lease.id);
    bench.registry.until(1, |call| matches!(call, Call::Release(_))).await;
    bench.registry.clear();
    // The node of the bench is what lets time go by.
    let quiet = bench.registry.until(1, |_| true);
    assert!(timeout(TTL * 10, quiet).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_was_away_gets_what_it_forgot_back_when_it_returns() {
    let mut bench = Bench::new().await;
    let leases = bench.leases(&["a", "b", "c"]).await;
    bench.registry.set_away(true);
    bench.registry.clear();
    // Many times the TTL, tried again twice a second.
    let first = bench.registry.until(1, is_renewal).await;
    let later = bench.registry.until(101, is_renewal).await;
    assert_eq!(later - first, RETRY * 100);
    bench.registry.restart();
    bench.registry.engine().register_node(node()).await.unwrap();
    bench.registry.set_away(false);
    bench.registry.until(3, is_reassertion).await;
    bench.registry.clear();
    bench.registry.until(3, is_renewal).await;
    assert_eq!(bench.registry.calls(), vec![Call::Renew(ids(&leases)); 3]);
    assert_eq!(bench.listed().await, leases);
    assert!(bench.lost.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_goes_away_again_is_tried_soon_and_not_once_for_each_lease() {
    let mut bench = Bench::new().await;
    let leases = bench.leases(&["a", "b", "c", "d"]).await;
    bench.registry.restart();
    bench.registry.engine().register_node(node()).await.unwrap();
    let turn = bench.registry.reassertions.lock().await;
    bench.registry.clear();
    bench.registry.until(1, is_reassertion).await;
    bench.registry.set_away(true);
    drop(turn);
    let refused = bench.registry.until(2, is_reassertion).await;
    let again = bench.registry.until(2, is_renewal).await;
    assert_eq!(again - refused, RETRY);
    let reassertions = bench.registry.calls().into_iter().filter(is_reassertion);
    assert_eq!(reassertions.count(), 2);
    bench.registry.set_away(false);
    bench.registry.until(5, is_reassertion).await;
    bench.registry.clear();
    bench.registry.until(1, is_renewal).await;
    assert_eq!(bench.listed().await, leases);
    assert!(bench.lost.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_waits_for_its_node_to_come_back_to_a_registry_that_started_again() {
    let mut bench = Bench::new().await;
    let leases = bench.leases(&["a", "b"]).await;
    bench.registry.until(2, is_renewal).await;
    // The node does not know it yet: it comes back with its own next renewal.
    bench.registry.restart();
    bench.registry.clear();
    bench.registry.until(1, is_reassertion).await;
    assert!(bench.listed().await.is_empty());
    while bench.listed().await.len() < 2 {
        bench.registry.clear();
        bench.registry.until(1, is_renewal).await;
    }
    bench.registry.clear();
    bench.registry.until(1, is_renewal).await;
    assert_eq!(bench.listed().await, leases);
    assert!(bench.lost.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_when_its_node_does_not_come_back() {
    let mut bench = Bench::new().await;
    let lease = bench.leases(&["a"]).await.remove(0);
    bench.node.abort();
    let left = Instant::now();
    let told = timeout(LONG, bench.lost.recv()).await.unwrap().unwrap();
    assert_eq!(told, LostLease { id: lease.id, stream_key: key("a") });
    // One TTL until the registry takes it for gone, one in which it might come back, and the calls between.
    let after = left.elapsed();
    assert!(after >= TTL * 5 / 3 && after <= TTL * 8 / 3, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_while_the_owner_hears_its_node_that_is_cut_off_from_the_registry() {
    let mut bench = Bench::new().await;
    let lease = bench.leases(&["a"]).await.remove(0);
    bench.node.abort();
    for _ in 0..40 {
        sleep(TTL / 4).await;
        bench.keeper.heard_of(&lease.node_id);
    }
    assert!(bench.lost.try_recv().is_err());
    // The node is there again, with its leases.
    bench.registry.engine().register_node(node()).await.unwrap();
    bench.registry.clear();
    bench.registry.until(1, is_reassertion).await;
    bench.registry.until(1, is_renewal).await;
    assert_eq!(bench.listed().await, [lease]);
    assert!(bench.lost.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_owner_took_is_told_to_be_lost_and_kept_no_more() {
    let mut bench = Bench::new().await;
    let leases = bench.leases(&["a", "b"]).await;
    bench.registry.set_away(true);
    bench.registry.clear();
    bench.registry.until(40, is_renewal).await;
    // Both have expired by now; one of them has found another owner.
    let engine = bench.registry.engine();
    engine.register_node(node()).await.unwrap();
    let claim = Claim {
        stream_key: key("a"),
        owner_id: "other".into(),
        owner_grpc_url: String::new(),
        node_id: None,
        reassert: None,
        supersede: None,
    };
    let others = engine.allocate_port(claim).await.unwrap().lease;
    bench.registry.set_away(false);
    let told = timeout(LONG, bench.lost.recv()).await.unwrap().unwrap();
    assert_eq!(told, LostLease { id: leases[0].id.clone(), stream_key: key("a") });
    bench.registry.until(2, is_reassertion).await;
    bench.registry.clear();
    bench.registry.until(2, is_renewal).await;
    assert_eq!(bench.registry.calls(), vec![Call::Renew(vec![leases[1].id.clone()]); 2]);
    assert_eq!(bench.listed().await, [others, leases[1].clone()]);
    assert!(bench.lost.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_lease_is_kept_under_its_new_port() {
    let bench = Bench::new().await;
    let first = bench.leases(&["a"]).await.remove(0);
    let second = bench.keeper.reject(&first.id).await.unwrap().lease;
    assert_ne!(second.rtp_port, first.rtp_port);
    bench.registry.restart();
    bench.registry.engine().register_node(node()).await.unwrap();
    bench.registry.clear();
    bench.registry.until(1, is_reassertion).await;
    bench.registry.until(2, is_renewal).await;
    assert_eq!(bench.listed().await, [second]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_ends_the_lease_ends_its_keeping() {
    let mut bench = Bench::new().await;
    let one_pair = NodeInfo { rtp_port_max: 5005, ..node() };
    bench.node.abort();
    bench.registry.engine().register_node(one_pair).await.unwrap();
    let lease = bench.leases(&["a"]).await.remove(0);
    let refused = bench.keeper.reject(&lease.id).await;
    assert!(matches!(refused, Err(RegistryError::NoPort(_))), "{refused:?}");
    bench.registry.clear();
    let any = bench.registry.until(1, |_| true);
    assert!(timeout(TTL, any).await.is_err(), "{:?}", bench.registry.calls());
    assert!(bench.listed().await.is_empty());
    assert!(bench.lost.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_gone_before_the_next_claim_of_its_stream() {
    let bench = Bench::new().await;
    let first = bench.leases(&["a"]).await;
    bench.keeper.release(&first[0].id);
    let second = bench.leases(&["a"]).await;
    assert_eq!(bench.listed().await, second);
    assert_ne!(second[0].id, first[0].id);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_claimed_again_before_its_release_got_through_is_kept() {
    let bench = Bench::new().await;
    let first = bench.leases(&["a"]).await;
    bench.registry.no_releases.store(true, Relaxed);
    bench.keeper.release(&first[0].id);
    assert_eq!(bench.leases(&["a"]).await, first);
    bench.registry.no_releases.store(false, Relaxed);
    bench.registry.clear();
    bench.registry.until(5, is_renewal).await;
    assert_eq!(bench.registry.calls(), vec![Call::Renew(ids(&first)); 5]);
    assert_eq!(bench.listed().await, first);
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_again_until_the_registry_is_back() {
    let bench = Bench::new().await;
    let lease = bench.leases(&["a"]).await.remove(0);
    bench.registry.set_away(true);
    bench.keeper.release(&lease.id);
    let release = Call::Release(lease.id);
    bench.registry.until(4, |call| *call == release).await;
    assert_eq!(bench.listed().await.len(), 1);
    bench.registry.set_away(false);
    bench.registry.until(5, |call| *call == release).await;
    bench.registry.clear();
    assert!(bench.listed().await.is_empty());
    assert!(timeout(TTL, bench.registry.until(1, |_| true)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_release_is_given_up_when_the_ttl_has_ended_the_lease() {
    let bench = Bench::new().await;
    let lease = bench.leases(&["a"]).await.remove(0);
    bench.registry.set_away(true);
    let from = Instant::now();
    bench.keeper.release(&lease.id);
    let mut tries = 0;
    loop {
        tries += 1;
        let release = bench.registry.until(tries, |call| matches!(call, Call::Release(_)));
        match timeout(TTL * 3, release).await {
            Ok(at) => assert!(at < from + TTL, "{:?}", at - from),
            Err(_) => break,
        }
    }
    assert!(tries > 10, "{tries}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_released_while_it_is_put_back_is_gone_nevertheless() {
    let bench = Bench::new().await;
    let [first, lease] = &bench.leases(&["b", "a"]).await[..] else { panic!() };
    // Its port is for the claim below, so that only the order of calls is in question.
    bench.keeper.release(&first.id);
    bench.registry.until(1, |call| matches!(call, Call::Release(_))).await;
    bench.registry.restart();
    bench.registry.engine().register_node(node()).await.unwrap();
    let turn = bench.registry.reassertions.lock().await;
    bench.registry.until(1, is_reassertion).await;
    bench.keeper.release(&lease.id);
    // Any claim sends what is to be released first.
    let keeper = bench.keeper.clone();
    let next = tokio::spawn(async move { keeper.allocate(&key("b"), None).await });
    // Time goes on only when both calls are as far as they get.
    sleep(RETRY).await;
    drop(turn);
    let next = timeout(LONG, next).await.unwrap().unwrap().unwrap().lease;
    bench.registry.until(1, |call| matches!(call, Call::Release(_))).await;
    bench.registry.clear();
    bench.registry.until(1, is_renewal).await;
    assert_eq!(bench.registry.calls(), [Call::Renew(vec![next.id.clone()])]);
    assert_eq!(bench.listed().await, [next]);
}

#[tokio::test(start_paused = true)]
async fn all_leases_are_released_at_the_end() {
    let bench = Bench::new().await;
    let leases = bench.leases(&["a", "b", "c"]).await;
    let registry = bench.registry.clone();
    registry.clear();
    bench.stopped().await;
    for id in ids(&leases) {
        assert!(registry.calls().contains(&Call::Release(id)), "{:?}", registry.calls());
    }
    assert!(registry.engine().list_leases().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_registry_that_is_away() {
    let bench = Bench::new().await;
    bench.leases(&["a", "b"]).await;
    bench.registry.set_away(true);
    let from = Instant::now();
    bench.stopped().await;
    assert!(Instant::now() - from <= LAST_RELEASE);
}
