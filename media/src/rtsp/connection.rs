//! The requests of one connection in their order, each with its answer.

mod answers;

use std::{collections::VecDeque, net::SocketAddr};

use bytes::{Bytes, BytesMut};

use super::{
    Event, RtspError, ServerConfig, Wishes,
    codec::{Codec, Frame, Oversize, header},
    message::{
        METHODS, METHODS_OF_INIT, METHODS_OF_PLAYING, Method, Parsed, Request, Response, Status,
        echoable, parse,
    },
    session::{Session, State},
    transport::{Choice, Offer, choose},
    url::{Target, content_base},
};

/// How many events wait before no more input is taken.
const MAX_EVENTS: usize = 64;
/// How many answers wait before no more requests are taken: what a client can pipeline without reading.
const MAX_OUTPUTS: usize = 32;

/// The server side of one RTSP connection. At most one session lives on a connection, and ends with it: an interleaved
/// session belongs to its connection (CVE-2026-41470), and no session id is good on another.
///
/// | state | SETUP | PLAY | PAUSE | TEARDOWN | RFC 2326 |
/// | --- | --- | --- | --- | --- | --- |
/// | Init | → Ready | 455 (454 with an unknown Session) | 455 | 454 | A.2 |
/// | Ready | adds a track | → Playing | stays | → Init | |
/// | Playing | 455 | stays | → Ready | → Init | |
///
/// A request without a Session header means the session of the connection. PLAY, PAUSE and TEARDOWN of one track mean the whole
/// session: its tracks share one place in the stream.
#[derive(Debug)]
pub struct ServerConnection {
    config: ServerConfig,
    peer: SocketAddr,
    codec: Codec,
    session: Option<Session>,
    /// The path of the last DESCRIBE and what it asked for.
    described: Option<(String, Wishes)>,
    pending: Option<Pending>,
    events: VecDeque<Event>,
    outputs: VecDeque<Bytes>,
    wants_close: bool,
}

/// The request that waits for the shell's answer.
#[derive(Debug)]
enum Pending {
    Describe { cseq: String, base: String },
    Setup { cseq: String, track: usize, choice: Choice, url: String },
    Play { cseq: String },
}

/// How a request goes on.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time lives, on the stack; a box would cost an allocation per request"
)]
enum Outcome {
    Answered(Bytes),
    Waits(Pending, Event),
    Refused(Status),
}

impl ServerConnection {
    /// A connection before its first byte; `peer` and `local` are its two ends.
    pub fn new(config: ServerConfig, peer: SocketAddr, _local: SocketAddr) -> Self {
        Self {
            config,
            peer,
            codec: Codec::default(),
            session: None,
            described: None,
            pending: None,
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            wants_close: false,
        }
    }

    /// Takes what has come; leaves in `input` what is not yet whole (bounded). While an event waits for its answer no
    /// further request is read (pipelining keeps its order), nor while many events or outputs have not been taken, so call it
    /// again, with whatever input, after each answer and after taking events and outputs. `new_session_id` is called when a
    /// session is made.
    pub fn handle_input(
        &mut self,
        input: &mut BytesMut,
        new_session_id: &mut dyn FnMut() -> String,
    ) -> Result<(), RtspError> {
        while self.takes_more() {
            match self.codec.next(input) {
                Ok(None) => break,
                Ok(Some(Frame::Interleaved(channel, payload))) => {
                    self.interleaved(channel, payload)
                }
                Ok(Some(Frame::Message(head, body))) => {
                    self.message(&head, &body, new_session_id)?;
                }
                Err(oversize) => return Err(self.oversize(oversize)),
            }
        }
        Ok(())
    }

    /// Whether more input can be taken now; else an answer is waited for, or events or outputs have to be taken first.
    pub fn takes_more(&self) -> bool {
        self.pending.is_none()
            && !self.wants_close
            && self.events.len() < MAX_EVENTS
            && self.outputs.len() < MAX_OUTPUTS
    }

