//! The one session of a connection and what its requests may do (RFC 2326, A.2).

use super::{
    Event, RtpInfo, TrackTransport, Wishes, message::Status, transport::Choice, url::Target,
};

/// The tracks of one session; streams have two, the bound is for clients that ask for tracks that are not there.
const MAX_TRACKS: usize = 16;

/// Whether media flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Ready,
    Playing,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    path: String,
    tracks: Vec<Track>,
    pub(super) state: State,
    /// What its requests have asked for.
    wishes: Wishes,
}

#[derive(Debug)]
struct Track {
    index: usize,
    transport: TrackTransport,
    /// The URL by which the client set it up: how it knows the track.
    url: String,
}

impl Session {
    /// A session with no track yet.
    pub(super) fn new(id: String, path: String) -> Self {
        let wishes = Wishes::default();
        Self { id, path, tracks: Vec::new(), state: State::Ready, wishes }
    }

    /// Takes the wishes of SETUP; `described` are those of a DESCRIBE before it. Clients that resolve control URLs as RFC 3986 says lose
    /// the query, so what was said once holds on.
    pub(super) fn wish(&mut self, wishes: Wishes, described: Wishes) {
        self.wishes = wishes.or(self.wishes).or(described);
    }

    /// Whether SETUP of a further track may go on.
    pub(super) fn admits(&self, target: &Target) -> Result<(), Status> {
        if self.state == State::Playing {
            return Err(Status::MethodNotValidInThisState);
        }
        let twice = self.tracks.iter().any(|track| track.index == target.track.unwrap_or(0));
        if target.path != self.path || twice || self.tracks.len() >= MAX_TRACKS {
            return Err(Status::AggregateNotAllowed);
        }
        Ok(())
    }

    /// Whether the URL of PLAY, PAUSE or TEARDOWN means this session: its stream, one of its tracks, or the server as a whole.
    pub(super) fn is_meant(&self, target: &Target) -> Result<(), Status> {
        let path = target.path.is_empty() || target.path == self.path;
        let track = target.track.is_none_or(|n| self.tracks.iter().any(|track| track.index == n));
        if path && track { Ok(()) } else { Err(Status::NotFound) }
    }

    /// Adds a track.
    pub(super) fn add(&mut self, index: usize, choice: &Choice, url: String) {
        self.tracks.push(Track { index, transport: choice.transport, url });
    }

    /// The transports of its tracks.
    pub(super) fn transports(&self) -> Vec<TrackTransport> {
        self.tracks.iter().map(|track| track.transport).collect()
    }

    /// The event of PLAY.
    pub(super) fn play(&self, target: &Target) -> Event {
        Event::Play {
            tracks: self.tracks.iter().map(|t| (t.index, t.transport)).collect(),
            start: Wishes::parse(&target.query).or(self.wishes).start.unwrap_or_default(),
        }
    }

    /// The track whose RTCP comes on `channel`.
    pub(super) fn track_of_rtcp(&self, channel: u8) -> Option<usize> {
        let track = self.tracks.iter().find(|track| match track.transport {
            TrackTransport::Interleaved { rtcp, .. } => rtcp == channel,
            TrackTransport::Udp { .. } | TrackTransport::Multicast => false,
        })?;
        Some(track.index)
    }

    /// The RTP-Info header (RFC 2326, 12.33), with the URLs as the client knows them; empty if nothing is known.
    pub(super) fn rtp_info(&self, infos: &[RtpInfo]) -> String {
        let mut entries = Vec::with_capacity(infos.len());
        for info in infos {
            let Some(track) = self.tracks.iter().find(|track| track.index == info.track) else {
                continue;
            };
            let mut entry = format!("url={}", track.url);
            if let Some(sequence_number) = info.sequence_number {
                entry.push_str(&format!(";seq={sequence_number}"));
            }
            if let Some(rtp_timestamp) = info.rtp_timestamp {
                entry.push_str(&format!(";rtptime={rtp_timestamp}"));
            }
            entries.push(entry);
        }
        entries.join(",")
    }
}
