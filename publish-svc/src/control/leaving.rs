//! The node drains: its streams are made elsewhere, so that no one is without a node when this one ends. Ingest makes the new leg before it
//! ends the one to this node, whose readers are dropped then and find the stream on any other node. So they are waited for as long
//! as there is time for it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use svc_core::error::Kind;
use tokio::{sync::Semaphore, time::Instant};

use super::Control;
use crate::streams::Entry;

/// Streams that are moved at one time: each is a lease, a leg that comes up and a GOP that is sent.
const MAX_MOVES: usize = 32;
/// How soon an ingest is asked again that cannot move a stream just now.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Control {
    /// Moves all streams to other nodes: each as soon as it has no reader, all at `latest`. Completes when none is left that could be moved.
    pub(crate) async fn move_away(&self, latest: Instant) {
        let room = Semaphore::new(MAX_MOVES);
        let streams = self.context.streams.list();
        join_all(streams.iter().map(|entry| self.move_stream(entry, latest, &room))).await;
    }

    async fn move_stream(&self, entry: &Arc<Entry>, latest: Instant, room: &Semaphore) {
        let (key, ended) = (&entry.published.key, &entry.published.ended);
        tokio::select! {
            () = ended.cancelled() => return,
            () = unread(entry) => {}
            () = tokio::time::sleep_until(latest) => {}
        }
        let started = entry.started();
        if started.by_hand || started.orphaned {
            // Nobody sends it to another node.
            return;
        }
        let Ok(_permit) = room.acquire().await else { return };
        while !ended.is_cancelled() {
            match self.context.demand.leave(key).await {
                Ok(()) => return,
                Err(error) if is_passing(error.kind) => {
                    tracing::debug!(stream = %key, %error, "the stream is not moved yet");
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(error) => {
                    tracing::warn!(stream = %key, %error, "the stream cannot be moved");
                    return;
                }
            }
        }
    }
}

/// Completes when a stream has no reader.
async fn unread(entry: &Entry) {
    let readers = &entry.published.readers;
    let mut changed = readers.changed.subscribe();
    while !readers.is_empty() {
        if changed.changed().await.is_err() {
            return;
        }
    }
}

fn is_passing(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Aborted | Kind::DeadlineExceeded)
}
