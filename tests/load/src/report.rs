//! What a run has shown: as JSON and as a table.

use std::{collections::BTreeMap, fmt};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::costs::{Costs, Memory};

/// Quantiles of times, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Times {
    pub count: u64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Times {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let quantile = |at| histogram.value_at_quantile(at) as f64 / 1000.0;
        Self {
            count: histogram.len(),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: histogram.max() as f64 / 1000.0,
        }
    }
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Streams published.
    pub streams: usize,
    /// Readers that were to stay to the end.
    pub readers: usize,
    /// Further readers that stalled.
    pub stalled: usize,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Access units published in the window.
    pub access_units_in: u64,
    /// Bytes published in the window.
    pub bytes_in: u64,
    /// Access units that readers were to get.
    pub access_units_expected: u64,
    /// Those that came whole.
    pub access_units_whole: u64,
    /// Those that came with bytes missing.
    pub access_units_damaged: u64,
    /// Those that did not come.
    pub access_units_lost: u64,
    /// Those that came after a later one.
    pub access_units_backwards: u64,
    /// Bytes that readers got in the window.
    pub bytes_out: u64,
    /// From the publisher's write to the reader's read of the last byte, of all readers.
    pub delay: Times,
    /// The largest p99 of one reader's delays.
    pub worst_reader_p99_ms: f64,
    /// From connecting to the whole first keyframe, of readers that came in the window.
    pub first_keyframe: Times,
    /// Readers that came in the window and got no keyframe.
    pub failed_joins: u64,
    /// Publishers and readers that ended, by reason.
    pub ended: BTreeMap<String, u64>,
    /// How late the tool itself was.
    pub lateness: Times,
    /// The most that lay with one publisher because the server did not take it.
    pub most_pending_bytes: usize,
    /// What the server's processes cost in the window.
    pub server: Costs,
    /// What they have in memory when it begins.
    pub memory_before: Memory,
    /// What they have in memory when it ends.
    pub memory_after: Memory,
    /// What the tool itself cost in the window.
    pub own: Costs,
    /// System calls of the server in the window, by name; only if asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub system_calls: BTreeMap<String, u64>,
    /// CPU seconds of the server for 10^9 bits that went in and out.
    pub cpu_s_per_gbit: f64,
    /// The same of the tool.
    pub own_cpu_s_per_gbit: f64,
}

impl Report {
    /// Makes what follows from the rest.
    pub fn conclude(&mut self) {
        let gbit = (self.bytes_in + self.bytes_out) as f64 * 8.0 / 1e9;
        if gbit > 0.0 {
            self.cpu_s_per_gbit = self.server.cpu_s / gbit;
            self.own_cpu_s_per_gbit = self.own.cpu_s / gbit;
        }
        let came = self.access_units_whole + self.access_units_damaged;
        self.access_units_lost = self.access_units_expected.saturating_sub(came);
    }

    /// Microseconds of the server's CPU for each access unit in and out.
    pub fn cpu_us_per_access_unit(&self) -> f64 {
        self.server.cpu_s * 1e6 / (self.access_units_in + self.access_units_whole).max(1) as f64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mbit = |bytes: u64| bytes as f64 * 8.0 / 1e6 / self.seconds.max(f64::MIN_POSITIVE);
        writeln!(f, "{:<24}{:.1} s", "measured", self.seconds)?;
        let (into, out) = (mbit(self.bytes_in), mbit(self.bytes_out));
        writeln!(f, "{:<24}{} at {into:.1} Mbit/s", "streams in", self.streams)?;
        let stalled =
            if self.stalled > 0 { format!(", {} stalled", self.stalled) } else { String::new() };
        writeln!(f, "{:<24}{} at {out:.1} Mbit/s{stalled}", "readers", self.readers)?;
        writeln!(
            f,
            "{:<24}{} of {}; lost {}, damaged {}, backwards {}",
            "access units",
            self.access_units_whole,
            self.access_units_expected,
            self.access_units_lost,
            self.access_units_damaged,
            self.access_units_backwards
        )?;
        writeln!(f, "{:<24}{}", "delay", self.delay)?;
        writeln!(f, "{:<24}{:.2} ms", "  p99, worst reader", self.worst_reader_p99_ms)?;
        if self.first_keyframe.count + self.failed_joins > 0 {
            let failed = self.failed_joins;
            writeln!(f, "{:<24}{}; failed {failed}", "first keyframe", self.first_keyframe)?;
        }
        costs(f, "server", &self.server, self.seconds)?;
        let (before, after) = (&self.memory_before, &self.memory_after);
        writeln!(
            f,
            "{:<24}{:.1} MiB; PSS {:.1} MiB, at the beginning {:.1} MiB",
            "  peak RSS",
            after.peak_rss_kib as f64 / 1024.0,
            after.pss_kib as f64 / 1024.0,
            before.pss_kib as f64 / 1024.0
        )?;
        let per_access_unit = self.cpu_us_per_access_unit();
        writeln!(
            f,
            "{:<24}{:.3} s a Gbit, {per_access_unit:.1} us an access unit (in + out)",
            "  CPU", self.cpu_s_per_gbit
        )?;
        costs(f, "tool", &self.own, self.seconds)?;
        writeln!(f, "{:<24}{:.3} s a Gbit (in + out)", "  CPU", self.own_cpu_s_per_gbit)?;
        writeln!(f, "{:<24}{}", "  late by", self.lateness)?;
        for (name, count) in &self.system_calls {
            writeln!(f, "  {name:<22}{count}")?;
        }
        for (reason, count) in &self.ended {
            writeln!(f, "{:<24}{count} x {reason}", "ended")?;
        }
        Ok(())
    }
}

fn costs(f: &mut fmt::Formatter<'_>, who: &str, costs: &Costs, seconds: f64) -> fmt::Result {
    writeln!(
        f,
        "{who:<24}{:.2} s CPU ({:.0} % of a core), context switches {} + {} involuntary",
        costs.cpu_s,
        costs.cpu_s * 100.0 / seconds.max(f64::MIN_POSITIVE),
        costs.voluntary_switches,
        costs.involuntary_switches
    )
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p95_ms, p99_ms, p999_ms, max_ms, .. } = self;
        write!(
            f,
            "p50 {p50_ms:.2}, p95 {p95_ms:.2}, p99 {p99_ms:.2}, p99.9 {p999_ms:.2}, max {max_ms:.2} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_gbit_counts_what_goes_in_and_out() {
        let mut report = Report {
            bytes_in: 25_000_000,
            bytes_out: 100_000_000,
            access_units_expected: 10,
            access_units_whole: 7,
            access_units_damaged: 1,
            ..Report::default()
        };
        report.server.cpu_s = 0.5;
        report.conclude();
        assert_eq!((report.cpu_s_per_gbit, report.access_units_lost), (0.5, 2));
    }
}
