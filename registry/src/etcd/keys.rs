//! What stands where in etcd, below the prefix. Names of nodes and owners may have any character but control ones; those
//! of streams have no `:` (design, section 2), so that each key is read back as it was made.

use media::StreamKey;

/// A process that has one etcd lease, which all that it holds hangs on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum SessionId {
    /// A node, which holds its announcement.
    Node(String),
    /// An owner of streams, which holds its claims, legs and their ports.
    Owner(String),
}

/// Where a leg is kept: a stream has one on a node.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct LegPlace {
    pub stream_key: StreamKey,
    pub node_id: String,
}

/// All keys that there are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    /// What is added to a create revision to make an epoch.
    EpochBase,
    /// Which engine renews a process.
    Session(SessionId),
    /// What a node announced.
    Node(String),
    /// Who has a stream. Every change of its legs touches it, so that it is the lock of all of them.
    Stream(StreamKey),
    /// A leg of a stream.
    Leg(LegPlace),
    /// Who has a port of a node, or until when nobody may.
    Port(String, u16),
    /// The last epoch of a stream, for some hours.
    Fence(StreamKey),
    /// Written by an engine to learn by its watch that it has seen all before.
    Mark(String),
}

impl Key {
    /// The key in etcd.
    pub(super) fn encode(&self, prefix: &str) -> String {
        match self {
            Self::EpochBase => format!("{prefix}epoch-base"),
            Self::Session(SessionId::Node(id)) => format!("{prefix}sessions/node/{id}"),
            Self::Session(SessionId::Owner(id)) => format!("{prefix}sessions/owner/{id}"),
            Self::Node(id) => format!("{prefix}nodes/{id}"),
            Self::Stream(key) => format!("{prefix}streams/{key}"),
            Self::Leg(LegPlace { stream_key, node_id }) => {
                format!("{prefix}legs/{stream_key}:{node_id}")
            }
            Self::Port(node_id, port) => format!("{prefix}ports/{node_id}/{port}"),
            Self::Fence(key) => format!("{prefix}fences/{key}"),
            Self::Mark(engine) => format!("{prefix}marks/{engine}"),
        }
    }

    /// Reads a key of etcd; `None` for what is not ours.
    pub(super) fn decode(prefix: &str, key: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
        let Some((kind, rest)) = key.split_once('/') else {
            return (key == "epoch-base").then_some(Self::EpochBase);
        };
        match kind {
            "sessions" => {
                let (kind, id) = rest.split_once('/')?;
                match kind {
                    "node" => Some(Self::Session(SessionId::Node(id.to_owned()))),
                    "owner" => Some(Self::Session(SessionId::Owner(id.to_owned()))),
                    _ => None,
                }
            }
            "nodes" => Some(Self::Node(rest.to_owned())),
            "streams" => Some(Self::Stream(StreamKey::parse(rest).ok()?)),
            "legs" => {
                let (stream_key, node_id) = rest.split_once(':')?;
                let stream_key = StreamKey::parse(stream_key).ok()?;
                Some(Self::Leg(LegPlace { stream_key, node_id: node_id.to_owned() }))
            }
            "ports" => {
                let (node_id, port) = rest.rsplit_once('/')?;
                Some(Self::Port(node_id.to_owned(), port.parse().ok()?))
            }
            "fences" => Some(Self::Fence(StreamKey::parse(rest).ok()?)),
            "marks" => Some(Self::Mark(rest.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream() -> impl Strategy<Value = StreamKey> {
        "[A-Za-z0-9_-]{1,9}(/[A-Za-z0-9_.-]{0,5}[a-z])?"
            .prop_map(|key| StreamKey::parse(&key).unwrap())
    }

    proptest! {
        #[test]
        fn every_key_is_read_back_as_it_was_made(
            stream in stream(), id in "[^\\p{Cc}]{1,20}", port: u16,
        ) {
            let place = LegPlace { stream_key: stream.clone(), node_id: id.clone() };
            for key in [
                Key::EpochBase,
                Key::Session(SessionId::Node(id.clone())),
                Key::Session(SessionId::Owner(id.clone())),
                Key::Node(id.clone()),
                Key::Stream(stream.clone()),
                Key::Leg(place),
                Key::Port(id.clone(), port),
                Key::Fence(stream),
                Key::Mark(id),
            ] {
                prop_assert_eq!(Key::decode("/p/", key.encode("/p/").as_bytes()), Some(key));
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_no_key() {
        for key in [
            "",
            "/p/",
            "/p/x",
            "/q/nodes/n",
            "/p/ports/n",
            "/p/ports/n/x",
            "/p/legs/a",
            "/p/streams//",
        ] {
            assert_eq!(Key::decode("/p/", key.as_bytes()), None, "{key}");
        }
        assert_eq!(Key::decode("/p/", b"/p/nodes/\xff"), None);
    }
}
