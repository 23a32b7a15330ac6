//! Error kinds: the one set to which every error of the project is mapped, equal to the gRPC codes, and how a kind
//! becomes a `tonic::Status` with `google.rpc` details.

use media::StreamKey;
use tonic_types::{ErrorDetails, StatusExt};

/// What kind of failure an error is. Equals the gRPC code set, less what is never sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A field that cannot be.
    InvalidArgument,
    /// No such stream, node or lease.
    NotFound,
    /// It is there already, with other parameters or another owner.
    AlreadyExists,
    /// No port, no node, no room.
    ResourceExhausted,
    /// The state of things does not allow it.
    FailedPrecondition,
    /// Another change came between.
    Aborted,
    /// A registry or peer cannot be reached.
    Unavailable,
    /// It took too long.
    DeadlineExceeded,
    /// Not allowed.
    PermissionDenied,
    /// Not known who asks.
    Unauthenticated,
    /// Not served here.
    Unimplemented,
    /// Our bug.
    Internal,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The caller's: `debug` and a counter.
    Peer,
    /// Ours: `error`.
    Us,
    /// Too much at once: `warn` and a counter.
    Overload,
    /// The operator's, or something around us: `warn`.
    Operator,
}

impl Kind {
    /// The gRPC code.
    pub const fn code(self) -> tonic::Code {
        use tonic::Code;
        match self {
            Self::InvalidArgument => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::Aborted => Code::Aborted,
            Self::Unavailable => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
        }
    }

    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::InvalidArgument
            | Self::NotFound
            | Self::AlreadyExists
            | Self::FailedPrecondition
            | Self::Aborted
            | Self::PermissionDenied
            | Self::Unauthenticated
            | Self::Unimplemented => Fault::Peer,
            Self::ResourceExhausted => Fault::Overload,
            Self::Unavailable | Self::DeadlineExceeded => Fault::Operator,
            Self::Internal => Fault::Us,
        }
    }

    /// A metric label value, such as `not_found`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Aborted => "aborted",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::PermissionDenied => "permission_denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
        }
    }

    /// The kind of a status that a peer answered.
    pub const fn from_code(code: tonic::Code) -> Self {
        use tonic::Code;
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::InvalidArgument,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::Unavailable | Code::Cancelled => Self::Unavailable,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::Unimplemented => Self::Unimplemented,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }
}

/// An error that can be answered to a caller of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure it is.
    pub kind: Kind,
    /// One sentence for the person who called.
    pub message: String,
    /// The details that go with the kind.
    pub detail: Detail,
}

/// The reason of the `ErrorInfo` with which a node answers StartStream where another program has the leased port: the caller rejects
/// the port and starts on another.
pub const PORT_IN_USE: &str = "PORT_IN_USE";

/// The reason of the `ErrorInfo` that says that a node did not take a leg; of a node that feeds another it is the other one.
pub const LEG_FAILED: &str = "LEG_FAILED";

/// The `stream_key` of a request.
pub fn stream_key(text: &str) -> Result<StreamKey, ApiError> {
    StreamKey::parse(text).map_err(|error| ApiError::field("stream_key", error))
}

/// The `google.rpc` detail of an [`ApiError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `BadRequest`: field and what is wrong with it.
    Fields(Vec<(String, String)>),
    /// `ResourceInfo`: type ("stream", "node", "lease") and name.
    Resource(&'static str, String),
    /// `ErrorInfo`: an UPPER_SNAKE reason, domain `rtmp2rtsp`.
    Reason(&'static str),
    /// None.
    None,
}

impl ApiError {
    /// `INVALID_ARGUMENT` for one field.
    pub fn field(field: &str, problem: impl ToString) -> Self {
        let problem = problem.to_string();
        Self {
            kind: Kind::InvalidArgument,
            message: format!("{field}: {problem}"),
            detail: Detail::Fields(vec![(field.to_owned(), problem)]),
        }
    }

    /// `NOT_FOUND` for a resource ("stream", "node", "lease").
    pub fn not_found(resource: &'static str, name: impl ToString) -> Self {
        let name = name.to_string();
        Self {
            kind: Kind::NotFound,
            message: format!("no {resource} {name:?}"),
            detail: Detail::Resource(resource, name),
        }
    }

    /// `ALREADY_EXISTS` for a resource, saying what stands against it.
    pub fn exists(resource: &'static str, name: impl ToString, problem: &str) -> Self {
        let name = name.to_string();
        Self {
            kind: Kind::AlreadyExists,
            message: format!("{resource} {name:?} {problem}"),
            detail: Detail::Resource(resource, name),
        }
    }

    /// Any other kind with a reason.
    pub fn reason(kind: Kind, reason: &'static str, message: impl ToString) -> Self {
        Self { kind, message: message.to_string(), detail: Detail::Reason(reason) }
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        let mut details = ErrorDetails::new();
        match error.detail {
            Detail::Fields(fields) => {
                for (field, problem) in fields {
                    details.add_bad_request_violation(field, problem);
                }
            }
            Detail::Resource(kind, name) => {
                details.set_resource_info(kind, name, "", error.message.as_str());
            }
            Detail::Reason(reason) => {
                details.set_error_info(reason, "rtmp2rtsp", [] as [(String, String); 0]);
            }
            Detail::None => {}
        }
        Self::with_error_details(error.kind.code(), error.message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_error_becomes_a_bad_request_that_names_the_field() {
        let status = tonic::Status::from(ApiError::field("stream_key", "has 0 characters"));
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "stream_key");
    }

    #[test]
    fn every_kind_survives_the_way_over_the_wire() {
        use Kind::*;
        for kind in [
            InvalidArgument,
            NotFound,
            AlreadyExists,
            ResourceExhausted,
            FailedPrecondition,
            Aborted,
            Unavailable,
            DeadlineExceeded,
            PermissionDenied,
            Unauthenticated,
            Unimplemented,
            Internal,
        ] {
            assert_eq!(Kind::from_code(kind.code()), kind);
        }
    }
}
