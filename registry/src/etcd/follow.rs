//! Following etcd: the watch, its going on behind the last revision, and the view made anew where that is gone.

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use etcd_client::{EventType, KeyValue, WatchOptions, WatchResponse, WatchStream};
use tokio::time::sleep;

use super::{
    Shared,
    homes::Due,
    keys::Key,
    link::{Failure, Member},
    records,
    view::{Change, Put, View},
    write::{Condition, Write},
};

/// From one attempt to reach etcd to the next, when all members were tried.
const RETRY: Duration = Duration::from_millis(250);
/// Keys read at one time: with names of usual length some 500 kB.
const PAGE: i64 = 2_000;
/// The largest message of the watch, in bytes: 16,384 leases that end in one revision fit.
const MAX_MESSAGE: usize = 64 << 20;
/// How often it is looked what has expired.
const EXPIRY_TICK: Duration = Duration::from_millis(250);
/// 2025-01-01T00:00:00Z. Epochs begin at the seconds since then, as those of the in-memory engine do, so that streams go on
/// above what a registry before this one granted.
const EPOCH_ZERO: Duration = Duration::from_secs(1_735_689_600);

/// Follows etcd for as long as the engine lives: one member after the other, each until it fails.
pub(super) async fn follow(shared: Arc<Shared>) {
    let members = u64::try_from(shared.config.endpoints.len()).unwrap_or(1).max(1);
    let mut compacted = false;
    for turn in 0_u64.. {
        let failure = match shared.link.connect(turn).await {
            Ok(member) => follow_member(&shared, &member, compacted).await,
            Err(failure) => failure,
        };
        compacted = matches!(failure, Failure::Compacted);
        let problem = match failure {
            Failure::Lost(problem) => problem,
            Failure::LeaseGone => "a lease was gone".to_owned(),
            Failure::Compacted => "what the watch missed has been compacted".to_owned(),
        };
        tracing::warn!(problem, "etcd is not followed; trying the next member");
        shared.link.down(problem);
        if (turn + 1) % members == 0 {
            sleep(RETRY).await;
        }
    }
}

/// Follows etcd by one member until it fails; from behind the view's revision, or, where that has been compacted, anew.
async fn follow_member(shared: &Shared, member: &Member, compacted: bool) -> Failure {
    let result = async {
        make_epoch_base(shared, member).await?;
        let marked = shared.mark(member).await?;
        // A view of a later revision is of an etcd that was lost.
        let seen = shared.lock().view.revision;
        if compacted || seen == 0 || seen >= marked {
            list(shared, member).await?;
        }
        let mut watch = watch(shared, member).await?;
        while shared.lock().view.revision < marked {
            let response = shared.link.ask(member, watch.message()).await?;
            take(shared, &response.ok_or_else(ended)?)?;
        }
        forgive(shared);
        shared.link.up(member.clone());
        tracing::info!(revision = marked, "etcd is followed");
        loop {
            tokio::select! {
                taken = take_next(shared, &mut watch) => taken?,
                () = shared.link.broken(member.number()) => {
                    return Err(Failure::Lost("a request got no answer".to_owned()));
                }
            }
        }
    };
    match result.await {
        Ok(never) => never,
        Err(failure) => failure,
    }
}

/// Nobody could renew anything meanwhile.
fn forgive(shared: &Shared) {
    let mut state = shared.lock();
    let deadline = state.now() + shared.ttl();
    state.homes.forgive(deadline);
}

/// The first engine of all says where epochs begin.
async fn make_epoch_base(shared: &Shared, member: &Member) -> Result<(), Failure> {
    let since_zero = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + EPOCH_ZERO);
    let base = since_zero.map_or(0, |since| since.as_secs());
    let write = Write::new().when(Condition::Absent(Key::EpochBase)).put(
        Key::EpochBase,
        records::encode(&base),
        0,
    );
    shared.link.transact(member, write.to_txn(&shared.config.prefix)).await?;
    Ok(())
}

