//! What the wire alone shows; that all calls do over it what they must is in `crate::conformance`.

use std::net::Ipv4Addr;

use futures_util::StreamExt;
use proto::v1::{RegistryEvent as E, registry_client::RegistryClient};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, transport::Server};

use super::*;
use crate::{
    Client, Lease, MemoryConfig, MemoryEngine, NodeInfo,
    book::MAX_LEASES,
    client::DEADLINE,
    conformance::{StillTime, claim, node},
    convert::info_to_proto,
    validate::MAX_ID_BYTES,
};

type Raw = RegistryClient<tonic::transport::Channel>;

/// An engine, where it is served, and what serves it.
async fn served() -> (Arc<MemoryEngine>, String, JoinHandle<()>) {
    let engine = MemoryEngine::new(MemoryConfig::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_service(service(engine.clone()));
    let serve = server.serve_with_incoming(TcpListenerStream::new(listener));
    let task = tokio::spawn(async move { serve.await.unwrap() });
    (engine, url, task)
}

fn allocation(stream_key: &str) -> v1::AllocatePortRequest {
    v1::AllocatePortRequest {
        stream_key: stream_key.into(),
        owner_id: "i".into(),
        ..v1::AllocatePortRequest::default()
    }
}

#[tokio::test]
async fn refusals_carry_the_codes_that_the_api_promises() {
    let _still = StillTime::new();
    let (engine, url, _server) = served().await;
    let mut raw = Raw::connect(url).await.unwrap();
    let no_node = raw.allocate_port(allocation("a")).await.unwrap_err();
    assert_eq!(no_node.code(), Code::ResourceExhausted);
    engine.register_node(node("n", 6000, 6001)).await.unwrap();
    let no_stream_key = raw.allocate_port(allocation("/a//b")).await.unwrap_err();
    assert_eq!(no_stream_key.code(), Code::InvalidArgument);
    let elsewhere = v1::AllocatePortRequest { node_id: "m".into(), ..allocation("a") };
    assert_eq!(raw.allocate_port(elsewhere).await.unwrap_err().code(), Code::NotFound);
    raw.allocate_port(allocation("a")).await.unwrap();
    let others = v1::AllocatePortRequest { owner_id: "j".into(), ..allocation("a") };
    assert_eq!(raw.allocate_port(others).await.unwrap_err().code(), Code::AlreadyExists);
    let no_port = raw.allocate_port(allocation("b")).await.unwrap_err();
    assert_eq!(no_port.code(), Code::ResourceExhausted);
    let lookup = v1::LookupStreamRequest { stream_key: "b".into() };
    assert_eq!(raw.lookup_stream(lookup).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn what_no_typed_caller_can_send_is_refused() {
    let _still = StillTime::new();
    let (engine, url, _server) = served().await;
    let mut raw = Raw::connect(url).await.unwrap();
    let good = info_to_proto(node("n", 6000, 6001));
    let nodes = [
        None,
        Some(v1::Node { rtp_address: "host.example".into(), ..good.clone() }),
        Some(v1::Node { rtp_port_min: 65_536 + 6000, ..good.clone() }),
        Some(v1::Node { rtp_port_max: u32::MAX, ..good.clone() }),
    ];
    for node in nodes {
        let refused = raw.register_node(v1::RegisterNodeRequest { node: node.clone() }).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{node:?}");
    }
    assert!(engine.list_nodes().await.unwrap().is_empty());
    engine.register_node(node("n", 6000, 6001)).await.unwrap();
    let lease = v1::Lease { rtp_port: 65_536 + 6000, ..v1::Lease::default() };
    let reassertion = v1::AllocatePortRequest { reassert: Some(lease), ..allocation("a") };
    let refused = raw.allocate_port(reassertion).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_watch_tells_the_snapshot_from_what_comes_after() {
    let _still = StillTime::new();
    let (engine, url, _server) = served().await;
    engine.register_node(node("n1", 6000, 6001)).await.unwrap();
    engine.allocate_port(claim("a", "i")).await.unwrap();
    let mut raw = Raw::connect(url).await.unwrap();
    let watch = raw.watch(v1::WatchRequest {}).await.unwrap().into_inner();
    engine.register_node(node("n2", 6000, 6001)).await.unwrap();
    engine.register_node(node("n2", 6000, 6003)).await.unwrap();
    engine.deregister_node("n2").await.unwrap();
    engine.advance(MemoryConfig::default().ttl);
    let events: Vec<_> = watch.map(|response| response.unwrap().event()).take(8).collect().await;
    let snapshot = [E::Snapshot, E::Snapshot, E::SnapshotEnd];
    let changes = [E::Added, E::Changed, E::Released, E::Expired, E::Expired];
    assert_eq!(events, [&snapshot[..], &changes[..]].concat());
}

#[tokio::test]
async fn a_watch_ends_with_a_word_when_the_registry_goes() {
    let _still = StillTime::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    // A relay, since a server that is dropped leaves its connections to their own tasks.
    let (_engine, url, _server) = served().await;
    let relay = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let far = url.strip_prefix("http://").unwrap();
        let mut far = tokio::net::TcpStream::connect(far).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let client = Client::new(&format!("http://{address}")).unwrap();
    let mut watch = client.watch().await.unwrap();
    assert_eq!(watch.next().await, Some(Ok(WatchEvent::SnapshotEnd)));
    relay.abort();
    let word = watch.next().await;
    assert!(matches!(word, Some(Err(RegistryError::Unavailable(_)))), "{word:?}");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable() {
    let _still = StillTime::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let refused = client.allocate_port(claim("a", "i")).await;
    assert!(matches!(refused, Err(RegistryError::Unavailable(_))), "{refused:?}");
    assert!(matches!(client.watch().await, Err(RegistryError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_answer_is_unavailable_after_the_deadline() {
    // It accepts by its backlog, and says nothing.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let from = tokio::time::Instant::now();
    let refused = client.keep_alive("n").await;
    assert!(matches!(refused, Err(RegistryError::Unavailable(_))), "{refused:?}");
    assert!(from.elapsed() <= DEADLINE, "{:?}", from.elapsed());
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_by_its_field() {
    let refused = Client::new("http://a b").err();
    let field = "registry_url";
    assert!(matches!(refused, Some(RegistryError::Invalid { field: f, .. }) if f == field));
}

#[tokio::test]
async fn the_longest_list_of_leases_fits_a_response() {
    const NODES: usize = 16;
    let _still = StillTime::new();
    let (engine, url, _server) = served().await;
    let long = |start: String| format!("{start:x<MAX_ID_BYTES$}");
    let nodes: Vec<NodeInfo> =
        (0..NODES).map(|n| node(&long(format!("n{n}-")), 6000, 9999)).collect();
    for node in &nodes {
        let urls =
            NodeInfo { rtsp_url: "rtsp://n".into(), grpc_url: "http://n".into(), ..node.clone() };
        engine.register_node(urls).await.unwrap();
    }
    let owner = long("i".into());
    for n in 0..MAX_LEASES {
        let wish = claim(&long(format!("s{n}-")), &owner);
        // Only a lease that is put back has the longest id, too.
        let lease = Lease {
            id: LeaseId(long(format!("l{n}-"))),
            stream_key: wish.stream_key.clone(),
            node_id: nodes[n % NODES].id.clone(),
            rtp_port: u16::try_from(6000 + n / NODES * 2).unwrap(),
            epoch: 1_000_000,
            owner_id: owner.clone(),
            ttl: MemoryConfig::default().ttl,
        };
        let wish = Claim { owner_grpc_url: String::new(), reassert: Some(lease), ..wish };
        engine.allocate_port(wish).await.unwrap();
    }
    let client = Client::new(&url).unwrap();
    let leases = client.list_leases().await.unwrap();
    assert_eq!(leases.len(), MAX_LEASES);
    let ids: Vec<_> = leases.into_iter().map(|lease| lease.id).collect();
    assert_eq!(client.renew_leases(&owner, &ids).await.unwrap().0, []);
}
