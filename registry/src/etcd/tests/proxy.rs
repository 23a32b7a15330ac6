//! A way to etcd that can be cut.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes connections on to a port, unless it is cut.
pub(super) struct Proxy {
    pub address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        tokio::spawn(accept(listener, port, open.clone()));
        Self { address, open }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts all connections and takes no others, or takes them again.
    pub(super) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn accept(listener: TcpListener, port: u16, open: Arc<watch::Sender<bool>>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { return };
        let mut is_open = open.subscribe();
        if !*is_open.borrow_and_update() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
                return;
            };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = is_open.changed() => {}
            }
        });
    }
}
