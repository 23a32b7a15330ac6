//! What a reader says from the first OPTIONS to TEARDOWN, and what it hears.

use super::*;

#[test]
fn options_names_the_methods_that_are_served() {
    let mut reader = Reader::new();
    for url in ["*", CAM, "rtsp://192.0.2.1:8554"] {
        let answer = reader.ask("OPTIONS", url, &[]);
        assert_eq!(answer.status(), "200 OK", "{url}");
        assert_eq!(
            answer.header("Public"),
            Some("OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER")
        );
    }
    assert_eq!(reader.events(), []);
}

#[test]
fn describe_is_answered_with_the_sdp_and_the_base_of_its_controls() {
    let mut reader = Reader::new();
    let url = format!("{CAM}?token=x");
    let answer = reader.ask("DESCRIBE", &url, &["Accept: application/sdp", "User-Agent: VLC"]);
    assert_eq!(answer.status(), "200 OK");
    assert_eq!(answer.header("Content-Base"), Some("rtsp://192.0.2.1:8554/cam/?token=x/"));
    assert_eq!(answer.header("Content-Type"), Some("application/sdp"));
    assert_eq!(answer.header("Content-Length"), Some("12"));
    assert_eq!(answer.header("Session"), None);
    assert_eq!(answer.body(), SDP);
    let asked = Event::Describe {
        path: "cam".into(),
        query: "token=x".into(),
        wishes: Wishes::default(),
        user_agent: "VLC".into(),
    };
    assert_eq!(reader.events(), [asked]);
}

#[test]
fn a_tcp_reader_is_served_from_setup_to_teardown() {
    let mut reader = Reader::new();
    let answer = reader.setup(0, TCP);
    assert_eq!(answer.header("Session"), Some("s1;timeout=60"));
    assert_eq!(
        answer.header("Transport"),
        Some("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=000000A0;mode=\"PLAY\"")
    );
    let session = "Session: s1";
    let url = format!("{CAM}/trackID=1");
    let answer = reader.ask("SETUP", &url, &[session, TCP_2, "User-Agent: ff"]);
    assert_eq!(answer.header("Session"), Some("s1;timeout=60"));
    assert_eq!(
        answer.header("Transport"),
        Some("RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=000000A1;mode=\"PLAY\"")
    );
    let transports = [(0, 1), (2, 3)].map(|(rtp, rtcp)| TrackTransport::Interleaved { rtp, rtcp });
    let setup = |track: usize, user_agent: &str| Event::Setup {
        path: "cam".into(),
        query: String::new(),
        track: Some(track),
        transport: transports[track],
        new_session: track == 0,
        user_agent: user_agent.into(),
    };
    assert_eq!(reader.events(), [setup(0, ""), setup(1, "ff")]);

    assert_eq!(reader.ask("PLAY", CAM, &[session, "Range: npt=0-"]).code(), 200);
    let tracks = vec![(0, transports[0]), (1, transports[1])];
    assert_eq!(reader.events(), [Event::Play { tracks, start: Start::LastKeyframe }]);

    assert_eq!(reader.ask("PAUSE", CAM, &[session]).header("Session"), Some("s1;timeout=60"));
    assert_eq!(reader.events(), [Event::Paused]);

    let answer = reader.ask("TEARDOWN", CAM, &[session]);
    assert_eq!((answer.status(), answer.header("Session")), ("200 OK", None));
    assert_eq!(reader.events(), [Event::TornDown]);
    assert!(!reader.server.wants_close());
}

#[test]
fn a_udp_reader_learns_the_servers_ports_and_gets_rtp_at_its_own_address() {
    let mut reader = Reader::new();
    let answer = reader.setup(0, &format!("{UDP};destination=203.0.113.66"));
    assert_eq!(
        answer.header("Transport"),
        Some(
            "RTP/AVP;unicast;client_port=4000-4001;server_port=8000-8001;ssrc=000000A0;mode=\"PLAY\""
        )
    );
    let at = |port| SocketAddr::from(([10, 0, 0, 9], port));
    let [Event::Setup { transport, .. }] = &reader.events()[..] else { panic!("no SETUP") };
    assert_eq!(*transport, TrackTransport::Udp { rtp: at(4000), rtcp: at(4001) });
}

#[test]
fn play_tells_where_each_track_stands_in_the_clients_own_words() {
    let mut reader = Reader::new();
    let url = "rtsp://CAM.example/cam/?t=%20/trackID=";
    for (track, transport) in [TCP, TCP_2].into_iter().enumerate() {
        assert_eq!(reader.ask("SETUP", &format!("{url}{track}"), &[transport]).code(), 200);
    }
    let answer = reader.ask("PLAY", "rtsp://CAM.example/cam/?t=%20", &[]);
    assert_eq!(answer.header("Range"), Some("npt=now-"));
    assert_eq!(
        answer.header("RTP-Info"),
        Some(&format!("url={url}0;seq=100;rtptime=9000,url={url}1;seq=101;rtptime=9000")[..])
    );
}

/// The answer to PLAY where the shell answers `infos`.
fn play(infos: Vec<RtpInfo>) -> Answer {
    let mut reader = Reader::ready();
    let mut input = BytesMut::from(&message("PLAY", CAM, &["CSeq: 9"], "")[..]);
    reader.server.handle_input(&mut input, &mut String::new).unwrap();
    reader.server.answer_play(Ok(infos));
    Answer(String::from_utf8(reader.server.poll_output().unwrap().into()).unwrap())
}

