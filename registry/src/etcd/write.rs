//! One transaction: what must still be as it was read, and what is then written.

use std::collections::{BTreeMap, BTreeSet};

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};

use super::{
    keys::{Key, SessionId},
    records::{SessionRecord, encode},
    view::View,
};

/// What must hold for a transaction to be carried out.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// The key is not there.
    Absent(Key),
    /// The process lives, wherever it has its home.
    Alive(SessionId),
    /// Its last change is the one of this revision.
    Unchanged(Key, i64),
    /// The process lives, and this engine renews it.
    Home(SessionId, String),
}

/// A transaction.
#[derive(Clone, Default, Debug)]
pub(super) struct Write {
    conditions: Vec<Condition>,
    /// The value and the etcd lease that it hangs on (0: none), by key.
    puts: BTreeMap<Key, (Vec<u8>, i64)>,
    deletes: BTreeSet<Key>,
}

impl Write {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// The key is as the view has it, or is absent as in the view.
    pub(super) fn when_as_in(self, view: &View, key: Key) -> Self {
        let condition = match view.mod_revision(&key) {
            Some(revision) => Condition::Unchanged(key, revision),
            None => Condition::Absent(key),
        };
        self.when(condition)
    }

    pub(super) fn put(mut self, key: Key, value: Vec<u8>, lease: i64) -> Self {
        self.deletes.remove(&key);
        self.puts.insert(key, (value, lease));
        self
    }

    /// Deletes the key, unless it is put as well.
    pub(super) fn delete(mut self, key: Key) -> Self {
        if !self.puts.contains_key(&key) {
            self.deletes.insert(key);
        }
        self
    }

    /// Whether it writes nothing, and only asks whether all is as it was.
    pub(super) fn is_check(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Whether `view` still is what the transaction was made from.
    pub(super) fn holds_in(&self, view: &View) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Absent(Key::Session(id)) => !view.sessions.contains_key(id),
            Condition::Absent(key) => view.mod_revision(key).is_none(),
            Condition::Alive(id) => view.sessions.contains_key(id),
            Condition::Unchanged(key, revision) => view.mod_revision(key) == Some(*revision),
            Condition::Home(id, home) => {
                view.sessions.get(id).is_some_and(|session| session.home == *home)
            }
        })
    }

    /// For etcd. What is put comes first, so that a watch sees a lease that moves in both places before it leaves one.
    pub(super) fn to_txn(&self, prefix: &str) -> Txn {
        let compares = self.conditions.iter().map(|condition| match condition {
            Condition::Absent(key) => {
                Compare::create_revision(key.encode(prefix), CompareOp::Equal, 0)
            }
            Condition::Alive(id) => {
                let key = Key::Session(id.clone()).encode(prefix);
                Compare::create_revision(key, CompareOp::Greater, 0)
            }
            Condition::Unchanged(key, revision) => {
                Compare::mod_revision(key.encode(prefix), CompareOp::Equal, *revision)
            }
            Condition::Home(id, home) => {
                let key = Key::Session(id.clone()).encode(prefix);
                let record = SessionRecord { home: home.clone() };
                Compare::value(key, CompareOp::Equal, encode(&record))
            }
        });
        let puts = self.puts.iter().map(|(key, (value, lease))| {
            let options = (*lease != 0).then(|| PutOptions::new().with_lease(*lease));
            TxnOp::put(key.encode(prefix), value.clone(), options)
        });
        let deletes = self.deletes.iter().map(|key| TxnOp::delete(key.encode(prefix), None));
        Txn::new()
            .when(compares.collect::<Vec<_>>())
            .and_then(puts.chain(deletes).collect::<Vec<_>>())
    }
}
