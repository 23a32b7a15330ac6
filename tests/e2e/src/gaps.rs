//! A reader that stays, or comes back, and when each picture came to it: what a fault does to who watches.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use media::codec::MediaKind;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    task::JoinHandle,
};

use crate::{
    clients::Transport,
    eventually,
    reader::{Depacketizer, Packet, Reader},
};

/// How soon a reader tries again that is not let in.
const AGAIN: Duration = Duration::from_millis(50);

/// A reader by TCP; lost packets and another SSRC within a session are failures.
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    reading: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    pictures: Vec<Instant>,
    refusals: Vec<String>,
    failure: Option<String>,
}

impl Watcher {
    /// Plays `url` in one session, whose end is a failure, and returns when pictures come.
    pub async fn start(url: &str) -> Self {
        Self::read(url, false).await
    }

    /// The same of one that comes back at once whenever its session ends, as recorders do.
    pub async fn returning(url: &str) -> Self {
        Self::read(url, true).await
    }

    async fn read(url: &str, comes_back: bool) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (url, shared) = (url.to_owned(), seen.clone());
        let reading = tokio::spawn(async move {
            if let Err(error) = read(&url, comes_back, &shared).await {
                shared.lock().unwrap().failure = Some(format!("{url}: {error:#}"));
            }
        });
        let watcher = Self { seen, reading };
        watcher.sees_more().await;
        watcher
    }

    /// Runs ffmpeg, which plays `url` in one session and says each picture; `ffmpeg` is how it is run.
    pub async fn ffmpeg(mut ffmpeg: Command, url: &str) -> Self {
        ffmpeg.args(["-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url]);
        ffmpeg.args(["-map", "0:v", "-c", "copy", "-flush_packets", "1", "-f", "framecrc", "-"]);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let reading = tokio::spawn(async move {
            let ended = say_pictures(ffmpeg, &shared).await;
            shared.lock().unwrap().failure = Some(format!("ffmpeg ended: {ended:?}"));
        });
        let watcher = Self { seen, reading };
        watcher.sees_more().await;
        watcher
    }

    /// Waits for pictures that come from now on.
    pub async fn sees_more(&self) {
        let now = Instant::now();
        let more = eventually("more pictures", async || {
            let seen = self.seen.lock().unwrap();
            if let Some(failure) = &seen.failure {
                return Some(Err(failure.clone()));
            }
            // What was on the way does not count.
            let new = seen.pictures.iter().filter(|at| **at > now + Duration::from_millis(100));
            (new.count() >= 10).then_some(Ok(()))
        });
        if let Err(failure) = more.await {
            panic!("{failure}");
        }
    }

    /// Why it was not let in, each time.
    pub fn refusals(&self) -> Vec<String> {
        self.seen.lock().unwrap().refusals.clone()
    }

    /// The longest time without a picture since `from`.
    pub fn longest_gap(&self, from: Instant) -> Duration {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.failure, None);
        let since: Vec<_> = seen.pictures.iter().copied().filter(|at| *at >= from).collect();
        let (first, last) = (from, Instant::now());
        let times: Vec<_> = [first].into_iter().chain(since).chain([last]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// A line of framecrc is a picture, but for its head.
async fn say_pictures(mut ffmpeg: Command, seen: &Mutex<Seen>) -> std::io::Result<String> {
    let piped = ffmpeg.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn()?;
    let lines = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    let mut lines = BufReader::new(lines).lines();
    while let Some(line) = lines.next_line().await? {
        if !line.starts_with('#') {
            seen.lock().unwrap().pictures.push(Instant::now());
        }
    }
    let output = child.wait_with_output().await?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn read(url: &str, comes_back: bool, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    loop {
        match Reader::play(url, Transport::Tcp).await {
            Ok(reader) => play(reader, seen).await?,
            Err(refusal) if comes_back => {
                seen.lock().unwrap().refusals.push(format!("{refusal:#}"));
                tokio::time::sleep(AGAIN).await;
            }
            Err(refusal) => return Err(refusal),
        }
        anyhow::ensure!(comes_back, "the session ended");
    }
}

/// Until the session ends.
async fn play(mut reader: Reader, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    let tracks = &reader.description.tracks;
    let video = tracks.iter().position(|track| track.config.kind() == MediaKind::Video);
    let video = video.ok_or_else(|| anyhow::anyhow!("no video"))?;
    let mut ssrc = tracks[video].ssrc;
    let mut input = Depacketizer::new(MediaKind::Video, video);
    while let Some(packet) = reader.next().await? {
        let Packet::Rtp { track, header, bytes } = packet else { continue };
        if track != video {
            continue;
        }
        anyhow::ensure!(*ssrc.get_or_insert(header.ssrc) == header.ssrc, "another SSRC");
        if input.push(&header, &bytes)?.is_some() {
            seen.lock().unwrap().pictures.push(Instant::now());
        }
    }
    Ok(())
}
