//! A second publisher of a stream key (`ingest.takeover`).
//!
//! | policy | it | the first one |
//! | --- | --- | --- |
//! | reject | is refused, BadName | |
//! | takeover | is let in, and goes on from its first keyframe | is told, and disconnected |
//! | backup | is accepted and stands by; a third is refused, BadName | goes on |
//!
//! A pull never takes over, and is refused instead: it comes again by itself, and the two would take over from each other in turns.
//!
//! A standby goes on when the first one leaves, or has sent no media for `ingest.stall` and the standby has a keyframe to begin with. A
//! publisher that stalled is disconnected: if it comes back, it is the standby.

use std::time::Instant;

use futures_util::FutureExt;
use media::rtmp::{MediaMessage, PublishRefusal};
use svc_core::config::Takeover;
use tracing::{Span, info};

use super::{
    super::standby::{Kept, Standby},
    Actor,
    admission::shown,
};
use crate::{
    metrics::{Refused, Switched},
    publisher::Publisher,
    rtmp::PublisherGone,
};

/// Kept messages that are sent on before others of the task get their turn. Each is an access unit or a few.
const REPLAY_BUDGET: usize = 32;

impl Actor {
    /// A publisher wants in while the stream has one, or waits for the registry's word on one.
    pub(super) fn publish_second(&mut self, publisher: Publisher, span: Span) {
        let why = match (self.context.ingest.takeover, &self.standby) {
            (Takeover::Takeover, _) if publisher.takes_over() => {
                return self.take_over(publisher, span);
            }
            (Takeover::Backup, None) => return self.stand_by(publisher, span),
            (Takeover::Reject | Takeover::Takeover, _) => {
                "another publisher is live under this stream key"
            }
            (Takeover::Backup, Some(_)) => "this stream key has a publisher and a standby already",
        };
        self.refuse(publisher, Refused::Live, PublishRefusal::BadName, why.to_owned());
    }

    fn take_over(&mut self, publisher: Publisher, span: Span) {
        let text = "another publisher took this stream key over";
        info!(stream = %self.status.key, peer = %publisher.peer(), "a publisher takes the stream over");
        if let Some(claim) = &mut self.claim {
            let first = std::mem::replace(&mut claim.publisher, publisher);
            claim.span = span;
            self.refuse(first, Refused::Live, PublishRefusal::BadName, text.to_owned());
        } else {
            self.end_publisher(text);
            self.admit(publisher, span);
        }
        self.context.metrics.switch(Switched::TakenOver);
    }

    fn stand_by(&mut self, mut publisher: Publisher, span: Span) {
        publisher.accept();
        self.context.metrics.published.inc();
        self.context.metrics.standbys.inc();
        info!(stream = %self.status.key, peer = %publisher.peer(), "a publisher stands by");
        let standby = shown(&publisher);
        self.status.update(|facts| facts.standby = Some(standby));
        self.standby = Some(Standby { publisher, span, kept: Kept::default() });
    }

    /// What the standby sent.
    pub(super) fn standby_received(&mut self, batch: &mut Vec<MediaMessage>) {
        let now = Instant::now();
        let Some(standby) = &mut self.standby else { return batch.clear() };
        let overflows = standby.kept.overflows();
        self.context.metrics.standby_messages.inc_by(batch.len() as u64);
        for message in batch.drain(..) {
            standby.kept.push(&message, now);
        }
        let overflowed = standby.kept.overflows().wrapping_sub(overflows);
        self.context.metrics.gops_overflowed.inc_by(overflowed.into());
    }

    pub(super) fn standby_gone(&mut self, gone: &PublisherGone) {
        if let Some(standby) = self.forget_standby() {
            let peer = standby.publisher.peer();
            info!(stream = %self.status.key, %peer, %gone, "the standby went away");
        }
    }

    /// When the publisher has stalled, if the standby could go on then.
    pub(super) fn stalls_at(&self) -> Option<Instant> {
        let ready = self.publisher.is_some() && self.standby.as_ref()?.kept.is_ready();
        ready.then_some(self.heard_at + self.context.ingest.stall)
    }

    /// Lets the standby go on if the publisher has stalled.
    pub(super) async fn switch_if_stalled(&mut self, now: Instant) {
        if self.stalls_at().is_none_or(|at| at > now) {
            return;
        }
        // What came while all of this process stood still is there to be read: then the publisher has not stalled.
        let mut batch = Vec::new();
        let publisher = self.publisher.as_mut();
        match publisher.and_then(|publisher| publisher.receive(&mut batch).now_or_never()) {
            Some(Ok(())) => self.received(&mut batch),
            Some(Err(gone)) => {
                self.received(&mut batch);
                self.publisher_gone(&gone).await;
            }
            None => {
                self.end_publisher("no media came, the standby goes on");
                self.switch(Switched::Stalled);
            }
        }
    }

    /// The standby, if there is one, goes on in place of the publisher that is gone.
    pub(super) fn switch(&mut self, why: Switched) -> bool {
        let Some(standby) = self.forget_standby() else { return false };
        info!(stream = %self.status.key, peer = %standby.publisher.peer(), ?why, "the standby goes on");
        self.context.metrics.switch(why);
        self.put_on(standby.publisher, standby.span);
        self.replay = standby.kept.into_messages(Instant::now());
        true
    }

    /// Sends on some of what was kept of the publisher while it stood by. Each message has the time at which it came.
    pub(super) fn replay_some(&mut self) {
        let count = REPLAY_BUDGET.min(self.replay.len());
        for received in self.replay.drain(..count) {
            self.relay.take(&received.message, received.came, &mut self.legs);
        }
        self.heard_at = Instant::now();
        self.announce();
        self.relay.count_dropped();
    }

    /// Tells the publisher that it is no longer wanted, and why.
    pub(super) fn end_publisher(&mut self, text: &'static str) {
        if let Some(publisher) = self.forget_publisher() {
            self.context.tasks.spawn("end_publisher", async move { publisher.end(text).await });
        }
    }

    /// Tells the standby that it is no longer wanted, and why.
    pub(super) fn end_standby(&mut self, text: &'static str) {
        if let Some(Standby { publisher, .. }) = self.forget_standby() {
            self.context.tasks.spawn("end_standby", async move { publisher.end(text).await });
        }
    }

    fn forget_standby(&mut self) -> Option<Standby> {
        let standby = self.standby.take()?;
        self.context.metrics.standbys.dec();
        self.status.update(|facts| facts.standby = None);
        Some(standby)
    }
}

/// The next media of the standby, if there is one. Cancel safe.
pub(super) async fn receive_standby(
    standby: &mut Option<Standby>,
    batch: &mut Vec<MediaMessage>,
) -> Result<(), PublisherGone> {
    match standby {
        Some(standby) => standby.publisher.receive(batch).await,
        None => std::future::pending().await,
    }
}
