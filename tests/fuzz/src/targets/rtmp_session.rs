//! The server side of an RTMP connection. Input: pace, what the shell answers, the configuration, then the bytes of a
//! peer behind its handshake.

use bytes::{Bytes, BytesMut};
use media::rtmp::{
    AdobeAuth, ChunkReader, Event, Message, PublishRefusal, RtmpError, ServerConfig, ServerSession,
    amf0,
};

use crate::input::{Input, pieces};

/// C0, C1 and C2; S0, S1 and S2 are as long.
const HANDSHAKE_BYTES: usize = 1 + 1536 + 1536;
/// Answers per byte: a command of ten bytes is answered by two of less than 200.
const MAX_ANSWER_FACTOR: usize = 48;
const ACKNOWLEDGEMENT: u8 = 3;

/// What a session made of its input.
#[derive(PartialEq, Debug)]
struct Conversation {
    events: Vec<Event>,
    error: Option<RtmpError>,
    /// All but acknowledgements, which are sent once per input.
    answers: Vec<Message>,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (pace, policy, config) = (input.u8(), input.u8(), input.u8());
    let config = ServerConfig {
        chunk_size: 128 << (config & 7),
        window_ack_size: [4_000, 9_000, 2_500_000, 0][usize::from(config >> 3 & 3)],
        max_media_message_bytes: 1 << (10 + (config >> 5)),
        adobe: AdobeAuth { demanded: policy & 0x80 != 0, salt: 1, opaque: 2 },
    };
    let stream = input.rest();
    let whole = converse(pieces(stream, 0), &config, policy);
    let split = converse(pieces(stream, pace), &config, policy);
    assert_eq!(whole, split, "split by {pace}");

    let media = whole.events.iter().map(|event| match event {
        Event::Media(message) => message.payload.len(),
        Event::PublishRequested(_) | Event::PublishEnded => 0,
    });
    assert!(media.sum::<usize>() <= stream.len());
}

/// The shell's part: feeds, drains and answers.
struct Shell {
    session: ServerSession,
    policy: u8,
    publishing: bool,
    events: Vec<Event>,
    output: Vec<u8>,
}

fn converse<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    config: &ServerConfig,
    policy: u8,
) -> Conversation {
    let mut shell = Shell {
        session: ServerSession::new(config.clone()),
        policy,
        publishing: false,
        events: vec![],
        output: vec![],
    };
    let mut handshake = vec![0; HANDSHAKE_BYTES];
    handshake[0] = 3;
    let mut input = BytesMut::from(&handshake[..]);
    assert_eq!(shell.feed(&mut input), Ok(()));
    assert_eq!((shell.output.len(), input.len()), (HANDSHAKE_BYTES, 0));
    shell.output.clear();

    let mut came = 0;
    let mut error = None;
    for piece in pieces {
        came += piece.len();
        input.extend_from_slice(piece);
        if let Err(e) = shell.feed(&mut input) {
            error = Some(e);
            break;
        }
    }
    if error.is_some() {
        assert_eq!(shell.feed(&mut input), Ok(()), "a closed session takes all and says nothing");
        assert!(input.is_empty());
    }
    assert!(shell.output.len() <= 4096 + MAX_ANSWER_FACTOR * came, "{}", shell.output.len());
    shell.session.ping(7);
    shell.session.end_publish("over");
    shell.drain();
    Conversation { events: shell.events, error, answers: answers(&shell.output) }
}

impl Shell {
    fn feed(&mut self, input: &mut BytesMut) -> Result<(), RtmpError> {
        loop {
            let result = self.session.handle_input(input);
            let answered = self.drain();
            if result.is_err() || !answered {
                return result;
            }
        }
    }

    /// Takes what has come out; whether a publish request was among it, and was answered.
    fn drain(&mut self) -> bool {
        let mut answered = false;
        while let Some(event) = self.session.poll_event() {
            match &event {
                Event::PublishRequested(request) => {
                    assert!(!request.stream_key.is_empty());
                    assert!(!self.publishing && !answered, "one publish at a time");
                    answered = true;
                    if self.policy >> (request.id.0 & 7) & 1 == 1 {
                        let why = [PublishRefusal::BadName, PublishRefusal::Denied];
                        let why = why[usize::from(self.policy & 1)];
                        self.session.refuse_publish(request.id, why, &request.stream_key);
                    } else {
                        self.session.accept_publish(request.id);
                        self.publishing = true;
                    }
                }
                Event::Media(message) => {
                    assert!(self.publishing && !message.payload.is_empty());
                }
                Event::PublishEnded => {
                    assert!(self.publishing);
                    self.publishing = false;
                }
            }
            self.events.push(event);
        }
        while let Some(output) = self.session.poll_output() {
            assert!(!output.is_empty());
            self.output.extend_from_slice(&output);
        }
        answered
    }
}

/// Our own output as a client reads it.
fn answers(output: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(0, 0);
    let mut input = BytesMut::from(output);
    let mut messages = vec![];
    while let Some(message) = reader.read(&mut input).expect("our chunks can be read") {
        match message.type_id {
            1 => reader.set_chunk_size(number(&message.payload)).expect("our chunk size can be"),
            ACKNOWLEDGEMENT | 4 | 5 | 6 => {}
            20 => {
                let values = amf0::decode(&message.payload).expect("our commands can be read");
                let name = values.first().and_then(amf0::Value::as_str);
                let known = ["_result", "_error", "onStatus", "onFCPublish", "onFCUnpublish"];
                assert!(known.contains(&name.unwrap_or_default()), "{values:?}");
            }
            other => panic!("a message of type {other}"),
        }
        if message.type_id != ACKNOWLEDGEMENT {
            messages.push(comparable(message));
        }
    }
    assert!(input.is_empty(), "our chunks are whole");
    messages
}

/// Properties of an object stand in any order.
fn comparable(mut message: Message) -> Message {
    let mut bytes = message.payload.to_vec();
    bytes.sort_unstable();
    message.payload = Bytes::from(bytes);
    message
}

fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).unwrap_or_default()
}
