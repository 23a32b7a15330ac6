//! What real publishers sent, and what a client of another make does.

use rml_rtmp::{
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
        PublishRequestType,
    },
    time::RtmpTimestamp,
};

use super::*;
use crate::rtmp::wire::RECORDINGS;

/// What a session made of one recording.
#[derive(PartialEq, Debug)]
struct Played {
    events: Vec<Event>,
    said: Vec<String>,
}

/// Plays pieces to a session that accepts each publish.
fn play<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Played {
    let mut session = ServerSession::new(ServerConfig::default());
    let (mut input, mut output, mut events) = (BytesMut::new(), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut asked = true;
        while asked {
            session.handle_input(&mut input).unwrap();
            asked = false;
            while let Some(event) = session.poll_event() {
                if let Event::PublishRequested(request) = &event {
                    session.accept_publish(request.id);
                    asked = true;
                }
                events.push(event);
            }
            while let Some(bytes) = session.poll_output() {
                output.extend_from_slice(&bytes);
            }
        }
    }
    assert!(input.is_empty());
    // S0 to S2 have random bytes.
    let _ = output.split_to(HANDSHAKE_BYTES);
    let mut peer = Peer::new(ServerConfig::default());
    peer.output = output;
    Played { events, said: peer.said() }
}

/// The kinds of the media in order, then messages, bytes and last timestamp of each kind.
fn summary(events: &[Event]) -> (String, [(usize, usize, u32); 3]) {
    let (mut order, mut sums) = (String::new(), [(0, 0, 0); 3]);
    for event in events {
        let Event::Media(media) = event else { continue };
        let (letter, sum) = match media.kind {
            MediaMessageKind::Data => ('d', &mut sums[0]),
            MediaMessageKind::Video => ('v', &mut sums[1]),
            MediaMessageKind::Audio => ('a', &mut sums[2]),
        };
        order.push(letter);
        *sum = (sum.0 + 1, sum.1 + media.payload.len(), media.timestamp_ms);
    }
    (order, sums)
}

/// App, key, query and user agent of the first event, which asks to publish.
fn asked(events: &[Event]) -> [&str; 4] {
    let Some(Event::PublishRequested(request)) = events.first() else { panic!("{events:?}") };
    [&request.app, &request.stream_key, &request.query, &request.user_agent]
}

#[test]
fn each_recording_asks_sends_its_media_and_ends() {
    // Counted by a reader of another make.
    let gstreamer = "dvaavaaaavaaaadavadaaaavaaaavaaaaavaaaaavaaaavaaaaavdaaaaavaav";
    let expected = [
        (
            ["stream", "site/cam1", "token=1", "FMLE/3.0 (compatible; Lavf59.27.100)"],
            "dvavvavaaaaavaaaaavaaaaavaaaavaaaaavaaaaavaaaavaaaaaaaaaaaaaav",
            [(1, 309, 0), (12, 7045, 900), (49, 4273, 1181)],
        ),
        (
            ["live", "hevc", "", "FMLE/3.0 (compatible; Lavf63.1.102)"],
            "dvvvvvvvvvvvv",
            [(1, 199, 0), (12, 8693, 900), (0, 0, 0)],
        ),
        (
            ["stream", "site/b/cam1", "", "LNX 10,0,32,18"],
            gstreamer,
            [(4, 1420, 802), (12, 6150, 938), (46, 3934, 938)],
        ),
        (
            ["stream", "site/b/cam1", "", ""],
            gstreamer,
            [(4, 1420, 801), (12, 6150, 938), (46, 3934, 938)],
        ),
    ];
    for ((name, bytes), (request, order, sums)) in RECORDINGS.into_iter().zip(expected) {
        let Played { events, .. } = play([bytes]);
        assert_eq!(asked(&events), request, "{name}");
        assert_eq!(summary(&events), (order.to_owned(), sums), "{name}");
        // FCUnpublish and deleteStream end it once.
        assert_eq!(events.last(), Some(&Event::PublishEnded), "{name}");
        assert_eq!(events.len(), order.len() + 2, "{name}");
    }
}

#[test]
fn each_recording_is_answered_as_its_publisher_waits_for_it() {
    let answers = |result: &str, key: &str, publish: &str, transactions: [&str; 4]| {
        let [release, fc_publish, create, fc_unpublish] = transactions;
        let connected = "status NetConnection.Connect.Success (Connection succeeded.)";
        let call = |transaction: &str| {
            (!transaction.is_empty()).then(|| format!("@0 _result {transaction} null undefined"))
        };
        let fc = |name, code, key: &str| {
            Some(format!("@0 on{name} 0 null status NetStream.{code} ({key})"))
        };
        let all = [
            Some("window 2500000".to_owned()),
            Some("bandwidth 2500000 limit 2".to_owned()),
            Some("chunk size 4096".to_owned()),
            Some(format!("@0 _result {result} object {connected}")),
            call(release),
            call(fc_publish),
            fc("FCPublish", "Publish.Start", key),
            Some(format!("@0 _result {create} null 1")),
            Some("begin 1".to_owned()),
            Some(format!("@1 onStatus 0 null status NetStream.Publish.Start ({publish})")),
            call(fc_unpublish),
            fc("FCUnpublish", "Unpublish.Success", key),
        ];
        all.into_iter().flatten().collect::<Vec<_>>()
    };
    let expected = [
        answers("1", "cam1?token=1", "site/cam1", ["2", "3", "4", "6"]),
        answers("1", "hevc", "hevc", ["2", "3", "4", "6"]),
        answers("1", "cam1", "site/b/cam1", ["", "", "2", ""]),
        answers("1", "cam1", "site/b/cam1", ["2", "3", "4", "6"]),
    ];
    for ((name, bytes), expected) in RECORDINGS.into_iter().zip(expected) {
        assert_eq!(play([bytes]).said, expected, "{name}");
    }
}

