//! Each status that is answered (RFC 2326, 7.1.1 and 11), and what goes with it.

use super::*;

const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

#[test]
fn status_400_answers_a_malformed_request_and_the_connection_goes_on() {
    let mut reader = Reader::new();
    for (request, cseq) in [
        ("OPTIONS rtsp://h/cam RTSP/1.0\r\nCSeq: 3\r\nno header\r\n\r\n", Some("3")),
        ("OPTIONS rtsp://h/cam RTSP/1.0\nCSeq: 4\n\n", Some("4")),
        ("OPTIONS  RTSP/1.0\r\nCSeq: 5\r\n\r\n", Some("5")),
        ("OPTIONS http://h/cam RTSP/1.0\r\nCSeq: 6\r\n\r\n", Some("6")),
        ("OPTIONS rtsp://h/%zz RTSP/1.0\r\nCSeq: 7\r\n\r\n", Some("7")),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 8\r\nContent-Length: -1\r\n\r\n", Some("8")),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 8\r\nContent-Length: x\r\n\r\n", Some("8")),
        // Without a CSeq that could be sent back.
        ("OPTIONS * RTSP/1.0\r\n\r\n", None),
        ("OPTIONS * RTSP/1.0\r\nCSeq:\r\n\r\n", None),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1 2\r\n\r\n", None),
    ] {
        let answer = reader.say(request);
        assert_eq!(answer.status(), "400 Bad Request", "{request}");
        assert_eq!(answer.header("CSeq"), cseq, "{request}");
    }
    assert_eq!(reader.ask("OPTIONS", "*", &[]).code(), 200);
}

#[test]
fn status_400_answers_setup_without_a_transport() {
    let mut reader = Reader::new();
    assert_eq!(reader.ask("SETUP", CAM, &[]).code(), 400);
    assert_eq!(reader.events(), []);
}

#[test]
fn status_400_answers_what_is_no_rtsp_and_closes() {
    let mut reader = Reader::new();
    reader.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    let answer = reader.say("GET / HTTP/1.1\r\nHost: h\r\nCSeq: 2\r\n\r\n");
    assert_eq!(answer.status(), "400 Bad Request");
    assert_eq!((answer.header("CSeq"), answer.header("Connection")), (Some("2"), Some("close")));
    assert!(reader.server.wants_close() && !reader.server.takes_more());
    let error = RtspError::Protocol { what: "no RTSP request", at: 31 };
    assert_eq!(reader.error.take(), Some(error));
    reader.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 3\r\n\r\n");
    assert_eq!((reader.outputs.len(), reader.error), (2, None));
}

#[test]
fn status_302_answers_where_the_stream_is() {
    let mut reader = Reader::new();
    let answer = reader.ask("DESCRIBE", "rtsp://h/moved?token=x", &[]);
    assert_eq!(answer.status(), "302 Moved Temporarily");
    assert_eq!(answer.header("Location"), Some("rtsp://other:8554/moved?token=x"));
    assert_eq!(reader.ask("OPTIONS", "*", &[]).code(), 200, "the connection goes on");
}

#[test]
fn status_404_answers_a_stream_or_track_that_is_not_there() {
    let mut reader = Reader::new();
    for url in ["rtsp://h/other", "rtsp://h/other?x", "rtsp://h", "rtsp://h/", "*"] {
        assert_eq!(reader.ask("DESCRIBE", url, &[]).status(), "404 Not Found", "{url}");
        assert_eq!(reader.ask("SETUP", url, &[TCP]).status(), "404 Not Found", "{url}");
    }
    assert_eq!(reader.setup(16, TCP).code(), 404);
    assert_eq!(reader.server.session_id(), None);

    let mut reader = Reader::playing();
    for method in ["PLAY", "PAUSE", "TEARDOWN"] {
        for url in ["rtsp://h/other", "rtsp://h/cam/trackID=1"] {
            assert_eq!(reader.ask(method, url, &[]).status(), "404 Not Found", "{method} {url}");
        }
    }
    assert_eq!(reader.server.session_id(), Some("s1"));
}

#[test]
fn status_405_answers_methods_that_are_never_allowed_and_says_which_are() {
    let mut reader = Reader::playing();
    for method in ["ANNOUNCE", "RECORD", "REDIRECT"] {
        let answer = reader.ask_with_body(method, CAM, &["Session: s1"], "v=0\r\n");
        assert_eq!(answer.status(), "405 Method Not Allowed", "{method}");
        assert_eq!(answer.header("Allow"), Some(METHODS));
    }
}

