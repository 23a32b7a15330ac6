//! The fan-out of a stream: who is to be sent what its ring holds (docs/architecture.md).
//!
//! Waking a task for each reader of each access unit costs more than what it then does. So whoever pushes into the ring goes through the
//! readers and lets each send; a reader has a task only for what it says and for what its socket did not take at once.
//!
//! The first [`INLINE`] readers are sent to by the stream's leg itself; the others in shards of [`SHARD`] by a task for each shard, so that
//! the leg is soon back at its socket and many readers spread over the worker threads.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use svc_core::{
    panics::{Panic, guard},
    tasks::Tasks,
};
use tokio::sync::Notify;
use tracing::Span;

/// Readers that the leg sends to. One `write` of an access unit of 8 KiB takes 5 µs: 16 are a tenth of a ms.
const INLINE: usize = 16;
/// Readers of a task.
const SHARD: usize = 128;
/// Readers after which a task gives others their turn.
const TURN: usize = 32;

/// Something that sends a stream to a reader.
pub(crate) trait Outlet: Send + Sync {
    /// The ring has something new: sends what can be sent at once. Called by one thread or another, never waits for the reader.
    fn advance(&self);
    /// It panicked at that: a fault of ours, which is to end this reader and no other.
    fn fail(&self, panic: Panic);
}

fn let_send(outlet: &dyn Outlet) {
    if let Err(panic) = guard(|| outlet.advance()) {
        outlet.fail(panic);
    }
}

/// The outlets of a stream.
#[derive(Default)]
pub(crate) struct FanOut {
    shards: Mutex<Vec<Arc<Shard>>>,
}

#[derive(Default)]
struct Shard {
    /// Copied only if it changes while it is gone through.
    outlets: Mutex<Arc<Vec<Arc<dyn Outlet>>>>,
    news: Notify,
    over: AtomicBool,
}

/// An outlet in the fan-out, for as long as this lives.
pub(crate) struct Joined {
    fan_out: Arc<FanOut>,
    outlet: Arc<dyn Outlet>,
}

impl FanOut {
    /// Adds an outlet.
    pub(crate) fn join(self: &Arc<Self>, outlet: Arc<dyn Outlet>, tasks: &Tasks) -> Joined {
        let mut shards = self.lock();
        let room = |(at, shard): (usize, &Arc<Shard>)| {
            let most = if at == 0 { INLINE } else { SHARD };
            (shard.outlets().len() < most).then(|| shard.clone())
        };
        let shard = shards.iter().enumerate().find_map(room).unwrap_or_else(|| {
            let shard = Arc::<Shard>::default();
            if !shards.is_empty() {
                // Of no reader's span: it serves many.
                tasks.spawn_in(Span::none(), "fan_out", shard.clone().run());
            }
            shards.push(shard.clone());
            shard
        });
        Arc::make_mut(&mut shard.lock()).push(outlet.clone());
        Joined { fan_out: self.clone(), outlet }
    }

    /// The ring has something new: lets all outlets send.
    pub(crate) fn advance(&self) {
        let first = {
            let shards = self.lock();
            shards.iter().skip(1).for_each(|shard| shard.news.notify_one());
            shards.first().map(|shard| shard.outlets())
        };
        for outlet in first.iter().flat_map(|outlets| outlets.iter()) {
            let_send(&**outlet);
        }
    }

