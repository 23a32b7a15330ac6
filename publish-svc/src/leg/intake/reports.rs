//! The RTCP of a leg (RFC 3550, 6): Sender Reports and BYE in, Receiver Reports out.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use media::rtcp::{self, RtcpPacket, SenderReport};

use super::{EARLY_REPORTS, Intake, MAX_BYES, Now, REPORT_INTERVAL};
use crate::leg::Counters;

impl Intake {
    /// Takes a datagram that came on the RTCP port; if the leg has a key it is opened in its place.
    pub(crate) fn receive_rtcp(&mut self, source: SocketAddr, datagram: &mut [u8], now: Now) {
        let Some(guard) = &mut self.guard else { return self.handle_rtcp(source, datagram, now) };
        match guard.open_rtcp(datagram) {
            Ok(compound) => self.handle_rtcp(source, compound, now),
            Err(refused) => self.counters.refuse_sealed(refused),
        }
    }

    /// Takes a datagram that came on the RTCP port.
    pub(crate) fn handle_rtcp(&mut self, source: SocketAddr, datagram: &[u8], now: Now) {
        let Ok(packets) = rtcp::parse_compound(datagram) else {
            Counters::add(&self.counters.malformed, 1);
            return;
        };
        for packet in packets {
            match packet {
                RtcpPacket::SenderReport(report, _) => {
                    self.handle_sender_report(source, report, now);
                }
                RtcpPacket::Bye(sources) => {
                    let room = MAX_BYES.saturating_sub(self.byes.len());
                    self.byes.extend(sources.into_iter().take(room).map(|ssrc| (source, ssrc)));
                }
                RtcpPacket::ReceiverReport(..)
                | RtcpPacket::Cname(..)
                | RtcpPacket::Nack(..)
                | RtcpPacket::Other(_) => {}
            }
        }
    }

    fn handle_sender_report(&mut self, source: SocketAddr, report: SenderReport, now: Now) {
        let Some(track) = self.demux.rtcp(source, report.ssrc) else {
            if self.early_reports.len() == EARLY_REPORTS {
                self.early_reports.pop_front();
            }
            self.early_reports.push_back((source, report, now.instant));
            return;
        };
        self.reports_due.get_or_insert(now.instant + REPORT_INTERVAL);
        self.inputs[track].report = Some((report, now.instant));
        if !self.inputs[track].begins {
            self.map_clock_by_report(track, &report);
        }
    }

    pub(super) fn handle_byes(&mut self, now: Now) {
        if self.byes.is_empty() {
            return;
        }
        for (source, ssrc) in std::mem::take(&mut self.byes) {
            if let Some(track) = self.demux.rtcp(source, ssrc) {
                self.demux.release(track);
                // It reports no more.
                self.put_out(track, now);
                self.recent = None;
            }
        }
        if self.demux.last_packet().is_none() {
            self.hold();
        }
    }

    /// What is to be sent to the senders of the tracks: NACKs, and Receiver Reports that are due.
    pub(crate) fn take_rtcp(&mut self, now: Instant, cname: &str) -> Vec<(SocketAddr, Bytes)> {
        let mut rtcp = self.take_nacks(now, cname);
        rtcp.append(&mut self.take_reports(now, cname));
        self.sealed(rtcp)
    }

    /// That we leave (RFC 3550, 6.3.7), to whoever sends reports. A sender would not hear of it otherwise where our address goes, too, as that of a pod.
    pub(crate) fn farewell(&mut self, cname: &str) -> Vec<(SocketAddr, Bytes)> {
        let senders = (0..self.inputs.len()).filter_map(|track| self.demux.rtcp_source(track));
        let senders: BTreeSet<_> = senders.collect();
        let bye = rtcp::bye(&[self.config.report_ssrc], cname);
        let rtcp = senders.into_iter().map(|to| (to, bye.clone())).collect();
        self.sealed(rtcp)
    }

    fn sealed(&mut self, mut rtcp: Vec<(SocketAddr, Bytes)>) -> Vec<(SocketAddr, Bytes)> {
        if let Some(guard) = &mut self.guard {
            guard.seal(&mut rtcp);
        }
        rtcp
    }

    /// Asks for what is missing, where the sender offers to send it again and it is known where it listens.
    pub(super) fn take_nacks(&mut self, now: Instant, cname: &str) -> Vec<(SocketAddr, Bytes)> {
        let mut nacks = Vec::new();
        for (track, input) in
            self.inputs.iter_mut().enumerate().filter(|(_, input)| input.promises.nack)
        {
            let to = self.demux.sender_of(track).zip(self.demux.ssrc(track));
            input.reorder.set_asking(to.is_some());
            let Some((to, ssrc)) = to else { continue };
            loop {
                let missing = input.reorder.requests(now);
                if missing.is_empty() {
                    break;
                }
                nacks.push((to, rtcp::nack(self.config.report_ssrc, ssrc, &missing, cname)));
            }
        }
        Counters::add(&self.counters.nacks, nacks.len() as u32);
        nacks
    }

    /// Receiver Reports that are due, and where they go.
    pub(crate) fn take_reports(&mut self, now: Instant, cname: &str) -> Vec<(SocketAddr, Bytes)> {
        if self.reports_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.reports_due = Some(now + REPORT_INTERVAL);
        let mut blocks: Vec<(SocketAddr, Vec<rtcp::ReportBlock>)> = Vec::new();
        for (track, input) in self.inputs.iter_mut().enumerate() {
            let (Some(ssrc), Some(to), Some((report, at))) =
                (self.demux.ssrc(track), self.demux.rtcp_source(track), input.report)
            else {
                continue;
            };
            let Some(mut block) = input.reorder.report_block(ssrc) else { continue };
            block.last_sr = report.ntp.middle_bits();
            block.delay_since_last_sr = delay(now.saturating_duration_since(at));
            match blocks.iter_mut().find(|(address, _)| *address == to) {
                Some((_, blocks)) => blocks.push(block),
                None => blocks.push((to, vec![block])),
            }
        }
        blocks
            .into_iter()
            .map(|(to, blocks)| {
                (to, rtcp::receiver_report(self.config.report_ssrc, &blocks, cname))
            })
            .collect()
    }
}

/// DLSR (RFC 3550, 6.4.1): 1/65536 s.
fn delay(since: Duration) -> u32 {
    u32::try_from((since.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}
