//! The one task that owns a stream.
//!
//! | state | publisher comes | publisher goes | `ingest.hold` passes | StopStream |
//! | --- | --- | --- | --- | --- |
//! | WAITING, no leg | the registry grants a leg (or it is refused), then it is let in | armed: WAITING; else gone | | gone |
//! | LIVE | refused, BadName | HELD | | it is disconnected, gone |
//! | HELD, the leg stays | let in at once, goes on where the last one ended | | legs end; armed: WAITING; else gone | legs end, gone |
//!
//! LIVE begins with the first access unit, so that a publisher without media shows as what it is.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use media::{
    StreamKey,
    codec::MediaKind,
    rtmp::{MediaMessage, PublishRefusal},
};
use proto::v1;
use registry::{Grant, LeaseId, LeaseKeeper, RegistryError};
use svc_core::{
    config::{IngestConfig, RtpConfig},
    drain::Shutdown,
    tasks::Tasks,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};
use tracing::{Instrument, Span, info, info_span};

use super::{
    GopCache, Pipeline, PipelineConfig, StreamStatus, TrackIdentity, Unit,
    pipeline::Dropped,
    status::{State, time_to_proto},
};
use crate::{
    leg::{Ending, Leg, LegConfig, LegEvent, wall_clock},
    metrics::{Drop as DropReason, Instruments, Kind, Refused},
    rtmp::{PublisherConnection, PublisherGone},
    streams::Table,
};

/// How long the registry may take to grant a leg before a publisher is refused: encoders give up after 5 s and more.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the bitrate is measured.
const BITRATE_INTERVAL: Duration = Duration::from_secs(1);
/// Payload types of the leg's tracks.
const VIDEO_PAYLOAD_TYPE: u8 = 96;
const AUDIO_PAYLOAD_TYPE: u8 = 97;

/// What all streams of the process share.
#[derive(Clone)]
pub(crate) struct Context {
    /// `[ingest]`
    pub(crate) ingest: IngestConfig,
    /// `[rtp]`
    pub(crate) rtp: RtpConfig,
    /// Leases.
    pub(crate) keeper: LeaseKeeper,
    /// Tasks.
    pub(crate) tasks: Tasks,
    /// Metrics.
    pub(crate) metrics: Instruments,
    /// Shutdown.
    pub(crate) shutdown: Shutdown,
}

/// What a stream is told.
pub(crate) enum Command {
    /// A publisher wants in; the span that its stream comes up under.
    Publish(Box<PublisherConnection>, Span),
    /// The stream stays when it has no publisher.
    Arm,
    /// The stream ends; it is answered as it was last.
    Stop(oneshot::Sender<v1::Stream>),
    /// A lease is lost.
    LeaseLost(LeaseId),
}

/// A publisher that waits for the registry's word.
struct Claim {
    publisher: Box<PublisherConnection>,
    span: Span,
    granted: oneshot::Receiver<Result<Grant, RegistryError>>,
}

/// See the module.
pub(crate) struct Actor {
    context: Context,
    table: Arc<Table>,
    status: Arc<StreamStatus>,
    commands: mpsc::Receiver<Command>,
    armed: bool,
    claim: Option<Claim>,
    publisher: Option<Box<PublisherConnection>>,
    /// A lease without a leg yet.
    grant: Option<Grant>,
    /// The span that the first leg comes up under.
    bring_up: Span,
    media: Media,
    leg: Option<Leg>,
    leg_events: (mpsc::Sender<LegEvent>, mpsc::Receiver<LegEvent>),
    held_until: Option<Instant>,
    bitrate: Bitrate,
}

/// What becomes of the media of a stream; new when the stream begins anew.
struct Media {
    pipeline: Pipeline,
    gop: GopCache,
    cname: String,
    origin: Arc<OnceLock<media::NtpTime>>,
    announced: u32,
    dropped: Dropped,
    discontinuities: (u32, u32),
}

