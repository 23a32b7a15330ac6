//! Who is heard on the ports that all UDP readers share.

use std::{
    sync::atomic::AtomicBool,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use media::{
    ClockRate,
    rtcp::{ReportBlock, receiver_report},
};
use registry::{MemoryConfig, MemoryEngine};
use svc_core::{
    config::{Config, RtspConfig},
    drain::Shutdown,
    metrics::Metrics,
    tasks::Tasks,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    demand::{Demand, DemandConfig},
    reception::Receptions,
    stream::Transport,
    streams::Streams,
};

/// Nobody has any stream.
fn no_demand(tasks: &Tasks) -> Arc<Demand> {
    let metrics = Instruments::default();
    let streams = Arc::new(Streams::new(String::new(), metrics.streams.clone()));
    let engine = MemoryEngine::new(MemoryConfig::default());
    let config = DemandConfig::new(&Config::default(), "node-1");
    Demand::new(config, engine, streams, (tasks.clone(), CancellationToken::new()), metrics)
}

/// What connections share, with UDP and no streams.
pub(in crate::rtsp) fn shared() -> Arc<Shared> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let tasks = Tasks::new(&Metrics::new("test"));
    let demand = no_demand(&tasks);
    Arc::new(Shared {
        config: RtspConfig::default(),
        streams: demand.streams(),
        demand,
        udp: Some(UdpPorts::bind(any).unwrap()),
        waiters: tokio::sync::Semaphore::new(0),
        tunnels: Default::default(),
        multicast: None,
        tasks,
        next_reader: 1.into(),
        shutdown: Shutdown::new(),
        metrics: Instruments::default(),
    })
}

/// A reader that was heard of long ago; whether it was heard of since.
pub(in crate::rtsp) struct Silent(Instant, Heard, Arc<ReaderEntry>);

impl Silent {
    pub(in crate::rtsp) fn new() -> Self {
        Self::at(reader(4000))
    }
    pub(in crate::rtsp) fn at(peer: SocketAddr) -> Self {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        let entry = ReaderEntry {
            id: 1,
            peer,
            user_agent: String::new(),
            by: Transport::Udp,
            connected_at: SystemTime::now(),
            playing: AtomicBool::new(true),
            sent: Arc::default(),
            receptions: Receptions::default(),
        };
        entry.receptions.add_track(0, 7, ClockRate::VIDEO);
        Self(long_ago, Arc::new(Mutex::new(long_ago)), Arc::new(entry))
    }
    pub(in crate::rtsp) fn ear(&self) -> Ear {
        Ear { heard: self.1.clone(), reader: self.2.clone() }
    }
    pub(in crate::rtsp) fn heard(&self) -> bool {
        *self.1.lock().unwrap() != self.0
    }
    pub(in crate::rtsp) fn losses(&self) -> Vec<i32> {
        self.2.receptions.list().iter().map(|reception| reception.packets_lost).collect()
    }
}

/// A report of so many packets lost.
pub(in crate::rtsp) fn report(lost: i32) -> Bytes {
    let block = ReportBlock { ssrc: 7, cumulative_lost: lost, ..Default::default() };
    receiver_report(1, &[block], "reader")
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
    let silent = Silent::new();
    let listening = UdpPorts::listen(&shared, reader(4001), silent.ear());
    udp.take(&report(9), reader(4003), &shared.metrics);
    udp.take(b"no RTCP", ([127, 0, 0, 2], 4001).into(), &shared.metrics);
    assert_eq!((silent.heard(), silent.losses()), (false, vec![]));
    assert_eq!((shared.metrics.strange_rtcp.get(), shared.metrics.malformed_rtcp.get()), (2, 0));
    udp.take(b"no RTCP", reader(4001), &shared.metrics);
    assert_eq!((silent.heard(), shared.metrics.malformed_rtcp.get()), (false, 1));
    udp.take(&report(3), reader(4001), &shared.metrics);
    assert_eq!((silent.heard(), silent.losses()), (true, vec![3]));
    drop(listening);
    assert!(udp.ears_by_address.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reader_that_came_back_to_its_ports_outlives_its_old_session() {
    let shared = shared();
    let udp = shared.udp.as_ref().unwrap();
    let (old, new) = (Silent::new(), Silent::new());
    let old_session = UdpPorts::listen(&shared, reader(4001), old.ear());
    let _new_session = UdpPorts::listen(&shared, reader(4001), new.ear());
    // Such as a connection that broke, and is closed only when it times out.
    drop(old_session);
    udp.take(&report(3), reader(4001), &shared.metrics);
    assert!(new.heard() && !old.heard());
    assert_eq!((new.losses(), old.losses()), (vec![3], vec![]));
}
