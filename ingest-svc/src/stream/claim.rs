//! A publisher that waits for the registry's word. It is asked for before the publisher is accepted, since only then a refusal is the
//! answer to `publish`; the stream's other business goes on meanwhile.
//!
//! Where the owner of a stream drains, the publisher comes from there and is let in at once. The stream is claimed when its media comes here:
//! encoders change over with a keyframe, and until then what they send there is all that readers have.

use std::time::Duration;

use media::StreamKey;
use registry::{Grant, RegistryError};
use tokio::sync::oneshot;
use tracing::{Instrument, Span};

use super::{
    Context,
    rival::{self, Claimed},
};
use crate::{metrics::Superseded, publisher::Publisher};

/// How long the registry may take to grant a leg before a publisher is refused: encoders give up after 5 s and more.
const TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Claim {
    pub(super) publisher: Publisher,
    /// The span that the stream comes up under.
    pub(super) span: Span,
    claimed: oneshot::Receiver<Result<Claimed, RegistryError>>,
}

impl Claim {
    /// Asks the registry for a leg.
    pub(super) fn begin(
        publisher: Publisher,
        span: Span,
        context: &Context,
        key: &StreamKey,
    ) -> Self {
        let (keeper, metrics, key) = (context.keeper.clone(), context.metrics.clone(), key.clone());
        let claim = async move { rival::claim(&keeper, &key, &metrics).await };
        let claimed = ask(claim.instrument(span.clone()), context);
        Self { publisher, span, claimed }
    }
}

/// A claim in place of an owner that drains.
pub(super) struct Succession(oneshot::Receiver<Result<Claimed, RegistryError>>);

impl Succession {
    /// Asks the registry for a leg in place of the owner of that epoch.
    pub(super) fn begin(context: &Context, key: &StreamKey, epoch: u64) -> Self {
        let (keeper, metrics, key) = (context.keeper.clone(), context.metrics.clone(), key.clone());
        let claim = async move {
            let of = (Superseded::Drains, &metrics);
            rival::take_over(&keeper, &key, epoch, of).await.map(Claimed::granted)
        };
        Self(ask(claim.in_current_span(), context))
    }
}

/// Waits for the registry's word, and gives a leg back that nobody wants any more by then.
fn ask(
    claim: impl Future<Output = Result<Claimed, RegistryError>> + Send + 'static,
    context: &Context,
) -> oneshot::Receiver<Result<Claimed, RegistryError>> {
    let (answer, claimed) = oneshot::channel();
    let keeper = context.keeper.clone();
    context.tasks.spawn("claim", async move {
        let result = tokio::time::timeout(TIMEOUT, claim).await.unwrap_or_else(|_| {
            let text = format!("no answer within {} s", TIMEOUT.as_secs());
            Err(RegistryError::Unavailable(text))
        });
        if let Err(Ok(Claimed::Granted(unwanted))) = answer.send(result) {
            keeper.release(&unwanted.lease.id);
        }
    });
    claimed
}

/// The registry's word on the claim, if there is one. Cancel safe.
pub(super) async fn claimed(claim: &mut Option<Claim>) -> (Claim, Result<Claimed, RegistryError>) {
    let result = match claim {
        Some(claim) => word(&mut claim.claimed).await,
        None => std::future::pending().await,
    };
    match claim.take() {
        Some(claim) => (claim, result),
        None => std::future::pending().await,
    }
}

/// The leg of a succession, if there is one. Cancel safe.
pub(super) async fn succeeded(succession: &mut Option<Succession>) -> Result<Grant, RegistryError> {
    let result = match succession {
        Some(Succession(claimed)) => word(claimed).await,
        None => std::future::pending().await,
    };
    *succession = None;
    match result? {
        Claimed::Granted(grant) => Ok(*grant),
        // It is not asked whether it does.
        Claimed::Drains(_) => Err(RegistryError::Unavailable("it is not granted".to_owned())),
    }
}

async fn word(
    claimed: &mut oneshot::Receiver<Result<Claimed, RegistryError>>,
) -> Result<Claimed, RegistryError> {
    let failed = || Err(RegistryError::Unavailable("the claim failed".to_owned()));
    claimed.await.unwrap_or_else(|_| failed())
}
