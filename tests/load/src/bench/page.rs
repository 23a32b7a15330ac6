//! docs/benchmark.md.

use std::fmt::Write as _;

use super::{Plan, Series, workloads};
use crate::report::Report;

const HEAD: &str = "\
# Benchmark

Written by `scripts/bench`, which builds in release, runs all workloads and replaces this page. `BENCH_SECONDS`, `BENCH_REPEATS` and
`BENCH_WORKLOADS` (such as `\"S1 S3-50-tcp\"`) make it shorter; `S9` (memory) and `S10` (growth) run when they are named, once. Another server that
takes RTMP and serves RTSP is measured beside it by

```
scripts/bench --peer 'name=NAME VERSION,publish=rtmp://127.0.0.1:1935/live/{key},read=rtsp://127.0.0.1:8554/live/{key},pid=PID'
```

(several processes: `pid=1+2`; start it by `taskset -c 0`, as the gateway is).

## How it is measured

- One core has the server, the other has the tool (`tests/load`): it publishes by RTMP, reads by RTSP, and is no part of the server's figures. The gateway is one process
  with both services, the hop between them included; it starts anew for each run, with its defaults but for the caps of connections.
- **Floor**: a bare loop with no protocol (`load floor`): what is read from a connection is written to each reader by TCP, or sent to each
  by UDP with segmentation offload, in the packets that RTSP servers have to send (a SEI has one of its own), driven and read by the same tool.
  Where there are no readers (S4), the floor sends what it reads by UDP to itself and receives it: no two services with a hop between them can cost less on
  this kernel. The servers of a workload run in turn, again and again; a ratio is the median of the ratios of neighbours.
- The gateway, and peers, are measured when their rings are full: a server takes most of its memory in its first seconds, and virtual machines may take ten
  µs to give a page.
- **CPU** is user and system time of all threads (`/proc/PID/task/TID/schedstat`) for each Gbit that goes in and out, framing included. What loopback does in the sender's
  context is the sender's.
- **Delay** is from the publisher's `write` to the reader's `read` of the last byte of an access unit, by one clock: a stamp in
  an SEI of each access unit tells when it was sent, its number, and how many bytes it has. What does not come, or with bytes missing, is **lost**.
- Pictures are noise of the sizes of real ones (a keyframe is 10 times the others; GOPs of 2 s; 720p30 at 2 Mbit/s, 1080p30 at 6 Mbit/s); streams are
  spread evenly over the time between two pictures, their keyframes over the GOP.
- All figures are medians of the runs, the spread (least to most) in parentheses.
";

const LIGHT: &str = "
## Whether the tool is light enough

It has a core of its own, so that a server is full before it as long as the tool costs less than the server for the same Gbit: below 1 in
the parentheses of the last column but one. Nothing can be served for less than the floor, so the floor is the hardest test: in its place the tool cost
as much as it for 3,000 readers of one stream (18 Gbit/s) and for 50 streams with 40 readers each, half of them by UDP (4 Gbit/s), and 1.5 times as much for 800 streams with
one reader each, as it does what the floor does on both sides and finds access units and stamps in what it reads. For a server that comes nearer to the floor than that, give the
tool a third core and `--threads 2`. `late`
is how late the tool was with what it published (p99): where that is not far below the delays, the machine was too busy for its delays to say much.
";

/// The page.
pub fn text(plan: &Plan, all: &[Series], machine: &[String], plots: &[&str]) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## On what\n\n");
    machine.iter().for_each(|line| line_of(&mut page, &format!("- {line}")));
    let (repeats, window) = (plan.repeats, plan.window.as_secs_f64());
    line_of(
        &mut page,
        &format!(
            "- {repeats} runs of {window} s each, after {:?} (the floor: at most 3 s)",
            plan.warm_up
        ),
    );
    plan.peers.iter().for_each(|peer| line_of(&mut page, &format!("- beside it: {}", peer.name)));
    page.push_str("\n## Cost and delay\n\n");
    page.push_str("| workload | server | CPU, s/Gbit | of the floor | delay p50, ms | p99, ms | p99.9, ms | lost | of its core |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    all.iter().for_each(|series| line_of(&mut page, &cost_row(series, all)));
    page.push_str("\n## Memory and context switches\n\n");
    page.push_str("| workload | server | peak RSS, MiB | PSS before, after, MiB | context switches a second (involuntary) | tool, s/Gbit (of the server) | late p99, ms |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    all.iter().for_each(|series| line_of(&mut page, &memory_row(series)));
    page.push_str(LIGHT);
    joins(&mut page, all);
    memory_of_each(&mut page, all);
    system_calls(&mut page, all);
    failures(&mut page, all);
    for plot in plots {
        line_of(&mut page, &format!("\n![{plot}]({plot})"));
    }
    workload_list(&mut page, all);
    page
}

fn line_of(page: &mut String, line: &str) {
    page.push_str(line);
    page.push('\n');
}

fn cost_row(series: &Series, all: &[Series]) -> String {
    let has_readers = series.reports.iter().any(|run| run.readers > 0);
    let of = |value: fn(&Report) -> f64| match has_readers {
        true => spread(series.reports.iter().map(value), 2),
        false => String::new(),
    };
    let core = spread(series.reports.iter().map(|run| run.server.cpu_s * 100.0 / run.seconds), 0);
    let lost: u64 =
        series.reports.iter().map(|run| run.access_units_lost + run.access_units_damaged).sum();
    let expected: u64 = series.reports.iter().map(|run| run.access_units_expected).sum();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {lost} of {expected} | {core} % |",
        series.workload,
        series.server,
        spread(series.reports.iter().map(|run| run.cpu_s_per_gbit), 3),
        ratio_to_floor(series, all),
        of(|run| run.delay.p50_ms),
        of(|run| run.delay.p99_ms),
        of(|run| run.delay.p999_ms),
    )
}

