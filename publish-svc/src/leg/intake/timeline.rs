//! Where a leg's timestamps lie behind what readers have got already, and on the wall clock.

use media::{
    rtcp::{ClockMapping, SenderReport},
    rtp::AssembledAccessUnit,
};

use super::{Intake, Now};
use crate::leg::{Counters, output::Resume};

impl Intake {
    /// Puts the first access unit of a timeline behind what was output, and on the wall clock.
    pub(super) fn begin_timeline(&mut self, track: usize, unit: &AssembledAccessUnit, now: Now) {
        let output = &mut self.output.tracks[track];
        let report = self.inputs[track].report.map(|(report, _)| report);
        let arrived = now.ntp_of(unit.received_at);
        let ntp = match report {
            Some(report) => ClockMapping {
                ntp: report.ntp,
                rtp_timestamp: report.rtp_timestamp,
                clock_rate: output.clock_rate(),
            }
            .ntp_at(unit.timestamp),
            None => {
                Counters::add(&self.counters.clocks_by_arrival, 1);
                arrived
            }
        };
        let resume = Resume { timestamp: unit.timestamp, at: unit.received_at, ntp, arrived };
        let shift = match (report, self.shift) {
            (Some(_), Some(shift)) => shift,
            (Some(_), None) => *self.shift.insert(output.shift_to_resume(&resume)),
            (None, _) => output.shift_to_resume(&resume),
        };
        if output.has_begun() {
            output.resume(&resume, shift);
        }
        output.clock = Some(ClockMapping {
            ntp: ntp.offset_by_nanos(shift),
            rtp_timestamp: output.map_timestamp(unit.timestamp),
            clock_rate: output.clock_rate(),
        });
        self.changes.clocks = true;
    }

    pub(super) fn map_clock_by_report(&mut self, track: usize, report: &SenderReport) {
        let output = &mut self.output.tracks[track];
        let rtp_timestamp = output.map_timestamp(report.rtp_timestamp);
        let shift = *self.shift.get_or_insert_with(|| output.shift_at(rtp_timestamp, report.ntp));
        output.clock = Some(ClockMapping {
            ntp: report.ntp.offset_by_nanos(shift),
            rtp_timestamp,
            clock_rate: output.clock_rate(),
        });
        self.changes.clocks = true;
    }
}
