//! Connecting, calls, publishing and its refusals (7.2).

use super::*;

const NO_VALUE: &str = "null undefined";

#[test]
fn connect_is_answered_in_the_order_that_clients_expect() {
    let mut peer = Peer::new(ServerConfig::default());
    let app = object([("app", text("live")), ("objectEncoding", Value::Number(3.0))]);
    peer.command(0, &[text("connect"), Value::Number(1.0), app]);
    assert_eq!(
        peer.said(),
        [
            "window 2500000",
            "bandwidth 2500000 limit 2",
            "chunk size 4096",
            "@0 _result 1 object status NetConnection.Connect.Success (Connection succeeded.)",
        ]
    );
}

#[test]
fn a_client_that_says_so_is_asked_to_reconnect_and_publishes_on_until_it_does() {
    // Enhanced RTMP v2: 1 is Reconnect, 2 multitrack.
    for (capabilities, asked) in [(1.0, true), (3.0, true), (2.0, false), (0.0, false)] {
        let mut peer = Peer::new(ServerConfig::default());
        let app = object([("app", text("live")), ("capsEx", Value::Number(capabilities))]);
        peer.command(0, &[text("connect"), Value::Number(1.0), app]);
        peer.publish(1, &[text("cam1")]);
        let id = peer.request().id;
        peer.session.accept_publish(id);
        peer.said();
        assert_eq!(peer.session.ask_to_reconnect("We leave."), asked, "{capabilities}");
        let code = "NetConnection.Connect.ReconnectRequest";
        let request = format!("@0 onStatus 0 null status {code} (We leave.)");
        assert_eq!(peer.said(), if asked { vec![request] } else { vec![] });
        peer.message(9, 1, b"x").unwrap();
        assert!(matches!(peer.events()[..], [Event::Media(_)]));
    }
    let mut unconnected = ServerSession::new(ServerConfig::default());
    assert!(!unconnected.ask_to_reconnect("We leave."));
    assert!(!Peer::publishing().session.ask_to_reconnect("We leave."));
}

#[test]
fn all_answers_can_be_read_whatever_our_chunk_size_is() {
    for chunk_size in [0, 128, 129, 65_536, u32::MAX] {
        let mut peer = Peer::new(ServerConfig { chunk_size, ..ServerConfig::default() });
        peer.call("play", 0.0, &[text("cam1")]);
        peer.command(0, &[text("connect"), Value::Number(1.0), object([])]);
        let long = "x".repeat(500);
        for stream_id in [1, 7, 1] {
            peer.publish(stream_id, &[text(&long)]);
            let id = peer.request().id;
            peer.session.refuse_publish(id, PublishRefusal::Denied, &long);
        }
        let said = peer.said();
        assert_eq!(said[3], format!("chunk size {}", chunk_size.clamp(128, 65_536)));
        let refused = |id| format!("@{id} onStatus 0 null error NetStream.Publish.Denied ({long})");
        assert_eq!(said[5..], [1, 7, 1].map(refused));
    }
}

#[test]
fn a_connect_in_an_amf3_message_is_the_same() {
    let values = amf(&[text("connect"), Value::Number(1.0), object([("app", text("live"))])]);
    // Behind its byte of 0, and without it as some encoders send it.
    for payload in [[&[0], &values[..]].concat(), values] {
        let mut peer = Peer::new(ServerConfig::default());
        peer.message(17, 0, &payload).unwrap();
        assert_eq!(peer.said().len(), 4);
        let publish = amf(&[text("publish"), Value::Number(0.0), Value::Null, text("cam1")]);
        peer.message(17, 1, &[&[0], &publish[..]].concat()).unwrap();
        let request = peer.request();
        assert_eq!((&*request.app, &*request.stream_key), ("live", "cam1"));
    }
}

#[test]
fn a_second_connect_is_rejected_and_changes_nothing() {
    let mut peer = Peer::connected("live");
    let app = object([("app", text("other"))]);
    peer.command(0, &[text("connect"), Value::Number(5.0), app]);
    let rejected = "@0 _error 5 null error NetConnection.Connect.Rejected (Connected already.)";
    assert_eq!(peer.said(), [rejected]);
    peer.publish(1, &[text("cam1")]);
    assert_eq!(peer.request().app, "live");
}

