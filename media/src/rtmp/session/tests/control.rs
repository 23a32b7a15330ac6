//! Protocol control (5.4) and user control messages (7.1.7), and what nobody knows.

use super::*;

#[test]
fn a_ping_is_answered_with_its_timestamp() {
    let mut peer = Peer::connected("live");
    peer.message(4, 0, &[0, 6, 0x12, 0x34, 0x56, 0x78]).unwrap();
    peer.message(4, 0, &[0, 6, 0, 0, 0, 1, 9, 9]).unwrap();
    assert_eq!(peer.said(), [format!("pong {}", 0x1234_5678), "pong 1".to_owned()]);
}

#[test]
fn a_ping_of_ours_is_said_and_its_answer_taken_silently() {
    let mut peer = Peer::connected("live");
    peer.session.ping(77);
    assert_eq!(peer.said(), ["ping 77"]);
    peer.message(4, 0, &[0, 7, 0, 0, 0, 77]).unwrap();
    assert_eq!((peer.said(), peer.events()), (vec![], vec![]));
}

#[test]
fn unknown_messages_and_events_are_never_fatal() {
    let mut peer = Peer::publishing();
    // Shared objects (16, 19), ids that are not defined, and control messages.
    for type_id in (0..=255).filter(|id| !matches!(id, 1 | 8 | 9 | 15 | 17 | 18 | 20 | 22)) {
        for payload in [&[][..], &[0], &[1, 2, 3], &[0xFF; 5], &[0xFF; 300]] {
            // On one chunk stream, so that their number is not what fails.
            let id = (3, peer.chunk_size);
            peer.send(&message(id, type_id, 0, 1, payload)).unwrap();
        }
        peer.said();
        assert_eq!(peer.events(), []);
    }
    // User control events: SWF verification (26) and its answer (27), buffer events, unknown ones.
    for event in (0..=40).chain([255, 0x0600, 0xFFFF]).filter(|event| *event != 6) {
        for rest in [&[][..], &[0; 4], &[0; 8], &[1; 42]] {
            let payload = [&u16::to_be_bytes(event)[..], rest].concat();
            peer.message(4, 0, &payload).unwrap();
        }
    }
    peer.message(4, 0, &[0, 6, 1, 2, 3]).unwrap();
    assert_eq!((peer.said(), peer.events()), (vec![], vec![]));
    peer.message(8, 1, &[0xAF, 1]).unwrap();
    assert_eq!(peer.events().len(), 1);
}

#[test]
fn unknown_commands_are_never_fatal() {
    let mut peer = Peer::connected("live");
    for name in
        ["_checkbw", "onBWDone", "FCSubscribe", "pause", "receiveAudio", "\u{0}", "setPeerInfo"]
    {
        for transaction in [0.0, 6.0, f64::NAN] {
            peer.call(name, transaction, &[Value::Number(1.0)]);
            assert_eq!(peer.events(), []);
        }
    }
}

