//! Where the registry is, and the channel to it.
//!
//! Each connection is made anew from the names: pods come and go, and an address that was good a minute ago may be nobody's, which answers
//! nothing at all. So several are tried side by side, each with a head start before the next (RFC 8305, section 5), and those last that
//! were left.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use proto::v1::registry_client::RegistryClient;
use rand::seq::SliceRandom;
use svc_core::grpc::{Channel, channel, channel_by};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{RegistryError, service::MAX_RESPONSE_BYTES, validate::invalid};

/// Addresses that all names together may have; each is a process.
const MAX_ADDRESSES: usize = 1024;
/// How long an address is tried before the next one is tried as well.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long an address that was left is tried last.
const LEFT_FOR: Duration = Duration::from_secs(10);

pub(super) struct Addresses {
    names: Arc<Names>,
    state: Mutex<State>,
}

struct State {
    client: RegistryClient<Channel>,
    /// Which one it is.
    number: u64,
}

/// What connections are made of.
struct Names {
    /// `host:port` of each URL, in the order given.
    names: Vec<String>,
    /// They had more than one address the last time.
    several: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The address of the connection that was made last.
    connected: Option<SocketAddr>,
    /// Addresses that did not answer, or that ended a connection.
    left: HashMap<SocketAddr, Instant>,
}

impl Addresses {
    /// Of "http://host:port", several separated by commas.
    pub(super) fn new(urls: &str) -> Result<Self, RegistryError> {
        let names = urls.split(',').map(|url| {
            let url = url.trim();
            let parsed = channel(url).is_ok().then(|| url.parse::<tonic::transport::Uri>().ok());
            let name = parsed.flatten().and_then(|uri| {
                let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"))?;
                authority.port_u16().is_some().then(|| authority.as_str().to_owned())
            });
            name.ok_or_else(|| invalid("registry_url", format!("{url:?} is not a URL to call")))
        });
        let names: Vec<_> = names.collect::<Result<_, _>>()?;
        let several = AtomicBool::new(names.len() > 1);
        let names = Arc::new(Names { names, several, known: Mutex::default() });
        let state = Mutex::new(State { client: names.client()?, number: 0 });
        Ok(Self { names, state })
    }

    /// The client to ask, and its number.
    pub(super) fn current(&self) -> (u64, RegistryClient<Channel>) {
        let state = self.state();
        (state.number, state.client.clone())
    }

    /// Who answers to the client of that number is left for another one.
    pub(super) fn failed(&self, number: u64) {
        let mut state = self.state();
        if state.number != number {
            return;
        }
        self.names.leave();
        // The names made a client before.
        if let Ok(client) = self.names.client() {
            *state = State { client, number: number + 1 };
        }
    }

    /// Whether there may be another one to ask.
    pub(super) fn has_others(&self) -> bool {
        self.names.several.load(Relaxed)
    }

    /// For messages: who was asked last.
    pub(super) fn asked(&self) -> String {
        let connected = self.names.known().connected;
        connected.map_or_else(|| self.names.names.join(", "), |address| address.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn client(self: &Arc<Self>) -> Result<RegistryClient<Channel>, RegistryError> {
        let names = self.clone();
        let connect = move || {
            let names = names.clone();
            async move { names.connect().await }
        };
        let url = format!("http://{}", self.names.first().map_or("", String::as_str));
        let channel = channel_by(&url, connect)
            .map_err(|error| invalid("registry_url", error.to_string()))?;
        Ok(RegistryClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES))
    }

    /// A connection to whoever takes one first.
    async fn connect(&self) -> io::Result<TcpStream> {
        // It has ended the last one.
        self.leave();
        let addresses = self.resolve().await?;
        self.several.store(addresses.len() > 1, Relaxed);
        let (address, stream) = race(addresses, TcpStream::connect).await?;
        let mut known = self.known();
        known.connected = Some(address);
        known.left.remove(&address);
        Ok(stream)
    }

    fn leave(&self) {
        let mut known = self.known();
        if let Some(address) = known.connected.take() {
            known.left.retain(|_, at| at.elapsed() < LEFT_FOR);
            known.left.insert(address, Instant::now());
        }
    }

    /// All addresses: the names in the order given, the addresses of each in any order, so that many clients of one name spread over them;
    /// last those that were left, the latest at the end.
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let (mut all, mut problem) = (Vec::new(), None);
        for name in &self.names {
            match tokio::net::lookup_host(name).await {
                Ok(found) => {
                    let mut found: Vec<_> = found.take(MAX_ADDRESSES).collect();
                    found.shuffle(&mut rand::rng());
                    all.extend(found);
                }
                Err(error) => problem = Some(io::Error::other(format!("{name}: {error}"))),
            }
        }
        all.truncate(MAX_ADDRESSES);
        let known = self.known();
        let left =
            |address: &SocketAddr| known.left.get(address).filter(|at| at.elapsed() < LEFT_FOR);
        all.sort_by_key(|address| left(address).copied());
        match problem {
            Some(problem) if all.is_empty() => Err(problem),
            Some(_) | None => Ok(all),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to the addresses, one after the other with a head start each; the first that takes it.
async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<(SocketAddr, T)>
where
    F: Future<Output = io::Result<T>>,
{
    let mut problem = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    let mut under_way = FuturesUnordered::new();
    let mut addresses = addresses.into_iter();
    loop {
        if let Some(address) = addresses.next() {
            let connecting = connect(address);
            under_way.push(async move { (address, connecting.await) });
        } else if under_way.is_empty() {
            return Err(problem);
        }
        tokio::select! {
            Some((address, connected)) = under_way.next() => match connected {
                Ok(connection) => return Ok((address, connection)),
                Err(error) => problem = io::Error::new(error.kind(), format!("{address}: {error}")),
            },
            () = sleep(HEAD_START), if addresses.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    /// 1 never answers, 2 refuses, 3 takes it, 4 takes it late.
    async fn connect(to: SocketAddr) -> io::Result<u16> {
        match to.port() {
            1 => std::future::pending().await,
            2 => return Err(io::ErrorKind::ConnectionRefused.into()),
            4 => sleep(HEAD_START * 2).await,
            _ => {}
        }
        Ok(to.port())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_costs_its_head_start_and_one_that_refuses_nothing() {
        let began = Instant::now();
        let (won, _) = race([2, 1, 2, 1, 3].map(address).to_vec(), connect).await.unwrap();
        assert_eq!((won, began.elapsed().as_millis()), (address(3), 2 * HEAD_START.as_millis()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_late_wins_where_the_others_do_not_answer() {
        assert_eq!(race([4, 1, 1, 1].map(address).to_vec(), connect).await.unwrap().1, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_takes_it_the_last_refusal_is_told() {
        let refused = race([2].map(address).to_vec(), connect).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(refused.to_string().contains("192.0.2.1:2"), "{refused}");
        let none = race(vec![], connect).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn whoever_was_left_is_tried_last_and_for_a_while_only() {
        let names = Addresses::new("http://127.0.0.1:1,http://127.0.0.1:2,http://127.0.0.1:3")
            .unwrap()
            .names;
        let order = async || -> Vec<u16> {
            names.resolve().await.unwrap().iter().map(SocketAddr::port).collect()
        };
        assert_eq!(order().await, [1, 2, 3]);
        for port in [2, 1] {
            names.known().connected = Some(([127, 0, 0, 1], port).into());
            names.leave();
        }
        assert_eq!(order().await, [3, 2, 1]);
        tokio::time::pause();
        tokio::time::advance(LEFT_FOR).await;
        tokio::time::resume();
        assert_eq!(order().await, [1, 2, 3]);
    }
}