#[test]
fn streams_are_neither_created_nor_published_before_connect() {
    for (name, what) in
        [("createStream", "createStream before connect"), ("publish", "publish before connect")]
    {
        let mut peer = Peer::new(ServerConfig::default());
        let refused = peer.message(20, 0, &amf(&[text(name), Value::Number(1.0)]));
        assert!(matches!(refused, Err(RtmpError::Protocol { what: w, .. }) if w == what));
    }
}

#[test]
fn calls_of_encoders_are_answered_by_transaction_id() {
    let mut peer = Peer::connected("live");
    for (name, answers) in [
        ("releaseStream", &[NO_VALUE][..]),
        ("FCPublish", &[NO_VALUE, "onFCPublish 0 null status NetStream.Publish.Start (cam1)"]),
        (
            "FCUnpublish",
            &[NO_VALUE, "onFCUnpublish 0 null status NetStream.Unpublish.Success (cam1)"],
        ),
        ("getStreamLength", &["null 0"]),
        ("_checkbw", &[NO_VALUE]),
        ("createStream", &["null 1"]),
        ("createStream", &["null 2"]),
    ] {
        peer.call(name, 4.0, &[text("cam1")]);
        let said = peer.said();
        assert_eq!(said[0], format!("@0 _result 4 {}", answers[0]), "{name}");
        let rest: Vec<_> = answers[1..].iter().map(|answer| format!("@0 {answer}")).collect();
        assert_eq!(said[1..], rest);
    }
}

#[test]
fn calls_that_want_no_answer_get_none() {
    // rtmp2sink gives all but createStream the transaction id 0.
    let mut peer = Peer::connected("live");
    for name in ["releaseStream", "_checkbw", "getStreamLength", "deleteStream", "closeStream"] {
        peer.call(name, 0.0, &[text("cam1")]);
        assert_eq!(peer.said(), [""; 0], "{name}");
    }
    peer.call("FCPublish", 0.0, &[text("cam1")]);
    assert_eq!(peer.said(), ["@0 onFCPublish 0 null status NetStream.Publish.Start (cam1)"]);
}

#[test]
fn commands_with_few_or_odd_values_are_harmless() {
    let mut peer = Peer::connected("live");
    for values in [
        &[][..],
        &[Value::Null],
        &[Value::Number(1.0), text("publish")],
        &[text("")],
        &[text("releaseStream")],
        &[text("FCPublish"), Value::Null, Value::Null],
        &[text("createStream"), text("two")],
        &[text("deleteStream"), Value::Number(2.0)],
        &[text("deleteStream"), Value::Number(2.0), Value::Null, Value::Number(f64::NAN)],
        &[text("deleteStream"), Value::Number(2.0), Value::Null, Value::Number(-1.0)],
        &[text("deleteStream"), Value::Number(2.0), Value::Null, Value::Number(1e300)],
        &[text("closeStream")],
        &[text("FCUnpublish")],
        &[text("play")],
        &[text("publish")],
        &[text("publish"), Value::Number(0.0), Value::Null, Value::Number(3.0)],
        &[text("_result"), Value::Number(1.0), Value::AvmPlus],
        &[text("onStatus"), Value::Number(f64::INFINITY)],
    ] {
        peer.command(1, values);
        assert_eq!(peer.events(), [], "{values:?}");
        peer.said();
    }
    peer.publish(1, &[text("cam1")]);
    assert_eq!(peer.request().stream_key, "cam1");
}

#[test]
fn a_connect_that_says_nothing_is_taken() {
    for values in [
        &[text("connect")][..],
        &[text("connect"), Value::Number(1.0), Value::Null],
        &[text("connect"), Value::Number(1.0), object([("app", Value::Number(1.0))])],
        &[text("connect"), Value::Number(1.0), Value::AvmPlus],
    ] {
        let mut peer = Peer::new(ServerConfig::default());
        peer.command(0, values);
        assert_eq!(peer.said().len(), 4);
        peer.publish(1, &[text("cam1")]);
        let request = peer.request();
        assert_eq!((&*request.app, &*request.stream_key), ("", "cam1"));
    }
}

