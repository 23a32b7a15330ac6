//! The lease protocol under seeded random faults, in virtual time: real keepers of owners and nodes over a real book, whose calls are
//! late, lost on the way there or back, or cut off, and which forgets all now and then. Owners claim streams and describe them to
//! nodes; nodes take the newest epoch, as publish-svc does. After each step it is held to what design.md says must always hold.

mod world;

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::Ordering,
};

use rand::seq::IndexedRandom;
use tokio::task::JoinHandle;

use self::world::{Way, World, memory};
use super::*;
use crate::conformance::node;

/// Schedules; each has its own seed.
const SEEDS: u64 = 60;
/// Things that happen in each.
const STEPS: usize = 120;
const TTL: Duration = Duration::from_secs(9);
const OWNERS: [&str; 3] = ["i1", "i2", "i3"];
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const STREAMS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What a node has bound: the lease that each stream has there, by stream.
type Bound = BTreeMap<StreamKey, Lease>;

/// A process that publishers come to.
struct Owner {
    keeper: LeaseKeeper,
    lost: mpsc::Receiver<LostLease>,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
    /// What it sends, by stream.
    sends: BTreeMap<StreamKey, Lease>,
}

impl Owner {
    fn start(world: &Arc<World>, who: &'static str) -> Self {
        let engine = Arc::new(Way { world: world.clone(), who });
        let (sender, lost) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let (keeper, keep) =
            LeaseKeeper::new(engine, who.to_owned(), String::new(), sender, stop.clone());
        Self { keeper, lost, stop, keeping: tokio::spawn(keep), sends: BTreeMap::new() }
    }
}

/// How often what came about.
type Tally = BTreeMap<&'static str, usize>;

