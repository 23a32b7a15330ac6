//! A soak: one long run against the gateway in which readers stay and further ones come and go, its memory, descriptors and threads
//! sampled all the while; and whether that was flat, with nothing lost.
//!
//! Nothing is measured before the rings are full, which is when the gateway has all that it will ever need for so many streams
//! and readers.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::{
    clip::Kind,
    costs::{Held, Memory},
    dialog::Transport,
    report::Report,
    run::{self, Setup, sleep_until},
    servers::{self, Server},
};

/// The RTP ports of the gateway between its services: a pair for each of 500 streams.
const PORTS: (u16, u16) = (23_000, 23_999);
/// So few samples at least: a tenth of them is then more than one.
const FEWEST_SAMPLES: u32 = 20;
/// How often it is told how it goes.
const TELL: Duration = Duration::from_secs(60);
/// By so much memory may differ between the first and the last tenth of the samples. In an hour of S5 (345 MiB) that
/// is 450 bytes for each reader that has come and gone, and 1.5 for each access unit: a leak of either is more than that.
const GROWTH_SHARE: f64 = 0.02;
/// The same where there is little memory: some spare pages of the allocator, which it takes and gives back as it likes.
const GROWTH_KIB: f64 = 4096.0;
/// A tool that was so late has not had its core, and the gateway hardly its own. What piles up in that time and then comes at
/// once makes rings of 10 s larger by as much as memory may grow.
const STALL_MS: f64 = 200.0;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// How many streams.
    pub streams: usize,
    /// How many readers of each stay, by TCP and UDP in turn.
    pub readers: usize,
    /// How many further ones come in a second, and leave with their first keyframe.
    pub joins_per_second: f64,
    /// What is published.
    pub clip: Kind,
    /// How long it goes on with all readers before: until the rings are full, and memory with them.
    pub warm_up: Duration,
    /// How long it goes on then.
    pub window: Duration,
    /// The time between two samples.
    pub every: Duration,
}

/// What the gateway had at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the first.
    pub seconds: f64,
    /// In memory.
    #[serde(flatten)]
    pub memory: Memory,
    /// Of the kernel's.
    #[serde(flatten)]
    pub held: Held,
}

impl Sample {
    /// Memory as far as it is this process's own: PSS, or RSS where that may not be read.
    fn kib(&self) -> f64 {
        match self.memory {
            Memory { pss_kib: 0, rss_kib, .. } => rss_kib as f64,
            Memory { pss_kib, .. } => pss_kib as f64,
        }
    }
}

/// Which way memory and descriptors went.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Trend {
    /// Memory, the mean of the first tenth of the samples.
    pub begin_kib: f64,
    /// Memory, the mean of the last tenth.
    pub end_kib: f64,
    /// Memory, the most of all.
    pub most_kib: f64,
    /// The line through all of them, by least squares.
    pub slope_kib_a_minute: f64,
    /// By how much the end may be above the beginning.
    pub allowed_kib: f64,
    /// Descriptors, the least and the most of the first tenth.
    pub begin_descriptors: (u64, u64),
    /// The same of the last tenth.
    pub end_descriptors: (u64, u64),
}

/// What a soak has shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Soak {
    /// Why it failed, a sentence each; none: it did not.
    pub faults: Vec<String>,
    /// What the samples tell.
    pub trend: Trend,
    /// Of the run.
    pub report: Report,
    /// All of them, in time.
    pub samples: Vec<Sample>,
}

