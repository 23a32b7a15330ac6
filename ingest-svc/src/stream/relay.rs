//! The way of a stream's media: from messages through the pipeline to the legs, and into what is kept for a leg to come.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use media::{
    codec::MediaKind,
    rtmp::{MediaMessage, MediaMessageKind, told_time},
    wall_time::{ClockSource, WallTime},
};
use prometheus_client::metrics::counter::Counter;
use svc_core::clock::wall_clock;

use super::{
    Context, GopCache, Legs, Offline, Origin, Pipeline, PipelineConfig, StreamStatus,
    TrackIdentity, Unit,
    pipeline::{Dropped, Repaired},
    status::State,
};
use crate::{
    leg::{Announced, Flow, LegId},
    metrics::{Drop as DropReason, Instruments},
};

/// How often the bitrate is measured.
const BITRATE_INTERVAL: Duration = Duration::from_secs(1);
/// Payload types of the leg's tracks.
const VIDEO_PAYLOAD_TYPE: u8 = 96;
const AUDIO_PAYLOAD_TYPE: u8 = 97;

/// See the module. A new one is made when a stream begins anew.
pub(super) struct Relay {
    pipeline: Pipeline,
    gop: GopCache,
    /// How its legs are sent.
    hop: Arc<hop::Config>,
    /// The wall-clock time of the timeline's origin: one line for all tracks, for as long as the stream lives.
    origin: Arc<Origin>,
    wall: WallTime,
    /// As the API shows it.
    clock_source: ClockSource,
    /// What was announced last.
    revision: u32,
    /// Bytes since the bitrate was measured, and when that was.
    bytes: u64,
    measured_at: Instant,
    counted: Counted,
    status: Arc<StreamStatus>,
    metrics: Instruments,
    video_units: Counter,
    audio_units: Counter,
}

/// What of the pipeline's counts is in the metrics already.
#[derive(Default)]
struct Counted {
    dropped: Dropped,
    left_out: usize,
    repaired: Repaired,
    overflows: u32,
}

impl Relay {
    pub(super) fn new(context: &Context, status: Arc<StreamStatus>) -> Self {
        let identity = |payload_type, ssrc| TrackIdentity {
            payload_type,
            ssrc,
            first_sequence_number: rand::random(),
            rtp_origin: rand::random(),
        };
        let (video, audio) = distinct_ssrcs();
        let metrics = context.metrics.clone();
        Self {
            pipeline: Pipeline::new(PipelineConfig {
                max_packet_size: context.rtp.max_packet_size,
                track_wait: context.ingest.track_wait,
                video: identity(VIDEO_PAYLOAD_TYPE, video),
                audio: identity(AUDIO_PAYLOAD_TYPE, audio),
            }),
            gop: GopCache::new(),
            hop: Arc::new(hop::Config {
                key: status.key.clone(),
                // RFC 7022, 4.2: a short-term persistent CNAME of 96 random bits.
                cname: format!("{:016x}{:08x}", rand::random::<u64>(), rand::random::<u32>()),
                rtp: context.rtp.clone(),
                hop: context.hop.clone(),
                metrics: metrics.hop.clone(),
            }),
            origin: Arc::default(),
            wall: WallTime::default(),
            clock_source: ClockSource::default(),
            revision: 0,
            bytes: 0,
            measured_at: Instant::now(),
            counted: Counted::default(),
            status,
            video_units: metrics.access_units(MediaKind::Video),
            audio_units: metrics.access_units(MediaKind::Audio),
            metrics,
        }
    }

    pub(super) fn hop(&self) -> Arc<hop::Config> {
        self.hop.clone()
    }

    pub(super) fn origin(&self) -> Arc<Origin> {
        self.origin.clone()
    }

