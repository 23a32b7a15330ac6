//! The metrics registry that `/metrics` renders (prometheus-client), and the instruments that every service has.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use crate::panics::Panic;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one service; cheap to clone. Names begin with `rtmp2rtsp_`.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    task_panics: TaskPanics,
}

/// The counter of panics, by the task's name.
#[derive(Clone, Debug, Default)]
pub struct TaskPanics(Family<TaskLabel, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

/// The label of what happens for one of several reasons, which the caller holds to a closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// The reason, in snake case.
    pub reason: &'static str,
}

impl TaskPanics {
    /// Logs and counts a panic of the task or call `name`.
    pub fn count(&self, name: &'static str, panic: &Panic) {
        let Panic { message, location } = panic;
        tracing::error!(task = name, panic = message, location, "a task panicked");
        self.0.get_or_create(&TaskLabel { task: name }).inc();
    }
}

/// Seconds since the service was made, read at each scrape.
#[derive(Debug)]
struct Uptime(Instant);

impl prometheus_client::collector::Collector for Uptime {
    fn encode(
        &self,
        mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeMetric;
        let gauge = ConstGauge::new(self.0.elapsed().as_secs_f64());
        let help = "Time since the service was started";
        let metric =
            encoder.encode_descriptor("uptime", help, Some(&Unit::Seconds), gauge.metric_type())?;
        gauge.encode(metric)
    }
}

impl Metrics {
    /// Metrics with what every service has: build info, uptime, task panics.
    pub fn new(service: &'static str) -> Self {
        let mut registry = Registry::with_prefix("rtmp2rtsp");
        let build = vec![("service", service), ("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "What runs here", Info::new(build));
        let task_panics = TaskPanics::default();
        registry.register("task_panics", "Tasks and calls that panicked", task_panics.0.clone());
        registry.register_collector(Box::new(Uptime(Instant::now())));
        Self { registry: Arc::new(Mutex::new(registry)), task_panics }
    }
    /// Registers further metrics.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(|e| e.into_inner()));
    }
    /// The counter of panics.
    pub fn task_panics(&self) -> TaskPanics {
        self.task_panics.clone()
    }
    /// The OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(|e| e.into_inner());
        if let Err(error) = encode(&mut text, &registry) {
            tracing::error!(%error, "the metrics cannot be rendered");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_tells_its_build_and_its_uptime() {
        let text = Metrics::new("ingest-svc").render();
        let build = concat!(
            "rtmp2rtsp_build_info{service=\"ingest-svc\",version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        );
        assert!(text.contains(build), "{text}");
        assert!(text.contains("\nrtmp2rtsp_uptime_seconds "), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn what_a_service_registers_is_rendered_under_the_common_prefix() {
        let metrics = Metrics::new("test");
        let counter = Counter::<u64>::default();
        metrics.register(|r| r.register("things", "Things", counter.clone()));
        counter.inc();
        assert!(metrics.render().contains("rtmp2rtsp_things_total 1"));
    }
}
