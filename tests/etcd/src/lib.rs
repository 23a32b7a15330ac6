//! A real etcd for tests: one member or three, on ports of their own, ended with the test. It is Debian's `etcd-server`; where that is
//! missing the test fails.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a member may take to listen.
const START: Duration = Duration::from_secs(20);

/// A member of a cluster.
pub struct Member {
    command: Vec<String>,
    child: Option<Child>,
    /// Where it listens to clients, on 127.0.0.1.
    pub port: u16,
}

/// A cluster.
pub struct Etcd {
    /// Its members.
    pub members: Vec<Member>,
    scheme: &'static str,
    /// Their data, for as long as this lives.
    _data: TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Member {
    /// Starts it, with the data that it had.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let child = Command::new("etcd")
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("etcd (Debian's etcd-server) is installed by scripts/test"));
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP: it says nothing more, and its connections stay.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// SIGCONT
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let told = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(told.success());
    }

    fn listens(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Etcd {
    /// One member without TLS.
    pub fn start() -> Self {
        Self::with(1, "http", &[])
    }

    /// `count` members that listen to clients by `scheme`, with further arguments.
    pub fn with(count: usize, scheme: &'static str, further: &[String]) -> Self {
        let mut etcd = Self::prepare(count, scheme, further);
        for member in &mut etcd.members {
            member.start();
        }
        etcd.wait();
        etcd
    }

    fn prepare(count: usize, scheme: &'static str, further: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<_> = (0..count).map(|_| (free_port(), free_port())).collect();
        let peer = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(n, (_, port))| format!("m{n}={}", peer(*port)))
            .collect();
        let members = ports.iter().enumerate().map(|(n, (client, port))| {
            let client_url = format!("{scheme}://127.0.0.1:{client}");
            let data = dir.path().join(format!("m{n}"));
            let pairs = [
                ("--name", format!("m{n}")),
                ("--data-dir", data.display().to_string()),
                ("--listen-client-urls", client_url.clone()),
                ("--advertise-client-urls", client_url),
                ("--listen-peer-urls", peer(*port)),
                ("--initial-advertise-peer-urls", peer(*port)),
                ("--initial-cluster", cluster.join(",")),
                ("--heartbeat-interval", "50".to_owned()),
                ("--election-timeout", "500".to_owned()),
            ];
            let pairs = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
            let command = pairs.chain(further.iter().cloned()).collect();
            Member { command, child: None, port: *client }
        });
        Self { members: members.collect(), scheme, _data: dir }
    }

    /// Waits until all members that run listen.
    pub fn wait(&self) {
        let began = Instant::now();
        while !self.members.iter().all(|member| member.child.is_none() || member.listens()) {
            assert!(began.elapsed() < START, "etcd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URLs of all members.
    pub fn endpoints(&self) -> Vec<String> {
        let url = |member: &Member| format!("{}://127.0.0.1:{}", self.scheme, member.port);
        self.members.iter().map(url).collect()
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        let table = self.ctl(&["endpoint", "status"]);
        let leads = |line: &str| line.split(", ").nth(4) == Some("true");
        let line = table.lines().find(|line| leads(line)).unwrap_or_else(|| panic!("{table}"));
        let url = line.split(", ").next().unwrap_or_default();
        self.endpoints().iter().position(|endpoint| endpoint == url).expect("its endpoint")
    }

    /// Runs `etcdctl` against it; what it prints.
    pub fn ctl(&self, args: &[&str]) -> String {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.endpoints().join(",")))
            .args(args)
            .output()
            .expect("etcdctl (Debian's etcd-client) is installed by scripts/test");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The endpoints of one that all tests of a process share which only need some etcd; each has a prefix of its own. It ends with the process.
pub fn shared() -> Vec<String> {
    static ENDPOINTS: OnceLock<Vec<String>> = OnceLock::new();
    ENDPOINTS
        .get_or_init(|| {
            let etcd = Etcd::prepare(1, "http", &[]);
            let endpoints = etcd.endpoints();
            // Nothing is run at the end of a test process; the kernel ends etcd with the thread that started it.
            std::thread::spawn(move || {
                // All of it, its data too.
                let etcd = etcd;
                let mut child = Command::new("setpriv")
                    .args(["--pdeathsig", "KILL", "etcd"])
                    .args(&etcd.members[0].command)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                child.wait().unwrap();
            });
            let port = endpoints[0].rsplit(':').next().unwrap().parse::<u16>().unwrap();
            let began = Instant::now();
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                assert!(began.elapsed() < START, "etcd does not listen");
                std::thread::sleep(Duration::from_millis(20));
            }
            endpoints
        })
        .clone()
}