impl Media {
    fn new(context: &Context) -> Self {
        let identity = |payload_type, ssrc| TrackIdentity {
            payload_type,
            ssrc,
            first_sequence_number: rand::random(),
            rtp_origin: rand::random(),
        };
        let (video, audio) = distinct_ssrcs();
        let pipeline = Pipeline::new(PipelineConfig {
            max_packet_size: context.rtp.max_packet_size,
            track_wait: context.ingest.track_wait,
            video: identity(VIDEO_PAYLOAD_TYPE, video),
            audio: identity(AUDIO_PAYLOAD_TYPE, audio),
        });
        Self {
            pipeline,
            gop: GopCache::new(),
            // RFC 7022, 4.2: a short-term persistent CNAME of 96 random bits.
            cname: format!("{:016x}{:08x}", rand::random::<u64>(), rand::random::<u32>()),
            origin: Arc::default(),
            announced: 0,
            dropped: Dropped::default(),
            discontinuities: (0, 0),
        }
    }
}

fn distinct_ssrcs() -> (u32, u32) {
    let video = rand::random();
    loop {
        match rand::random() {
            audio if audio != video => return (video, audio),
            _ => {}
        }
    }
}

/// Measures bits per second.
struct Bitrate {
    bytes: u64,
    since: Instant,
}

impl Actor {
    /// A stream that waits for a publisher.
    pub(crate) fn new(
        context: Context,
        table: Arc<Table>,
        status: Arc<StreamStatus>,
        commands: mpsc::Receiver<Command>,
        armed: bool,
    ) -> Self {
        Self {
            media: Media::new(&context),
            context,
            table,
            status,
            commands,
            armed,
            claim: None,
            publisher: None,
            grant: None,
            bring_up: Span::none(),
            leg: None,
            // One leg, which waits for its answer: 1 would do.
            leg_events: mpsc::channel(4),
            held_until: None,
            bitrate: Bitrate { bytes: 0, since: Instant::now() },
        }
    }

    /// Runs until the stream is gone.
    pub(crate) async fn run(mut self) {
        self.context.metrics.streams.inc();
        let draining = self.context.shutdown.draining().clone();
        let mut batch = Vec::new();
        let stopped = loop {
            if self.is_over() && self.table.remove_if_idle(&self.status, &self.commands) {
                break None;
            }
            let wake_at = self.wake_at();
            tokio::select! {
                () = draining.cancelled() => {
                    self.end("the service is shutting down", Ending::ProcessEnds).await;
                    break None;
                }
                command = self.commands.recv() => match command {
                    Some(Command::Stop(reply)) => break Some(reply),
                    Some(command) => self.command(command).await,
                    None => break None,
                },
                granted = granted(&mut self.claim) => self.claimed(granted).await,
                received = receive(&mut self.publisher, &mut batch) => {
                    self.received(&mut batch);
                    if let Err(gone) = received {
                        self.publisher_gone(&gone).await;
                    }
                }
                Some(LegEvent::Ready(reply)) = self.leg_events.1.recv() => {
                    if let Some(leg) = &mut self.leg {
                        leg.begin(reply, self.media.gop.units());
                        self.media.gop.settle();
                    }
                }
                () = sleep_until(wake_at.unwrap_or_else(Instant::now).into()), if wake_at.is_some() => {
                    self.timeout().await;
                }
            }
        };
        if stopped.is_some() {
            let last = self.status.to_proto();
            self.end("stopped by StopStream", Ending::StreamEnds).await;
            self.table.remove(&self.status);
            if let Some(reply) = stopped {
                let _ = reply.send(last);
            }
        }
        self.table.remove(&self.status);
        self.refuse_the_rest();
        self.context.metrics.streams.dec();
    }

    /// Nothing keeps the stream.
    fn is_over(&self) -> bool {
        let idle = self.publisher.is_none() && self.claim.is_none() && self.held_until.is_none();
        !self.armed && idle
    }

