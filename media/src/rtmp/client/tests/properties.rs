//! What holds whatever a server says.

use proptest::prelude::*;

use super::*;

fn argument() -> impl Strategy<Value = Value> {
    let code = prop::sample::select(vec![
        "NetStream.Play.Start",
        "NetStream.Play.Start",
        "NetStream.Play.Reset",
        "NetStream.Play.Stop",
        "NetStream.Play.StreamNotFound",
        "NetConnection.Connect.Success",
    ]);
    let level = prop::sample::select(vec!["status", "error"]);
    prop_oneof![
        (0..4_u8).prop_map(|n| Value::Number(n.into())),
        Just(Value::Number(f64::NAN)),
        prop::sample::select(vec![Value::Null, Value::Undefined, Value::AvmPlus]),
        (code, level)
            .prop_map(|(code, level)| object([("code", text(code)), ("level", text(level))])),
    ]
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let names = ["_result", "_result", "_result", "_error", "onStatus", "onStatus", "close", "x"];
    let name = prop::sample::select(names.to_vec());
    (name, 0..4_u8, prop::collection::vec(argument(), 0..4)).prop_map(
        |(name, transaction, arguments)| {
            amf(&[&[text(name), Value::Number(transaction.into())], &arguments[..]].concat())
        },
    )
}

/// A message: its type, message stream and payload.
fn said() -> impl Strategy<Value = (u8, u32, Vec<u8>)> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        8 => (prop::sample::select(vec![17, 20]), 0..3_u32, command()),
        4 => (prop::sample::select(vec![8, 9, 15, 18, 22]), 0..3_u32, bytes()),
        2 => (2..7_u8, Just(0), bytes()),
    ]
}

proptest! {
    #[test]
    fn events_come_in_an_order_that_can_be(
        asked: bool,
        messages in prop::collection::vec(said(), 1..40),
    ) {
        let mut remote = if asked { Remote::asked() } else { Remote::new() };
        let (mut playing, mut ended) = (false, false);
        for (type_id, stream_id, payload) in messages {
            let failed = remote.message(type_id, stream_id, &payload).is_err();
            for event in remote.events() {
                prop_assert!(!ended, "nothing follows the end: {:?}", event);
                match event {
                    ClientEvent::Playing => {
                        prop_assert!(!playing);
                        playing = true;
                    }
                    ClientEvent::Media(media) => prop_assert!(playing && !media.payload.is_empty()),
                    ClientEvent::Ended(_) => ended = true,
                }
            }
            // What it says can be read.
            remote.said();
            prop_assert!(remote.input.is_empty() || !(ended || failed));
            ended |= failed;
        }
    }

    #[test]
    fn a_dialog_with_our_own_server_is_the_same_in_whatever_pieces_its_bytes_come(
        sizes in prop::collection::vec(1..2000_usize, 1..40),
    ) {
        let mut server = ServerSession::new(ServerConfig::default());
        let mut client = ClientSession::new(ClientConfig::default(), url("rtmp://h/live/a/b"));
        let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
        let (mut server_has, mut client_has) = (BytesMut::new(), BytesMut::new());
        let mut events = Vec::new();
        // All that is said takes less than 20,000 bytes, and a piece of each direction has one at the least.
        for size in sizes.iter().cycle().take(20_000) {
            to_server.extend(std::iter::from_fn(|| client.poll_output()).flatten());
            server_has.extend_from_slice(&to_server.split_to(to_server.len().min(*size)));
            prop_assert_eq!(server.handle_input(&mut server_has), Ok(()));
            to_client.extend(std::iter::from_fn(|| server.poll_output()).flatten());
            client_has.extend_from_slice(&to_client.split_to(to_client.len().min(*size)));
            prop_assert_eq!(client.handle_input(&mut client_has), Ok(()));
            events.extend(std::iter::from_fn(|| client.poll_event()));
            if !events.is_empty() {
                break;
            }
        }
        prop_assert!(
            matches!(&events[..], [ClientEvent::Ended(PlayEnded::NotFound(_))]),
            "{:?}", events
        );
    }
}
