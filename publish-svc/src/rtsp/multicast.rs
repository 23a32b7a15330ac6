//! Readers by multicast: one group per stream and one sender for all its readers, which begins with the first that plays and ends after
//! the last. A reader's RTSP connection keeps its session, and what it reports to the group if it is the only one of its host (`members.rs`).

mod members;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicBool},
    time::SystemTime,
};

use media::rtsp::{Group, Refusal, Start, TrackTransport};
use svc_core::config::{MulticastRange, RtspConfig};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use members::Members;

use super::{
    Shared,
    connection::place,
    output::Output,
    playback::Playback,
    udp::{Ear, UdpPorts},
};
use crate::{
    metrics::Counted,
    reception::Receptions,
    service::StartError,
    stream::{PublishedStream, ReaderDescription, ReaderEntry, Transport},
    tally::Sent,
};

pub(super) use members::Member;

/// The groups of the node.
pub(super) struct Multicast {
    ports: UdpPorts,
    interface: Ipv4Addr,
    range: MulticastRange,
    port: u16,
    ttl: u8,
    /// As many as the range has addresses at the most.
    casts: Mutex<Vec<Weak<Cast>>>,
}

/// A stream's group, for as long as a session holds it.
pub(super) struct Cast {
    stream: Arc<PublishedStream>,
    description: Arc<ReaderDescription>,
    address: Ipv4Addr,
    members: Arc<Members>,
    /// Ends who listens to it.
    _gone: DropGuard,
    /// What its sender counts.
    entry: ReaderEntry,
    playing: Mutex<Playing>,
}

#[derive(Default)]
struct Playing {
    readers: usize,
    /// Ends the sender.
    stop: CancellationToken,
}

/// A reader that plays, for as long as this lives.
pub(super) struct Casting {
    cast: Arc<Cast>,
    _counted: Counted,
}

impl Multicast {
    /// Takes a pair of ports to send from; `None` where the configuration has no multicast.
    pub(super) fn bind(config: &RtspConfig) -> Result<Option<Self>, StartError> {
        if config.multicast.is_empty() {
            return Ok(None);
        }
        let interface = match config.listen.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let address = SocketAddr::from((interface, 0));
        let refused = |source| StartError::Bind { key: "rtsp.multicast", address, source };
        let ttl = u8::try_from(config.multicast_ttl).unwrap_or(u8::MAX);
        let ports = UdpPorts::bind(address).map_err(refused)?;
        ports.set_multicast(interface, ttl).map_err(refused)?;
        let (range, port) = (config.multicast, config.multicast_port);
        Ok(Some(Self { ports, interface, range, port, ttl, casts: Mutex::default() }))
    }

    /// Whence it is sent.
    pub(super) fn ports(&self) -> &UdpPorts {
        &self.ports
    }

    /// The group of a stream; an address of the range where it has none yet.
    pub(super) fn join(
        &self,
        shared: &Arc<Shared>,
        stream: &Arc<PublishedStream>,
        description: &Arc<ReaderDescription>,
    ) -> Result<Arc<Cast>, Refusal> {
        let mut casts = self.casts.lock().unwrap_or_else(PoisonError::into_inner);
        let live: Vec<_> = casts.iter().filter_map(Weak::upgrade).collect();
        if let Some(cast) = live.iter().find(|cast| Arc::ptr_eq(&cast.stream, stream)) {
            return Ok(cast.clone());
        }
        let taken = |address: &Ipv4Addr| live.iter().any(|cast| cast.address == *address);
        let free = self.range.addresses().find(|address| !taken(address));
        let address = free.ok_or(Refusal::NotEnoughBandwidth)?;
        let gone = CancellationToken::new();
        let cast = Arc::new(Cast {
            members: Arc::default(),
            _gone: gone.clone().drop_guard(),
            stream: stream.clone(),
            description: description.clone(),
            address,
            entry: ReaderEntry {
                id: shared.next_reader_id(),
                peer: SocketAddr::from((address, self.port)),
                user_agent: String::new(),
                by: Transport::Multicast,
                connected_at: SystemTime::now(),
                playing: AtomicBool::new(true),
                sent: Arc::default(),
                receptions: Receptions::default(),
            },
            playing: Mutex::default(),
        });
        casts.retain(|cast| cast.strong_count() > 0);
        casts.push(Arc::downgrade(&cast));
        for track in 0..description.description.tracks.len() {
            if let Ok(group) = self.group(&cast, track) {
                self.listen(shared, &cast, group.port + 1, gone.clone());
            }
        }
        Ok(cast)
    }

