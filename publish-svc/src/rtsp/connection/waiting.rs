//! What a request may have to wait for. The connection goes on meanwhile: media flows, and a client that hangs up is noticed.

use std::{pin::Pin, sync::Arc, time::Duration};

use media::{
    StreamKey,
    rtsp::{Refusal, Start, TrackTransport, Wishes},
};
use tokio::time::Instant;

use super::Shared;
use crate::{
    demand::{Fetched, Heard},
    ring::Cursor,
    stream::{PublishedStream, ReaderDescription},
};

/// How long PLAY waits for a track of which nothing has come behind the keyframe, so that RTP-Info is whole: `retina` refuses a session in
/// which a track has no `rtptime`. The longest frame of sound that is carried lasts 120 ms (Opus); a track that is silent costs no more.
const FIRST_PACKETS: Duration = Duration::from_millis(200);

/// A request that waits.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Ready> + Send>>;

/// A stream and what readers are told of it.
pub(super) type Found = (Arc<PublishedStream>, Arc<ReaderDescription>);

/// Why a stream is not found.
pub(super) enum Miss {
    /// It is not to be had here.
    Refused(Refusal),
    /// The reader is to ask there: its URL.
    Elsewhere(String),
}

impl From<Refusal> for Miss {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A request that can be answered.
pub(super) enum Ready {
    /// DESCRIBE.
    Describe(Result<Found, Miss>),
    /// SETUP.
    SetUp(SetUp, Result<Found, Refusal>),
    /// PLAY: the tracks, and where the reader starts.
    Play(Vec<(usize, TrackTransport)>, Cursor),
}

/// What SETUP asks for.
pub(super) struct SetUp {
    pub(super) track: Option<usize>,
    pub(super) transport: TrackTransport,
    pub(super) user_agent: String,
}

/// DESCRIBE.
pub(super) fn describe(
    shared: Arc<Shared>,
    path: String,
    query: String,
    wishes: Wishes,
) -> Waiting {
    let wait = wishes.wait.unwrap_or(shared.config.wait_for_publisher);
    Box::pin(async move {
        let found = find(&shared, &path, wait).await.map_err(|miss| match miss {
            Miss::Elsewhere(url) if query.is_empty() => Miss::Elsewhere(format!("{url}/{path}")),
            Miss::Elsewhere(url) => Miss::Elsewhere(format!("{url}/{path}?{query}")),
            Miss::Refused(refusal) => Miss::Refused(refusal),
        });
        Ready::Describe(found)
    })
}

/// SETUP.
pub(super) fn set_up(shared: Arc<Shared>, path: String, asked: SetUp) -> Waiting {
    Box::pin(async move {
        let found = find(&shared, &path, Duration::ZERO).await.map_err(|miss| match miss {
            // DESCRIBE tells where.
            Miss::Elsewhere(_) => Refusal::NotFound,
            Miss::Refused(refusal) => refusal,
        });
        Ready::SetUp(asked, found)
    })
}

/// PLAY.
pub(super) fn play(
    shared: Arc<Shared>,
    stream: Arc<PublishedStream>,
    tracks: Vec<(usize, TrackTransport)>,
    start: Start,
) -> Waiting {
    Box::pin(async move {
        let cursor = place(&shared, &stream, start).await;
        let indices: Vec<_> = tracks.iter().map(|&(index, _)| index).collect();
        let known = stream.ring.first_packets(cursor, &indices);
        // What is silent is played without.
        let _ = tokio::time::timeout(FIRST_PACKETS, known).await;
        Ready::Play(tracks, cursor)
    })
}

/// The stream with its description, which is waited for while the stream is starting; for the stream itself so long as `wait` says.
async fn find(shared: &Shared, path: &str, wait: Duration) -> Result<Found, Miss> {
    let key = StreamKey::parse(path).map_err(|_| Refusal::NotFound)?;
    let until = Instant::now() + wait;
    let stream = match shared.streams.stream(&key) {
        Some(stream) => stream,
        None => get(shared, &key, until, wait.is_zero()).await?,
    };
    let until = until.max(Instant::now() + shared.config.describe_wait);
    let mut description = stream.description.subscribe();
    let known = tokio::select! {
        biased;
        known = description.wait_for(Option::is_some) => known.ok().and_then(|known| known.clone()),
        () = stream.ended.cancelled() => return Err(Refusal::NotFound.into()),
        () = tokio::time::sleep_until(until) => None,
    };
    Ok((stream, known.ok_or(Refusal::Unavailable)?))
}

/// Gets a stream that is not there from where it is; one that is nowhere yet is waited for, unless it is wanted `at_once`.
async fn get(
    shared: &Shared,
    key: &StreamKey,
    until: Instant,
    at_once: bool,
) -> Result<Arc<PublishedStream>, Miss> {
    // What is said from now on is not missed.
    let heard = shared.demand.heard();
    let budget = until.max(Instant::now() + shared.config.describe_wait);
    let fetched = tokio::time::timeout_at(budget, shared.demand.fetch(key)).await;
    let refusal = match fetched.unwrap_or(Fetched::Unavailable) {
        Fetched::Here => return here(shared, key),
        Fetched::Elsewhere(url) => return Err(Miss::Elsewhere(url)),
        Fetched::Nowhere => Refusal::NotFound,
        Fetched::Unavailable => Refusal::Unavailable,
    };
    if at_once { Err(refusal.into()) } else { come(shared, key, until, heard).await }
}

/// A stream that has just come.
fn here(shared: &Shared, key: &StreamKey) -> Result<Arc<PublishedStream>, Miss> {
    shared.streams.stream(key).ok_or(Miss::Refused(Refusal::NotFound))
}

/// Waits for a stream that is nowhere yet.
async fn come(
    shared: &Shared,
    key: &StreamKey,
    until: Instant,
    mut heard: Heard,
) -> Result<Arc<PublishedStream>, Miss> {
    let Ok(_permit) = shared.waiters.try_acquire() else {
        shared.metrics.waiters_refused.inc();
        return Err(Refusal::Unavailable.into());
    };
    let _counted = shared.metrics.wait();
    let mut changes = shared.streams.changes();
    let came = async {
        loop {
            changes.borrow_and_update();
            if let Some(stream) = shared.streams.stream(key) {
                return Ok(stream);
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| Refusal::NotFound)?,
                () = heard.of(key) => match shared.demand.fetch(key).await {
                    Fetched::Here => return here(shared, key),
                    Fetched::Elsewhere(url) => return Err(Miss::Elsewhere(url)),
                    Fetched::Nowhere | Fetched::Unavailable => {}
                },
            }
        }
    };
    tokio::time::timeout_at(until, came).await.unwrap_or(Err(Miss::Refused(Refusal::NotFound)))
}

/// Where a reader starts. The keyframe is waited for as long as DESCRIBE waits; then what is still to come begins with one.
pub(in crate::rtsp) async fn place(
    shared: &Shared,
    stream: &PublishedStream,
    start: Start,
) -> Cursor {
    let edge = stream.ring.live_edge();
    let mut news = stream.ring.news();
    let keyframe = async {
        loop {
            // Taken first, so that no push in between is slept through.
            let seen = stream.ring.live_edge();
            let keyframe = match start {
                Start::LastKeyframe => stream.ring.last_keyframe(),
                Start::NextKeyframe => stream.ring.next_keyframe(edge),
            };
            if let Some(cursor) = keyframe {
                return cursor;
            }
            news.wait(seen).await;
        }
    };
    tokio::select! {
        biased;
        cursor = keyframe => cursor,
        () = tokio::time::sleep(shared.config.describe_wait) => edge,
    }
}