/// Runs it; the gateway and this thread have a core each where there are two.
pub fn run(plan: &Plan) -> anyhow::Result<Soak> {
    let enough = plan.every * FEWEST_SAMPLES <= plan.window;
    ensure!(enough, "{:?} is too seldom for {:?}", plan.every, plan.window);
    let directory = std::env::temp_dir().join(format!("load-soak-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let soak = run_in(&directory, plan);
    if soak.as_ref().is_ok_and(|soak| soak.faults.is_empty()) {
        std::fs::remove_dir_all(&directory)?;
    } else {
        eprintln!("the gateway's log is {}", directory.join("log").display());
    }
    soak
}

fn run_in(directory: &Path, plan: &Plan) -> anyhow::Result<Soak> {
    let cores = servers::cores()?;
    let server = Server::gateway(&plan.gateway, PORTS, cores.map(|(server, _)| server), directory)?;
    if let Some((_, tool)) = cores {
        servers::pin_this_thread(tool)?;
    }
    let mut samples = Vec::new();
    let report = run::run_watched(&setup(plan, &server), |end| {
        sample(&mut samples, &[server.pid()], plan.every, end)
    })?;
    Ok(Soak::of(samples, report))
}

fn setup(plan: &Plan, server: &Server) -> Setup {
    Setup {
        publish: server.publish.clone(),
        read: server.read.clone(),
        pids: vec![server.pid()],
        streams: plan.streams,
        readers: plan.readers,
        stalled: 0,
        transports: vec![Transport::Tcp, Transport::Udp],
        joins_per_second: plan.joins_per_second,
        clip: plan.clip,
        warm_up: plan.warm_up,
        window: plan.window,
        threads: 1,
        system_calls: false,
    }
}

/// Samples until then, and then once more.
fn sample(
    samples: &mut Vec<Sample>,
    pids: &[u32],
    every: Duration,
    end: Instant,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut due, mut tell) = (began, began);
    loop {
        sleep_until(due);
        let seconds = began.elapsed().as_secs_f64();
        let one = Sample { seconds, memory: Memory::read(pids)?, held: Held::read(pids)? };
        if tell <= due {
            tell += TELL;
            eprintln!("{one}");
        }
        samples.push(one);
        if due >= end {
            return Ok(());
        }
        due = (due + every).min(end);
    }
}

impl Soak {
    /// What they tell together.
    pub fn of(samples: Vec<Sample>, report: Report) -> Self {
        let trend = Trend::of(&samples);
        let faults = lost(&report).into_iter().chain(trend.faults()).collect();
        Self { faults, trend, report, samples }
    }
}

impl Trend {
    /// Of so many samples; of none it is all zero.
    pub fn of(samples: &[Sample]) -> Self {
        let tenth = (samples.len() / 10).max(1).min(samples.len());
        let (first, last) = (&samples[..tenth], &samples[samples.len() - tenth..]);
        let begin_kib = mean(first, Sample::kib);
        Self {
            begin_kib,
            end_kib: mean(last, Sample::kib),
            most_kib: samples.iter().map(Sample::kib).fold(0.0, f64::max),
            slope_kib_a_minute: slope(samples) * 60.0,
            allowed_kib: (begin_kib * GROWTH_SHARE).max(GROWTH_KIB),
            begin_descriptors: descriptors(first),
            end_descriptors: descriptors(last),
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let growth = self.end_kib - self.begin_kib;
        if growth > self.allowed_kib {
            let [growth, allowed] = [growth, self.allowed_kib].map(mib);
            faults.push(format!("memory grew by {growth}, which is more than {allowed}"));
        }
        // Readers that come and go have some: only what is above all that there were is growth.
        let (most, least) = (self.begin_descriptors.1, self.end_descriptors.0);
        if least > most {
            faults.push(format!("open descriptors grew from {most} at most to {least} at least"));
        }
        faults
    }
}

/// What readers and publishers have to complain of.
fn lost(report: &Report) -> Vec<String> {
    let mut faults = Vec::new();
    let Report { access_units_expected: expected, .. } = report;
    let counts = [
        ("lost", report.access_units_lost),
        ("damaged", report.access_units_damaged),
        ("backwards", report.access_units_backwards),
    ];
    if *expected == 0 {
        faults.push("nothing was published for any reader".to_owned());
    }
    for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        faults.push(format!("{count} of {expected} access units were {what}"));
    }
    for (reason, count) in &report.ended {
        faults.push(format!("{count} ended: {reason}"));
    }
    if report.failed_joins > 0 {
        faults.push(format!("{} readers that came got no keyframe", report.failed_joins));
    }
    faults
}

fn mean(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(value).sum::<f64>() / samples.len().max(1) as f64
}

/// KiB a second.
fn slope(samples: &[Sample]) -> f64 {
    let (seconds, kib) = (mean(samples, |sample| sample.seconds), mean(samples, Sample::kib));
    let away = |sample: &Sample| sample.seconds - seconds;
    let along = mean(samples, |sample| away(sample) * (sample.kib() - kib));
    let spread = mean(samples, |sample| away(sample).powi(2));
    if spread > 0.0 { along / spread } else { 0.0 }
}

fn descriptors(samples: &[Sample]) -> (u64, u64) {
    let counts = || samples.iter().map(|sample| sample.held.descriptors);
    (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
}

fn mib(kib: f64) -> String {
    format!("{:.1} MiB", kib / 1024.0)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { descriptors, threads } = self.held;
        let (minutes, memory) = (self.seconds / 60.0, mib(self.kib()));
        write!(f, "{minutes:4.0} min {memory}, {descriptors} descriptors, {threads} threads")
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trend { begin_kib, end_kib, most_kib, allowed_kib, .. } = self.trend;
        let Trend { slope_kib_a_minute: slope, .. } = self.trend;
        let Trend { begin_descriptors: begun, end_descriptors: ended, .. } = self.trend;
        let growth = end_kib - begin_kib;
        let [begin, end, most] = [begin_kib, end_kib, most_kib].map(mib);
        let [growth, allowed] = [growth, allowed_kib].map(mib);
        writeln!(f, "{:<24}{begin} at the beginning, {end} at the end, {most} at most", "memory")?;
        writeln!(f, "{:<24}{growth} of {allowed}; {slope:.1} KiB a minute", "  growth")?;
        writeln!(
            f,
            "{:<24}{} to {} at the beginning, {} to {} at the end",
            "descriptors", begun.0, begun.1, ended.0, ended.1
        )?;
        let threads = |sample: Option<&Sample>| sample.map_or(0, |sample| sample.held.threads);
        let (first, last) = (threads(self.samples.first()), threads(self.samples.last()));
        writeln!(f, "{:<24}{first} at the beginning, {last} at the end", "threads")?;
        write!(f, "{}", self.report)?;
        let late_ms = self.report.lateness.max_ms;
        if late_ms > STALL_MS {
            writeln!(
                f,
                "the machine was too busy: the tool itself was up to {late_ms:.0} ms late"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
