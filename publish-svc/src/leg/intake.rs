//! The receiving end of one leg, sans-IO: datagrams and the time in; access units in the readers' RTP space, Receiver Reports and the
//! state of the stream out (RFC 3550, 6.2 to 6.4 and A.1; RTP and RTCP told apart by RFC 5761, 4).
//!
//! | state | RTP accepted | silence of `publish.leg_timeout`, or BYE of all sources |
//! | --- | --- | --- |
//! | Waiting | → Live | stays |
//! | Live | stays | → Held |
//! | Held | → Live | stays |

mod input;
mod reports;
mod timeline;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use media::{
    NtpTime,
    rtcp::SenderReport,
    rtp::{Header, Ordered, ReceivedPacket, ReorderBuffer, is_rtcp},
    sdp::SessionDescription,
    srtp::Refused,
};

use self::input::{Input, Promises};
use super::{
    Counters,
    demux::{Accepted, Demux},
    guard::Guard,
    output::{StreamOutput, nanos},
};
use crate::ring::RingUnit;

/// Sender Reports kept of sources whose RTP did not come yet: one for each track that a description can have, and some strangers'.
const EARLY_REPORTS: usize = 32;
/// Sources whose BYE is kept until the RTP that came with it was read: one for each track that a description can have.
const MAX_BYES: usize = 16;
/// Receiver Reports go out as often as Sender Reports come in by default.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// One moment on the monotonic and on the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) ntp: NtpTime,
}

impl Now {
    fn ntp_of(&self, instant: Instant) -> NtpTime {
        let ago = self.instant.saturating_duration_since(instant);
        self.ntp.offset_by_nanos(-nanos(ago.as_nanos()))
    }
}

/// Whether media flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LegState {
    /// No packet came yet.
    Waiting,
    /// Media flows.
    Live,
    /// It does no more.
    Held,
}

/// What the receiving end needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntakeConfig {
    /// `rtp.reorder_window`
    pub(crate) reorder_window: Duration,
    /// `publish.leg_timeout`
    pub(crate) silence: Duration,
    /// How long the first access unit of a track waits for a Sender Report.
    pub(crate) report_wait: Duration,
    /// The largest access unit.
    pub(crate) max_access_unit_bytes: usize,
    /// Our SSRC in Receiver Reports.
    pub(crate) report_ssrc: u32,
}

/// What has changed since it was last asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    /// The codec headers.
    pub(crate) description: bool,
    /// The mapping of a clock.
    pub(crate) clocks: bool,
    /// State, SSRCs or the like, as the API shows them.
    pub(crate) status: bool,
}

/// The receiving end of a leg.
pub(crate) struct Intake {
    config: IntakeConfig,
    demux: Demux,
    /// Of a leg with a key.
    guard: Option<Guard>,
    /// The last packet that was accepted, and its track.
    recent: Option<(Recent, usize)>,
    inputs: Vec<Input>,
    output: StreamOutput,
    counters: Arc<Counters>,
    state: LegState,
    /// Wall-clock shift of this leg's sender, once a Sender Report told its clock.
    shift: Option<i64>,
    early_reports: VecDeque<(SocketAddr, SenderReport, Instant)>,
    /// Sources that said BYE; heard after the RTP that came with it.
    byes: Vec<(SocketAddr, u32)>,
    reports_due: Option<Instant>,
    units: VecDeque<RingUnit>,
    changes: Changes,
}

/// What says which track a packet belongs to. Packets come in rows of one moment: the one behind is not asked about anew.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Recent {
    source: SocketAddr,
    ssrc: u32,
    payload_type: u8,
    at: Instant,
}

impl Intake {
    /// The receiving end of a stream's first leg, of that description, writing to `output`.
    pub(crate) fn new(
        config: IntakeConfig,
        description: &SessionDescription,
        output: StreamOutput,
        counters: Arc<Counters>,
    ) -> Self {
        let inputs = Input::of(&config, &output, description, 0);
        Self {
            config,
            demux: Demux::new(description, config.silence),
            guard: Guard::next(None, description.crypto.as_ref()),
            recent: None,
            inputs,
            output,
            counters,
            state: LegState::Waiting,
            shift: None,
            early_reports: VecDeque::new(),
            byes: Vec::new(),
            reports_due: None,
            units: VecDeque::new(),
            changes: Changes { description: true, clocks: false, status: true },
        }
    }

