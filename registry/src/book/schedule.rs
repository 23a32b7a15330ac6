//! Seeded random schedules of calls on a book. After each step the book is held to what its events and answers say: a
//! mirror is made of the events, deadlines are kept from the answers, and neither looks into the book.

use std::collections::{BTreeMap, HashMap, HashSet};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    tests::{claim, info},
    *,
};
use crate::{Claim, NodeInfo};

const SEEDS: u64 = 200;
const STEPS: usize = 300;
const TTL: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(15);
const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const OWNERS: [&str; 3] = ["i1", "i2", "i3"];
const STREAMS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// How often each kind of thing happened in all schedules: one in which nothing comes about proves nothing.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    fn answer<T>(&mut self, answer: &Result<T, RegistryError>) {
        let Err(error) = answer else { return };
        self.count(match error {
            RegistryError::UnknownNode(_) => "unknown node",
            RegistryError::NoNode => "no node",
            RegistryError::NoPort(_) => "no port",
            RegistryError::Owned { .. } => "owned",
            RegistryError::UnknownLease(_) => "unknown lease",
            RegistryError::Fenced { .. } => "fenced",
            other => panic!("{other}"),
        });
    }
}

/// A book and what must be in it.
struct Schedule {
    rng: StdRng,
    now: Instant,
    book: Book,
    nodes: BTreeMap<String, NodeInfo>,
    leases: BTreeMap<LeaseId, Lease>,
    node_deadlines: HashMap<String, Instant>,
    lease_deadlines: HashMap<LeaseId, Instant>,
    /// Until when a port of a node is set aside.
    resting: HashMap<(String, u16), Instant>,
    /// The highest epoch that each stream had.
    epochs: HashMap<StreamKey, u64>,
    /// Every lease that was ever told, to be put back, renewed and released at the wrong time.
    past: Vec<Lease>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            book: Book::new(MemoryConfig { ttl: TTL, rejected_port_rest: REST }, seed, 100),
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            node_deadlines: HashMap::new(),
            lease_deadlines: HashMap::new(),
            resting: HashMap::new(),
            epochs: HashMap::new(),
            past: Vec::new(),
        }
    }

    fn one_of(&mut self, names: &[&'static str]) -> &'static str {
        names.choose(&mut self.rng).unwrap()
    }

    /// A lease that is there, or, one time in four, any that ever was.
    fn some_lease(&mut self) -> Option<Lease> {
        let there: Vec<_> = self.leases.values().cloned().collect();
        let from = if self.rng.random_ratio(1, 4) { &self.past } else { &there };
        from.choose(&mut self.rng).cloned()
    }

    fn step(&mut self, tally: &mut Tally) {
        if self.rng.random_ratio(1, 3) {
            self.now += Duration::from_millis(self.rng.random_range(1..4000));
        }
        self.book.expire(self.now);
        self.take_events(tally, "expiry");
        let call = match self.rng.random_range(0..100) {
            0..8 => self.register(),
            8..22 => self.keep_alive(tally),
            22..24 => self.deregister(),
            24..54 => self.allocate(tally),
            54..74 => self.renew(tally),
            74..80 => self.release(),
            80..88 => self.reject(tally),
            _ => self.reassert(tally),
        };
        self.take_events(tally, call);
        self.check();
    }

    fn register(&mut self) -> &'static str {
        let min = *[6000, 6000, 6004].choose(&mut self.rng).unwrap();
        let max = min + *[4, 9, 9, 15].choose(&mut self.rng).unwrap();
        let mut node = info(self.one_of(&NODES), min, max);
        node.draining = self.rng.random_ratio(1, 6);
        self.book.register_node(node.clone(), self.now, SystemTime::UNIX_EPOCH).unwrap();
        self.node_deadlines.insert(node.id, self.now + TTL);
        "register"
    }

    fn keep_alive(&mut self, tally: &mut Tally) -> &'static str {
        let node = self.one_of(&NODES);
        let answer = self.book.keep_alive(node, self.now);
        assert_eq!(answer.is_ok(), self.nodes.contains_key(node));
        tally.answer(&answer);
        if answer.is_ok() {
            self.node_deadlines.insert(node.into(), self.now + TTL);
        }
        "keep alive"
    }

    fn deregister(&mut self) -> &'static str {
        let node = self.one_of(&NODES);
        self.book.deregister_node(node).unwrap();
        "deregister"
    }

    fn allocate(&mut self, tally: &mut Tally) -> &'static str {
        let mut wish = claim(self.one_of(&STREAMS), self.one_of(&OWNERS));
        if self.rng.random_ratio(1, 3) {
            wish.node_id = Some(self.one_of(&NODES).into());
        }
        let present = self.leases.values().find(|lease| lease.stream_key == wish.stream_key);
        let (owner, epoch) = present.map(|lease| (lease.owner_id.clone(), lease.epoch)).unzip();
        if self.rng.random_ratio(1, 6) {
            wish.supersede = epoch.map(|epoch| epoch - self.rng.random_range(0..2));
        }
        let supersedes = wish.supersede.is_some() && wish.supersede == epoch;
        let answer = self.book.allocate_port(wish.clone(), self.now);
        tally.answer(&answer);
        match answer {
            Ok(grant) => {
                if supersedes && owner.as_ref().is_some_and(|owner| *owner != wish.owner_id) {
                    tally.count("superseded");
                    assert!(Some(grant.lease.epoch) > epoch, "{grant:?}");
                } else {
                    assert!(owner.is_none_or(|owner| owner == wish.owner_id), "{grant:?}");
                }
                self.check_grant(&wish, &grant);
                if !self.leases.contains_key(&grant.lease.id) {
                    tally.count("granted");
                    let place = (grant.lease.node_id.clone(), grant.lease.rtp_port);
                    assert!(!self.rests(&place), "{place:?} is set aside");
                }
                self.lease_deadlines.insert(grant.lease.id, self.now + TTL);
            }
            Err(RegistryError::Owned { owner_id, .. }) => {
                assert!(!supersedes);
                assert_eq!(Some(&owner_id), owner.as_ref());
                assert_ne!(owner_id, wish.owner_id);
            }
            Err(RegistryError::NoPort(_)) => match &wish.node_id {
                Some(node) => assert!(!self.has_free_port(node), "{node}"),
                None => {
                    let legs = self.legs(&wish.stream_key);
                    let free = self
                        .nodes
                        .keys()
                        .find(|node| !legs.contains(node.as_str()) && self.has_free_port(node));
                    assert_eq!(free, None);
                }
            },
            Err(RegistryError::NoNode) => assert!(self.nodes.is_empty()),
            Err(_unknown_node) => {
                assert!(wish.node_id.is_some_and(|node| !self.nodes.contains_key(&node)));
            }
        }
        "allocate"
    }

    fn check_grant(&self, wish: &Claim, grant: &Grant) {
        let Grant { lease, node } = grant;
        assert_eq!((&lease.stream_key, &lease.owner_id), (&wish.stream_key, &wish.owner_id));
        assert!(wish.node_id.as_ref().is_none_or(|node| *node == lease.node_id), "{grant:?}");
        assert_eq!(
            (&node.info.id, Some(&node.info)),
            (&lease.node_id, self.nodes.get(&lease.node_id))
        );
    }

    fn rests(&self, place: &(String, u16)) -> bool {
        self.resting.get(place).is_some_and(|until| *until > self.now)
    }

    fn has_free_port(&self, node: &str) -> bool {
        let Some(info) = self.nodes.get(node).filter(|info| !info.draining) else { return false };
        let held = self.leases.values().filter(|lease| lease.node_id == node);
        let held: HashSet<_> = held.map(|lease| lease.rtp_port).collect();
        (info.rtp_port_min..info.rtp_port_max)
            .step_by(2)
            .any(|port| !self.rests(&(node.into(), port)) && !held.contains(&port))
    }

    fn legs(&self, key: &StreamKey) -> HashSet<&str> {
        let legs = self.leases.values().filter(|lease| lease.stream_key == *key);
        legs.map(|lease| lease.node_id.as_str()).collect()
    }

    fn renew(&mut self, tally: &mut Tally) -> &'static str {
        let owner = self.one_of(&OWNERS);
        let theirs = self.leases.values().filter(|lease| lease.owner_id == owner);
        let mut ids: Vec<_> = theirs.map(|lease| lease.id.clone()).collect();
        ids.extend(self.some_lease().map(|lease| lease.id));
        let lost = self.book.renew_leases(owner, &ids, self.now).unwrap();
        for id in ids {
            let kept = self.leases.get(&id).is_some_and(|lease| {
                lease.owner_id == owner && self.nodes.contains_key(&lease.node_id)
            });
            assert_eq!(lost.contains(&id), !kept, "{id:?}");
            tally.count(if kept { "renewed" } else { "lost" });
            if kept {
                self.lease_deadlines.insert(id, self.now + TTL);
            }
        }
        "renew"
    }

    fn release(&mut self) -> &'static str {
        if let Some(lease) = self.some_lease() {
            self.book.release_port(&lease.id).unwrap();
            assert!(!self.book.list_leases().iter().any(|other| other.id == lease.id));
        }
        "release"
    }

    fn reject(&mut self, tally: &mut Tally) -> &'static str {
        let Some(lease) = self.some_lease() else { return "reject" };
        let answer = self.book.reject_port(&lease.id, self.now);
        tally.answer(&answer);
        let before = self.leases.get(&lease.id).cloned();
        match (answer, before) {
            (Err(RegistryError::UnknownLease(_)), before) => assert_eq!(before, None),
            (_, None) => panic!("{lease:?} was not there"),
            (answer, Some(before)) => {
                if self.nodes.contains_key(&before.node_id) {
                    let place = (before.node_id.clone(), before.rtp_port);
                    self.resting.insert(place, self.now + REST);
                }
                let Ok(grant) = answer else { return "reject" };
                tally.count(if grant.lease.node_id == before.node_id {
                    "moved"
                } else {
                    "moved away"
                });
                let place = (grant.lease.node_id.clone(), grant.lease.rtp_port);
                assert!(!self.rests(&place), "{place:?} is set aside");
                assert_eq!((&grant.lease.id, grant.lease.epoch), (&before.id, before.epoch));
                self.lease_deadlines.insert(before.id, self.now + TTL);
            }
        }
        "reject"
    }

    fn reassert(&mut self, tally: &mut Tally) -> &'static str {
        let Some(lease) = self.past.choose(&mut self.rng).cloned() else { return "reassert" };
        let mut wish = claim(lease.stream_key.as_str(), &lease.owner_id);
        wish.reassert = Some(lease.clone());
        let answer = self.book.allocate_port(wish.clone(), self.now);
        tally.answer(&answer);
        if let Ok(grant) = answer {
            let there = self.leases.get(&lease.id);
            tally.count(if there.is_some() { "still there" } else { "put back" });
            let rtp_port = there.map_or(lease.rtp_port, |there| there.rtp_port);
            assert_eq!(grant.lease, Lease { rtp_port, ..lease });
            self.check_grant(&wish, &grant);
            self.lease_deadlines.insert(grant.lease.id, self.now + TTL);
        }
        "reassert"
    }

    /// Brings the mirror up to date.
    fn take_events(&mut self, tally: &mut Tally, call: &'static str) {
        for event in self.book.take_events() {
            match event {
                WatchEvent::SnapshotEnd => panic!("no snapshot was asked for"),
                WatchEvent::NodeAdded(node) => {
                    assert_eq!(self.nodes.insert(node.info.id.clone(), node.info), None);
                }
                WatchEvent::NodeChanged(node) => {
                    let old = self.nodes.insert(node.info.id.clone(), node.info.clone());
                    assert!(old.is_some_and(|old| old != node.info));
                }
                WatchEvent::NodeRemoved { node, expired } => {
                    let id = node.info.id;
                    assert_eq!(expired, call == "expiry");
                    assert!(!expired || self.node_deadlines[&id] <= self.now, "{id}");
                    assert!(self.nodes.remove(&id).is_some());
                    self.node_deadlines.remove(&id);
                    // What was set aside is forgotten with the node.
                    self.resting.retain(|(node, _), _| *node != id);
                    tally.count(if expired { "node expired" } else { "node left" });
                }
                WatchEvent::LeaseAdded(lease) => {
                    self.past.push(lease.clone());
                    assert_eq!(self.leases.insert(lease.id.clone(), lease), None);
                }
                WatchEvent::LeaseChanged(lease) => {
                    self.past.push(lease.clone());
                    assert!(self.leases.insert(lease.id.clone(), lease).is_some());
                }
                WatchEvent::LeaseRemoved { lease, expired } => {
                    let node_gone = !self.nodes.contains_key(&lease.node_id);
                    let due = self.lease_deadlines[&lease.id] <= self.now;
                    assert_eq!(expired, call == "expiry" || call == "renew", "{call}");
                    assert!(!expired || due || (call == "renew" && node_gone), "{lease:?}");
                    tally.count(if expired { "lease expired" } else { "lease ended" });
                    self.lease_deadlines.remove(&lease.id);
                    assert_eq!(self.leases.remove(&lease.id), Some(lease));
                }
            }
        }
    }

    /// What must hold after every step.
    fn check(&mut self) {
        let listed = self.book.list_leases();
        let by_id: BTreeMap<_, _> =
            listed.iter().map(|lease| (lease.id.clone(), lease.clone())).collect();
        assert_eq!(by_id, self.leases, "the list is what the events say");
        assert_eq!((by_id.len(), self.book.leases.len()), (listed.len(), listed.len()));
        let places: HashSet<_> =
            listed.iter().map(|lease| (&lease.node_id, lease.rtp_port)).collect();
        assert_eq!(places.len(), listed.len(), "a port has two leases");
        assert_eq!(self.book.deadlines.len(), listed.len() + self.nodes.len());

        let mut claims = HashMap::new();
        for lease in &listed {
            assert!(self.lease_deadlines[&lease.id] > self.now, "{lease:?} has expired");
            assert!(lease.rtp_port.is_multiple_of(2));
            if let Some(info) = self.nodes.get(&lease.node_id) {
                let ports = info.rtp_port_min..info.rtp_port_max;
                assert!(ports.contains(&lease.rtp_port), "{lease:?} on {info:?}");
            }
            let claim = (&lease.owner_id, lease.epoch);
            assert_eq!(*claims.entry(&lease.stream_key).or_insert(claim), claim, "two owners");
            let highest = self.epochs.entry(lease.stream_key.clone()).or_default();
            assert!(lease.epoch >= *highest, "{lease:?} after epoch {highest}");
            *highest = lease.epoch;
        }
        self.check_nodes(&listed);
    }

    fn check_nodes(&self, listed: &[Lease]) {
        let nodes = self.book.list_nodes();
        let infos: BTreeMap<_, _> =
            nodes.iter().map(|node| (node.info.id.clone(), node.info.clone())).collect();
        assert_eq!(infos, self.nodes, "the list is what the events say");
        for node in nodes {
            assert!(self.node_deadlines[&node.info.id] > self.now, "{node:?} has expired");
            let leases = listed.iter().filter(|lease| lease.node_id == node.info.id).count();
            assert_eq!(usize::try_from(node.leases), Ok(leases), "{node:?}");
        }
    }
}

#[test]
fn in_any_order_of_calls_ports_are_held_once_epochs_grow_and_what_expired_is_gone() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        let mut schedule = Schedule::new(seed);
        for step in 0..STEPS {
            let run = std::panic::AssertUnwindSafe(|| schedule.step(&mut tally));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("this was seed {seed}, step {step}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    let all = [
        "fenced",
        "granted",
        "lease ended",
        "lease expired",
        "lost",
        "moved",
        "moved away",
        "no node",
        "no port",
        "node expired",
        "node left",
        "owned",
        "put back",
        "renewed",
        "still there",
        "superseded",
        "unknown lease",
        "unknown node",
    ];
    assert_eq!(tally.0.keys().copied().collect::<Vec<_>>(), all);
    assert!(tally.0.values().all(|count| *count >= 50), "{:?}", tally.0);
}
