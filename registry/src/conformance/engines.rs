//! The engines that the suite is run over.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::{REST, Registries, TTL};
use crate::{Client, Engine, MemoryConfig, MemoryEngine, service};

/// Time that stands still as long as this lives. Paused time alone jumps to the next deadline whenever the runtime has
/// nothing to do, as while it waits for a socket; it does not while a blocking task runs.
pub(crate) struct StillTime {
    _held: mpsc::Sender<()>,
}

impl StillTime {
    pub(crate) fn new() -> Self {
        tokio::time::pause();
        let (held, released) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || released.recv());
        Self { _held: held }
    }
}

/// The in-memory engine, called directly.
pub(super) struct Memory {
    engines: Mutex<Vec<Arc<MemoryEngine>>>,
    _still: StillTime,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { engines: Mutex::default(), _still: StillTime::new() }
    }

    fn engine(&self) -> Arc<MemoryEngine> {
        let engine = MemoryEngine::new(MemoryConfig { ttl: TTL, rejected_port_rest: REST });
        self.engines.lock().unwrap().push(engine.clone());
        engine
    }
}

#[async_trait]
impl Registries for Memory {
    async fn fresh(&self) -> Arc<dyn Engine> {
        self.engine()
    }

    async fn pass(&self, time: Duration) {
        self.engines.lock().unwrap().iter().for_each(|engine| engine.advance(time));
    }
}

/// The in-memory engine behind the client, a socket and the service.
pub(super) struct MemoryOverRpc {
    memory: Memory,
}

impl MemoryOverRpc {
    pub(super) fn new() -> Self {
        Self { memory: Memory::new() }
    }
}

#[async_trait]
impl Registries for MemoryOverRpc {
    async fn fresh(&self) -> Arc<dyn Engine> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_service(service(self.memory.engine()));
        // It ends with the test's runtime.
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Arc::new(Client::new(&url).unwrap())
    }

    async fn pass(&self, time: Duration) {
        self.memory.pass(time).await;
    }
}

/// The engine on a real etcd, which all cases share, each with a prefix of its own. Its clock is put forward; etcd's own is not.
#[cfg(feature = "etcd")]
pub(super) struct Etcd {
    engines: Mutex<Vec<Arc<crate::EtcdEngine>>>,
}

#[cfg(feature = "etcd")]
impl Etcd {
    pub(super) fn new() -> Self {
        Self { engines: Mutex::default() }
    }
}

#[cfg(feature = "etcd")]
#[async_trait]
impl Registries for Etcd {
    async fn fresh(&self) -> Arc<dyn Engine> {
        let book = MemoryConfig { ttl: TTL, rejected_port_rest: REST };
        let engine = Arc::new(crate::etcd::tests::engine(book).await);
        self.engines.lock().unwrap().push(engine.clone());
        engine
    }

    async fn pass(&self, time: Duration) {
        let engines = self.engines.lock().unwrap().clone();
        for engine in engines {
            engine.advance(time).await;
        }
    }
}
