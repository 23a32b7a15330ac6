//! Readers from PyPI: the programs of `tests/e2e/clients`, run by the Python of `scripts/python-readers`.

use std::{path::PathBuf, sync::OnceLock};

use serde_json::Value;
use tokio::process::Command;

use super::{Cell, Via};
use crate::{
    clients::{PORT_TAKEN, Running},
    clips::repository,
    interop::Outcome,
};

/// What is said of no error: FFmpeg's warning of VP9 in RTP, and both's where somebody has the port that was tried first.
const HARMLESS: [&str; 3] =
    ["RTP/VP9 support is still experimental", "unable to create requested socket pair", PORT_TAKEN];

/// PyAV decodes both tracks, and its packets are those that were published.
pub(super) async fn pyav(cell: &Cell<'_>) -> Outcome {
    let filter = cell.published.programme.filter.name();
    let seconds = cell.seconds.to_string();
    let args = [&cell.url, &seconds, cell.via.of_ffmpeg(), filter];
    let read = printed(cell, "pyav_reader.py", &args).await;
    let hashes = |kind: &str| -> Vec<String> {
        let hashes = read[kind]["hashes"].as_array().expect("hashes").iter();
        hashes.map(|hash| hash.as_str().expect("a hash").to_owned()).collect()
    };
    for kind in ["video", "audio"] {
        let decoded = read[kind]["seconds"].as_f64().expect("seconds");
        assert!(decoded >= f64::from(cell.seconds), "{decoded} s of {kind} decoded");
    }
    cell.compare(&hashes("video"), &hashes("audio"));
    Outcome::Exact
}

/// OpenCV decodes the pictures.
pub(super) async fn opencv(cell: &Cell<'_>) -> Outcome {
    let pictures = cell.pictures();
    let args = [&cell.url, &pictures.to_string(), cell.via.of_ffmpeg()];
    let read = printed(cell, "opencv_reader.py", &args).await;
    assert_eq!(read, serde_json::json!({"pictures": pictures, "sizes": [[180, 320]]}));
    Outcome::Decoded
}

/// aiortsp gets the packets of each track in order and without a gap, and RTCP.
pub(super) async fn aiortsp(cell: &Cell<'_>) -> Outcome {
    let url = match cell.via {
        Via::Tcp => cell.url.replace("rtsp://", "rtspt://"),
        _ => cell.url.clone(),
    };
    let read = printed(cell, "aiortsp_reader.py", &[&url, &cell.seconds.to_string()]).await;
    let tracks = read.as_array().expect("tracks");
    assert_eq!(tracks.len(), 2);
    for track in tracks {
        assert_eq!(track["gaps"], serde_json::json!([]), "{track}");
        assert!(track["seconds"].as_f64() >= Some(cell.seconds.into()), "{track}");
        assert!(track["reports"].as_u64() > Some(0), "{track}");
    }
    Outcome::Read
}

/// Runs a program, which must succeed without a word on stderr; its line of JSON.
async fn printed(cell: &Cell<'_>, program: &str, args: &[&str]) -> Value {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let script = repository().join("scripts/python-readers");
        let output = std::process::Command::new(script).output().expect("python-readers");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a path").trim().into()
    });
    let mut command = Command::new(python);
    command.arg(repository().join("tests/e2e/clients").join(program)).args(args);
    let output = Running::start(cell.placed(command)).output().await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_harmless = |line: &str| HARMLESS.iter().any(|harmless| line.ends_with(harmless));
    let wrong = stderr.lines().filter(|line| !is_harmless(line));
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&str>::new(), "{program}");
    assert!(output.status.success(), "{program}: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}
