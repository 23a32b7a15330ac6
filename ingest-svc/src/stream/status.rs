//! What others may see of a stream, and how it looks in the API.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use hop::LegStatus;
use media::{StreamKey, wall_time::ClockSource};
use proto::v1;
use registry::Lease;
use tokio::sync::watch;

use super::Track;
use crate::leg::LegId;

/// Tells of a change in any stream; watchers then look at what changed.
pub(crate) type Changed = Arc<watch::Sender<u64>>;

/// See the module. Written by the stream's actor and legs, read by anyone.
pub(crate) struct StreamStatus {
    /// Its key.
    pub(crate) key: StreamKey,
    /// Tells it from earlier streams of the same key.
    pub(crate) instance: u64,
    started_at: SystemTime,
    facts: Mutex<Facts>,
    /// Counters, modulo 2^32.
    pub(crate) counters: Counters,
    changed: Changed,
}

/// What changes seldom; each change is told to watchers.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// The state.
    pub(crate) state: State,
    /// The publisher, while there is one.
    pub(crate) publisher: Option<v1::Publisher>,
    /// The publisher that stands by, while there is one.
    pub(crate) standby: Option<v1::Publisher>,
    /// The tracks, once announced.
    pub(crate) tracks: Vec<Track>,
    /// The legs that have a lease.
    pub(crate) legs: BTreeMap<LegId, LegFacts>,
    /// How it is pulled, if it is.
    pub(crate) pull: Option<v1::Pull>,
    /// Why it cannot be read now; empty when all is well.
    pub(crate) problem: String,
    /// What of the publisher's media is not carried, a line each.
    pub(crate) left_out: Vec<String>,
    /// Who says where the timeline lies on the wall clock.
    pub(crate) clock_source: ClockSource,
    /// Readers get the offline picture.
    pub(crate) offline: bool,
    /// Its publisher is to go to another ingest.
    pub(crate) draining: bool,
    /// When media began to flow, while it does.
    pub(crate) live_since: Option<Instant>,
    /// How long it flowed before.
    pub(crate) live_before: Duration,
    version: u64,
}

/// The states of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum State {
    /// No publisher yet, or no media from it.
    #[default]
    Waiting,
    /// Media flows.
    Live,
    /// The publisher went away, readers are kept.
    Held,
}

/// What is known of a leg.
#[derive(Clone)]
pub(crate) struct LegFacts {
    /// Where RTP goes.
    pub(crate) rtp_address: SocketAddr,
    /// What allows it.
    pub(crate) lease: Lease,
    /// What changes with every packet and report.
    pub(crate) status: Arc<LegStatus>,
    /// The node that sends it, where that is not us.
    pub(crate) fed_by: Option<String>,
}

/// What went through a stream.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) video_access_units: AtomicU32,
    pub(crate) audio_access_units: AtomicU32,
    pub(crate) keyframes: AtomicU32,
    pub(crate) packets: AtomicU32,
    pub(crate) malformed: AtomicU32,
    pub(crate) timestamps_repaired: AtomicU32,
    /// Bits per second.
    pub(crate) bitrate: AtomicU32,
}

impl StreamStatus {
    /// A stream that waits for its publisher.
    pub(crate) fn new(key: StreamKey, instance: u64, changed: Changed) -> Self {
        Self {
            key,
            instance,
            started_at: SystemTime::now(),
            facts: Mutex::default(),
            counters: Counters::default(),
            changed,
        }
    }

    /// Changes what changes seldom, and tells watchers.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        {
            let mut facts = self.lock();
            change(&mut facts);
            facts.version += 1;
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// Enters a state; no change if it is in it.
    pub(crate) fn enter(&self, state: State) {
        if self.lock().state == state {
            return;
        }
        self.update(|facts| {
            facts.state = state;
            match state {
                State::Live => facts.live_since = Some(Instant::now()),
                State::Waiting | State::Held => {
                    facts.live_before += facts.live_since.take().map_or(Duration::ZERO, elapsed);
                }
            }
        });
    }

    /// Says why it cannot be read now; no change if that is said already.
    pub(crate) fn set_problem(&self, problem: &str) {
        if self.lock().problem != problem {
            self.update(|facts| facts.problem = problem.to_owned());
        }
    }

    /// Grows with each change.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// The stream as the API shows it.
    pub(crate) fn to_proto(&self) -> v1::Stream {
        let facts = self.lock().clone();
        let live_for = facts.live_before + facts.live_since.map_or(Duration::ZERO, elapsed);
        let counters = &self.counters;
        v1::Stream {
            stream_key: self.key.as_str().to_owned(),
            state: match facts.state {
                State::Waiting => v1::StreamState::Waiting,
                State::Live => v1::StreamState::Live,
                State::Held => v1::StreamState::Held,
            }
            .into(),
            started_at: Some(proto::timestamp(self.started_at)),
            tracks: facts.tracks.iter().map(track_to_proto).collect(),
            publisher: facts.publisher,
            standby: facts.standby,
            epoch: facts.legs.values().next().map_or(0, |leg| leg.lease.epoch),
            legs: facts.legs.values().map(leg_to_proto).collect(),
            counters: Some(v1::StreamCounters {
                video_access_units: counters.video_access_units.load(Relaxed),
                audio_access_units: counters.audio_access_units.load(Relaxed),
                keyframes: counters.keyframes.load(Relaxed),
                packets: counters.packets.load(Relaxed),
                malformed: counters.malformed.load(Relaxed),
                timestamps_repaired: counters.timestamps_repaired.load(Relaxed),
                bitrate: counters.bitrate.load(Relaxed),
                live_for: Some(proto::duration(live_for)),
                ..Default::default()
            }),
            pull: facts.pull,
            problem: facts.problem,
            offline_picture: facts.offline,
            draining: facts.draining,
            left_out: facts.left_out,
            clock_source: match facts.clock_source {
                ClockSource::Arrival => v1::ClockSource::Arrival,
                ClockSource::TimeCode => v1::ClockSource::TimeCode,
                ClockSource::DataMessage => v1::ClockSource::Publisher,
                ClockSource::Sei => v1::ClockSource::Sei,
            }
            .into(),
            ..Default::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn elapsed(since: Instant) -> Duration {
    since.elapsed()
}

fn track_to_proto(track: &Track) -> v1::Track {
    let super::TrackIdentity { payload_type, ssrc, .. } = track.identity;
    v1::Track {
        has_b_frames: track.has_b_frames,
        late: track.late,
        ..svc_core::api::track(&track.config, payload_type, ssrc)
    }
}

fn leg_to_proto(leg: &LegFacts) -> v1::Leg {
    let fed_by = leg.fed_by.clone().unwrap_or_default();
    v1::Leg { fed_by, ..leg.status.to_proto(&leg.lease, leg.rtp_address) }
}
