//! What the query of a URL asks for, in whichever request it stands.

use super::*;

/// Where PLAY starts after requests with these queries; `None`: no DESCRIBE.
fn start(describe: Option<&str>, setups: [&str; 2], play: &str) -> Start {
    let mut reader = Reader::new();
    if let Some(query) = describe {
        assert_eq!(reader.ask("DESCRIBE", &format!("{CAM}{query}"), &[]).code(), 200);
    }
    for (track, (query, transport)) in setups.into_iter().zip([TCP, TCP_2]).enumerate() {
        let url = format!("{CAM}/{query}/trackID={track}");
        assert_eq!(reader.ask("SETUP", &url, &[transport]).code(), 200);
    }
    assert_eq!(reader.ask("PLAY", &format!("{CAM}/{play}"), &[]).code(), 200);
    match reader.events().pop() {
        Some(Event::Play { start, .. }) => start,
        other => panic!("no PLAY: {other:?}"),
    }
}

#[test]
fn a_start_at_the_live_edge_may_be_asked_for_in_any_request() {
    const LIVE: &str = "?start=live";
    const KEYFRAME: &str = "?start=keyframe";
    for (describe, setups, play, expected) in [
        (None, ["", ""], "", Start::LastKeyframe),
        (Some(""), ["", ""], "", Start::LastKeyframe),
        (Some(LIVE), ["", ""], "", Start::NextKeyframe),
        (Some(LIVE), [LIVE, LIVE], "?start=live/", Start::NextKeyframe),
        (None, [LIVE, ""], "", Start::NextKeyframe),
        (Some(""), ["", LIVE], "", Start::NextKeyframe),
        (None, ["", ""], LIVE, Start::NextKeyframe),
        (Some(LIVE), ["", KEYFRAME], "", Start::LastKeyframe),
        (Some(LIVE), [LIVE, ""], KEYFRAME, Start::LastKeyframe),
    ] {
        assert_eq!(start(describe, setups, play), expected, "{describe:?} {setups:?} {play}");
    }
}

#[test]
fn what_one_play_asks_for_does_not_hold_for_the_next() {
    let mut reader = Reader::ready();
    reader.events();
    for (url, expected) in [("?start=live", Start::NextKeyframe), ("", Start::LastKeyframe)] {
        assert_eq!(reader.ask("PLAY", &format!("{CAM}{url}"), &[]).code(), 200);
        assert_eq!(reader.ask("PAUSE", CAM, &[]).code(), 200);
        let events = reader.events();
        assert!(matches!(events[0], Event::Play { start, .. } if start == expected), "{events:?}");
    }
}

#[test]
fn what_was_asked_for_another_stream_does_not_count() {
    let mut reader = Reader::new();
    assert_eq!(reader.ask("DESCRIBE", &format!("{CAM}2?start=live"), &[]).code(), 404);
    assert_eq!(reader.setup(0, TCP).code(), 200);
    assert_eq!(reader.ask("PLAY", CAM, &[]).code(), 200);
    let events = reader.events();
    assert!(matches!(events[2], Event::Play { start: Start::LastKeyframe, .. }), "{events:?}");
}
