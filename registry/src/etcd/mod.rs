//! The lease book in etcd, shared by all that serve the registry.
//!
//! **State.** Each engine follows the whole prefix by one watch and keeps it as a [`View`]; calls are decided on it, and
//! written by one transaction each that compares what they were decided on; so are answers that write nothing but must not be stale. Where that has changed meanwhile, the call
//! waits until the view shows it, and decides again. A call is answered when the view has what it wrote.
//!
//! **Leases.** A process (a node, an owner of streams) has one etcd lease, which all its keys hang on, so that all of it
//! goes when it dies ([`homes`]).
//!
//! **Epochs** are the create revisions of claims, above a base that is there so that a new etcd goes on above the old one.
//! A claim that is put back keeps the epoch that it had. The last epoch of a stream stays for some hours as a fence.
//!
//! **Contention.** One engine lets calls for one stream wait for each other, and gives calls under way ports of their own, so
//! that n claims cost n transactions; engines that collide take a port at random the next time.
//!
//! **Faults.** Nothing here is waited for by the data plane. Without etcd calls fail; a member that dies is left for the next
//! one, and the watch goes on behind the last revision that it told ([`follow`]).

mod calls;
mod config;
mod follow;
mod homes;
mod keys;
mod link;
mod plan;
mod records;
mod view;
mod write;

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

pub use self::config::{EtcdConfig, Secret, TlsConfig};
use self::{
    homes::Homes,
    keys::Key,
    link::{Failure, Link, Member, Outcome},
    plan::Desk,
    view::{Change, View},
    write::Write,
};
use crate::{Grant, LeaseId, RegistryError, WatchEvent, changes::Changes};

/// How often a call is decided anew when others change what it was decided on. Engines choose ports at random from the
/// second time on, so that more than a few are a sign of something else.
const ATTEMPTS: usize = 16;
/// How long a call waits for the view to show what etcd has.
const VIEW_LAG: Duration = Duration::from_millis(1500);
/// How many locks calls of different streams (or owners) share.
const LOCKS: usize = 64;
/// By how much an etcd lease outlives what hangs on it: the engine that is a process's home ends its leases first, one by one.
const SLACK: Duration = Duration::from_secs(1);
/// How long the last epoch of a stream is remembered at the least, and by how much longer at the most.
const FENCES: Duration = Duration::from_secs(3600);

/// The lease book in etcd. Dropping it ends its watch; what it renewed lives on to its TTL, or until another
/// engine is asked to renew it.
pub struct EtcdEngine {
    shared: Arc<Shared>,
    follower: tokio::task::AbortHandle,
    expiry: tokio::task::AbortHandle,
}

struct Shared {
    config: EtcdConfig,
    /// Names this engine as the home of processes.
    id: String,
    link: Arc<Link>,
    state: Mutex<State>,
    /// The revision that the view has reached.
    reached: watch::Sender<i64>,
    changes: Changes,
    leases_granted: AtomicU64,
    streams: Locks,
    sessions: Locks,
    fences: tokio::sync::Mutex<Option<(i64, Instant)>>,
}

struct State {
    view: View,
    homes: Homes,
    reserved: HashSet<(String, u16)>,
    /// What a test has added to the clock.
    ahead: Duration,
}

/// Turns for what is named alike; what is not seldom waits for each other.
struct Locks {
    hasher: RandomState,
    locks: Vec<tokio::sync::Mutex<()>>,
}

impl Locks {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect(),
        }
    }

    async fn turn(&self, name: &impl Hash) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let hash = self.hasher.hash_one(name);
        let count = u64::try_from(self.locks.len()).unwrap_or(1).max(1);
        let lock = self.locks.get(usize::try_from(hash % count).unwrap_or(0))?;
        Some(lock.lock().await)
    }
}

/// A port that a call under way is about to take.
struct Reserved<'a> {
    shared: &'a Shared,
    port: (String, u16),
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.shared.lock().reserved.remove(&self.port);
    }
}

