//! What concerns the book alone; what every engine must hold to is in `crate::conformance`.

use std::time::{Duration, Instant, SystemTime};

use media::StreamKey;

use super::*;
use crate::Claim;

const TTL: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(60);

pub(super) fn book(last_epoch: u64) -> Book {
    Book::new(MemoryConfig { ttl: TTL, rejected_port_rest: REST }, 7, last_epoch)
}

pub(super) fn info(id: &str, min: u16, max: u16) -> NodeInfo {
    NodeInfo {
        id: id.into(),
        rtp_address: [127, 0, 0, 1].into(),
        rtp_port_min: min,
        rtp_port_max: max,
        rtsp_url: "rtsp://127.0.0.1:8554".into(),
        grpc_url: "http://127.0.0.1:50052".into(),
        draining: false,
    }
}

pub(super) fn claim(stream: &str, owner: &str) -> Claim {
    Claim {
        stream_key: StreamKey::parse(stream).unwrap(),
        owner_id: owner.into(),
        owner_grpc_url: String::new(),
        node_id: None,
        reassert: None,
        supersede: None,
    }
}

fn register(book: &mut Book, node: NodeInfo, now: Instant) {
    book.register_node(node, now, SystemTime::UNIX_EPOCH).unwrap();
}

#[test]
fn the_first_ports_of_a_fresh_node_are_the_first_of_its_range() {
    let (mut book, now) = (book(0), Instant::now());
    register(&mut book, info("n", 5004, 5999), now);
    let ports = ["a", "b", "c"]
        .map(|stream| book.allocate_port(claim(stream, "i"), now).unwrap().lease.rtp_port);
    assert_eq!(ports, [5004, 5006, 5008]);
}

#[test]
fn epochs_go_on_above_where_the_book_begins() {
    let (mut book, now) = (book(40), Instant::now());
    register(&mut book, info("n", 5004, 5999), now);
    assert_eq!(book.allocate_port(claim("a", "i"), now).unwrap().lease.epoch, 41);
    assert_eq!(book.allocate_port(claim("b", "i"), now).unwrap().lease.epoch, 42);
}

#[test]
fn epochs_go_on_beyond_32_bits() {
    let (mut book, now) = (book(u32::MAX.into()), Instant::now());
    register(&mut book, info("n", 5004, 5999), now);
    assert_eq!(book.allocate_port(claim("a", "i"), now).unwrap().lease.epoch, 1 << 32);
}

#[test]
fn an_epoch_far_above_all_that_were_granted_is_not_taken() {
    let (mut book, now) = (book(1000), Instant::now());
    register(&mut book, info("n", 5004, 5999), now);
    let mut wish = claim("a", "i");
    let mut lease = book.allocate_port(claim("b", "i"), now).unwrap().lease;
    lease.id = LeaseId("old".into());
    lease.stream_key = wish.stream_key.clone();
    lease.epoch = 1002 + MAX_EPOCH_AHEAD;
    wish.reassert = Some(lease);
    let refused = book.allocate_port(wish, now);
    assert!(
        matches!(refused, Err(RegistryError::Invalid { field: "reassert.epoch", .. })),
        "{refused:?}"
    );
    assert_eq!(book.last_epoch, 1001);
}

#[test]
fn more_nodes_than_the_cap_are_refused_but_known_ones_are_renewed() {
    let (mut book, now) = (book(0), Instant::now());
    for n in 0..MAX_NODES {
        register(&mut book, info(&format!("n{n}"), 5004, 5999), now);
    }
    let wall = SystemTime::UNIX_EPOCH;
    let refused = book.register_node(info("one more", 5004, 5999), now, wall);
    assert!(matches!(refused, Err(RegistryError::Full(_))), "{refused:?}");
    register(&mut book, info("n7", 6000, 6999), now);
}

#[test]
fn more_leases_than_the_cap_are_refused_until_one_ends() {
    let (mut book, now) = (book(0), Instant::now());
    // Many small nodes, for the search of a free port goes through a node's range.
    for n in 0..64 {
        register(&mut book, info(&format!("n{n}"), 5004, 5999), now);
    }
    let leases: Vec<_> = (0..MAX_LEASES)
        .map(|n| book.allocate_port(claim(&format!("s{n}"), "i"), now).unwrap().lease.id)
        .collect();
    let refused = book.allocate_port(claim("more", "i"), now);
    assert!(matches!(refused, Err(RegistryError::Full(_))), "{refused:?}");
    assert!(book.lookup_stream(&StreamKey::parse("more").unwrap()).is_err());
    book.release_port(&leases[9]).unwrap();
    book.allocate_port(claim("more", "i"), now).unwrap();
}

#[test]
fn what_is_forgotten_of_ended_streams_still_fences() {
    let mut ended = Ended::default();
    let key = |n: u64| StreamKey::parse(&format!("s{n}")).unwrap();
    let streams = MAX_ENDED as u64 + 10;
    for n in 1..=streams {
        ended.remember(&key(n), n);
    }
    assert_eq!(ended.epochs.len(), MAX_ENDED);
    assert_eq!(ended.by_epoch.len(), MAX_ENDED);
    for n in 1..=streams {
        assert!(ended.epoch(&key(n)) >= n, "{n}");
    }
    // An older epoch of a stream that is remembered changes nothing.
    ended.remember(&key(streams), 1);
    assert_eq!(ended.epoch(&key(streams)), streams);
}

#[test]
fn a_lease_outlives_its_expired_node_and_finds_it_again() {
    let (mut book, start) = (book(0), Instant::now());
    register(&mut book, info("n", 5004, 5999), start);
    let later = start + TTL / 2;
    let lease = book.allocate_port(claim("a", "i"), later).unwrap().lease;
    book.expire(start + TTL);
    assert!(book.list_nodes().is_empty());
    assert_eq!(book.list_leases(), std::slice::from_ref(&lease));
    register(&mut book, info("n", 5004, 5999), start + TTL);
    let lost = book.renew_leases("i", std::slice::from_ref(&lease.id), start + TTL).unwrap();
    assert!(lost.is_empty());
    book.expire(start + TTL * 3 / 2);
    assert_eq!(book.list_leases(), [lease]);
}
