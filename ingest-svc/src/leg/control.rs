//! The control plane of a leg: lease, sockets, StartStream on the node; again with growing pauses until it is up.
//!
//! | the node answers | then |
//! | --- | --- |
//! | OK | the leg is up |
//! | `PORT_IN_USE` | another port of the lease, at once |
//! | UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED | once more; the third time with another lease |
//! | anything else | once more with another lease |

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use media::sdp::{SessionDescription, TrackDescription};
use proto::v1::{self, stream_control_client::StreamControlClient};
use rand::RngExt;
use registry::{Grant, LeaseId, RegistryError};
use svc_core::{
    error::{Kind, PORT_IN_USE},
    grpc,
};
use tokio::sync::{mpsc, oneshot, watch};
use tonic_types::StatusExt;
use tracing::{Instrument, Span, debug, info, warn};

use super::{
    Announced, Ending, LegConfig, LegEvent,
    carry::{Broken, Carrier},
    socket::LegSockets,
};
use crate::stream::{LegFacts, LegStatus, Track};

/// How long a node may take to answer StartStream: it binds a port, which takes milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to answer StopStream.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The first and the longest pause between attempts, each give or take a half.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Attempts with one lease at a node that does not answer.
const MAX_ATTEMPTS_PER_LEASE: u32 = 3;
/// Ports that are rejected in one attempt before it pauses.
const MAX_REJECTIONS: u32 = 32;
/// What a leg hears and says.
pub(super) struct Signals {
    pub(super) tracks: watch::Receiver<Arc<Announced>>,
    pub(super) lost: mpsc::Receiver<LeaseId>,
    pub(super) events: mpsc::Sender<LegEvent>,
}

/// Why an attempt to bring up a leg failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no leg: {0}")]
    Registry(#[from] RegistryError),
    #[error("node {node_id}, {address}: {source}")]
    Socket { node_id: String, address: SocketAddr, source: std::io::Error },
    #[error("node {node_id} at {url:?}: {message}")]
    Node { node_id: String, url: String, message: String, kind: Kind, port_in_use: bool },
}

/// See the module.
pub(super) struct Control {
    config: LegConfig,
    signals: Signals,
    grant: Option<Grant>,
    /// Failed attempts with the present lease.
    attempts: u32,
    /// The node may know the stream under this lease.
    told: bool,
    /// The span under which the stream comes up first.
    bring_up: Span,
}

/// A leg that is up.
pub(super) struct Established {
    pub(super) sockets: LegSockets,
    pub(super) announced: Arc<Announced>,
    pub(super) status: Arc<LegStatus>,
}

/// Why the task left a leg that was up.
enum Left {
    End(Ending),
    Broken(Broken),
    LeaseLost,
    TracksChanged,
}

impl Control {
    pub(super) fn new(
        config: LegConfig,
        grant: Option<Grant>,
        signals: Signals,
        bring_up: Span,
    ) -> Self {
        Self { config, signals, grant, attempts: 0, told: false, bring_up }
    }

    /// Brings the leg up and carries it, again and again until it is told to end.
    pub(super) async fn run(mut self, mut end: oneshot::Receiver<Ending>) {
        let ending = loop {
            let span = std::mem::replace(&mut self.bring_up, Span::none());
            let established = tokio::select! {
                // An actor that is gone without a word ended by a panic.
                ending = &mut end => break ending.unwrap_or(Ending::StreamEnds),
                established = self.bring_up().instrument(span.clone()) => established,
            };
            match self.carry(established, &mut end, span).await {
                Left::End(ending) => break ending,
                left => self.leave(left).await,
            }
        };
        self.finish(ending).await;
    }

