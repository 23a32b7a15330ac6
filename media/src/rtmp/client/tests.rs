mod media;
mod properties;
mod recordings;

use super::{
    commands::{MAX_CODE_BYTES, MAX_DESCRIPTION_BYTES},
    *,
};
use crate::rtmp::{
    ServerConfig, ServerSession,
    amf0::{self, Value},
    chunk::Message,
    wire::{HANDSHAKE_BYTES, amf, message, object, text},
};

/// A server that speaks chunk by chunk and reads what the session says.
struct Remote {
    session: ClientSession,
    input: BytesMut,
    output: BytesMut,
    reader: ChunkReader,
}

fn url(text: &str) -> RtmpUrl {
    RtmpUrl::parse(text).unwrap()
}

impl Remote {
    /// A server that is through with its handshake.
    fn new() -> Self {
        Self::with(ClientConfig::default(), "rtmp://me:hush@host/live/cam1?token=1")
    }

    fn with(config: ClientConfig, text: &str) -> Self {
        let mut remote = Self::silent(config, text);
        remote.send(&handshake()).unwrap();
        assert_eq!(remote.output[0], 3, "C0");
        let _ = remote.output.split_to(HANDSHAKE_BYTES);
        remote
    }

    /// A server that has said nothing.
    fn silent(config: ClientConfig, text: &str) -> Self {
        Self {
            session: ClientSession::new(config, url(text)),
            input: BytesMut::new(),
            output: BytesMut::new(),
            reader: ChunkReader::new(1 << 20, 0),
        }
    }

    /// A server that was asked to play on message stream 1, and has read what was said until then.
    fn asked() -> Self {
        let mut remote = Self::new();
        remote.result(1.0, &[object([("code", text("NetConnection.Connect.Success"))])]);
        remote.result(2.0, &[Value::Number(1.0)]);
        assert_eq!(remote.said().len(), 5);
        remote
    }

    /// A server that plays.
    fn playing() -> Self {
        let mut remote = Self::asked();
        remote.status("status", "NetStream.Play.Start", "");
        assert_eq!(remote.events(), [ClientEvent::Playing]);
        remote
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), RtmpError> {
        self.input.extend_from_slice(bytes);
        let result = self.session.handle_input(&mut self.input);
        self.drain();
        result
    }

    fn drain(&mut self) {
        while let Some(bytes) = self.session.poll_output() {
            self.output.extend_from_slice(&bytes);
        }
    }

    /// Sends a message, on a chunk stream of its type.
    fn message(&mut self, type_id: u8, stream_id: u32, payload: &[u8]) -> Result<(), RtmpError> {
        self.send(&message((3 + u32::from(type_id), 128), type_id, 0, stream_id, payload))
    }

    fn command(&mut self, name: &str, transaction: f64, arguments: &[Value]) {
        let values = [&[text(name), Value::Number(transaction), Value::Null], arguments].concat();
        self.message(20, 0, &amf(&values)).unwrap();
    }