    fn wake_at(&self) -> Option<Instant> {
        let bitrate_at = self.publisher.is_some().then_some(self.bitrate.since + BITRATE_INTERVAL);
        let pipeline_at = self.media.pipeline.poll_timeout();
        [bitrate_at, pipeline_at, self.held_until].into_iter().flatten().min()
    }

    async fn timeout(&mut self) {
        let now = Instant::now();
        self.media.pipeline.handle_timeout(now);
        self.announce();
        let measured = now.duration_since(self.bitrate.since);
        if measured >= BITRATE_INTERVAL {
            let bits = self.bitrate.bytes as f64 * 8.0 / measured.as_secs_f64();
            self.status.counters.bitrate.store(bits as u32, Relaxed);
            self.bitrate = Bitrate { bytes: 0, since: now };
        }
        if self.held_until.is_some_and(|until| until <= now) {
            info!(stream = %self.status.key, "no publisher came back in time, the stream ends");
            self.begin_anew().await;
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Publish(publisher, span) => self.publish(publisher, span),
            Command::Arm => self.armed = true,
            Command::LeaseLost(lease) => self.lease_lost(lease),
            // Answered by `run`, which ends with it.
            Command::Stop(_) => {}
        }
    }

    fn publish(&mut self, publisher: Box<PublisherConnection>, span: Span) {
        if self.publisher.is_some() || self.claim.is_some() {
            let why = "another publisher is live under this stream key";
            self.refuse(publisher, Refused::Live, PublishRefusal::BadName, why.to_owned());
        } else if self.leg.is_some() || self.grant.is_some() {
            self.admit(publisher, span);
        } else {
            self.claim = Some(self.claim_leg(publisher, span));
        }
    }

    /// Asks the registry for a leg, beside the stream's other business.
    fn claim_leg(&self, publisher: Box<PublisherConnection>, span: Span) -> Claim {
        let (answer, granted) = oneshot::channel();
        let (keeper, key) = (self.context.keeper.clone(), self.status.key.clone());
        let claim = async move {
            let claim = tokio::time::timeout(CLAIM_TIMEOUT, keeper.allocate(&key, None)).await;
            let result = claim.unwrap_or_else(|_| {
                let text = format!("no answer within {} s", CLAIM_TIMEOUT.as_secs());
                Err(RegistryError::Unavailable(text))
            });
            if let Err(Ok(unwanted)) = answer.send(result) {
                keeper.release(&unwanted.lease.id);
            }
        };
        self.context.tasks.spawn("claim", claim.instrument(span.clone()));
        Claim { publisher, span, granted }
    }

    async fn claimed(&mut self, (claim, result): (Claim, Result<Grant, RegistryError>)) {
        match result {
            Ok(grant) => {
                self.grant = Some(grant);
                self.admit(claim.publisher, claim.span);
            }
            Err(error @ RegistryError::Owned { .. }) => {
                let text = error.to_string();
                self.refuse(claim.publisher, Refused::Live, PublishRefusal::BadName, text);
            }
            Err(error) => {
                tracing::warn!(stream = %self.status.key, %error, "a publisher is refused");
                let text = error.to_string();
                self.refuse(claim.publisher, Refused::NoLeg, PublishRefusal::Failed, text);
            }
        }
    }

    fn admit(&mut self, mut publisher: Box<PublisherConnection>, span: Span) {
        publisher.accept();
        self.media.pipeline.begin_publisher();
        self.held_until = None;
        self.bring_up = span;
        self.bitrate = Bitrate { bytes: 0, since: Instant::now() };
        self.context.metrics.published.inc();
        self.context.metrics.publishers.inc();
        let request = publisher.request();
        info!(
            stream = %self.status.key, peer = %publisher.peer(), app = request.app,
            user_agent = request.user_agent, "a publisher is let in"
        );
        let shown = v1::Publisher {
            peer_address: publisher.peer().to_string(),
            app: request.app.clone(),
            user_agent: request.user_agent.clone(),
            connected_at: Some(time_to_proto(publisher.connected_at())),
        };
        self.status.update(|facts| facts.publisher = Some(shown));
        self.publisher = Some(publisher);
    }