    pub(super) fn begin_publisher(&mut self) {
        self.pipeline.begin_publisher();
        self.wall.forget_told();
        self.bytes = 0;
        self.measured_at = Instant::now();
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(super) fn poll_timeout(&self, publishing: bool) -> Option<Instant> {
        let bitrate_at = publishing.then_some(self.measured_at + BITRATE_INTERVAL);
        [bitrate_at, self.pipeline.poll_timeout()].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.pipeline.handle_timeout(now);
        let measured = now.duration_since(self.measured_at);
        if measured >= BITRATE_INTERVAL {
            let bits = self.bytes as f64 * 8.0 / measured.as_secs_f64();
            self.status.counters.bitrate.store(bits as u32, Relaxed);
            self.bytes = 0;
            self.measured_at = now;
        }
    }

    /// Takes a message, and sends on what it holds.
    pub(super) fn take(&mut self, message: &MediaMessage, now: Instant, legs: &mut Legs) {
        let bytes = message.payload.len() as u64;
        self.metrics.messages.inc();
        self.metrics.media_bytes.inc_by(bytes);
        self.bytes += bytes;
        let replaced = self.pipeline.replaced();
        self.pipeline.handle_message(message, now);
        self.hear_time(message);
        if self.pipeline.replaced() != replaced {
            self.gop.forget();
        }
        if self.forward_all(legs) {
            self.status.enter(State::Live);
        }
    }

    /// From now on the last keyframe is kept, for the time when there is no publisher.
    pub(super) fn keep_picture(&mut self) {
        self.pipeline.keep_picture();
    }

    /// Stands in for the publisher that is gone, if there is something to show.
    pub(super) fn go_offline(&mut self, now: Instant) -> Option<Offline> {
        if !self.pipeline.can_be_offline() {
            return None;
        }
        self.wall.forget_told();
        Some(Offline::begin(&mut self.pipeline, now))
    }

    /// Sends on what readers get while there is no publisher.
    pub(super) fn stand_in(&mut self, offline: &mut Offline, now: Instant, legs: &mut Legs) {
        offline.handle_timeout(&mut self.pipeline, now);
        self.forward_all(legs);
    }

    /// Whether there was anything.
    fn forward_all(&mut self, legs: &mut Legs) -> bool {
        let mut any = false;
        while let Some(unit) = self.pipeline.poll_unit() {
            self.forward(unit, legs);
            any = true;
        }
        any
    }

    /// What a node is to be told, once the tracks are known, and again when they change.
    pub(super) fn announcement(&mut self) -> Option<Announced> {
        let announcement = self.pipeline.announcements();
        if announcement == 0 || self.pipeline.revision() == self.revision {
            return None;
        }
        self.revision = self.pipeline.revision();
        let tracks = self.pipeline.tracks();
        self.status.update(|facts| facts.tracks.clone_from(&tracks));
        Some(Announced { announcement, tracks })
    }

    /// A leg is ready: it begins with what was kept.
    pub(super) fn begin_leg(&mut self, legs: &mut Legs, id: LegId, flow: Flow) {
        let left_out = legs.begin(id, flow, self.gop.units());
        self.metrics.hop.leave_out(left_out);
        if legs.is_primary(id) {
            self.gop.settle();
        }
    }

    /// A publisher may tell the wall-clock time, in its data messages or its pictures.
    fn hear_time(&mut self, message: &MediaMessage) {
        let told = match message.kind {
            MediaMessageKind::Data => told_time(&message.payload, wall_clock())
                .zip(self.pipeline.place_of(message.timestamp_ms))
                .map(|(told, time)| (ClockSource::DataMessage, time, told)),
            MediaMessageKind::Video => self.pipeline.take_told().and_then(|(time, told)| {
                let (source, told) = told.wall_clock(wall_clock())?;
                Some((source, time, told))
            }),
            MediaMessageKind::Audio => None,
        };
        if let Some((source, time, told)) = told {
            self.wall.tell(source, (time, told), wall_clock());
            self.tell_origin();
        }
    }

    fn tell_origin(&mut self) {
        if let Some(origin) = self.wall.origin() {
            self.origin.set(origin);
        }
        let source = self.wall.source();
        if std::mem::replace(&mut self.clock_source, source) != source {
            self.status.update(|facts| facts.clock_source = source);
        }
    }

    fn forward(&mut self, unit: Unit, legs: &mut Legs) {
        self.wall.arrive(unit.time, wall_clock());
        self.tell_origin();
        self.count(&unit);
        let starts_gop = match unit.kind {
            MediaKind::Video => unit.keyframe,
            MediaKind::Audio => !self.pipeline.has_video(),
        };
        let unit = Arc::new(unit);
        self.metrics.hop.leave_out(legs.send(&unit, starts_gop));
        self.gop.push(unit, starts_gop);
    }

    fn count(&self, unit: &Unit) {
        let counters = &self.status.counters;
        counters.packets.fetch_add(unit.packets.sizes.len() as u32, Relaxed);
        match unit.kind {
            MediaKind::Video => {
                counters.video_access_units.fetch_add(1, Relaxed);
                self.video_units.inc();
            }
            MediaKind::Audio => {
                counters.audio_access_units.fetch_add(1, Relaxed);
                self.audio_units.inc();
            }
        }
        if unit.keyframe {
            counters.keyframes.fetch_add(1, Relaxed);
            self.metrics.keyframes.inc();
        }
    }

    /// Puts what was not sent on into the metrics.
    pub(super) fn count_dropped(&mut self) {
        let (metrics, counted) = (&self.metrics, &mut self.counted);
        let (old, new) = (counted.dropped, self.pipeline.dropped());
        if old != new {
            metrics.drop(DropReason::Malformed, new.malformed.wrapping_sub(old.malformed));
            metrics.drop(DropReason::Unsupported, new.unsupported.wrapping_sub(old.unsupported));
            metrics.drop(DropReason::Unusable, new.unusable.wrapping_sub(old.unusable));
            let other_tracks = new.other_tracks.wrapping_sub(old.other_tracks);
            metrics.drop(DropReason::OtherTrack, other_tracks);
            if counted.left_out != self.pipeline.left_out_count() {
                self.status.update(|facts| facts.left_out = self.pipeline.left_out());
            }
            self.status.counters.malformed.store(new.malformed, Relaxed);
        }
        let (was, repaired) = (counted.repaired, self.pipeline.repaired());
        metrics.clock_jumps.inc_by(repaired.jumps.wrapping_sub(was.jumps).into());
        metrics.audio_reanchored.inc_by(repaired.reanchored.wrapping_sub(was.reanchored).into());
        let compositions = repaired.compositions.wrapping_sub(was.compositions);
        metrics.compositions_repaired.inc_by(compositions.into());
        self.status.counters.timestamps_repaired.store(repaired.sum(), Relaxed);
        let overflows = self.gop.overflows();
        metrics.gops_overflowed.inc_by(overflows.wrapping_sub(counted.overflows).into());
        *counted =
            Counted { dropped: new, left_out: self.pipeline.left_out_count(), repaired, overflows };
    }
}

/// Two SSRCs that differ (RFC 3550, 8.1).
fn distinct_ssrcs() -> (u32, u32) {
    let video = rand::random();
    loop {
        match rand::random() {
            audio if audio != video => return (video, audio),
            _ => {}
        }
    }
}
