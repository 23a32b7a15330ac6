//! The table of streams: who publishes what is decided here.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use media::{
    StreamKey,
    rtmp::{PublishRefusal, RtmpUrl},
};
use proto::v1;
use registry::LostLease;
use svc_core::{
    error::{ApiError, Kind},
    grpc::WatchedStreams,
};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info_span;

use crate::{
    metrics::Refused,
    publisher::Publisher,
    pull::{Pull, PullContext},
    rtmp::{PublisherConnection, PublisherSink},
    stream::{Actor, Arming, Changed, Command, Context, LegReply, StreamStatus, bring_up_span},
};

/// Streams at one time: as many as a node has RTP ports by default (5004 to 7999), some times over. Each is a task and some
/// kB until media flows.
pub(crate) const MAX_STREAMS: usize = 10_000;
/// Commands that may wait for a stream: a StopStream, publishers that try again and again.
const MAX_COMMANDS: usize = 16;

/// See the module.
pub(crate) struct Table {
    context: Context,
    pulls: PullContext,
    streams: Mutex<BTreeMap<StreamKey, Entered>>,
    next_instance: AtomicU64,
    changed: Changed,
    this: Weak<Self>,
}

struct Entered {
    commands: mpsc::Sender<Command>,
    status: Arc<StreamStatus>,
    /// As StartStream said, if it was called.
    started: Option<Started>,
}

