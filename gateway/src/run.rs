//! Config → bind → run, for one service or both, and the end in two phases.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use ingest_svc::Ingest;
use publish_svc::Publish;
use svc_core::{config::Config, drain::Shutdown};
use tokio::task::JoinHandle;
use tracing::{Instrument, info_span};

/// What runs in a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Both services and the registry.
    Both,
    /// ingest-svc.
    Ingest,
    /// publish-svc.
    Publish,
}

impl Part {
    /// Its name in telemetry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both => "rtmp2rtsp",
            Self::Ingest => "ingest-svc",
            Self::Publish => "publish-svc",
        }
    }
}

/// Where ingest-svc alone looks for the registry if it is not told.
const DEFAULT_REGISTRY: &str = "http://127.0.0.1:50052";
/// How long a service may take to end after the cut.
const CUT_GRACE: Duration = Duration::from_secs(3);

/// The bound services of this process.
pub struct Gateway {
    ingest: Option<Ingest>,
    publish: Option<Publish>,
    ingest_grace: Duration,
    publish_grace: Duration,
}

impl Gateway {
    /// Takes all sockets of `part`. Both: ingest is pointed at the registry that publish serves, unless `registry.url` names another.
    pub async fn bind(config: &Config, part: Part) -> anyhow::Result<Self> {
        let graces = (config.ingest.drain_grace, config.publish.drain_grace);
        let config = &as_one_process(config, part);
        let publish = match part {
            Part::Both | Part::Publish => Some(Publish::bind(config).await?),
            Part::Ingest => None,
        };
        let registry_url = match (&publish, config.registry.url.as_str()) {
            (Some(publish), "") => format!("http://{}", reachable(publish.addresses().grpc)),
            (None, "") => DEFAULT_REGISTRY.to_owned(),
            (_, url) => url.to_owned(),
        };
        let ingest = match part {
            Part::Both | Part::Ingest => Some(Ingest::bind(config, &registry_url).await?),
            Part::Publish => None,
        };
        Ok(Self { ingest, publish, ingest_grace: graces.0, publish_grace: graces.1 })
    }

    /// Where ingest-svc listens, if it runs here.
    pub fn ingest(&self) -> Option<ingest_svc::Addresses> {
        self.ingest.as_ref().map(Ingest::addresses)
    }

    /// Where publish-svc listens, if it runs here.
    pub fn publish(&self) -> Option<publish_svc::Addresses> {
        self.publish.as_ref().map(Publish::addresses)
    }

    /// The RTMP port as reached from this host.
    pub fn rtmp(&self) -> Option<SocketAddr> {
        self.ingest().map(|addresses| reachable(addresses.rtmp))
    }

    /// What people and tests are told when all sockets are bound; a line each, of a stable form.
    pub fn banner(&self, demo: bool) -> String {
        let (ingest, publish) = (self.ingest(), self.publish());
        let mut text = format!("rtmp2rtsp {} is ready\n", env!("CARGO_PKG_VERSION"));
        // Writing to a String cannot fail.
        if let Some(ingest) = &ingest {
            let _ = writeln!(text, "  publish to  rtmp://{}/live/<stream key>", Host(ingest.rtmp));
        }
        if let Some(publish) = &publish {
            let _ = writeln!(text, "  play from   rtsp://{}/<stream key>", Host(publish.rtsp));
            if demo {
                let _ = writeln!(text, "  demo        rtsp://{}/demo", Host(publish.rtsp));
            }
        }
        if let Some(publish) = &self.publish {
            let _ = writeln!(text, "  registry    {}", publish.book());
        }
        let grpc = [
            ingest.as_ref().map(|i| format!("{} (ingest)", Host(i.grpc))),
            publish.as_ref().map(|p| format!("{} (publish, registry)", Host(p.grpc))),
        ];
        let http = [
            ingest.as_ref().map(|i| format!("http://{} (ingest)", Host(i.http))),
            publish.as_ref().map(|p| format!("http://{} (publish)", Host(p.http))),
        ];
        for (name, addresses) in [("gRPC", grpc), ("HTTP", http)] {
            let addresses: Vec<_> = addresses.into_iter().flatten().collect();
            let _ = writeln!(text, "  {name}        {}", addresses.join("  "));
        }
        text
    }

