//! The cells of the state table of [`ServerConnection`].

use super::*;

/// What a request in a state is answered, which events it makes, and whether there is a session then.
fn cell(reader: &mut Reader, method: &str, headers: &[&str]) -> (u16, Vec<Event>, bool) {
    reader.events();
    let url = if method == "SETUP" { &format!("{CAM}/trackID=1") } else { CAM };
    let code = reader.ask(method, url, &[headers, &[TCP_2]].concat()).code();
    (code, reader.events(), reader.server.session_id().is_some())
}

/// Playing is what refuses SETUP of one more track.
fn is_playing(reader: &mut Reader) -> bool {
    match reader.setup(2, "Transport: RTP/AVP/TCP;unicast").code() {
        455 => true,
        200 => false,
        code => panic!("{code}"),
    }
}

fn transport(rtp: u8) -> TrackTransport {
    TrackTransport::Interleaved { rtp, rtcp: rtp + 1 }
}

fn play_of_track_0() -> Event {
    Event::Play { tracks: vec![(0, transport(0))], start: Start::LastKeyframe }
}

#[test]
fn setup_in_init_makes_a_session_that_is_ready() {
    let mut reader = Reader::new();
    let (code, events, session) = cell(&mut reader, "SETUP", &[]);
    assert!(matches!(events[..], [Event::Setup { new_session: true, track: Some(1), .. }]));
    assert!(code == 200 && session && !is_playing(&mut reader));
}

#[test]
fn play_in_init_is_455_and_454_with_an_unknown_session() {
    assert_eq!(cell(&mut Reader::new(), "PLAY", &[]), (455, vec![], false));
    assert_eq!(cell(&mut Reader::new(), "PLAY", &["Session: s1"]), (454, vec![], false));
}

#[test]
fn pause_in_init_is_455() {
    assert_eq!(cell(&mut Reader::new(), "PAUSE", &[]), (455, vec![], false));
}

#[test]
fn teardown_in_init_is_454() {
    assert_eq!(cell(&mut Reader::new(), "TEARDOWN", &[]), (454, vec![], false));
}

#[test]
fn setup_in_ready_adds_a_track() {
    let mut reader = Reader::ready();
    let (code, events, _) = cell(&mut reader, "SETUP", &["Session: s1"]);
    assert!(matches!(events[..], [Event::Setup { new_session: false, track: Some(1), .. }]));
    assert_eq!(code, 200);
    let tracks = vec![(0, transport(0)), (1, transport(2))];
    assert_eq!(
        cell(&mut reader, "PLAY", &[]),
        (200, vec![Event::Play { tracks, start: Start::LastKeyframe }], true)
    );
}

#[test]
fn play_in_ready_plays() {
    let mut reader = Reader::ready();
    assert_eq!(cell(&mut reader, "PLAY", &[]), (200, vec![play_of_track_0()], true));
    assert!(is_playing(&mut reader));
}

#[test]
fn pause_in_ready_stays_and_says_nothing_to_the_shell() {
    let mut reader = Reader::ready();
    assert_eq!(cell(&mut reader, "PAUSE", &[]), (200, vec![], true));
    assert!(!is_playing(&mut reader));
}

#[test]
fn teardown_in_ready_ends_the_session() {
    let mut reader = Reader::ready();
    assert_eq!(cell(&mut reader, "TEARDOWN", &[]), (200, vec![Event::TornDown], false));
    assert_eq!(cell(&mut reader, "PLAY", &[]), (455, vec![], false));
}

#[test]
fn setup_in_playing_is_455() {
    assert_eq!(cell(&mut Reader::playing(), "SETUP", &[]), (455, vec![], true));
}

#[test]
fn play_in_playing_is_asked_again_and_stays() {
    let mut reader = Reader::playing();
    assert_eq!(cell(&mut reader, "PLAY", &[]), (200, vec![play_of_track_0()], true));
    assert!(is_playing(&mut reader));
}

#[test]
fn pause_in_playing_is_ready_and_play_goes_on_from_there() {
    let mut reader = Reader::playing();
    assert_eq!(cell(&mut reader, "PAUSE", &[]), (200, vec![Event::Paused], true));
    assert_eq!(cell(&mut reader, "PLAY", &[]), (200, vec![play_of_track_0()], true));
    assert_eq!(cell(&mut reader, "PAUSE", &[]), (200, vec![Event::Paused], true));
    assert!(!is_playing(&mut reader));
}

#[test]
fn teardown_in_playing_ends_the_session() {
    let mut reader = Reader::playing();
    assert_eq!(cell(&mut reader, "TEARDOWN", &[]), (200, vec![Event::TornDown], false));
    assert_eq!(cell(&mut reader, "PAUSE", &[]), (455, vec![], false));
}

#[test]
fn the_url_of_a_track_or_of_the_server_means_the_whole_session() {
    for url in [&format!("{CAM}/trackID=0"), "*", "rtsp://h/"] {
        let mut reader = Reader::ready();
        assert_eq!(reader.setup(1, TCP_2).code(), 200);
        reader.events();
        for method in ["PLAY", "PAUSE", "TEARDOWN"] {
            assert_eq!(reader.ask(method, url, &[]).code(), 200, "{method} {url}");
        }
        let tracks = vec![(0, transport(0)), (1, transport(2))];
        assert_eq!(
            reader.events(),
            [Event::Play { tracks, start: Start::LastKeyframe }, Event::Paused, Event::TornDown]
        );
    }
}

#[test]
fn a_refused_request_leaves_the_state_as_it_was() {
    // SETUP of the only track: no session is left of it.
    let mut reader = Reader::new();
    assert_eq!(reader.setup(16, TCP).code(), 404);
    assert_eq!(reader.server.session_id(), None);
    // SETUP of a further one: its channels are free again.
    let mut reader = Reader::ready();
    assert_eq!(reader.setup(16, TCP_2).code(), 404);
    assert_eq!(reader.setup(1, TCP_2).code(), 200);
    // PLAY.
    let mut input = BytesMut::from(&message("PLAY", CAM, &["CSeq: 7"], "")[..]);
    reader.server.handle_input(&mut input, &mut String::new).unwrap();
    reader.server.answer_play(Err(Refusal::Unavailable));
    let answer = reader.server.poll_output().unwrap();
    assert!(answer.starts_with(b"RTSP/1.0 503 Service Unavailable\r\nCSeq: 7\r\n"));
    reader.server.poll_event();
    assert!(!is_playing(&mut reader));
}
