//! Real clients as child processes: who publishes, and who reads.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::{PATIENCE, clips::repository, interop};

/// What FFmpeg and GStreamer say when somebody has the UDP port that they tried first; they take another then.
pub const PORT_TAKEN: &str = "Address already in use";

/// How a reader gets its packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    Tcp,
    /// UDP unicast.
    Udp,
}

impl Transport {
    /// Its name in the options of ffmpeg, mpv and GStreamer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Who publishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publisher {
    /// `ffmpeg -f flv`.
    Ffmpeg,
    /// GStreamer's `flvmux ! rtmp2sink`.
    Rtmp2sink,
    /// GStreamer's `flvmux ! rtmpsink`, which is librtmp.
    Rtmpsink,
}

impl Publisher {
    /// Its name in docs/interop.md.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg 5.1",
            Self::Rtmp2sink => "rtmp2sink",
            Self::Rtmpsink => "rtmpsink (librtmp)",
        }
    }

    /// Publishes a clip at the pace of real time.
    pub fn start(self, clip: &Path, url: &str) -> Running {
        let sink = match self {
            Self::Ffmpeg => return ffmpeg_publishes(clip, url),
            Self::Rtmp2sink => ["rtmp2sink", "sync=true"].map(str::to_owned).to_vec(),
            // librtmp takes options behind the URL.
            Self::Rtmpsink => vec!["rtmpsink".to_owned(), "sync=true".to_owned()],
        };
        let location = match self {
            Self::Rtmpsink => format!("location={url} live=1"),
            Self::Ffmpeg | Self::Rtmp2sink => format!("location={url}"),
        };
        let mut command = gst_launch();
        command.args(["-q", "filesrc"]).arg(format!("location={}", clip.display()));
        command.args(["!", "flvdemux", "name=d", "flvmux", "name=m", "streamable=true", "!"]);
        command.args(sink).arg(location);
        command.args(["d.video", "!", "queue", "!", "h264parse", "!", "m."]);
        command.args(["d.audio", "!", "queue", "!", "aacparse", "!", "m."]);
        Running::start(command)
    }
}

/// The newest ffmpeg publishes a clip at the pace of real time; `input` and `output` are further options of both.
pub fn newest_publishes(clip: &Path, url: &str, input: &[&str], output: &[&str]) -> Running {
    Running::start(newest_publishing(clip, url, input, output))
}

/// The command of that.
pub fn newest_publishing(clip: &Path, url: &str, input: &[&str], output: &[&str]) -> Command {
    let mut command = newest_ffmpeg();
    command.args(input).args(["-re", "-i"]).arg(clip).args(output);
    command.args(["-c", "copy", "-f", "flv", url]);
    command
}

fn ffmpeg_publishes(clip: &Path, url: &str) -> Running {
    let mut command = ffmpeg();
    command.args(["-re", "-i"]).arg(clip).args(["-c", "copy", "-f", "flv", url]);
    Running::start(command)
}

/// GStreamer's `gst-launch-1.0`, which ends when it crashes: its own handler would wait for a debugger for ever.
pub fn gst_launch() -> Command {
    let mut command = Command::new("gst-launch-1.0");
    command.arg("--no-fault");
    command
}

/// Debian's `ffmpeg`, which prints errors only.
pub fn ffmpeg() -> Command {
    quiet(Path::new("ffmpeg"))
}

/// The ffmpeg of `scripts/newest-ffmpeg`, which knows Enhanced RTMP; it prints errors only.
pub fn newest_ffmpeg() -> Command {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    quiet(PATH.get_or_init(|| {
        let script = repository().join("scripts/newest-ffmpeg");
        let output = std::process::Command::new(script).output().expect("newest-ffmpeg");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a path").trim().into()
    }))
}

fn quiet(ffmpeg: &Path) -> Command {
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "error", "-nostdin"]);
    command
}

/// ffmpeg's options for reading by RTSP.
pub fn rtsp_input(transport: Transport, url: &str) -> [String; 4] {
    let transport = transport.name();
    ["-rtsp_transport".into(), transport.into(), "-i".into(), url.into()]
}

/// Whether the tests run as root: whose our entry in /proc is.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// A command that is run by root, with sudo where this is another user.
pub fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// A client that runs; killed when dropped.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts it; what it prints is kept.
    pub fn start(mut command: Command) -> Self {
        let name = format!("{:?}", command.as_std());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { child, name }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, however long it takes.
    pub async fn ended(mut self) {
        let _ = self.child.wait().await;
    }

    /// Waits for its end.
    pub async fn output(self) -> Output {
        let Self { child, name } = self;
        let patience = PATIENCE + Duration::from_secs(interop::seconds().into());
        tokio::time::timeout(patience, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("{name} does not end"))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Waits for its end, which must be a success; what it printed to stdout.
    pub async fn success(self) -> String {
        let name = self.name.clone();
        let output = self.output().await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits for its end, which must be a success of which nothing is said on stderr; what it printed to stdout.
    pub async fn silent_success(self) -> String {
        let name = self.name.clone();
        let output = self.output().await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let silent = stderr.lines().all(|line| {
            // FFmpeg's word for a line that was let through, too: any other fails by itself.
            let again = line.trim_start().starts_with("Last message repeated ");
            line.is_empty() || again || line.contains(PORT_TAKEN)
        });
        assert!(output.status.success() && silent, "{name}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether it has not ended yet.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal, such as `STOP`.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let signal = format!("-{name}");
        let sent = Command::new("kill").args([&signal, &pid]).status().await.expect("kill");
        assert!(sent.success(), "kill {signal} {pid}");
    }

    /// Kills it as kill -9 does.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("kill");
    }
}

/// Runs a command to its end, which must be a success; what it printed to stdout.
pub async fn run(command: Command) -> String {
    Running::start(command).success().await
}
