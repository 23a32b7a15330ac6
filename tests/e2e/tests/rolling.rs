//! A rolling update of both Deployments under load, as `kubectl rollout restart` makes it with `maxUnavailable: 0` and `maxSurge: 1`. Publishers
//! and readers come through Services, and come back at once when they are thrown out. Each stream is read on to the end, and nothing
//! is left behind. How long it was without a picture is told: 2 s at the most are aimed at.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use e2e::{
    clips::clip,
    control::{leases, streams},
    encoder::Encoder,
    eventually,
    gaps::Watcher,
    process::{Gateway, Setup},
    service::{Backend, Service, is_ready},
};
use futures_util::future::join_all;
use test_etcd::Etcd;

/// Of each Deployment.
const REPLICAS: usize = 2;
/// Of each kind of encoder.
const STREAMS: usize = 3;
/// Far above what is aimed at: no machine is so busy.
const FAR_TOO_LONG: Duration = Duration::from_secs(20);

/// How an instance is started that has this number, and where it listens.
struct Template {
    setup: Box<dyn Fn(usize) -> Setup>,
    http: fn(&Gateway) -> String,
    /// Its port behind each Service.
    ports: Vec<fn(&Gateway) -> SocketAddr>,
}

/// Instances behind Services, the oldest first.
struct Deployment<'a> {
    template: Template,
    services: Vec<&'a Service>,
    instances: VecDeque<Gateway>,
    started: usize,
}

impl<'a> Deployment<'a> {
    async fn start(template: Template, services: Vec<&'a Service>) -> Self {
        let mut deployment = Self { template, services, instances: VecDeque::new(), started: 0 };
        for _ in 0..REPLICAS {
            deployment.add().await;
        }
        deployment
    }

    /// One instance more, behind its Services when it is ready.
    async fn add(&mut self) {
        self.started += 1;
        let instance = (self.template.setup)(self.started).start().await;
        let http = (self.template.http)(&instance);
        eventually("it is ready", async || is_ready(&http).await.then_some(())).await;
        for (service, port) in self.services.iter().zip(&self.template.ports) {
            service.add(Backend { address: port(&instance), http: http.clone() });
        }
        self.instances.push_back(instance);
    }

    /// The oldest one goes: no Service chooses it any more, then it gets SIGTERM.
    async fn end_oldest(&mut self) {
        let mut oldest = self.instances.pop_front().expect("an instance");
        for (service, port) in self.services.iter().zip(&self.template.ports) {
            service.remove(port(&oldest));
        }
        assert!(oldest.terminate().await.success());
    }

    /// A new one for each.
    async fn roll(&mut self) {
        for _ in 0..REPLICAS {
            self.add().await;
            self.end_oldest().await;
        }
    }
}

fn nodes(endpoints: String) -> Template {
    let setup = move |number| {
        Setup::publish()
            .with("etcd-endpoints", &endpoints)
            .with("publish-node-id", &format!("node{number}"))
            .with("publish-drain-grace", "4s")
    };
    let grpc = |node: &Gateway| address(&node.publish_grpc());
    Template {
        setup: Box::new(setup),
        http: Gateway::publish_http,
        ports: vec![Gateway::rtsp, grpc],
    }
}

/// Publishers that do not know how to change over are waited for as long as they are here; by an hour in a cluster, which is as many gaps.
fn ingests(registry: SocketAddr) -> Template {
    let setup = move |number| {
        Setup::ingest(&format!("http://{registry}"))
            .with("ingest-id", &format!("ingest{number}"))
            .with("ingest-drain-grace", "2s")
            .with("ingest-hold", "2s")
    };
    Template { setup: Box::new(setup), http: Gateway::ingest_http, ports: vec![Gateway::rtmp] }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

/// A stream by its publisher, and its reader.
struct Watched {
    encoder: &'static str,
    publisher: Encoder,
    watcher: Watcher,
}

async fn watched(rtmp: &Service, rtsp: &Service) -> Vec<Watched> {
    let clip = clip("small");
    let streams = (0..STREAMS).flat_map(|number| {
        let (one, other) = (format!("site/ffmpeg{number}"), format!("site/other{number}"));
        let url = format!("rtmp://{}/stream/{one}", rtmp.address);
        [
            (one, "ffmpeg", Encoder::ffmpeg(&clip, &url)),
            (
                other.clone(),
                "an encoder that reconnects",
                Encoder::that_reconnects(rtmp.address, &other),
            ),
        ]
    });
    let watched = streams.map(async |(key, encoder, publisher)| {
        let url = format!("rtsp://{}/{key}", rtsp.address);
        Watched { encoder, publisher, watcher: Watcher::returning(&url).await }
    });
    join_all(watched).await
}

/// Waits until all streams are read on, and says how long each was not, since `from`.
async fn tell(what: &str, all: &[Watched], from: Instant) {
    for stream in all {
        stream.watcher.sees_more().await;
    }
    for Watched { encoder, watcher, .. } in all {
        let gap = watcher.longest_gap(from);
        println!("rolling update of {what}, {encoder}: longest gap {gap:?}");
        assert!(gap < FAR_TOO_LONG, "{:?}", watcher.refusals());
    }
}

/// The RTP ports of all leases.
async fn ports(nodes: &Deployment<'_>) -> BTreeSet<u16> {
    let leases = leases(&nodes.instances[0].publish_grpc()).await;
    leases.iter().map(|lease| u16::try_from(lease.rtp_port).expect("a port")).collect()
}

/// Without publishers no lease, no stream and no port is left.
async fn nothing_is_left(nodes: &Deployment<'_>, ports: &BTreeSet<u16>) {
    for node in &nodes.instances {
        let grpc = node.publish_grpc();
        eventually("no lease is left", async || leases(&grpc).await.is_empty().then_some(())).await;
        eventually("no stream is left", async || streams(&grpc).await.is_empty().then_some(()))
            .await;
    }
    for port in ports {
        UdpSocket::bind(("127.0.0.1", *port)).expect("the port is free");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_rolling_update_of_both_deployments_each_stream_is_read_on() {
    let etcd = tokio::task::spawn_blocking(Etcd::start).await.unwrap();
    let (rtmp, rtsp, registry) =
        (Service::start().await, Service::start().await, Service::start().await);
    let endpoints = etcd.endpoints().join(",");
    let mut nodes = Deployment::start(nodes(endpoints), vec![&rtsp, &registry]).await;
    let mut ingests = Deployment::start(ingests(registry.address), vec![&rtmp]).await;
    let all = watched(&rtmp, &rtsp).await;
    let mut used = ports(&nodes).await;

    let began = Instant::now();
    nodes.roll().await;
    tell("the nodes", &all, began).await;
    used.extend(ports(&nodes).await);

    let began = Instant::now();
    ingests.roll().await;
    tell("the ingests", &all, began).await;
    used.extend(ports(&nodes).await);

    let began = Instant::now();
    tokio::join!(nodes.roll(), ingests.roll());
    tell("both at once", &all, began).await;
    used.extend(ports(&nodes).await);

    all.into_iter().for_each(|stream| drop(stream.publisher));
    nothing_is_left(&nodes, &used).await;
    for deployment in [&mut nodes, &mut ingests] {
        while !deployment.instances.is_empty() {
            deployment.end_oldest().await;
        }
    }
}
