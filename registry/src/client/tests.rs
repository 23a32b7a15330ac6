//! Several registries over one engine, of which some do not answer.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::*;
use crate::{
    MemoryConfig, MemoryEngine,
    conformance::{claim, node},
};

/// A registry over `engine`, and its task.
async fn serve(engine: Arc<dyn Engine>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(crate::service(engine));
    let serving = tokio::spawn(async move {
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    (address, serving)
}

fn client(addresses: &[SocketAddr]) -> Client {
    let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    Client::new(&urls.join(", ")).unwrap()
}

#[tokio::test]
async fn when_a_registry_is_gone_the_next_one_is_asked_within_the_same_call() {
    let engine = MemoryEngine::new(MemoryConfig::default());
    let (first, serving) = serve(engine.clone()).await;
    let (second, _serving) = serve(engine.clone()).await;
    let client = client(&[first, second]);
    client.register_node(node("n", 6000, 6099)).await.unwrap();
    let held = client.allocate_port(claim("a", "i")).await.unwrap().lease;
    serving.abort();
    let _ = serving.await;
    let (lost, _) = client.renew_leases("i", std::slice::from_ref(&held.id)).await.unwrap();
    assert_eq!(lost, []);
    assert_eq!(client.list_leases().await.unwrap(), [held]);
}

#[tokio::test]
async fn a_registry_that_answers_nothing_is_left_for_the_next_one_within_the_same_call() {
    // It takes connections and says nothing, as one that was stopped does.
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (second, _serving) = serve(MemoryEngine::new(MemoryConfig::default())).await;
    let client = client(&[mute.local_addr().unwrap(), second]);
    let began = std::time::Instant::now();
    client.register_node(node("n", 6000, 6099)).await.unwrap();
    println!("the second registry answered after {:?}", began.elapsed());
    // From now on the second one is asked at once.
    assert_eq!(client.list_nodes().await.unwrap().len(), 1);
}

/// An address that takes no connection and refuses none, as one of a pod that is gone.
fn silent() -> (std::net::TcpListener, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let patience = Duration::from_millis(200);
    // Until its queue is full.
    let filling =
        std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, patience).ok());
    let filling = filling.collect();
    (listener, filling)
}

#[tokio::test]
async fn addresses_that_say_nothing_at_all_cost_none_of_the_time_that_an_answer_needs() {
    let silent = [silent(), silent(), silent()];
    let (last, _serving) = serve(MemoryEngine::new(MemoryConfig::default())).await;
    let mut addresses: Vec<_> = silent.iter().map(|(it, _)| it.local_addr().unwrap()).collect();
    addresses.push(last);
    client(&addresses).register_node(node("n", 6000, 6099)).await.unwrap();
}

#[tokio::test]
async fn with_no_registry_at_all_a_call_fails_and_the_first_that_is_back_is_found() {
    let engine = MemoryEngine::new(MemoryConfig::default());
    let (address, serving) = serve(engine.clone()).await;
    serving.abort();
    let _ = serving.await;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let client = client(&[other, address]);
    for _ in 0..3 {
        let refused = client.list_nodes().await.unwrap_err();
        assert!(matches!(refused, RegistryError::Unavailable(_)), "{refused}");
    }
    let listener = TcpListener::bind(address).await.unwrap();
    let server = Server::builder().add_service(crate::service(engine));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    client.list_nodes().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_nobody_else_is_asked() {
    let (first, _serving) = serve(MemoryEngine::new(MemoryConfig::default())).await;
    let other = MemoryEngine::new(MemoryConfig::default());
    other.register_node(node("n", 6000, 6099)).await.unwrap();
    let (second, _serving) = serve(other).await;
    let refused = client(&[first, second]).allocate_port(claim("a", "i")).await;
    assert_eq!(refused, Err(RegistryError::NoNode));
}

#[tokio::test]
async fn what_is_no_url_is_refused() {
    for urls in ["", "localhost:1", "https://a:1", "http://a", "http://a:1,", "http://a:1,b:2"] {
        let refused = Client::new(urls).err();
        assert!(matches!(refused, Some(RegistryError::Invalid { .. })), "{urls}: {refused:?}");
    }
    Client::new("http://a:1, http://[::1]:2").unwrap();
}
