//! One request for all who want one stream, and what the last ones found.

use std::{collections::HashMap, time::Duration};

use media::StreamKey;
use tokio::{sync::watch, time::Instant};

use super::Fetched;

/// How long what was found is good, where that is not the stream: a reader that comes back at once is not asked for anew.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// Requests that are under way or good: as many as begin in the time that one may take. Each is some hundred bytes.
const MAX_FLIGHTS: usize = 10_000;
/// Requests that begin in a second. Each is one lookup at least, which the registry answers from memory or by one read. As many as a node has
/// readers that come back at once when another node has gone.
const MAX_PER_SECOND: u32 = 1000;

type Found = Option<(Fetched, Instant)>;

/// See the module.
#[derive(Default)]
pub(super) struct Flights {
    by_key: HashMap<StreamKey, watch::Receiver<Found>>,
    second: Option<(Instant, u32)>,
}

/// Who makes a request, and tells what it found.
pub(super) struct Tell(watch::Sender<Found>);

impl Tell {
    /// Tells all who wait.
    pub(super) fn done(self, fetched: Fetched) {
        self.0.send_replace(Some((fetched, Instant::now())));
    }
}

/// Who waits for a request.
pub(super) struct Waiting(watch::Receiver<Found>);

impl Waiting {
    /// What was found.
    pub(super) async fn wait(&mut self) -> Fetched {
        let found = self.0.wait_for(Option::is_some).await;
        // Without a word its task has ended by a panic.
        found.ok().and_then(|found| found.clone()).map_or(Fetched::Unavailable, |(found, _)| found)
    }
}

impl Flights {
    /// Joins the request for `key`; who gets a [`Tell`] has to make it. `None`: there are too many.
    pub(super) fn join(&mut self, key: &StreamKey) -> Option<(Waiting, Option<Tell>)> {
        let now = Instant::now();
        if let Some(found) = self.by_key.get(key).filter(|found| is_good(found, now)) {
            return Some((Waiting(found.clone()), None));
        }
        if self.by_key.len() >= MAX_FLIGHTS {
            self.by_key.retain(|_, found| is_good(found, now));
        }
        if self.by_key.len() >= MAX_FLIGHTS || !self.may_begin(now) {
            return None;
        }
        let (tell, found) = watch::channel(None);
        self.by_key.insert(key.clone(), found.clone());
        Some((Waiting(found), Some(Tell(tell))))
    }

    /// What was found of `key` is not good any more. A request that is under way goes on.
    pub(super) fn forget(&mut self, key: &StreamKey) {
        if self.by_key.get(key).is_some_and(|found| found.borrow().is_some()) {
            self.by_key.remove(key);
        }
    }

    fn may_begin(&mut self, now: Instant) -> bool {
        let (_, begun) = match &mut self.second {
            Some(second) if now.duration_since(second.0) < Duration::from_secs(1) => second,
            second => second.insert((now, 0)),
        };
        *begun += 1;
        *begun <= MAX_PER_SECOND
    }
}

/// Whether it is under way, or found out lately.
fn is_good(found: &watch::Receiver<Found>, now: Instant) -> bool {
    match &*found.borrow() {
        Some((Fetched::Here, _)) => false,
        Some((_, at)) => now.duration_since(*at) < GOOD_FOR,
        None => found.has_changed().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> StreamKey {
        StreamKey::parse(&format!("s{n}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_want_one_stream_share_one_request_and_what_it_found_for_a_second() {
        let mut flights = Flights::default();
        let (mut first, tell) = flights.join(&key(1)).unwrap();
        let (mut second, none) = flights.join(&key(1)).unwrap();
        assert!(none.is_none());
        tell.unwrap().done(Fetched::Nowhere);
        assert_eq!((first.wait().await, second.wait().await), (Fetched::Nowhere, Fetched::Nowhere));
        let (mut third, none) = flights.join(&key(1)).unwrap();
        assert!(none.is_none());
        assert_eq!(third.wait().await, Fetched::Nowhere);
        tokio::time::advance(GOOD_FOR).await;
        assert!(flights.join(&key(1)).unwrap().1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_is_forgotten_when_a_lease_is_heard_of_and_the_stream_itself_at_once() {
        let mut flights = Flights::default();
        let (_, tell) = flights.join(&key(1)).unwrap();
        flights.forget(&key(1));
        assert!(flights.join(&key(1)).unwrap().1.is_none(), "it is under way");
        tell.unwrap().done(Fetched::Nowhere);
        flights.forget(&key(1));
        let (_, tell) = flights.join(&key(1)).unwrap();
        tell.expect("it is asked anew").done(Fetched::Here);
        assert!(flights.join(&key(1)).unwrap().1.is_some(), "the table of streams knows better");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_task_panicked_is_made_again() {
        let mut flights = Flights::default();
        let (mut waiting, tell) = flights.join(&key(1)).unwrap();
        drop(tell);
        assert_eq!(waiting.wait().await, Fetched::Unavailable);
        assert!(flights.join(&key(1)).unwrap().1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_requests_begin_in_a_second() {
        let mut flights = Flights::default();
        for n in 0..MAX_PER_SECOND {
            let (_, tell) = flights.join(&key(n)).unwrap();
            tell.unwrap().done(Fetched::Nowhere);
        }
        assert!(flights.join(&key(MAX_PER_SECOND)).is_none());
        assert!(flights.join(&key(0)).is_some(), "what is known costs nothing");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(flights.join(&key(MAX_PER_SECOND)).unwrap().1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_requests_are_under_way() {
        let mut flights = Flights::default();
        let mut under_way = Vec::new();
        for n in 0..MAX_FLIGHTS as u32 {
            if n % MAX_PER_SECOND == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            under_way.push(flights.join(&key(n)).unwrap());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(flights.join(&key(u32::MAX)).is_none());
        under_way.pop().unwrap().1.unwrap().done(Fetched::Here);
        assert!(flights.join(&key(u32::MAX)).is_some());
    }
}
