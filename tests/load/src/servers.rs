//! Servers as processes of their own, ended when dropped.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

/// How long a server may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often its banner is looked at.
const POLL: Duration = Duration::from_millis(20);
/// More than any workload has.
const CONNECTIONS: &str = "20000";

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The URL of a publisher, with `{key}` in it.
    pub publish: String,
    /// The URL of a reader, with `{key}` in it.
    pub read: String,
    child: Child,
}

impl Server {
    /// The gateway, both services in one process, on free ports of the loopback address; its banner and log go to files in `directory`.
    /// `core`: the only one that it may use.
    pub fn gateway(
        binary: &Path,
        ports: (u16, u16),
        core: Option<usize>,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = pinned(binary, core);
        for key in [
            "rtmp-listen",
            "rtsp-listen",
            "ingest-grpc-listen",
            "ingest-http-listen",
            "publish-grpc-listen",
            "publish-http-listen",
        ] {
            command.args([format!("--{key}"), "127.0.0.1:0".to_owned()]);
        }
        command.args(["--rtsp-rtp-port", "0"]);
        command.args(["--rtmp-max-connections", CONNECTIONS]);
        command.args(["--rtsp-max-connections", CONNECTIONS]);
        command.args(["--publish-rtp-port-min", &ports.0.to_string()]);
        command.args(["--publish-rtp-port-max", &ports.1.to_string()]);
        let (child, banner) = start(&mut command, directory, "\n  HTTP ")?;
        let between = |before: &str| {
            let rest = banner.split_once(before).map(|(_, rest)| rest)?;
            rest.split_once('/').map(|(address, _)| address.to_owned())
        };
        let rtmp = between("rtmp://").context("no RTMP URL in the banner")?;
        let rtsp = between("rtsp://").context("no RTSP URL in the banner")?;
        let publish = format!("rtmp://{rtmp}/live/{{key}}");
        Ok(Self { publish, read: format!("rtsp://{rtsp}/{{key}}"), child })
    }

    /// The floor; `binary` is the load tool.
    pub fn floor(
        binary: &Path,
        has_hop: bool,
        core: Option<usize>,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = pinned(binary, core);
        command.args(["floor", "--listen", "127.0.0.1:0"]).args(has_hop.then_some("--hop"));
        let (child, banner) = start(&mut command, directory, "\n")?;
        let address: SocketAddr = banner.trim().parse().context("the floor's address")?;
        let url = format!("raw://{address}/{{key}}");
        Ok(Self { publish: url.clone(), read: url, child })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The only core of the server, and that of the tool; none where there is but one.
pub fn cores() -> anyhow::Result<Option<(usize, usize)>> {
    Ok((std::thread::available_parallelism()?.get() > 1).then_some((0, 1)))
}

/// Has this thread, and those that it starts, on that core only.
pub fn pin_this_thread(core: usize) -> anyhow::Result<()> {
    let own = std::fs::read_link("/proc/thread-self").context("/proc/thread-self")?;
    let own = own.file_name().context("/proc/thread-self")?;
    let mut command = Command::new("taskset");
    command.args(["-pc", &core.to_string()]).arg(own).stdin(Stdio::null()).stdout(Stdio::null());
    ensure!(command.status().context("taskset")?.success(), "{command:?} failed");
    Ok(())
}

/// The command that runs `binary` on that core only. `taskset` becomes it, so that the process id is its own.
pub fn pinned(binary: &Path, core: Option<usize>) -> Command {
    match core {
        None => Command::new(binary),
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(binary);
            command
        }
    }
}

/// Starts it, and waits until its standard output holds `ready` and ends with a line.
fn start(command: &mut Command, directory: &Path, ready: &str) -> anyhow::Result<(Child, String)> {
    let file = |name: &str| -> anyhow::Result<(PathBuf, Stdio)> {
        let path = directory.join(name);
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Ok((path, file.into()))
    };
    let ((banner, out), (log, err)) = (file("banner")?, file("log")?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("{command:?} does not start"))?;
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(&banner)?;
        if text.contains(ready) && text.ends_with('\n') {
            return Ok((child, text));
        }
        let ended = child.try_wait()?;
        if ended.is_some() || began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            bail!("not ready: {}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        std::thread::sleep(POLL);
    }
}
