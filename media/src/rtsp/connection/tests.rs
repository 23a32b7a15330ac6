//! Scripted dialogs: bytes in, bytes and events out, with a small shell that answers as a server of one stream would.

mod dialogs;
mod input;
mod odd;
mod states;
mod statuses;
mod wishes;

use std::time::Duration;

use super::*;
use crate::rtsp::{Refusal, RtpInfo, Start, TrackTransport};

/// The only stream that the shell serves; it has two tracks.
const CAM: &str = "rtsp://192.0.2.1:8554/cam";
const SDP: &str = "v=0\r\ns=cam\r\n";
/// The SSRC of track 0; track 1 has the next.
const SSRC: u32 = 0xA0;
const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1";
const TCP_2: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=2-3";
const UDP: &str = "Transport: RTP/AVP;unicast;client_port=4000-4001";

/// A reader and the connection that serves it.
struct Reader {
    server: ServerConnection,
    input: BytesMut,
    /// Outputs as they came.
    outputs: Vec<String>,
    events: Vec<Event>,
    error: Option<RtspError>,
    cseq: u32,
    sessions: u32,
    /// Session ids begin with it.
    name: char,
}

/// A response taken apart.
#[derive(Debug)]
struct Answer(String);

impl Answer {
    /// Code and reason.
    fn status(&self) -> &str {
        let line = self.0.lines().next().unwrap();
        line.strip_prefix("RTSP/1.0 ").unwrap_or_else(|| panic!("no response: {}", self.0))
    }

    fn code(&self) -> u16 {
        self.status()[..3].parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.0.split("\r\n").skip(1).take_while(|line| !line.is_empty());
        headers.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").unwrap().1
    }
}

fn config() -> ServerConfig {
    ServerConfig {
        server_name: "test".into(),
        session_timeout: Duration::from_secs(60),
        udp_ports: Some((8000, 8001)),
        multicast: false,
    }
}

fn server_with(config: ServerConfig) -> ServerConnection {
    let peer = SocketAddr::from(([10, 0, 0, 9], 50_000));
    ServerConnection::new(config, peer, SocketAddr::from(([192, 0, 2, 1], 8554)))
}

fn message(method: &str, url: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {url} RTSP/1.0\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text + "\r\n" + body
}

/// An interleaved frame.
fn frame(channel: u8, payload: &[u8]) -> Vec<u8> {
    [&[b'$', channel], &(payload.len() as u16).to_be_bytes()[..], payload].concat()
}

impl Reader {
    fn new() -> Self {
        Self::of(server_with(config()), 's')
    }

    fn of(server: ServerConnection, name: char) -> Self {
        Self {
            server,
            input: BytesMut::new(),
            outputs: vec![],
            events: vec![],
            error: None,
            cseq: 0,
            sessions: 0,
            name,
        }
    }

    /// A reader that has set up track 0 of two over TCP, as session `s1`.
    fn ready() -> Self {
        let mut reader = Self::new();
        assert_eq!(reader.setup(0, TCP).code(), 200);
        reader
    }

    fn playing() -> Self {
        let mut reader = Self::ready();
        assert_eq!(reader.ask("PLAY", CAM, &[]).code(), 200);
        reader
    }

    /// Gives bytes to the server, answers what it asks, and takes what it says, as the shell does.
    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let before = self.input.len();
            let (name, sessions) = (self.name, &mut self.sessions);
            let read = self.server.handle_input(&mut self.input, &mut || {
                *sessions += 1;
                format!("{name}{sessions}")
            });
            let events: Vec<_> = std::iter::from_fn(|| self.server.poll_event()).collect();
            events.iter().for_each(|event| self.answer(event));
            let outputs = std::iter::from_fn(|| self.server.poll_output());
            self.outputs.extend(outputs.map(|bytes| String::from_utf8(bytes.into()).unwrap()));
            let still = events.is_empty() && self.input.len() == before;
            self.events.extend(events);
            if let Err(error) = read {
                assert_eq!(self.error.replace(error), None, "an error comes once");
            }
            if still {
                return;
            }
        }
    }

    fn answer(&mut self, event: &Event) {
        match event {
            Event::Describe { path, query, .. } if path == "moved" => {
                let url = format!("rtsp://other:8554/moved?{query}");
                self.server.answer_describe_elsewhere(&url);
            }
            Event::Describe { path, .. } => self.server.answer_describe(match path.as_str() {
                "cam" => Ok(SDP.into()),
                "starting" => Err(Refusal::Unavailable),
                _ => Err(Refusal::NotFound),
            }),
            Event::Setup { path, track, .. } => {
                self.server.answer_setup(match (path.as_str(), track) {
                    ("cam", Some(track @ 0..16)) => Ok(SSRC + *track as u32),
                    ("cam", None) => Err(Refusal::AggregateNotAllowed),
                    ("full", _) => Err(Refusal::NotEnoughBandwidth),
                    ("broken", _) => Err(Refusal::Internal),
                    _ => Err(Refusal::NotFound),
                });
            }
            Event::Play { tracks, .. } => {
                let infos = tracks.iter().map(|&(track, _)| RtpInfo {
                    track,
                    sequence_number: Some(100 + track as u16),
                    rtp_timestamp: Some(9000),
                });
                self.server.answer_play(Ok(infos.collect()));
            }
            Event::Paused | Event::TornDown | Event::Rtcp(..) => {}
        }
    }

    /// The answer to bytes that make one request.
    fn say(&mut self, text: &str) -> Answer {
        let before = self.outputs.len();
        self.feed(text.as_bytes());
        assert_eq!(self.outputs.len(), before + 1, "one answer to {text}");
        Answer(self.outputs[before].clone())
    }

    /// The answer to a request with the next CSeq, which has to come back whatever the status.
    fn ask(&mut self, method: &str, url: &str, headers: &[&str]) -> Answer {
        self.ask_with_body(method, url, headers, "")
    }

    fn ask_with_body(&mut self, method: &str, url: &str, headers: &[&str], body: &str) -> Answer {
        self.cseq += 1;
        let cseq = format!("CSeq: {}", self.cseq);
        let answer = self.say(&message(method, url, &[&[&cseq[..]], headers].concat(), body));
        assert_eq!(answer.header("CSeq"), Some(&self.cseq.to_string()[..]));
        assert_eq!(answer.header("Server"), Some("test"));
        answer
    }

    fn setup(&mut self, track: usize, transport: &str) -> Answer {
        self.ask("SETUP", &format!("{CAM}/trackID={track}"), &[transport])
    }

    /// The events since the last call.
    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
