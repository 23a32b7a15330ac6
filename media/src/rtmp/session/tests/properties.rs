//! What holds whatever a peer and its operator do.

use proptest::prelude::*;

use super::*;

/// What is done to a session.
#[derive(Clone, Debug)]
enum Step {
    /// A message of this type, on this message stream.
    Message(u8, u32, Vec<u8>),
    Accept,
    Refuse,
    End,
    Ping,
}

fn argument() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..20_u8).prop_map(|n| Value::Number(n.into())),
        Just(Value::Number(f64::NAN)),
        prop::sample::select(vec![Value::Null, Value::Undefined, Value::AvmPlus]),
        ".{0,10}".prop_map(Value::String),
        Just(object([("app", text("live/site?a=b")), ("tcUrl", text("rtmp://h/live?c"))])),
    ]
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "connect",
        "createStream",
        "releaseStream",
        "FCPublish",
        "publish",
        "publish",
        "FCUnpublish",
        "deleteStream",
        "closeStream",
        "getStreamLength",
        "_checkbw",
        "play",
        "unknown",
    ]);
    (name, prop::collection::vec(argument(), 0..5))
        .prop_map(|(name, arguments)| amf(&[&[text(name)], &arguments[..]].concat()))
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let media = prop::sample::select(vec![8, 9, 15, 18]);
    prop_oneof![
        8 => (prop::sample::select(vec![17, 20]), 0..3_u32, command())
            .prop_map(|(type_id, stream_id, payload)| Step::Message(type_id, stream_id, payload)),
        4 => (media, 0..3_u32, bytes())
            .prop_map(|(type_id, stream_id, payload)| Step::Message(type_id, stream_id, payload)),
        2 => (2..7_u8, bytes()).prop_map(|(type_id, payload)| Step::Message(type_id, 0, payload)),
        2 => Just(Step::Accept),
        1 => Just(Step::Refuse),
        1 => Just(Step::End),
        1 => Just(Step::Ping),
    ]
}

/// What the events so far allow.
#[derive(Default, Debug)]
struct Allowed {
    asking: Option<PublishRequestId>,
    publishing: bool,
}

impl Allowed {
    fn event(&mut self, event: &Event) {
        match event {
            Event::PublishRequested(request) => {
                assert!(self.asking.is_none() && !self.publishing, "{event:?}");
                assert!(!request.stream_key.is_empty());
                self.asking = Some(request.id);
            }
            Event::Media(media) => assert!(self.publishing && !media.payload.is_empty()),
            Event::PublishEnded => {
                assert!(self.publishing);
                self.publishing = false;
            }
        }
    }
}

/// Does one step and holds what comes of it against what is allowed.
fn take(peer: &mut Peer, allowed: &mut Allowed, step: Step) -> Result<(), RtmpError> {
    let asked = allowed.asking;
    let result = match step {
        Step::Message(type_id, stream_id, payload) => peer.message(type_id, stream_id, &payload),
        Step::Accept => {
            peer.session.accept_publish(asked.unwrap_or(PublishRequestId(0)));
            allowed.publishing |= allowed.asking.take().is_some();
            peer.send(&[])
        }
        Step::Refuse => {
            let id = asked.unwrap_or(PublishRequestId(0));
            peer.session.refuse_publish(id, PublishRefusal::Failed, "no");
            allowed.asking = None;
            peer.send(&[])
        }
        Step::End => {
            peer.session.end_publish("over");
            allowed.publishing = false;
            Ok(())
        }
        Step::Ping => {
            peer.session.ping(5);
            Ok(())
        }
    };
    peer.events().iter().for_each(|event| allowed.event(event));
    // Each answer can be read.
    peer.said();
    assert!(allowed.asking.is_some() || peer.input.is_empty() || result.is_err());
    result
}

proptest! {
    #[test]
    fn events_come_in_an_order_that_can_be(
        connects: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut peer = match connects {
            true => Peer::connected("live"),
            false => Peer::new(ServerConfig::default()),
        };
        let mut allowed = Allowed::default();
        for step in steps {
            if take(&mut peer, &mut allowed, step).is_err() {
                // Closed: it says and takes nothing more.
                prop_assert_eq!(peer.message(8, 1, b"a"), Ok(()));
                prop_assert_eq!(peer.events(), []);
                prop_assert!(peer.said().is_empty());
                break;
            }
        }
    }
}
