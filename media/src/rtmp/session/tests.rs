mod commands;
mod control;
mod media;
mod properties;
mod recordings;

use super::*;
use crate::rtmp::{
    MediaMessageKind,
    amf0::{self, Value},
    wire::{HANDSHAKE_BYTES, amf, message, object, text},
};

/// A peer that speaks chunk by chunk and reads what the session says.
struct Peer {
    session: ServerSession,
    input: BytesMut,
    output: BytesMut,
    reader: ChunkReader,
    chunk_size: usize,
}

impl Peer {
    /// A peer that is through with its handshake.
    fn new(config: ServerConfig) -> Self {
        let mut peer = Self {
            session: ServerSession::new(config),
            input: BytesMut::new(),
            output: BytesMut::new(),
            reader: ChunkReader::new(1 << 20, 0),
            chunk_size: 128,
        };
        peer.send(&handshake()).unwrap();
        assert_eq!(peer.output.len(), HANDSHAKE_BYTES, "S0, S1 and S2");
        peer.output.clear();
        peer
    }

    /// A peer that is connected to an app and has read the answers.
    fn connected(app: &str) -> Self {
        let mut peer = Self::new(ServerConfig::default());
        peer.command(0, &[text("connect"), Value::Number(1.0), object([("app", text(app))])]);
        assert_eq!(peer.said().len(), 4);
        peer
    }

    /// A peer whose publish on message stream 1 was accepted, and who has read the answers.
    fn publishing() -> Self {
        let mut peer = Self::connected("live");
        peer.call("createStream", 2.0, &[]);
        peer.publish(1, &[text("cam1"), text("live")]);
        peer.session.accept_publish(PublishRequestId(1));
        assert_eq!(peer.events().len(), 1);
        assert_eq!(peer.said().len(), 3);
        peer
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), RtmpError> {
        self.input.extend_from_slice(bytes);
        let result = self.session.handle_input(&mut self.input);
        while let Some(bytes) = self.session.poll_output() {
            self.output.extend_from_slice(&bytes);
        }
        result
    }

    /// Sends a message, on a chunk stream of its type.
    fn message(&mut self, type_id: u8, stream_id: u32, payload: &[u8]) -> Result<(), RtmpError> {
        let id = (3 + u32::from(type_id), self.chunk_size);
        self.send(&message(id, type_id, 0, stream_id, payload))
    }

    fn command(&mut self, stream_id: u32, values: &[Value]) {
        self.message(20, stream_id, &amf(values)).unwrap();
    }

    /// A command without command object, on message stream 0.
    fn call(&mut self, name: &str, transaction: f64, arguments: &[Value]) {
        let values = [&[text(name), Value::Number(transaction), Value::Null], arguments].concat();
        self.command(0, &values);
    }

    fn publish(&mut self, stream_id: u32, arguments: &[Value]) {
        let values = [&[text("publish"), Value::Number(0.0), Value::Null], arguments].concat();
        self.command(stream_id, &values);
    }

