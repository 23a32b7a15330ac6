//! Players without a screen: mpv and mplayer.

use tokio::process::Command;

use super::Cell;
use crate::{
    clients::{PORT_TAKEN, Running},
    interop::Outcome,
    programmes::Programme,
};

/// FFmpeg's warnings of VP9 in RTP, and of how mplayer uses its threads.
const HARMLESS: [&str; 3] = [
    PORT_TAKEN,
    "RTP/VP9 support is still experimental",
    "Requested frame threading with a custom get_buffer2() implementation",
];

/// mpv plays both tracks.
pub(super) async fn mpv(cell: &Cell<'_>) -> Outcome {
    let Programme { video, audio, .. } = cell.published.programme;
    let mut command = Command::new("mpv");
    command.args(["--no-config", "--vo=null", "--ao=null", "--untimed", "--no-input-terminal"]);
    // Its decoders' errors only: of VP9 in RTP it warns that it is experimental.
    command.args(["--msg-level=ffmpeg=error", "--term-status-msg=at=${=time-pos}"]);
    command.arg(format!("--rtsp-transport={}", cell.via.of_ffmpeg()));
    command.arg(format!("--frames={}", cell.pictures())).arg(&cell.url);
    let output = Running::start(cell.placed(command)).output().await;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{printed}");
    let audio = match audio {
        "he-aac" => "aac",
        "pcma" => "pcm_alaw",
        "pcmu" => "pcm_mulaw",
        other => other,
    };
    assert!(printed.contains(&format!("Video --vid=1 ({video} 320x180")), "{printed}");
    assert!(printed.contains(&format!("Audio --aid=1 ({audio} ")), "{printed}");
    assert!(printed.contains("(End of file)"), "{printed}");
    let wrong = ["[ffmpeg", "Error"];
    let is_wrong =
        |line: &str| wrong.iter().any(|wrong| line.contains(wrong)) && !line.contains(PORT_TAKEN);
    assert!(!printed.lines().any(is_wrong), "{printed}");
    // It ends in the same words where the server has ended.
    let last = printed.rsplit("at=").next().expect("a time").split_whitespace().next();
    played(last, cell);
    Outcome::Decoded
}

/// mplayer plays the pictures.
pub(super) async fn mplayer(cell: &Cell<'_>) -> Outcome {
    let mut command = Command::new("mplayer");
    command.args(["-noconfig", "all", "-nolirc", "-nojoystick", "-noconsolecontrols"]);
    command.args(["-vo", "null", "-nosound", "-benchmark"]);
    command.args(["-frames", &cell.pictures().to_string()]);
    command.args(["-lavfdopts", &format!("o=rtsp_transport={}", cell.via.of_ffmpeg())]);
    // Debian builds it without live555; its own client speaks to RealMedia's servers.
    command.arg(format!("ffmpeg://{}", cell.url));
    let output = Running::start(cell.placed(command)).output().await;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).replace('\r', "\n");
    assert!(output.status.success(), "{printed}");
    // `[h264 @ 0x7f…]` is how FFmpeg says whose error it is; the status line is `V: ` and the time.
    let is_wrong = |line: &&str| {
        (line.contains(" @ 0x") || line.contains("Error while decoding"))
            && !HARMLESS.iter().any(|harmless| line.contains(harmless))
    };
    let wrong: Vec<_> = printed.lines().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(printed.contains("(End of file)"), "{printed}");
    let last = printed.lines().filter_map(|line| line.strip_prefix("V:")).next_back();
    played(last.and_then(|rest| rest.split_whitespace().next()), cell);
    Outcome::Decoded
}

/// Panics unless the last time that a player said is that of the last picture: both begin at about zero.
fn played(last: Option<&str>, cell: &Cell<'_>) {
    let seconds = last.and_then(|last| last.parse::<f64>().ok()).expect("a status line");
    assert!(seconds > f64::from(cell.seconds) - 1.0, "{seconds} s of pictures");
}
