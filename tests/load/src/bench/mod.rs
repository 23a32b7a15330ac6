//! All workloads against the floor, the gateway and any peers, in turn, several times; then the page.

pub mod growth;
pub mod machine;
pub mod page;
pub mod workloads;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    bench::workloads::Workload,
    report::Report,
    servers::{Server, cores, pinned},
};

/// The RTP ports of the gateway between its services: a pair for each of 1,500 streams.
const PORTS: (u16, u16) = (20_000, 22_999);

/// A server that somebody else has started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// What it is called in the page: its name, version and settings.
    pub name: String,
    publish: String,
    read: String,
    pids: Vec<u32>,
}

impl FromStr for Peer {
    type Err = String;

    /// `name=N,publish=rtmp://…,read=rtsp://…,pid=1+2`
    fn from_str(text: &str) -> Result<Self, String> {
        let value = |name: &str| {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            let found = pairs.into_iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_owned()).ok_or_else(|| format!("{name} is missing"))
        };
        let pids = value("pid")?.split('+').map(str::parse).collect::<Result<_, _>>();
        Ok(Self {
            name: value("name")?,
            publish: value("publish")?,
            read: value("read")?,
            pids: pids.map_err(|error| format!("pid: {error}"))?,
        })
    }
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// Others.
    pub peers: Vec<Peer>,
    /// Names of workloads or groups; none: all but those on demand.
    pub workloads: Vec<String>,
    /// How often.
    pub repeats: usize,
    /// How long is measured.
    pub window: Duration,
    /// How long each run goes on before.
    pub warm_up: Duration,
    /// Whether one more run of the gateway has its system calls counted.
    pub system_calls: bool,
}

/// All runs of one workload against one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// The workload's name.
    pub workload: String,
    /// `floor`, `gateway`, or a peer's name.
    pub server: String,
    /// In the order in which they were made; a run that failed is not there.
    pub reports: Vec<Report>,
    /// Why runs failed.
    pub failures: Vec<String>,
    /// Of one more run, if system calls were asked for.
    pub counted: Option<Report>,
}

/// How long the floor runs before it is measured: nothing in it fills.
const FLOOR_WARM_UP: Duration = Duration::from_secs(3);

enum Target<'a> {
    Floor,
    /// Where the floor has a hop.
    FloorWithoutHop,
    Gateway,
    Peer(&'a Peer),
}

impl Target<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Floor => "floor",
            Self::FloorWithoutHop => "floor without the hop",
            Self::Gateway => "gateway",
            Self::Peer(peer) => &peer.name,
        }
    }
}

