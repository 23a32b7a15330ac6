//! What a reader is sent: access units from its place in the ring, and the reports that go with them.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Instant,
};

use bytes::{BufMut, Bytes, BytesMut};
use media::{
    rtcp::{SenderReport, bye, sender_report},
    rtp::{PACE_PERIOD, SendPace},
    rtsp::{RtpInfo, TrackTransport},
};

use prometheus_client::metrics::counter::Counter;
use smallvec::SmallVec;
use svc_core::clock::wall_clock;

use super::{Shared, output::Output, udp::UdpPorts};
use crate::{
    metrics::Counted,
    ring::{Cursor, News, RUN_PACKETS, RingUnit},
    stream::{PublishedStream, ReaderDescription, ReaderEntry, Transport},
};

/// Access units taken from the ring at once.
const UNITS: usize = 16;
/// Packets that go to a UDP reader back to back after a rest: 64 of 1200 bytes are two thirds of a default socket buffer (212,992 bytes,
/// each packet counted with about 2,300), so that a reader that is not scheduled for a moment loses nothing.
const BURST: u32 = 64;
/// And then so many in each ms: a run. What a reader's socket holds is not known, so that large access units are not hurried as on the hop.
const PACE: u32 = RUN_PACKETS as u32;

/// A track of the session.
struct Track {
    index: usize,
    transport: TrackTransport,
    packets: u32,
    octets: u32,
    /// The reader was told its clock.
    reported: bool,
}

/// An access unit that waits for its turn.
struct Paced {
    to: SocketAddr,
    unit: Arc<RingUnit>,
    /// The next of its runs.
    next: usize,
}

