//! What a Service of Kubernetes is to clients: one address, whose connections each go to one of the instances behind it that are ready, in
//! turn, and stay there until they end. Whether an instance is ready is asked at each connection, by `/readyz`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// An instance.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where connections are passed on to.
    pub address: SocketAddr,
    /// Its HTTP port, as "http://host:port".
    pub http: String,
}

/// See the module. It ends when dropped, with all its connections.
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    backends: Arc<Mutex<Vec<Backend>>>,
    _accepting: JoinSet<()>,
}

impl Service {
    /// One that nobody is behind.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the Service");
        let address = listener.local_addr().expect("its address");
        let backends = Arc::<Mutex<Vec<Backend>>>::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, backends.clone()));
        Self { address, backends, _accepting: accepting }
    }

    /// An instance is behind it from now on.
    pub fn add(&self, backend: Backend) {
        self.backends.lock().unwrap().push(backend);
    }

    /// No connection goes to an instance any more; those that it has stay.
    pub fn remove(&self, address: SocketAddr) {
        self.backends.lock().unwrap().retain(|backend| backend.address != address);
    }
}

async fn accept(listener: TcpListener, backends: Arc<Mutex<Vec<Backend>>>) {
    let mut connections = JoinSet::new();
    for turn in 0_usize.. {
        let Ok((client, _)) = listener.accept().await else { continue };
        let mut in_turn = backends.lock().unwrap().clone();
        let first = turn % in_turn.len().max(1);
        in_turn.rotate_left(first);
        connections.spawn(pass_on(client, in_turn));
        // Those that have ended.
        while connections.try_join_next().is_some() {}
    }
}

/// To the first instance that is ready. Whatever ends it ends both connections.
async fn pass_on(mut client: TcpStream, backends: Vec<Backend>) {
    for backend in backends {
        if !is_ready(&backend.http).await {
            continue;
        }
        let Ok(mut instance) = TcpStream::connect(backend.address).await else { continue };
        let _ = (client.set_nodelay(true), instance.set_nodelay(true));
        let _ = copy_bidirectional(&mut client, &mut instance).await;
        return;
    }
}

/// Whether the service whose HTTP port is at "http://host:port" takes connections.
pub async fn is_ready(http: &str) -> bool {
    let asked = async {
        let host = http.trim_start_matches("http://");
        let mut socket = TcpStream::connect(host).await?;
        socket
            .write_all(format!("GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let status = asked.await.unwrap_or_default();
    status.split(' ').nth(1) == Some("200")
}
