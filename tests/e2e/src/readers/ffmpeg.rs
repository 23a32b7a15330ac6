//! ffmpeg: access units and their times, and each decoded without a line of error.

use tokio::process::Command;

use super::{Cell, RATE};
use crate::{
    frames::{Frame, Reading},
    interop::Outcome,
};

/// What may be missing at the end, in seconds: ffmpeg counts `-t` from its first Sender Report, and what a reader gets first is older than
/// that by what a leg takes to come up, which on a busy machine is half a second.
const SHORT: f64 = 1.0;

pub(super) async fn read(mut ffmpeg: Command, cell: &Cell<'_>) -> Outcome {
    let seconds = cell.seconds.to_string();
    ffmpeg.args(["-rtsp_transport", cell.via.of_ffmpeg(), "-i", &cell.url]);
    // Decoded beside what is compared.
    ffmpeg.args(["-t", &seconds, "-f", "null", "-"]);
    let filter = cell.published.programme.filter;
    let reading = Reading::start(cell.placed(ffmpeg), filter, Some(cell.seconds));
    let read = reading.silent_frames().await;
    let hashes = |frames: &[Frame]| frames.iter().map(|f| f.hash.clone()).collect::<Vec<_>>();
    cell.compare(&hashes(&read.video), &hashes(&read.audio));
    let enough = (f64::from(cell.seconds) - SHORT) * f64::from(RATE);
    assert!(read.video.len() as f64 > enough, "{} pictures", read.video.len());
    let times = || read.audio.iter().filter_map(|frame| frame.pts);
    let lasts = times().next_back().zip(times().next()).map_or(0.0, |(last, first)| last - first);
    assert!(lasts > f64::from(cell.seconds) - SHORT, "{lasts} s of sound");
    Outcome::Exact
}