#[test]
fn a_set_chunk_size_holds_for_what_follows() {
    let mut peer = Peer::publishing();
    let payload = vec![0x27; 5000];
    for size in [4096, 1, 60_000, i32::MAX as usize] {
        peer.message(1, 0, &(size as u32).to_be_bytes()).unwrap();
        peer.chunk_size = size;
        peer.message(9, 1, &payload).unwrap();
        let events = peer.events();
        let [Event::Media(media)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(media.payload, payload, "{size}");
    }
    for size in [0, 1_u32 << 31] {
        let mut peer = Peer::publishing();
        let refused = peer.message(1, 0, &size.to_be_bytes());
        assert!(matches!(refused, Err(RtmpError::ChunkSize { size: s, .. }) if s == size));
    }
    let refused = Peer::publishing().message(1, 0, &[0, 0, 1]);
    assert!(matches!(refused, Err(RtmpError::Protocol { what: "empty Set Chunk Size", .. })));
}

#[test]
fn an_abort_gives_up_the_unfinished_message() {
    let mut peer = Peer::publishing();
    let half = &message((40, 128), 9, 0, 1, &[0x17; 200])[..140];
    peer.send(half).unwrap();
    assert_eq!(peer.session.chunks.in_progress_bytes(), 128);
    peer.message(2, 0, &[0, 0, 0, 40]).unwrap();
    assert_eq!(peer.session.chunks.in_progress_bytes(), 0);
    peer.send(&message((40, 128), 9, 0, 1, &[0x27; 10])).unwrap();
    let events = peer.events();
    let [Event::Media(media)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(media.payload, [0x27; 10][..]);
}

/// A peer that asks for an acknowledgement per `window`, on a connection that has brought `position`
/// bytes.
fn with_window(window: u32, position: u64) -> Peer {
    let mut peer = Peer::publishing();
    peer.session.chunks = ChunkReader::new(1 << 20, position);
    peer.session.acknowledge.acknowledged = position;
    peer.message(5, 0, &window.to_be_bytes()).unwrap();
    peer.said();
    peer
}

#[test]
fn each_window_is_acknowledged_with_all_bytes_so_far() {
    // 5.4.3: the sequence number counts from the first byte of the connection.
    let mut peer = with_window(1000, 50_000);
    let mut acknowledged = Vec::new();
    for _ in 0..100 {
        peer.message(8, 1, &[0xAF; 88]).unwrap();
        let position = peer.session.position();
        for said in peer.said() {
            assert_eq!(said, format!("acknowledgement {position}"));
            acknowledged.push(position);
        }
    }
    // A message of 88 bytes has a header of 12.
    assert_eq!(acknowledged.len(), 10);
    assert!(acknowledged.windows(2).all(|pair| pair[1] - pair[0] == 1000), "{acknowledged:?}");
}

#[test]
fn acknowledgements_go_on_over_32_bits() {
    let mut peer = with_window(1000, (1 << 32) - 1500);
    let mut said = Vec::new();
    for _ in 0..30 {
        peer.message(8, 1, &[0xAF; 88]).unwrap();
        said.extend(peer.said());
    }
    // The Window Acknowledgement Size itself has 16 bytes.
    let expected = [-500_i64 + 16, 500 + 16, 1500 + 16].map(|n| n as u32);
    assert_eq!(said, expected.map(|n| format!("acknowledgement {n}")));
}

#[test]
fn an_input_of_many_windows_is_acknowledged_once() {
    let mut peer = with_window(1, 50_000);
    peer.send(&message((4, 128), 8, 0, 1, &[0xAF; 20]).repeat(50)).unwrap();
    assert_eq!(peer.said().len(), 1);
}

#[test]
fn a_window_of_0_asks_for_no_acknowledgements() {
    let mut peer = with_window(0, 50_000);
    peer.send(&message((4, 128), 8, 0, 1, &[0xAF; 20]).repeat(50)).unwrap();
    assert_eq!(peer.said(), [""; 0]);
}

#[test]
fn before_the_peer_sets_a_window_ours_is_taken() {
    let config = ServerConfig { window_ack_size: 5000, ..ServerConfig::default() };
    let mut peer = Peer::new(config);
    peer.send(&message((4, 128), 8, 0, 1, &[0xAF; 88]).repeat(19)).unwrap();
    assert_eq!(peer.said(), [""; 0]);
    peer.send(&message((4, 128), 8, 0, 1, &[0xAF; 88])).unwrap();
    assert_eq!(peer.said(), [format!("acknowledgement {}", HANDSHAKE_BYTES + 2000)]);
}

#[test]
fn the_longest_media_message_is_what_the_configuration_says() {
    let config = ServerConfig { max_media_message_bytes: 1000, ..ServerConfig::default() };
    let mut peer = Peer::new(config);
    peer.message(9, 1, &[0; 1000]).unwrap();
    let refused = peer.message(9, 1, &[0; 1001]);
    assert!(matches!(refused, Err(RtmpError::MessageTooLong { length: 1001, max: 1000, .. })));
}

#[test]
fn what_is_said_in_answer_to_one_input_is_bounded_by_it() {
    // The most that can be had for the least: bytes out per byte in, on headers of one byte.
    let input = 60_000;
    let command = |values: &[Value]| {
        let payload = amf(values);
        let mut bytes = message((3, 128), 20, 0, 0, &payload);
        while bytes.len() < input {
            bytes.extend([&[0xC3], &payload[..]].concat());
        }
        bytes
    };
    let ping = message((2, 128), 4, 0, 0, &[0, 6, 0, 0, 0, 1]).repeat(input / 18);
    for bytes in [
        command(&[text("createStream"), Value::Number(1.0)]),
        command(&[text("publish")]),
        command(&[text("connect")]),
        command(&[text("play")]),
        command(&[text("FCPublish")]),
        command(&[text("FCUnpublish"), Value::Number(1.0)]),
        ping,
    ] {
        let mut peer = Peer::connected("live");
        peer.send(&bytes).unwrap();
        assert!(peer.output.len() <= 25 * bytes.len(), "{} bytes", peer.output.len());
        assert_eq!(peer.events(), []);
        peer.said();
        assert_eq!(peer.session.output.chunks.capacity(), 0, "nothing is kept");
        assert_eq!(peer.session.chunks.in_progress_bytes(), 0);
    }
}
