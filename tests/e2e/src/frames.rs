//! What was published and what is read, access unit by access unit, as ffmpeg sees both.

use std::path::Path;

use tokio::process::Command;

use crate::clients::{Running, Transport, ffmpeg, newest_ffmpeg, rtsp_input};
use crate::clips::place;

/// One access unit.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    /// The MD5 of its bytes; of video without parameter sets and delimiters, which are put in and left out on the way.
    pub hash: String,
    /// Presentation time in seconds; `None` where ffmpeg knows none, as of the first picture by RTSP: it takes the time of a picture
    /// from the packet in which the one before ended.
    pub pts: Option<f64>,
    /// Decoding time in seconds; `None` where ffmpeg knows none.
    pub dts: Option<f64>,
}

/// Both tracks.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Video access units in decode order.
    pub video: Vec<Frame>,
    /// Audio frames.
    pub audio: Vec<Frame>,
}

/// The bitstream filters that make what was published and what is read comparable, by the codec of the video.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// H.264: Annex B, without parameter sets and delimiters.
    H264,
    /// HEVC: the same.
    Hevc,
    /// AV1: without sequence headers and temporal delimiters.
    Av1,
    /// None.
    Whole,
}

impl Filter {
    /// What FFmpeg calls them.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264_mp4toannexb,filter_units=remove_types=7-9",
            Self::Hevc => "hevc_mp4toannexb,filter_units=remove_types=32-35",
            Self::Av1 => "filter_units=remove_types=1-2",
            Self::Whole => "null",
        }
    }
}

/// All access units of a file in H.264.
pub async fn of_clip(clip: &Path) -> Frames {
    let mut command = ffmpeg();
    command.arg("-i").arg(clip);
    Reading::start(command, Filter::H264, None).frames().await
}

/// All access units of a file, as the newest ffmpeg sees them.
pub async fn of_clip_in(clip: &Path, filter: Filter) -> Frames {
    of_clip_again(clip, filter, 0).await
}

/// The same of a file that is read so many times more: ffmpeg leaves out what begins before the end of the time before.
pub async fn of_clip_again(clip: &Path, filter: Filter, more: u32) -> Frames {
    let mut command = newest_ffmpeg();
    command.args(["-stream_loop", &more.to_string(), "-i"]).arg(clip);
    Reading::start(command, filter, None).frames().await
}

/// ffmpeg that reads with `-c copy`.
pub struct Reading {
    running: Running,
    directory: tempfile::TempDir,
}

impl Reading {
    /// Reads from `url` to its end, or as much as `seconds`.
    pub fn of_url(url: &str, transport: Transport, seconds: Option<u32>) -> Self {
        Self::in_codec(ffmpeg(), Filter::H264, url, transport, seconds)
    }

    /// The same of any codec, by any ffmpeg.
    pub fn in_codec(
        mut ffmpeg: Command,
        filter: Filter,
        url: &str,
        transport: Transport,
        seconds: Option<u32>,
    ) -> Self {
        ffmpeg.args(rtsp_input(transport, url));
        Self::start(ffmpeg, filter, seconds)
    }

    /// Reads what ffmpeg is given by these arguments, up to its `-i`, for so many seconds.
    pub fn of_input(input: &[&str], seconds: u32) -> Self {
        let mut command = ffmpeg();
        command.args(input);
        Self::start(command, Filter::H264, Some(seconds))
    }

    /// Reads with a command that has all options up to its `-i`, and may have outputs of its own.
    pub fn start(mut command: Command, filter: Filter, seconds: Option<u32>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let limit: Vec<_> = seconds.iter().flat_map(|s| ["-t".to_owned(), s.to_string()]).collect();
        let copy = ["-c", "copy", "-f", "framehash", "-hash", "md5"];
        command
            // FFmpeg knows no keyframe of VP9 in RTP, and copies none before the first.
            .args(["-copyinkf", "-map", "0:v", "-bsf:v", filter.name()])
            .args(&limit)
            .args(copy)
            .arg(directory.path().join("video"))
            .args(["-map", "0:a"])
            .args(&limit)
            .args(copy)
            .arg(directory.path().join("audio"));
        Self { running: Running::start(command), directory }
    }

