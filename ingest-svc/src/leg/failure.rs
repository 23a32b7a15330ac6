//! Why a leg cannot be brought up, and how long it rests until it is tried again.

use std::time::Duration;

use hop::{NodeError, OpenError};
use rand::RngExt;
use registry::RegistryError;
use svc_core::error::{ApiError, Kind, LEG_FAILED};

/// The first pause between attempts, give or take a half.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between attempts, give or take a half.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why an attempt to bring up a leg failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The registry grants no lease.
    #[error("no leg: {0}")]
    Registry(#[from] RegistryError),
    /// The node did not take the leg, or there is no way to it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No node can feed the node, and there are as many legs from here as there may be.
    #[error("there are as many legs as there may be, and no node can feed another now")]
    NoWay,
    /// A node did not feed the node.
    #[error("not fed: {0}")]
    Feeder(NodeError),
    /// There is no other node than the one that has the stream.
    #[error("no other node than {0} can have the stream")]
    NoOther(String),
}

impl Failure {
    /// The node of the lease could not bind its port.
    pub(super) fn is_port_in_use(&self) -> bool {
        match self {
            Self::Open(OpenError::Node(error)) | Self::Feeder(error) => error.is_port_in_use(),
            Self::Open(OpenError::Socket { .. })
            | Self::Registry(_)
            | Self::NoWay
            | Self::NoOther(_) => false,
        }
    }
}

impl From<&Failure> for ApiError {
    fn from(failure: &Failure) -> Self {
        let text = failure.to_string();
        match failure {
            Failure::Registry(error) => error.clone().into(),
            Failure::Open(OpenError::Socket { .. }) => {
                Self::reason(Kind::Unavailable, LEG_FAILED, text)
            }
            Failure::Open(OpenError::Node(error)) => Self::reason(error.kind, LEG_FAILED, text),
            Failure::NoWay => Self::reason(Kind::Unavailable, "NO_FEEDER", text),
            // Whatever it says: another one may feed the node.
            Failure::Feeder(_) => Self::reason(Kind::Unavailable, "FEED_FAILED", text),
            Failure::NoOther(_) => Self::reason(Kind::FailedPrecondition, "NO_OTHER_NODE", text),
        }
    }
}

/// Pauses between attempts: each twice as long as the one before.
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    /// The next one.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::rng().random_range(0.5..1.5));
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        pause
    }
}
