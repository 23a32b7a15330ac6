//! WatchStreams, the same on both services: a snapshot, then every change.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use futures_util::stream::Stream;
use media::StreamKey;
use proto::v1::{self, StreamEvent};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{drain::Shutdown, tasks::Tasks};

/// Changes of one stream within this time are told as one.
const COALESCE: Duration = Duration::from_millis(50);
/// Events that wait for a slow watcher; then it is waited for, and changes meanwhile become one.
const MAX_EVENTS: usize = 64;

/// The streams of a service, as watchers see them.
pub trait WatchedStreams: Send + Sync + 'static {
    /// A stream. Another one of the same key is another value.
    type Stream: Send + Sync;
    /// Tells of changes in [`list`](Self::list) or in any stream.
    fn changes(&self) -> watch::Receiver<u64>;
    /// All streams, in the order of their keys.
    fn list(&self) -> Vec<Arc<Self::Stream>>;
    /// The key of a stream.
    fn key(stream: &Self::Stream) -> &StreamKey;
    /// Grows with each change of a stream.
    fn version(stream: &Self::Stream) -> u64;
    /// A stream as the API shows it now.
    fn to_proto(&self, stream: &Self::Stream) -> v1::Stream;
}

/// What WatchStreams answers with.
pub type WatchResponses =
    Pin<Box<dyn Stream<Item = Result<v1::WatchStreamsResponse, Status>> + Send>>;

