//! The metrics registry that `/metrics` renders (prometheus-client).

use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;

/// The metrics of one service; cheap to clone. Names begin with `rtmp2rtsp_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Metrics with what every service has: build info, uptime, task panics.
    pub fn new(_service: &'static str) -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("rtmp2rtsp"))) }
    }
    /// Registers further metrics.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(|e| e.into_inner()));
    }
    /// The OpenMetrics text.
    pub fn render(&self) -> String {
        todo!()
    }
}