/// How a stream was started by StartStream.
#[derive(PartialEq)]
struct Started {
    arming: Arming,
    /// Where it is pulled from, if it is.
    source: Option<Arc<RtmpUrl>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(context: Context, pulls: PullContext) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            context,
            pulls,
            streams: Mutex::default(),
            next_instance: AtomicU64::new(1),
            changed: Arc::new(watch::Sender::new(0)),
            this: this.clone(),
        })
    }

    /// Arms a key for a publisher, or pulls it from `source`: the stream is there from now on until it is stopped.
    pub(crate) fn start(
        &self,
        key: &StreamKey,
        arming: Arming,
        source: Option<RtmpUrl>,
    ) -> Result<v1::Stream, ApiError> {
        if self.context.shutdown.draining().is_cancelled() {
            let text = "the service is shutting down";
            return Err(ApiError::reason(Kind::Unavailable, "DRAINING", text));
        }
        let wanted = Started { arming, source: source.map(Arc::new) };
        let mut streams = self.lock();
        let entered = self.entry(&mut streams, key).ok_or_else(|| {
            let text = format!("there are {MAX_STREAMS} streams already");
            ApiError::reason(Kind::ResourceExhausted, "TOO_MANY_STREAMS", text)
        })?;
        match &entered.started {
            Some(started) if *started == wanted => return Ok(entered.status.to_proto()),
            Some(_) => {
                let problem = "is started with other parameters";
                return Err(ApiError::exists("stream", key, problem));
            }
            None => {}
        }
        if entered.commands.try_send(Command::Arm(arming)).is_err() {
            let text = format!("stream {key} is busy or ending, try again");
            return Err(ApiError::reason(Kind::Unavailable, "BUSY", text));
        }
        if let Some(source) = &wanted.source {
            self.pull(source, entered);
        }
        entered.started = Some(wanted);
        Ok(entered.status.to_proto())
    }

    /// Makes a leg of a stream to a further node; answered when that node has the stream.
    pub(crate) async fn add_leg(
        &self,
        key: &StreamKey,
        node_id: String,
    ) -> Result<v1::Stream, ApiError> {
        self.ask_for_leg(key, |reply| Command::AddLeg(node_id, reply)).await
    }

    /// Ends the leg of a stream to a node; answered when it has ended.
    pub(crate) async fn end_leg(
        &self,
        key: &StreamKey,
        node_id: String,
    ) -> Result<v1::Stream, ApiError> {
        self.ask_for_leg(key, |reply| Command::EndLeg(node_id, reply)).await
    }

    async fn ask_for_leg(
        &self,
        key: &StreamKey,
        command: impl FnOnce(LegReply) -> Command,
    ) -> Result<v1::Stream, ApiError> {
        let not_found = || ApiError::not_found("stream", key);
        let (reply, answer) = oneshot::channel();
        let commands =
            self.lock().get(key).map(|entered| entered.commands.clone()).ok_or_else(not_found)?;
        commands.send(command(reply)).await.map_err(|_| not_found())?;
        answer.await.map_err(|_| not_found())?
    }

    /// Pulls a stream until it is gone.
    fn pull(&self, source: &Arc<RtmpUrl>, entered: &Entered) {
        let pull = Pull {
            context: self.pulls.clone(),
            source: source.clone(),
            status: entered.status.clone(),
            commands: entered.commands.clone(),
            metrics: self.context.metrics.clone(),
            draining: self.context.shutdown.draining().clone(),
        };
        pull.begin();
        let span = info_span!(parent: None, "pull", stream = %entered.status.key);
        // Not in the span of the call that it begins with, which it outlives.
        span.in_scope(|| self.context.tasks.spawn("pull", pull.run()));
    }

    /// Ends a stream; it is answered as it was last, when its publisher is told, its readers' sessions and its lease are ended.
    pub(crate) async fn stop(&self, key: &StreamKey) -> Result<v1::Stream, ApiError> {
        let not_found = || ApiError::not_found("stream", key);
        let (reply, stopped) = oneshot::channel();
        let commands =
            self.lock().get(key).map(|entered| entered.commands.clone()).ok_or_else(not_found)?;
        commands.send(Command::Stop(reply)).await.map_err(|_| not_found())?;
        stopped.await.map_err(|_| not_found())
    }

    /// One stream.
    pub(crate) fn stream(&self, key: &StreamKey) -> Result<v1::Stream, ApiError> {
        let status = self.lock().get(key).map(|entered| entered.status.clone());
        status.map(|status| status.to_proto()).ok_or_else(|| ApiError::not_found("stream", key))
    }

    /// All streams, in the order of their keys.
    pub(crate) fn list(&self) -> Vec<Arc<StreamStatus>> {
        self.lock().values().map(|entered| entered.status.clone()).collect()
    }

    /// Tells a stream that its lease is lost.
    pub(crate) async fn lease_lost(&self, lost: LostLease) {
        let commands = self.lock().get(&lost.stream_key).map(|entered| entered.commands.clone());
        if let Some(commands) = commands {
            let _ = commands.send(Command::LeaseLost(lost.id)).await;
        }
    }

    /// Takes a stream out if nobody has sent it a command meanwhile.
    pub(crate) fn remove_if_idle(
        &self,
        status: &StreamStatus,
        commands: &mpsc::Receiver<Command>,
    ) -> bool {
        // Commands that create are sent under the lock, so none can slip in.
        let mut streams = self.lock();
        if !commands.is_empty() {
            return false;
        }
        take_out(&mut streams, status);
        drop(streams);
        self.tell_change();
        true
    }

    /// Takes a stream out.
    pub(crate) fn remove(&self, status: &StreamStatus) {
        if take_out(&mut self.lock(), status) {
            self.tell_change();
        }
    }

    /// The stream of `key`; made if need be, unless there are too many.
    fn entry<'a>(
        &self,
        streams: &'a mut BTreeMap<StreamKey, Entered>,
        key: &StreamKey,
    ) -> Option<&'a mut Entered> {
        let count = streams.len();
        match streams.entry(key.clone()) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(_) if count >= MAX_STREAMS => None,
            Entry::Vacant(entry) => {
                let entered = self.enter(key)?;
                Some(entry.insert(entered))
            }
        }
    }

    fn enter(&self, key: &StreamKey) -> Option<Entered> {
        let table = self.this.upgrade()?;
        let instance = self.next_instance.fetch_add(1, Relaxed);
        let status = Arc::new(StreamStatus::new(key.clone(), instance, self.changed.clone()));
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let actor = Actor::new(self.context.clone(), table, status.clone(), receiver);
        let span = info_span!(parent: None, "stream", stream = %key);
        let guard = RemoveOnDrop { table: self.this.clone(), status: status.clone() };
        let run = async move {
            let _guard = guard;
            actor.run().await;
        };
        // Not in the span of the connection or call that it begins with, which it outlives.
        span.in_scope(|| self.context.tasks.spawn("stream", run));
        self.tell_change();
        Some(Entered { commands, status, started: None })
    }

    fn tell_change(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamKey, Entered>> {
        self.streams.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Hands a publisher to its stream, or gives it back with the reason.
    fn hand_over(&self, publisher: PublisherConnection) -> Result<(), Refusal> {
        let refuse = |publisher, reason, how, text| Refusal { publisher, reason, how, text };
        let key = match StreamKey::parse(&publisher.request().stream_key) {
            Ok(key) => key,
            Err(error) => {
                let publisher = Publisher::Pushed(Box::new(publisher));
                let how = PublishRefusal::Denied;
                return Err(refuse(publisher, Refused::InvalidKey, how, error.to_string()));
            }
        };
        let span = bring_up_span(&key, publisher.peer());
        let publisher = Publisher::Pushed(Box::new(publisher));
        let mut streams = self.lock();
        if !self.context.ingest.auto_start && !streams.contains_key(&key) {
            let text = "this stream key is not started".to_owned();
            return Err(refuse(publisher, Refused::NotArmed, PublishRefusal::Denied, text));
        }
        let Some(entered) = self.entry(&mut streams, &key) else {
            let text = format!("there are {MAX_STREAMS} streams already");
            return Err(refuse(publisher, Refused::TooManyStreams, PublishRefusal::Failed, text));
        };
        entered.commands.try_send(Command::Publish(publisher, span)).map_err(|error| {
            let text = "the stream is busy or ending, try again".to_owned();
            match error.into_inner() {
                Command::Publish(publisher, _) => {
                    refuse(publisher, Refused::Ending, PublishRefusal::Failed, text)
                }
                Command::Arm(_)
                | Command::Stop(_)
                | Command::LeaseLost(_)
                | Command::AddLeg(..)
                | Command::EndLeg(..) => unreachable!("what comes back is what was sent"),
            }
        })
    }
}

/// A publisher that is not let in.
struct Refusal {
    publisher: Publisher,
    reason: Refused,
    how: PublishRefusal,
    text: String,
}

#[async_trait]
impl PublisherSink for Table {
    async fn offer(&self, connection: PublisherConnection) {
        if let Err(refusal) = self.hand_over(connection) {
            self.context.metrics.refuse(refusal.reason);
            refusal.publisher.refuse(refusal.how, &refusal.text).await;
        }
    }
}

impl WatchedStreams for Table {
    type Stream = StreamStatus;

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn list(&self) -> Vec<Arc<StreamStatus>> {
        self.list()
    }

    fn key(status: &StreamStatus) -> &StreamKey {
        &status.key
    }

    fn version(status: &StreamStatus) -> u64 {
        status.version()
    }

    fn to_proto(&self, status: &StreamStatus) -> v1::Stream {
        status.to_proto()
    }
}

/// Takes the stream out also when its task panicked.
struct RemoveOnDrop {
    table: Weak<Table>,
    status: Arc<StreamStatus>,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.remove(&self.status);
        }
    }
}

/// Takes out the stream, not a later one of the same key.
fn take_out(streams: &mut BTreeMap<StreamKey, Entered>, status: &StreamStatus) -> bool {
    let is_it = streams.get(&status.key).is_some_and(|e| e.status.instance == status.instance);
    is_it && streams.remove(&status.key).is_some()
}