/// A playing session.
pub(super) struct Playback {
    shared: Arc<Shared>,
    stream: Arc<PublishedStream>,
    description: Arc<ReaderDescription>,
    tracks: SmallVec<[Track; 2]>,
    cursor: Cursor,
    next_report: Instant,
    /// Of all readers of the transport.
    sent: Counter,
    sent_before: u32,
    /// Not of a group's sender, which is no reader.
    _counted: Option<Counted>,
    /// Whether it is sent to a group.
    multicast: bool,
    /// UDP: what waits for its burst.
    paced: VecDeque<Paced>,
    pace: SendPace,
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
            .map(|&(index, transport)| Track {
                index,
                transport,
                packets: 0,
                octets: 0,
                reported: false,
            })
            .collect();
        let multicast = reader.by == Transport::Multicast;
        let now = Instant::now();
        Self {
            sent: shared.metrics.reader_packets(reader.by),
            sent_before: reader.sent.packets.load(Ordering::Relaxed),
            _counted: (!multicast).then(|| shared.metrics.play(reader.by)),
            multicast,
            shared,
            stream,
            description,
            tracks,
            cursor,
            next_report: now,
            paced: VecDeque::new(),
            pace: SendPace::new(BURST, PACE),
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

    /// Completes when the ring, whose `news` these are, has something new that can be sent: for who is in no fan-out. Cancel safe.
    pub(super) async fn more(&self, news: &mut News) {
        if self.is_paced() {
            std::future::pending::<()>().await;
        }
        news.wait(self.cursor).await;
    }

    /// Whether something waits for its burst.
    pub(super) fn is_paced(&self) -> bool {
        !self.paced.is_empty()
    }

    /// When [`Self::advance`] has something to do though the ring has nothing new: a report, or a burst.
    pub(super) fn due(&self) -> Instant {
        if self.is_paced() { self.next_burst.min(self.next_report) } else { self.next_report }
    }

    /// Takes what the ring has, or sends the next burst; interleaved bytes go to `output`. A report that is due goes first, and one on
    /// a track whose clock has become known: readers that map tracks to one clock by it (ffmpeg 5.1) would move those that they were
    /// sent before. Whether the ring has more.
    pub(super) fn advance(&mut self, reader: &ReaderEntry, output: &mut Output) -> bool {
        let now = Instant::now();
        if now >= self.next_report || self.has_clock_to_tell() {
            self.report(now, reader, output);
        }
        let more = !self.is_paced() && self.take_units(reader, output);
        if self.is_paced() {
            self.burst(now);
        }
        more
    }

    /// Whether a track that the reader was told no clock of has one now: a reader that plays before the first access unit came.
    fn has_clock_to_tell(&self) -> bool {
        if self.tracks.iter().all(|track| track.reported) {
            return false;
        }
        let clocks = self.stream.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let has_clock = |track: &Track| matches!(clocks.get(track.index), Some(Some(_)));
        self.tracks.iter().any(|track| !track.reported && has_clock(track))
    }

    /// Whether the ring has more.
    fn take_units(&mut self, reader: &ReaderEntry, output: &mut Output) -> bool {
        let batch =
            self.stream.ring.read(&mut self.cursor, UNITS, self.shared.config.max_reader_age);
        if batch.skipped > 0 {
            self.stream.readers.skip(reader, batch.skip, batch.skipped);
            self.shared.metrics.skip(batch.skip, batch.skipped);
        }
        if batch.units.is_empty() {
            return batch.more;
        }
        for unit in &batch.units {
            self.take(unit, reader, output);
        }
        let sent = reader.sent.packets.load(Ordering::Relaxed);
        self.sent.inc_by(sent.wrapping_sub(self.sent_before).into());
        self.sent_before = sent;
        batch.more
    }

    fn take(&mut self, unit: &Arc<RingUnit>, reader: &ReaderEntry, output: &mut Output) {
        let Some(track) = self.tracks.iter_mut().find(|track| track.index == unit.track) else {
            return;
        };
        let packets = unit.packets.sizes.len() as u32;
        let octets = (unit.packets.data.len() as u32).saturating_sub(12 * packets);
        track.packets = track.packets.wrapping_add(packets);
        track.octets = track.octets.wrapping_add(octets);
        reader.sent.packets.fetch_add(packets, Ordering::Relaxed);
        match track.transport {
            TrackTransport::Interleaved { rtp, .. } => output.push_unit(unit, rtp),
            TrackTransport::Udp { rtp, .. } => {
                self.paced.push_back(Paced { to: rtp, unit: unit.clone(), next: 0 });
            }
            TrackTransport::Multicast => {}
        }
    }

    /// Sends what may go out now.
    fn burst(&mut self, now: Instant) {
        let Some(udp) = self.shared.udp_ports(self.multicast) else { return };
        while let Some(Paced { to, unit, next }) = self.paced.front_mut() {
            for run in unit.runs().iter().skip(*next) {
                let packets = u32::from(run.packets);
                if !self.pace.allow(now, packets) {
                    self.next_burst = self.pace.when(packets).unwrap_or(now);
                    return;
                }
                match udp.send(*to, run) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        // What fills the socket, which is all readers', is on its way within a moment.
                        self.pace.give_back(packets);
                        self.next_burst = now + PACE_PERIOD;
                        return;
                    }
                    // Such as an ICMP answer of a port that has closed: the session's timeout sees to it.
                    Err(error) => {
                        self.shared.metrics.unsent.inc();
                        tracing::debug!(%error, %to, "RTP was not sent");
                    }
                    Ok(()) => {}
                }
                *next += 1;
            }
            self.paced.pop_front();
        }
    }

    /// Sender Reports of all tracks (RFC 3550, 6.4.1), from the hop's clock mapping.
    fn report(&mut self, now: Instant, reader: &ReaderEntry, output: &mut Output) {
        self.next_report = now + self.shared.config.sender_report_interval;
        let ntp = wall_clock();
        reader.receptions.sent(ntp, now);
        let clocks = self.stream.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for at in 0..self.tracks.len() {
            let track = &self.tracks[at];
            let Some(Some(clock)) = clocks.get(track.index) else { continue };
            let report = SenderReport {
                ssrc: self.ssrc(track.index),
                ntp,
                rtp_timestamp: clock.rtp_at(ntp),
                packets: track.packets,
                octets: track.octets,
            };
            self.send_rtcp(track, sender_report(&report, &self.description.cname), output);
            self.tracks[at].reported = true;
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