    /// What the session has said since the last time, a line for each message.
    fn said(&mut self) -> Vec<String> {
        while let Some(bytes) = self.session.poll_output() {
            self.output.extend_from_slice(&bytes);
        }
        let mut lines = Vec::new();
        while let Some(message) = self.reader.read(&mut self.output).unwrap() {
            if message.type_id == 1 {
                self.reader.set_chunk_size(number(&message.payload)).unwrap();
            }
            lines.push(line(&message));
        }
        assert!(self.output.is_empty(), "half a message");
        lines
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// The one event there is, which asks to publish.
    fn request(&mut self) -> PublishRequest {
        match &self.events()[..] {
            [Event::PublishRequested(request)] => (**request).clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// C0, C1 and C2 of the simple handshake.
fn handshake() -> Vec<u8> {
    [&[3][..], &[0; 1536], &[0; 1536]].concat()
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.first_chunk().unwrap())
}

/// A message of the session in words. Text of statuses stands in parentheses.
fn line(message: &Message) -> String {
    let payload = &message.payload[..];
    match (message.type_id, payload) {
        (1, _) => format!("chunk size {}", number(payload)),
        (3, _) => format!("acknowledgement {}", number(payload)),
        (4, [0, 0, rest @ ..]) => format!("begin {}", number(rest)),
        (4, [0, 1, rest @ ..]) => format!("eof {}", number(rest)),
        (4, [0, 6, rest @ ..]) => format!("ping {}", number(rest)),
        (4, [0, 7, rest @ ..]) => format!("pong {}", number(rest)),
        (5, _) => format!("window {}", number(payload)),
        (6, [.., limit]) => format!("bandwidth {} limit {limit}", number(payload)),
        (20, _) => {
            let values = amf0::decode(payload).unwrap();
            let words: Vec<_> = values.iter().map(word).collect();
            format!("@{} {}", message.stream_id, words.join(" "))
        }
        _ => panic!("{message:?}"),
    }
}

fn word(value: &Value) -> String {
    let property = |name| value.property(name).and_then(Value::as_str);
    match (value, property("level"), property("code"), property("description")) {
        (Value::String(text), ..) => text.clone(),
        (Value::Number(number), ..) => number.to_string(),
        (Value::Null, ..) => "null".to_owned(),
        (Value::Undefined, ..) => "undefined".to_owned(),
        (_, Some(level), Some(code), Some(description)) => {
            format!("{level} {code} ({description})")
        }
        _ => "object".to_owned(),
    }
}

#[test]
fn the_handshake_is_answered_however_it_is_split() {
    let bytes = [&handshake()[..], &message((3, 128), 20, 0, 0, &amf(&[text("connect")]))].concat();
    for pieces in [1, 2, 1536, 1537, 3000, HANDSHAKE_BYTES, bytes.len()] {
        let mut session = ServerSession::new(ServerConfig::default());
        let (mut input, mut output) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(pieces) {
            input.extend_from_slice(piece);
            session.handle_input(&mut input).unwrap();
            while let Some(bytes) = session.poll_output() {
                output.extend_from_slice(&bytes);
            }
        }
        assert_eq!(output[0], 3, "S0");
        // S2 echoes C1 (5.2.4), but for the time at which it was read.
        assert_eq!(output[1537..1541], [0; 4], "the time of C1");
        assert_eq!(output[1545..HANDSHAKE_BYTES], [0; 1528], "the random bytes of C1");
        assert!(output.len() > HANDSHAKE_BYTES + 100, "the answer to connect");
        assert!(input.is_empty());
    }
}

#[test]
fn a_client_with_digests_gets_an_answer_that_it_takes() {
    use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
    let mut client = Handshake::new(PeerType::Client);
    let mut session = ServerSession::new(ServerConfig::default());
    let first = client.generate_outbound_p0_and_p1().unwrap();
    session.handle_input(&mut BytesMut::from(&first[..])).unwrap();
    let answer = session.poll_output().unwrap();
    assert_eq!(answer.len(), HANDSHAKE_BYTES);
    assert_ne!(answer[1537..], first[1..], "S2 is signed, not an echo");
    let Ok(HandshakeProcessResult::Completed { response_bytes, remaining_bytes }) =
        client.process_bytes(&answer)
    else {
        panic!("the client is not through")
    };
    assert!(remaining_bytes.is_empty());
    session.handle_input(&mut BytesMut::from(&response_bytes[..])).unwrap();
    session.ping(1);
    assert!(session.poll_output().is_some(), "the handshake is through");
}

#[test]
fn a_c1_that_names_a_version_but_has_no_digest_is_echoed() {
    let c1: Vec<u8> = [&[0; 4][..], &[9, 0, 124, 2], &[0x5A; 1528]].concat();
    let mut session = ServerSession::new(ServerConfig::default());
    session.handle_input(&mut BytesMut::from(&[&[3], &c1[..]].concat()[..])).unwrap();
    let answer = session.poll_output().unwrap();
    assert_eq!(answer[1545..], c1[8..]);
}

#[test]
fn nothing_is_said_before_c0_and_c1_are_there() {
    let mut session = ServerSession::new(ServerConfig::default());
    session.ping(1);
    assert_eq!(session.handle_input(&mut BytesMut::new()), Ok(()));
    assert_eq!(session.poll_output(), None);
    assert_eq!(session.poll_event(), None);
}

#[test]
fn another_version_than_3_is_refused_at_its_first_byte() {
    // RTMPE, TLS and HTTP begin so.
    for first in [6, 8, 0x16, b'G', 0] {
        let mut session = ServerSession::new(ServerConfig::default());
        let refused = session.handle_input(&mut BytesMut::from(&[first][..]));
        assert_eq!(refused, Err(RtmpError::Version(first)));
        assert_eq!(session.poll_output(), None);
        // A closed session takes no more, and holds nothing.
        let mut input = BytesMut::from(&handshake()[..]);
        assert_eq!(session.handle_input(&mut input), Ok(()));
        assert!(input.is_empty());
        assert_eq!(session.poll_output(), None);
    }
}

#[test]
fn a_closed_session_says_nothing_more_and_does_what_no_call_asks() {
    let mut peer = Peer::publishing();
    assert!(peer.message(1, 0, &[0; 4]).is_err());
    peer.session.ping(1);
    peer.session.accept_publish(PublishRequestId(1));
    peer.session.end_publish("over");
    assert_eq!(peer.message(9, 1, &[0x17, 0]), Ok(()));
    assert_eq!(peer.said(), [""; 0]);
    assert_eq!(peer.events(), []);
}

#[test]
fn events_before_an_error_are_kept() {
    let mut peer = Peer::publishing();
    let bytes = [
        message((4, 128), 8, 0, 1, &[0xAF, 0, 0x11, 0x90]),
        message((2, 128), 1, 0, 0, &[0; 4]),
        message((4, 128), 8, 0, 1, &[0xAF, 1]),
    ];
    assert!(peer.send(&bytes.concat()).is_err());
    assert!(matches!(&peer.events()[..], [Event::Media(_)]));
}
