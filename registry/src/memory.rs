//! The in-memory engine.

use std::time::Duration;

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// How long a lease or node lives without a renewal. 10 s
    pub ttl: Duration,
    /// How long a rejected port is set aside. 60 s
    pub rejected_port_rest: Duration,
}

/// The lease book in this process's memory.
pub struct MemoryEngine {}

impl MemoryEngine {
    /// An empty book; spawns its expiry task on the current runtime, which ends with it.
    pub fn new(_config: MemoryConfig) -> std::sync::Arc<Self> {
        todo!()
    }
}
