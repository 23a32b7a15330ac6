//! The shell's answers to the requests that wait for them.

use super::{Pending, ServerConnection};
use crate::rtsp::{Group, Refusal, RtpInfo, message::Status, session::State};

impl ServerConnection {
    /// Answers DESCRIBE with an SDP.
    pub fn answer_describe(&mut self, answer: Result<String, Refusal>) {
        let waiting = self.pending.take_if(|pending| matches!(pending, Pending::Describe { .. }));
        let Some(Pending::Describe { cseq, base }) = waiting else { return };
        let response = match answer {
            Ok(sdp) => self
                .respond(Status::Ok, Some(&cseq))
                .header("Content-Base", &base)
                .header("Cache-Control", "no-cache")
                .sdp(&sdp),
            Err(refusal) => self.respond(status(refusal), Some(&cseq)).end(),
        };
        self.outputs.push_back(response);
    }

    /// Answers DESCRIBE with the URL of the same stream on another server (RFC 2326, 11.2).
    pub fn answer_describe_elsewhere(&mut self, url: &str) {
        let waiting = self.pending.take_if(|pending| matches!(pending, Pending::Describe { .. }));
        let Some(Pending::Describe { cseq, .. }) = waiting else { return };
        let response = self.respond(Status::Moved, Some(&cseq)).header("Location", url).end();
        self.outputs.push_back(response);
    }

    /// Answers SETUP: the SSRC of the track, for the Transport header.
    pub fn answer_setup(&mut self, answer: Result<u32, Refusal>) {
        self.answer_setup_with(answer, None);
    }

    /// Answers SETUP of multicast: the SSRC of the track and its group.
    pub fn answer_setup_multicast(&mut self, ssrc: u32, group: Group) {
        self.answer_setup_with(Ok(ssrc), Some(group));
    }

    fn answer_setup_with(&mut self, answer: Result<u32, Refusal>, group: Option<Group>) {
        let waiting = self.pending.take_if(|pending| matches!(pending, Pending::Setup { .. }));
        let Some(Pending::Setup { cseq, track, choice, url }) = waiting else { return };
        let response = match answer {
            Ok(ssrc) => {
                let transport = choice.header(self.config.udp_ports, group, ssrc);
                if let Some(session) = &mut self.session {
                    session.add(track, &choice, url);
                }
                self.in_session(&cseq).header("Transport", &transport).end()
            }
            Err(refusal) => {
                // A session that has got no track is none.
                self.session.take_if(|session| session.transports().is_empty());
                self.respond(status(refusal), Some(&cseq)).end()
            }
        };
        self.outputs.push_back(response);
    }

    /// Answers PLAY.
    pub fn answer_play(&mut self, answer: Result<Vec<RtpInfo>, Refusal>) {
        let waiting = self.pending.take_if(|pending| matches!(pending, Pending::Play { .. }));
        let Some(Pending::Play { cseq }) = waiting else { return };
        let response = match (answer, &mut self.session) {
            (Ok(infos), Some(session)) => {
                session.state = State::Playing;
                let rtp_info = session.rtp_info(&infos);
                let response = self.in_session(&cseq).header("Range", "npt=now-");
                if rtp_info.is_empty() { response } else { response.header("RTP-Info", &rtp_info) }
                    .end()
            }
            (Ok(_), None) => self.respond(Status::SessionNotFound, Some(&cseq)).end(),
            (Err(refusal), _) => self.respond(status(refusal), Some(&cseq)).end(),
        };
        self.outputs.push_back(response);
    }
}

fn status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NotFound => Status::NotFound,
        Refusal::Unavailable => Status::Unavailable,
        Refusal::NotEnoughBandwidth => Status::NotEnoughBandwidth,
        Refusal::AggregateNotAllowed => Status::AggregateNotAllowed,
        Refusal::Internal => Status::InternalError,
    }
}
