//! A timer that is set often and rings seldom, such as for a silence that each packet puts off.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::Sleep;

/// A timer of the runtime that is moved only when it must be: to put it off costs nothing. It wakes its task early now and then, and goes on
/// by itself; it never rings early.
#[derive(Debug)]
pub struct Alarm {
    sleep: Pin<Box<Sleep>>,
    due: Option<Instant>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())), due: None }
    }
}

impl Alarm {
    /// When it rings; `None`: it does not.
    pub fn set(&mut self, due: Option<Instant>) {
        self.due = due;
        if let Some(due) = due.map(tokio::time::Instant::from_std)
            && due < self.sleep.deadline()
        {
            self.sleep.as_mut().reset(due);
        }
    }

    /// Completes when it is due, again and again until it is set anew. Cancel safe.
    pub async fn rings(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// [`Self::rings`] for futures that are polled by hand.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due.map(tokio::time::Instant::from_std) else { return Poll::Pending };
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if due <= self.sleep.deadline() {
                return Poll::Ready(());
            }
            // It was put off since.
            self.sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_it_was_last_told_to() {
        let mut alarm = Alarm::default();
        let start = now();
        alarm.set(Some(start + 10 * MS));
        alarm.set(Some(start + 30 * MS));
        alarm.rings().await;
        assert_eq!(now() - start, 30 * MS);
        // Still due.
        alarm.rings().await;
        assert_eq!(now() - start, 30 * MS);
        alarm.set(Some(start + 90 * MS));
        alarm.set(Some(start + 40 * MS));
        alarm.rings().await;
        assert_eq!(now() - start, 40 * MS);
        // What is past is due at once.
        alarm.set(Some(start));
        alarm.rings().await;
        assert_eq!(now() - start, 40 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn unset_it_does_not_ring() {
        let mut alarm = Alarm::default();
        assert!(tokio::time::timeout(1000 * MS, alarm.rings()).await.is_err());
        alarm.set(Some(now() + 10 * MS));
        alarm.set(None);
        assert!(tokio::time::timeout(1000 * MS, alarm.rings()).await.is_err());
    }
}
