//! Panics as values: a guarded future gives its panic back, with message and place, instead of unwinding further.

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

thread_local! {
    /// How many guards are being polled on this thread now, one within the other.
    static GUARDS: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic under a guard on this thread came from.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// `file:line:column`; empty if unknown.
    pub location: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.message, self.location)
    }
}

/// Routes panics to `tracing`; once per process, further calls do nothing. What panics under a [`Guarded`] future is left
/// to who guards it; anything else is logged here as an error, and told to the hook that was there before if nobody
/// listens to `tracing`.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| on_panic(info, &before)));
    });
}

fn on_panic(info: &PanicHookInfo<'_>, before: &dyn Fn(&PanicHookInfo<'_>)) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    if GUARDS.get() > 0 {
        // A backtrace only where RUST_BACKTRACE asks for one.
        let backtrace = Backtrace::capture();
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            tracing::error!(%backtrace, "panic");
        }
        PLACE.set(Some(location));
    } else if tracing::dispatcher::has_been_set() {
        let thread = std::thread::current();
        let message = message_of(info.payload());
        tracing::error!(message, location, thread = thread.name(), "a thread panicked");
    } else {
        before(info);
    }
}

/// What a panic said.
fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a panic without text)".to_owned()
    }
}

/// Runs `work` and gives back its panic.
pub fn guard<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    GUARDS.set(GUARDS.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDS.set(GUARDS.get() - 1);
    result.map_err(|payload| Panic {
        message: message_of(&*payload),
        location: PLACE.take().unwrap_or_default(),
    })
}

/// A future that completes with its panic instead of unwinding. After a panic it is dropped, under guard as well.
pub struct Guarded<F> {
    /// `None` after the end.
    inner: Option<Pin<Box<F>>>,
}

impl<F> Guarded<F> {
    /// Guards `future`.
    pub fn new(future: F) -> Self {
        install_hook();
        Self { inner: Some(Box::pin(future)) }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Pending };
        let result = match guard(|| inner.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        let inner = self.inner.take();
        match guard(move || drop(inner)) {
            Ok(()) => Poll::Ready(result),
            Err(panic) => Poll::Ready(result.and(Err(panic))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guarded_future_gives_back_its_panic_with_message_and_place() {
        let panic = Guarded::new(async {
            tokio::task::yield_now().await;
            panic!("no {}", 7);
        })
        .await
        .map(|(): ()| ())
        .unwrap_err();
        assert_eq!(panic.message, "no 7");
        assert!(panic.location.starts_with("svc-core/src/panics.rs:"), "{}", panic.location);
    }

    #[tokio::test]
    async fn a_panic_while_a_guarded_future_is_dropped_is_caught_too() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("while dropping");
            }
        }
        let bad = Bad;
        let future = std::future::poll_fn(move |_| {
            let _held = &bad;
            Poll::Ready(1)
        });
        assert_eq!(Guarded::new(future).await.unwrap_err().message, "while dropping");
    }

    #[tokio::test]
    async fn a_future_without_a_panic_gives_its_output() {
        assert_eq!(Guarded::new(async { 3 }).await, Ok(3));
    }
}
