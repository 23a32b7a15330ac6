//! A bad network between an ingest and a node: a relay of datagrams that loses some and delays each by a time of its own, so that they overtake
//! each other. What it does is told by a seed, but for when the system lets it.
//!
//! `tc netem` would do the same, where the kernel has it.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinSet};

/// No datagram of the hop is larger.
const DATAGRAM: usize = 2048;

/// What the network does to datagrams, both ways.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// How many of a thousand are lost.
    pub loss_per_mille: u64,
    /// The longest that one is delayed; all times up to it are as likely.
    pub delay: Duration,
}

/// What became of the datagrams.
#[derive(Debug, Default)]
pub struct Tally {
    /// Passed on.
    pub passed: AtomicU64,
    /// Lost.
    pub lost: AtomicU64,
}

/// See the module. It ends when dropped.
pub struct Relay {
    /// Of the port of RTP.
    pub rtp: Arc<Tally>,
    /// Of the port of RTCP, both ways.
    pub rtcp: Arc<Tally>,
    _tasks: JoinSet<()>,
}

/// The address on which relays listen, for nodes to announce; they pass on to 127.0.0.1.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

impl Relay {
    /// Passes on what comes for an RTP port and the one above it.
    pub async fn start(port: u16, network: Network, seed: u64) -> Self {
        let (rtp, rtcp) = (Arc::<Tally>::default(), Arc::<Tally>::default());
        let mut tasks = JoinSet::new();
        for (port, tally) in [(port, &rtp), (port + 1, &rtcp)] {
            let socket = UdpSocket::bind((ADDRESS, port)).await.expect("a port of the relay");
            let path = Path {
                network,
                random: Arc::new(Mutex::new(Random(seed ^ u64::from(port) << 32 | 1))),
                tally: tally.clone(),
            };
            tasks.spawn(relay(Arc::new(socket), port, path));
        }
        Self { rtp, rtcp, _tasks: tasks }
    }
}

/// Both directions of one port.
async fn relay(socket: Arc<UdpSocket>, port: u16, path: Path) {
    let mut upstreams = HashMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut back = JoinSet::new();
    let mut buffer = [0; DATAGRAM];
    loop {
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        if let Entry::Vacant(unknown) = upstreams.entry(source) {
            let upstream = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            upstream.connect(("127.0.0.1", port)).await.expect("the node's port");
            let upstream = Arc::new(upstream);
            unknown.insert(upstream.clone());
            back.spawn(answers(upstream, socket.clone(), source, path.clone()));
        }
        let upstream = upstreams[&source].clone();
        path.pass(buffer[..length].to_vec(), move |datagram| {
            let _ = upstream.try_send(&datagram);
        });
    }
}

/// From the node to the source of what it was sent.
async fn answers(from: Arc<UdpSocket>, by: Arc<UdpSocket>, to: SocketAddr, path: Path) {
    let mut buffer = [0; DATAGRAM];
    loop {
        let Ok(length) = from.recv(&mut buffer).await else {
            // The node's port is closed for the moment.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let by = by.clone();
        path.pass(buffer[..length].to_vec(), move |datagram| {
            let _ = by.try_send_to(&datagram, to);
        });
    }
}

#[derive(Clone)]
struct Path {
    network: Network,
    random: Arc<Mutex<Random>>,
    tally: Arc<Tally>,
}

impl Path {
    fn pass(&self, datagram: Vec<u8>, send: impl FnOnce(Vec<u8>) + Send + 'static) {
        let (lost, delay) = {
            let mut random = self.random.lock().expect("the relay's numbers");
            let lost = random.below(1000) < self.network.loss_per_mille;
            let delay = random.below(self.network.delay.as_micros() as u64 + 1);
            (lost, Duration::from_micros(delay))
        };
        if lost {
            self.tally.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tally.passed.fetch_add(1, Ordering::Relaxed);
        if delay.is_zero() {
            return send(datagram);
        }
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            send(datagram);
        });
    }
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}
