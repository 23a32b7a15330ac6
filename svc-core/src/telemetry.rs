//! Logs to stderr, as text or JSON; and OpenTelemetry traces over OTLP, only if the standard `OTEL_*` variables ask for them.
//!
//! Spans are exported by the OpenTelemetry SDK's own thread. What the exporter itself does (HTTP/2, tonic) makes spans and events too;
//! `is_ours` keeps them out, or each export would cause the next.

use std::{io::IsTerminal, time::Duration};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::config::{LogConfig, LogFormat};

/// How long the last spans may take to be exported at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Spans that are context for logs, and not part of traces: of the services, their ports, streams, legs and RTSP connections.
const CONTEXT_SPANS: [&str; 5] = ["service", "server", "stream", "leg", "rtsp"];

/// Why logs and traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// What the `OTEL_*` variables ask for cannot be.
    #[error("the OTLP exporter cannot be made from the OTEL_* variables: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The process has a subscriber already.
    #[error("logging is set up already")]
    Twice,
}

/// What must be flushed at the end.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and, if the environment asks, traces for this process. Inside the runtime, since the exporter's connection lives there.
/// `service` is the service's name where the environment gives none.
pub fn init(log: &LogConfig, service: &'static str) -> Result<Telemetry, TelemetryError> {
    let asked = Asked::from_env(|name| std::env::var(name).ok());
    let provider = if asked.export { Some(provider(&asked, service)?) } else { None };
    let traces = provider.as_ref().map(trace_layer);
    tracing_subscriber::registry()
        .with(traces)
        .with(log_layer(log))
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    crate::panics::install_hook();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    if let Some(protocol) = asked.unknown_protocol {
        tracing::warn!(protocol, "OTEL_EXPORTER_OTLP_PROTOCOL: only grpc is spoken");
    }
    Ok(Telemetry { provider })
}

/// Makes `span`, which was made without a parent, part of the current span's trace. Unlike a child it does not keep the current span
/// open.
pub fn follow(span: &Span) {
    // Fails where no OpenTelemetry layer is installed: then there is no trace.
    let _ = span.set_parent(Span::current().context());
}

impl Telemetry {
    /// Exports what is left, within a bound.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        let flush = tokio::task::spawn_blocking(move || provider.shutdown());
        match tokio::time::timeout(FLUSH_TIMEOUT, flush).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last traces were not exported"),
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not exported"),
            Err(_) => tracing::warn!("the last traces were not exported in time"),
        }
    }
}

/// What the standard variables ask for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    export: bool,
    names_service: bool,
    unknown_protocol: Option<String>,
}

impl Asked {
    fn from_env(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| var(name).filter(|value| !value.trim().is_empty());
        let endpoint = set("OTEL_EXPORTER_OTLP_ENDPOINT").is_some()
            || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some();
        let disabled = set("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || set("OTEL_TRACES_EXPORTER").is_some_and(|v| v.eq_ignore_ascii_case("none"));
        let export = endpoint && !disabled;
        let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let names_service = set("OTEL_SERVICE_NAME").is_some()
            || attributes.split(',').any(|a| a.trim_start().starts_with("service.name="));
        let unknown_protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"))
            .filter(|protocol| export && protocol != "grpc");
        Self { export, names_service, unknown_protocol }
    }
}

/// Endpoint, headers, timeout, sampler and batch sizes come from the `OTEL_*` variables, by the SDK.
fn provider(asked: &Asked, service: &'static str) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let resource = Resource::builder();
    let resource = if asked.names_service { resource } else { resource.with_service_name(service) };
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    Ok(provider)
}

fn trace_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("rtmp2rtsp"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(is_ours))
}

/// Whether a span or event belongs into traces: ours, to the level of connections; nothing of the stack that also exports, and no
/// span that only says in logs where they belong: such a span lives as long as what it names, and would make one endless trace of all
/// that happens meanwhile.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    if metadata.is_span() && CONTEXT_SPANS.contains(&metadata.name()) {
        return false;
    }
    const STACK: [&str; 6] = ["h2", "hyper", "hyper_util", "opentelemetry", "tonic", "tower"];
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO
        && !STACK.iter().any(|of_stack| {
            root.strip_prefix(of_stack).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        })
}

fn log_layer<S>(log: &LogConfig) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = EnvFilter::new(&log.level);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            layer.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            layer.json().flatten_event(true).with_span_list(true).with_filter(filter).boxed()
        }
    }
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
