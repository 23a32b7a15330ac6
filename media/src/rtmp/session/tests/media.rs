//! Audio, video, data and aggregates of a publish (7.1.2 to 7.1.6).

use super::*;

fn media(kind: MediaMessageKind, timestamp_ms: u32, payload: &[u8]) -> Event {
    let payload = Bytes::copy_from_slice(payload);
    Event::Media(MediaMessage { kind, timestamp_ms, payload })
}

#[test]
fn media_comes_in_order_with_its_timestamps() {
    let mut peer = Peer::publishing();
    let bytes = [
        message((6, 128), 9, 40, 1, b"video"),
        message((4, 128), 8, 41, 1, b"audio"),
        message((5, 128), 18, 42, 1, b"data"),
        message((4, 128), 8, 0, 1, b"back"),
        message((4, 128), 8, u32::MAX, 1, b"last"),
    ];
    peer.send(&bytes.concat()).unwrap();
    assert_eq!(
        peer.events(),
        [
            media(MediaMessageKind::Video, 40, b"video"),
            media(MediaMessageKind::Audio, 41, b"audio"),
            media(MediaMessageKind::Data, 42, b"data"),
            media(MediaMessageKind::Audio, 0, b"back"),
            media(MediaMessageKind::Audio, u32::MAX, b"last"),
        ]
    );
}

#[test]
fn media_is_taken_on_any_message_stream() {
    let mut peer = Peer::publishing();
    for stream_id in [0, 1, 2, u32::MAX] {
        peer.message(8, stream_id, b"audio").unwrap();
        assert_eq!(peer.events(), [media(MediaMessageKind::Audio, 0, b"audio")]);
    }
}

#[test]
fn media_before_a_publish_is_dropped() {
    for mut peer in [Peer::new(ServerConfig::default()), Peer::connected("live")] {
        for type_id in [8, 9, 15, 18] {
            peer.message(type_id, 1, b"\x02media").unwrap();
        }
        peer.message(22, 1, &tag(8, 0, b"audio")).unwrap();
        assert_eq!((peer.events(), peer.said()), (vec![], vec![]));
    }
}

#[test]
fn empty_messages_say_nothing() {
    let mut peer = Peer::publishing();
    for type_id in [8, 9, 15, 17, 18, 20, 22] {
        peer.message(type_id, 1, &[]).unwrap();
    }
    // One byte of AMF3's prefix and nothing behind it.
    peer.message(15, 1, &[0]).unwrap();
    peer.message(17, 1, &[0]).unwrap();
    assert_eq!((peer.events(), peer.said()), (vec![], vec![]));
}

#[test]
fn metadata_comes_as_it_was_sent_each_time() {
    let metadata = Value::EcmaArray(vec![("width".to_owned(), Value::Number(1280.0))]);
    let mut peer = Peer::publishing();
    for values in [
        &[text("@setDataFrame"), text("onMetaData"), metadata.clone()][..],
        &[text("onMetaData"), metadata.clone()],
        // GStreamer's flvmux repeats its metadata every second.
        &[text("onMetaData"), metadata],
        &[text("@setDataFrame"), text("onMetaData")],
        &[text("@setDataFrame")],
        &[text("onCuePoint"), object([])],
        &[text("onFI"), Value::Date { unix_ms: 1.0, time_zone: 0 }],
    ] {
        let payload = amf(values);
        peer.message(18, 1, &payload).unwrap();
        peer.message(15, 1, &[&[0], &payload[..]].concat()).unwrap();
        peer.message(15, 1, &payload).unwrap();
        let event = media(MediaMessageKind::Data, 0, &payload);
        assert_eq!(peer.events(), [event.clone(), event.clone(), event]);
    }
}

#[test]
fn data_that_is_no_amf0_is_not_fatal() {
    let mut peer = Peer::publishing();
    peer.message(18, 1, &[0xFF; 20]).unwrap();
    assert_eq!(peer.events().len(), 1);
}

/// An FLV tag with its back pointer, as aggregates hold it.
fn tag(type_id: u8, ms: u32, payload: &[u8]) -> Vec<u8> {
    let [high, a, b, c] = ms.to_be_bytes();
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let back = (payload.len() as u32 + 11).to_be_bytes();
    [&[type_id][..], &length, &[a, b, c, high, 0, 0, 0], payload, &back].concat()
}

#[test]
fn an_aggregate_is_taken_apart_and_keeps_the_distances_of_its_messages() {
    // 7.1.6: the difference between the timestamps of the aggregate and of its first message is
    // what all its messages are moved by.
    let mut peer = Peer::publishing();
    let payload = [
        tag(9, 5000, b"video"),
        tag(8, 5010, b"audio"),
        tag(18, 5020, b"data"),
        tag(8, 5030, b""),
        tag(20, 5040, b"ignored"),
        tag(8, 4990, b"back"),
    ];
    peer.send(&message((6, 128), 22, 100, 1, &payload.concat())).unwrap();
    assert_eq!(
        peer.events(),
        [
            media(MediaMessageKind::Video, 100, b"video"),
            media(MediaMessageKind::Audio, 110, b"audio"),
            media(MediaMessageKind::Data, 120, b"data"),
            media(MediaMessageKind::Audio, 90, b"back"),
        ]
    );
}

#[test]
fn an_aggregate_goes_on_over_the_wrap_of_its_timestamps() {
    let mut peer = Peer::publishing();
    let payload = [tag(8, u32::MAX - 4, b"a"), tag(8, 5, b"b")].concat();
    peer.send(&message((6, 128), 22, u32::MAX, 1, &payload)).unwrap();
    let kind = MediaMessageKind::Audio;
    assert_eq!(peer.events(), [media(kind, u32::MAX, b"a"), media(kind, 9, b"b")]);
}

#[test]
fn the_last_back_pointer_of_an_aggregate_may_be_missing_and_all_else_may_not() {
    let payload = [tag(8, 0, b"first"), tag(8, 1, b"last")].concat();
    let first = tag(8, 0, b"first").len();
    for end in 0..=payload.len() {
        let mut peer = Peer::publishing();
        let result = peer.message(22, 1, &payload[..end]);
        let whole = match end {
            0 => Some(0),
            _ if (first - 4..=first).contains(&end) => Some(1),
            _ if end >= payload.len() - 4 => Some(2),
            _ => None,
        };
        match whole {
            Some(count) => assert_eq!((result, peer.events().len()), (Ok(()), count), "{end}"),
            None => assert!(matches!(result, Err(RtmpError::Protocol { .. })), "{end}"),
        }
    }
}

#[test]
fn an_aggregate_has_at_most_1024_messages() {
    for (count, fits) in [(1024, true), (1025, false)] {
        let mut peer = Peer::publishing();
        let result = peer.message(22, 1, &tag(8, 0, b"a").repeat(count));
        assert_eq!(result.is_ok(), fits);
        assert_eq!(peer.events().len(), if fits { count } else { 0 });
    }
}
