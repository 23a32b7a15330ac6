//! Why an RTSP connection is closed, for logs and metrics.

use crate::tally::DropReason;

/// Why a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    ServerStops,
    StreamEnded,
    ByReader,
    Broken,
    Protocol,
    TakesNothing,
    TimedOut,
    HandedOver,
    Done,
}

impl Closed {
    /// For logs.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::ServerStops => "the server stops",
            Self::StreamEnded => "the stream has ended",
            Self::ByReader => "the reader closed the connection",
            Self::Broken => "the connection broke",
            Self::Protocol => "the reader broke the protocol",
            Self::TakesNothing => "the reader takes nothing",
            Self::TimedOut => "the session timed out",
            Self::HandedOver => "a POST went into its tunnel",
            Self::Done => "done",
        }
    }

    /// Why the server drops the reader by it, if it does: for what the reader did or did not do, and not since something has ended.
    pub(super) const fn drops(self) -> Option<DropReason> {
        match self {
            Self::TakesNothing => Some(DropReason::Stuck),
            Self::TimedOut => Some(DropReason::Silent),
            Self::Protocol => Some(DropReason::Protocol),
            Self::ServerStops
            | Self::StreamEnded
            | Self::ByReader
            | Self::Broken
            | Self::HandedOver
            | Self::Done => None,
        }
    }

    /// For metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::ServerStops => "server_stops",
            Self::StreamEnded => "stream_ended",
            Self::ByReader => "by_reader",
            Self::Broken => "broken",
            Self::Protocol => "protocol",
            Self::TakesNothing => "takes_nothing",
            Self::TimedOut => "timed_out",
            Self::HandedOver => "handed_over",
            Self::Done => "done",
        }
    }
}
