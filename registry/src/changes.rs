//! Telling watchers of an engine what changed.

use futures_util::{StreamExt, future, stream};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use crate::{RegistryError, Watch, WatchEvent};

/// Watchers at one time. Each is a process or an operator's terminal.
pub(crate) const MAX_WATCHERS: usize = 256;
/// Changes that a watcher may lag behind before it is ended: about 1 MB, shared by all watchers. A node that goes
/// with more leases than this ends the watches of all; they watch anew.
pub(crate) const WATCH_BACKLOG: usize = 4096;

/// The watchers of an engine. An engine tells changes, and makes watches, under the lock of what they are about, so that
/// all watchers see all changes in one order.
pub(crate) struct Changes {
    sender: broadcast::Sender<WatchEvent>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::Sender::new(WATCH_BACKLOG) }
    }

    /// Tells all watchers.
    pub(crate) fn tell(&self, event: WatchEvent) {
        // An error says that nobody watches.
        let _ = self.sender.send(event);
    }

    /// A watcher, who is told `snapshot` first.
    pub(crate) fn watch(&self, snapshot: Vec<WatchEvent>) -> Result<Watch, RegistryError> {
        if self.sender.receiver_count() >= MAX_WATCHERS {
            return Err(RegistryError::Full(format!("it has {MAX_WATCHERS} watchers")));
        }
        let changes = BroadcastStream::new(self.sender.subscribe()).map(|change| {
            change.map_err(|BroadcastStreamRecvError::Lagged(missed)| {
                RegistryError::Full(format!("the watcher was too slow and missed {missed} changes"))
            })
        });
        let snapshot = snapshot.into_iter().chain([WatchEvent::SnapshotEnd]).map(Ok);
        Ok(Box::pin(stream::iter(snapshot).chain(changes).scan(false, end_after_error)))
    }
}

/// Passes on all up to the first error.
fn end_after_error(
    over: &mut bool,
    item: Result<WatchEvent, RegistryError>,
) -> future::Ready<Option<Result<WatchEvent, RegistryError>>> {
    let item = (!*over).then_some(item);
    *over |= matches!(item, Some(Err(_)));
    future::ready(item)
}
