//! Media and control messages.

use super::*;
use crate::rtmp::wire::ChunkWriter;

fn media(kind: MediaMessageKind, payload: &[u8]) -> ClientEvent {
    let payload = Bytes::copy_from_slice(payload);
    ClientEvent::Media(MediaMessage { kind, timestamp_ms: 0, payload })
}

#[test]
fn media_comes_once_it_plays_in_the_order_in_which_it_was_sent() {
    let mut remote = Remote::playing();
    remote.message(18, 1, b"data").unwrap();
    remote.message(9, 1, b"video").unwrap();
    remote.message(8, 5, b"audio").unwrap();
    remote.message(8, 1, b"").unwrap();
    let expected = [
        media(MediaMessageKind::Data, b"data"),
        media(MediaMessageKind::Video, b"video"),
        media(MediaMessageKind::Audio, b"audio"),
    ];
    assert_eq!(remote.events(), expected);
}

#[test]
fn media_of_a_server_that_never_says_start_is_the_start() {
    let mut remote = Remote::asked();
    remote.message(18, 1, b"sample access").unwrap();
    assert_eq!(remote.events(), []);
    remote.message(8, 1, b"audio").unwrap();
    assert_eq!(remote.events(), [ClientEvent::Playing, media(MediaMessageKind::Audio, b"audio")]);
}

#[test]
fn media_before_anything_was_asked_for_is_dropped() {
    let mut remote = Remote::new();
    remote.message(9, 1, b"video").unwrap();
    assert_eq!(remote.events(), []);
}

#[test]
fn an_aggregate_is_taken_apart() {
    let mut remote = Remote::playing();
    let aggregate = b"\x08\0\0\x02\0\0\x07\0\0\0\0\xAF\x01\0\0\0\x0D\x09\0\0\x02\0\0\x09\0\0\0\0\x27\x01\0\0\0\x0D";
    remote.message(22, 1, aggregate).unwrap();
    let events = remote.events();
    let [ClientEvent::Media(audio), ClientEvent::Media(video)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((audio.timestamp_ms, &audio.payload[..]), (0, &[0xAF, 1][..]));
    assert_eq!((video.timestamp_ms, &video.payload[..]), (2, &[0x27, 1][..]));
}

#[test]
fn pings_and_windows_are_answered() {
    let mut remote = Remote::playing();
    remote.message(4, 0, &[0, 6, 0, 0, 1, 0]).unwrap();
    assert_eq!(remote.said(), ["pong 256"]);
    remote.message(5, 0, &1000_u32.to_be_bytes()).unwrap();
    remote.said();
    remote.message(9, 1, &[0x17; 2000]).unwrap();
    let said = remote.said();
    let [said] = &said[..] else { panic!("{said:?}") };
    // All bytes count, those of the handshake too.
    let position = remote.session.chunks.position();
    assert_eq!(*said, format!("acknowledgement {position}"));
    assert!(position > HANDSHAKE_BYTES as u64 + 2000);
}

#[test]
fn another_chunk_size_and_an_abort_are_understood() {
    let mut remote = Remote::playing();
    remote.message(1, 0, &4096_u32.to_be_bytes()).unwrap();
    remote.send(&message((40, 4096), 9, 0, 1, &[0x17; 5000])).unwrap();
    assert_eq!(remote.events(), [media(MediaMessageKind::Video, &[0x17; 5000])]);
    let mut remote = Remote::playing();
    remote.send(&message((40, 128), 9, 0, 1, &[0x17; 200])[..140]).unwrap();
    remote.message(2, 0, &[0, 0, 0, 40]).unwrap();
    assert_eq!(remote.session.chunks.in_progress_bytes(), 0);
}

#[test]
fn the_longest_media_message_is_what_the_configuration_says() {
    let config = ClientConfig { max_media_message_bytes: 1000, ..ClientConfig::default() };
    let mut remote = Remote::with(config, "rtmp://host/live/a");
    let refused = remote.message(9, 1, &[0; 1001]);
    assert!(matches!(refused, Err(RtmpError::MessageTooLong { length: 1001, max: 1000, .. })));
}

#[test]
fn an_error_closes_and_what_came_before_is_kept() {
    let mut remote = Remote::playing();
    let bytes = [
        message((4, 128), 8, 0, 1, &[0xAF, 1]),
        message((2, 128), 1, 0, 0, &[0; 4]),
        message((4, 128), 8, 0, 1, &[0xAF, 1]),
    ];
    assert!(remote.send(&bytes.concat()).is_err());
    assert_eq!(remote.events(), [media(MediaMessageKind::Audio, &[0xAF, 1])]);
    assert_eq!(remote.message(8, 1, &[0xAF, 1]), Ok(()));
    assert_eq!(remote.events(), []);
}

#[test]
fn media_in_chunks_of_every_form_comes_out_as_it_went_in() {
    let mut remote = Remote::playing();
    let mut writer = ChunkWriter::new(true);
    let mut expected = Vec::new();
    for n in 0..40_u32 {
        let timestamp_ms = 0xFF_FFF0 + n * 20;
        let payload = Bytes::from(vec![n as u8 | 1; 150]);
        let whole = Message { type_id: 9, timestamp_ms, stream_id: 1, payload: payload.clone() };
        let mut at = 0;
        while at < payload.len() {
            let (bytes, end) = writer.chunk(6, &whole, at, n as usize);
            remote.send(&bytes).unwrap();
            at = end;
        }
        let kind = MediaMessageKind::Video;
        expected.push(ClientEvent::Media(MediaMessage { kind, timestamp_ms, payload }));
    }
    assert_eq!(remote.events(), expected);
}
