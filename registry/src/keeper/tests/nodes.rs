//! The keeper of a node.

use super::*;

struct Bench {
    registry: Arc<Fake>,
    node: watch::Sender<NodeInfo>,
    registered: watch::Receiver<bool>,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
}

impl Bench {
    fn new() -> Self {
        Self::with_ttl(TTL)
    }

    fn with_ttl(ttl: Duration) -> Self {
        let registry = Fake::new(ttl);
        let (sender, registered) = watch::channel(false);
        let stop = CancellationToken::new();
        let (node, announced) = watch::channel(node());
        let run = NodeKeeper::run(registry.clone(), announced, sender, stop.clone());
        Self { registry, node, registered, stop, keeping: tokio::spawn(run) }
    }

    async fn until_registered(&mut self, registered: bool) {
        let told = self.registered.wait_for(|told| *told == registered);
        timeout(LONG, told).await.unwrap().unwrap();
    }

    async fn nodes(&self) -> Vec<NodeInfo> {
        let nodes = self.registry.engine().list_nodes().await.unwrap();
        nodes.into_iter().map(|node| node.info).collect()
    }
}

fn registers() -> Call {
    Call::Register("n1".into())
}

fn keeps_alive() -> Call {
    Call::KeepAlive("n1".into())
}

#[tokio::test(start_paused = true)]
async fn a_node_is_announced_and_kept_alive_every_third_of_the_ttl() {
    let mut bench = Bench::new();
    bench.until_registered(true).await;
    assert_eq!(bench.nodes().await, [node()]);
    let first = bench.registry.until(1, |call| *call == keeps_alive()).await;
    let tenth = bench.registry.until(10, |call| *call == keeps_alive()).await;
    assert_eq!(tenth - first, TTL / 3 * 9);
    let mut expected = vec![registers()];
    expected.resize(11, keeps_alive());
    assert_eq!(bench.registry.calls(), expected);
    assert_eq!(bench.nodes().await, [node()]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_forgot_the_node_gets_it_announced_again_at_once() {
    let mut bench = Bench::new();
    bench.until_registered(true).await;
    bench.registry.restart();
    bench.registry.clear();
    let refused = bench.registry.until(1, |call| *call == keeps_alive()).await;
    let again = bench.registry.until(1, |call| *call == registers()).await;
    assert_eq!(again, refused);
    bench.until_registered(true).await;
    assert_eq!(bench.nodes().await, [node()]);
    bench.registry.until(2, |call| *call == keeps_alive()).await;
    assert_eq!(bench.registry.calls(), [keeps_alive(), registers(), keeps_alive()]);
}

#[tokio::test(start_paused = true)]
async fn while_the_registry_is_away_it_is_tried_again_and_told() {
    let mut bench = Bench::new();
    bench.until_registered(true).await;
    bench.registry.set_away(true);
    bench.until_registered(false).await;
    bench.registry.clear();
    let first = bench.registry.until(1, |call| *call == registers()).await;
    let later = bench.registry.until(101, |call| *call == registers()).await;
    assert_eq!(later - first, RETRY * 100);
    assert!(!*bench.registered.borrow());
    bench.registry.restart();
    bench.registry.set_away(false);
    bench.until_registered(true).await;
    assert_eq!(bench.nodes().await, [node()]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_from_the_start_is_waited_for() {
    let mut bench = Bench::new();
    bench.registry.set_away(true);
    bench.registry.until(10, |call| *call == registers()).await;
    assert!(!*bench.registered.borrow());
    bench.registry.set_away(false);
    bench.until_registered(true).await;
    assert_eq!(bench.nodes().await, [node()]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_becomes_another_is_announced_anew_at_once() {
    let mut bench = Bench::new();
    bench.until_registered(true).await;
    let draining = NodeInfo { draining: true, ..node() };
    bench.node.send_replace(draining.clone());
    bench.registry.until(2, |call| *call == registers()).await;
    bench.until_registered(true).await;
    assert_eq!(bench.nodes().await, [draining]);
    assert_eq!(bench.registry.calls(), [registers(), registers()]);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_the_node_takes_itself_out() {
    let mut bench = Bench::new();
    bench.until_registered(true).await;
    bench.stop.cancel();
    timeout(LONG, &mut bench.keeping).await.unwrap().unwrap();
    assert_eq!(bench.registry.calls(), [registers(), Call::Deregister("n1".into())]);
    assert!(bench.nodes().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_answers_no_ttl_is_not_called_without_rest() {
    let bench = Bench::with_ttl(Duration::ZERO);
    let first = bench.registry.until(1, |call| *call == registers()).await;
    let tenth = bench.registry.until(10, |call| *call == registers()).await;
    assert_eq!(tenth - first, SHORTEST_PAUSE * 9);
}
