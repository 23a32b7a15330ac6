//! The load tool's command line.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use load::{bench, clip::Kind, dialog::Transport, floor::Floor, run, soak};

#[derive(Parser)]
#[command(about = "Loads any RTMP-in/RTSP-out server, and measures what that costs it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One run against a server
    Run(RunArgs),
    /// All workloads against the floor, the gateway and any peers
    Bench(BenchArgs),
    /// One long run against the gateway: whether its memory is flat, and nothing is lost
    Soak(SoakArgs),
    /// The bare loop that a server is compared with: prints its address, and goes on until it is killed
    Floor {
        /// Where it listens; its URL is raw://ADDRESS/{key} for publishers and readers
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Send all that is read to a UDP socket of its own, and receive it there
        #[arg(long)]
        hop: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Transports {
    Tcp,
    Udp,
    /// In turn.
    Mix,
}

#[derive(clap::Args)]
struct RunArgs {
    /// The URL of a publisher, with {key} in it
    #[arg(long, default_value = "rtmp://127.0.0.1:1935/live/{key}")]
    publish: String,
    /// The URL of a reader, with {key} in it
    #[arg(long, default_value = "rtsp://127.0.0.1:8554/{key}")]
    read: String,
    /// A process of the server; several are summed
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// How many streams are published
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// How many readers each stream has
    #[arg(long, default_value_t = 1)]
    readers: usize,
    /// How many further readers of each stream take nothing more after a second
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// How packets come to the readers
    #[arg(long, value_enum, default_value = "tcp")]
    transport: Transports,
    /// How many readers come in a second, and leave with their first keyframe
    #[arg(long, default_value_t = 0.0)]
    joins: f64,
    /// What is published: 720p30, 1080p30, huge, tiny
    #[arg(long, default_value_t = Kind::Hd)]
    clip: Kind,
    /// How long it goes on with all readers before it is measured
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// How long is measured
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    window: Duration,
    /// Threads of readers
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Count the server's system calls (strace); times are then worth nothing
    #[arg(long)]
    system_calls: bool,
    /// Write the report as JSON there, - for standard output; the table goes to standard error
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct BenchArgs {
    /// The gateway's binary
    #[arg(long, default_value = "target/release/rtmp2rtsp")]
    gateway: PathBuf,
    /// Another server that runs already: name=N,publish=rtmp://…/{key},read=rtsp://…/{key},pid=1+2
    #[arg(long = "peer")]
    peers: Vec<bench::Peer>,
    /// Names of workloads or groups, such as S1 or S3; none: S1 to S8
    #[arg(long = "workload")]
    workloads: Vec<String>,
    /// How often each is run
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// How long is measured; GOPs have 2 s
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    window: Duration,
    /// How long each run goes on before it is measured: longer than a ring of the gateway is (10 s) and a GOP; the floor has none
    #[arg(long, default_value = "14s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Count system calls in one more run of each
    #[arg(long)]
    system_calls: bool,
    /// Write the page there, and plots beside it
    #[arg(long)]
    page: Option<PathBuf>,
    /// Write all reports as JSON there
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct SoakArgs {
    /// The gateway's binary
    #[arg(long, default_value = "target/release/rtmp2rtsp")]
    gateway: PathBuf,
    /// How many streams are published
    #[arg(long, default_value_t = 50)]
    streams: usize,
    /// How many readers each stream has, by TCP and UDP in turn
    #[arg(long, default_value_t = 4)]
    readers: usize,
    /// How many further readers come in a second, and leave with their first keyframe
    #[arg(long, default_value_t = 5.0)]
    joins: f64,
    /// What is published: 720p30, 1080p30, huge, tiny
    #[arg(long, default_value_t = Kind::Hd)]
    clip: Kind,
    /// How long it goes on before: rings are full after 10 s and a GOP, the allocator is at rest after a minute or two
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// How long it goes on then
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    window: Duration,
    /// The time between two samples
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Write what it has shown, with all samples, as JSON there
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(args) => run_once(args)?,
        Command::Bench(args) => run_all(args)?,
        Command::Soak(args) => return run_long(args),
        Command::Floor { listen, hop } => {
            let floor = Floor::bind(listen, hop)?;
            println!("{}", floor.address()?);
            std::io::stdout().flush()?;
            floor.run()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_once(args: RunArgs) -> anyhow::Result<()> {
    let transports = match args.transport {
        Transports::Tcp => vec![Transport::Tcp],
        Transports::Udp => vec![Transport::Udp],
        Transports::Mix => vec![Transport::Tcp, Transport::Udp],
    };
    let report = run::run(&run::Setup {
        publish: args.publish,
        read: args.read,
        pids: args.pids,
        streams: args.streams,
        readers: args.readers,
        stalled: args.stalled,
        transports,
        joins_per_second: args.joins,
        clip: args.clip,
        warm_up: args.warm_up,
        window: args.window,
        threads: args.threads,
        system_calls: args.system_calls,
    })?;
    eprint!("{report}");
    match args.json {
        None => Ok(()),
        Some(path) if path.as_os_str() == "-" => {
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
        Some(path) => write_json(&path, &report),
    }
}

fn run_all(args: BenchArgs) -> anyhow::Result<()> {
    let plan = bench::Plan {
        gateway: args.gateway,
        peers: args.peers,
        workloads: args.workloads,
        repeats: args.repeats,
        window: args.window,
        warm_up: args.warm_up,
        system_calls: args.system_calls,
    };
    bench::run(&plan, |all| {
        if let Some(path) = &args.json {
            write_json(path, all)?;
        }
        match &args.page {
            Some(page) => bench::write(page, &plan, all),
            None => Ok(()),
        }
    })
}

fn run_long(args: SoakArgs) -> anyhow::Result<ExitCode> {
    let soak = soak::run(&soak::Plan {
        gateway: args.gateway,
        streams: args.streams,
        readers: args.readers,
        joins_per_second: args.joins,
        clip: args.clip,
        warm_up: args.warm_up,
        window: args.window,
        every: args.every,
    })?;
    eprint!("{soak}");
    if let Some(path) = args.json {
        write_json(&path, &soak)?;
        eprintln!("{:<24}{}", "samples", path.display());
    }
    if soak.faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("the soak failed: {}", soak.faults.join("; "));
    Ok(ExitCode::FAILURE)
}

fn write_json(path: &Path, value: &(impl serde::Serialize + ?Sized)) -> anyhow::Result<()> {
    std::fs::write(path, serde_json::to_vec_pretty(value)?)
        .with_context(|| path.display().to_string())
}
