//! A stream without its publisher: the standby, the hold, the offline picture, the end.

use std::time::Instant;

use tracing::{info, warn};

use super::{
    super::{Relay, status::State},
    Actor, SHUTTING_DOWN,
};
use crate::{leg::Ending, metrics::Switched, rtmp::PublisherGone};

impl Actor {
    pub(super) async fn publisher_gone(&mut self, gone: &PublisherGone) {
        let bytes = self.forget_publisher().map(|publisher| publisher.bytes_received());
        info!(stream = %self.status.key, %gone, bytes, "the publisher went away");
        if self.switch(Switched::Left) || self.draining {
            return;
        }
        if !self.legs.is_empty() && !self.context.ingest.hold.is_zero() {
            self.held_until = Some(Instant::now() + self.context.ingest.hold);
            self.status.enter(State::Held);
        } else {
            self.hold_is_over().await;
        }
    }

    /// No publisher came back in time.
    pub(super) async fn hold_is_over(&mut self) {
        if self.armed.is_some_and(|arming| arming.offline_picture) && !self.legs.is_empty() {
            self.offline = self.relay.go_offline(Instant::now());
        }
        if self.offline.is_none() {
            info!(stream = %self.status.key, "no publisher came back in time, the readers are let go");
            return self.begin_anew(Ending::StreamEnds).await;
        }
        info!(stream = %self.status.key, "no publisher came back in time, readers get the offline picture");
        self.context.metrics.offline.inc();
        self.status.enter(State::Waiting);
        self.status.update(|facts| facts.offline = true);
    }

    /// A publisher is there, or the stream ends.
    pub(super) fn end_offline(&mut self) {
        if self.offline.take().is_some() {
            self.context.metrics.offline.dec();
            self.status.update(|facts| facts.offline = false);
        }
    }

    /// The service drains.
    pub(super) fn begin_drain(&mut self) {
        self.draining = true;
        self.status.update(|facts| facts.draining = true);
        self.end_standby(SHUTTING_DOWN);
        self.refuse_claim(SHUTTING_DOWN);
        match &mut self.publisher {
            Some(publisher) if !publisher.leaves() => self.end_publisher(SHUTTING_DOWN),
            Some(publisher) => {
                let asked = publisher.ask_to_reconnect(SHUTTING_DOWN);
                info!(stream = %self.status.key, asked, "the publisher is waited for to leave");
                self.context.metrics.reconnects_asked.inc_by(asked.into());
            }
            None => {}
        }
    }

    /// Another ingest has the stream: nothing of it is left here, and its readers are the other's.
    pub(super) async fn let_go(&mut self) {
        let text = "another ingest has taken this stream over";
        warn!(stream = %self.status.key, "{text}");
        self.context.metrics.fenced.inc();
        self.end_standby(text);
        self.end_publisher(text);
        self.end_offline();
        self.begin_anew(Ending::ProcessEnds).await;
    }

    /// Ends the legs and waits for a publisher as if there had been none.
    async fn begin_anew(&mut self, how: Ending) {
        self.held_until = None;
        self.end_legs(how).await;
        self.relay = Relay::new(&self.context, self.status.clone());
        if let Some(arming) = self.armed {
            self.arm(arming);
        }
        self.status.enter(State::Waiting);
        self.status.update(|facts| {
            facts.tracks.clear();
            facts.problem.clear();
            facts.left_out.clear();
        });
    }
}
