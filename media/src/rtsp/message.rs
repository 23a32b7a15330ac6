//! Requests read and responses written.

use std::fmt::Write;

use bytes::Bytes;
use rtsp_types::{Message, Version};

use super::codec::header;

/// The longest CSeq that is echoed; 32 bits are ten digits, some clients count beyond.
const MAX_CSEQ_BYTES: usize = 64;

/// What is served, for Public and Allow.
pub(super) const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// What is valid without a session, for Allow.
pub(super) const METHODS_OF_INIT: &str = "OPTIONS, DESCRIBE, SETUP, GET_PARAMETER, SET_PARAMETER";
/// What is valid while media flows, for Allow.
pub(super) const METHODS_OF_PLAYING: &str =
    "OPTIONS, DESCRIBE, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// A method (RFC 2326, 10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Options,
    Describe,
    Setup,
    Play,
    Pause,
    Teardown,
    GetParameter,
    SetParameter,
    /// Known, but never allowed here: ANNOUNCE, RECORD, REDIRECT.
    NotAllowed,
    /// In no specification.
    Unknown,
}

/// A status that is answered (RFC 2326, 7.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Ok,
    Moved,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    EntityTooLarge,
    ParameterNotUnderstood,
    NotEnoughBandwidth,
    SessionNotFound,
    MethodNotValidInThisState,
    AggregateNotAllowed,
    UnsupportedTransport,
    InternalError,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
    OptionNotSupported,
}

impl Status {
    /// The status line's code and reason.
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Moved => "302 Moved Temporarily",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::NotAcceptable => "406 Not Acceptable",
            Self::EntityTooLarge => "413 Request Entity Too Large",
            Self::ParameterNotUnderstood => "451 Parameter Not Understood",
            Self::NotEnoughBandwidth => "453 Not Enough Bandwidth",
            Self::SessionNotFound => "454 Session Not Found",
            Self::MethodNotValidInThisState => "455 Method Not Valid in This State",
            Self::AggregateNotAllowed => "459 Aggregate Operation Not Allowed",
            Self::UnsupportedTransport => "461 Unsupported Transport",
            Self::InternalError => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 RTSP Version Not Supported",
            Self::OptionNotSupported => "551 Option not supported",
        }
    }
}

/// A request whose first line and headers could be read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) cseq: String,
    pub(super) session: Option<String>,
    pub(super) transport: Option<String>,
    pub(super) accept: Option<String>,
    pub(super) require: Option<String>,
    pub(super) user_agent: String,
    pub(super) has_body: bool,
}

/// What a message turned out to be.
#[derive(Debug)]
pub(super) enum Parsed {
    Request(Request),
    /// A response of the client; we ask nothing, so it is passed over.
    Response,
    /// Answer with the status, and with the CSeq if one was found.
    Refused(Status, Option<String>),
    /// No RTSP at all: answer 400 and close.
    Alien(Option<String>),
}

/// Reads a message. What the library does not take is looked through for its CSeq, so that the client learns which request was bad.
pub(super) fn parse(head: &[u8], body: &[u8]) -> Parsed {
    if head.starts_with(b"RTSP/") {
        return Parsed::Response;
    }
    let cseq = header(head, "cseq").and_then(echoable);
    let Some((url, rest)) = take_uri(head, body) else { return unparsable(head, cseq) };
    let request = match Message::<&[u8]>::parse(&rest[..]) {
        Ok((Message::Request(request), _)) => request,
        Ok((Message::Response(_) | Message::Data(_), _)) | Err(_) => {
            return unparsable(head, cseq);
        }
    };
    if request.version() != Version::V1_0 {
        return Parsed::Refused(Status::VersionNotSupported, cseq);
    }
    let Some(cseq) = cseq else { return Parsed::Refused(Status::BadRequest, None) };
    if value(&request, "content-length").is_some_and(|length| length.parse::<u32>().is_err()) {
        return Parsed::Refused(Status::BadRequest, Some(cseq));
    }
    Parsed::Request(Request {
        method: method(request.method()),
        url: url.to_owned(),
        cseq,
        session: value(&request, "session"),
        transport: value(&request, "transport"),
        accept: value(&request, "accept"),
        require: required(&request),
        user_agent: value(&request, "user-agent").unwrap_or_default(),
        has_body: !body.is_empty(),
    })
}