#[test]
fn play_leaves_out_what_is_not_known_yet() {
    let info = RtpInfo { track: 0, sequence_number: None, rtp_timestamp: None };
    let url = format!("url={CAM}/trackID=0");
    assert_eq!(play(vec![info]).header("RTP-Info"), Some(&url[..]));
    let seq = RtpInfo { sequence_number: Some(0), ..info };
    assert_eq!(play(vec![seq]).header("RTP-Info"), Some(&format!("{url};seq=0")[..]));
    for infos in [vec![], vec![RtpInfo { track: 7, ..info }]] {
        let answer = play(infos);
        assert_eq!((answer.code(), answer.header("RTP-Info")), (200, None));
    }
}

#[test]
fn parameters_keep_the_session_alive() {
    let mut reader = Reader::playing();
    reader.events();
    for method in ["GET_PARAMETER", "SET_PARAMETER", "OPTIONS"] {
        let answer = reader.ask(method, CAM, &["Session: s1"]);
        assert_eq!((answer.code(), answer.header("Session")), (200, Some("s1;timeout=60")));
        assert_eq!(answer.body(), "");
    }
    // Some clients name a parameter to keep alive; whether it has a value is nothing to them.
    assert_eq!(reader.ask_with_body("GET_PARAMETER", CAM, &[], "position\r\n").code(), 200);
    assert_eq!(reader.events(), []);
}

#[test]
fn the_session_header_may_be_given_back_with_its_timeout() {
    let mut reader = Reader::ready();
    for session in ["Session: s1", "Session: s1;timeout=60", "session:  s1 ; timeout=60 "] {
        assert_eq!(reader.ask("PLAY", CAM, &[session]).code(), 200, "{session}");
    }
}

#[test]
fn the_announced_timeout_is_the_configured_one_and_at_least_a_second() {
    for (timeout, announced) in [(90_000, "s1;timeout=90"), (1, "s1;timeout=1")] {
        let config = ServerConfig { session_timeout: Duration::from_millis(timeout), ..config() };
        let mut reader = Reader::of(server_with(config), 's');
        assert_eq!(reader.setup(0, TCP).header("Session"), Some(announced));
    }
}

#[test]
fn a_session_id_is_not_valid_on_another_connection() {
    let mut owner = Reader::playing();
    let id = owner.server.session_id().unwrap().to_owned();
    let session = format!("Session: {id}");
    let mut idle = Reader::of(server_with(config()), 'x');
    let mut busy = Reader::of(server_with(config()), 'y');
    assert_eq!(busy.setup(0, TCP).code(), 200);
    busy.events();
    for method in ["OPTIONS", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER"] {
        for other in [&mut idle, &mut busy] {
            let answer = other.ask(method, &format!("{CAM}/trackID=1"), &[&session, TCP_2]);
            assert_eq!(answer.status(), "454 Session Not Found", "{method}");
            assert_eq!(answer.header("Session"), None);
            assert_eq!(other.events(), []);
        }
    }
    assert_eq!(owner.ask("PAUSE", CAM, &[&session]).code(), 200);
    assert_eq!(busy.server.session_id(), Some("y1"));
}

#[test]
fn another_session_may_follow_on_the_same_connection_under_another_id() {
    let mut reader = Reader::playing();
    assert_eq!(reader.ask("TEARDOWN", CAM, &["Session: s1"]).code(), 200);
    assert_eq!(reader.ask("PLAY", CAM, &["Session: s1"]).code(), 454);
    assert_eq!(reader.setup(1, TCP).header("Session"), Some("s2;timeout=60"));
    assert_eq!(reader.ask("PLAY", CAM, &["Session: s2"]).code(), 200);
}

#[test]
fn rtcp_is_handed_on_with_its_track_and_all_else_on_the_channels_is_passed_over() {
    let mut reader = Reader::new();
    reader.feed(&frame(1, b"before the session"));
    assert_eq!(reader.setup(0, TCP).code(), 200);
    assert_eq!(reader.setup(1, "Transport: RTP/AVP/TCP;interleaved=8-5").code(), 200);
    reader.events();
    for (channel, payload) in [(1, "a"), (0, "rtp"), (5, "b"), (8, "rtp"), (9, "none"), (1, "")] {
        reader.feed(&frame(channel, payload.as_bytes()));
    }
    let rtcp = |track, payload: &'static str| Event::Rtcp(track, payload.into());
    assert_eq!(reader.events(), [rtcp(0, "a"), rtcp(1, "b"), rtcp(0, "")]);
    assert_eq!(reader.ask("TEARDOWN", CAM, &[]).code(), 200);
    reader.events();
    reader.feed(&frame(1, b"after it"));
    assert_eq!(reader.events(), []);
}

#[test]
fn responses_of_the_client_are_passed_over() {
    let mut reader = Reader::new();
    reader.feed(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!((reader.outputs.len(), &reader.error), (0, &None));
    assert_eq!(reader.ask("OPTIONS", "*", &[]).code(), 200);
}

#[test]
fn an_answer_to_what_was_not_asked_changes_nothing() {
    let mut reader = Reader::ready();
    let mut input = BytesMut::from(&message("PLAY", CAM, &["CSeq: 7"], "")[..]);
    reader.server.handle_input(&mut input, &mut String::new).unwrap();
    reader.server.answer_describe(Ok(SDP.into()));
    reader.server.answer_setup(Err(Refusal::Internal));
    assert_eq!(reader.server.poll_output(), None);
    assert!(!reader.server.takes_more());
    reader.server.answer_play(Ok(vec![]));
    reader.server.answer_play(Ok(vec![]));
    assert!(reader.server.poll_output().unwrap().starts_with(b"RTSP/1.0 200 OK\r\nCSeq: 7\r\n"));
    assert_eq!(reader.server.poll_output(), None);
}
