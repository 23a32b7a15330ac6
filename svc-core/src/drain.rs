//! Shutdown in two phases: stop accepting and drain with a grace time, then cut.

use tokio_util::sync::CancellationToken;

/// The two phases of a shutdown, shared by all tasks of a service.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Shutdown {
    /// A shutdown that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Phase one: accept nothing new, end what can be ended in order.
    pub fn start_drain(&self) {
        self.drain.cancel();
    }
    /// Phase two: drop what is left. Implies phase one.
    pub fn cut(&self) {
        self.drain.cancel();
        self.cut.cancel();
    }
    /// Cancelled when phase one begins.
    pub fn draining(&self) -> &CancellationToken {
        &self.drain
    }
    /// Cancelled when phase two begins.
    pub fn cutting(&self) -> &CancellationToken {
        &self.cut
    }
}