fn unparsable(head: &[u8], cseq: Option<String>) -> Parsed {
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii_end();
    let version = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
    match version.strip_prefix(b"RTSP/") {
        Some(b"1.0") => Parsed::Refused(Status::BadRequest, cseq),
        Some(number) if number.iter().all(|b| b.is_ascii_digit() || *b == b'.') => {
            Parsed::Refused(Status::VersionNotSupported, cseq)
        }
        Some(_) => Parsed::Refused(Status::BadRequest, cseq),
        None => Parsed::Alien(cseq),
    }
}

/// The URI of the request line, and the message with `*` in its place. The client must find its own words again, which the library
/// would normalize; and it would refuse hosts that the web does not know, such as `[fe80::1%25eth0]`.
fn take_uri<'a>(head: &'a [u8], body: &[u8]) -> Option<(&'a str, Vec<u8>)> {
    let (line, headers) = head.split_at(head.iter().position(|&b| b == b'\n')?);
    let (method, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let (uri, version) = rest.split_once(' ')?;
    let fit = !uri.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic());
    let line = [method, " * ", version].concat();
    fit.then(|| (uri, [line.as_bytes(), headers, body].concat()))
}

/// The values of all headers `name`, as one list.
fn value(request: &rtsp_types::Request<&[u8]>, name: &str) -> Option<String> {
    let found = request.headers().filter(|(found, _)| found.as_str().eq_ignore_ascii_case(name));
    let values: Vec<_> = found.map(|(_, value)| value.as_str().trim()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// What Require and Proxy-Require name; servers treat both alike (RFC 2326, 12.27).
fn required(request: &rtsp_types::Request<&[u8]>) -> Option<String> {
    let names = ["require", "proxy-require"];
    let features: Vec<_> = names.iter().filter_map(|name| value(request, name)).collect();
    (!features.is_empty()).then(|| features.join(", "))
}

fn method(method: &rtsp_types::Method) -> Method {
    use rtsp_types::Method as Parsed;
    match method {
        Parsed::Options => Method::Options,
        Parsed::Describe => Method::Describe,
        Parsed::Setup => Method::Setup,
        Parsed::Play => Method::Play,
        Parsed::Pause => Method::Pause,
        Parsed::Teardown => Method::Teardown,
        Parsed::GetParameter => Method::GetParameter,
        Parsed::SetParameter => Method::SetParameter,
        Parsed::Announce | Parsed::Record | Parsed::Redirect | Parsed::PlayNotify => {
            Method::NotAllowed
        }
        Parsed::Extension(_) => Method::Unknown,
    }
}

/// A CSeq as it can be sent back: as it came, but visible characters only.
pub(super) fn echoable(cseq: &str) -> Option<String> {
    let fit = !cseq.is_empty() && cseq.len() <= MAX_CSEQ_BYTES;
    (fit && cseq.bytes().all(|b| b.is_ascii_graphic())).then(|| cseq.to_owned())
}

/// A response in the making.
pub(super) struct Response {
    text: String,
}

impl Response {
    /// Begins a response.
    pub(super) fn new(status: Status, cseq: Option<&str>, server: &str) -> Self {
        let mut response = Self { text: format!("RTSP/1.0 {}\r\n", status.line()) };
        if let Some(cseq) = cseq {
            response = response.header("CSeq", cseq);
        }
        response = response.header("Server", server);
        match status {
            Status::MethodNotAllowed | Status::NotImplemented => response.header("Allow", METHODS),
            Status::Ok
            | Status::Moved
            | Status::BadRequest
            | Status::NotFound
            | Status::NotAcceptable
            | Status::EntityTooLarge
            | Status::ParameterNotUnderstood
            | Status::NotEnoughBandwidth
            | Status::SessionNotFound
            | Status::MethodNotValidInThisState
            | Status::AggregateNotAllowed
            | Status::UnsupportedTransport
            | Status::InternalError
            | Status::Unavailable
            | Status::VersionNotSupported
            | Status::OptionNotSupported => response,
        }
    }
    /// Adds a header; what a peer put into the value cannot end the line.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        let clean = value.chars().filter(|c| !c.is_control());
        self.text.push_str(name);
        self.text.push_str(": ");
        self.text.extend(clean);
        self.text.push_str("\r\n");
        self
    }
    /// Ends it without a body.
    pub(super) fn end(mut self) -> Bytes {
        self.text.push_str("\r\n");
        self.text.into()
    }
    /// Ends it with an SDP.
    pub(super) fn sdp(mut self, sdp: &str) -> Bytes {
        // Writing to a String does not fail.
        let _ = write!(
            self.text,
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        self.text.into()
    }
}
