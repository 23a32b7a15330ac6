//! Another ingest that has the stream which a publisher wants here. Publishers come to any ingest: after a break most likely to another one
//! than before, whose registry entry stands in the way until it expires.
//!
//! | the other ingest | then |
//! | --- | --- |
//! | has a publisher, or is letting one in, or pulls the stream | the publisher is refused |
//! | has none any more (HELD, offline picture), or does not know the stream | it is superseded |
//! | drains | the publisher is let in, as it was asked to come; the owner is superseded when media comes here, and goes on until then |
//! | does not answer in [`PATIENCE`] | it is taken for dead, and superseded |
//! | was called where we are | it was this ingest before it was started anew, and is superseded |
//! | cannot be asked, as it announces no URL, or is a node that was started by hand | the publisher is refused |
//!
//! That one takes a live owner for dead, behind a network that is cut in two, harms nobody but that owner: the registry gives the stream to one of
//! them, under a higher epoch, from which on the nodes refuse the other, whose leases are lost at its next renewal; it then lets its publisher go.

use std::time::Duration;

use media::StreamKey;
use proto::v1::{self, stream_control_client::StreamControlClient};
use registry::{Grant, LeaseKeeper, RegistryError, StreamOwner};
use svc_core::{error::Kind, grpc};
use tracing::{debug, info};

use crate::metrics::{Instruments, Superseded};

/// How long the other ingest may take to answer: a round trip within a cluster, some hundred times.
const PATIENCE: Duration = Duration::from_millis(300);

/// What a claim came to.
pub(super) enum Claimed {
    /// The stream is ours.
    Granted(Box<Grant>),
    /// Its owner drains; its epoch.
    Drains(u64),
}

impl Claimed {
    pub(super) fn granted(grant: Grant) -> Self {
        Self::Granted(Box::new(grant))
    }
}

/// Claims a stream for a publisher; of another owner that is gone, or has nothing of it any more, it is taken over.
pub(super) async fn claim(
    keeper: &LeaseKeeper,
    key: &StreamKey,
    metrics: &Instruments,
) -> Result<Claimed, RegistryError> {
    let refused = match keeper.allocate(key, None).await {
        Err(refused @ RegistryError::Owned { .. }) => refused,
        answer => return answer.map(Claimed::granted),
    };
    let owner = match keeper.lookup(key).await {
        Ok(owner) if owner.owner_id != keeper.owner_id() => owner,
        // It has just ended.
        Ok(_) | Err(RegistryError::UnknownStream(_)) => {
            return keeper.allocate(key, None).await.map(Claimed::granted);
        }
        Err(error) => return Err(error),
    };
    let url = &owner.owner_grpc_url;
    let why = if !url.is_empty() && *url == keeper.announced_at() {
        // It was here before us.
        Some(Superseded::Dead)
    } else {
        gives_way(&owner, key).await
    };
    let Some(why) = why else { return Err(refused) };
    let StreamOwner { owner_id, epoch, .. } = &owner;
    if why == Superseded::Drains {
        info!(stream = %key, owner_id, epoch, "the stream is another ingest's, which drains, until media comes");
        return Ok(Claimed::Drains(*epoch));
    }
    info!(stream = %key, owner_id, epoch, ?why, "the stream of another ingest is taken over");
    take_over(keeper, key, *epoch, (why, metrics)).await.map(Claimed::granted)
}

/// Claims a stream in place of its owner of that epoch.
pub(super) async fn take_over(
    keeper: &LeaseKeeper,
    key: &StreamKey,
    epoch: u64,
    (why, metrics): (Superseded, &Instruments),
) -> Result<Grant, RegistryError> {
    let grant = keeper.supersede(key, epoch).await?;
    metrics.supersede(why);
    Ok(grant)
}

/// Why the stream may be taken from its owner, if it may.
async fn gives_way(owner: &StreamOwner, key: &StreamKey) -> Option<Superseded> {
    if owner.owner_grpc_url.is_empty() {
        return None;
    }
    let channel = grpc::channel(&owner.owner_grpc_url).ok()?;
    let request = v1::GetStreamRequest { stream_key: key.to_string() };
    let mut client = StreamControlClient::new(channel);
    let asked = grpc::within(PATIENCE, request, |request| client.get_stream(request)).await;
    let status = match asked {
        Ok(answer) => return has_none(&answer.stream.unwrap_or_default()),
        Err(status) => status,
    };
    debug!(stream = %key, %status, "the owner of a stream");
    match Kind::from_code(status.code()) {
        Kind::NotFound => Some(Superseded::Left),
        Kind::Unavailable | Kind::DeadlineExceeded => Some(Superseded::Dead),
        _ => None,
    }
}

/// Why a stream that its owner knows may be taken over, if it may.
fn has_none(stream: &v1::Stream) -> Option<Superseded> {
    let of_a_node = !stream.rtsp_url.is_empty();
    let held = stream.state() == v1::StreamState::Held || stream.offline_picture;
    if stream.draining {
        return Some(Superseded::Drains);
    }
    // One that waits lets a publisher in just now: it would have no claim else.
    let has_publisher = stream.publisher.is_some() || stream.pull.is_some() || !held;
    (!of_a_node && !has_publisher).then_some(Superseded::Left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_gives_way_without_a_publisher_or_when_it_drains() {
        use v1::StreamState::{Held, Live, Waiting};
        let stream =
            |state: v1::StreamState| v1::Stream { state: state.into(), ..Default::default() };
        let publisher = Some(v1::Publisher::default());
        let live = v1::Stream { publisher: publisher.clone(), ..stream(Live) };
        for (stream, gives_way) in [
            (live.clone(), None),
            (v1::Stream { publisher, ..stream(Waiting) }, None),
            (stream(Waiting), None),
            (stream(Held), Some(Superseded::Left)),
            (v1::Stream { offline_picture: true, ..stream(Waiting) }, Some(Superseded::Left)),
            (v1::Stream { pull: Some(v1::Pull::default()), ..stream(Held) }, None),
            (v1::Stream { rtsp_url: "rtsp://n/a".into(), ..stream(Held) }, None),
            (v1::Stream { draining: true, ..live }, Some(Superseded::Drains)),
        ] {
            assert_eq!(has_none(&stream), gives_way, "{stream:?}");
        }
    }
}
