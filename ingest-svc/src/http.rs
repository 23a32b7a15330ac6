//! The first prototype's HTTP calls, mapped onto StreamControl. The JSON is that of the API's messages, with field names as in the
//! protos (`stream_key`; `streamKey` is taken as well).

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use proto::v1;
use serde::{Serialize, de::DeserializeOwned};
use svc_core::error::{ApiError, Kind};

use crate::control::Control;

/// The calls, for the service's HTTP port.
pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route("/start", post(start))
        .route("/stop", post(stop))
        .route("/streams", get(streams))
        .with_state(control)
}

async fn start(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    match read::<v1::StartStreamRequest>(&headers, &body) {
        Ok(request) => answer(control.start(&request).await),
        Err(refusal) => refusal,
    }
}

async fn stop(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    match read::<v1::StopStreamRequest>(&headers, &body) {
        Ok(request) => answer(control.stop(&request).await),
        Err(refusal) => refusal,
    }
}

async fn streams(State(control): State<Control>) -> Response {
    // Canonical JSON leaves out empty lists; scripts want one.
    match serde_json::to_value(control.list()) {
        Ok(mut list) => {
            if let Some(object) = list.as_object_mut() {
                object.entry("streams").or_insert_with(|| serde_json::json!([]));
            }
            Json(list).into_response()
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", &error.to_string()),
    }
}

#[allow(clippy::result_large_err)]
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Response> {
    if !is_json(headers) {
        let text = "Content-Type must be application/json";
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT", text));
    }
    serde_json::from_slice(body).map_err(|error| {
        problem(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", &format!("the body: {error}"))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn answer<T: Serialize>(result: Result<T, ApiError>) -> Response {
    match result {
        Ok(message) => Json(message).into_response(),
        Err(error) => {
            problem(status(error.kind), &error.kind.label().to_uppercase(), &error.message)
        }
    }
}

/// The HTTP status of a kind, as `google.rpc.Code` says it.
const fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidArgument | Kind::FailedPrecondition => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::PermissionDenied => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::AlreadyExists | Kind::Aborted => StatusCode::CONFLICT,
        Kind::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    (status, Json(body)).into_response()
}