    fn result(&mut self, transaction: f64, arguments: &[Value]) {
        self.command("_result", transaction, arguments);
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        let info = [("level", level), ("code", code), ("description", description)];
        self.command("onStatus", 0.0, &[object(info.map(|(name, value)| (name, text(value))))]);
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// How it ended, if that is all that happened.
    fn ended(&mut self) -> Option<PlayEnded> {
        match &self.events()[..] {
            [ClientEvent::Ended(why)] => Some(why.clone()),
            _ => None,
        }
    }

    /// What the session has said since the last time, a line for each message.
    fn said(&mut self) -> Vec<String> {
        self.drain();
        let messages = std::iter::from_fn(|| self.reader.read(&mut self.output).unwrap());
        let lines = messages.map(|message| line(&message)).collect();
        assert!(self.output.is_empty(), "half a message");
        lines
    }
}

/// S0, S1 and S2 of the simple handshake.
fn handshake() -> Vec<u8> {
    [&[3][..], &[0; 1536], &[0; 1536]].concat()
}

fn line(message: &Message) -> String {
    let payload = &message.payload[..];
    let number = |at: usize| u32::from_be_bytes(*payload[at..].first_chunk().unwrap());
    match (message.type_id, payload) {
        (3, _) => format!("acknowledgement {}", number(0)),
        (4, [0, 3, ..]) => format!("buffer {} {}", number(2), number(6)),
        (4, [0, 7, ..]) => format!("pong {}", number(2)),
        (5, _) => format!("window {}", number(0)),
        (20, _) => {
            let values = amf0::decode(payload).unwrap();
            let words: Vec<_> = values.iter().map(word).collect();
            format!("@{} {}", message.stream_id, words.join(" "))
        }
        _ => panic!("{message:?}"),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(is) => is.to_string(),
        Value::Null => "null".to_owned(),
        Value::StrictArray(values) => values.iter().map(word).collect::<Vec<_>>().join("+"),
        Value::Object(properties) => {
            let mut words: Vec<_> =
                properties.iter().map(|(name, value)| format!("{name}={}", word(value))).collect();
            words.sort_unstable();
            words.join(" ")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_connects_creates_a_stream_and_asks_for_the_live_stream_of_its_url() {
    let mut remote = Remote::new();
    let connect = "@0 connect 1 app=live audioCodecs=4071 capabilities=15 capsEx=6 \
                   flashVer=LNX 9,0,124,2 fourCcList=avc1+hvc1+av01+vp09+mp4a+Opus+ac-3+.mp3 \
                   fpad=false objectEncoding=0 tcUrl=rtmp://me:hush@host:1935/live \
                   videoCodecs=252 videoFunction=1";
    assert_eq!(remote.said(), ["window 2500000", connect]);
    remote.result(1.0, &[]);
    assert_eq!(remote.said(), ["@0 createStream 2 null"]);
    remote.result(2.0, &[Value::Number(7.0)]);
    assert_eq!(remote.said(), ["@7 play 0 null cam1?token=1 -1000", "buffer 7 3000"]);
    assert_eq!(remote.events(), []);
    remote.status("status", "NetStream.Play.Reset", "");
    remote.status("status", "NetStream.Play.Start", "");
    remote.status("status", "NetStream.Play.Start", "");
    assert_eq!(remote.events(), [ClientEvent::Playing]);
    remote.session.end();
    assert_eq!(remote.said(), ["@0 deleteStream 0 null 7"]);
}

#[test]
fn answers_to_what_was_not_asked_change_nothing() {
    let mut remote = Remote::new();
    remote.said();
    remote.result(2.0, &[Value::Number(1.0)]);
    remote.command("_error", 9.0, &[]);
    remote.command("onBWDone", 0.0, &[]);
    remote.status("status", "NetStream.Play.Stop", "");
    assert_eq!((remote.said(), remote.events()), (vec![], vec![]));
    remote.result(1.0, &[]);
    remote.result(1.0, &[]);
    assert_eq!(remote.said(), ["@0 createStream 2 null"]);
    // An id that is left out, or none, is 1 or 0: it is for the server to know.
    remote.result(2.0, &[]);
    assert_eq!(remote.said()[0], "@1 play 0 null cam1?token=1 -1000");
    remote.command("_error", 2.0, &[]);
    assert_eq!(remote.events(), []);
}

#[test]
fn each_end_has_its_reason() {
    let reason = |code: &str, description: &str| Reason {
        code: code.to_owned(),
        description: description.to_owned(),
    };
    for (level, code, ended) in [
        (
            "error",
            "NetStream.Play.StreamNotFound",
            PlayEnded::NotFound(reason("NetStream.Play.StreamNotFound", "why")),
        ),
        ("status", "NetStream.Play.UnpublishNotify", PlayEnded::Unpublished),
        ("status", "NetStream.Play.Stop", PlayEnded::Stopped),
        ("status", "NetStream.Play.Complete", PlayEnded::Stopped),
        (
            "error",
            "NetStream.Play.Failed",
            PlayEnded::Failed(reason("NetStream.Play.Failed", "why")),
        ),
        ("error", "", PlayEnded::Failed(reason("", "why"))),
    ] {
        for mut remote in [Remote::asked(), Remote::playing()] {
            remote.status(level, code, "why");
            assert_eq!(remote.ended(), Some(ended.clone()), "{code}");
            // Nothing follows, and nothing is held.
            remote.message(9, 1, &[0x17, 0]).unwrap();
            remote.status("status", "NetStream.Play.Start", "");
            remote.session.end();
            assert_eq!((remote.events(), remote.said()), (vec![], vec![]));
            assert!(remote.input.is_empty());
        }
    }
    let mut remote = Remote::playing();
    remote.command("close", 0.0, &[]);
    assert_eq!(remote.ended(), Some(PlayEnded::Closed));
    let mut remote = Remote::playing();
    remote.message(4, 0, &[0, 1, 0, 0, 0, 9]).unwrap();
    assert_eq!(remote.events(), [], "another message stream");
    remote.message(4, 0, &[0, 1, 0, 0, 0, 1]).unwrap();
    assert_eq!(remote.ended(), Some(PlayEnded::StreamEof));
}

#[test]
fn a_refused_call_ends_with_what_the_server_said() {
    let info =
        object([("code", text("NetConnection.Connect.Rejected")), ("description", text("No."))]);
    let expected = "the remote refused: NetConnection.Connect.Rejected (No.)";
    let mut remote = Remote::new();
    remote.command("_error", 1.0, std::slice::from_ref(&info));
    assert_eq!(remote.ended().unwrap().to_string(), expected);
    // The info object in place of the command object.
    let mut remote = Remote::new();
    remote.result(1.0, &[]);
    remote.message(20, 0, &amf(&[text("_error"), Value::Number(2.0), info])).unwrap();
    assert_eq!(remote.ended().unwrap().to_string(), expected);
    let not_found = object([("code", text("NetStream.Play.StreamNotFound"))]);
    let mut remote = Remote::asked();
    remote.command("_error", 0.0, &[not_found]);
    assert!(matches!(remote.ended(), Some(PlayEnded::NotFound(_))));
    let mut remote = Remote::new();
    remote.command("_error", 1.0, &[]);
    assert_eq!(remote.ended().unwrap().to_string(), "the remote refused: no reason given");
}

#[test]
fn what_a_server_says_of_its_reasons_is_cut_to_one_line_and_not_debugged() {
    let mut remote = Remote::asked();
    let long = format!("{}{}", "é".repeat(300), "\u{1b}[31m");
    remote.status("error", &"c".repeat(1000), &format!(" a\r\nb\u{1b}[2J{long}"));
    let Some(PlayEnded::Failed(reason)) = remote.ended() else { panic!("it did not end") };
    assert_eq!(reason.code.len(), MAX_CODE_BYTES);
    assert!(reason.description.len() <= MAX_DESCRIPTION_BYTES);
    assert!(reason.description.starts_with("a  b [2Jé"), "{}", reason.description);
    assert!(!format!("{reason:?}").contains('é'));
}

#[test]
fn our_own_server_shakes_hands_and_says_that_it_plays_nothing() {
    let mut server = ServerSession::new(ServerConfig::default());
    let mut client = ClientSession::new(ClientConfig::default(), url("rtmp://host/live/cam1"));
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    for _ in 0..10 {
        while let Some(bytes) = client.poll_output() {
            to_server.extend_from_slice(&bytes);
        }
        server.handle_input(&mut to_server).unwrap();
        while let Some(bytes) = server.poll_output() {
            to_client.extend_from_slice(&bytes);
        }
        client.handle_input(&mut to_client).unwrap();
    }
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert!(matches!(&events[..], [ClientEvent::Ended(PlayEnded::NotFound(_))]), "{events:?}");
    assert_eq!(server.poll_event(), None);
}

#[test]
fn a_server_of_another_version_is_an_error_at_its_first_byte() {
    for first in [6, 0x15, b'H', 0] {
        let mut session = ClientSession::new(ClientConfig::default(), url("rtmp://host/live/a"));
        let refused = session.handle_input(&mut BytesMut::from(&[first][..]));
        assert_eq!(refused, Err(RtmpError::Version(first)));
        let mut input = BytesMut::from(&handshake()[..]);
        assert_eq!(session.handle_input(&mut input), Ok(()));
        assert!(input.is_empty(), "a closed session holds nothing");
        assert_eq!(session.poll_event(), None);
    }
}

#[test]
fn the_end_before_a_stream_is_there_is_silent() {
    let mut session = ClientSession::new(ClientConfig::default(), url("rtmp://host/live/a"));
    assert_eq!(session.poll_output().unwrap().len(), 1537, "C0 and C1");
    session.end();
    session.handle_input(&mut BytesMut::from(&handshake()[..])).unwrap();
    assert_eq!((session.poll_output(), session.poll_event()), (None, None));
}