#[test]
fn a_recording_comes_out_the_same_in_every_split_of_its_beginning_and_its_end() {
    for (name, bytes) in RECORDINGS {
        let whole = play([bytes]);
        let ends = [0, 1, 2, 1536, 1537, 1538, HANDSHAKE_BYTES - 1, HANDSHAKE_BYTES];
        let step = if name == "ffmpeg" { 1 } else { 7 };
        let dialog = (HANDSHAKE_BYTES + 1..HANDSHAKE_BYTES + 800).step_by(step);
        let end = bytes.len() - 100..bytes.len();
        for at in ends.into_iter().chain(dialog).chain(end) {
            let (first, second) = bytes.split_at(at);
            assert_eq!(play([first, second]), whole, "{name} split at {at}");
        }
    }
}

#[test]
fn a_recording_comes_out_the_same_byte_by_byte() {
    for (name, bytes) in RECORDINGS {
        for piece in [1, 3, 1000, 1460] {
            assert_eq!(play(bytes.chunks(piece)), play([bytes]), "{name} by {piece}");
        }
    }
}

#[test]
fn a_recording_that_breaks_off_says_no_more_than_was_whole() {
    for (name, bytes) in RECORDINGS {
        let whole = play([bytes]).events;
        for end in (HANDSHAKE_BYTES..bytes.len()).step_by(97) {
            let mut session = ServerSession::new(ServerConfig::default());
            let mut input = BytesMut::from(&bytes[..end]);
            session.handle_input(&mut input).unwrap();
            session.accept_publish(PublishRequestId(1));
            session.handle_input(&mut input).unwrap();
            let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
            assert_eq!(events, whole[..events.len()], "{name} cut at {end}");
            assert!(input.len() < 18);
        }
    }
}

/// What a client of `rml_rtmp` makes of what we said: bytes to send, and its events.
fn split(results: Vec<ClientSessionResult>) -> (Vec<u8>, Vec<ClientSessionEvent>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            ClientSessionResult::OutboundResponse(packet) => bytes.extend(packet.bytes),
            ClientSessionResult::RaisedEvent(event) => events.push(event),
            // Set Peer Bandwidth: it does not do this one.
            ClientSessionResult::UnhandleableMessageReceived(message) => {
                assert_eq!(message.type_id, 6);
            }
        }
    }
    (bytes, events)
}

#[test]
fn a_client_of_rml_rtmp_connects_publishes_and_sends() {
    let mut peer = Peer::new(ServerConfig::default());
    let (mut client, first) = ClientSession::new(ClientSessionConfig::new()).unwrap();
    // Hands what the client says to the session and the answers back, until nobody says anything.
    let exchange = |client: &mut ClientSession, peer: &mut Peer, results| {
        let (mut bytes, mut events) = split(results);
        while !bytes.is_empty() {
            peer.send(&bytes).unwrap();
            while let Some(said) = peer.session.poll_output() {
                peer.output.extend_from_slice(&said);
            }
            let answer = peer.output.split();
            let (more, raised) = split(client.handle_input(&answer).unwrap());
            bytes = more;
            events.extend(raised);
        }
        events
    };
    assert_eq!(exchange(&mut client, &mut peer, first), []);
    let connect = vec![client.request_connection("live".to_owned()).unwrap()];
    let events = exchange(&mut client, &mut peer, connect);
    assert_eq!(events, [ClientSessionEvent::ConnectionRequestAccepted]);

    let publish = client.request_publishing("cam1".to_owned(), PublishRequestType::Live).unwrap();
    assert_eq!(exchange(&mut client, &mut peer, vec![publish]), []);
    let request = peer.request();
    assert_eq!(request.stream_key, "cam1");
    peer.session.accept_publish(request.id);
    let said = peer.session.poll_output().unwrap();
    let (_, events) = split(client.handle_input(&said).unwrap());
    assert!(events.contains(&ClientSessionEvent::PublishRequestAccepted), "{events:?}");

    let payload = Bytes::from(vec![0x17; 10_000]);
    let video = client.publish_video_data(payload.clone(), RtmpTimestamp::new(40), false).unwrap();
    exchange(&mut client, &mut peer, vec![video]);
    let kind = MediaMessageKind::Video;
    let media = MediaMessage { kind, timestamp_ms: 40, payload };
    assert_eq!(peer.events(), [Event::Media(media)]);

    let stop = client.stop_publishing().unwrap();
    exchange(&mut client, &mut peer, stop);
    assert_eq!(peer.events(), [Event::PublishEnded]);
}

#[test]
fn a_client_of_rml_rtmp_understands_a_refusal() {
    let mut peer = Peer::connected("live");
    let (mut client, _) = ClientSession::new(ClientSessionConfig::new()).unwrap();
    peer.publish(1, &[text("cam1")]);
    let id = peer.request().id;
    peer.session.refuse_publish(id, PublishRefusal::BadName, "Taken.");
    let said = peer.session.poll_output().unwrap();
    let (_, events) = split(client.handle_input(&said).unwrap());
    let code = "NetStream.Publish.BadName".to_owned();
    assert_eq!(events, [ClientSessionEvent::UnhandleableOnStatusCode { code }]);
}
