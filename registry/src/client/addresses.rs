//! Where the registry is: the addresses of all its names, and the one that is asked.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use proto::v1::registry_client::RegistryClient;
use rand::seq::SliceRandom;
use svc_core::grpc::{Channel, channel};

use crate::{RegistryError, service::MAX_RESPONSE_BYTES, validate::invalid};

/// Addresses that all names together may have; each is a process.
const MAX_ADDRESSES: usize = 1024;

pub(super) struct Addresses {
    /// `host:port` of each URL, in the order given.
    names: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that is asked.
    current: Option<(SocketAddr, RegistryClient<Channel>)>,
    /// To be tried after it, the next one last.
    others: Vec<SocketAddr>,
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
        Ok(Self { names: names.collect::<Result<_, _>>()?, state: Mutex::default() })
    }

    /// The address to ask. When all have been tried the names are resolved anew, since they may stand for others by now.
    pub(super) async fn current(
        &self,
    ) -> Result<(SocketAddr, RegistryClient<Channel>), RegistryError> {
        if let Some(current) = self.next() {
            return Ok(current);
        }
        let resolved = self.resolve().await?;
        let mut state = self.lock();
        if state.current.is_none() && state.others.is_empty() {
            state.others = resolved;
        }
        drop(state);
        self.next().ok_or_else(|| RegistryError::Unavailable("its name has no address".to_owned()))
    }

    fn next(&self) -> Option<(SocketAddr, RegistryClient<Channel>)> {
        let mut state = self.lock();
        if state.current.is_none() {
            let address = state.others.pop()?;
            // An address always makes a URL.
            let channel = channel(&format!("http://{address}")).ok()?;
            let client = RegistryClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
            state.current = Some((address, client));
        }
        state.current.clone()
    }

    /// The next one is asked from now on.
    pub(super) fn failed(&self, address: SocketAddr) {
        let mut state = self.lock();
        if state.current.as_ref().is_some_and(|(current, _)| *current == address) {
            state.current = None;
        }
    }

    /// Whether there may be another one to ask.
    pub(super) fn has_others(&self) -> bool {
        self.names.len() > 1 || !self.lock().others.is_empty()
    }

    /// All addresses, to be taken from the end: the names in the order given, the addresses of each in any order, so that
    /// many clients of one name spread over them.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, RegistryError> {
        let (mut all, mut problem) = (Vec::new(), None);
        for name in &self.names {
            match tokio::net::lookup_host(name).await {
                Ok(found) => {
                    let mut found: Vec<_> = found.take(MAX_ADDRESSES).collect();
                    found.shuffle(&mut rand::rng());
                    all.extend(found);
                }
                Err(error) => problem = Some(format!("{name}: {error}")),
            }
        }
        all.truncate(MAX_ADDRESSES);
        all.reverse();
        match problem {
            Some(problem) if all.is_empty() => Err(RegistryError::Unavailable(problem)),
            Some(_) | None => Ok(all),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
