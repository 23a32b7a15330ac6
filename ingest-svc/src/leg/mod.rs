//! The leg of a stream: its control plane and its packets, in one task.
//!
//! A [`Leg`] is brought up ([`control`]), then carries packets ([`carry`]) until it ends or breaks, and is then brought up again: by
//! the same lease while it holds, else by a new one. The stream's actor never waits for it: it hands over what it
//! has kept when the leg is ready, and each access unit from then on.

mod carry;
mod control;
mod node;
mod pacer;
mod reports;
mod socket;

use std::sync::Arc;

use media::StreamKey;
use registry::{Grant, LeaseId, LeaseKeeper};
use svc_core::{config::RtpConfig, tasks::Tasks};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Span;

use crate::{
    metrics::Instruments,
    stream::{Origin, StreamStatus, Track, Unit},
};

/// Access units that may wait for the leg's task: 2 s of 60 pictures and 47 audio frames a second.
const MAX_FED: usize = 256;

/// What a leg needs to know.
pub(crate) struct LegConfig {
    /// Its stream.
    pub(crate) key: StreamKey,
    /// `[rtp]`
    pub(crate) rtp: RtpConfig,
    /// Its leases.
    pub(crate) keeper: LeaseKeeper,
    /// The CNAME of all tracks.
    pub(crate) cname: String,
    /// The wall-clock time of the origin of the stream's timeline, once there is an access unit.
    pub(crate) origin: Arc<Origin>,
    /// What others see of it.
    pub(crate) status: Arc<StreamStatus>,
    /// Metrics.
    pub(crate) metrics: Instruments,
}

/// What a node is told of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Announced {
    /// Another number: the node is told at once. The same: what changed goes in-band, and is told to a node when the leg is
    /// made anew for another reason.
    pub(crate) announcement: u32,
    /// The tracks.
    pub(crate) tracks: Vec<Track>,
}

impl Announced {
    /// Whether the tracks of `before` are all there as they were on the wire, so that a leg with them may go on.
    fn extends(&self, before: &Self) -> bool {
        before.tracks.iter().all(|known| self.tracks.iter().any(|t| t.identity == known.identity))
    }
}

/// What the actor is told by its leg.
pub(crate) enum LegEvent {
    /// RTP can flow: what was kept, and a feed of what comes, are to be sent here.
    Ready(oneshot::Sender<Backlog>),
}

/// What a leg begins with.
pub(crate) struct Backlog {
    /// Access units that were kept.
    pub(crate) units: Vec<Arc<Unit>>,
    /// Those that come.
    pub(crate) feed: mpsc::Receiver<Arc<Unit>>,
}

/// How a leg ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The stream ends: the node ends its readers.
    StreamEnds,
    /// This process ends, the stream may go on from another: the node keeps its readers for a while.
    ProcessEnds,
}

/// The actor's side of a leg.
pub(crate) struct Leg {
    tracks: watch::Sender<Arc<Announced>>,
    lost: mpsc::Sender<LeaseId>,
    end: oneshot::Sender<Ending>,
    done: oneshot::Receiver<()>,
    feed: Option<Feed>,
}

/// The way of access units to the leg's task.
struct Feed {
    units: mpsc::Sender<Arc<Unit>>,
    /// It was full: video is left out until the next keyframe.
    behind: bool,
}

impl Leg {
    /// Brings up a leg for `tracks`, beginning with a lease that was granted before.
    pub(crate) fn spawn(
        config: LegConfig,
        grant: Option<Grant>,
        tracks: Announced,
        events: mpsc::Sender<LegEvent>,
        (tasks, bring_up): (&Tasks, Span),
    ) -> Self {
        let (tracks, tracks_seen) = watch::channel(Arc::new(tracks));
        let (lost, lost_seen) = mpsc::channel(8);
        let (end, end_seen) = oneshot::channel();
        let (done_tx, done) = oneshot::channel();
        let signals = control::Signals { tracks: tracks_seen, lost: lost_seen, events };
        let task = control::Control::new(config, grant, signals, bring_up);
        tasks.spawn("leg", async move {
            task.run(end_seen).await;
            let _ = done_tx.send(());
        });
        Self { tracks, lost, end, done, feed: None }
    }

