//! The way to etcd: one member at a time, the next when it fails, and calls that never wait long.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use etcd_client::{Client, ConnectOptions, Error, GetOptions, PutOptions, Txn};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tonic::Code;

use super::{EtcdConfig, TlsConfig};
use crate::RegistryError;

/// How long one request to etcd may take. The registry's own callers wait for 2 s.
const DEADLINE: Duration = Duration::from_millis(1500);
/// How long connecting to a member may take.
const CONNECT: Duration = Duration::from_secs(1);
/// A member that answers no ping for so long is gone, also when nothing was asked of it.
const PING: Duration = Duration::from_secs(2);
/// While the way to etcd is lost for less than this, as when a member dies, calls wait for the next member; after it they fail at once.
const GRACE: Duration = Duration::from_secs(1);

/// Why a request to etcd failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The etcd lease that it names is gone.
    LeaseGone,
    /// What it asked for has been compacted.
    Compacted,
    /// etcd did not answer, or not as it should; whether a transaction was carried out is not known.
    Lost(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::LeaseKeepAliveError(_) => Self::LeaseGone,
            Error::GRpcStatus(status) => match status.code() {
                Code::NotFound if status.message().contains("lease") => Self::LeaseGone,
                Code::OutOfRange if status.message().contains("compacted") => Self::Compacted,
                code => Self::Lost(format!("{code:?}: {}", status.message())),
            },
            error => Self::Lost(error.to_string()),
        }
    }
}

/// What [`Link::transact`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Written, in this revision.
    Done(i64),
    /// Something was not as it was read.
    Conflict,
}

/// A connection to one member.
#[derive(Clone)]
pub(super) struct Member {
    client: Arc<Client>,
    /// Which of our connections it is.
    number: u64,
}

enum State {
    Up(Member),
    Down { since: Instant, problem: String },
}

/// The connection, shared by all calls; the follower makes it and makes it anew.
pub(super) struct Link {
    config: EtcdConfig,
    state: watch::Sender<State>,
    /// The number of the connection that a call found broken.
    broken: Mutex<Option<u64>>,
    broke: Notify,
}

impl Link {
    pub(super) fn new(config: EtcdConfig) -> Arc<Self> {
        let down = State::Down { since: Instant::now(), problem: "not connected yet".to_owned() };
        Arc::new(Self {
            config,
            state: watch::Sender::new(down),
            broken: Mutex::default(),
            broke: Notify::new(),
        })
    }

    /// Connects to the member of this turn; the members take turns.
    pub(super) async fn connect(&self, turn: u64) -> Result<Member, Failure> {
        let endpoints = &self.config.endpoints;
        let count = u64::try_from(endpoints.len()).unwrap_or(1).max(1);
        let index = usize::try_from(turn % count).unwrap_or(0);
        let Some(endpoint) = endpoints.get(index) else {
            return Err(Failure::Lost("no endpoint is configured".to_owned()));
        };
        let connecting = Client::connect([endpoint], Some(options(&self.config)));
        match timeout(DEADLINE, connecting).await {
            Ok(Ok(client)) => Ok(Member { client: Arc::new(client), number: turn }),
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => Err(Failure::Lost(format!("{endpoint} did not answer"))),
        }
    }

    /// Calls may be made from now on.
    pub(super) fn up(&self, member: Member) {
        self.state.send_replace(State::Up(member));
    }

    /// Calls fail from now on, at first after a moment.
    pub(super) fn down(&self, problem: String) {
        self.state.send_modify(|state| match state {
            State::Down { problem: last, .. } => *last = problem,
            State::Up(_) => *state = State::Down { since: Instant::now(), problem },
        });
    }

    /// Waits until a call finds the connection broken.
    pub(super) async fn broken(&self, number: u64) {
        loop {
            let told = self.broke.notified();
            if *self.broken_number() == Some(number) {
                return;
            }
            told.await;
        }
    }

    fn broken_number(&self) -> MutexGuard<'_, Option<u64>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if there is one within a moment.
    pub(super) async fn member(&self) -> Result<Member, RegistryError> {
        let mut state = self.state.subscribe();
        loop {
            let until = match &*state.borrow_and_update() {
                State::Up(member) => return Ok(member.clone()),
                State::Down { since, problem } => {
                    if since.elapsed() >= GRACE {
                        return Err(RegistryError::Unavailable(format!("etcd: {problem}")));
                    }
                    *since + GRACE
                }
            };
            // Its end or the time's: both are looked at above.
            let _ = tokio::time::timeout_at(until, state.changed()).await;
        }
    }

