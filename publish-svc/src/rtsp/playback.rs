//! What a reader is sent: access units from its place in the ring, and the reports that go with them.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use media::{
    rtcp::{SenderReport, bye, sender_report},
    rtp::SegmentRun,
    rtsp::{RtpInfo, TrackTransport},
};

use prometheus_client::metrics::counter::Counter;
use svc_core::clock::wall_clock;

use super::{Shared, udp::UdpPorts, wire::Output};
use crate::{
    metrics::Counted,
    ring::{Cursor, News, RingUnit},
    stream::{PublishedStream, ReaderDescription, ReaderEntry, Transport},
};

/// Access units taken from the ring at once.
const UNITS: usize = 16;
/// Packets that go to a UDP reader back to back: 32 of 1200 bytes are less than half of a default socket buffer (212,992 bytes, each
/// packet counted with about 2,300), so that a reader that is not scheduled for a moment loses nothing.
const BURST: u32 = 32;
/// The pause between bursts.
const BURST_GAP: Duration = Duration::from_millis(1);

/// A track of the session.
struct Track {
    index: usize,
    transport: TrackTransport,
    packets: u32,
    octets: u32,
}

/// A playing session.
pub(super) struct Playback {
    shared: Arc<Shared>,
    stream: Arc<PublishedStream>,
    description: Arc<ReaderDescription>,
    tracks: Vec<Track>,
    cursor: Cursor,
    news: News,
    next_report: Instant,
    /// Of all readers of the transport.
    sent: Counter,
    sent_before: u32,
    /// Not of a group's sender, which is no reader.
    _counted: Option<Counted>,
    /// Whether it is sent to a group.
    multicast: bool,
    /// UDP: what waits for its burst.
    paced: VecDeque<(SocketAddr, SegmentRun)>,
    next_burst: Instant,
}

