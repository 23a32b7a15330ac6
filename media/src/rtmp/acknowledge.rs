//! Acknowledgements of what has come (5.4.3).

use super::output::Output;

/// When the peer is told how much of what it sent has come.
pub(super) struct Acknowledge {
    pub(super) acknowledged: u64,
    /// The peer's window acknowledgement size; 0: it wants no acknowledgements.
    window: u32,
}

impl Acknowledge {
    /// Until the peer says otherwise, its window is `window` bytes.
    pub(super) fn new(window: u32) -> Self {
        Self { acknowledged: 0, window }
    }

    /// The peer's Window Acknowledgement Size (5.4.4).
    pub(super) fn set_window(&mut self, window: u32) {
        self.window = window;
    }

    /// Acknowledges once per input, however small a window the peer has set. The number counts all
    /// bytes so far and wraps (5.4.3).
    pub(super) fn take(&mut self, received: u64, output: &mut Output) {
        if self.window > 0 && received - self.acknowledged >= u64::from(self.window) {
            output.acknowledgement(received as u32);
            self.acknowledged = received;
        }
    }
}
