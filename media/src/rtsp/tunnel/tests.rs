use proptest::prelude::*;

use super::*;

const GET: &str =
    "GET /cam HTTP/1.0\r\nx-sessioncookie: abc\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n";
const POST: &str = "POST /cam HTTP/1.1\r\nX-SessionCookie:abc\r\nContent-Length: 32767\r\n\r\nT1BU";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: x, rtsp.onvif.org\r\n\r\n";

fn taken(text: &str) -> Result<Option<HttpRequest>, HttpRefusal> {
    take_request(&mut BytesMut::from(text))
}

#[test]
fn the_first_line_tells_rtsp_from_http_however_it_is_cut() {
    for (text, expected) in [
        ("OPTIONS * RTSP/1.0\r\n", Opening::Rtsp),
        ("GET_PARAMETER x RTSP/1.0\r\n", Opening::Rtsp),
        ("GET x RTSP/1.0\r\n", Opening::Rtsp),
        ("GET \r\n", Opening::Rtsp),
        ("PLAY x RTSP/1.0\r\n", Opening::Rtsp),
        ("POSTHUMOUS x HTTP/1.0\r\n", Opening::Rtsp),
        ("\r\nGET / HTTP/1.1\r\n", Opening::Rtsp),
        ("$\0\0\0", Opening::Rtsp),
        ("GET / HTTP/1.1\r\n", Opening::Http),
        ("POST /a b HTTP/1.0\n", Opening::Http),
    ] {
        assert_eq!(opening(text.as_bytes()), Some(expected), "{text}");
        // What is decided early stays so.
        let early = (0..text.len()).find_map(|end| opening(&text.as_bytes()[..end]));
        assert!(early.is_none_or(|early| early == expected), "{text}");
    }
    assert_eq!(opening(b""), None);
    assert_eq!(opening(b"GET /and so on"), None);
    let endless = ["GET ".as_bytes(), &vec![b'x'; MAX_HEAD_BYTES]].concat();
    assert_eq!(opening(&endless), Some(Opening::Http), "it is refused there");
}

#[test]
fn a_request_is_found_however_its_input_is_split_and_what_is_behind_it_stays() {
    let cookie = || "abc".to_owned();
    let key = "dGhlIHNhbXBsZSBub25jZQ==".to_owned();
    for (text, expected, behind) in [
        (GET, HttpRequest::Get { cookie: cookie() }, ""),
        (POST, HttpRequest::Post { cookie: cookie() }, "T1BU"),
        (UPGRADE, HttpRequest::WebSocket { key }, ""),
    ] {
        for split in 0..text.len() {
            let mut input = BytesMut::from(&text[..split]);
            let mut found = take_request(&mut input).unwrap();
            input.extend_from_slice(&text.as_bytes()[split..]);
            if found.is_none() {
                found = take_request(&mut input).unwrap();
            }
            assert_eq!((found.as_ref(), &input[..]), (Some(&expected), behind.as_bytes()));
        }
    }
}

#[test]
fn what_carries_no_rtsp_is_refused() {
    let long = "x".repeat(MAX_COOKIE_BYTES + 1);
    for text in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nx-sessioncookie:\r\n\r\n",
        "GET / HTTP/1.1\r\nx-sessioncookie: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nx-sessioncookie: \u{e9}\r\n\r\n",
        &format!("GET / HTTP/1.1\r\nx-sessioncookie: {long}\r\n\r\n"),
        &POST.replace("Content-Length: 32767", "Transfer-Encoding: chunked"),
        &UPGRADE.replace("rtsp.onvif.org", "chat"),
        &UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        &UPGRADE.replace("Upgrade: WebSocket", "Upgrade: h2c"),
        &UPGRADE.replace("keep-alive, Upgrade", "keep-alive"),
    ] {
        assert_eq!(taken(text), Err(HttpRefusal::BadRequest), "{text}");
    }
    let old = UPGRADE.replace("Version: 13", "Version: 8");
    assert_eq!(taken(&old), Err(HttpRefusal::UpgradeRequired));
}

#[test]
fn a_header_block_beyond_its_bound_is_refused() {
    let fitting = MAX_HEAD_BYTES - GET.len() - "x: \r\n".len();
    for (more, expected) in [
        (fitting, Ok(Some(HttpRequest::Get { cookie: "abc".into() }))),
        (fitting + 1, Err(HttpRefusal::TooLarge)),
    ] {
        let text = GET.replace("\r\n\r\n", &format!("\r\nx: {}\r\n\r\n", "y".repeat(more)));
        assert_eq!(taken(&text), expected);
    }
    assert_eq!(taken(&"x".repeat(MAX_HEAD_BYTES)), Ok(None));
}

#[test]
fn answers_are_whole_header_blocks() {
    let refusals = [
        HttpRefusal::BadRequest,
        HttpRefusal::NotFound,
        HttpRefusal::Conflict,
        HttpRefusal::UpgradeRequired,
        HttpRefusal::TooLarge,
    ];
    let answers = refusals.map(HttpRefusal::answer).into_iter();
    for answer in answers.chain([tunnel_answer(), websocket_answer("k")]) {
        let text = std::str::from_utf8(&answer).unwrap();
        let head = text.strip_suffix("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1."), "{text}");
        assert!(head.split("\r\n").skip(1).all(|line| line.contains(": ")), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for begin in ["", "GET ", "POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nx-sessioncookie: "] {
            let text = [begin.as_bytes(), &bytes, b"\r\n\r\n"].concat();
            let _ = opening(&text);
            let _ = take_request(&mut BytesMut::from(&text[..]));
        }
    }
}