/// Runs all of it; `so_far` gets what there is after each workload, for these are hours, and may be cut short.
pub fn run(
    plan: &Plan,
    mut so_far: impl FnMut(&[Series]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let chosen: Vec<Workload> = workloads::all()
        .into_iter()
        .filter(|workload| match plan.workloads.as_slice() {
            [] => !workload.is_on_demand(),
            names => names.iter().any(|name| workload.is_called(name)),
        })
        .collect();
    ensure!(!chosen.is_empty(), "no workload is called {:?}", plan.workloads);
    let mut all = Vec::new();
    for workload in &chosen {
        all.extend(run_workload(plan, workload));
        so_far(&all)?;
    }
    Ok(())
}

/// All servers in turn, again and again, so that what the machine does beside hits all of them alike.
fn run_workload(plan: &Plan, workload: &Workload) -> Vec<Series> {
    let floor = workload.has_floor().then_some(Target::Floor);
    let without_hop = workload.floor_has_hop().then_some(Target::FloorWithoutHop);
    let peers = plan.peers.iter().map(Target::Peer);
    let ours = floor.into_iter().chain(without_hop).chain([Target::Gateway]);
    let targets: Vec<_> = ours.chain(peers).collect();
    let mut series: Vec<_> = targets
        .iter()
        .map(|target| Series {
            workload: workload.name.clone(),
            server: target.name().to_owned(),
            reports: Vec::new(),
            failures: Vec::new(),
            counted: None,
        })
        .collect();
    // Growth is a line through many points, and memory moves little: once will do.
    let repeats = if workload.is_on_demand() { 1 } else { plan.repeats };
    for repeat in 0..repeats {
        for (target, series) in targets.iter().zip(&mut series) {
            eprintln!("--- {}, {}, {} of {}", workload.name, series.server, repeat + 1, repeats);
            match run_target(plan, workload, target, false) {
                Ok(report) => {
                    eprint!("{report}");
                    series.reports.push(report);
                }
                Err(error) => {
                    eprintln!("failed: {error:#}");
                    series.failures.push(format!("{error:#}"));
                }
            }
        }
    }
    for (target, series) in targets.iter().zip(&mut series).filter(|_| plan.system_calls) {
        eprintln!("--- {}, {}, system calls", workload.name, series.server);
        match run_target(plan, workload, target, true) {
            Ok(report) => series.counted = Some(report),
            Err(error) => series.failures.push(format!("system calls: {error:#}")),
        }
    }
    series
}

/// One run, the server fresh where it is ours, the tool in a process of its own.
fn run_target(
    plan: &Plan,
    workload: &Workload,
    target: &Target<'_>,
    system_calls: bool,
) -> anyhow::Result<Report> {
    let directory = std::env::temp_dir().join(format!("load-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let tool = std::env::current_exe()?;
    let (server_core, tool_core) = cores()?.unzip();
    let server = match target {
        Target::Floor | Target::FloorWithoutHop => {
            let has_hop = matches!(target, Target::Floor) && workload.floor_has_hop();
            Some(Server::floor(&tool, has_hop, server_core, &directory)?)
        }
        Target::Gateway => Some(Server::gateway(&plan.gateway, PORTS, server_core, &directory)?),
        Target::Peer(_) => None,
    };
    let peer = match (target, &server) {
        (Target::Peer(peer), _) => (*peer).clone(),
        (_, Some(server)) => Peer {
            name: String::new(),
            publish: server.publish.clone(),
            read: server.read.clone(),
            pids: vec![server.pid()],
        },
        (_, None) => bail!("no server"),
    };
    let report = directory.join("report.json");
    let mut command = pinned(&tool, tool_core);
    command.arg("run").args(["--publish", &peer.publish, "--read", &peer.read]);
    command.args(peer.pids.iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]));
    command.args(arguments(workload));
    let warm_up = match target {
        Target::Floor | Target::FloorWithoutHop => plan.warm_up.min(FLOOR_WARM_UP),
        Target::Gateway | Target::Peer(_) => plan.warm_up,
    };
    command.args(["--warm-up", &format!("{}ms", warm_up.as_millis())]);
    command.args(["--window", &format!("{}ms", plan.window.as_millis())]);
    command.args(system_calls.then_some("--system-calls"));
    command.arg("--json").arg(&report);
    let log = directory.join("tool");
    let status = command.stdin(Stdio::null()).stderr(File::create(&log)?).status()?;
    if !status.success() {
        bail!("{}", std::fs::read_to_string(&log)?.trim());
    }
    serde_json::from_slice(&std::fs::read(&report)?).context("the report")
}

fn arguments(workload: &Workload) -> Vec<String> {
    let pairs = [
        ("--streams", workload.streams.to_string()),
        ("--readers", workload.readers.to_string()),
        ("--stalled", workload.stalled.to_string()),
        ("--transport", workload.transport.to_owned()),
        ("--joins", workload.joins.to_string()),
        ("--clip", workload.clip.to_string()),
    ];
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// Writes the page, and the growth plots beside it where growth was measured.
pub fn write(page: &Path, plan: &Plan, all: &[Series]) -> anyhow::Result<()> {
    let plots = growth::plots(all);
    for (name, svg) in &plots {
        let path = page.with_file_name(name);
        std::fs::write(&path, svg).with_context(|| path.display().to_string())?;
    }
    let names: Vec<_> = plots.iter().map(|(name, _)| name.as_str()).collect();
    let text = page::text(plan, all, &machine::describe(), &names);
    std::fs::write(page, text).with_context(|| page.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_from_an_argument() {
        let text =
            "name=lal 0.37,publish=rtmp://h:1935/live/{key},read=rtsp://h/live/{key},pid=7+8";
        let peer: Peer = text.parse().unwrap();
        assert_eq!((peer.name.as_str(), peer.pids), ("lal 0.37", vec![7, 8]));
        assert_eq!(peer.read, "rtsp://h/live/{key}");
        assert_eq!("name=x".parse::<Peer>(), Err("pid is missing".to_owned()));
    }
}