impl Playback {
    /// Sends these tracks from that place on.
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: Arc<PublishedStream>,
        description: Arc<ReaderDescription>,
        (tracks, cursor): (&[(usize, TrackTransport)], Cursor),
        reader: &ReaderEntry,
    ) -> Self {
        let tracks = tracks
            .iter()
            .map(|&(index, transport)| Track { index, transport, packets: 0, octets: 0 })
            .collect();
        let multicast = reader.by == Transport::Multicast;
        let now = Instant::now();
        Self {
            sent: shared.metrics.reader_packets(reader.by),
            sent_before: reader.sent.packets.load(Ordering::Relaxed),
            _counted: (!multicast).then(|| shared.metrics.play(reader.by)),
            multicast,
            shared,
            news: stream.ring.news(),
            stream,
            description,
            tracks,
            cursor,
            next_report: now,
            paced: VecDeque::new(),
            next_burst: now,
        }
    }

    /// RTP-Info: the first packet of each track that the reader will get.
    pub(super) fn rtp_info(&self) -> Vec<RtpInfo> {
        let info = |track: &Track| {
            let (sequence_number, rtp_timestamp) =
                self.stream.ring.first_packet(self.cursor, track.index);
            RtpInfo { track: track.index, sequence_number, rtp_timestamp }
        };
        self.tracks.iter().map(info).collect()
    }

    /// Completes when something is to be done by [`Self::advance`]; never while the connection has no room for it. Cancel safe.
    pub(super) async fn ready(&mut self, room: bool) {
        if !self.paced.is_empty() {
            tokio::time::sleep_until(self.next_burst.into()).await;
            if let Some(udp) = self.udp() {
                // A socket that fails shows it at the next send.
                let _ = udp.writable().await;
            }
        } else if room {
            self.news.wait(self.cursor).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// When the next Sender Report is due.
    pub(super) fn next_report(&self) -> Instant {
        self.next_report
    }

    /// Takes what the ring has, or sends the next burst; interleaved bytes go to `output`. A report that is due goes first: readers
    /// that map tracks to one clock by it (ffmpeg 5.1) would move those that they were sent before.
    pub(super) fn advance(&mut self, reader: &ReaderEntry, output: &mut Output) {
        if Instant::now() >= self.next_report {
            self.report(reader, output);
        }
        if self.paced.is_empty() {
            let batch =
                self.stream.ring.read(&mut self.cursor, UNITS, self.shared.config.max_reader_age);
            if batch.skipped > 0 {
                self.stream.readers.skip(reader, batch.skip, batch.skipped);
                self.shared.metrics.skip(batch.skip, batch.skipped);
            }
            for unit in &batch.units {
                self.take(unit, reader, output);
            }
            let sent = reader.sent.packets.load(Ordering::Relaxed);
            self.sent.inc_by(sent.wrapping_sub(self.sent_before).into());
            self.sent_before = sent;
        }
        self.burst();
    }

    fn take(&mut self, unit: &RingUnit, reader: &ReaderEntry, output: &mut Output) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.index == unit.track) else {
            return;
        };
        let packets = unit.packets.sizes.len() as u32;
        let octets = (unit.packets.data.len() as u32).saturating_sub(12 * packets);
        track.packets = track.packets.wrapping_add(packets);
        track.octets = track.octets.wrapping_add(octets);
        reader.sent.packets.fetch_add(packets, Ordering::Relaxed);
        match track.transport {
            TrackTransport::Interleaved { rtp, .. } => output.push(unit.framed(rtp)),
            TrackTransport::Udp { rtp, .. } => {
                let runs = unit.packets.runs(BURST as usize);
                self.paced.extend(runs.map(|run| (rtp, run)));
            }
            TrackTransport::Multicast => {}
        }
    }

    fn burst(&mut self) {
        let shared = self.shared.clone();
        let Some(udp) = shared.udp_ports(self.multicast) else { return };
        if self.paced.is_empty() || Instant::now() < self.next_burst {
            return;
        }
        let mut sent = 0;
        while sent < BURST
            && let Some((to, run)) = self.paced.front()
        {
            match udp.send(*to, run) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // Such as an ICMP answer of a port that has closed: the session's timeout sees to it.
                Err(error) => {
                    self.shared.metrics.unsent.inc();
                    tracing::debug!(%error, %to, "RTP was not sent");
                }
                Ok(()) => {}
            }
            sent += u32::from(run.packets);
            self.paced.pop_front();
        }
        self.next_burst = Instant::now() + BURST_GAP;
    }

    /// Sender Reports of all tracks (RFC 3550, 6.4.1), from the hop's clock mapping.
    pub(super) fn report(&mut self, reader: &ReaderEntry, output: &mut Output) {
        let now = Instant::now();
        self.next_report = now + self.shared.config.sender_report_interval;
        let ntp = wall_clock();
        reader.receptions.sent(ntp, now);
        let clocks = self.stream.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for track in &self.tracks {
            let Some(Some(clock)) = clocks.get(track.index) else { continue };
            let report = SenderReport {
                ssrc: self.ssrc(track.index),
                ntp,
                rtp_timestamp: clock.rtp_at(ntp),
                packets: track.packets,
                octets: track.octets,
            };
            self.send_rtcp(track, sender_report(&report, &self.description.cname), output);
        }
    }

    /// BYE on all tracks (RFC 3550, 6.6).
    pub(super) fn bye(&self, output: &mut Output) {
        for track in &self.tracks {
            let compound = bye(&[self.ssrc(track.index)], &self.description.cname);
            self.send_rtcp(track, compound, output);
        }
    }

    fn udp(&self) -> Option<&UdpPorts> {
        self.shared.udp_ports(self.multicast)
    }

    fn ssrc(&self, track: usize) -> u32 {
        let track = self.description.description.tracks.get(track);
        track.and_then(|track| track.ssrc).unwrap_or_default()
    }

    fn send_rtcp(&self, track: &Track, compound: Bytes, output: &mut Output) {
        match track.transport {
            TrackTransport::Interleaved { rtcp, .. } => {
                let mut framed = BytesMut::with_capacity(4 + compound.len());
                framed.put_slice(&[b'$', rtcp]);
                framed.put_u16(compound.len() as u16);
                framed.put_slice(&compound);
                output.push(framed.freeze());
            }
            TrackTransport::Udp { rtcp, .. } => {
                if let Some(udp) = self.udp() {
                    udp.send_rtcp(rtcp, &compound);
                }
            }
            // What is sent to a group has the group's addresses.
            TrackTransport::Multicast => {}
        }
    }
}

#[cfg(test)]
mod tests;