    fn refuse(
        &self,
        publisher: Box<PublisherConnection>,
        reason: Refused,
        how: PublishRefusal,
        text: String,
    ) {
        self.context.metrics.refuse(reason);
        self.context.tasks.spawn("refuse", async move { publisher.refuse(how, &text).await });
    }

    fn received(&mut self, batch: &mut Vec<MediaMessage>) {
        let now = Instant::now();
        for message in batch.drain(..) {
            self.context.metrics.messages.inc();
            self.context.metrics.media_bytes.inc_by(message.payload.len() as u64);
            self.bitrate.bytes += message.payload.len() as u64;
            self.media.pipeline.handle_message(&message, now);
            while let Some(unit) = self.media.pipeline.poll_unit() {
                self.forward(unit);
            }
        }
        self.announce();
        self.count_dropped();
    }

    fn forward(&mut self, unit: Unit) {
        let _ =
            self.media.origin.get_or_init(|| wall_clock().offset_by_nanos(-unit.time.as_nanos()));
        self.count(&unit);
        let starts_gop = match unit.kind {
            MediaKind::Video => unit.keyframe,
            MediaKind::Audio => !self.media.pipeline.has_video(),
        };
        let unit = Arc::new(unit);
        if let Some(leg) = &mut self.leg
            && !leg.send(&unit, starts_gop)
        {
            self.context.metrics.drop(DropReason::LegBehind, 1);
        }
        self.media.gop.push(unit, starts_gop);
        self.status.enter(State::Live);
    }

    /// Makes the leg when the tracks are known; tells it when there is one more.
    fn announce(&mut self) {
        let announcements = self.media.pipeline.announcements();
        if announcements == self.media.announced {
            return;
        }
        self.media.announced = announcements;
        let tracks = self.media.pipeline.tracks();
        self.status.update(|facts| facts.tracks.clone_from(&tracks));
        if let Some(leg) = &self.leg {
            leg.set_tracks(tracks);
            return;
        }
        let config = LegConfig {
            key: self.status.key.clone(),
            rtp: self.context.rtp.clone(),
            keeper: self.context.keeper.clone(),
            cname: self.media.cname.clone(),
            origin: self.media.origin.clone(),
            status: self.status.clone(),
            metrics: self.context.metrics.clone(),
        };
        let span = std::mem::replace(&mut self.bring_up, Span::none());
        let events = self.leg_events.0.clone();
        let leg =
            Leg::spawn(config, self.grant.take(), tracks, events, (&self.context.tasks, span));
        self.leg = Some(leg);
    }

    fn count(&self, unit: &Unit) {
        let (counters, metrics) = (&self.status.counters, &self.context.metrics);
        let packets = unit.packets.sizes.len() as u32;
        counters.packets.fetch_add(packets, Relaxed);
        match unit.kind {
            MediaKind::Video => {
                counters.video_access_units.fetch_add(1, Relaxed);
                metrics.access_units(Kind::Video).inc();
            }
            MediaKind::Audio => {
                counters.audio_access_units.fetch_add(1, Relaxed);
                metrics.access_units(Kind::Audio).inc();
            }
        }
        if unit.keyframe {
            counters.keyframes.fetch_add(1, Relaxed);
            metrics.keyframes.inc();
        }
    }

    fn count_dropped(&mut self) {
        let metrics = &self.context.metrics;
        let (old, new) = (self.media.dropped, self.media.pipeline.dropped());
        if old != new {
            metrics.drop(DropReason::Malformed, new.malformed.wrapping_sub(old.malformed));
            metrics.drop(DropReason::Unsupported, new.unsupported.wrapping_sub(old.unsupported));
            metrics.drop(DropReason::Unusable, new.unusable.wrapping_sub(old.unusable));
            self.status.counters.malformed.store(new.malformed, Relaxed);
            self.media.dropped = new;
        }
        let (old, new) = (self.media.discontinuities, self.media.pipeline.discontinuities());
        if old != new {
            metrics.clock_jumps.inc_by(new.0.wrapping_sub(old.0).into());
            metrics.audio_reanchored.inc_by(new.1.wrapping_sub(old.1).into());
            self.media.discontinuities = new;
        }
    }

