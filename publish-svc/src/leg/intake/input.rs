//! One track of a leg: its packets in order, its access units, and what of them is counted already.

use std::time::Instant;

use media::{
    rtcp::SenderReport,
    rtp::{AccessUnitAssembler, ReorderBuffer},
    sdp::{SessionDescription, TrackDescription},
};

use super::IntakeConfig;
use crate::leg::{
    Counters,
    output::{StreamOutput, TrackOutput},
};

/// Packets that one track's reorder buffer holds at the most: 200 ms, in which a packet is asked for several times, of 100 Mbit/s; more than a keyframe of 2 MB.
const REORDER_PACKETS: usize = 2048;

/// Access units of a track that wait for its first Sender Report at the most: those of 200 ms, at more than a thousand a second. Their
/// bytes are those of the largest access unit, all that the ring can hold, at the most.
pub(super) const MAX_WAITING: usize = 256;

/// See the module.
pub(super) struct Input {
    pub(super) reorder: ReorderBuffer,
    pub(super) assembler: AccessUnitAssembler,
    /// The last Sender Report of the source and when it came.
    pub(super) report: Option<(SenderReport, Instant)>,
    /// The next access unit begins a new timeline.
    pub(super) begins: bool,
    pub(super) promises: Promises,
    lost: u32,
    discarded: u32,
    oversized: u32,
    asked_for: u32,
    recovered: u32,
    too_late: u32,
}

/// What the sender of a track says that it does.
#[derive(Clone, Copy)]
pub(super) struct Promises {
    /// Sends again what is missing.
    pub(super) nack: bool,
    /// Reports: who names its CNAME means receivers to put its tracks on one clock by it (RFC 5576, 6.1; RFC 3550, 6.5.1).
    reports: bool,
}

impl Promises {
    pub(super) fn of(described: &TrackDescription) -> Self {
        Self { nack: described.nack, reports: described.cname.is_some() }
    }
}

impl Input {
    pub(super) fn new(config: &IntakeConfig, track: &TrackOutput, promises: Promises) -> Self {
        let reorder = if promises.nack { ReorderBuffer::answered } else { ReorderBuffer::new };
        Self {
            promises,
            reorder: reorder(track.clock_rate(), config.reorder_window, REORDER_PACKETS),
            assembler: AccessUnitAssembler::new(track.config.codec(), config.max_access_unit_bytes),
            report: None,
            begins: true,
            lost: 0,
            discarded: 0,
            oversized: 0,
            asked_for: 0,
            recovered: 0,
            too_late: 0,
        }
    }

    /// Those of the tracks from `first` on.
    pub(super) fn of(
        config: &IntakeConfig,
        output: &StreamOutput,
        description: &SessionDescription,
        first: usize,
    ) -> Vec<Self> {
        let tracks = output.tracks.iter().zip(&description.tracks).skip(first);
        tracks.map(|(track, described)| Self::new(config, track, Promises::of(described))).collect()
    }

    /// Until when its first access unit waits for the Sender Report that tells where it lies; `None` where it waits no more.
    pub(super) fn waits_until(&self, config: &IntakeConfig) -> Option<Instant> {
        if !self.begins || self.report.is_some() || !self.promises.reports {
            return None;
        }
        let ready = || self.assembler.ready();
        let first = ready().next()?;
        let bytes: usize = ready().map(|unit| unit.packets.data.len()).sum();
        let fits = ready().len() <= MAX_WAITING && bytes <= config.max_access_unit_bytes;
        fits.then(|| first.received_at + config.report_wait)
    }

    /// Adds up what was counted since the last time.
    pub(super) fn count(&mut self, counters: &Counters) {
        let (reorder, assembler) = (&self.reorder, &self.assembler);
        for (now, before, counter) in [
            (reorder.lost(), &mut self.lost, &counters.packets_lost),
            (reorder.discarded(), &mut self.discarded, &counters.packets_discarded),
            (assembler.oversized(), &mut self.oversized, &counters.oversized),
            (reorder.asked(), &mut self.asked_for, &counters.packets_asked_for),
            (reorder.recovered(), &mut self.recovered, &counters.packets_recovered),
            (reorder.too_late(), &mut self.too_late, &counters.packets_too_late),
        ] {
            Counters::add(counter, now.wrapping_sub(std::mem::replace(before, now)));
        }
    }
}
