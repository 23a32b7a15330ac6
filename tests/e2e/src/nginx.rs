//! nginx with nginx-rtmp: a remote server that is none of ours, of which streams are pulled and which pushes streams to us.

use std::{fs::File, net::SocketAddr, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{clients::run, eventually};

/// Where Debian keeps nginx's modules.
const MODULES: &str = "/usr/lib/nginx/modules";
/// The lines of a log that a failed test shows.
const LOG_LINES: usize = 40;

/// A running nginx; killed when dropped. It keeps its ports when it is started anew.
///
/// Its applications: `live` as nginx-rtmp is by default, which lets players wait for a stream that nobody publishes; `strict`, which
/// tells them that there is none; `relay`, which pushes what is published to where [`Nginx::pushing`] says.
pub struct Nginx {
    child: Option<Child>,
    directory: TempDir,
    rtmp: SocketAddr,
    tls: Option<SocketAddr>,
}

impl Nginx {
    /// nginx that takes and plays streams.
    pub async fn start() -> Self {
        Self::with(None, None).await
    }

    /// nginx that pushes to an RTMP URL what is published to its application `relay`.
    pub async fn pushing(url: &str) -> Self {
        Self::with(Some(url), None).await
    }

    /// nginx that serves RTMPS too, as `authority` certifies it.
    pub async fn secured(authority: &Authority) -> Self {
        Self::with(None, Some(authority)).await
    }

    async fn with(push: Option<&str>, authority: Option<&Authority>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let rtmp = free_port();
        let tls = authority.map(|_| free_port());
        let config = config(rtmp, push, authority.zip(tls));
        std::fs::write(directory.path().join("nginx.conf"), config).expect("a configuration");
        let mut this = Self { child: None, directory, rtmp, tls };
        this.start_again().await;
        this
    }

    /// Starts it anew after [`kill`](Self::kill).
    pub async fn start_again(&mut self) {
        let directory = self.directory.path();
        let log = File::options().append(true).create(true).open(directory.join("error.log"));
        let child = Command::new("nginx")
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(directory.join("nginx.conf"))
            .arg("-e")
            .arg(directory.join("error.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("nginx does not start");
        self.child = Some(child);
        for address in [Some(self.rtmp), self.tls].into_iter().flatten() {
            let what = format!("nginx listens on {address}");
            eventually(&what, async || TcpStream::connect(address).await.ok()).await;
        }
    }

    /// kill -9.
    pub async fn kill(&mut self) {
        self.child.take().expect("it runs").kill().await.expect("kill");
    }

    /// Its RTMP port.
    pub fn rtmp(&self) -> SocketAddr {
        self.rtmp
    }

    /// The RTMP URL of what follows the host, such as `live/cam1`.
    pub fn url(&self, path: &str) -> String {
        format!("rtmp://{}/{path}", self.rtmp)
    }

    /// The port of RTMPS.
    pub fn tls_port(&self) -> u16 {
        self.tls.expect("it has TLS").port()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("error.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES);
            eprintln!("--- nginx\n{}\n---", lines[from..].join("\n"));
        }
    }
}

/// One process, so that all of it is killed.
fn config(rtmp: SocketAddr, push: Option<&str>, tls: Option<(&Authority, SocketAddr)>) -> String {
    let push = push.map(|url| format!("push {url};")).unwrap_or_default();
    let (tls_module, tls) = tls.map_or_else(Default::default, |(authority, address)| {
        let [certificate, key] =
            [&authority.certificate, &authority.key].map(|path| path.display());
        let module = format!("load_module {MODULES}/ngx_stream_module.so;");
        let server = format!(
            "stream {{ server {{ listen {address} ssl; ssl_certificate {certificate}; \
             ssl_certificate_key {key}; proxy_pass {rtmp}; }} }}"
        );
        (module, server)
    });
    format!(
        "load_module {MODULES}/ngx_rtmp_module.so;\n{tls_module}\n\
         daemon off; master_process off; pid nginx.pid; error_log error.log info;\n\
         events {{}}\n{tls}\n\
         rtmp {{ access_log off; server {{ listen {rtmp}; chunk_size 4096;\n\
         application live {{ live on; }}\n\
         application strict {{ live on; idle_streams off; }}\n\
         application relay {{ live on; {push} }}\n}} }}\n"
    )
}

/// Certifies that a server is `localhost`.
pub struct Authority {
    _directory: TempDir,
    /// Its own certificate.
    pub file: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    /// A new one.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let [file, ca_key, certificate, key] = ["ca.pem", "ca.key", "server.pem", "server.key"]
            .map(|name| directory.path().join(name));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        // Two of one name would be one to whom they are shown.
        let name = directory.path().file_name().and_then(|name| name.to_str()).expect("a name");
        let mut ca = Command::new("openssl");
        ca.args(["req", "-x509", "-days", "2", "-subj", &format!("/CN={name}")]).args(curve);
        ca.arg("-keyout").arg(&ca_key).arg("-out").arg(&file);
        run(ca).await;
        let mut server = Command::new("openssl");
        server.args(["req", "-x509", "-days", "2", "-subj", "/CN=a server"]).args(curve);
        server.args(["-addext", "subjectAltName=DNS:localhost"]);
        server.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        server.arg("-CA").arg(&file).arg("-CAkey").arg(&ca_key);
        server.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        run(server).await;
        Self { _directory: directory, file, certificate, key }
    }
}

/// A port of the loopback address that nobody has.
fn free_port() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address")
}
