//! One feed: from the ring to a leg, by the fan-out that lets readers send, and by a task for what has to wait.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use hop::{AccessUnit, Broken, Carrier, Handed, LegStatus, Opened, Target};
use media::{StreamKey, codec::MediaKind, rtcp::ClockMapping};
use proto::v1;
use svc_core::{panics::Panic, tasks::Tasks};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Span, warn};

use super::tracks;
use crate::{
    fan_out::Outlet,
    ring::{Cursor, RingUnit},
    stream::{PublishedStream, ReaderDescription},
};

/// A feed that no ingest has asked for in so long is nobody's: ingests ask each second.
const UNASKED: Duration = Duration::from_secs(10);
/// How soon a node is told again of a track that has come late.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// Access units taken from the ring at once.
const UNITS: usize = 16;

/// See the module.
pub(super) struct Feed {
    target: Target,
    opened: Opened,
    carrier: Arc<Carrier>,
    status: Arc<LegStatus>,
    stream: Arc<PublishedStream>,
    place: Mutex<Place>,
    /// Told when there is something in the ring for which the leg had no room.
    full: Notify,
    asked_at: Mutex<Instant>,
    over: CancellationToken,
    /// A fault of ours in sending, for the feed's task to end with.
    panicked: Mutex<Option<Panic>>,
}

struct Place {
    cursor: Cursor,
    has_video: bool,
}

/// Where the readers' RTP clock of a track lies on the wall clock.
pub(super) struct FeedClock {
    pub(super) stream: Arc<PublishedStream>,
    pub(super) track: usize,
}

impl hop::Clock for FeedClock {
    fn mapping(&self) -> Option<ClockMapping> {
        let clocks = self.stream.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.get(self.track).copied().flatten()
    }
}

impl Feed {
    /// Begins with what the ring holds from its last keyframe on.
    pub(super) fn new(opened: Opened, stream: Arc<PublishedStream>) -> Arc<Self> {
        let status = opened.status();
        status.established.store(true, Relaxed);
        let carrier = Arc::new(Carrier::new(&opened, Box::new(|| {}), Span::none()));
        let described = stream.description.borrow();
        let has_video = described.iter().any(|described| {
            described.description.tracks.iter().any(|t| t.config.kind() == MediaKind::Video)
        });
        drop(described);
        let ring = &stream.ring;
        let cursor = ring.last_keyframe().unwrap_or_else(|| ring.live_edge());
        Arc::new(Self {
            target: opened.target().clone(),
            opened,
            carrier,
            status,
            place: Mutex::new(Place { cursor, has_video }),
            stream,
            full: Notify::new(),
            asked_at: Mutex::new(Instant::now()),
            over: CancellationToken::new(),
            panicked: Mutex::default(),
        })
    }

    /// Whose stream it is.
    pub(super) fn key(&self) -> &StreamKey {
        &self.target.lease.stream_key
    }

    /// The fed node's id.
    pub(super) fn node_id(&self) -> &str {
        &self.target.node.id
    }

    /// Whether it goes on, and to there.
    pub(super) fn goes_on_to(&self, target: &Target) -> bool {
        !self.over.is_cancelled() && !self.carrier.is_closed() && self.target == *target
    }

    /// It is asked for again.
    pub(super) fn ask(&self) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// It is to end.
    pub(super) fn end(&self) {
        self.over.cancel();
        // At once: its successor may be under way.
        self.carrier.close();
    }

    /// As the API shows it.
    pub(super) fn to_proto(&self) -> v1::Leg {
        self.status.to_proto(&self.target.lease, self.opened.rtp_address())
    }

    /// Sends until it is to end, or breaks; why.
    pub(super) async fn run(self: &Arc<Self>, tasks: &Tasks) -> String {
        let joined = self.stream.fan_out.join(self.clone(), tasks);
        self.advance();
        let why = tokio::select! {
            broken = self.carry() => broken.to_string(),
            () = self.stream.ended.cancelled() => "the stream ends here".to_owned(),
            () = self.over.cancelled() => "it is not wanted any more".to_owned(),
            () = self.unasked() => format!("nobody has asked for it in {UNASKED:?}"),
        };
        drop(joined);
        self.end();
        self.status.established.store(false, Relaxed);
        let panicked = self.panicked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panicked {
            panic!("{panic}");
        }
        why
    }

    async fn carry(&self) -> Broken {
        let refill = self.refill();
        let learn = self.learn();
        tokio::select! {
            broken = self.carrier.run() => broken,
            never = refill => match never {},
            never = learn => match never {},
        }
    }

    /// Goes on with what the ring has whenever the leg has room again.
    async fn refill(&self) -> Infallible {
        loop {
            self.full.notified().await;
            self.carrier.room().await;
            self.advance();
        }
    }

    /// Tells the node of tracks that come late. What else changes in a description comes in-band, too.
    async fn learn(&self) -> Infallible {
        let mut described = self.stream.description.subscribe();
        let count = |described: &Option<Arc<ReaderDescription>>| {
            described.as_ref().map_or(0, |described| described.description.tracks.len())
        };
        let mut known = self.opened.track_count();
        loop {
            let changed = described.wait_for(|described| count(described) > known).await;
            let anew = changed.ok().and_then(|described| described.clone());
            let Some(description) = anew else { return std::future::pending().await };
            known = description.description.tracks.len();
            let tracks = tracks(&self.stream, &description);
            while let Err(error) = self.opened.tell(&tracks).await {
                warn!(stream = %self.key(), %error, "a fed node cannot be told of a late track");
                tokio::time::sleep(TELL_AGAIN).await;
            }
            self.carrier.learn(tracks);
        }
    }

    fn send(&self, unit: &RingUnit, has_video: bool) {
        let RingUnit { kind, keyframe, ref packets, .. } = *unit;
        let starts_gop = !has_video || (keyframe && kind == MediaKind::Video);
        if self.carrier.send(AccessUnit { kind, keyframe, packets }, starts_gop) == Handed::LeftOut
        {
            self.opened.metrics().leave_out(1);
        }
    }

    async fn unasked(&self) {
        loop {
            let asked_at = *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
            let until = asked_at + UNASKED;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Feed {
    fn advance(&self) {
        let place = &mut *self.lock();
        loop {
            if self.carrier.is_closed() {
                return;
            }
            if !self.carrier.has_room() {
                self.full.notify_one();
                return;
            }
            let batch = self.stream.ring.read(&mut place.cursor, UNITS, Duration::MAX);
            for unit in &batch.units {
                self.send(unit, place.has_video);
            }
            self.opened.metrics().leave_out(batch.skipped);
            if !batch.more {
                return;
            }
        }
    }

    fn fail(&self, panic: Panic) {
        *self.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        self.end();
    }
}
