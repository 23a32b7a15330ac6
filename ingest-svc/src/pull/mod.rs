//! Pulling: a stream's publisher is a remote RTMP server that plays for us.
//!
//! One task for each pulled stream ([`Pull::run`]) connects, hands the connection to the stream as its publisher once media comes,
//! waits until it is gone, and does so again, until StopStream or the drain:
//!
//! | state | what happens | next |
//! | --- | --- | --- |
//! | CONNECTING | host's name, TCP, TLS, handshake, `connect`, `createStream`, `play`, first media | offered to the stream |
//! | | any of it fails | BACKING_OFF |
//! | | the stream refuses it: another publishes and it does not stand by, or no leg is granted | BACKING_OFF |
//! | | the stream accepts it | PLAYING |
//! | PLAYING | for a minute | failures are forgotten |
//! | | the remote ends, breaks or stalls it, or another takes the stream over | BACKING_OFF |
//! | BACKING_OFF | the time has passed (see [`backoff`]) | CONNECTING |
//!
//! The stream decides on it as on any publisher, but that it never takes a stream over ([`crate::publisher::Publisher::takes_over`]).
//! Whose URL that is, and where it may lead, is for those to say who may call StartStream: only the scheme is looked at here.

mod backoff;
mod connect;
mod connection;
mod failure;
mod tls;

use std::{sync::Arc, time::SystemTime};

use media::rtmp::RtmpUrl;
use prometheus_client::metrics::gauge::Gauge;
use proto::v1::{self, PullState};
use svc_core::config::RtmpConfig;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{
    backoff::{Backoff, STABLE},
    connection::{MAX_TOLD, Told},
};
pub(crate) use self::{
    connect::Connect, connection::PulledConnection, failure::Failure, tls::Trust,
};
use crate::{
    metrics::Instruments,
    publisher::Publisher,
    stream::{Command, StreamStatus, bring_up_span},
};

/// What all pulls of the process share.
#[derive(Clone)]
pub(crate) struct PullContext {
    /// `[rtmp]`, whose timeouts and bounds hold for servers as for publishers.
    pub(crate) rtmp: Arc<RtmpConfig>,
    /// How servers are connected to.
    pub(crate) connect: Arc<dyn Connect>,
}

/// A stream that is pulled.
pub(crate) struct Pull {
    pub(crate) context: PullContext,
    pub(crate) source: Arc<RtmpUrl>,
    pub(crate) status: Arc<StreamStatus>,
    /// Of the stream.
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) metrics: Instruments,
    pub(crate) draining: CancellationToken,
}

impl Pull {
    /// Pulls until the stream is gone or the service drains.
    pub(crate) async fn run(self) {
        let _counted = Counted::new(&self.metrics.pulls);
        let mut backoff = Backoff::default();
        tokio::select! {
            () = self.draining.cancelled() => {}
            () = self.commands.closed() => {}
            () = self.pull(&mut backoff) => {}
        }
    }

    /// Shows that it begins.
    pub(crate) fn begin(&self) {
        self.show(PullState::Connecting, |_| {});
    }

    async fn pull(&self, backoff: &mut Backoff) {
        loop {
            let Err(failure) = self.once(backoff).await;
            self.metrics.pull_failed(&failure);
            let wait = backoff.fail(rand::random());
            info!(
                source = %self.source, %failure, failures = backoff.failures(), retry_in = ?wait,
                "the stream is not pulled"
            );
            self.show(PullState::BackingOff, |pull| {
                pull.attempts = backoff.failures();
                pull.last_error = failure.to_string();
                pull.next_attempt_at = Some(proto::timestamp(SystemTime::now() + wait));
            });
            sleep(wait).await;
            self.begin();
        }
    }

    /// Connects, and is the stream's publisher until that ends.
    async fn once(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Failure> {
        self.metrics.pull_attempts.inc();
        let (told, mut tells) = mpsc::channel(MAX_TOLD);
        let (source, PullContext { rtmp, connect }) = (self.source.clone(), &self.context);
        let connection = PulledConnection::open(source, &**connect, rtmp, told).await?;
        let span = bring_up_span(&self.status.key, connection.peer());
        let publisher = Publisher::Pulled(Box::new(connection));
        // If the stream is gone, so is this.
        let _ = self.commands.send(Command::Publish(publisher, span)).await;
        let (mut stable_at, mut _playing) = (None, None);
        loop {
            tokio::select! {
                told = tells.recv() => match told {
                    Some(Told::Playing) => {
                        stable_at = Some(Instant::now() + STABLE);
                        _playing = Some(Counted::new(&self.metrics.pulls_playing));
                        self.show(PullState::Playing, |_| {});
                    }
                    Some(Told::Ended(failure)) => return Err(failure),
                    None => return Err(Failure::NotTaken("the stream ended".to_owned())),
                },
                () = sleep_until(stable_at.unwrap_or_else(Instant::now)), if stable_at.is_some() => {
                    stable_at = None;
                    backoff.reset();
                    self.show(PullState::Playing, |pull| {
                        pull.attempts = 0;
                        pull.last_error.clear();
                    });
                }
            }
        }
    }

    /// Shows a state in the API.
    fn show(&self, state: PullState, change: impl FnOnce(&mut v1::Pull)) {
        self.status.update(|facts| {
            let pull = facts.pull.get_or_insert_with(|| v1::Pull {
                source_url: self.source.to_string(),
                ..v1::Pull::default()
            });
            pull.state = state.into();
            pull.next_attempt_at = None;
            change(pull);
        });
    }
}

/// One more in a gauge, until it is dropped.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