#[test]
fn a_command_that_is_no_amf0_ends_the_connection() {
    let mut peer = Peer::connected("live");
    let refused = peer.message(20, 0, b"\x02\x00\xFFconnect");
    assert!(matches!(refused, Err(RtmpError::Amf0 { .. })), "{refused:?}");
    let mut peer = Peer::connected("live");
    let nested = b"\x03\x00\x01a".repeat(3250);
    let refused = peer.message(20, 0, &[&amf(&[text("connect")]), &nested[..]].concat());
    assert!(matches!(refused, Err(RtmpError::Amf0 { .. })), "{refused:?}");
}

#[test]
fn a_publish_is_asked_for_with_all_that_names_it() {
    let mut peer = Peer::new(ServerConfig::default());
    let connect = object([
        ("app", text("live/site?user=me")),
        ("flashVer", text("FMLE/3.0 (compatible; FMSc/1.0)")),
        ("tcUrl", text("rtmp://host/live/site?user=me")),
    ]);
    peer.command(0, &[text("connect"), Value::Number(1.0), connect]);
    peer.publish(1, &[text("cam1?token=secret"), text("live")]);
    let request = peer.request();
    assert_eq!(
        request,
        PublishRequest {
            id: PublishRequestId(1),
            app: "live".to_owned(),
            stream_key: "site/cam1".to_owned(),
            query: "user=me&token=secret".to_owned(),
            credentials: Credentials {
                user: Some("me".to_owned()),
                token: Some("secret".to_owned()),
                ..Credentials::default()
            },
            user_agent: "FMLE/3.0 (compatible; FMSc/1.0)".to_owned(),
        }
    );
    assert!(!format!("{request:?}").contains("secret"));
}

#[test]
fn the_publishing_type_makes_no_difference() {
    for kind in [
        &[][..],
        &[text("live")],
        &[text("LIVE")],
        &[text("record")],
        &[text("append")],
        &[Value::Null],
        &[text("live"), text("more")],
    ] {
        let mut peer = Peer::connected("live");
        peer.publish(1, &[&[text("cam1")], kind].concat());
        assert_eq!(peer.request().stream_key, "cam1", "{kind:?}");
    }
}

#[test]
fn an_accepted_publish_begins_its_message_stream() {
    for stream_id in [0, 1, 5, 99] {
        let mut peer = Peer::connected("live");
        peer.publish(stream_id, &[text("cam1"), text("live")]);
        let id = peer.request().id;
        assert_eq!(peer.said(), [""; 0]);
        peer.session.accept_publish(id);
        let status = "onStatus 0 null status NetStream.Publish.Start (cam1)";
        assert_eq!(peer.said(), [format!("begin {stream_id}"), format!("@{stream_id} {status}")]);
    }
}

#[test]
fn a_refused_publish_says_why_and_another_may_follow() {
    let mut peer = Peer::connected("live");
    for (n, (why, code)) in [
        (PublishRefusal::BadName, "NetStream.Publish.BadName"),
        (PublishRefusal::Denied, "NetStream.Publish.Denied"),
        (PublishRefusal::Failed, "NetStream.Publish.Failed"),
    ]
    .into_iter()
    .enumerate()
    {
        peer.publish(1, &[text("cam1")]);
        let id = peer.request().id;
        assert_eq!(id, PublishRequestId(n as u32 + 1));
        peer.session.refuse_publish(id, why, "Not now.");
        assert_eq!(peer.said(), [format!("@1 onStatus 0 null error {code} (Not now.)")]);
        peer.message(9, 1, &[0x17, 1, 0, 0, 0]).unwrap();
        assert_eq!(peer.events(), []);
    }
    peer.publish(1, &[text("cam2")]);
    assert_eq!(peer.request().stream_key, "cam2");
}

