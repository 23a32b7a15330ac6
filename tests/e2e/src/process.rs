//! The gateway as processes of its own.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::eventually;

/// The first RTP port that a test uses; below the ephemeral ports of Linux (32768 and up).
const FIRST_PORT: u16 = 20_000;
/// The RTP ports of one process.
const PORTS: u16 = 200;
/// The lines of a log that a failed test shows.
const LOG_LINES: usize = 60;

/// A range of RTP ports that no other process of this test program has, and whose first pairs nobody has: ffmpeg takes ports of its own
/// from anywhere between 5000 and 65000.
pub fn port_range() -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    let is_free = |port| std::net::UdpSocket::bind(("0.0.0.0", port)).is_ok();
    loop {
        let first = NEXT.fetch_add(PORTS, Ordering::Relaxed);
        if (first..first + 6).all(is_free) {
            return (first, first + PORTS - 1);
        }
    }
}

/// How a process is started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    args: Vec<String>,
    namespace: Option<String>,
    host: Option<String>,
    ports: Option<(u16, u16)>,
    variables: Vec<(String, String)>,
}

impl Setup {
    /// Both services in one process, on free ports of the loopback address.
    pub fn both() -> Self {
        Self::default()
    }

    /// ingest-svc alone.
    pub fn ingest(registry: &str) -> Self {
        Self::default().arg("ingest-svc").with("registry-url", registry)
    }

    /// publish-svc alone, with the registry embedded.
    pub fn publish() -> Self {
        Self::default().arg("publish-svc")
    }

    /// A bare argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// A key of the configuration as a flag.
    pub fn with(self, key: &str, value: &str) -> Self {
        self.arg(&format!("--{key}")).arg(value)
    }

    /// These RTP ports.
    pub fn with_ports(mut self, first: u16, last: u16) -> Self {
        self.ports = Some((first, last));
        self
    }

    /// With a variable of the environment.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// In a network namespace, on that address of it.
    pub fn in_namespace(mut self, namespace: &str, host: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self.host = Some(host.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(test_gateway::binary()),
            Some(namespace) => {
                let mut command = crate::clients::as_root("ip");
                command.args(["netns", "exec", namespace]).arg(test_gateway::binary());
                command
            }
        };
        command.args(&self.args);
        let host = self.host.as_deref().unwrap_or("127.0.0.1");
        for key in [
            "rtmp-listen",
            "rtsp-listen",
            "ingest-grpc-listen",
            "ingest-http-listen",
            "publish-grpc-listen",
            "publish-http-listen",
        ] {
            let flag = format!("--{key}");
            if !self.args.contains(&flag) {
                command.args([flag, format!("{host}:0")]);
            }
        }
        let (first, last) = self.ports.unwrap_or_else(port_range);
        command.args(["--rtsp-rtp-port", "0"]);
        command.args(["--publish-rtp-port-min", &first.to_string()]);
        command.args(["--publish-rtp-port-max", &last.to_string()]);
        command
    }

    /// Starts the process, and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let directory = tempfile::tempdir().expect("a directory");
        let (banner, log) = (directory.path().join("banner"), directory.path().join("log"));
        let create = |path: &Path| Stdio::from(File::create(path).expect("a file"));
        let mut child = self
            .command()
            .envs(self.variables.iter().cloned())
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(create(&banner))
            .stderr(create(&log))
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway does not start");
        let text = eventually("the ready banner", async || {
            if let Ok(Some(status)) = child.try_wait() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("the gateway ended at once: {status}\n{log}");
            }
            let text = std::fs::read_to_string(&banner).ok()?;
            // The last line of the banner.
            text.contains("\n  HTTP ").then_some(text).filter(|text| text.ends_with('\n'))
        })
        .await;
        Gateway { child, banner: text, directory }
    }
}

/// A running gateway, or one of its services; killed when dropped.
pub struct Gateway {
    child: Child,
    banner: String,
    directory: TempDir,
}

impl Gateway {
    /// What it printed when it was ready.
    pub fn banner(&self) -> &str {
        &self.banner
    }

    fn between(&self, before: &str, after: char) -> &str {
        let found = self.banner.split_once(before).and_then(|(_, rest)| rest.split_once(after));
        found.unwrap_or_else(|| panic!("no {before:?} in the banner:\n{}", self.banner)).0
    }

    /// The address of the line `name` whose note is `(service…)`.
    fn address(&self, name: &str, service: &str) -> SocketAddr {
        let line = self.banner.lines().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in the banner:\n{}", self.banner));
        let words: Vec<_> = line.split_whitespace().collect();
        let at = words.iter().position(|word| word.trim_matches(['(', ')', ',']) == service);
        let word = at.and_then(|at| words.get(at - 1));
        let word = word.unwrap_or_else(|| panic!("no {service} in {line:?}"));
        word.trim_start_matches("http://").parse().expect("an address")
    }

    /// Where a stream is published to.
    pub fn rtmp_url(&self, key: &str) -> String {
        format!("rtmp://{}/stream/{key}", self.rtmp())
    }

    /// The RTMP port.
    pub fn rtmp(&self) -> SocketAddr {
        self.between("rtmp://", '/').parse().expect("an address")
    }

    /// Where a stream is played from.
    pub fn rtsp_url(&self, key: &str) -> String {
        format!("rtsp://{}/{key}", self.rtsp())
    }

    /// The RTSP port.
    pub fn rtsp(&self) -> SocketAddr {
        self.between("rtsp://", '/').parse().expect("an address")
    }

    /// gRPC of ingest-svc.
    pub fn ingest_grpc(&self) -> String {
        format!("http://{}", self.address("gRPC", "ingest"))
    }

    /// gRPC of publish-svc, and of the registry that it serves.
    pub fn publish_grpc(&self) -> String {
        format!("http://{}", self.address("gRPC", "publish"))
    }

    /// HTTP of ingest-svc.
    pub fn ingest_http(&self) -> String {
        format!("http://{}", self.address("HTTP", "ingest"))
    }

    /// HTTP of publish-svc.
    pub fn publish_http(&self) -> String {
        format!("http://{}", self.address("HTTP", "publish"))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// SIGSTOP: it stands still, its sockets stay.
    pub async fn stand_still(&self) {
        self.signal("-STOP").await;
    }

    /// SIGCONT
    pub async fn go_on(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let told = Command::new("kill").args([signal, &pid]).status().await.expect("kill");
        assert!(told.success());
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// kill -9.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("kill");
    }

    /// SIGTERM; waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM").await;
        tokio::time::timeout(crate::PATIENCE, self.child.wait())
            .await
            .expect("it does not end")
            .expect("its status")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES);
            eprintln!("--- the gateway\n{}{}\n---", self.banner, lines[from..].join("\n"));
        }
    }
}