    async fn publisher_gone(&mut self, gone: &PublisherGone) {
        info!(stream = %self.status.key, %gone, "the publisher went away");
        self.forget_publisher();
        if self.leg.is_some() && !self.context.ingest.hold.is_zero() {
            self.held_until = Some(Instant::now() + self.context.ingest.hold);
            self.status.enter(State::Held);
        } else {
            // It never sent anything that could be read.
            self.begin_anew().await;
        }
    }

    /// Drops the publisher's connection, which closes it.
    fn forget_publisher(&mut self) -> Option<Box<PublisherConnection>> {
        let publisher = self.publisher.take()?;
        self.context.metrics.publishers.dec();
        self.status.counters.bitrate.store(0, Relaxed);
        self.status.update(|facts| facts.publisher = None);
        Some(publisher)
    }

    /// Ends the leg and waits for a publisher as if there had been none.
    async fn begin_anew(&mut self) {
        self.held_until = None;
        self.end_leg(Ending::StreamEnds).await;
        self.media = Media::new(&self.context);
        self.status.enter(State::Waiting);
        self.status.update(|facts| {
            facts.tracks.clear();
            facts.problem.clear();
        });
    }

    async fn end_leg(&mut self, how: Ending) {
        if let Some(leg) = self.leg.take() {
            leg.end(how).await;
        }
        if let Some(grant) = self.grant.take() {
            self.context.keeper.release(&grant.lease.id);
        }
    }

    fn lease_lost(&mut self, lease: LeaseId) {
        if let Some(leg) = &self.leg {
            leg.lease_lost(lease);
        } else if self.grant.as_ref().is_some_and(|grant| grant.lease.id == lease) {
            self.grant = None;
        }
    }

    /// Ends all that the stream has.
    async fn end(&mut self, text: &'static str, how: Ending) {
        if let Some(claim) = self.claim.take() {
            let text = text.to_owned();
            self.refuse(claim.publisher, Refused::Ending, PublishRefusal::Failed, text);
        }
        if let Some(publisher) = self.forget_publisher() {
            self.context.tasks.spawn("end_publisher", async move { publisher.end(text).await });
        }
        self.end_leg(how).await;
    }

    /// Answers what came while the stream ended.
    fn refuse_the_rest(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Publish(publisher, _) => {
                    let text = "the stream has just ended".to_owned();
                    self.refuse(publisher, Refused::Ending, PublishRefusal::Failed, text);
                }
                Command::Stop(reply) => drop(reply.send(self.status.to_proto())),
                Command::Arm | Command::LeaseLost(_) => {}
            }
        }
    }
}

/// The registry's word on the claim, if there is one. Cancel safe.
async fn granted(claim: &mut Option<Claim>) -> (Claim, Result<Grant, RegistryError>) {
    let result = match claim {
        Some(claim) => (&mut claim.granted).await,
        None => std::future::pending().await,
    };
    let result =
        result.unwrap_or_else(|_| Err(RegistryError::Unavailable("the claim failed".to_owned())));
    match claim.take() {
        Some(claim) => (claim, result),
        None => std::future::pending().await,
    }
}

/// The next media of the publisher, if there is one. Cancel safe.
async fn receive(
    publisher: &mut Option<Box<PublisherConnection>>,
    batch: &mut Vec<MediaMessage>,
) -> Result<(), PublisherGone> {
    match publisher {
        Some(publisher) => publisher.receive(batch).await,
        None => std::future::pending().await,
    }
}

/// Names the span under which a stream comes up: from the publisher's connect to the first RTP packet.
pub(crate) fn bring_up_span(key: &StreamKey, peer: std::net::SocketAddr) -> Span {
    info_span!("publish", stream = %key, %peer)
}