#[test]
fn a_publish_without_a_key_is_denied() {
    let mut peer = Peer::connected("live");
    for arguments in [&[][..], &[text("")], &[text("?token=1")], &[Value::Null]] {
        peer.publish(1, arguments);
        let denied = "@1 onStatus 0 null error NetStream.Publish.Denied \
                      (No stream key: publish to rtmp://host/app/stream_key.)";
        assert_eq!(peer.said(), [denied]);
        assert_eq!(peer.events(), []);
    }
}

#[test]
fn a_second_publish_of_one_connection_fails_and_the_first_goes_on() {
    let mut peer = Peer::publishing();
    peer.publish(2, &[text("cam2")]);
    let failed = "@2 onStatus 0 null error NetStream.Publish.Failed \
                  (This connection publishes already.)";
    assert_eq!(peer.said(), [failed]);
    peer.message(8, 1, &[0xAF, 1]).unwrap();
    assert!(matches!(&peer.events()[..], [Event::Media(_)]));
}

#[test]
fn nothing_is_taken_while_a_publish_waits_for_its_answer() {
    let mut peer = Peer::connected("live");
    let media = message((4, 128), 8, 0, 1, &[0xAF, 1]);
    peer.publish(1, &[text("cam1")]);
    peer.send(&media).unwrap();
    assert_eq!(peer.input.len(), media.len());
    let id = peer.request().id;
    // Answers to other requests change nothing.
    peer.session.accept_publish(PublishRequestId(id.0 + 1));
    peer.session.refuse_publish(PublishRequestId(id.0 + 1), PublishRefusal::Denied, "");
    peer.session.end_publish("");
    assert_eq!((peer.events(), peer.said()), (vec![], vec![]));
    peer.session.accept_publish(id);
    peer.send(&[]).unwrap();
    assert!(peer.input.is_empty());
    assert!(matches!(&peer.events()[..], [Event::Media(_)]));
    // A second answer neither.
    peer.said();
    peer.session.accept_publish(id);
    peer.session.refuse_publish(id, PublishRefusal::Denied, "");
    assert_eq!(peer.said(), [""; 0]);
}

#[test]
fn each_way_to_end_a_publish_ends_it_once() {
    let null = Value::Null;
    for (stream_id, values) in [
        (0, &[text("FCUnpublish"), Value::Number(0.0), null.clone(), text("cam1")][..]),
        (0, &[text("deleteStream"), Value::Number(0.0), null.clone(), Value::Number(1.0)]),
        // rtmp2sink names the key where the id should stand.
        (0, &[text("deleteStream"), Value::Number(0.0), null.clone(), text("cam1")]),
        (1, &[text("deleteStream")]),
        (1, &[text("closeStream"), Value::Number(0.0), null.clone()]),
        (0, &[text("closeStream")]),
    ] {
        let mut peer = Peer::publishing();
        peer.command(stream_id, values);
        assert_eq!(peer.events(), [Event::PublishEnded], "{values:?}");
        peer.command(stream_id, values);
        peer.message(8, 1, &[0xAF, 1]).unwrap();
        assert_eq!(peer.events(), [], "{values:?}");
        peer.publish(1, &[text("cam1")]);
        assert_eq!(peer.request().id, PublishRequestId(2));
    }
}

#[test]
fn the_end_of_another_message_stream_ends_no_publish() {
    let mut peer = Peer::publishing();
    peer.call("deleteStream", 0.0, &[Value::Number(2.0)]);
    peer.command(2, &[text("closeStream")]);
    assert_eq!(peer.events(), []);
    peer.message(8, 1, &[0xAF, 1]).unwrap();
    assert_eq!(peer.events().len(), 1);
}

#[test]
fn a_publish_that_we_end_is_told_so() {
    let mut peer = Peer::publishing();
    peer.session.end_publish("Stopped by the operator.");
    let code = "NetStream.Unpublish.Success (Stopped by the operator.)";
    assert_eq!(peer.said(), [format!("@1 onStatus 0 null status {code}"), "eof 1".to_owned()]);
    peer.message(8, 1, &[0xAF, 1]).unwrap();
    peer.call("deleteStream", 0.0, &[Value::Number(1.0)]);
    assert_eq!(peer.events(), []);
    peer.session.end_publish("Again.");
    assert_eq!(peer.said(), [""; 0]);
}

