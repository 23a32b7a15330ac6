//! What clients do that no specification needs, and that has to work all the same.

use super::*;

fn tracks(events: &[Event]) -> Vec<usize> {
    let play = events.iter().find_map(|event| match event {
        Event::Play { tracks, .. } => Some(tracks),
        Event::Describe { .. }
        | Event::Setup { .. }
        | Event::Paused
        | Event::TornDown
        | Event::Rtcp(..) => None,
    });
    play.expect("no PLAY").iter().map(|(track, _)| *track).collect()
}

#[test]
fn options_needs_no_path_no_host_and_no_session() {
    let mut reader = Reader::new();
    for url in ["*", "/", "rtsp://h", "rtsp://h/", "rtsp://[::1]:8554", "RTSP://h:8554/cam/"] {
        assert_eq!(reader.ask("OPTIONS", url, &[]).code(), 200, "{url}");
    }
}

#[test]
fn tracks_may_be_set_up_in_any_order_and_one_may_be_left_out() {
    for (order, expected) in [(&[1, 0][..], vec![1, 0]), (&[1], vec![1]), (&[0], vec![0])] {
        let mut reader = Reader::new();
        for &track in order {
            assert_eq!(reader.setup(track, "Transport: RTP/AVP/TCP").code(), 200);
        }
        let answer = reader.ask("PLAY", CAM, &[]);
        assert_eq!(tracks(&reader.events()), expected);
        let infos: Vec<_> = answer.header("RTP-Info").unwrap().split(',').collect();
        assert_eq!(infos.len(), expected.len());
    }
}

#[test]
fn controls_may_be_absolute_relative_encoded_and_end_in_slashes() {
    for (first, second, play) in [
        ("rtsp://h/cam/trackID=0", "/cam/trackID=1", "/cam"),
        ("rtsp://h/cam//trackID=0/", "rtsp://h/cam/trackID=1//", "rtsp://h/cam//"),
        ("rtsp://h/c%61m/trackID=0", "rtsp://h/%63am/trackID=1", "rtsp://h/ca%6D/"),
        ("rtsp://h/cam?a=b/trackID=0", "rtsp://h/cam/trackID=1?a=b", "rtsp://h/cam?a=b"),
        ("rtsp://h/cam/TrackID=0", "rtsp://other/cam/trackid=1", "rtsp://h/cam/trackID=1"),
    ] {
        let mut reader = Reader::new();
        for (url, transport) in [(first, TCP), (second, TCP_2)] {
            assert_eq!(reader.ask("SETUP", url, &[transport]).code(), 200, "{url}");
        }
        assert_eq!(reader.ask("PLAY", play, &[]).code(), 200, "{play}");
        assert_eq!(tracks(&reader.events()), [0, 1]);
    }
}

#[test]
fn of_several_transports_the_first_that_can_be_served_is_taken_in_one_header_or_in_more() {
    let expected = "RTP/AVP/TCP;unicast;interleaved=6-7;ssrc=000000A0;mode=\"PLAY\"";
    let refused = "RTP/SAVP;unicast;client_port=1-2";
    let tcp = "RTP/AVP/TCP;unicast;interleaved=6-7";
    let one = format!("Transport: {refused},RTP/AVP/UDP;multicast , {tcp},RTP/AVP;client_port=1-2");
    assert_eq!(Reader::new().setup(0, &one).header("Transport"), Some(expected));
    let two = format!("Transport: {refused}\r\nTransport: {tcp}");
    assert_eq!(Reader::new().setup(0, &two).header("Transport"), Some(expected));
}

#[test]
fn any_pair_of_channels_may_be_asked_for_and_a_taken_one_is_refused() {
    let mut reader = Reader::new();
    let channels = |pair: &str| format!("Transport: RTP/AVP/TCP;unicast;interleaved={pair}");
    let answer = reader.setup(0, &channels("254-3"));
    assert!(answer.header("Transport").unwrap().contains(";interleaved=254-3;"));
    assert_eq!(reader.setup(1, &channels("3-4")).code(), 461);
    assert_eq!(reader.setup(1, &channels("0-255")).code(), 200);
}

#[test]
fn play_may_be_repeated_and_follow_pause_as_often_as_a_client_likes() {
    let mut reader = Reader::ready();
    reader.events();
    for _ in 0..3 {
        assert_eq!(reader.ask("PLAY", CAM, &[]).code(), 200);
        assert_eq!(reader.ask("PLAY", CAM, &["Range: npt=now-"]).code(), 200);
        assert_eq!(reader.ask("PAUSE", CAM, &[]).code(), 200);
        assert_eq!(reader.ask("PAUSE", CAM, &[]).code(), 200);
    }
    let paused = reader.events().into_iter().filter(|event| *event == Event::Paused).count();
    assert_eq!(paused, 3, "a session that rests is not paused again");
}

#[test]
fn a_whole_session_may_be_asked_for_at_once() {
    let mut reader = Reader::new();
    let setup = format!("{CAM}/trackID=0");
    let all: Vec<_> = [
        ("OPTIONS", "*", ""),
        ("DESCRIBE", CAM, "Accept: application/sdp"),
        ("SETUP", &setup, TCP),
        ("PLAY", CAM, "Range: npt=0.000-"),
        ("GET_PARAMETER", CAM, "Session: s1"),
        ("TEARDOWN", CAM, "Session: s1"),
    ]
    .iter()
    .enumerate()
    .map(|(n, (method, url, more))| {
        let cseq = format!("CSeq: {n}");
        let headers = [cseq.as_str(), more];
        message(method, url, &headers[..1 + usize::from(!more.is_empty())], "")
    })
    .collect();
    reader.feed(all.concat().as_bytes());
    assert_eq!(reader.outputs.len(), 6);
    for (n, output) in std::mem::take(&mut reader.outputs).into_iter().enumerate() {
        let answer = Answer(output);
        assert_eq!((answer.code(), answer.header("CSeq")), (200, Some(&n.to_string()[..])));
    }
}

#[test]
fn rtsp_2_is_told_its_version_is_not_served_and_may_go_on_with_1() {
    let mut reader = Reader::new();
    for method in ["OPTIONS", "DESCRIBE", "SETUP", "PLAY_NOTIFY"] {
        let answer = reader.say(&format!("{method} {CAM} RTSP/2.0\r\nCSeq: 4\r\n\r\n"));
        assert_eq!((answer.code(), answer.header("CSeq")), (505, Some("4")), "{method}");
    }
    assert_eq!(reader.ask("OPTIONS", CAM, &[]).code(), 200);
}
