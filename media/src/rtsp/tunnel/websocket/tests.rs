use proptest::prelude::*;

use super::*;

/// A frame as a client sends it.
fn masked(finished: bool, opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut plain = BytesMut::new();
    frame(opcode, payload, &mut plain);
    let header = plain.len() - payload.len();
    let mut bytes = plain.to_vec();
    bytes[0] = u8::from(finished) << 7 | opcode;
    bytes[1] |= 0x80;
    for (byte, key) in bytes[header..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    bytes.splice(header..header, mask);
    bytes
}

const MASK: [u8; 4] = [1, 2, 3, 0xFF];

/// What comes of pieces: the stream, and the answers.
fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), WebSocketError> {
    let mut reader = WebSocketReader::default();
    let (mut raw, mut decoded) = (BytesMut::new(), BytesMut::new());
    let mut answers = BytesMut::new();
    for piece in pieces {
        raw.extend_from_slice(piece);
        reader.read(&mut raw, &mut decoded, &mut answers)?;
        assert!(raw.len() < 140, "{} bytes are left", raw.len());
    }
    Ok((decoded.to_vec(), answers.to_vec()))
}

#[test]
fn the_accept_key_is_that_of_the_specification() {
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn messages_are_one_stream_whatever_their_frames_and_pieces() {
    let all = [
        masked(true, opcode::BINARY, b"OPTIONS ", MASK),
        masked(false, opcode::BINARY, b"* RT", [0; 4]),
        masked(true, opcode::PING, b"here?", MASK),
        masked(false, opcode::CONTINUATION, b"", MASK),
        masked(true, opcode::CONTINUATION, b"SP/1.0\r\n", MASK),
        masked(true, opcode::PONG, b"", MASK),
        masked(true, opcode::BINARY, &[b'x'; 300], MASK),
    ]
    .concat();
    let expected = [&b"OPTIONS * RTSP/1.0\r\n"[..], &[b'x'; 300]].concat();
    for split in 0..=all.len() {
        let (a, b) = all.split_at(split);
        let (decoded, answers) = read(&[a, b]).unwrap();
        assert_eq!((decoded, &answers[..]), (expected.clone(), &b"\x8A\x05here?"[..]), "{split}");
    }
    let bytes: Vec<_> = all.chunks(1).collect();
    assert_eq!(read(&bytes).unwrap().0, expected);
}

#[test]
fn what_a_client_must_not_send_closes_the_socket() {
    let binary = |finished| masked(finished, opcode::BINARY, b"x", MASK);
    let mut unmasked = BytesMut::new();
    frame(opcode::BINARY, b"x", &mut unmasked);
    let mut reserved = binary(true);
    reserved[0] |= 0x40;
    for (what, bytes) in [
        ("without a mask", unmasked.to_vec()),
        ("with reserved bits", reserved),
        ("continues no message", masked(true, opcode::CONTINUATION, b"x", MASK)),
        ("begins a message within another", [binary(false), binary(true)].concat()),
        ("of an unknown type", masked(true, 3, b"x", MASK)),
        ("of an unknown type", masked(true, 11, b"x", MASK)),
        ("of control that is not whole or too long", masked(false, opcode::PING, b"x", MASK)),
        ("of control that is not whole or too long", masked(true, opcode::PING, &[0; 126], MASK)),
    ] {
        assert_eq!(read(&[&bytes]), Err(WebSocketError::Protocol(what)), "{bytes:?}");
    }
    assert_eq!(read(&[&masked(true, opcode::TEXT, b"x", MASK)]), Err(WebSocketError::Text));
    let close = masked(true, opcode::CLOSE, &1001u16.to_be_bytes(), MASK);
    assert_eq!(read(&[&close]), Err(WebSocketError::Closed));
}

#[test]
fn the_server_says_why_it_closes() {
    for (why, code) in [
        (WebSocketError::Closed, 1000u16),
        (WebSocketError::Protocol("x"), 1002),
        (WebSocketError::Text, 1003),
    ] {
        assert_eq!(close_frame(why), [&[0x88, 2], &code.to_be_bytes()[..]].concat());
    }
}

#[test]
fn each_interleaved_frame_and_each_response_is_a_message() {
    for (rtsp, expected) in [
        (&b"RTSP/1.0 200 OK\r\n\r\n"[..], &b"\x82\x13RTSP/1.0 200 OK\r\n\r\n"[..]),
        (b"$\0\0\x02ab$\x01\0\0", b"\x82\x06$\0\0\x02ab\x82\x04$\x01\0\0"),
        (b"", b""),
    ] {
        let mut out = BytesMut::new();
        messages(rtsp, &mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn messages_of_every_length_announce_it() {
    for (length, header) in [
        (0, vec![0x82, 0]),
        (125, vec![0x82, 125]),
        (126, vec![0x82, 126, 0, 126]),
        (65_535, vec![0x82, 126, 0xFF, 0xFF]),
        (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut out = BytesMut::new();
        frame(opcode::BINARY, &vec![7; length], &mut out);
        assert_eq!(out[..header.len()], header);
        assert_eq!(out.len(), header.len() + length);
    }
}

proptest! {
    #[test]
    fn any_messages_come_out_of_any_pieces(
        messages in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>()), 0..6),
        size in 1usize..90,
    ) {
        let (mut raw, mut expected) = (vec![], vec![]);
        for (payload, mask) in messages {
            raw.extend(masked(true, opcode::BINARY, &payload, mask));
            expected.extend(payload);
        }
        let pieces: Vec<_> = raw.chunks(size).collect();
        prop_assert_eq!(read(&pieces).unwrap().0, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&[&bytes]);
        let _ = read(&bytes.chunks(1).collect::<Vec<_>>());
    }
}