    /// The leg is ready: it gets `units` at once, and what is [sent](Self::send) from now on.
    pub(crate) fn begin(&mut self, reply: oneshot::Sender<Backlog>, units: Vec<Arc<Unit>>) {
        let (sender, feed) = mpsc::channel(MAX_FED);
        self.feed = reply
            .send(Backlog { units, feed })
            .is_ok()
            .then_some(Feed { units: sender, behind: false });
    }

    /// Waits until what is sent at once beside the publisher's pace, such as a kept GOP, is not too much for the leg's task.
    pub(crate) async fn room(&self) {
        if let Some(feed) = &self.feed {
            // That it is closed is seen by the next send.
            let _ = feed.units.reserve_many(MAX_FED / 2).await;
        }
    }

    /// Sends an access unit, if the leg is ready. `false` if it had to be left out since the leg is behind.
    pub(crate) fn send(&mut self, unit: &Arc<Unit>, starts_gop: bool) -> bool {
        let Some(feed) = &mut self.feed else { return true };
        if feed.behind && !starts_gop {
            return false;
        }
        match feed.units.try_send(unit.clone()) {
            Ok(()) => feed.behind = false,
            Err(mpsc::error::TrySendError::Full(_)) => feed.behind = true,
            Err(mpsc::error::TrySendError::Closed(_)) => self.feed = None,
        }
        !self.feed.as_ref().is_some_and(|feed| feed.behind)
    }

    /// The tracks changed.
    pub(crate) fn set_tracks(&self, tracks: Announced) {
        self.tracks.send_replace(Arc::new(tracks));
    }

    /// A lease is lost; if it is this leg's, the leg is made anew.
    pub(crate) fn lease_lost(&self, lease: LeaseId) {
        // Full: it is being made anew already.
        let _ = self.lost.try_send(lease);
    }

    /// Ends the leg and waits until its lease is released; bounded by the deadline of one call.
    pub(crate) async fn end(self, how: Ending) {
        let _ = self.end.send(how);
        let _ = self.done.await;
    }
}

#[cfg(test)]
mod tests {
    use media::{MediaTime, codec::MediaKind, rtp::PacketBatch};

    use super::*;

    fn unit(keyframe: bool) -> Arc<Unit> {
        let (kind, time) = (MediaKind::Video, MediaTime::ZERO);
        Arc::new(Unit { kind, keyframe, time, packets: PacketBatch::default() })
    }

    #[test]
    fn a_leg_that_is_behind_goes_on_with_the_next_keyframe() {
        let (end, _end) = oneshot::channel();
        let (_done, done) = oneshot::channel();
        let tracks = Arc::new(Announced { announcement: 1, tracks: vec![] });
        let (tracks, _tracks) = watch::channel(tracks);
        let (lost, _lost) = mpsc::channel(8);
        let mut leg = Leg { tracks, lost, end, done, feed: None };
        assert!(leg.send(&unit(true), true), "not ready: it will get what was kept");
        let (reply, mut backlog) = oneshot::channel();
        leg.begin(reply, vec![unit(true)]);
        let mut backlog = backlog.try_recv().unwrap();
        assert_eq!(backlog.units.len(), 1);
        for _ in 0..MAX_FED {
            assert!(leg.send(&unit(false), false));
        }
        assert!(!leg.send(&unit(false), false));
        while backlog.feed.try_recv().is_ok() {}
        assert!(!leg.send(&unit(false), false));
        assert!(leg.send(&unit(true), true));
        assert!(leg.send(&unit(false), false));
        assert!(backlog.feed.try_recv().unwrap().keyframe);
    }
}
