//! What nginx-rtmp sent (tests/fixtures/rtmp/README.md).

use super::*;
use crate::rtmp::wire::SERVED;

/// What a session made of one recording, and what it said behind its handshake.
#[derive(PartialEq, Debug)]
struct Played {
    events: Vec<ClientEvent>,
    said: Vec<String>,
}

fn play<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Played {
    let mut remote = Remote::silent(ClientConfig::default(), "rtmp://host/live/cam1?token=1");
    let mut events = Vec::new();
    for piece in pieces {
        remote.send(piece).unwrap();
        events.extend(remote.events());
    }
    assert!(remote.input.is_empty());
    let _ = remote.output.split_to(HANDSHAKE_BYTES);
    Played { events, said: remote.said() }
}

#[test]
fn a_live_stream_of_nginx_is_played_from_its_codec_headers_to_its_end() {
    let [(_, live), _] = SERVED;
    let Played { events, said } = play([live]);
    let asked = ["@0 createStream 2 null", "@1 play 0 null cam1?token=1 -1000", "buffer 1 3000"];
    assert_eq!(said[2..], asked);
    assert_eq!(events.first(), Some(&ClientEvent::Playing));
    assert_eq!(events.last(), Some(&ClientEvent::Ended(PlayEnded::StreamEof)));
    let mut sums = [(0, 0); 3];
    for event in &events[1..events.len() - 1] {
        let ClientEvent::Media(media) = event else { panic!("{event:?}") };
        let sum = &mut sums[media.kind as usize];
        *sum = (sum.0 + 1, sum.1 + media.payload.len());
    }
    // Audio, video, data, as ffmpeg says that it sent them: 15 pictures and their header, 58 frames and theirs.
    assert_eq!(sums, [(59, 3674), (16, 11_618), (2, 411)]);
}

#[test]
fn a_stream_that_nginx_does_not_have_is_not_found() {
    let [_, (_, not_found)] = SERVED;
    let events = play([not_found]).events;
    let [ClientEvent::Ended(PlayEnded::NotFound(reason))] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(reason.to_string(), "NetStream.Play.StreamNotFound (No such stream)");
}

#[test]
fn a_recording_comes_out_the_same_in_every_split_of_its_beginning_and_its_end() {
    for (name, bytes) in SERVED {
        let whole = play([bytes]);
        let handshake = [0, 1, 2, 1536, 1537, 1538, HANDSHAKE_BYTES - 1, HANDSHAKE_BYTES];
        // Commands, metadata and codec headers.
        let dialog = HANDSHAKE_BYTES + 1..bytes.len().min(HANDSHAKE_BYTES + 900);
        let end = bytes.len() - 100..bytes.len();
        for at in handshake.into_iter().chain(dialog).chain(end) {
            let (first, second) = bytes.split_at(at);
            assert_eq!(play([first, second]), whole, "{name} split at {at}");
        }
        for piece in [1, 3, 1000] {
            assert_eq!(play(bytes.chunks(piece)), whole, "{name} by {piece}");
        }
    }
}

#[test]
fn a_recording_that_breaks_off_says_no_more_than_was_whole() {
    for (name, bytes) in SERVED {
        let whole = play([bytes]).events;
        let begin = bytes.len().min(HANDSHAKE_BYTES + 500);
        for end in (0..begin).step_by(7).chain((begin..bytes.len()).step_by(31)) {
            let mut session = ClientSession::new(ClientConfig::default(), url("rtmp://h/live/a"));
            let mut input = BytesMut::from(&bytes[..end]);
            session.handle_input(&mut input).unwrap();
            let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
            assert_eq!(events, whole[..events.len()], "{name} cut at {end}");
            assert!(events.len() < whole.len());
            assert!(input.len() < 18);
        }
    }
}
