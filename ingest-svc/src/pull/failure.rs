//! Why a pull failed or ended.

use std::{io, time::Duration};

use media::rtmp::{PlayEnded, RtmpError, RtmpUrl};

/// What a person is told, in `last_error` and logs. Texts of others are without the URL's secrets.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The host's name has no address.
    #[error("the host is not found: {0}")]
    Resolve(String),
    /// No connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// No TLS, or with somebody who is not believed.
    #[error("TLS: {0}")]
    Tls(String),
    /// It took too long from the host's name to the start of the stream.
    #[error("the remote did not play within {0:?}")]
    Timeout(Duration),
    /// It sent no media for so long.
    #[error("the remote sent no media for {0:?}")]
    Silent(Duration),
    /// It broke the protocol.
    #[error("{0}")]
    Protocol(#[from] RtmpError),
    /// It has no such stream.
    #[error("{0}")]
    NotFound(String),
    /// It does not let us play.
    #[error("{0}")]
    Rejected(String),
    /// It ended the stream or the connection.
    #[error("{0}")]
    Ended(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// It was not wanted here: another publishes, or no leg was granted.
    #[error("not taken: {0}")]
    NotTaken(String),
}

impl Failure {
    /// How a play ended, in words without the secrets of `url`.
    pub(super) fn of(ended: &PlayEnded, url: &RtmpUrl) -> Self {
        let text = url.redact(&ended.to_string());
        match ended {
            PlayEnded::NotFound(_) => Self::NotFound(text),
            PlayEnded::Rejected(_) | PlayEnded::Failed(_) => Self::Rejected(text),
            PlayEnded::Unpublished
            | PlayEnded::Stopped
            | PlayEnded::StreamEof
            | PlayEnded::Closed => Self::Ended(text),
        }
    }

    /// What a broken socket says.
    pub(super) fn broken(error: &io::Error) -> Self {
        Self::Broken(error.to_string())
    }

    /// Its label in metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Silent(_) => "silent",
            Self::Protocol(_) => "protocol",
            Self::NotFound(_) => "not_found",
            Self::Rejected(_) => "rejected",
            Self::Ended(_) => "ended",
            Self::Broken(_) => "broken",
            Self::NotTaken(_) => "not_taken",
        }
    }
}
