//! Who is heard on the ports that all UDP readers share.

use std::time::Duration;

use media::StreamKey;
use svc_core::{config::RtspConfig, drain::Shutdown};

use super::{super::Shared, *};
use crate::stream::{PublishedStream, StreamSource};

struct NoStreams;

impl StreamSource for NoStreams {
    fn stream(&self, _key: &StreamKey) -> Option<Arc<PublishedStream>> {
        None
    }
    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
}

fn shared() -> Arc<Shared> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Arc::new(Shared {
        config: RtspConfig::default(),
        streams: Arc::new(NoStreams),
        udp: Some(UdpPorts::bind(any).unwrap()),
        waiters: tokio::sync::Semaphore::new(0),
        tunnels: Default::default(),
        multicast: None,
        tasks: svc_core::tasks::Tasks::new(&svc_core::metrics::Metrics::new("test")),
        next_reader: 1.into(),
        shutdown: Shutdown::new(),
        metrics: Instruments::default(),
    })
}

/// Heard of long ago; whether it was heard of since.
struct Ear(Instant, Heard);

impl Ear {
    fn new() -> Self {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        Self(long_ago, Arc::new(Mutex::new(long_ago)))
    }
    fn heard(&self) -> bool {
        *self.1.lock().unwrap() != self.0
    }
}

fn reader(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[tokio::test]
async fn a_pair_of_ports_is_even_and_odd_and_an_odd_one_is_refused() {
    let shared = shared();
    let (rtp, rtcp) = shared.udp.as_ref().unwrap().ports();
    assert_eq!((rtp % 2, rtcp), (0, rtp + 1));
    assert!(UdpPorts::bind(reader(rtcp)).is_err());
    let taken = UdpPorts::bind(reader(rtp)).err().unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_reader_is_heard_by_its_exact_address_for_as_long_as_it_lives() {
    let shared = shared();
    let udp = shared.udp.as_ref().unwrap();
    let ear = Ear::new();
    let listening = UdpPorts::listen(&shared, reader(4001), ear.1.clone());
    udp.heard(reader(4003), &shared.metrics);
    udp.heard(([127, 0, 0, 2], 4001).into(), &shared.metrics);
    assert!(!ear.heard());
    assert_eq!(shared.metrics.strange_rtcp.get(), 2);
    udp.heard(reader(4001), &shared.metrics);
    assert!(ear.heard());
    drop(listening);
    assert!(udp.heard_by_address.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reader_that_came_back_to_its_ports_outlives_its_old_session() {
    let shared = shared();
    let udp = shared.udp.as_ref().unwrap();
    let (old, new) = (Ear::new(), Ear::new());
    let old_session = UdpPorts::listen(&shared, reader(4001), old.1.clone());
    let _new_session = UdpPorts::listen(&shared, reader(4001), new.1.clone());
    // Such as a connection that broke, and is closed only when it times out.
    drop(old_session);
    udp.heard(reader(4001), &shared.metrics);
    assert!(new.heard() && !old.heard());
}