#[test]
fn status_406_answers_describe_that_accepts_no_sdp() {
    let mut reader = Reader::new();
    for accept in ["application/rtsl", "text/html, image/*", "application/sdpx"] {
        let answer = reader.ask("DESCRIBE", CAM, &[&format!("Accept: {accept}")]);
        assert_eq!(answer.status(), "406 Not Acceptable", "{accept}");
    }
    for accept in ["application/rtsl, application/SDP;level=2", "application/*", "*/*"] {
        assert_eq!(reader.ask("DESCRIBE", CAM, &[&format!("Accept: {accept}")]).code(), 200);
    }
    let twice = ["Accept: application/rtsl", "Accept: application/sdp"];
    assert_eq!(reader.ask("DESCRIBE", CAM, &twice).code(), 200);
}

#[test]
fn status_413_answers_a_body_beyond_its_bound_and_closes() {
    let mut reader = Reader::new();
    let answer =
        reader.say("SET_PARAMETER * RTSP/1.0\r\nCSeq: a-5\r\nContent-Length: 65537\r\n\r\n");
    assert_eq!(answer.status(), "413 Request Entity Too Large");
    assert_eq!((answer.header("CSeq"), answer.header("Connection")), (Some("a-5"), Some("close")));
    assert!(reader.server.wants_close());
    let error = RtspError::Protocol { what: "a body over 64 KiB", at: 0 };
    assert_eq!(reader.error, Some(error));
}

#[test]
fn status_451_answers_a_parameter_that_cannot_be_set() {
    let answer = Reader::new().ask_with_body("SET_PARAMETER", CAM, &[], "barparam: barstuff");
    assert_eq!(answer.status(), "451 Parameter Not Understood");
}

#[test]
fn status_453_500_and_503_are_the_shells_refusals() {
    let mut reader = Reader::new();
    for (method, path, status) in [
        ("SETUP", "full", "453 Not Enough Bandwidth"),
        ("SETUP", "broken", "500 Internal Server Error"),
        ("DESCRIBE", "starting", "503 Service Unavailable"),
    ] {
        let answer = reader.ask(method, &format!("rtsp://h/{path}"), &[TCP]);
        assert_eq!((answer.status(), answer.header("Session")), (status, None));
    }
}

#[test]
fn status_454_answers_a_session_that_is_not_that_of_the_connection() {
    let mut reader = Reader::ready();
    for session in ["Session: s2", "Session: s", "Session: s1x", "Session: S1", "Session:"] {
        assert_eq!(reader.ask("PLAY", CAM, &[session]).status(), "454 Session Not Found");
    }
    let mut reader = Reader::new();
    for method in ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER"] {
        assert_eq!(reader.ask(method, CAM, &["Session: s1", TCP]).code(), 454, "{method}");
    }
    assert_eq!(reader.ask("TEARDOWN", CAM, &[]).code(), 454);
}

#[test]
fn status_455_answers_what_the_state_forbids_and_says_what_it_allows() {
    for (mut reader, method, allowed) in [
        (Reader::new(), "PLAY", "OPTIONS, DESCRIBE, SETUP, GET_PARAMETER, SET_PARAMETER"),
        (Reader::new(), "PAUSE", "OPTIONS, DESCRIBE, SETUP, GET_PARAMETER, SET_PARAMETER"),
        (
            Reader::playing(),
            "SETUP",
            "OPTIONS, DESCRIBE, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER",
        ),
    ] {
        let answer = reader.ask(method, &format!("{CAM}/trackID=1"), &[TCP_2]);
        assert_eq!(answer.status(), "455 Method Not Valid in This State", "{method}");
        assert_eq!(answer.header("Allow"), Some(allowed));
    }
}

#[test]
fn status_459_answers_setup_that_cannot_join_the_session() {
    let mut reader = Reader::ready();
    let aggregate = "459 Aggregate Operation Not Allowed";
    assert_eq!(reader.ask("SETUP", "rtsp://h/other/trackID=1", &[TCP_2]).status(), aggregate);
    assert_eq!(reader.setup(0, TCP_2).status(), aggregate);
    assert_eq!(reader.server.session_id(), Some("s1"));
    // A URL that names no track is that of the whole stream.
    assert_eq!(Reader::new().ask("SETUP", CAM, &[TCP]).status(), aggregate);
}