    /// Listens to the reports on a track of a group for as long as it is there; without them it plays all the same.
    fn listen(&self, shared: &Arc<Shared>, cast: &Cast, port: u16, gone: CancellationToken) {
        let socket = match members::join(cast.address, port, self.interface) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, group = %cast.address, port, "its readers' reports are not heard");
                return;
            }
        };
        let (members, shared) = (cast.members.clone(), shared.clone());
        let tasks = shared.tasks.clone();
        tasks.spawn("rtsp_multicast_rtcp", async move {
            tokio::select! {
                () = members.hear(&socket, &shared.metrics) => {}
                () = gone.cancelled() => {}
                () = shared.shutdown.draining().cancelled() => {}
            }
        });
    }

    /// Where a track of the stream goes.
    pub(super) fn group(&self, cast: &Cast, track: usize) -> Result<Group, Refusal> {
        let port = u16::try_from(2 * track).ok().and_then(|more| self.port.checked_add(more));
        let port = port.filter(|port| *port < u16::MAX).ok_or(Refusal::Internal)?;
        Ok(Group { address: cast.address.into(), port, ttl: self.ttl })
    }
}

impl Cast {
    /// What is sent to the group.
    pub(super) fn sent(&self) -> Arc<Sent> {
        self.entry.sent.clone()
    }

    /// What readers in the group are sent, and what they are told of it.
    pub(super) fn receptions(&self) -> Receptions {
        Receptions::in_group(&self.entry.receptions)
    }

    /// One more session.
    pub(super) fn add(&self, ear: Ear) -> Member {
        self.members.add(ear)
    }

    /// One more reader plays; the first starts the sender.
    pub(super) fn play(self: &Arc<Self>, shared: &Arc<Shared>) -> Casting {
        let mut playing = self.playing.lock().unwrap_or_else(PoisonError::into_inner);
        playing.readers += 1;
        if playing.readers == 1 {
            playing.stop = CancellationToken::new();
            let (sender, stop) = (self.clone(), playing.stop.clone());
            let span =
                tracing::info_span!("multicast", stream = %self.stream.key, group = %self.address);
            let send = sender.send(shared.clone(), stop);
            shared.tasks.spawn("rtsp_multicast", send.instrument(span));
        }
        Casting { cast: self.clone(), _counted: shared.metrics.play(Transport::Multicast) }
    }

    async fn send(self: Arc<Self>, shared: Arc<Shared>, stop: CancellationToken) {
        tokio::select! {
            // Nobody listens any more.
            () = stop.cancelled() => {}
            () = self.send_on(&shared) => {}
        }
    }

    async fn send_on(&self, shared: &Arc<Shared>) {
        let Some(groups) = &shared.multicast else { return };
        let tracks = (0..self.description.description.tracks.len()).filter_map(|track| {
            let group = groups.group(self, track).ok()?;
            let at = |port| SocketAddr::new(group.address, port);
            let (rtp, rtcp) = (at(group.port), at(group.port + 1));
            Some((track, TrackTransport::Udp { rtp, rtcp }))
        });
        let tracks: Vec<_> = tracks.collect();
        let (stream, description) = (self.stream.clone(), self.description.clone());
        let ends = async {
            tokio::select! {
                () = self.stream.ended.cancelled() => {}
                () = shared.shutdown.draining().cancelled() => {}
            }
        };
        tokio::pin!(ends);
        let cursor = tokio::select! {
            () = &mut ends => return,
            cursor = place(shared, &stream, Start::LastKeyframe) => cursor,
        };
        // Stays empty: all goes by UDP.
        let mut output = Output::plain();
        let (start, mut news) = ((&tracks[..], cursor), stream.ring.news());
        let mut playback = Playback::new(shared.clone(), stream, description, start, &self.entry);
        loop {
            tokio::select! {
                biased;
                () = &mut ends => break,
                () = tokio::time::sleep_until(playback.due().into()) => {}
                () = playback.more(&mut news) => {}
            }
            playback.advance(&self.entry, &mut output);
        }
        playback.bye(&mut output);
    }
}

impl Drop for Casting {
    fn drop(&mut self) {
        let mut playing = self.cast.playing.lock().unwrap_or_else(PoisonError::into_inner);
        playing.readers -= 1;
        if playing.readers == 0 {
            playing.stop.cancel();
        }
    }
}
