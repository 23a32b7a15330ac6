//! Which way the legs of a stream go: the first from here, and the others by nodes that have the stream.
//!
//! A leg is sent from here while fewer than `ingest.max_legs` are; else by the node that is nearest and feeds the fewest, each as many as
//! `ingest.max_legs`. A way is taken for one attempt to bring a leg up, and kept while the leg is; the next attempt takes another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hop::Feeder;
use registry::NodeInfo;
use tokio_util::sync::CancellationToken;

/// See the module.
pub(crate) struct Ways {
    /// Of legs from here, and of those that one node feeds.
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    direct: usize,
    feeding: Vec<Feeding>,
    last_id: u64,
}

/// A node that has the stream, and may feed others.
struct Feeding {
    id: u64,
    node: NodeInfo,
    /// Made by the first that it feeds.
    feeder: Option<Feeder>,
    /// How many nodes are between it and here.
    depth: usize,
    fed: usize,
    /// Itself and, where it is fed, all before it are there.
    gone: CancellationToken,
}

/// The way of one leg, for as long as this lives.
pub(super) struct Way {
    ways: Arc<Ways>,
    /// `None`: from here.
    by: Option<Fed>,
}

/// By a node.
#[derive(Clone)]
pub(super) struct Fed {
    id: u64,
    depth: usize,
    pub(super) feeder: Feeder,
    /// Cancelled when that node has no leg any more.
    pub(super) gone: CancellationToken,
}

/// A node that may be taken for feeding, for as long as this lives.
pub(super) struct Offer {
    ways: Arc<Ways>,
    id: u64,
}

impl Ways {
    /// No leg yet.
    pub(crate) fn new(max_legs: usize) -> Arc<Self> {
        Arc::new(Self { most: max_legs, taken: Mutex::default() })
    }

    /// A way to a node. The feeder `avoid` has failed the last time, and is taken where there is no other. `None` while there is none.
    pub(super) fn take(self: &Arc<Self>, node_id: &str, avoid: Option<&str>) -> Option<Way> {
        let mut taken = self.lock();
        if taken.direct < self.most {
            taken.direct += 1;
            return Some(Way { ways: self.clone(), by: None });
        }
        let may_feed = |feeding: &&mut Feeding| {
            let is_there = !feeding.gone.is_cancelled();
            is_there && feeding.fed < self.most && feeding.node.id != node_id
        };
        let cost = |feeding: &&mut Feeding| {
            (Some(feeding.node.id.as_str()) == avoid, feeding.depth, feeding.fed)
        };
        let best = taken.feeding.iter_mut().filter(may_feed).min_by_key(cost)?;
        let made = best.feeder.take().or_else(|| Feeder::new(best.node.clone()).ok());
        let (feeder, gone) = (best.feeder.insert(made?).clone(), best.gone.clone());
        best.fed += 1;
        let fed = Fed { id: best.id, depth: best.depth, feeder, gone };
        Some(Way { ways: self.clone(), by: Some(fed) })
    }

    /// Offers a node that a leg goes to by `way`.
    pub(super) fn offer(self: &Arc<Self>, node: NodeInfo, way: &Way) -> Offer {
        let (depth, gone) = match &way.by {
            None => (0, CancellationToken::new()),
            Some(fed) => (fed.depth + 1, fed.gone.child_token()),
        };
        let mut taken = self.lock();
        taken.last_id += 1;
        let id = taken.last_id;
        taken.feeding.push(Feeding { id, node, feeder: None, depth, fed: 0, gone });
        Offer { ways: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    /// The node that sends it, where that is not us.
    pub(super) fn by(&self) -> Option<Fed> {
        self.by.clone()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let mut taken = self.ways.lock();
        match &self.by {
            None => taken.direct -= 1,
            Some(fed) => {
                if let Some(feeding) = taken.feeding.iter_mut().find(|other| other.id == fed.id) {
                    feeding.fed -= 1;
                }
            }
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        let mut taken = self.ways.lock();
        if let Some(at) = taken.feeding.iter().position(|other| other.id == self.id) {
            taken.feeding.swap_remove(at).gone.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> NodeInfo {
        NodeInfo {
            id: id.to_owned(),
            rtp_address: [127, 0, 0, 1].into(),
            rtp_port_min: 5004,
            rtp_port_max: 5103,
            rtsp_url: String::new(),
            grpc_url: "http://127.0.0.1:1".to_owned(),
            draining: false,
        }
    }

    fn by(way: &Way) -> Option<String> {
        way.by().map(|fed| fed.feeder.node_id().to_owned())
    }

    /// A leg that is up.
    struct Up(Way, #[allow(dead_code, reason = "held")] Offer);

    fn up(ways: &Arc<Ways>, node_id: &str) -> Up {
        let way = ways.take(node_id, None).unwrap();
        let offer = ways.offer(node(node_id), &way);
        Up(way, offer)
    }

    #[tokio::test]
    async fn so_many_legs_go_from_here_and_the_others_by_the_nodes_that_feed_the_fewest() {
        let ways = Ways::new(2);
        let first = up(&ways, "n1");
        let second = ways.take("n2", None).unwrap();
        assert_eq!((by(&first.0), by(&second)), (None, None));
        // The second one is not up yet.
        let third = up(&ways, "n3");
        assert_eq!(by(&third.0).as_deref(), Some("n1"));
        let offer = ways.offer(node("n2"), &second);
        let fed: Vec<_> = ["n4", "n5", "n6"].map(|id| ways.take(id, None).unwrap()).into();
        assert_eq!(fed.iter().map(|way| by(way).unwrap()).collect::<Vec<_>>(), ["n2", "n1", "n2"]);
        // Each feeds as many as it may; what comes then is fed by who is fed.
        let seventh = ways.take("n7", None).unwrap();
        assert_eq!(by(&seventh).as_deref(), Some("n3"));
        drop((second, offer));
        assert_eq!(by(&ways.take("n8", None).unwrap()), None, "there is room here again");
    }

    #[tokio::test]
    async fn who_loses_its_leg_feeds_nobody_and_who_is_fed_by_it_feeds_nobody_either() {
        let ways = Ways::new(1);
        let first = up(&ways, "n1");
        let second = up(&ways, "n2");
        let third = up(&ways, "n3");
        assert_eq!(by(&third.0).as_deref(), Some("n2"), "n1 feeds its one");
        let (second_gone, third_gone) = (second.0.by().unwrap().gone, third.0.by().unwrap().gone);
        drop(first);
        assert!(second_gone.is_cancelled() && third_gone.is_cancelled());
        let again = ways.take("n1", None).unwrap();
        assert_eq!(by(&again), None);
        assert!(ways.take("n4", None).is_none(), "they wait for a way of their own");
    }

    #[tokio::test]
    async fn nobody_feeds_itself_and_who_failed_is_taken_last() {
        let ways = Ways::new(2);
        let _up = [up(&ways, "n1"), up(&ways, "n2")];
        assert_eq!(by(&ways.take("n1", None).unwrap()).as_deref(), Some("n2"));
        assert_eq!(by(&ways.take("n3", Some("n1")).unwrap()).as_deref(), Some("n2"));
        let ways = Ways::new(1);
        let _up = up(&ways, "n1");
        assert_eq!(by(&ways.take("n3", Some("n1")).unwrap()).as_deref(), Some("n1"));
    }
}