/// Answers WatchStreams until the caller hangs up or the service drains.
pub fn watch_streams<T: WatchedStreams>(
    streams: Arc<T>,
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> WatchResponses {
    let (events, receiver) = mpsc::channel(MAX_EVENTS);
    let shutdown = shutdown.clone();
    tasks.spawn("watch", async move {
        tokio::select! {
            () = shutdown.draining().cancelled() => {}
            // Ends when the caller hangs up.
            _ = watch(&*streams, &events) => {}
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

type Events = mpsc::Sender<Result<v1::WatchStreamsResponse, Status>>;

/// A stream as a watcher saw it last.
struct Seen<S> {
    stream: Arc<S>,
    version: u64,
}

/// Tells all streams, then every change, until nobody listens.
async fn watch<T: WatchedStreams>(streams: &T, events: &Events) -> Option<()> {
    let mut changes = streams.changes();
    let mut seen = BTreeMap::new();
    for stream in streams.list() {
        see::<T>(&mut seen, &stream);
        tell(events, StreamEvent::Snapshot, Some(streams.to_proto(&stream))).await?;
    }
    tell(events, StreamEvent::SnapshotEnd, None).await?;
    loop {
        tokio::select! {
            () = events.closed() => return None,
            changed = changes.changed() => changed.ok()?,
        }
        let now = streams.list();
        tell_removed(streams, &mut seen, &now, events).await?;
        for stream in &now {
            let event = match seen.get(T::key(stream)) {
                None => StreamEvent::Added,
                Some(Seen { version, .. }) if *version != T::version(stream) => {
                    StreamEvent::Changed
                }
                Some(_) => continue,
            };
            see::<T>(&mut seen, stream);
            tell(events, event, Some(streams.to_proto(stream))).await?;
        }
        tokio::time::sleep(COALESCE).await;
    }
}

/// Tells of the streams that are gone, those whose key has come again included.
async fn tell_removed<T: WatchedStreams>(
    streams: &T,
    seen: &mut BTreeMap<StreamKey, Seen<T::Stream>>,
    now: &[Arc<T::Stream>],
    events: &Events,
) -> Option<()> {
    let is_there = |seen: &Seen<T::Stream>| {
        now.binary_search_by(|stream| T::key(stream).cmp(T::key(&seen.stream)))
            .is_ok_and(|at| Arc::ptr_eq(&now[at], &seen.stream))
    };
    let gone: Vec<_> = seen.values().filter(|s| !is_there(s)).map(|s| s.stream.clone()).collect();
    for stream in gone {
        seen.remove(T::key(&stream));
        tell(events, StreamEvent::Removed, Some(streams.to_proto(&stream))).await?;
    }
    Some(())
}

/// Before the stream is looked at: what changes while the watcher is waited for is told later.
fn see<T: WatchedStreams>(
    seen: &mut BTreeMap<StreamKey, Seen<T::Stream>>,
    stream: &Arc<T::Stream>,
) {
    let version = T::version(stream);
    seen.insert(T::key(stream).clone(), Seen { stream: stream.clone(), version });
}

/// `None` when nobody listens.
async fn tell(events: &Events, event: StreamEvent, stream: Option<v1::Stream>) -> Option<()> {
    events.send(Ok(v1::WatchStreamsResponse { event: event.into(), stream })).await.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct FakeStream {
        key: StreamKey,
        version: AtomicU64,
    }

    #[derive(Default)]
    struct FakeStreams {
        streams: Mutex<Vec<Arc<FakeStream>>>,
        changed: watch::Sender<u64>,
    }

    impl FakeStreams {
        fn with(keys: &[&str]) -> Arc<Self> {
            let this = Self::default();
            this.set(keys);
            Arc::new(this)
        }

        /// All of them new ones.
        fn set(&self, keys: &[&str]) {
            let stream = |key: &&str| {
                let key = StreamKey::parse(key).unwrap();
                Arc::new(FakeStream { key, version: AtomicU64::new(0) })
            };
            *self.streams.lock().unwrap() = keys.iter().map(stream).collect();
            self.changed.send_modify(|changes| *changes += 1);
        }

        fn touch(&self, at: usize) {
            self.streams.lock().unwrap()[at].version.fetch_add(1, Relaxed);
            self.changed.send_modify(|changes| *changes += 1);
        }
    }

    impl WatchedStreams for FakeStreams {
        type Stream = FakeStream;

        fn changes(&self) -> watch::Receiver<u64> {
            self.changed.subscribe()
        }

        fn list(&self) -> Vec<Arc<FakeStream>> {
            self.streams.lock().unwrap().clone()
        }

        fn key(stream: &FakeStream) -> &StreamKey {
            &stream.key
        }

        fn version(stream: &FakeStream) -> u64 {
            stream.version.load(Relaxed)
        }

        fn to_proto(&self, stream: &FakeStream) -> v1::Stream {
            v1::Stream { stream_key: stream.key.as_str().to_owned(), ..Default::default() }
        }
    }

    type Receiver = mpsc::Receiver<Result<v1::WatchStreamsResponse, Status>>;

    /// A watcher for which so many events may wait.
    fn watcher(streams: &Arc<FakeStreams>, room: usize) -> (Receiver, tokio::task::JoinHandle<()>) {
        let (events, receiver) = mpsc::channel(room);
        let streams = streams.clone();
        let watching = tokio::spawn(async move {
            watch(&*streams, &events).await;
        });
        (receiver, watching)
    }

    async fn next(receiver: &mut Receiver) -> (StreamEvent, String) {
        let event = tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("not told");
        let event = event.unwrap().unwrap();
        (event.event(), event.stream.map(|stream| stream.stream_key).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_change_while_the_watcher_is_waited_for_is_told_later() {
        let streams = FakeStreams::with(&["a", "b"]);
        // Room for one event: the next is made and waits.
        let (mut receiver, watching) = watcher(&streams, 1);
        while receiver.is_empty() {
            tokio::task::yield_now().await;
        }
        streams.touch(1);
        assert_eq!(next(&mut receiver).await, (StreamEvent::Snapshot, "a".into()));
        assert_eq!(next(&mut receiver).await, (StreamEvent::Snapshot, "b".into()));
        assert_eq!(next(&mut receiver).await, (StreamEvent::SnapshotEnd, String::new()));
        assert_eq!(next(&mut receiver).await, (StreamEvent::Changed, "b".into()));
        drop(receiver);
        tokio::time::timeout(PATIENCE, watching).await.expect("nobody listens").unwrap();
    }

    #[tokio::test]
    async fn another_stream_of_the_same_key_is_told_as_removed_and_added() {
        let streams = FakeStreams::with(&["a"]);
        let (mut receiver, _watching) = watcher(&streams, 8);
        assert_eq!(next(&mut receiver).await, (StreamEvent::Snapshot, "a".into()));
        assert_eq!(next(&mut receiver).await, (StreamEvent::SnapshotEnd, String::new()));
        streams.set(&["a", "b"]);
        assert_eq!(next(&mut receiver).await, (StreamEvent::Removed, "a".into()));
        assert_eq!(next(&mut receiver).await, (StreamEvent::Added, "a".into()));
        assert_eq!(next(&mut receiver).await, (StreamEvent::Added, "b".into()));
        streams.set(&[]);
        assert_eq!(next(&mut receiver).await, (StreamEvent::Removed, "a".into()));
        assert_eq!(next(&mut receiver).await, (StreamEvent::Removed, "b".into()));
    }
}
