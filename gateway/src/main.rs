//! The binary `rtmp2rtsp`.

use std::{io::Write, process::ExitCode, time::Duration};

use gateway::{Gateway, Signals, cli, demo, health, limits};
use svc_core::{config, drain::Shutdown, telemetry};

/// Each access unit takes and gives back a few buffers, in the order of a ring: docs/performance.md has what others cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    match start(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rtmp2rtsp: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes as one sentence, each cause once.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn start(matches: &clap::ArgMatches) -> anyhow::Result<()> {
    let asked = cli::asked(matches)?;
    if asked.print_config {
        print(&config::to_toml(&asked.config));
        return Ok(());
    }
    if let Some(urls) = &asked.healthcheck {
        return Ok(health::check(urls, &asked.config)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(asked));
    // Nothing that matters runs any more; what still blocks a thread is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn run(asked: cli::Asked) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&asked.config.log, asked.part.name())?;
    let result = serve(asked).await;
    telemetry.shutdown().await;
    result
}

async fn serve(asked: cli::Asked) -> anyhow::Result<()> {
    match limits::raise_open_files() {
        Ok(open_files) => tracing::debug!(open_files, "the limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
    let shutdown = Shutdown::new();
    // Before the sockets are bound, so that a signal from then on ends in order.
    tokio::spawn(follow(Signals::catch()?, shutdown.clone()));
    let gateway = Gateway::bind(&asked.config, asked.part).await?;
    print(&gateway.banner(asked.demo));
    gateway.log_addresses();
    if let Some(rtmp) = gateway.rtmp().filter(|_| asked.demo) {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            if let Err(error) = demo::run(rtmp, shutdown).await {
                tracing::error!("the demo stopped: {error:#}");
            }
        });
    }
    gateway.run(&shutdown).await
}

/// The first signal drains, the second cuts.
async fn follow(mut signals: Signals, shutdown: Shutdown) {
    for act in [Shutdown::start_drain, Shutdown::cut] {
        let signal = signals.next().await;
        tracing::info!(signal, "asked to stop");
        act(&shutdown);
    }
}

/// To stdout. A reader of it that is gone is no reason to stop.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