    /// Waits for a request until the deadline (boxed: a client of etcd is kilobytes); one that got no answer tells the follower to look for another member.
    pub(super) async fn ask<T>(
        &self,
        member: &Member,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let failure = match timeout(DEADLINE, request).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Failure::from(error),
            Err(_elapsed) => Failure::Lost(format!("no answer in {DEADLINE:?}")),
        };
        if matches!(failure, Failure::Lost(_)) {
            *self.broken_number() = Some(member.number);
            self.broke.notify_waiters();
        }
        Err(failure)
    }

    /// Carries out a transaction.
    pub(super) async fn transact(&self, member: &Member, txn: Txn) -> Result<Outcome, Failure> {
        let mut client = member.client.kv_client();
        let request = Box::pin(async move { client.txn(txn).await });
        let response = self.ask(member, request).await?;
        let revision = response.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(if response.succeeded() { Outcome::Done(revision) } else { Outcome::Conflict })
    }

    /// Writes one key; the revision.
    pub(super) async fn put(
        &self,
        member: &Member,
        key: String,
        lease: i64,
    ) -> Result<i64, Failure> {
        let mut client = member.client.kv_client();
        let options = PutOptions::new().with_lease(lease);
        let request = Box::pin(async move { client.put(key, "", Some(options)).await });
        let response = self.ask(member, request).await?;
        Ok(response.header().map_or(0, etcd_client::ResponseHeader::revision))
    }

    /// Keys from `from` to before `to`, at most `limit`, as they were in `revision` (0: now); with the revision, and
    /// whether there are more.
    pub(super) async fn range(
        &self,
        member: &Member,
        (from, to): (Vec<u8>, Vec<u8>),
        revision: i64,
        limit: i64,
    ) -> Result<(i64, Vec<etcd_client::KeyValue>, bool), Failure> {
        let mut client = member.client.kv_client();
        let options = GetOptions::new().with_range(to).with_revision(revision).with_limit(limit);
        let request = Box::pin(async move { client.get(from, Some(options)).await });
        let mut response = self.ask(member, request).await?;
        let now = response.header().map_or(0, etcd_client::ResponseHeader::revision);
        let at = if revision == 0 { now } else { revision };
        let more = response.more();
        Ok((at, response.take_kvs(), more))
    }

    /// A new etcd lease.
    pub(super) async fn grant(&self, member: &Member, ttl: Duration) -> Result<i64, Failure> {
        // Whole seconds, and never less than asked for.
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let mut client = member.client.lease_client();
        let request = Box::pin(async move { client.grant(seconds, None).await });
        Ok(self.ask(member, request).await?.id())
    }

    /// Renews an etcd lease. Each renewal opens a stream of its own: one is rare (three in a TTL), and there is
    /// then none that can end unseen.
    pub(super) async fn keep_alive(&self, member: &Member, lease: i64) -> Result<(), Failure> {
        let mut client = member.client.lease_client();
        self.ask(member, Box::pin(async move { client.keep_alive(lease).await })).await?;
        Ok(())
    }

    /// Ends an etcd lease and all that hangs on it.
    pub(super) async fn revoke(&self, member: &Member, lease: i64) -> Result<(), Failure> {
        let mut client = member.client.lease_client();
        self.ask(member, Box::pin(async move { client.revoke(lease).await })).await?;
        Ok(())
    }
}

impl Member {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn watch_client(&self) -> etcd_client::WatchClient {
        self.client.watch_client()
    }
}

fn options(config: &EtcdConfig) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(CONNECT)
        .with_keep_alive(PING, PING)
        .with_keep_alive_while_idle(true)
        // A member that lost its leader says so instead of waiting.
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some((user, password)) = &config.user {
        options = options.with_user(user, password.reveal());
    }
    if let Some(tls) = &config.tls {
        options = options.with_tls(tls_options(tls));
    }
    options
}

fn tls_options(tls: &TlsConfig) -> etcd_client::TlsOptions {
    let mut options = etcd_client::TlsOptions::new();
    if let Some(ca) = &tls.ca_pem {
        options = options.ca_certificate(etcd_client::Certificate::from_pem(ca));
    }
    if let Some((certificate, key)) = &tls.identity_pem {
        options = options.identity(etcd_client::Identity::from_pem(certificate, key.reveal()));
    }
    options
}