    /// Bytes to send: responses only, whole.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.outputs.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether a session is there, and its id.
    pub fn session_id(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.id.as_str())
    }

    /// Whether an unrecoverable error asks that the connection be closed once the output is written. TEARDOWN does not: clients
    /// go on to another stream on the same connection, or close it themselves.
    pub fn wants_close(&self) -> bool {
        self.wants_close
    }

    fn interleaved(&mut self, channel: u8, payload: Bytes) {
        // Without a session, or on another channel, such as RTP that punches a hole: passed over.
        let track = self.session.as_ref().and_then(|session| session.track_of_rtcp(channel));
        if let Some(track) = track {
            self.events.push_back(Event::Rtcp(track, payload));
        }
    }

    fn oversize(&mut self, oversize: Oversize) -> RtspError {
        let at = self.codec.consumed();
        let (what, head, status) = match oversize {
            Oversize::Head(head) => ("a header block over 16 KiB", head, Status::BadRequest),
            Oversize::Body(head) => ("a body over 64 KiB", head, Status::EntityTooLarge),
        };
        let cseq = header(&head, "cseq").and_then(echoable);
        self.close(status, cseq.as_deref());
        RtspError::Protocol { what, at }
    }

    fn close(&mut self, status: Status, cseq: Option<&str>) {
        let response = self.respond(status, cseq).header("Connection", "close").end();
        self.outputs.push_back(response);
        self.wants_close = true;
    }

    fn message(
        &mut self,
        head: &[u8],
        body: &[u8],
        new_session_id: &mut dyn FnMut() -> String,
    ) -> Result<(), RtspError> {
        match parse(head, body) {
            Parsed::Response => {}
            Parsed::Refused(status, cseq) => {
                let response = self.respond(status, cseq.as_deref()).end();
                self.outputs.push_back(response);
            }
            Parsed::Alien(cseq) => {
                self.close(Status::BadRequest, cseq.as_deref());
                let at = self.codec.consumed().saturating_sub((head.len() + body.len()) as u64);
                return Err(RtspError::Protocol { what: "no RTSP request", at });
            }
            Parsed::Request(request) => match self.request(&request, new_session_id) {
                Outcome::Answered(response) => self.outputs.push_back(response),
                Outcome::Waits(pending, event) => {
                    self.pending = Some(pending);
                    self.events.push_back(event);
                }
                Outcome::Refused(status) => {
                    let response = self.refusal(status, &request);
                    self.outputs.push_back(response);
                }
            },
        }
        Ok(())
    }

    /// The response to a request that is refused, with what helps the client on.
    fn refusal(&self, status: Status, request: &Request) -> Bytes {
        let mut response = self.respond(status, Some(&request.cseq));
        if status == Status::OptionNotSupported {
            let features = request.require.as_deref().unwrap_or_default();
            response = response.header("Unsupported", features);
        }
        if status == Status::MethodNotValidInThisState {
            // RFC 2326, 11.3.6. Of the states with a session, Ready forbids nothing.
            let allowed = if self.session.is_none() { METHODS_OF_INIT } else { METHODS_OF_PLAYING };
            response = response.header("Allow", allowed);
        }
        response.end()
    }

    fn request(
        &mut self,
        request: &Request,
        new_session_id: &mut dyn FnMut() -> String,
    ) -> Outcome {
        match self.check(request) {
            Err(status) => Outcome::Refused(status),
            Ok(target) => self.dispatch(request, target, new_session_id),
        }
    }

    /// What is the same for all methods.
    fn check(&self, request: &Request) -> Result<Target, Status> {
        match request.method {
            Method::Unknown => return Err(Status::NotImplemented),
            Method::NotAllowed => return Err(Status::MethodNotAllowed),
            Method::Options
            | Method::Describe
            | Method::Setup
            | Method::Play
            | Method::Pause
            | Method::Teardown
            | Method::GetParameter
            | Method::SetParameter => {}
        }
        if request.require.is_some() {
            return Err(Status::OptionNotSupported);
        }
        let target = Target::parse(&request.url).map_err(|_| Status::BadRequest)?;
        // `Session: id;timeout=60` is echoed whole by some clients.
        let named = request.session.as_deref().and_then(|session| session.split(';').next());
        if named.is_some_and(|named| Some(named.trim()) != self.session_id()) {
            return Err(Status::SessionNotFound);
        }
        Ok(target)
    }

    fn dispatch(
        &mut self,
        request: &Request,
        target: Target,
        new_session_id: &mut dyn FnMut() -> String,
    ) -> Outcome {
        let cseq = request.cseq.as_str();
        match request.method {
            Method::Options => {
                Outcome::Answered(self.in_session(cseq).header("Public", METHODS).end())
            }
            Method::Describe => self.describe(request, target),
            Method::Setup => self.setup(request, target, new_session_id),
            Method::Play => match &self.session {
                None => Outcome::Refused(Status::MethodNotValidInThisState),
                Some(session) => match session.is_meant(&target) {
                    Ok(()) => Outcome::Waits(
                        Pending::Play { cseq: cseq.to_owned() },
                        session.play(&target),
                    ),
                    Err(status) => Outcome::Refused(status),
                },
            },
            Method::Pause => self.pause(cseq, &target),
            Method::Teardown => self.teardown(cseq, &target),
            Method::SetParameter if request.has_body => {
                Outcome::Refused(Status::ParameterNotUnderstood)
            }
            // Keep-alive; nothing can be asked for.
            Method::GetParameter | Method::SetParameter => {
                Outcome::Answered(self.in_session(cseq).end())
            }
            Method::Unknown => Outcome::Refused(Status::NotImplemented),
            Method::NotAllowed => Outcome::Refused(Status::MethodNotAllowed),
        }
    }

    fn describe(&mut self, request: &Request, target: Target) -> Outcome {
        if target.path.is_empty() {
            return Outcome::Refused(Status::NotFound);
        }
        if !request.accept.as_deref().is_none_or(accepts_sdp) {
            return Outcome::Refused(Status::NotAcceptable);
        }
        let base = content_base(&request.url);
        let wishes = Wishes::parse(&target.query);
        self.described = Some((target.path.clone(), wishes));
        let event = Event::Describe {
            path: target.path,
            query: target.query,
            wishes,
            user_agent: request.user_agent.clone(),
        };
        Outcome::Waits(Pending::Describe { cseq: request.cseq.clone(), base }, event)
    }

    fn setup(
        &mut self,
        request: &Request,
        target: Target,
        new_session_id: &mut dyn FnMut() -> String,
    ) -> Outcome {
        if target.path.is_empty() {
            return Outcome::Refused(Status::NotFound);
        }
        if let Some(Err(status)) = self.session.as_ref().map(|session| session.admits(&target)) {
            return Outcome::Refused(status);
        }
        let Some(transport) = &request.transport else {
            return Outcome::Refused(Status::BadRequest);
        };
        let taken = self.session.as_ref().map(Session::transports).unwrap_or_default();
        let offer = Offer {
            udp_ports: self.config.udp_ports,
            multicast: self.config.multicast,
            peer: self.peer.ip(),
            taken: &taken,
        };
        let Some(choice) = choose(transport, &offer) else {
            return Outcome::Refused(Status::UnsupportedTransport);
        };
        let new_session = self.session.is_none();
        if new_session {
            self.session = Some(Session::new(new_session_id(), target.path.clone()));
        }
        let described = self.described.as_ref().filter(|(path, _)| *path == target.path);
        let described = described.map(|(_, wishes)| *wishes).unwrap_or_default();
        if let Some(session) = &mut self.session {
            session.wish(Wishes::parse(&target.query), described);
        }
        let event = Event::Setup {
            path: target.path,
            query: target.query,
            track: target.track,
            transport: choice.transport,
            new_session,
            user_agent: request.user_agent.clone(),
        };
        let track = target.track.unwrap_or(0);
        let (cseq, url) = (request.cseq.clone(), request.url.clone());
        Outcome::Waits(Pending::Setup { cseq, track, choice, url }, event)
    }

    fn pause(&mut self, cseq: &str, target: &Target) -> Outcome {
        let Some(session) = &mut self.session else {
            return Outcome::Refused(Status::MethodNotValidInThisState);
        };
        if let Err(status) = session.is_meant(target) {
            return Outcome::Refused(status);
        }
        if session.state == State::Playing {
            session.state = State::Ready;
            self.events.push_back(Event::Paused);
        }
        Outcome::Answered(self.in_session(cseq).end())
    }

    fn teardown(&mut self, cseq: &str, target: &Target) -> Outcome {
        let Some(session) = &self.session else { return Outcome::Refused(Status::SessionNotFound) };
        if let Err(status) = session.is_meant(target) {
            return Outcome::Refused(status);
        }
        self.session = None;
        self.events.push_back(Event::TornDown);
        Outcome::Answered(self.respond(Status::Ok, Some(cseq)).end())
    }

    fn respond(&self, status: Status, cseq: Option<&str>) -> Response {
        Response::new(status, cseq, &self.config.server_name)
    }

    /// 200 with the Session header, if there is a session.
    fn in_session(&self, cseq: &str) -> Response {
        let response = self.respond(Status::Ok, Some(cseq));
        match &self.session {
            Some(session) => {
                let timeout = self.config.session_timeout.as_secs().max(1);
                response.header("Session", &format!("{};timeout={timeout}", session.id))
            }
            None => response,
        }
    }
}

/// Whether an Accept header lets an SDP through.
fn accepts_sdp(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(range.as_str(), "application/sdp" | "application/*" | "*/*" | "*")
    })
}

#[cfg(test)]
mod tests;