#[test]
fn playing_is_refused_on_its_message_stream() {
    for name in ["play", "play2"] {
        let mut peer = Peer::connected("live");
        peer.command(3, &[text(name), Value::Number(4.0), Value::Null, text("cam1")]);
        let refused = "@3 onStatus 0 null error NetStream.Play.StreamNotFound \
                       (This server takes streams; play them by RTSP.)";
        assert_eq!(peer.said(), [refused]);
        assert_eq!(peer.events(), []);
    }
}

#[test]
fn a_connection_has_16_message_streams_at_most() {
    let mut peer = Peer::connected("live");
    for id in 1..=16 {
        peer.call("createStream", 2.0, &[]);
        assert_eq!(peer.said(), [format!("@0 _result 2 null {id}")]);
    }
    let failed = "@0 _error 2 null error NetConnection.Call.Failed \
                  (No more message streams on this connection.)";
    for _ in 0..100 {
        peer.call("createStream", 2.0, &[]);
        assert_eq!(peer.said(), [failed]);
    }
    // The lowest free id is given again.
    peer.call("deleteStream", 0.0, &[Value::Number(9.0)]);
    peer.call("deleteStream", 0.0, &[Value::Number(3.0)]);
    peer.call("createStream", 2.0, &[]);
    peer.call("createStream", 2.0, &[]);
    assert_eq!(peer.said(), ["@0 _result 2 null 3", "@0 _result 2 null 9"]);
}

#[test]
fn names_of_any_length_are_cut_between_characters() {
    let mut peer = Peer::connected("live");
    // Characters of two bytes at odd places: neither cut falls between two of them.
    let name = |characters| format!("x{}", "é".repeat(characters));
    let long = name(20_000);
    peer.call("FCPublish", 0.0, &[text(&long)]);
    peer.publish(1, &[text(&long)]);
    let request = peer.request();
    assert_eq!(request.stream_key, name(2047));
    peer.session.accept_publish(request.id);
    let description = name(511);
    let started = "null status NetStream.Publish.Start";
    assert_eq!(
        peer.said(),
        [
            format!("@0 onFCPublish 0 {started} ({description})"),
            "begin 1".to_owned(),
            format!("@1 onStatus 0 {started} ({description})"),
        ]
    );
}

#[test]
fn a_client_that_begins_adobes_dialog_is_asked_then_connected_and_known() {
    let connect = |app: &str| {
        let object = object([("app", text(app)), ("tcUrl", text("rtmp://host/live"))]);
        [text("connect"), Value::Number(1.0), object]
    };
    let adobe = AdobeAuth { demanded: true, salt: 1, opaque: 2 };
    let mut peer = Peer::new(ServerConfig { adobe, ..ServerConfig::default() });
    peer.command(0, &connect("live"));
    let rejected = "@0 _error 1 null error NetConnection.Connect.Rejected ";
    let need = "([ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : )";
    assert_eq!(peer.said(), [format!("{rejected}{need}")]);
    // Clients come back by another connection; one that does not is as good.
    peer.command(0, &connect("live?authmod=adobe&user=me"));
    let asked = peer.said();
    let need = "([ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=me&salt=";
    assert!(asked.len() == 1 && asked[0].starts_with(&format!("{rejected}{need}")), "{asked:?}");
    let refused = peer.message(20, 0, &amf(&[text("createStream"), Value::Number(2.0)]));
    assert!(matches!(refused, Err(RtmpError::Protocol { .. })), "it is not connected yet");

    let mut peer = Peer::new(ServerConfig { adobe, ..ServerConfig::default() });
    let answer = "challenge=aaaa==&response=b/b+==&opaque=0000000000000002";
    peer.command(0, &connect(&format!("live?authmod=adobe&user=me&{answer}")));
    assert_eq!(peer.said().len(), 4);
    peer.publish(1, &[text("cam1")]);
    let request = peer.request();
    assert_eq!((&*request.app, &*request.stream_key), ("live", "cam1"));
    assert_eq!(request.credentials.user.as_deref(), Some("me"));
    assert_eq!(request.credentials.adobe_response.unwrap().response, "b/b+==");
}
