use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::*;

fn asked(variables: &[(&str, &str)]) -> Asked {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    Asked::from_env(|name| variables.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn nothing_is_exported_unless_an_endpoint_asks_for_it() {
    assert!(!asked(&[]).export);
    assert!(!asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).export);
    assert!(!asked(&[("OTEL_SERVICE_NAME", "x")]).export);
    assert!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]).export);
    assert!(asked(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317")]).export);
}

#[test]
fn the_standard_switches_turn_the_export_off() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
    assert!(!asked(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).export);
    assert!(asked(&[endpoint, ("OTEL_SDK_DISABLED", "false")]).export);
    assert!(!asked(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).export);
}

#[test]
fn the_service_is_named_by_the_environment_where_it_does_so() {
    assert!(!asked(&[]).names_service);
    assert!(asked(&[("OTEL_SERVICE_NAME", "x")]).names_service);
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=x");
    assert!(asked(&[attributes]).names_service);
}

#[test]
fn another_protocol_than_grpc_is_told_only_where_something_is_exported() {
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(asked(&[protocol]).unknown_protocol, None);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
    assert_eq!(asked(&[endpoint, protocol]).unknown_protocol.as_deref(), Some("http/protobuf"));
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc");
    assert_eq!(asked(&[endpoint, protocol, traces]).unknown_protocol, None);
}

/// Keeps the names of the spans that come through a filter.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<&'static str>>>);

impl<S: Subscriber> Layer<S> for Names {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _id: &tracing::Id,
        _context: tracing_subscriber::layer::Context<'_, S>,
    ) {
        self.0.lock().unwrap().push(attributes.metadata().name());
    }
}

#[test]
fn spans_of_the_exporters_stack_of_packets_and_of_what_lives_long_are_in_no_trace() {
    let names = Names::default();
    let layer = names.clone().with_filter(filter_fn(is_ours));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _ = tracing::info_span!("publish");
        let _ = tracing::info_span!("stream");
        let _ = tracing::info_span!("service");
        let _ = tracing::debug_span!("packet");
        let _ = tracing::info_span!(target: "h2::client", "request");
        let _ = tracing::info_span!(target: "opentelemetry_sdk", "export");
        let _ = tracing::info_span!(target: "towering", "of_another");
    });
    assert_eq!(*names.0.lock().unwrap(), ["publish", "of_another"]);
}