    fn leave(&self, outlet: &Arc<dyn Outlet>) {
        let mut shards = self.lock();
        for shard in shards.iter() {
            let mut outlets = shard.lock();
            if let Some(at) = outlets.iter().position(|other| Arc::ptr_eq(other, outlet)) {
                Arc::make_mut(&mut outlets).swap_remove(at);
                break;
            }
        }
        // The first has no task to end, and stays.
        let mut at = 0;
        shards.retain(|shard| {
            at += 1;
            let stays = at == 1 || !shard.outlets().is_empty();
            if !stays {
                shard.end();
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Shard>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FanOut {
    fn drop(&mut self) {
        self.lock().iter().for_each(|shard| shard.end());
    }
}

impl Shard {
    async fn run(self: Arc<Self>) {
        loop {
            self.news.notified().await;
            if self.over.load(Ordering::Acquire) {
                return;
            }
            for (at, outlet) in self.outlets().iter().enumerate() {
                if at % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
                let_send(&**outlet);
            }
        }
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.news.notify_one();
    }

    fn outlets(&self) -> Arc<Vec<Arc<dyn Outlet>>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Vec<Arc<dyn Outlet>>>> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.fan_out.leave(&self.outlet);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, time::Duration};

    use svc_core::metrics::Metrics;

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Outlet for Counting {
        fn advance(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn fail(&self, panic: Panic) {
            panic!("{panic}");
        }
    }

    #[derive(Default)]
    struct Panicking(Mutex<Vec<String>>);

    impl Outlet for Panicking {
        fn advance(&self) {
            panic!("on purpose");
        }
        fn fail(&self, panic: Panic) {
            self.0.lock().unwrap().push(panic.message);
        }
    }

    async fn until(what: impl Fn() -> bool) {
        let wait = async {
            while !what() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it comes");
    }

    #[tokio::test]
    async fn each_outlet_is_let_send_and_none_that_has_left() {
        let tasks = Tasks::new(&Metrics::new("test"));
        let fan_out = Arc::<FanOut>::default();
        let outlets: Vec<_> =
            std::iter::repeat_with(Arc::<Counting>::default).take(INLINE + SHARD + 3).collect();
        let mut joined: Vec<_> =
            outlets.iter().map(|outlet| fan_out.join(outlet.clone(), &tasks)).collect();
        assert_eq!(tasks.len(), 2, "a task for each further shard");
        let sent =
            |count: usize| move |outlet: &Arc<Counting>| outlet.0.load(Ordering::Relaxed) == count;
        fan_out.advance();
        assert!(outlets[..INLINE].iter().all(sent(1)), "at once");
        until(|| outlets.iter().all(sent(1))).await;
        // The shard in the middle leaves; its place is taken by those who come.
        joined.drain(INLINE..INLINE + SHARD);
        until(|| tasks.len() == 1).await;
        fan_out.advance();
        until(|| outlets[INLINE + SHARD..].iter().all(sent(2))).await;
        assert!(outlets[INLINE..INLINE + SHARD].iter().all(sent(1)));
        drop(joined);
        until(|| tasks.is_empty()).await;
        fan_out.advance();
        assert!(outlets[..INLINE].iter().all(sent(2)));
    }

    #[tokio::test]
    async fn an_outlet_that_panics_is_told_so_and_the_others_send() {
        let tasks = Tasks::new(&Metrics::new("test"));
        let fan_out = Arc::<FanOut>::default();
        let (bad, good) = (Arc::<Panicking>::default(), Arc::<Counting>::default());
        let _bad: Vec<_> = (0..INLINE + 1).map(|_| fan_out.join(bad.clone(), &tasks)).collect();
        let _good = fan_out.join(good.clone(), &tasks);
        fan_out.advance();
        until(|| good.0.load(Ordering::Relaxed) == 1).await;
        assert_eq!(*bad.0.lock().unwrap(), vec!["on purpose"; INLINE + 1]);
    }

    #[tokio::test]
    async fn a_fan_out_that_is_gone_leaves_no_task() {
        let tasks = Tasks::new(&Metrics::new("test"));
        let fan_out = Arc::<FanOut>::default();
        let join = || fan_out.join(Arc::<Counting>::default(), &tasks);
        let joined: Vec<_> = std::iter::repeat_with(join).take(INLINE + 1).collect();
        assert_eq!(tasks.len(), 1);
        drop(joined);
        drop(fan_out);
        until(|| tasks.is_empty()).await;
    }
}
