//! Who gets in: a publisher is let in once the registry has granted a leg, or refused.

use std::time::Instant;

use media::rtmp::PublishRefusal;
use proto::v1;
use registry::RegistryError;
use tracing::{Span, info};

use super::{
    super::{claim::Claim, rival::Claimed},
    Actor, SHUTTING_DOWN,
};
use crate::{metrics::Refused, publisher::Publisher};

impl Actor {
    /// A publisher wants in.
    pub(super) fn publish(&mut self, publisher: Publisher, span: Span) {
        if self.draining {
            let text = SHUTTING_DOWN.to_owned();
            self.refuse(publisher, Refused::Ending, PublishRefusal::Failed, text);
        } else if self.publisher.is_some() || self.claim.is_some() {
            self.publish_second(publisher, span);
        } else if !self.legs.is_empty() || self.grant.is_some() {
            self.admit(publisher, span);
        } else {
            self.claim = Some(Claim::begin(publisher, span, &self.context, &self.status.key));
        }
    }

    /// The registry's word on the claim.
    pub(super) async fn claimed(
        &mut self,
        (claim, result): (Claim, Result<Claimed, RegistryError>),
    ) {
        if result.is_err() {
            self.end_standby("the stream could not be started");
        }
        match result {
            Ok(Claimed::Granted(grant)) => {
                self.grant = Some(*grant);
                self.admit(claim.publisher, claim.span);
            }
            Ok(Claimed::Drains(epoch)) => {
                self.succeeds = Some(epoch);
                self.admit(claim.publisher, claim.span);
            }
            Err(error @ RegistryError::Owned { .. }) => {
                let text = error.to_string();
                self.refuse(claim.publisher, Refused::Live, PublishRefusal::BadName, text);
            }
            Err(error) => {
                tracing::warn!(stream = %self.status.key, %error, "a publisher is refused");
                let text = error.to_string();
                self.refuse(claim.publisher, Refused::NoLeg, PublishRefusal::Failed, text);
            }
        }
    }

    /// Lets a publisher in.
    pub(super) fn admit(&mut self, mut publisher: Publisher, span: Span) {
        publisher.accept();
        self.context.metrics.published.inc();
        info!(
            stream = %self.status.key, peer = %publisher.peer(), app = publisher.app(),
            user_agent = publisher.user_agent(), "a publisher is let in"
        );
        self.put_on(publisher, span);
    }

    /// What a publisher sends is sent on from now on.
    pub(super) fn put_on(&mut self, publisher: Publisher, span: Span) {
        self.relay.begin_publisher();
        self.held_until = None;
        self.end_offline();
        self.heard_at = Instant::now();
        self.replay.clear();
        self.bring_up = span;
        self.context.metrics.publishers.inc();
        let publisher_shown = shown(&publisher);
        self.status.update(|facts| facts.publisher = Some(publisher_shown));
        self.publisher = Some(publisher);
    }

    /// Refuses a publisher, and says why.
    pub(super) fn refuse(
        &self,
        publisher: Publisher,
        reason: Refused,
        how: PublishRefusal,
        text: String,
    ) {
        self.context.metrics.refuse(reason);
        self.context.tasks.spawn("refuse", async move { publisher.refuse(how, &text).await });
    }
}

/// A publisher as the API shows it.
pub(super) fn shown(publisher: &Publisher) -> v1::Publisher {
    v1::Publisher {
        peer_address: publisher.peer().to_string(),
        app: publisher.app().to_owned(),
        user_agent: publisher.user_agent().to_owned(),
        connected_at: Some(proto::timestamp(publisher.connected_at())),
    }
}
