//! The newest epoch that was heard of each stream that the node has, or had lately. The node hears at once that a stream has a new owner, and
//! closes the port of the old one, who hears of it at its next renewal only: until then that looks to it as if the node had been started
//! anew, and it would begin the stream again under a lease that has ended.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use media::StreamKey;
use svc_core::error::{ApiError, Kind};
use tokio::time::Instant;

/// Streams of which it is kept, before those are forgotten of which nothing was heard for [`KEPT`]: as many as a registry has leases.
const MAX_FENCES: usize = 16_384;
/// Some renewals at the default TTL.
const KEPT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Fences(Mutex<HashMap<StreamKey, (u64, Instant)>>);

impl Fences {
    /// The node has, or had, a stream under an epoch.
    pub(super) fn raise(&self, key: &StreamKey, epoch: u64) {
        let mut fences = self.lock();
        if fences.len() >= MAX_FENCES && !fences.contains_key(key) {
            fences.retain(|_, (_, at)| at.elapsed() < KEPT);
            if fences.len() >= MAX_FENCES {
                return;
            }
        }
        let fence = fences.entry(key.clone()).or_insert((epoch, Instant::now()));
        *fence = (fence.0.max(epoch), Instant::now());
    }

    /// A stream has a lease of an epoch, on whatever node.
    pub(super) fn hear(&self, key: &StreamKey, epoch: u64) {
        if let Entry::Occupied(mut fence) = self.lock().entry(key.clone()) {
            let newest = fence.get().0.max(epoch);
            fence.insert((newest, Instant::now()));
        }
    }

    /// Refuses what is older than what was heard of.
    pub(super) fn check(&self, key: &StreamKey, epoch: u64) -> Result<(), ApiError> {
        match self.lock().get(key) {
            Some((newest, _)) if epoch < *newest => Err(stale(epoch, *newest)),
            Some(_) | None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamKey, (u64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An epoch is older than the present one.
pub(super) fn stale(epoch: u64, present: u64) -> ApiError {
    let message = format!("epoch {epoch} is older than {present}");
    ApiError::reason(Kind::FailedPrecondition, "STALE_EPOCH", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> StreamKey {
        StreamKey::parse(&format!("s{n}")).unwrap()
    }

    #[test]
    fn an_epoch_is_refused_below_the_newest_that_was_heard_of_a_stream_that_was_here() {
        let fences = Fences::default();
        fences.hear(&key(1), 9);
        assert!(fences.check(&key(1), 1).is_ok(), "it was never here");
        fences.raise(&key(1), 5);
        assert!(fences.check(&key(1), 5).is_ok(), "its owner may be the same still");
        fences.hear(&key(1), 6);
        fences.raise(&key(1), 5);
        assert_eq!(fences.check(&key(1), 5).unwrap_err().kind, Kind::FailedPrecondition);
        assert!(fences.check(&key(1), 6).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_kept_and_those_go_of_which_nothing_was_heard_for_long() {
        let fences = Fences::default();
        (0..MAX_FENCES).for_each(|n| fences.raise(&key(n), 2));
        fences.raise(&key(MAX_FENCES), 2);
        assert!(fences.check(&key(MAX_FENCES), 1).is_ok(), "there is no room");
        tokio::time::advance(KEPT).await;
        fences.hear(&key(0), 3);
        fences.raise(&key(MAX_FENCES), 2);
        assert!(fences.check(&key(MAX_FENCES), 1).is_err());
        assert!(fences.check(&key(0), 2).is_err());
        assert_eq!(fences.lock().len(), 2);
    }
}
