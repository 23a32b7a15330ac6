//! A publisher that waits for the registry's word. It is asked for before the publisher is accepted, since only then a refusal is the
//! answer to `publish`; the stream's other business goes on meanwhile.

use std::time::Duration;

use media::StreamKey;
use registry::{Grant, RegistryError};
use tokio::sync::oneshot;
use tracing::{Instrument, Span};

use super::{Context, rival};
use crate::publisher::Publisher;

/// How long the registry may take to grant a leg before a publisher is refused: encoders give up after 5 s and more.
const TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Claim {
    pub(super) publisher: Publisher,
    /// The span that the stream comes up under.
    pub(super) span: Span,
    granted: oneshot::Receiver<Result<Grant, RegistryError>>,
}

impl Claim {
    /// Asks the registry for a leg.
    pub(super) fn begin(
        publisher: Publisher,
        span: Span,
        context: &Context,
        key: &StreamKey,
    ) -> Self {
        let (answer, granted) = oneshot::channel();
        let (keeper, key) = (context.keeper.clone(), key.clone());
        let metrics = context.metrics.clone();
        let ask = async move {
            let claim = rival::claim(&keeper, &key, &metrics);
            let asked = tokio::time::timeout(TIMEOUT, claim).await;
            let result = asked.unwrap_or_else(|_| {
                let text = format!("no answer within {} s", TIMEOUT.as_secs());
                Err(RegistryError::Unavailable(text))
            });
            if let Err(Ok(unwanted)) = answer.send(result) {
                keeper.release(&unwanted.lease.id);
            }
        };
        context.tasks.spawn("claim", ask.instrument(span.clone()));
        Self { publisher, span, granted }
    }
}

/// The registry's word on the claim, if there is one. Cancel safe.
pub(super) async fn granted(claim: &mut Option<Claim>) -> (Claim, Result<Grant, RegistryError>) {
    let result = match claim {
        Some(claim) => (&mut claim.granted).await,
        None => std::future::pending().await,
    };
    let result =
        result.unwrap_or_else(|_| Err(RegistryError::Unavailable("the claim failed".to_owned())));
    match claim.take() {
        Some(claim) => (claim, result),
        None => std::future::pending().await,
    }
}
