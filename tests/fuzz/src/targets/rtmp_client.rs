//! The client side of an RTMP connection. Input: pace, configuration, then the bytes of a server behind its handshake.

use bytes::BytesMut;
use media::rtmp::{
    ChunkReader, ClientConfig, ClientEvent, ClientSession, Message, RtmpError, RtmpUrl, amf0,
};

use crate::input::{Input, pieces};

/// S0, S1 and S2; C0, C1 and C2 are as long.
const HANDSHAKE_BYTES: usize = 1 + 1536 + 1536;
/// Answers per byte: under a window of one byte each piece, of one byte at the least, is acknowledged by 16; a ping of 7 bytes is
/// answered by 18; an answer of some 20 bytes brings the next call of some 60.
const MAX_ANSWER_FACTOR: usize = 16 + 3;
const ACKNOWLEDGEMENT: u8 = 3;
/// The largest text that is kept of what a server says.
const MAX_REASON_BYTES: usize = 1024;

/// What a session made of its input.
#[derive(PartialEq, Debug)]
struct Conversation {
    events: Vec<ClientEvent>,
    error: Option<RtmpError>,
    /// All but acknowledgements, which are sent once per input.
    said: Vec<Message>,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (pace, config) = (input.u8(), input.u8());
    let config = ClientConfig {
        window_ack_size: [4_000, 9_000, 2_500_000, 0][usize::from(config & 3)],
        max_media_message_bytes: 1 << (10 + (config >> 5)),
    };
    let stream = input.rest();
    let whole = converse(pieces(stream, 0), &config);
    let split = converse(pieces(stream, pace), &config);
    assert_eq!(whole, split, "split by {pace}");
    hold(&whole.events, stream.len());
}

/// The order of the events, and that they hold no more than what came.
fn hold(events: &[ClientEvent], came: usize) {
    let (mut playing, mut ended, mut media_bytes) = (false, false, 0);
    for event in events {
        assert!(!ended, "nothing follows the end");
        match event {
            ClientEvent::Playing => {
                assert!(!playing, "it begins once");
                playing = true;
            }
            ClientEvent::Media(media) => {
                assert!(playing && !media.payload.is_empty());
                media_bytes += media.payload.len();
            }
            ClientEvent::Ended(why) => {
                let text = why.to_string();
                assert!(text.len() < MAX_REASON_BYTES, "{} bytes", text.len());
                assert!(!text.contains(char::is_control), "{text:?}");
                ended = true;
            }
        }
    }
    assert!(media_bytes <= came);
}

fn converse<'a>(pieces: impl Iterator<Item = &'a [u8]>, config: &ClientConfig) -> Conversation {
    let url = RtmpUrl::parse("rtmp://me:hush@host/live/cam1?token=1").expect("a URL");
    let mut session = ClientSession::new(config.clone(), url);
    let mut handshake = vec![0; HANDSHAKE_BYTES];
    handshake[0] = 3;
    let mut input = BytesMut::from(&handshake[..]);
    assert_eq!(session.handle_input(&mut input), Ok(()));
    let mut output = drained(&mut session);
    assert!(output.len() > HANDSHAKE_BYTES && input.is_empty());
    let mut said = output.split_off(HANDSHAKE_BYTES);
    let first = said.len();

    let (mut came, mut error, mut events) = (0, None, vec![]);
    for piece in pieces {
        came += piece.len();
        input.extend_from_slice(piece);
        let result = session.handle_input(&mut input);
        said.extend(drained(&mut session));
        events.extend(std::iter::from_fn(|| session.poll_event()));
        if let Err(e) = result {
            error = Some(e);
            break;
        }
    }
    if error.is_some() {
        assert_eq!(session.handle_input(&mut input), Ok(()), "a closed session takes all");
        assert!(input.is_empty());
    }
    assert!(said.len() <= first + 128 + MAX_ANSWER_FACTOR * came, "{} for {came}", said.len());
    session.end();
    said.extend(drained(&mut session));
    assert_eq!(session.poll_event(), None);
    Conversation { events, error, said: read(&said) }
}

fn drained(session: &mut ClientSession) -> Vec<u8> {
    let mut output = vec![];
    while let Some(bytes) = session.poll_output() {
        assert!(!bytes.is_empty());
        output.extend_from_slice(&bytes);
    }
    output
}

/// Our own output as a server reads it.
fn read(output: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(0, 0);
    let mut input = BytesMut::from(output);
    let mut messages = vec![];
    while let Some(mut message) = reader.read(&mut input).expect("our chunks can be read") {
        match message.type_id {
            ACKNOWLEDGEMENT | 4 | 5 => {}
            20 => {
                let values = amf0::decode(&message.payload).expect("our commands can be read");
                let name = values.first().and_then(amf0::Value::as_str).unwrap_or_default();
                let known = ["connect", "createStream", "play", "deleteStream"];
                assert!(known.contains(&name), "{values:?}");
            }
            other => panic!("a message of type {other}"),
        }
        // Properties of an object stand in any order.
        let mut bytes = message.payload.to_vec();
        bytes.sort_unstable();
        message.payload = bytes.into();
        if message.type_id != ACKNOWLEDGEMENT {
            messages.push(message);
        }
    }
    assert!(input.is_empty(), "our chunks are whole");
    messages
}
