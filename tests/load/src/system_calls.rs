//! System calls of other processes, counted by `strace -c -f`. It slows them down a lot: never in a run whose times count.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// A count that goes on.
pub struct Counting {
    strace: Child,
    output: PathBuf,
}

impl Counting {
    /// Begins.
    pub fn begin(pids: &[u32]) -> anyhow::Result<Self> {
        let output = std::env::temp_dir().join(format!("load-strace-{}", std::process::id()));
        let strace = Command::new("strace")
            .args(["-c", "-f", "-q", "-o"])
            .arg(&output)
            .args(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]))
            .stdin(Stdio::null())
            .spawn()
            .context("strace")?;
        Ok(Self { strace, output })
    }

    /// Ends; how often each was called.
    pub fn end(mut self) -> anyhow::Result<BTreeMap<String, u64>> {
        let pid = self.strace.id().to_string();
        let told = Command::new("kill").args(["-INT", &pid]).status().context("kill")?;
        ensure!(told.success(), "strace has ended by itself");
        self.strace.wait()?;
        let text = fs::read_to_string(&self.output).context("what strace has counted")?;
        fs::remove_file(&self.output)?;
        Ok(calls(&text))
    }
}

/// The table of `strace -c`: share of time, seconds, time of a call, calls, errors (may be left out), name.
fn calls(table: &str) -> BTreeMap<String, u64> {
    let lines = table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, calls) = (words.last()?, words.get(3)?.parse().ok()?);
        (*name != "total").then(|| ((*name).to_owned(), calls))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 59.53    0.061155           3     18001         2 sendto
 20.00    0.000500           1       300           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.102733           2     37451         3 total
";
        let expected = [("epoll_wait".to_owned(), 300), ("sendto".to_owned(), 18001)];
        assert_eq!(calls(table), BTreeMap::from(expected));
    }
}