#[test]
fn status_459_answers_more_tracks_than_a_session_can_have() {
    let mut reader = Reader::new();
    for track in 0..16 {
        assert_eq!(reader.setup(track, "Transport: RTP/AVP/TCP;unicast").code(), 200);
    }
    reader.events();
    assert_eq!(reader.setup(16, "Transport: RTP/AVP/TCP;unicast").code(), 459);
    assert_eq!(reader.events(), []);
}

#[test]
fn status_461_answers_transports_that_cannot_be_served() {
    let mut reader = Reader::new();
    for offered in ["RTP/AVP;multicast", "RTP/SAVP;client_port=4000-4001", "RTP/AVP;unicast", ""] {
        let answer = reader.setup(0, &format!("Transport: {offered}"));
        assert_eq!(answer.status(), "461 Unsupported Transport", "{offered}");
    }
    assert_eq!(reader.events(), []);
    assert_eq!(reader.server.session_id(), None);

    let mut reader = Reader::of(server_with(ServerConfig { udp_ports: None, ..config() }), 's');
    assert_eq!(reader.setup(0, UDP).code(), 461);
    assert_eq!(reader.setup(0, TCP).code(), 200);
    // Channels that the other track has.
    assert_eq!(reader.setup(1, TCP).code(), 461);
    assert_eq!(reader.server.session_id(), Some("s1"));
}

#[test]
fn status_501_answers_methods_that_nobody_knows() {
    let mut reader = Reader::new();
    for method in ["BREW", "options", "X-PLAY"] {
        let answer = reader.ask(method, "*", &[]);
        assert_eq!(answer.status(), "501 Not Implemented", "{method}");
        assert_eq!(answer.header("Allow"), Some(METHODS));
    }
}

#[test]
fn status_505_answers_other_versions() {
    let mut reader = Reader::new();
    for version in ["2.0", "1.1", "0.9", "10.0"] {
        let answer = reader.say(&format!("OPTIONS * RTSP/{version}\r\nCSeq: 8\r\n\r\n"));
        assert_eq!(answer.status(), "505 RTSP Version Not Supported", "{version}");
        assert_eq!(answer.header("CSeq"), Some("8"));
    }
    assert_eq!(reader.error, None);
}

#[test]
fn status_551_answers_a_feature_that_is_required_and_names_it() {
    let mut reader = Reader::new();
    let twice = ["Require: implicit-play", "Require: funky, www-authenticate"];
    for (required, unsupported) in [
        (&["Require: implicit-play"][..], "implicit-play"),
        (&twice, "implicit-play, funky, www-authenticate"),
        (&["Proxy-Require: gzipped-messages"], "gzipped-messages"),
        (&["Proxy-Require: b", "Require: a"], "a, b"),
    ] {
        for method in ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN"] {
            let answer = reader.ask(method, CAM, required);
            assert_eq!(answer.status(), "551 Option not supported", "{method}");
            assert_eq!(answer.header("Unsupported"), Some(unsupported));
        }
    }
    assert_eq!(reader.events(), []);
}

#[test]
fn a_cseq_comes_back_as_it_was_written() {
    let mut reader = Reader::new();
    for cseq in ["0", "007", "4294967296", "18446744073709551616", "a-1"] {
        let answer = reader.say(&message("OPTIONS", "*", &[&format!("cseq:{cseq}")], ""));
        assert_eq!((answer.code(), answer.header("CSeq")), (200, Some(cseq)));
    }
}

#[test]
fn the_host_of_a_url_is_the_clients_own_business() {
    let mut reader = Reader::new();
    for host in ["192.0.2.1:8554", "[::1]:8554", "[fe80::1%25eth0]:8554", "my_cam", "h:99999", ""] {
        let url = format!("rtsp://{host}/cam");
        let answer = reader.ask("DESCRIBE", &url, &[]);
        assert_eq!(answer.status(), "200 OK", "{url}");
        assert_eq!(answer.header("Content-Base"), Some(&format!("{url}/")[..]));
    }
    assert_eq!(reader.ask("DESCRIBE", "/cam", &[]).code(), 200);
}
