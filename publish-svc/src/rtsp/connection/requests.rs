//! The answers to a reader's requests.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use media::rtsp::{Event, Group, Refusal, RtpInfo, Start, TrackTransport};

use super::{
    Connection, Played, Session,
    waiting::{self, Found, Miss, Ready, SetUp},
};
use crate::{
    ring::Cursor,
    rtsp::{
        playback::Playback,
        rtcp,
        udp::{Ear, UdpPorts},
    },
    stream::{ReaderEntry, Transport},
};

impl Connection {
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Describe { path, query, wishes, .. } => {
                let shared = self.shared.clone();
                self.waiting = Some(waiting::describe(shared, path, query, wishes));
            }
            Event::Setup { path, track, transport, user_agent, .. } => {
                let asked = SetUp { track, transport, user_agent };
                self.waiting = Some(waiting::set_up(self.shared.clone(), path, asked));
            }
            Event::Play { tracks, start } => self.play(tracks, start),
            Event::Paused => {
                if let Some(session) = &mut self.session {
                    session.playing = None;
                    session.casting = None;
                    session.reader.set_playing(false);
                    self.sending.pause();
                }
            }
            Event::TornDown => self.end_session(),
            Event::Rtcp(_, compound) => {
                if let Some(session) = &self.session {
                    rtcp::take(&compound, &session.reader, &self.shared.metrics);
                }
            }
        }
    }

    /// Answers the request that has waited.
    pub(super) fn answer(&mut self, ready: Ready) {
        match ready {
            Ready::Describe(Ok((_, description))) => {
                let local = self.sending.local_addr().map_err(|_| Refusal::Internal);
                let sdp = local.map(|local| description.sdp(local.ip().to_canonical()));
                self.machine.answer_describe(sdp);
            }
            Ready::Describe(Err(Miss::Refused(refusal))) => {
                self.machine.answer_describe(Err(refusal));
            }
            Ready::Describe(Err(Miss::Elsewhere(url))) => {
                self.machine.answer_describe_elsewhere(&url);
            }
            Ready::SetUp(asked, found) => match found.and_then(|found| self.set_up(asked, found)) {
                Ok((ssrc, Some(group))) => self.machine.answer_setup_multicast(ssrc, group),
                Ok((ssrc, None)) => self.machine.answer_setup(Ok(ssrc)),
                Err(refusal) => self.machine.answer_setup(Err(refusal)),
            },
            Ready::Play(tracks, cursor) => self.begin(&tracks, cursor),
        }
    }

    /// PLAY: the answer goes first, and then the media.
    fn begin(&mut self, tracks: &[(usize, TrackTransport)], cursor: Cursor) {
        let Some(session) = &self.session else {
            self.machine.answer_play(Err(Refusal::Internal));
            return;
        };
        let (shared, reader) = (self.shared.clone(), session.reader.entry());
        let (stream, description) = (session.stream.clone(), session.description.clone());
        let fan_out = stream.fan_out.clone();
        let playback = Playback::new(shared, stream, description, (tracks, cursor), &reader);
        self.machine.answer_play(Ok(playback.rtp_info()));
        self.responses();
        self.sending.play(playback, reader);
        if let Some(session) = &mut self.session {
            session.playing = Some(fan_out.join(self.sending.clone(), &self.shared.tasks));
            session.reader.set_playing(true);
        }
    }

    /// Refuses the request that waits, if one does, as the connection ends.
    pub(super) fn abandon(&mut self) {
        if self.waiting.take().is_some() {
            self.machine.answer_describe(Err(Refusal::Unavailable));
            self.machine.answer_setup(Err(Refusal::Unavailable));
            self.machine.answer_play(Err(Refusal::Unavailable));
        }
    }

    fn set_up(&mut self, asked: SetUp, found: Found) -> Result<(u32, Option<Group>), Refusal> {
        let (stream, description) = found;
        let tracks = &description.description.tracks;
        let index = match asked.track {
            Some(index) => index,
            None if tracks.len() == 1 => 0,
            None => return Err(Refusal::AggregateNotAllowed),
        };
        let track = tracks.get(index).ok_or(Refusal::NotFound)?;
        let (ssrc, clock_rate) = (track.ssrc.unwrap_or_default(), track.config.clock_rate());
        let (groups, mut group, mut cast) = (self.shared.multicast.as_ref(), None, None);
        if let (TrackTransport::Multicast, Some(groups)) = (asked.transport, groups) {
            let joined = groups.join(&self.shared, &stream, &description)?;
            group = Some(groups.group(&joined, index)?);
            cast = Some(joined);
        }
        let transport = asked.transport;
        let session = self.session.get_or_insert_with(|| {
            let by = match transport {
                TrackTransport::Interleaved { .. } => Transport::Tcp,
                TrackTransport::Udp { .. } => Transport::Udp,
                TrackTransport::Multicast => Transport::Multicast,
            };
            let entry = ReaderEntry {
                id: self.shared.next_reader_id(),
                peer: self.peer,
                user_agent: asked.user_agent,
                by,
                connected_at: SystemTime::now(),
                playing: AtomicBool::new(false),
                sent: cast.as_ref().map(|cast| cast.sent()).unwrap_or_default(),
                receptions: cast.as_ref().map(|cast| cast.receptions()).unwrap_or_default(),
            };
            let reader = stream.readers.add(entry);
            let ear = Ear { heard: self.heard.clone(), reader: reader.entry() };
            let _member = cast.as_ref().map(|cast| cast.add(ear));
            let (playing, listening, casting) = (None, Vec::new(), None);
            Session { stream, description, reader, playing, listening, cast, casting, _member }
        });
        session.reader.receptions.add_track(index, ssrc, clock_rate);
        if let TrackTransport::Udp { rtcp, .. } = transport {
            let ear = Ear { heard: self.heard.clone(), reader: session.reader.entry() };
            let listening = UdpPorts::listen(&self.shared, rtcp, ear);
            session.listening.push(listening);
        }
        Ok((ssrc, group))
    }

    fn play(&mut self, tracks: Vec<(usize, TrackTransport)>, start: Start) {
        let Some(session) = &mut self.session else {
            self.machine.answer_play(Err(Refusal::Internal));
            return;
        };
        if let Some(cast) = &session.cast {
            if session.casting.is_none() {
                session.casting = Some(cast.play(&self.shared));
                session.reader.set_playing(true);
            }
            // Where the group is just now is not what a reader gets first: that depends on when it joins.
            let info = |&(track, _): &(usize, TrackTransport)| RtpInfo {
                track,
                sequence_number: None,
                rtp_timestamp: None,
            };
            self.machine.answer_play(Ok(tracks.iter().map(info).collect()));
            return;
        }
        if let Some(rtp_info) = self.sending.rtp_info() {
            // Playing already: nothing changes.
            self.machine.answer_play(Ok(rtp_info));
            return;
        }
        let (shared, stream) = (self.shared.clone(), session.stream.clone());
        self.waiting = Some(waiting::play(shared, stream, tracks, start));
    }

    pub(super) fn end_session(&mut self) {
        self.sending.pause();
        if let Some(Session { stream, reader, .. }) = self.session.take() {
            let packets = reader.sent.packets.load(Ordering::Relaxed);
            let skips = reader.sent.skips().count;
            let (stream, by) = (stream.key.clone(), reader.by);
            self.played = Some(Played { stream, by, packets, skips });
        }
    }
}