    /// The leg is made anew; what readers see goes on. The new one's tracks begin with those of the old one, in their order.
    pub(crate) fn begin_leg(
        &mut self,
        description: &SessionDescription,
        random: &mut dyn FnMut() -> u32,
    ) {
        self.hold();
        self.changes.description |= self.output.adopt(description, random);
        self.demux = Demux::new(description, self.config.silence);
        self.guard = Guard::next(self.guard.take(), description.crypto.as_ref());
        self.recent = None;
        self.inputs = Input::of(&self.config, &self.output, description, 0);
        self.shift = None;
        self.early_reports.clear();
        self.byes.clear();
        self.reports_due = None;
        self.changes.status = true;
    }

    /// The leg is described anew. With the same named SSRCs it goes on as it is, maybe with further tracks; else it is made
    /// anew.
    pub(crate) fn describe_leg(
        &mut self,
        description: &SessionDescription,
        random: &mut dyn FnMut() -> u32,
    ) {
        if !self.demux.goes_on_in(description) {
            return self.begin_leg(description, random);
        }
        self.changes.description |= self.output.adopt(description, random);
        self.demux.extend(description);
        self.guard = Guard::next(self.guard.take(), description.crypto.as_ref());
        self.recent = None;
        for (input, track) in self.inputs.iter_mut().zip(&description.tracks) {
            input.promises = Promises::of(track);
        }
        let further = Input::of(&self.config, &self.output, description, self.inputs.len());
        self.inputs.extend(further);
        self.changes.status = true;
    }

    /// The port is gone; media stopped.
    pub(crate) fn end_leg(&mut self) {
        self.hold();
        self.reports_due = None;
    }

    /// What readers get.
    pub(crate) fn output(&mut self) -> &mut StreamOutput {
        &mut self.output
    }

    /// Whether media flows.
    pub(crate) fn state(&self) -> LegState {
        self.state
    }

    /// The SSRC of a track on the leg, once known.
    pub(crate) fn ssrc(&self, track: usize) -> Option<u32> {
        self.demux.ssrc(track)
    }

    /// Takes a datagram that came on the RTP port, and was not changed by anyone on its way if the leg has a key; it is opened in its place.
    pub(crate) fn receive_rtp(&mut self, source: SocketAddr, datagram: &mut [u8], now: Now) {
        let Some(guard) = &mut self.guard else { return self.handle_rtp(source, datagram, now) };
        if is_rtcp(datagram) {
            return self.receive_rtcp(source, datagram, now);
        }
        match guard.open_rtp(datagram) {
            Ok(packet) => self.handle_rtp(source, packet, now),
            // It is sent again where it was asked for.
            Err(Refused::CameBefore) => self.handle_repeat(datagram, now.instant),
            Err(refused) => self.counters.refuse_sealed(refused),
        }
    }

    /// What came before needs no opening to be told.
    fn handle_repeat(&mut self, packet: &[u8], at: Instant) {
        let Ok(header) = Header::parse(packet) else { return };
        let track = (0..self.inputs.len()).find(|&track| self.ssrc(track) == Some(header.ssrc));
        if let Some(track) = track {
            self.inputs[track].reorder.repeated(header.sequence_number, at);
            self.count(track);
        }
    }

    /// Takes a datagram that came on the RTP port.
    pub(crate) fn handle_rtp(&mut self, source: SocketAddr, datagram: &[u8], now: Now) {
        if is_rtcp(datagram) {
            return self.handle_rtcp(source, datagram, now);
        }
        let Ok(header) = Header::parse(datagram) else {
            Counters::add(&self.counters.malformed, 1);
            return;
        };
        let recent = Recent {
            source,
            ssrc: header.ssrc,
            payload_type: header.payload_type,
            at: now.instant,
        };
        let accepted = match self.recent {
            Some((same, track)) if same == recent => Accepted { track, new_ssrc: false },
            _ => match self.demux.rtp(source, &header, now.instant) {
                Ok(accepted) => accepted,
                Err(refusal) => return self.counters.refuse(refusal),
            },
        };
        self.recent = Some((recent, accepted.track));
        Counters::add(&self.counters.packets, 1);
        Counters::add(&self.counters.bytes, datagram.len() as u32);
        if self.state != LegState::Live {
            self.state = LegState::Live;
            self.changes.status = true;
        }
        if accepted.new_ssrc {
            self.begin_source(accepted.track, source, header.ssrc);
        }
        let input = &mut self.inputs[accepted.track];
        if input.reorder.pass(&header, now.instant) {
            // The rule: it is copied once, into its access unit.
            input.assembler.packet(&header, datagram, now.instant);
            self.emit(accepted.track, now);
            return;
        }
        let bytes = Bytes::copy_from_slice(datagram);
        input.reorder.insert(ReceivedPacket { header, bytes, received_at: now.instant });
        // What was waited for long enough comes out behind all that has come, in the order of the tracks: a reader begins at a keyframe, and would
        // miss sound that lies before it.
        self.drain(accepted.track, now, ReorderBuffer::poll_ready);
    }

