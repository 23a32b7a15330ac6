//! Streams whose lease has ended though nobody has stopped them: their ingest is gone, or on its way out, and another one may go on with
//! them. Their port is closed at once, as it may be granted to others; their readers are kept for `publish.hold`.
//!
//! An ingest whose leg goes to this node comes by itself. Where the leg of the owner, a new one or the old one still, goes to another node, it
//! is asked for one to this node as for any stream that readers want. A node that drains gets none: its readers are let go then, to find the
//! stream where it is.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use media::StreamKey;
use registry::LeaseId;
use tokio::time::Instant;
use tracing::Span;

use super::Control;
use crate::{
    demand::{Heard, Reclaimed},
    streams::Entry,
};

/// How often it is looked whether a stream has an owner, beside what the registry tells of its leases.
const LOOK: Duration = Duration::from_secs(1);
/// How soon an owner that is there is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Control {
    /// The lease of a stream has ended: so does the stream, unless it has readers that may go on.
    pub(crate) async fn lease_ended(&self, key: &StreamKey, lease: &LeaseId) {
        let _order = self.order.lock().await;
        let Ok(entry) = self.context.streams.entry(key) else { return };
        let started = entry.started();
        if started.lease.id != *lease || started.orphaned {
            return;
        }
        self.fences.raise(key, started.lease.epoch);
        let may_go_on = !started.by_hand && !entry.published.readers.is_empty();
        if !may_go_on || self.context.hold.is_zero() {
            tracing::info!(stream = %key, "the lease has ended, so the stream ends");
            return self.remove(key, &entry).await;
        }
        tracing::info!(stream = %key, "the lease has ended, the readers are kept for another ingest");
        // From here on, so that nothing that is told of its new owner is missed.
        let heard = self.context.demand.heard();
        if let Some(slot) = entry.leg.slot().await {
            let _ = slot.close().await;
        }
        // Whom it fed it fed for its old owner.
        entry.feeds.end_all();
        entry.started.lock().unwrap_or_else(PoisonError::into_inner).orphaned = true;
        entry.status.touch();
        self.context.metrics.orphaned.inc();
        let (control, key) = (self.clone(), key.clone());
        self.context.tasks.spawn_in(Span::none(), "orphan", async move {
            control.keep_orphan(&key, &entry, heard).await;
        });
    }

    /// Keeps the readers until another ingest goes on with the stream, they leave, or `publish.hold` is over.
    async fn keep_orphan(&self, key: &StreamKey, entry: &Arc<Entry>, mut heard: Heard) {
        let until = Instant::now() + self.context.hold;
        let mut readers = entry.published.readers.changed.subscribe();
        loop {
            readers.borrow_and_update();
            if !entry.started().orphaned {
                return;
            }
            if entry.published.readers.is_empty() || Instant::now() >= until {
                return self.end_orphan(key, entry).await;
            }
            let look = match self.context.demand.reclaim(key).await {
                Reclaimed::NotYet => LOOK,
                Reclaimed::Soon => ASK_AGAIN,
                Reclaimed::Elsewhere => return self.end_orphan(key, entry).await,
            };
            tokio::select! {
                () = entry.published.ended.cancelled() => return,
                () = heard.of(key) => {}
                _ = readers.changed() => {}
                () = tokio::time::sleep_until(until.min(Instant::now() + look)) => {}
            }
        }
    }

    async fn end_orphan(&self, key: &StreamKey, entry: &Arc<Entry>) {
        let _order = self.order.lock().await;
        // An ingest may have come while it was waited for the order.
        if entry.started().orphaned {
            tracing::info!(stream = %key, "no ingest went on with the stream here, so it ends");
            self.remove(key, entry).await;
        }
    }
}
