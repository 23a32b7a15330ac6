//! [`RegistryError`] as a gRPC status, and back. Beside the detail of its [`ApiError`] a status carries an `ErrorInfo`
//! whose reason names the variant and whose metadata holds the variant's values.

use std::collections::HashMap;

use svc_core::error::{ApiError, Kind};
use tonic::Status;
use tonic_types::StatusExt;

use crate::{RegistryError, convert::stream_key, validate::FIELDS};

const DOMAIN: &str = "rtmp2rtsp";

/// The reason of a variant and its values.
fn reason(error: &RegistryError) -> (&'static str, Vec<(&'static str, String)>) {
    use RegistryError as E;
    match error {
        E::UnknownNode(id) => ("UNKNOWN_NODE", vec![("node_id", id.clone())]),
        E::NoNode => ("NO_NODE", vec![]),
        E::NoPort(node) => ("NO_PORT", vec![("node_id", node.clone())]),
        E::Owned { stream_key, owner_id, epoch } => {
            let stream_key = ("stream_key", stream_key.to_string());
            let owner_id = ("owner_id", owner_id.clone());
            ("OWNED", vec![stream_key, owner_id, ("epoch", epoch.to_string())])
        }
        E::UnknownLease(id) => ("UNKNOWN_LEASE", vec![("lease_id", id.clone())]),
        E::UnknownStream(key) => ("UNKNOWN_STREAM", vec![("stream_key", key.to_string())]),
        E::Fenced { lease_id, epoch, problem } => {
            let lease_id = ("lease_id", lease_id.clone());
            let problem = ("problem", problem.clone());
            ("FENCED", vec![lease_id, ("epoch", epoch.to_string()), problem])
        }
        E::Invalid { field, problem } => {
            ("INVALID", vec![("field", (*field).to_owned()), ("problem", problem.clone())])
        }
        E::Full(problem) => ("REGISTRY_FULL", vec![("problem", problem.clone())]),
        E::Unavailable(problem) => ("REGISTRY_UNREACHABLE", vec![("problem", problem.clone())]),
    }
}

/// The status that a caller is answered.
pub(crate) fn to_status(error: RegistryError) -> Status {
    let (reason, values) = reason(&error);
    let metadata: HashMap<String, String> =
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let status = Status::from(ApiError::from(error));
    let mut details = status.get_error_details();
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(status.code(), status.message(), details)
}

/// The error that a status was made from. What no registry of ours says stands for one that is not there.
pub(crate) fn from_status(status: Status) -> RegistryError {
    if let Some(info) = status.get_details_error_info()
        && info.domain == DOMAIN
        && let Some(error) = from_reason(&info.reason, &info.metadata)
    {
        return error;
    }
    match Kind::from_code(status.code()) {
        Kind::InvalidArgument => {
            let violation = status
                .get_details_bad_request()
                .and_then(|details| details.field_violations.into_iter().next());
            let (field, problem) = match violation {
                Some(violation) => (known_field(&violation.field), violation.description),
                None => ("request", status.message().to_owned()),
            };
            RegistryError::Invalid { field, problem }
        }
        Kind::ResourceExhausted => RegistryError::Full(status.message().to_owned()),
        Kind::DeadlineExceeded => RegistryError::Unavailable("no answer in time".to_owned()),
        Kind::NotFound
        | Kind::AlreadyExists
        | Kind::FailedPrecondition
        | Kind::Aborted
        | Kind::Unavailable
        | Kind::PermissionDenied
        | Kind::Unauthenticated
        | Kind::Unimplemented
        | Kind::Internal => RegistryError::Unavailable(describe(&status)),
    }
}

/// The message of a status and why it came about: tonic says only "transport error" of a connection refused.
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

fn from_reason(reason: &str, values: &HashMap<String, String>) -> Option<RegistryError> {
    use RegistryError as E;
    let value = |name: &str| values.get(name).cloned();
    let epoch = || values.get("epoch")?.parse().ok();
    let key = || stream_key("stream_key", values.get("stream_key")?).ok();
    Some(match reason {
        "UNKNOWN_NODE" => E::UnknownNode(value("node_id")?),
        "NO_NODE" => E::NoNode,
        "NO_PORT" => E::NoPort(value("node_id")?),
        "OWNED" => E::Owned { stream_key: key()?, owner_id: value("owner_id")?, epoch: epoch()? },
        "UNKNOWN_LEASE" => E::UnknownLease(value("lease_id")?),
        "UNKNOWN_STREAM" => E::UnknownStream(key()?),
        "FENCED" => {
            E::Fenced { lease_id: value("lease_id")?, epoch: epoch()?, problem: value("problem")? }
        }
        "INVALID" => {
            E::Invalid { field: known_field(values.get("field")?), problem: value("problem")? }
        }
        "REGISTRY_FULL" => E::Full(value("problem")?),
        "REGISTRY_UNREACHABLE" => E::Unavailable(value("problem")?),
        _another_service_s => return None,
    })
}

fn known_field(name: &str) -> &'static str {
    FIELDS.into_iter().find(|field| *field == name).unwrap_or("request")
}

#[cfg(test)]
mod tests {
    use media::StreamKey;
    use tonic::Code;

    use super::*;

    #[test]
    fn every_error_survives_the_way_over_the_wire_with_its_code() {
        let key = StreamKey::parse("site/cam1").unwrap();
        let all = [
            (RegistryError::UnknownNode("node \"é\"".into()), Code::NotFound),
            (RegistryError::NoNode, Code::ResourceExhausted),
            (RegistryError::NoPort("any node".into()), Code::ResourceExhausted),
            (
                RegistryError::Owned {
                    stream_key: key.clone(),
                    owner_id: "ingest-1".into(),
                    epoch: u64::MAX,
                },
                Code::AlreadyExists,
            ),
            (RegistryError::UnknownLease("l".into()), Code::NotFound),
            (RegistryError::UnknownStream(key), Code::NotFound),
            (
                RegistryError::Fenced { lease_id: "l".into(), epoch: 7, problem: "p".into() },
                Code::FailedPrecondition,
            ),
            (RegistryError::Full("it holds 3 leases".into()), Code::ResourceExhausted),
            (RegistryError::Unavailable("refused".into()), Code::Unavailable),
        ];
        let fields = FIELDS.map(|field| {
            (RegistryError::Invalid { field, problem: "is odd".into() }, Code::InvalidArgument)
        });
        for (error, code) in all.into_iter().chain(fields) {
            let status = to_status(error.clone());
            assert_eq!(status.code(), code, "{error}");
            assert_eq!(status.message(), error.to_string());
            assert_eq!(from_status(status), error);
        }
    }

    #[test]
    fn a_status_carries_the_detail_that_goes_with_its_code() {
        let status = to_status(RegistryError::UnknownNode("n1".into()));
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(
            (resource.resource_type.as_str(), resource.resource_name.as_str()),
            ("node", "n1")
        );
        let status = to_status(RegistryError::NoNode);
        assert_eq!(status.get_details_error_info().unwrap().reason, "NO_NODE");
        let status = to_status(RegistryError::Invalid { field: "owner_id", problem: "x".into() });
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "owner_id");
    }

    #[test]
    fn what_no_registry_of_ours_says_is_taken_for_a_registry_that_is_not_there() {
        for status in [Status::unimplemented("?"), Status::internal("?"), Status::not_found("?")] {
            assert!(matches!(from_status(status), RegistryError::Unavailable(_)));
        }
    }
}
