//! Input in any split, cut anywhere, and up to every bound.

use proptest::prelude::*;

use super::*;

/// One thing that the reader sends, how many answers and events it makes.
type Item = (Vec<u8>, usize, usize);

/// A whole session: pipelined requests with frames between them, a body, blank lines, refused and unreadable requests.
fn dialog() -> Vec<Item> {
    let asked = |method: &str, url: &str, rest: &[&str], events| {
        (message(method, url, rest, "").into_bytes(), 1, events)
    };
    let of_track = |n: u8| format!("{CAM}/trackID={n}");
    vec![
        asked("OPTIONS", "*", &["CSeq: 1"], 0),
        asked("DESCRIBE", CAM, &["CSeq: 2", "Accept: application/sdp"], 1),
        asked("DESCRIBE", "rtsp://h/other", &["CSeq: 3"], 1),
        asked("SETUP", &of_track(0), &["CSeq: 4", TCP], 1),
        (frame(1, b"rtcp \r\n\r\n"), 0, 1),
        asked("SETUP", &of_track(1), &["CSeq: 5", "Session: s1", TCP_2], 1),
        (frame(0, b"RTP that punches a hole"), 0, 0),
        asked("PLAY", CAM, &["CSeq: 6", "Session: s1", "Range: npt=now-"], 1),
        (frame(3, b"$\x01\0\x04"), 0, 1),
        (frame(1, b""), 0, 1),
        (b"\r\n\r\n".to_vec(), 0, 0),
        (message("SET_PARAMETER", CAM, &["CSeq: 7"], "$\0\r\n\r\nx").into_bytes(), 1, 0),
        (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n".to_vec(), 0, 0),
        asked("PAUSE", CAM, &["CSeq: 8"], 1),
        (b"GET_PARAMETER * RTSP/1.0\nCSeq: 9\n\n".to_vec(), 1, 0),
        asked("RECORD", CAM, &["CSeq: 10"], 0),
        asked("TEARDOWN", CAM, &["CSeq: 11", "Session: s1;timeout=60"], 1),
        (frame(1, b"too late"), 0, 0),
        asked("OPTIONS", "*", &["CSeq: 12"], 0),
    ]
}

fn bytes(dialog: &[Item]) -> Vec<u8> {
    dialog.iter().flat_map(|(bytes, ..)| bytes.clone()).collect()
}

/// A reader after the whole dialog in one piece.
fn whole() -> Reader {
    let mut reader = Reader::new();
    reader.feed(&bytes(&dialog()));
    reader
}

#[test]
fn the_dialog_is_answered_in_its_order() {
    let reader = whole();
    let answers: Vec<_> = reader.outputs.into_iter().map(Answer).collect();
    let codes: Vec<_> = answers.iter().map(Answer::code).collect();
    assert_eq!(codes, [200, 200, 404, 200, 200, 200, 451, 200, 400, 405, 200, 200]);
    for (answer, cseq) in answers.iter().zip(1..) {
        assert_eq!(answer.header("CSeq"), Some(&format!("{cseq}")[..]));
    }
    assert_eq!((reader.error, reader.input.len()), (None, 0));
}

#[test]
fn each_item_makes_what_is_said_of_it() {
    let mut reader = Reader::new();
    for (bytes, answers, events) in dialog() {
        reader.feed(&bytes);
        assert_eq!((reader.outputs.len(), reader.events().len()), (answers, events), "{bytes:?}");
        reader.outputs.clear();
    }
}

#[test]
fn every_split_in_two_gives_the_same_answers_and_events() {
    let (bytes, whole) = (bytes(&dialog()), whole());
    for split in 0..=bytes.len() {
        let mut reader = Reader::new();
        reader.feed(&bytes[..split]);
        reader.feed(&bytes[split..]);
        assert_eq!(reader.outputs, whole.outputs, "split at {split}");
        assert_eq!(reader.events, whole.events, "split at {split}");
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_answers_and_events() {
    let whole = whole();
    let mut reader = Reader::new();
    bytes(&dialog()).iter().for_each(|&byte| reader.feed(&[byte]));
    assert_eq!((reader.outputs, reader.events), (whole.outputs, whole.events));
}

#[test]
fn nothing_is_answered_before_its_last_byte() {
    let (dialog, whole) = (dialog(), whole());
    let bytes = bytes(&dialog);
    for end in 0..=bytes.len() {
        let (mut reader, mut at, mut answers, mut events) = (Reader::new(), 0, 0, 0);
        reader.feed(&bytes[..end]);
        for (item, its_answers, its_events) in &dialog {
            at += item.len();
            if at <= end {
                answers += its_answers;
                events += its_events;
            }
        }
        assert_eq!(reader.outputs, whole.outputs[..answers], "cut at {end}");
        assert_eq!(reader.events, whole.events[..events], "cut at {end}");
        assert_eq!(reader.error, None, "cut at {end}");
    }
}

#[test]
fn what_is_pipelined_behind_a_request_waits_for_its_answer() {
    let mut reader = Reader::new();
    let mut input = BytesMut::from(&bytes(&dialog()[1..])[..]);
    let mut ids = || "s1".to_owned();
    reader.server.handle_input(&mut input, &mut ids).unwrap();
    let waiting = input.len();
    reader.server.handle_input(&mut input, &mut ids).unwrap();
    assert_eq!((input.len(), reader.server.poll_output()), (waiting, None));
    assert!(matches!(reader.server.poll_event(), Some(Event::Describe { .. })));
    assert_eq!(reader.server.poll_event(), None);
    reader.server.answer_describe(Err(Refusal::Unavailable));
    assert!(reader.server.poll_output().unwrap().starts_with(b"RTSP/1.0 503"));
    reader.server.handle_input(&mut input, &mut ids).unwrap();
    assert!(input.len() < waiting);
}

/// A header block of exactly so many bytes, its CSeq last.
fn head(bytes: usize) -> String {
    let (begin, end) = ("OPTIONS * RTSP/1.0\r\nCSeq: 12\r\nX-Fill: ", "\r\nCSeq: 13\r\n\r\n");
    format!("{begin}{}{end}", "x".repeat(bytes - begin.len() - end.len()))
}

#[test]
fn a_header_block_of_16_kib_is_read_and_one_byte_more_closes() {
    assert_eq!(Reader::new().say(&head(16 << 10)).status(), "200 OK");
    let mut reader = Reader::new();
    let answer = reader.say(&head((16 << 10) + 1));
    assert_eq!(answer.status(), "400 Bad Request");
    assert_eq!((answer.header("CSeq"), answer.header("Connection")), (Some("12"), Some("close")));
    let error = RtspError::Protocol { what: "a header block over 16 KiB", at: 0 };
    assert_eq!(reader.error, Some(error));
    assert!(reader.server.wants_close());
    reader.feed(b"OPTIONS * RTSP/1.0\r\nCSeq: 3\r\n\r\n");
    assert_eq!(reader.outputs.len(), 1);
}

#[test]
fn an_endless_header_block_is_answered_the_same_in_every_split_and_with_no_half_cseq() {
    let (begin, fill) = ("OPTIONS * RTSP/1.0\r\nX-Fill: ", "x".repeat(16 << 10));
    // The bound falls behind the 2 of CSeq.
    let filled = (16 << 10) - begin.len() - "\r\nCSeq: 12".len();
    let text = format!("{begin}{}\r\nCSeq: 12345\r\n{fill}\r\n\r\n", &fill[..filled]);
    let mut whole = Reader::new();
    let answer = whole.say(&text);
    assert_eq!((answer.code(), answer.header("CSeq")), (400, None));
    for split in [(16 << 10) - 2, 16 << 10, (16 << 10) + 1, (16 << 10) + 30] {
        let mut reader = Reader::new();
        reader.feed(&text.as_bytes()[..split]);
        reader.feed(&text.as_bytes()[split..]);
        assert_eq!((reader.outputs, reader.error), (whole.outputs.clone(), whole.error.clone()));
    }
}

#[test]
fn a_body_of_64_kib_is_read_and_one_byte_more_closes() {
    let mut reader = Reader::new();
    let answer = reader.ask_with_body("SET_PARAMETER", CAM, &[], &"x".repeat(64 << 10));
    assert_eq!(answer.code(), 451);
    let text = message("SET_PARAMETER", CAM, &["CSeq: 2"], &"x".repeat((64 << 10) + 1));
    assert_eq!(reader.say(&text).code(), 413);
    assert!(reader.server.wants_close());
}

#[test]
fn no_more_requests_are_read_than_answers_have_room() {
    let request = message("OPTIONS", "*", &["CSeq: 1"], "");
    let mut server = server_with(config());
    let mut input = BytesMut::from(&request.repeat(MAX_OUTPUTS + 3)[..]);
    let mut taken = vec![];
    while !input.is_empty() {
        server.handle_input(&mut input, &mut String::new).unwrap();
        assert_eq!(server.takes_more(), input.is_empty());
        taken.push(std::iter::from_fn(|| server.poll_output()).count());
        assert!(server.takes_more());
    }
    assert_eq!(taken, [MAX_OUTPUTS, 3]);
}

#[test]
fn no_more_frames_are_read_than_events_have_room() {
    let mut server = Reader::ready().server;
    let mut input = BytesMut::from(&frame(1, b"rtcp").repeat(MAX_EVENTS + 3)[..]);
    let mut taken = vec![];
    while !input.is_empty() {
        server.handle_input(&mut input, &mut String::new).unwrap();
        assert_eq!(server.takes_more(), input.is_empty());
        taken.push(std::iter::from_fn(|| server.poll_event()).count());
        assert!(server.takes_more());
    }
    assert_eq!(taken, [MAX_EVENTS, 3]);
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_answers_and_events(
        sizes in proptest::collection::vec(1usize..300, 1..200),
    ) {
        let (bytes, whole) = (bytes(&dialog()), whole());
        let (mut reader, mut rest) = (Reader::new(), &bytes[..]);
        for size in sizes.iter().cycle() {
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            reader.feed(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!((reader.outputs, reader.events), (whole.outputs, whole.events));
    }

    #[test]
    fn no_bytes_make_it_panic_or_hold_more_than_its_bounds(
        at in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = bytes(&dialog());
        let at = at.index(bytes.len());
        bytes.splice(at..(at + noise.len() / 2).min(bytes.len()), noise);
        let mut reader = Reader::new();
        reader.feed(&bytes);
        prop_assert!(reader.server.takes_more() || reader.server.wants_close());
        prop_assert!(reader.input.len() <= bytes.len());
        for output in reader.outputs {
            prop_assert!(output.starts_with("RTSP/1.0 ") && output.contains("\r\n\r\n"));
        }
    }
}
