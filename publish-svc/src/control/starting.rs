//! StartStream of what is not there, and of what is.

use std::{
    sync::{Arc, PoisonError, atomic::AtomicBool},
    time::SystemTime,
};

use media::{StreamKey, sdp::SessionDescription};
use registry::Lease;
use svc_core::{
    error::{ApiError, Kind, PORT_IN_USE},
    telemetry,
};

use super::{Control, Wanted, fences::stale};
use crate::{
    feeds::Feeds,
    leg::{BindError, Counters, Leg, LegSpec, LegState, PortPair, StreamStatus},
    stream::PublishedStream,
    streams::{Entry, Started},
};

/// Ports that other programs may hold, one after the other, before a start by hand gives up.
const MAX_REJECTED: usize = 16;

impl Control {
    pub(super) async fn start_new(&self, wanted: Wanted) -> Result<Arc<Entry>, ApiError> {
        let by_hand = wanted.lease.is_none();
        let (lease, ports) = match wanted.lease {
            Some(lease) => {
                let ports = self.bind(lease.rtp_port).await?;
                (lease, ports)
            }
            None => self.take_port(&wanted.key).await?,
        };
        let context = &self.context;
        let tracks = wanted.description.tracks.len();
        let published = Arc::new(PublishedStream::new(wanted.key.clone(), &context.ring, tracks));
        let status = Arc::new(StreamStatus::new(context.streams.changes.clone()));
        let counters = Arc::<Counters>::default();
        let leg = Leg {
            published: published.clone(),
            status: status.clone(),
            counters: counters.clone(),
            cname: context.node_id.as_str().into(),
            metrics: context.metrics.clone(),
        };
        let spec = spec(Some(ports), wanted.description.clone());
        let leg = leg.spawn(context.legs, spec, &context.tasks);
        let (sdp, description) = (wanted.sdp, wanted.description);
        let started = Started { sdp, description, lease, by_hand, orphaned: false }.into();
        let entry = Arc::new(Entry {
            published,
            feeds: Feeds::new(status.clone()),
            status,
            counters,
            leg,
            started_at: SystemTime::now(),
            started,
            given_back: AtomicBool::new(false),
        });
        context.streams.insert(wanted.key, entry.clone());
        if !by_hand {
            context.demand.started(&entry);
        }
        Ok(entry)
    }

    /// Binds a leased port. What the node itself still has there is of a lease that has ended; where media comes on it, that was since nobody
    /// could renew it for a while, and its owner puts it back.
    async fn bind(&self, port: u16) -> Result<PortPair, ApiError> {
        if let Some((key, entry)) = self.context.streams.on_port(port) {
            if entry.status.now().state == LegState::Live {
                tracing::info!(stream = %key, port, "the port is leased anew, and media comes on it");
                let source = std::io::ErrorKind::AddrInUse.into();
                return Err(unbound(&BindError { port, source }));
            }
            tracing::info!(stream = %key, port, "the port is leased anew, its old stream ends");
            self.remove(&key, &entry).await;
        }
        self.context.ports.bind(port).map_err(|error| unbound(&error))
    }

    /// Takes a lease for a stream that is started by hand, and binds its port.
    async fn take_port(&self, key: &StreamKey) -> Result<(Lease, PortPair), ApiError> {
        let keeper = &self.context.keeper;
        let mut grant = keeper.allocate(key, Some(&self.context.node_id)).await?;
        for _ in 0..MAX_REJECTED {
            // Where this node has no port left, the registry moves the lease to another one.
            if grant.lease.node_id != self.context.node_id {
                break;
            }
            let port = grant.lease.rtp_port;
            let problem = match self.context.ports.bind(port) {
                Ok(ports) => return Ok((grant.lease, ports)),
                Err(problem) if problem.is_about_the_port() => problem,
                Err(problem) => {
                    keeper.release(&grant.lease.id);
                    return Err(unbound(&problem));
                }
            };
            tracing::warn!(port, error = %problem.source, "an RTP port is held by another program");
            match keeper.reject(&grant.lease.id).await {
                Ok(next) => grant = next,
                Err(error) => {
                    keeper.release(&grant.lease.id);
                    return Err(error.into());
                }
            }
        }
        keeper.release(&grant.lease.id);
        let message = format!("all RTP ports, or the first {MAX_REJECTED}, are held by others");
        Err(ApiError::reason(Kind::ResourceExhausted, "NO_PORT", message))
    }

    pub(super) async fn start_again(
        &self,
        entry: Arc<Entry>,
        wanted: Wanted,
    ) -> Result<Arc<Entry>, ApiError> {
        let started = entry.started();
        let Some(lease) = wanted.lease else {
            if started.by_hand && started.sdp == wanted.sdp {
                return Ok(entry);
            }
            let problem = "is started with other parameters";
            return Err(ApiError::exists("stream", &wanted.key, problem));
        };
        if started.by_hand {
            let problem = "was started by hand on this node";
            return Err(ApiError::exists("stream", &wanted.key, problem));
        }
        if lease.epoch < started.lease.epoch {
            return Err(stale(lease.epoch, started.lease.epoch));
        }
        if lease == started.lease && wanted.sdp == started.sdp && !started.orphaned {
            return Ok(entry);
        }
        let Some(description) = aligned(&started.description, &wanted.description) else {
            // Other tracks: the readers' descriptions are wrong now, so they have to come back.
            self.remove(&wanted.key, &entry).await;
            return self.start_new(Wanted { lease: Some(lease), ..wanted }).await;
        };
        let ports = if lease.rtp_port == started.lease.rtp_port && !started.orphaned {
            None
        } else {
            Some(self.bind(lease.rtp_port).await?)
        };
        let Some(slot) = entry.leg.slot().await else {
            return Err(ApiError::not_found("stream", &wanted.key));
        };
        if lease.epoch > started.lease.epoch {
            // Whom it fed it fed for its old owner.
            entry.feeds.end_all();
        }
        let done = slot.replace(spec(ports, description.clone()));
        let _ = done.await;
        *entry.started.lock().unwrap_or_else(PoisonError::into_inner) =
            Started { sdp: wanted.sdp, description, lease, by_hand: false, orphaned: false };
        entry.status.touch();
        self.context.demand.started(&entry);
        Ok(entry)
    }
}

/// With `PORT_IN_USE` the port is rejected, and another asked for.
fn unbound(error: &BindError) -> ApiError {
    let message = format!("RTP port {} cannot be bound: {}", error.port, error.source);
    let reason = if error.is_about_the_port() { PORT_IN_USE } else { "BIND_FAILED" };
    ApiError::reason(Kind::FailedPrecondition, reason, message)
}

/// The tracks of `after` in the order in which readers know those of `before`, and behind them those that have come late; `None` where
/// readers cannot go on, since a track is gone or has become another.
pub(super) fn aligned(
    before: &SessionDescription,
    after: &SessionDescription,
) -> Option<SessionDescription> {
    let mut late = after.tracks.clone();
    let mut tracks = Vec::with_capacity(late.len());
    for known in &before.tracks {
        let at = late.iter().position(|track| track.config.follows(&known.config))?;
        tracks.push(late.remove(at));
    }
    tracks.append(&mut late);
    Some(SessionDescription { tracks, ..after.clone() })
}

fn spec(ports: Option<PortPair>, description: SessionDescription) -> LegSpec {
    // The first packet may come long after the call is answered.
    let first_packet = tracing::info_span!(parent: None, "first_rtp_packet");
    telemetry::follow(&first_packet);
    LegSpec { ports, description, first_packet }
}