    /// Another SSRC than before feeds the track: nothing of the old source's sequence is waited for, and its clock says nothing.
    fn begin_source(&mut self, track: usize, source: SocketAddr, ssrc: u32) {
        self.changes.status = true;
        let early = self
            .early_reports
            .iter()
            .rposition(|(from, report, _)| report.ssrc == ssrc && from.ip() == source.ip());
        self.count(track);
        let promises = self.inputs[track].promises;
        self.inputs[track] = Input::new(&self.config, &self.output.tracks[track], promises);
        let input = &mut self.inputs[track];
        if let Some((from, report, at)) = early.and_then(|i| self.early_reports.remove(i))
            && self.demux.rtcp(from, ssrc) == Some(track)
        {
            input.report = Some((report, at));
            self.reports_due.get_or_insert(at + REPORT_INTERVAL);
        }
    }

    /// Does what is due; called after each batch of datagrams, and at [`Self::deadline`].
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        for track in 0..self.inputs.len() {
            self.drain(track, now, |reorder| reorder.poll(now.instant));
        }
        let silent = self
            .demux
            .last_packet()
            .is_some_and(|at| now.instant.saturating_duration_since(at) >= self.config.silence);
        if silent {
            self.hold();
        }
        self.handle_byes(now);
    }

    fn hold(&mut self) {
        if self.state == LegState::Live {
            self.state = LegState::Held;
            self.changes.status = true;
        }
    }

    /// When [`Self::handle_timeout`] must be called though nothing came.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let silence = (self.state == LegState::Live)
            .then(|| self.demux.last_packet().map(|at| at + self.config.silence))
            .flatten();
        let reorder = self.inputs.iter().filter_map(|input| input.reorder.deadline());
        let waits = self.inputs.iter().filter_map(|input| input.waits_until(&self.config));
        reorder.chain(waits).chain(silence).chain(self.reports_due).min()
    }

    /// The next access unit for the ring.
    pub(crate) fn poll_unit(&mut self) -> Option<RingUnit> {
        self.units.pop_front()
    }

    /// What has changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Takes what is in order, as `next` gives it.
    fn drain(
        &mut self,
        track: usize,
        now: Now,
        next: impl Fn(&mut ReorderBuffer) -> Option<Ordered>,
    ) {
        while let Some(ordered) = next(&mut self.inputs[track].reorder) {
            let restarted = matches!(ordered, Ordered::Restarted);
            self.inputs[track].assembler.handle(ordered);
            if restarted {
                self.put_out(track, now);
                self.inputs[track].begins = true;
                self.inputs[track].report = None;
            }
        }
        self.emit(track, now);
        self.count(track);
    }

    /// Puts out what is whole, unless it waits for a report.
    fn emit(&mut self, track: usize, now: Now) {
        let until = self.inputs[track].waits_until(&self.config);
        if until.is_none_or(|until| until <= now.instant) {
            self.put_out(track, now);
        }
    }

    fn put_out(&mut self, track: usize, now: Now) {
        while let Some(unit) = self.inputs[track].assembler.poll() {
            if std::mem::take(&mut self.inputs[track].begins) {
                self.begin_timeline(track, &unit, now);
            } else if self.output.tracks[track].runs_back(&unit) {
                // What was reported is of the old timeline.
                self.inputs[track].report = None;
                self.begin_timeline(track, &unit, now);
            }
            let output = &mut self.output.tracks[track];
            for set in &unit.parameter_sets {
                self.changes.description |= output.config.learn(set);
            }
            let had_b_frames = output.has_b_frames;
            let ring_unit = output.write(track, unit);
            self.changes.status |= output.has_b_frames != had_b_frames;
            self.counters.access_unit(ring_unit.kind, ring_unit.keyframe);
            self.units.push_back(ring_unit);
        }
    }

    fn count(&mut self, track: usize) {
        self.inputs[track].count(&self.counters);
    }
}

#[cfg(test)]
mod tests;