impl EtcdEngine {
    /// Follows etcd from now on, on the current runtime; calls fail until it is reached.
    pub fn new(config: EtcdConfig) -> Self {
        let shared = Arc::new(Shared {
            id: format!("{:016x}", rand::random::<u64>()),
            link: Link::new(config.clone()),
            state: Mutex::new(State {
                view: View::new(config.book.ttl),
                homes: Homes::default(),
                reserved: HashSet::new(),
                ahead: Duration::ZERO,
            }),
            reached: watch::Sender::new(0),
            changes: Changes::new(),
            leases_granted: AtomicU64::new(0),
            streams: Locks::new(),
            sessions: Locks::new(),
            fences: tokio::sync::Mutex::default(),
            config,
        });
        Self {
            follower: tokio::spawn(follow::follow(shared.clone())).abort_handle(),
            expiry: tokio::spawn(follow::end_due(Arc::downgrade(&shared))).abort_handle(),
            shared,
        }
    }

    /// Waits until etcd is reached for the first time; the reason why not, after `patience`.
    pub async fn connected(&self, patience: Duration) -> Result<(), RegistryError> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match self.shared.link.member().await {
                Ok(_) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

#[cfg(test)]
impl EtcdEngine {
    /// Puts the engine's clock forward; what has expired by then is ended.
    pub(crate) async fn advance(&self, by: Duration) {
        self.shared.lock().ahead += by;
        self.shared.end_due_now().await;
    }
}

impl Drop for EtcdEngine {
    fn drop(&mut self) {
        self.follower.abort();
        self.expiry.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is our bug; the other streams' leases are worth more than its consistency.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ttl(&self) -> Duration {
        self.config.book.ttl
    }

    fn encode(&self, key: &Key) -> String {
        key.encode(&self.config.prefix)
    }

    /// Takes in what the watch told of one revision.
    fn take_in(&self, revision: i64, changes: Vec<Change>) {
        let mut state = self.lock();
        let rehomed = changes.iter().any(|change| matches!(change.key, Key::Session(_)));
        let events = state.view.apply(revision, changes);
        let deadline = state.now() + self.ttl();
        let State { view, homes, .. } = &mut *state;
        if rehomed {
            homes.follow(view, &self.id, deadline);
        } else {
            homes.follow_events(view, &self.id, &events, deadline);
        }
        // Under the lock, so that watchers see changes in the order in which they were made.
        events.into_iter().for_each(|event| self.changes.tell(event));
        self.reached.send_replace(state.view.revision);
    }

    /// Puts `view` in place of the one that has fallen behind.
    fn replace(&self, view: View) {
        let mut state = self.lock();
        let events = view.changes_since(&state.view);
        let deadline = state.now() + self.ttl();
        state.view = view;
        let State { view, homes, .. } = &mut *state;
        homes.follow(view, &self.id, deadline);
        events.into_iter().for_each(|event| self.changes.tell(event));
        self.reached.send_replace(state.view.revision);
    }

    /// What decisions are made on. Of the pairs of a node's ports `first_pair` is tried first.
    fn desk<'a>(&'a self, state: &'a State, first_pair: usize) -> Desk<'a> {
        Desk {
            view: &state.view,
            reserved: &state.reserved,
            home: &self.id,
            now_ms: records::unix_ms(SystemTime::now() + state.ahead),
            first_pair,
        }
    }

    /// Decides something that takes no port.
    fn decide<T>(&self, decide: impl FnOnce(&Desk) -> T) -> T {
        let state = self.lock();
        decide(&self.desk(&state, 0))
    }

    /// Keeps a port from other calls of this engine.
    fn reserve(&self, state: &mut State, port: (String, u16)) -> Reserved<'_> {
        state.reserved.insert(port.clone());
        Reserved { shared: self, port }
    }

    /// Waits until the view shows a revision, or `changed` says that it is no longer what it was.
    async fn view_shows(&self, shown: impl Fn(&View) -> bool) -> Result<(), RegistryError> {
        let mut reached = self.reached.subscribe();
        let wait = async {
            loop {
                reached.borrow_and_update();
                if shown(&self.lock().view) || reached.changed().await.is_err() {
                    return;
                }
            }
        };
        let late = |_| RegistryError::Unavailable("the watch of etcd is behind".to_owned());
        tokio::time::timeout(VIEW_LAG, wait).await.map_err(late)
    }

    /// Carries out a transaction and waits for the view; whether it was done. When it was not, what stood against it is
    /// in the view now, and the call is to be decided anew.
    async fn commit(&self, write: &Write) -> Result<bool, RegistryError> {
        let member = self.link.member().await?;
        let txn = write.to_txn(&self.config.prefix);
        match self.link.transact(&member, txn).await {
            Ok(Outcome::Done(_)) if write.is_check() => Ok(true),
            Ok(Outcome::Done(revision)) => {
                self.view_shows(|view| view.revision >= revision).await?;
                Ok(true)
            }
            Ok(Outcome::Conflict) => {
                self.view_shows(|view| !write.holds_in(view)).await?;
                Ok(false)
            }
            Err(Failure::LeaseGone) => {
                // The session that hung on it goes with it; the fences' lease is made anew.
                *self.fences.lock().await = None;
                self.sync().await?;
                Ok(false)
            }
            Err(failure) => Err(unavailable(failure)),
        }
    }

    /// Waits until the view has all that was in etcd when this was called.
    async fn sync(&self) -> Result<(), RegistryError> {
        let member = self.link.member().await?;
        let revision = self.mark(&member).await.map_err(unavailable)?;
        self.view_shows(|view| view.revision >= revision).await
    }

    /// Writes a mark: whoever sees it in the watch has seen all before it.
    async fn mark(&self, member: &Member) -> Result<i64, Failure> {
        let key = self.encode(&Key::Mark(self.id.clone()));
        for _ in 0..2 {
            let lease = self.fence_lease(member).await?;
            match self.link.put(member, key.clone(), lease).await {
                Err(Failure::LeaseGone) => *self.fences.lock().await = None,
                result => return result,
            }
        }
        Err(Failure::LeaseGone)
    }

    /// The etcd lease on which fences, ports that rest and marks hang: one an hour, none renewed.
    async fn fence_lease(&self, member: &Member) -> Result<i64, Failure> {
        let mut fences = self.fences.lock().await;
        match *fences {
            Some((lease, made)) if made.elapsed() < FENCES => Ok(lease),
            Some(_) | None => {
                let lease = self.link.grant(member, FENCES * 2).await?;
                *fences = Some((lease, Instant::now()));
                Ok(lease)
            }
        }
    }

    /// A lease that was granted or is there, renewed for one TTL.
    fn renewed(&self, id: &LeaseId) -> Option<Grant> {
        let mut state = self.lock();
        let deadline = state.now() + self.ttl();
        let grant = state.view.grant(id)?;
        state.homes.renew_lease(id, deadline);
        Some(grant)
    }

    fn next_lease_id(&self) -> LeaseId {
        let number = self.leases_granted.fetch_add(1, Ordering::Relaxed) + 1;
        LeaseId(format!("{}-{number}", self.id))
    }

    /// Tells a new watcher all that there is, then every change.
    fn watch(&self) -> Result<crate::Watch, RegistryError> {
        let state = self.lock();
        let nodes = state.view.list_nodes().into_iter().map(WatchEvent::NodeAdded);
        let leases = state.view.list_leases().into_iter().map(WatchEvent::LeaseAdded);
        self.changes.watch(nodes.chain(leases).collect())
    }
}

impl State {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std() + self.ahead
    }
}

fn unavailable(failure: Failure) -> RegistryError {
    RegistryError::Unavailable(match failure {
        Failure::LeaseGone => "etcd has lost the lease".to_owned(),
        Failure::Compacted => "etcd has compacted what was asked for".to_owned(),
        Failure::Lost(problem) => format!("etcd: {problem}"),
    })
}

#[cfg(test)]
pub(crate) mod tests;