    /// All bound addresses, as one log line.
    pub fn log_addresses(&self) {
        let (ingest, publish) = (self.ingest(), self.publish());
        let text = |address: Option<SocketAddr>| address.map(tracing::field::display);
        tracing::info!(
            rtmp = text(ingest.as_ref().map(|a| a.rtmp)),
            ingest_grpc = text(ingest.as_ref().map(|a| a.grpc)),
            ingest_http = text(ingest.as_ref().map(|a| a.http)),
            rtsp = text(publish.as_ref().map(|a| a.rtsp)),
            publish_grpc = text(publish.as_ref().map(|a| a.grpc)),
            publish_http = text(publish.as_ref().map(|a| a.http)),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
    }

    /// Serves until `shutdown` drains, then ends ingest-svc first, which releases its leases and ends its readers' streams in order, and
    /// publish-svc after it; each within its grace time, cut when that is over or when `shutdown` is cut. Fails if a service ends by itself.
    pub async fn run(self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut services = Vec::new();
        if let Some(ingest) = self.ingest {
            let name = Part::Ingest.name();
            services.push(Service::start(name, self.ingest_grace, |s| ingest.run(s)));
        }
        if let Some(publish) = self.publish {
            let name = Part::Publish.name();
            services.push(Service::start(name, self.publish_grace, |s| publish.run(s)));
        }
        let failed = tokio::select! {
            () = shutdown.draining().cancelled() => None,
            failed = first_to_end(&mut services) => Some(failed),
        };
        for service in services {
            service.stop(shutdown.cutting()).await;
        }
        match failed {
            Some(failed) => Err(failed),
            None => Ok(()),
        }
    }
}

/// The configuration of the services. With both of them and the registry in one process nobody could go on with its streams: publishers and
/// readers are not waited for when it drains.
fn as_one_process(config: &Config, part: Part) -> Config {
    let mut config = config.clone();
    if part == Part::Both && config.registry.url.is_empty() {
        config.ingest.drain_grace = Duration::ZERO;
        config.publish.drain_grace = Duration::ZERO;
    }
    config
}

/// A running service.
struct Service {
    name: &'static str,
    grace: Duration,
    /// Its own, so that services end one after the other.
    shutdown: Shutdown,
    /// `None` once it has ended.
    task: Option<JoinHandle<()>>,
}

impl Service {
    fn start<F>(name: &'static str, grace: Duration, run: impl FnOnce(Shutdown) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = Shutdown::new();
        let future = run(shutdown.clone()).instrument(info_span!(parent: None, "service", name));
        Self { name, grace, shutdown, task: Some(tokio::spawn(future)) }
    }

    /// Drains it, and cuts it when its grace time is over or `cut` is cancelled.
    async fn stop(mut self, cut: &tokio_util::sync::CancellationToken) {
        let Some(mut task) = self.task.take() else { return };
        tracing::info!(service = self.name, grace = ?self.grace, "draining");
        self.shutdown.start_drain();
        let reason = tokio::select! {
            ended = &mut task => return self.say_end(ended.err()),
            () = tokio::time::sleep(self.grace) => "the grace time is over",
            () = cut.cancelled() => "asked to cut",
        };
        tracing::warn!(service = self.name, reason, "cutting");
        self.shutdown.cut();
        match tokio::time::timeout(CUT_GRACE, &mut task).await {
            Ok(ended) => self.say_end(ended.err()),
            Err(_) => {
                tracing::error!(service = self.name, "does not end; left behind");
                task.abort();
            }
        }
    }

    fn say_end(&self, error: Option<tokio::task::JoinError>) {
        match error {
            None => tracing::info!(service = self.name, "stopped"),
            Some(error) => tracing::error!(service = self.name, %error, "stopped"),
        }
    }
}

/// Waits for a service that ends though nobody asked it to.
async fn first_to_end(services: &mut [Service]) -> anyhow::Error {
    let ended = std::future::poll_fn(|cx| {
        for service in services.iter_mut() {
            let Some(task) = &mut service.task else { continue };
            if let std::task::Poll::Ready(result) = Future::poll(std::pin::Pin::new(task), cx) {
                service.task = None;
                return std::task::Poll::Ready((service.name, result));
            }
        }
        std::task::Poll::Pending
    });
    let (name, result) = ended.await;
    match result {
        Ok(()) => anyhow::anyhow!("{name} ended by itself"),
        Err(error) => anyhow::anyhow!("{name} failed: {error}"),
    }
}

/// An address that is bound, as reached from this host: the loopback address where it is unspecified.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// An address as people type it: `localhost` where it is unspecified.
struct Host(SocketAddr);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.ip().is_unspecified() {
            write!(f, "localhost:{}", self.0.port())
        } else {
            self.0.fmt(f)
        }
    }
}

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on they no longer end the process; [`Signals::next`] tells of them.
    pub fn catch() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_shown_as_localhost_and_reached_by_loopback() {
        for (bound, shown, reached) in [
            ("0.0.0.0:1", "localhost:1", "127.0.0.1:1"),
            ("[::]:2", "localhost:2", "[::1]:2"),
            ("10.0.0.3:4", "10.0.0.3:4", "10.0.0.3:4"),
        ] {
            let bound: SocketAddr = bound.parse().unwrap();
            assert_eq!(Host(bound).to_string(), shown);
            assert_eq!(reachable(bound).to_string(), reached);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_drain_in_time_is_cut() {
        let (told, hear) = tokio::sync::oneshot::channel();
        let service = Service::start("test", Duration::from_secs(10), |shutdown| async move {
            shutdown.cutting().cancelled().await;
            let _ = told.send(());
        });
        let began = tokio::time::Instant::now();
        service.stop(&tokio_util::sync::CancellationToken::new()).await;
        hear.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_cuts_at_once() {
        let service = Service::start("test", Duration::from_secs(10), |shutdown| async move {
            shutdown.cutting().cancelled().await;
        });
        let cut = tokio_util::sync::CancellationToken::new();
        cut.cancel();
        let began = tokio::time::Instant::now();
        service.stop(&cut).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_never_ends_is_left_behind() {
        let service = Service::start("test", Duration::ZERO, |_| std::future::pending::<()>());
        let began = tokio::time::Instant::now();
        service.stop(&tokio_util::sync::CancellationToken::new()).await;
        assert!(began.elapsed() <= CUT_GRACE + Duration::from_millis(10));
    }

    #[tokio::test]
    async fn a_service_that_ends_by_itself_is_a_failure_that_names_it() {
        let mut services = [
            Service::start("a", Duration::ZERO, |_| std::future::pending::<()>()),
            Service::start("b", Duration::ZERO, |_| async {}),
        ];
        assert_eq!(first_to_end(&mut services).await.to_string(), "b ended by itself");
    }
}
