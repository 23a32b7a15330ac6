//! What processes cost, by `/proc`.

use std::{fs, ops::Sub};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The unit of CPU times in `/proc`, whatever the kernel's own tick is (`USER_HZ`).
const TICKS_A_SECOND: u64 = 100;
const TICK_NS: u64 = 1_000_000_000 / TICKS_A_SECOND;

/// What some processes have cost together.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Costs {
    /// Seconds of CPU, user and system, all threads.
    pub cpu_s: f64,
    /// Context switches because a thread waited.
    pub voluntary_switches: u64,
    /// Context switches because its time was over.
    pub involuntary_switches: u64,
}

impl Costs {
    /// Of these processes so far. Context switches of threads that have ended are not in it.
    pub fn read(pids: &[u32]) -> anyhow::Result<Self> {
        let mut costs = Self::default();
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("process {pid} is not there"))?;
            let ticks = cpu_ticks(&stat).context("/proc/PID/stat")?;
            // To the ns, where the kernel tells it: a floor may take some ten ticks in a window.
            let nanos = nanos(*pid)?.filter(|nanos| nanos.abs_diff(ticks * TICK_NS) < 5 * TICK_NS);
            costs.cpu_s += nanos.unwrap_or(ticks * TICK_NS) as f64 / 1e9;
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                // A thread may end in between.
                let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
                costs.voluntary_switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
                costs.involuntary_switches +=
                    field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
            }
        }
        Ok(costs)
    }
}

impl Sub for Costs {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            voluntary_switches: self.voluntary_switches.saturating_sub(before.voluntary_switches),
            involuntary_switches: self
                .involuntary_switches
                .saturating_sub(before.involuntary_switches),
        }
    }
}

/// What some processes have in memory, together, in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The peak of what was resident.
    pub peak_rss_kib: u64,
    /// What is resident.
    pub rss_kib: u64,
    /// The same, of which what is shared is counted by its share; 0 where that may not be read.
    pub pss_kib: u64,
}

impl Memory {
    /// Of these processes now.
    pub fn read(pids: &[u32]) -> anyhow::Result<Self> {
        let mut memory = Self::default();
        for pid in pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))
                .with_context(|| format!("process {pid} is not there"))?;
            // One that has ended, but that nobody has waited for yet, has a status without memory.
            let Some(peak) = field(&status, "VmHWM:") else { bail!("process {pid} has ended") };
            memory.peak_rss_kib += peak;
            memory.rss_kib += field(&status, "VmRSS:").unwrap_or(0);
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            memory.pss_kib += rollup.ok().and_then(|text| field(&text, "Pss:")).unwrap_or(0);
        }
        Ok(memory)
    }
}

/// What some processes hold of the kernel's, together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Open file descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Held {
    /// Of these processes now.
    pub fn read(pids: &[u32]) -> anyhow::Result<Self> {
        let count = |pid: u32, what: &str| -> anyhow::Result<u64> {
            let directory = format!("/proc/{pid}/{what}");
            let entries = fs::read_dir(&directory).with_context(|| directory.clone())?;
            Ok(entries.count() as u64)
        };
        let mut held = Self::default();
        for pid in pids {
            held.descriptors += count(*pid, "fd")?;
            held.threads += count(*pid, "task")?;
        }
        Ok(held)
    }
}

/// User and system time of a `/proc/PID/stat`; the name in it may hold anything.
/// The run times of the threads that live (`/proc/PID/task/TID/schedstat`); `None` where the kernel does not keep them.
fn nanos(pid: u32) -> anyhow::Result<Option<u64>> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(times) = fs::read_to_string(task?.path().join("schedstat")) else { return Ok(None) };
        sum += times.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(0);
    }
    Ok(Some(sum))
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "1 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn this_process_has_memory_and_has_switched() {
        let pid = [std::process::id()];
        let memory = Memory::read(&pid).unwrap();
        assert!(memory.peak_rss_kib >= memory.rss_kib && memory.rss_kib > 0);
        assert!(Costs::read(&pid).unwrap().cpu_s >= 0.0);
    }

    #[test]
    fn an_open_file_is_a_descriptor_of_this_process() {
        let pid = [std::process::id()];
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let held = Held::read(&pid).unwrap();
        assert!(held.descriptors >= files.len() as u64 && held.threads > 0, "{held:?}");
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error_that_names_it() {
        let error = Costs::read(&[u32::MAX]).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
