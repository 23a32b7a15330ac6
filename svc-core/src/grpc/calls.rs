//! What every call on a gRPC port goes through: a span under the caller's, a guard against panics, and counting by
//! method and code when the response has ended. At the shutdown's cut, responses that still stream end as `UNAVAILABLE`.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use prost::Message as _;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field::Empty, info_span};

use super::{DESCRIPTOR_SETS, trace_context};
use crate::{
    metrics::{Metrics, TaskPanics},
    panics::{Guarded, guard},
};

/// Bounds of the histogram's buckets, in seconds: a unary call takes well under a millisecond on loopback, and
/// StartStream waits for a node at most.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What the caller of a call that panicked is told.
const PANICKED: &str = "the call failed; the log of the service says why";

/// `/package.Service/Method` as service and method.
pub(super) fn split_path(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or((path, ""))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

/// The instruments of the calls.
#[derive(Clone)]
struct Instruments {
    calls: Family<CallLabels, Counter>,
    durations: Family<MethodLabel, Histogram>,
    panics: TaskPanics,
    /// Every path that is served, as a label: what a peer makes up is counted under one name.
    methods: Arc<BTreeMap<String, &'static str>>,
    cut: CancellationToken,
}

/// Puts [`CallService`] around a port's routes.
#[derive(Clone)]
pub(super) struct CallLayer {
    instruments: Instruments,
}

impl CallLayer {
    /// The layer, its instruments registered.
    pub(super) fn new(metrics: &Metrics, cut: CancellationToken) -> Self {
        let calls = Family::default();
        let durations: Family<MethodLabel, Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        metrics.register(|registry| {
            let help = "gRPC calls that have ended, by method and status code";
            registry.register("grpc_calls", help, calls.clone());
            let help = "Time from a gRPC call's headers to the end of its response, in seconds";
            registry.register("grpc_call_duration_seconds", help, durations.clone());
        });
        let methods = Arc::new(known_methods());
        let panics = metrics.task_panics();
        Self { instruments: Instruments { calls, durations, panics, methods, cut } }
    }
}

/// All methods of the registered descriptors and of reflection, by path. The names are leaked: there are a few dozen, once per port.
fn known_methods() -> BTreeMap<String, &'static str> {
    let mut methods = BTreeMap::new();
    let mut add = |method: String| {
        methods.insert(format!("/{method}"), &*Box::leak(method.into_boxed_str()));
    };
    for version in ["v1", "v1alpha"] {
        add(format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
    }
    let sets = DESCRIPTOR_SETS.map(prost_types::FileDescriptorSet::decode);
    for file in sets.into_iter().flatten().flat_map(|set| set.file) {
        for service in &file.service {
            for method in &service.method {
                add(format!("{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    methods
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        CallService { inner, instruments: self.instruments.clone() }
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct CallService<S> {
    inner: S,
    instruments: Instruments,
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut call = Call::begin(&request, self.instruments.clone());
        let span = call.span.clone();
        let response = {
            let _entered = span.enter();
            guard(|| self.inner.call(request)).map(Guarded::new)
        };
        let answered = async move {
            let response = match response {
                Ok(response) => response.await,
                Err(panic) => Err(panic),
            };
            match response {
                Ok(Ok(response)) => Ok(call.follow(response)),
                Ok(Err(error)) => {
                    call.end(Code::Unknown);
                    Err(error)
                }
                Err(panic) => {
                    call.instruments.panics.count("grpc_call", &panic);
                    call.end(Code::Internal);
                    Ok(Status::internal(PANICKED).into_http())
                }
            }
        };
        Box::pin(answered.instrument(span))
    }
}

/// A call under way. Counted once, at its end; as cancelled if it is dropped before.
struct Call {
    instruments: Instruments,
    method: &'static str,
    began: Instant,
    span: Span,
    ended: bool,
}

impl Call {
    fn begin<B>(request: &Request<B>, instruments: Instruments) -> Self {
        let method = instruments.methods.get(request.uri().path()).copied().unwrap_or("unknown");
        let (service, name) = split_path(method);
        let span = info_span!(
            "grpc_call",
            otel.name = method,
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = name,
            rpc.grpc.status_code = Empty,
        );
        trace_context::extract(&span, request.headers());
        Self { instruments, method, began: Instant::now(), span, ended: false }
    }

    /// Waits for the status: in the headers of a response without messages, else in the trailers.
    fn follow(mut self, response: Response<Body>) -> Response<Body> {
        if let Some(code) = code_in(response.headers()) {
            self.end(code);
            return response;
        }
        let cut = Box::pin(self.instruments.cut.clone().cancelled_owned());
        response.map(|body| Body::new(CallBody { body, cut, call: self }))
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.span.record("rpc.grpc.status_code", code as i32);
        let labels = CallLabels { method: self.method, code: code_label(code) };
        self.instruments.calls.get_or_create(&labels).inc();
        let label = MethodLabel { method: self.method };
        self.instruments
            .durations
            .get_or_create(&label)
            .observe(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// The body of a response, watched for its trailers, guarded, and ended at the cut.
struct CallBody {
    body: Body,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    call: Call,
}

impl CallBody {
    /// Drops what would have followed; the trailers that end the response instead.
    fn end_with(&mut self, status: &Status) -> Frame<Bytes> {
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            let code = HeaderValue::from(status.code() as i32);
            trailers.insert("grpc-status", code);
        }
        Frame::trailers(trailers)
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let span = this.call.span.clone();
        let polled = guard(|| span.in_scope(|| Pin::new(&mut this.body).poll_frame(cx)));
        let frame = match polled {
            Ok(Poll::Ready(frame)) => frame,
            Ok(Poll::Pending) => {
                ready!(this.cut.as_mut().poll(cx));
                Some(Ok(this.end_with(&Status::unavailable("the service is shutting down"))))
            }
            Err(panic) => {
                this.call.instruments.panics.count("grpc_stream", &panic);
                Some(Ok(this.end_with(&Status::internal(PANICKED))))
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.call.end(code_in(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(status)) => this.call.end(status.code()),
            None => this.call.end(Code::Ok),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A code as metrics name it.
const fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
