//! The server side of an RTSP connection. Input: pace, what the shell answers, the configuration, then the bytes of a client.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use media::rtsp::{
    Event, Refusal, RtpInfo, RtspError, ServerConfig, ServerConnection, TrackTransport,
};

use crate::input::{Input, pieces};

const MAX_EVENTS: usize = 64;
const MAX_OUTPUTS: usize = 32;
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_BODY_BYTES: usize = 64 << 10;
const MAX_TRACKS: usize = 16;
/// The longest answer: RTP-Info with the URL of each track, as it came in a header block.
const MAX_OUTPUT_BYTES: usize = (MAX_TRACKS + 1) * MAX_HEAD_BYTES;
const SDP: &str = "v=0\r\ns=-\r\n";

/// What a connection made of its input.
#[derive(PartialEq, Debug)]
struct Conversation {
    events: Vec<Event>,
    outputs: Vec<Bytes>,
    error: Option<RtspError>,
    wants_close: bool,
    session: Option<String>,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (pace, policy, udp) = (input.u8(), input.u8(), input.u8() & 1 == 0);
    let stream = input.rest();
    let whole = converse(pieces(stream, 0), policy, udp);
    assert_eq!(whole, converse(pieces(stream, pace), policy, udp), "split by {pace}");
    for output in &whole.outputs {
        response(output);
    }
    // The shortest request that is answered, and the shortest interleaved frame.
    assert!(whole.outputs.len() <= stream.len() / 2 && whole.events.len() <= stream.len() / 4 + 1);
    assert_eq!(whole.error.is_some(), whole.wants_close);
}

/// The shell's part: feeds, answers and drains, but only once nothing more is taken.
struct Shell {
    connection: ServerConnection,
    policy: u8,
    sessions: u32,
    asked: u32,
    events: Vec<Event>,
    outputs: Vec<Bytes>,
}

fn converse<'a>(pieces: impl Iterator<Item = &'a [u8]>, policy: u8, udp: bool) -> Conversation {
    let config = ServerConfig {
        server_name: "fuzz".to_owned(),
        session_timeout: Duration::from_secs(60),
        udp_ports: udp.then_some((8000, 8001)),
        multicast: udp,
    };
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut shell = Shell {
        connection: ServerConnection::new(config, at(50_000), at(8554)),
        policy,
        sessions: 0,
        asked: 0,
        events: vec![],
        outputs: vec![],
    };
    let mut input = BytesMut::new();
    let mut error = None;
    for piece in pieces {
        input.extend_from_slice(piece);
        if let Err(e) = shell.feed(&mut input) {
            error = Some(e);
            break;
        }
        let most = MAX_HEAD_BYTES + MAX_BODY_BYTES + 4;
        assert!(input.len() <= most, "{} bytes are left over", input.len());
    }
    Conversation {
        wants_close: shell.connection.wants_close(),
        session: shell.connection.session_id().map(str::to_owned),
        events: shell.events,
        outputs: shell.outputs,
        error,
    }
}

impl Shell {
    /// Feeds until nothing more comes of it.
    fn feed(&mut self, input: &mut BytesMut) -> Result<(), RtspError> {
        loop {
            let sessions = &mut self.sessions;
            let mut new_session_id = || {
                *sessions += 1;
                format!("session{sessions}")
            };
            let result = self.connection.handle_input(input, &mut new_session_id);
            let waits = !self.connection.takes_more();
            self.drain();
            if result.is_err() || !waits {
                return result;
            }
        }
    }

    fn drain(&mut self) {
        let mut came = 0;
        while let Some(event) = self.connection.poll_event() {
            came += 1;
            self.answer(&event);
            self.events.push(event);
        }
        assert!(came <= MAX_EVENTS, "{came} events at once");
        let before = self.outputs.len();
        self.outputs.extend(std::iter::from_fn(|| self.connection.poll_output()));
        let came = self.outputs.len() - before;
        assert!(came <= MAX_OUTPUTS, "{came} answers at once");
    }

    fn answer(&mut self, event: &Event) {
        const REFUSALS: [Refusal; 4] = [
            Refusal::NotFound,
            Refusal::Unavailable,
            Refusal::AggregateNotAllowed,
            Refusal::Internal,
        ];
        self.asked += 1;
        let refused = self.policy >> (self.asked & 7) & 1 == 1;
        let refusal = refused.then(|| REFUSALS[self.asked as usize / 8 % 4]);
        match event {
            Event::Describe { .. } => {
                self.connection.answer_describe(refusal.map_or(Ok(SDP.to_owned()), Err));
            }
            Event::Setup { transport, .. } => {
                if let TrackTransport::Udp { rtp, rtcp } = transport {
                    // RTP goes nowhere else but to the peer.
                    assert!([rtp, rtcp].iter().all(|to| to.ip().is_loopback() && to.port() != 0));
                }
                self.connection.answer_setup(refusal.map_or(Ok(self.asked), Err));
            }
            Event::Play { tracks, .. } => {
                assert!((1..=MAX_TRACKS).contains(&tracks.len()));
                let info = |&(track, _): &(usize, TrackTransport)| RtpInfo {
                    track,
                    sequence_number: Some(1),
                    rtp_timestamp: None,
                };
                let infos = tracks.iter().map(info).collect();
                self.connection.answer_play(refusal.map_or(Ok(infos), Err));
            }
            Event::Paused | Event::TornDown | Event::Rtcp(..) => {}
        }
    }
}

/// An answer is one response, whatever the client put into what is sent back to it.
fn response(output: &[u8]) {
    assert!(output.len() <= MAX_OUTPUT_BYTES, "{} bytes", output.len());
    let text = std::str::from_utf8(output).expect("answers are UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("the header block ends");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("RTSP/1.0 "));
    assert!(status.is_some_and(|s| s[..3].parse().is_ok_and(|code| (200..600).contains(&code))));
    let mut names = vec![];
    for line in lines {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let (name, _) = line.split_once(": ").expect("a header has a name");
        assert!(!names.contains(&name), "{name} twice");
        names.push(name);
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    assert_eq!(length.map_or(Ok(0), str::parse), Ok(body.len()));
}