/// Reads all there is, at one revision.
async fn list(shared: &Shared, member: &Member) -> Result<(), Failure> {
    let prefix = shared.config.prefix.as_bytes();
    let end = end_of(prefix);
    let (mut from, mut revision, mut changes) = (prefix.to_vec(), 0, Vec::new());
    loop {
        let range = (from.clone(), end.clone());
        let (at, kvs, more) = shared.link.range(member, range, revision, PAGE).await?;
        revision = at;
        if let Some(last) = kvs.last() {
            from = [last.key(), &[0]].concat();
        }
        changes.extend(kvs.iter().filter_map(|kv| change(shared, kv, EventType::Put)));
        if !more {
            break;
        }
    }
    let mut view = View::new(shared.ttl());
    view.apply(revision, changes);
    shared.replace(view);
    Ok(())
}

/// Behind the last of the keys that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

/// Watches from behind the view's revision on.
async fn watch(shared: &Shared, member: &Member) -> Result<WatchStream, Failure> {
    let from = shared.lock().view.revision + 1;
    let options = WatchOptions::new().with_prefix().with_start_revision(from);
    let mut client = member.watch_client().max_decoding_message_size(MAX_MESSAGE);
    let prefix = shared.config.prefix.clone();
    let mut watch = shared.link.ask(member, client.watch(prefix, Some(options))).await?;
    let created = shared.link.ask(member, watch.message()).await?;
    take(shared, &created.ok_or_else(ended)?)?;
    Ok(watch)
}

async fn take_next(shared: &Shared, watch: &mut WatchStream) -> Result<(), Failure> {
    let response = watch.message().await.map_err(Failure::from)?;
    take(shared, &response.ok_or_else(ended)?)
}

fn ended() -> Failure {
    Failure::Lost("the watch ended".to_owned())
}

/// Takes in one message of the watch.
fn take(shared: &Shared, response: &WatchResponse) -> Result<(), Failure> {
    // By the number: the text of the reason is empty then.
    if response.compact_revision() > 0 {
        return Err(Failure::Compacted);
    }
    if response.canceled() {
        return Err(Failure::Lost(format!("the watch was ended: {}", response.cancel_reason())));
    }
    let mut of_revision: (i64, Vec<Change>) = (0, Vec::new());
    for event in response.events() {
        let Some(kv) = event.kv() else { continue };
        if of_revision.0 != kv.mod_revision() && of_revision.0 != 0 {
            let (revision, changes) = std::mem::take(&mut of_revision);
            shared.take_in(revision, changes);
        }
        of_revision.0 = kv.mod_revision();
        of_revision.1.extend(change(shared, kv, event.event_type()));
    }
    if of_revision.0 != 0 {
        shared.take_in(of_revision.0, of_revision.1);
    }
    Ok(())
}

fn change(shared: &Shared, kv: &KeyValue, event: EventType) -> Option<Change> {
    let Some(key) = Key::decode(&shared.config.prefix, kv.key()) else {
        let key = String::from_utf8_lossy(kv.key());
        tracing::warn!(%key, "a key in etcd is not ours; it is passed over");
        return None;
    };
    let put = match event {
        EventType::Delete => None,
        EventType::Put => Some(Put {
            value: kv.value().to_vec(),
            lease: kv.lease(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
        }),
    };
    Some(Change { key, put })
}

/// Ends what has expired, as long as the engine lives.
pub(super) async fn end_due(shared: Weak<Shared>) {
    loop {
        sleep(EXPIRY_TICK).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.end_due_now().await;
    }
}

impl Shared {
    /// Ends what is due, in order. What cannot be ended now is tried again with the next.
    pub(super) async fn end_due_now(&self) {
        let due = {
            let state = self.lock();
            state.homes.due(state.now())
        };
        for due in due {
            // Renewed while the ones before it were ended?
            let still_due = {
                let state = self.lock();
                state.homes.is_due(&due, state.now())
            };
            if !still_due {
                continue;
            }
            let ended = match &due {
                Due::Lease(id) => self.end_lease(id, true).await,
                Due::Node(id) => self.remove_node(id, true).await,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, ?due, "what expired is not ended yet");
                return;
            }
        }
    }

    /// The fence lease's number, for what is written beside it.
    pub(super) async fn fences(&self) -> Result<i64, crate::RegistryError> {
        let member = self.link.member().await?;
        self.fence_lease(&member).await.map_err(super::unavailable)
    }
}