fn memory_row(series: &Series) -> String {
    let mib = |kib: u64| kib as f64 / 1024.0;
    let runs = || series.reports.iter();
    let (before, after) = (
        median(runs().map(|run| mib(run.memory_before.pss_kib))),
        median(runs().map(|run| mib(run.memory_after.pss_kib))),
    );
    let each_second =
        |count: fn(&Report) -> u64| median(runs().map(|run| count(run) as f64 / run.seconds));
    let all = each_second(|run| run.server.voluntary_switches + run.server.involuntary_switches);
    let involuntary = each_second(|run| run.server.involuntary_switches);
    let tool = median(runs().map(|run| run.own_cpu_s_per_gbit));
    let share = median(runs().map(|run| run.own.cpu_s / run.server.cpu_s.max(0.01)));
    format!(
        "| {} | {} | {} | {before:.1}, {after:.1} | {all:.0} ({involuntary:.0}) | {tool:.3} ({share:.2}) | {:.1} |",
        series.workload,
        series.server,
        spread(runs().map(|run| mib(run.memory_after.peak_rss_kib)), 1),
        median(runs().map(|run| run.lateness.p99_ms)),
    )
}

/// The median of the ratios of runs that were neighbours.
fn ratio_to_floor(series: &Series, all: &[Series]) -> String {
    let floor = all.iter().find(|one| one.workload == series.workload && one.server == "floor");
    let Some(floor) = floor.filter(|_| series.server != "floor") else { return String::new() };
    let pairs = series.reports.iter().zip(&floor.reports);
    spread(pairs.map(|(run, floor)| run.cpu_s_per_gbit / floor.cpu_s_per_gbit.max(1e-6)), 2)
}

fn joins(page: &mut String, all: &[Series]) {
    for series in
        all.iter().filter(|one| one.reports.iter().any(|run| run.first_keyframe.count > 0))
    {
        let runs = || series.reports.iter();
        let failed: u64 = runs().map(|run| run.failed_joins).sum();
        let came: u64 = runs().map(|run| run.first_keyframe.count).sum();
        let line = format!(
            "\n{}, {}: the first keyframe was whole after {} ms (p50), {} ms (p99) from connecting; {came} came, {failed} failed.",
            series.workload,
            series.server,
            spread(runs().map(|run| run.first_keyframe.p50_ms), 1),
            spread(runs().map(|run| run.first_keyframe.p99_ms), 1),
        );
        line_of(page, &line);
    }
}

/// Slopes of S9.
fn memory_of_each(page: &mut String, all: &[Series]) {
    let pss = |workload: &str| {
        let found = all.iter().find(|one| one.workload == workload && one.server == "gateway")?;
        Some(median(found.reports.iter().map(|run| run.memory_after.pss_kib as f64)))
    };
    let Some(none) = pss("S9-none") else { return };
    for (workload, what, count) in
        [("S9-streams", "stream", 200.0), ("S9-readers", "reader", 500.0)]
    {
        if let Some(with) = pss(workload) {
            let each = (with - none) / count;
            line_of(page, &format!("\nMemory of each {what} of the gateway: {each:.0} KiB (PSS)."));
        }
    }
}

/// The calls of one more run, for each access unit in and out.
fn system_calls(page: &mut String, all: &[Series]) {
    let counted: Vec<_> = all.iter().filter_map(|one| Some((one, one.counted.as_ref()?))).collect();
    if counted.is_empty() {
        return;
    }
    page.push_str("\n## System calls\n\nBy `strace -c -f` in a run of its own, for each access unit that goes in and out. It slows down what it counts: where there are many streams, one call then \
             takes what several would have.\n\n");
    page.push_str("| workload | server | all | the most frequent |\n| --- | --- | --- | --- |\n");
    for (series, run) in counted {
        let access_units = (run.access_units_in + run.access_units_whole).max(1) as f64;
        let mut calls: Vec<_> = run.system_calls.iter().collect();
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let sum: u64 = calls.iter().map(|(_, count)| **count).sum();
        let mut most = String::new();
        for (name, count) in calls.iter().take(5) {
            // Writing to a string cannot fail.
            let _ = write!(most, "{name} {:.2} ", **count as f64 / access_units);
        }
        let row = format!(
            "| {} | {} | {:.2} | {}|",
            series.workload,
            series.server,
            sum as f64 / access_units,
            most
        );
        line_of(page, &row);
    }
}

fn failures(page: &mut String, all: &[Series]) {
    for series in all {
        for failure in &series.failures {
            let (workload, server) = (&series.workload, &series.server);
            line_of(page, &format!("\nA run of {workload}, {server}, failed: {failure}"));
        }
        let ended = series.reports.iter().flat_map(|run| &run.ended);
        for (reason, count) in ended {
            let (workload, server) = (&series.workload, &series.server);
            line_of(page, &format!("\nIn a run of {workload}, {server}: {count} x {reason}"));
        }
    }
}

fn workload_list(page: &mut String, all: &[Series]) {
    page.push_str("\n## The workloads\n\n");
    for workload in workloads::all() {
        if all.iter().any(|one| one.workload == workload.name) {
            line_of(page, &format!("- {}: {}; {}", workload.name, workload.what, workload.clip));
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle one, or the mean of the two in the middle; not a number if there is none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// The median, and from where to where.
fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let values = sorted(values);
    match values.as_slice() {
        [] => "failed".to_owned(),
        [one] => format!("{one:.digits$}"),
        [least, .., most] => {
            let median = median(values.iter().copied());
            format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
        }
    }
}

#[cfg(test)]
mod tests;
