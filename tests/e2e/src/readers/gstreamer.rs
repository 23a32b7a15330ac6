//! GStreamer's `rtspsrc`: each track is decoded, until each sink has had its number of buffers.

use super::{Cell, Via};
use crate::{
    clients::{Running, gst_launch},
    interop::Outcome,
};

/// What is known of the end: its times follow the arrival of packets, of which those of the first GOP come at once, and others late
/// where the machine is busy.
fn least(seconds: u32) -> f64 {
    f64::from(seconds) * 0.95 - 1.5
}

pub(super) async fn read(cell: &Cell<'_>) -> Outcome {
    let mut command = gst_launch();
    // Errors of all elements, those of FFmpeg's decoders among them.
    command.env("GST_DEBUG", "1").env("GST_DEBUG_NO_COLOR", "1");
    command.args(["-v", "rtspsrc", "name=s", "latency=200"]);
    match cell.via {
        Via::Tcp | Via::WebSocket => command.arg("protocols=tcp"),
        Via::Udp => command.arg("protocols=udp"),
        Via::Multicast => command.arg("protocols=udp-mcast"),
        // Its URL says it.
        Via::Http => &mut command,
    };
    let url = match cell.via {
        Via::Http => cell.url.replace("rtsp://", "rtsph://"),
        Via::Tcp | Via::WebSocket | Via::Udp | Via::Multicast => cell.url.clone(),
    };
    command.arg(format!("location={url}"));
    let programme = cell.published.programme;
    let tracks = [("pictures", programme.video), ("sound", programme.audio)]
        .map(|(name, codec)| (name, elements(codec).0, cell.seconds * elements(codec).1 / 60));
    for (name, elements, buffers) in tracks {
        // It says what it gets, as it ends in the same way where the server has ended.
        let sink = format!("fakesink name={name} sync=false silent=false num-buffers={buffers}");
        let branch = format!("s. ! queue ! {elements} ! {sink}");
        command.args(branch.split(' '));
    }
    let printed = Running::start(cell.placed(command)).silent_success().await;
    for (name, ..) in tracks {
        // Of what is said in a hurry some is lost, so that the time tells.
        let said = format!("chain   ******* ({name}:sink)");
        let last = printed.lines().rfind(|line| line.contains(&said)).and_then(presented);
        let seconds = last.expect("a buffer");
        assert!(seconds > least(cell.seconds), "{seconds} s of {name}");
    }
    Outcome::Decoded
}

/// The presentation time that is said of a buffer, `pts: 0:00:02.622522868,`, in seconds.
fn presented(line: &str) -> Option<f64> {
    let (time, _) = line.split_once("pts: ")?.1.split_once(',')?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}

/// What takes a codec out of RTP and decodes it, and how many buffers that makes a minute, by the lengths of the frames of the clips.
fn elements(codec: &str) -> (&'static str, u32) {
    match codec {
        "h264" => ("rtph264depay ! h264parse ! avdec_h264", 60 * super::RATE),
        "hevc" => ("rtph265depay ! h265parse ! avdec_h265", 60 * super::RATE),
        "vp9" => ("rtpvp9depay ! vp9dec", 60 * super::RATE),
        "aac" => ("rtpmp4gdepay ! aacparse ! avdec_aac", 2812),
        "he-aac" => ("rtpmp4gdepay ! aacparse ! avdec_aac", 1406),
        "opus" => ("rtpopusdepay ! opusdec", 3000),
        "mp3" => ("rtpmpadepay ! mpegaudioparse ! avdec_mp3", 2500),
        "ac3" => ("rtpac3depay ! ac3parse ! avdec_ac3", 1875),
        "pcma" => ("rtppcmadepay ! alawdec", 2812),
        "pcmu" => ("rtppcmudepay ! mulawdec", 2812),
        other => panic!("{other}"),
    }
}