struct Schedule {
    world: Arc<World>,
    owners: BTreeMap<&'static str, Owner>,
    nodes: BTreeMap<&'static str, Bound>,
    node_keepers: Vec<(CancellationToken, JoinHandle<()>)>,
    /// Descriptions on their way to a node, and the stop of the owner's life that they are of.
    late: Vec<(&'static str, CancellationToken, Lease)>,
    /// Leases that their owners have released, or were told to have lost.
    given_up: HashSet<LeaseId>,
    /// The highest epoch that each stream had on each node.
    epochs: BTreeMap<(&'static str, StreamKey), u64>,
    tally: Tally,
    /// What happened, to be told when an invariant fails.
    trace: Vec<String>,
}

fn info(id: &'static str) -> NodeInfo {
    // Three pairs: ports run out, and are granted again soon.
    node(id, 6000, 6005)
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let world = Arc::new(World::new(seed));
        let node_keepers = NODES.map(|id| {
            let (stop, engine) =
                (CancellationToken::new(), Arc::new(Way { world: world.clone(), who: id }));
            let (announced, node) = watch::channel(info(id));
            let keeping = NodeKeeper::run(engine, node, watch::Sender::new(false), stop.clone());
            let keeping = tokio::spawn(async move {
                keeping.await;
                drop(announced);
            });
            (stop, keeping)
        });
        Self {
            owners: OWNERS.iter().map(|who| (*who, Owner::start(&world, who))).collect(),
            nodes: NODES.iter().map(|id| (*id, Bound::new())).collect(),
            node_keepers: node_keepers.into(),
            late: Vec::new(),
            given_up: HashSet::new(),
            epochs: BTreeMap::new(),
            world,
            tally: Tally::new(),
            trace: Vec::new(),
        }
    }

    fn note(&mut self, what: String) {
        self.trace.push(format!("{:?} {what}", self.world.began.elapsed()));
    }

    fn count(&mut self, what: &'static str) {
        self.note(what.to_owned());
        *self.tally.entry(what).or_default() += 1;
    }

    fn one_of(&self, names: &[&'static str]) -> &'static str {
        names.choose(&mut *self.world.rng.lock().unwrap()).unwrap()
    }

    async fn step(&mut self) {
        let pause = u64::from(self.world.random(0..4000));
        sleep(Duration::from_millis(pause)).await;
        self.hear_losses().await;
        match self.world.random(0..100) {
            0..38 => self.publish().await,
            38..45 => self.arrive_late(),
            45..62 => self.leave(),
            62..76 => self.cut(),
            76..90 => self.heal(),
            90..95 => {
                // The registry's process starts again, without its memory.
                *self.world.engine.lock().unwrap() = memory(self.world.began);
                self.count("registry restarts");
            }
            _ => self.forget_owner(),
        }
        self.check().await;
    }

    /// A publisher comes to an ingest, which claims the stream and describes it to the node.
    async fn publish(&mut self) {
        let (who, key) = (self.one_of(&OWNERS), StreamKey::parse(self.one_of(&STREAMS)).unwrap());
        // A leg has one call on its way: what is asked for anew takes its place.
        self.late.retain(|(owner, _, lease)| *owner != who || lease.stream_key != key);
        let keeper = self.owners[who].keeper.clone();
        let mut granted = keeper.allocate(&key, None).await;
        self.note(format!("{who} publishes {key}: {granted:?}"));
        if let Ok(grant) = &granted
            && self.world.random(0..4) == 0
        {
            self.late.push((who, self.owners[who].stop.clone(), grant.lease.clone()));
            return;
        }
        for _ in 0..4 {
            let Ok(grant) = &granted else { break };
            match self.describe(&grant.lease) {
                Started::Bound => {
                    self.count("started");
                    let lease = grant.lease.clone();
                    self.owners.get_mut(who).unwrap().sends.insert(key, lease);
                    return;
                }
                Started::Older => {
                    self.count("refused as older");
                    self.given_up.insert(grant.lease.id.clone());
                    keeper.release(&grant.lease.id);
                    return;
                }
                Started::PortTaken => {
                    self.count("port rejected");
                    let id = grant.lease.id.clone();
                    granted = keeper.reject(&id).await;
                }
            }
        }
        match granted {
            Ok(grant) => {
                self.given_up.insert(grant.lease.id.clone());
                keeper.release(&grant.lease.id);
            }
            Err(RegistryError::Owned { .. }) => self.count("owned"),
            Err(RegistryError::Unavailable(_)) => self.count("unavailable"),
            Err(
                RegistryError::NoPort(_) | RegistryError::NoNode | RegistryError::UnknownLease(_),
            ) => {
                self.count("no port");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A description that took its time reaches the node.
    fn arrive_late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let (who, life, lease) = self.late.remove(0);
        let started = self.describe(&lease);
        self.note(format!("late: {lease:?}"));
        let is_alive = !life.is_cancelled();
        match started {
            Started::Bound if is_alive && !self.given_up.contains(&lease.id) => {
                self.count("started late");
                let sends = &mut self.owners.get_mut(who).unwrap().sends;
                sends.insert(lease.stream_key.clone(), lease);
            }
            // Its owner has given it up since, or is dead: it is stopped, or ends when nothing comes.
            Started::Bound => self.stop_at_node(&lease),
            Started::Older | Started::PortTaken => {
                self.count("refused late");
                self.given_up.insert(lease.id.clone());
                if is_alive {
                    let owner = self.owners.get_mut(who).unwrap();
                    owner.keeper.release(&lease.id);
                    // Its leg ends, whatever it sent on it before.
                    owner.sends.retain(|_, sent| sent.id != lease.id);
                }
            }
        }
    }

    /// StartStream at the node.
    fn describe(&mut self, lease: &Lease) -> Started {
        let node = NODES.into_iter().find(|id| *id == lease.node_id).unwrap();
        let highest = self.epochs.entry((node, lease.stream_key.clone())).or_default();
        if lease.epoch < *highest {
            return Started::Older;
        }
        let bound = self.nodes.get_mut(node).unwrap();
        let other = bound
            .values()
            .any(|other| other.stream_key != lease.stream_key && other.rtp_port == lease.rtp_port);
        if other {
            return Started::PortTaken;
        }
        *highest = lease.epoch;
        bound.insert(lease.stream_key.clone(), lease.clone());
        Started::Bound
    }

    /// A publisher goes; the ingest stops the leg and releases it.
    fn leave(&mut self) {
        let who = self.one_of(&OWNERS);
        let owner = self.owners.get_mut(who).unwrap();
        let Some((_, lease)) = owner.sends.pop_first() else { return };
        owner.keeper.release(&lease.id);
        self.given_up.insert(lease.id.clone());
        self.stop_at_node(&lease);
        self.count("left");
    }

    fn stop_at_node(&mut self, lease: &Lease) {
        let bound = self.nodes.get_mut(lease.node_id.as_str()).unwrap();
        if bound.get(&lease.stream_key).is_some_and(|there| there.epoch <= lease.epoch) {
            bound.remove(&lease.stream_key);
        }
    }

    /// Owners stop what they have lost.
    async fn hear_losses(&mut self) {
        for who in OWNERS {
            while let Ok(lost) = self.owners.get_mut(who).unwrap().lost.try_recv() {
                self.note(format!("{who} is told {lost:?}"));
                self.given_up.insert(lost.id.clone());
                let sends = &mut self.owners.get_mut(who).unwrap().sends;
                let Some(lease) = sends.get(&lost.stream_key).cloned() else { continue };
                if lease.id == lost.id {
                    sends.remove(&lost.stream_key);
                    self.stop_at_node(&lease);
                    self.count("lost");
                }
            }
        }
    }

    fn cut(&mut self) {
        let who =
            if self.world.random(0..2) == 0 { self.one_of(&OWNERS) } else { self.one_of(&NODES) };
        self.world.cut_off.lock().unwrap().insert(who.to_owned());
        self.count("cut off");
    }

    fn heal(&mut self) {
        let mut cut_off = self.world.cut_off.lock().unwrap();
        let first = cut_off.iter().next().cloned();
        if let Some(who) = first {
            cut_off.remove(&who);
        }
    }

    /// `kill -9` of an ingest, which starts again at once. The nodes see its silence, and end what nobody puts back.
    fn forget_owner(&mut self) {
        let who = self.one_of(&OWNERS);
        let old = self.owners.insert(who, Owner::start(&self.world, who)).unwrap();
        old.keeping.abort();
        // For what it still has on the way; its keeper, which would release all, is gone.
        old.stop.cancel();
        for lease in old.sends.into_values() {
            let bound = self.nodes.get_mut(lease.node_id.as_str()).unwrap();
            if bound.get(&lease.stream_key) == Some(&lease) {
                bound.remove(&lease.stream_key);
            }
        }
        self.count("ingest killed");
    }

    /// The invariants.
    async fn check(&mut self) {
        let leases = self.world.engine().list_leases().await.unwrap();
        let ports: HashSet<_> =
            leases.iter().map(|lease| (&lease.node_id, lease.rtp_port)).collect();
        assert_eq!(ports.len(), leases.len(), "one port has two leases: {leases:?}");
        for (node, bound) in &self.nodes {
            let ports: HashSet<_> = bound.values().map(|lease| lease.rtp_port).collect();
            assert_eq!(ports.len(), bound.len(), "{node} has one port bound twice: {bound:?}");
            for (key, lease) in bound {
                let highest = self.epochs[&(*node, key.clone())];
                assert_eq!(lease.epoch, highest, "{node} accepts an old epoch of {key}");
            }
        }
        // Of those that send a stream to a node, packets of one are accepted.
        for (node, bound) in &self.nodes {
            for key in bound.keys() {
                let senders = self.owners.values().filter_map(|owner| owner.sends.get(key));
                let accepted = senders.filter(|lease| {
                    lease.node_id == *node
                        && bound.get(key).is_some_and(|there| there.epoch == lease.epoch)
                });
                assert!(accepted.count() <= 1, "{node} hears two owners of {key}");
            }
        }
    }

    /// All is well again and all leave: nothing may be left anywhere.
    async fn settle(mut self) -> Tally {
        self.world.cut_off.lock().unwrap().clear();
        self.world.loss.store(0, Ordering::Relaxed);
        while !self.late.is_empty() {
            self.arrive_late();
        }
        // What is sent is kept: whoever has not been told of a loss by now has its lease in the book.
        sleep(TTL * 4).await;
        self.hear_losses().await;
        let leases = self.world.engine().list_leases().await.unwrap();
        for owner in self.owners.values() {
            for lease in owner.sends.values() {
                let trace = self.trace.join("\n");
                assert!(leases.contains(lease), "{trace}\n{lease:?} is sent, not in {leases:?}");
            }
        }
        for who in OWNERS {
            let owner = self.owners.remove(who).unwrap();
            owner.stop.cancel();
            owner.keeping.await.unwrap();
        }
        sleep(TTL * 2).await;
        let left = self.world.engine().list_leases().await.unwrap();
        assert_eq!(left, [], "a port leaked");
        for (stop, keeping) in self.node_keepers {
            stop.cancel();
            keeping.await.unwrap();
        }
        assert_eq!(self.world.engine().list_nodes().await.unwrap(), []);
        self.tally
    }
}

/// What a node answers.
enum Started {
    Bound,
    Older,
    PortTaken,
}

#[tokio::test(start_paused = true)]
async fn the_lease_protocol_holds_under_seeded_faults() {
    let mut total = Tally::new();
    for seed in 0..SEEDS {
        let mut schedule = Schedule::new(seed);
        for _ in 0..STEPS {
            schedule.step().await;
        }
        for (what, count) in schedule.settle().await {
            *total.entry(what).or_default() += count;
        }
    }
    println!("{total:?}");
    // A schedule in which nothing comes about proves nothing.
    for what in [
        "started",
        "started late",
        "refused late",
        "port rejected",
        "owned",
        "unavailable",
        "no port",
        "left",
        "lost",
        "cut off",
        "registry restarts",
        "ingest killed",
    ] {
        assert!(total.contains_key(what), "{what} never came about: {total:?}");
    }
}