    /// Waits for the end.
    pub async fn frames(self) -> Frames {
        let Self { running, directory } = self;
        running.success().await;
        Self::read(&directory)
    }

    /// Waits for the end, at which ffmpeg has not said a word.
    pub async fn silent_frames(self) -> Frames {
        let Self { running, directory } = self;
        running.silent_success().await;
        Self::read(&directory)
    }

    fn read(directory: &tempfile::TempDir) -> Frames {
        let read = |name: &str| {
            let text = std::fs::read_to_string(directory.path().join(name));
            parse(&text.expect("hashes"))
        };
        Frames { video: read("video"), audio: read("audio") }
    }
}

/// The lines of ffmpeg's framehash: `stream#, dts, pts, duration, size, hash`, in the time base of `#tb`.
fn parse(text: &str) -> Vec<Frame> {
    let tick = text.lines().find_map(|line| {
        let (numerator, denominator) = line.strip_prefix("#tb 0: ")?.split_once('/')?;
        Some(numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?)
    });
    let tick = tick.expect("a time base");
    let frame = |line: &str| {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        // ffmpeg prints the smallest 64-bit number where it knows no time.
        let ticks = |field: &str| field.parse::<i64>().ok().filter(|ticks| *ticks > i64::MIN / 2);
        Frame {
            hash: fields[5].to_owned(),
            pts: ticks(fields[2]).map(|ticks| ticks as f64 * tick),
            dts: ticks(fields[1]).map(|ticks| ticks as f64 * tick),
        }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(frame).collect()
}

/// The largest difference between the distances of times from their first, in seconds.
pub fn time_difference(
    published: &[Frame],
    read: &[Frame],
    time: impl Fn(&Frame) -> Option<f64>,
) -> f64 {
    let mut first = None;
    let mut largest = 0_f64;
    for (a, b) in published.iter().zip(read) {
        if let (Some(a), Some(b)) = (time(a), time(b)) {
            let offset = b - a;
            largest = largest.max((offset - *first.get_or_insert(offset)).abs());
        }
    }
    largest
}

/// A millisecond, the unit of RTMP's times, and the half of one that both ends round by.
pub const MILLISECOND: f64 = 0.001_01;

/// Holds that what was read is what was published, from some access unit on, bit for bit and at its times; behind the first `unsettled`
/// ones a reader knows the times. How many of each track were published from there on, and how long they last in seconds.
pub fn compare(
    what: &str,
    published: &Frames,
    read: &Frames,
    unsettled: usize,
) -> [(usize, f64); 2] {
    [("video", &published.video, &read.video), ("audio", &published.audio, &read.audio)].map(
        |(kind, published, read)| {
            let what = format!("{kind} of {what}");
            let hashes = |frames: &[Frame]| frames.iter().map(|f| f.hash.clone()).collect::<Vec<_>>();
            let from = place(&hashes(published), &hashes(read));
            let from = from.unwrap_or_else(|| panic!("{what}: {} others", read.len()));
            let published = &published[from..];
            let times = || read.iter().filter_map(|frame| frame.pts);
            let lasts = times().next_back().expect("a time") - times().next().expect("a time");
            let settled = (&published[unsettled..], &read[unsettled..]);
            let pts = time_difference(settled.0, settled.1, |frame| frame.pts);
            println!(
                "{what}: {} access units over {lasts:.3} s from number {from} on, PTS within {:.3} ms",
                read.len(),
                pts * 1e3
            );
            assert!(pts < MILLISECOND, "{what}: PTS differ by {pts} s");
            (published.len(), lasts)
        },
    )
}

/// The same of what was read to its end, at least so many seconds of each track.
pub fn compare_to_the_end(
    what: &str,
    published: &Frames,
    read: &Frames,
    unsettled: usize,
    seconds: f64,
) {
    let tracks = compare(what, published, read, unsettled);
    for ((published, lasts), read) in tracks.into_iter().zip([&read.video, &read.audio]) {
        assert_eq!(read.len(), published, "{what}: read to the end");
        assert!(lasts >= seconds, "{what}: {lasts} s");
    }
}