    /// Tries until the leg is up.
    async fn bring_up(&mut self) -> Established {
        let mut pause = PAUSES.0;
        loop {
            let failure = match self.attempt().await {
                Ok(established) => return established,
                Err(failure) => failure,
            };
            self.config.metrics.leg_failures.inc();
            self.config.status.set_problem(&failure.to_string());
            warn!(error = %failure, "a leg cannot be brought up yet");
            self.give_up_lease_after(&failure);
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn attempt(&mut self) -> Result<Established, Failure> {
        let mut rejections = 0;
        loop {
            let grant = self.grant().await?;
            let address = SocketAddr::new(grant.node.info.rtp_address, grant.lease.rtp_port);
            let sockets = LegSockets::connect(self.config.rtp.bind_address, address).await;
            let sockets = sockets.map_err(|source| Failure::Socket {
                node_id: grant.node.info.id.clone(),
                address,
                source,
            })?;
            let announced = self.signals.tracks.borrow_and_update().clone();
            self.told = true;
            match self.start_on_node(&grant, &sockets, &announced.tracks).await {
                Ok(()) => return Ok(self.established(grant, sockets, announced)),
                Err(Failure::Node { port_in_use: true, .. }) if rejections < MAX_REJECTIONS => {
                    rejections += 1;
                    self.config.metrics.ports_rejected.inc();
                    debug!(%address, "the node could not bind the port");
                    self.grant = Some(self.config.keeper.reject(&grant.lease.id).await?);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn grant(&mut self) -> Result<Grant, RegistryError> {
        if let Some(grant) = &self.grant {
            return Ok(grant.clone());
        }
        let grant = self.config.keeper.allocate(&self.config.key, None).await?;
        self.attempts = 0;
        self.grant = Some(grant.clone());
        Ok(grant)
    }

    async fn start_on_node(
        &self,
        grant: &Grant,
        sockets: &LegSockets,
        tracks: &[Track],
    ) -> Result<(), Failure> {
        let description = SessionDescription {
            name: self.config.key.as_str().to_owned(),
            source_address: sockets.local_ip().ok(),
            tracks: tracks.iter().map(|track| self.describe(track)).collect(),
        };
        let request = v1::StartStreamRequest {
            stream_key: self.config.key.as_str().to_owned(),
            session_description: description.to_leg_sdp(sockets.rtp_address()),
            lease: Some(registry::lease_to_proto(grant.lease.clone())),
            source_url: String::new(),
        };
        let url = &grant.node.info.grpc_url;
        let failure = |kind, message: String, port_in_use| Failure::Node {
            node_id: grant.node.info.id.clone(),
            url: url.clone(),
            message,
            kind,
            port_in_use,
        };
        let channel = grpc::channel(url)
            .map_err(|error| failure(Kind::InvalidArgument, error.to_string(), false))?;
        let mut request = tonic::Request::new(request);
        request.set_timeout(START_TIMEOUT);
        let mut client = StreamControlClient::new(channel);
        match tokio::time::timeout(START_TIMEOUT, client.start_stream(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => {
                let info = status.get_details_error_info();
                let port_in_use = info.is_some_and(|info| info.reason == PORT_IN_USE);
                Err(failure(Kind::from_code(status.code()), status.message().into(), port_in_use))
            }
            Err(_) => {
                Err(failure(Kind::DeadlineExceeded, "no answer to StartStream".into(), false))
            }
        }
    }

    fn describe(&self, track: &Track) -> TrackDescription {
        TrackDescription {
            config: track.config.clone(),
            payload_type: track.identity.payload_type,
            ssrc: Some(track.identity.ssrc),
            cname: Some(self.config.cname.clone()),
        }
    }

    fn established(
        &mut self,
        grant: Grant,
        sockets: LegSockets,
        announced: Arc<Announced>,
    ) -> Established {
        self.attempts = 0;
        let status = Arc::new(LegStatus::default());
        status.established.store(true, Relaxed);
        self.config.metrics.legs_established.inc();
        let rtp_address = sockets.rtp_address();
        info!(node = grant.node.info.id, %rtp_address, epoch = grant.lease.epoch, "a leg is up");
        self.config.status.update(|facts| {
            facts.problem = String::new();
            facts.leg = Some(LegFacts { rtp_address, lease: grant.lease, status: status.clone() });
        });
        Established { sockets, announced, status }
    }

    /// After a failure with which a lease is of no more use.
    fn give_up_lease_after(&mut self, failure: &Failure) {
        self.attempts += 1;
        let keep = match failure {
            // Nothing is held, or whatever is held cannot be told from here.
            Failure::Registry(RegistryError::UnknownLease(_) | RegistryError::Fenced { .. }) => {
                false
            }
            Failure::Registry(_) => true,
            Failure::Socket { .. } => self.attempts < MAX_ATTEMPTS_PER_LEASE,
            Failure::Node { kind, .. } => {
                matches!(kind, Kind::Unavailable | Kind::DeadlineExceeded | Kind::Aborted)
                    && self.attempts < MAX_ATTEMPTS_PER_LEASE
            }
        };
        if !keep {
            self.release();
        }
    }

    async fn carry(
        &mut self,
        up: Established,
        end: &mut oneshot::Receiver<Ending>,
        bring_up: Span,
    ) -> Left {
        let (reply, backlog) = oneshot::channel();
        let ready = self.signals.events.send(LegEvent::Ready(reply));
        let backlog = async { ready.await.ok().and(backlog.await.ok()) };
        let backlog = tokio::select! {
            ending = &mut *end => return Left::End(ending.unwrap_or(Ending::StreamEnds)),
            backlog = backlog => backlog,
        };
        let Some(backlog) = backlog else { return Left::Broken(Broken::StreamGone) };
        let lease = self.grant.as_ref().map(|grant| grant.lease.id.clone());
        let (config, signals) = (&self.config, &mut self.signals);
        let _up = Up::new(config);
        let mut carrier = Carrier::new(config, &up, bring_up);
        let left = tokio::select! {
            ending = &mut *end => Left::End(ending.unwrap_or(Ending::StreamEnds)),
            broken = carrier.run(backlog) => Left::Broken(broken),
            () = lease_lost(&mut signals.lost, lease.as_ref()) => Left::LeaseLost,
            () = announced_anew(&mut signals.tracks, up.announced.announcement) => Left::TracksChanged,
        };
        if matches!(left, Left::End(Ending::StreamEnds)) {
            carrier.say_bye();
        }
        up.status.established.store(false, Relaxed);
        left
    }

    /// Gets ready to bring the leg up anew.
    async fn leave(&mut self, left: Left) {
        match left {
            Left::End(_) => {}
            // The lease holds: a node that came back takes it again.
            Left::Broken(broken) => {
                warn!(%broken, "a leg is made anew");
                self.config.status.set_problem(&broken.to_string());
            }
            Left::LeaseLost => {
                warn!("the lease of a leg is lost, it is made anew");
                self.config.status.set_problem("the lease of the leg was lost");
                self.grant = None;
                self.told = false;
            }
            Left::TracksChanged => {
                info!("the tracks changed, the leg is made anew");
                self.stop_on_node().await;
                // The registry says whether the node has released it.
                self.grant = None;
                self.told = false;
            }
        }
    }

    async fn finish(&mut self, ending: Ending) {
        match ending {
            Ending::StreamEnds => self.stop_on_node().await,
            Ending::ProcessEnds => {}
        }
        self.release();
        self.config.status.update(|facts| facts.leg = None);
    }

    fn release(&mut self) {
        if let Some(grant) = self.grant.take() {
            self.config.keeper.release(&grant.lease.id);
        }
        self.told = false;
        self.attempts = 0;
    }

    async fn stop_on_node(&self) {
        let Some(grant) = self.grant.as_ref().filter(|_| self.told) else { return };
        let mut request = tonic::Request::new(v1::StopStreamRequest {
            stream_key: self.config.key.as_str().to_owned(),
            epoch: grant.lease.epoch,
        });
        request.set_timeout(STOP_TIMEOUT);
        let Ok(channel) = grpc::channel(&grant.node.info.grpc_url) else { return };
        let mut client = StreamControlClient::new(channel);
        let stopped = tokio::time::timeout(STOP_TIMEOUT, client.stop_stream(request)).await;
        match stopped {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => debug!(%status, "StopStream on the node"),
            Err(_) => debug!("no answer to StopStream from the node"),
        }
    }
}

/// Counts a leg among those that are up.
struct Up<'a>(&'a LegConfig);

impl<'a> Up<'a> {
    fn new(config: &'a LegConfig) -> Self {
        config.metrics.legs.inc();
        Self(config)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.metrics.legs.dec();
    }
}

/// Completes when `lease` is lost.
async fn lease_lost(lost: &mut mpsc::Receiver<LeaseId>, lease: Option<&LeaseId>) {
    loop {
        match lost.recv().await {
            Some(id) if Some(&id) == lease => return,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Completes when another announcement than `announcement` is there.
async fn announced_anew(tracks: &mut watch::Receiver<Arc<Announced>>, announcement: u32) {
    if tracks.wait_for(|announced| announced.announcement != announcement).await.is_err() {
        std::future::pending().await
    }
}
