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
    /// A shutdown that follows this one, and that can be asked for alone: a service runs on a child, and cuts it when it has drained, so
    /// that its own ports close while another service of the same process still drains.
    pub fn child(&self) -> Self {
        Self { drain: self.drain.child_token(), cut: self.cut.child_token() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_follows_its_parent_and_not_the_other_way_round() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.cut();
        assert!(!parent.draining().is_cancelled());
        let other = parent.child();
        parent.start_drain();
        assert!(other.draining().is_cancelled() && !other.cutting().is_cancelled());
        parent.cut();
        assert!(other.cutting().is_cancelled());
    }
}
