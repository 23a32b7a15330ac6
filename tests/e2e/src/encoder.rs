//! Encoders that go on whatever becomes of their connection: they publish to one address, and connect to it again at once when they are thrown
//! out.

mod connection;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use gateway::demo::{Clip, Tag};
use tokio::{
    process::Command,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use self::connection::Connection;
use crate::{
    clients::{Running, ffmpeg},
    clips::repository,
};

/// Before an encoder that was thrown out, or not let in, connects again.
const AGAIN: Duration = Duration::from_millis(100);

/// An encoder that runs; it ends when dropped, without a word.
pub struct Encoder(JoinHandle<()>);

impl Drop for Encoder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Encoder {
    /// ffmpeg in a loop, with a clip in a loop.
    pub fn ffmpeg(clip: &Path, url: &str) -> Self {
        let (clip, url) = (clip.to_owned(), url.to_owned());
        Self(tokio::spawn(async move {
            loop {
                Running::start(endless(ffmpeg(), &clip, &url)).ended().await;
                sleep(AGAIN).await;
            }
        }))
    }

    /// One that knows the Reconnect Request of Enhanced RTMP v2, as no client at hand does: asked by it, it has another connection accepted
    /// first, and changes over with a keyframe. It publishes the demo's clip as `stream/key`.
    pub fn that_reconnects(server: SocketAddr, key: &str) -> Self {
        let file = std::fs::read(repository().join("gateway/assets/demo.flv")).expect("the clip");
        let clip = Clip::parse(&Bytes::from(file)).expect("the clip");
        let key = Arc::<str>::from(key);
        Self(tokio::spawn(async move {
            let publishing = Publishing { server, key, clip, began: Instant::now() };
            loop {
                if let Ok(connection) = publishing.connect().await {
                    let mut next = Some((connection, publishing.now_ms()));
                    while let Some((connection, from_ms)) = next {
                        next = publishing.publish(connection, from_ms).await.ok();
                    }
                }
                sleep(AGAIN).await;
            }
        }))
    }
}

/// The command by which an ffmpeg publishes a clip again and again, as an encoder would go on.
pub fn endless(mut ffmpeg: Command, clip: &Path, url: &str) -> Command {
    ffmpeg.args(["-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    ffmpeg.args(["-c", "copy", "-f", "flv", url]);
    ffmpeg
}

struct Publishing {
    server: SocketAddr,
    key: Arc<str>,
    clip: Clip,
    began: Instant,
}

impl Publishing {
    fn connect(&self) -> impl Future<Output = anyhow::Result<Connection>> + Send + 'static {
        let (server, key) = (self.server, self.key.clone());
        async move { Connection::open(server, "stream", &key).await }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Publishes from the next keyframe on, until there is another connection to go on with; that, and the time of the keyframe to go on from.
    async fn publish(
        &self,
        mut connection: Connection,
        from_ms: u64,
    ) -> anyhow::Result<(Connection, u64)> {
        let mut other: Option<JoinHandle<_>> = None;
        let mut change_at_ms = None;
        for header in &self.clip.headers {
            connection.send(header.kind, header.body.clone(), from_ms as u32).await?;
        }
        for tag in self.clip.tags_from(from_ms) {
            if self.listen_until_due(&mut connection, &tag).await? {
                other = Some(tokio::spawn(self.connect()));
            }
            if change_at_ms.is_none() && other.as_ref().is_some_and(JoinHandle::is_finished) {
                change_at_ms = self.clip.tags_from(tag.timestamp_ms).next().map(|t| t.timestamp_ms);
            }
            if let Some(at_ms) = change_at_ms.filter(|at_ms| *at_ms <= tag.timestamp_ms)
                && let Some(other) = other.take()
            {
                return Ok((other.await??, at_ms));
            }
            connection.send(tag.kind, tag.body, tag.timestamp_ms as u32).await?;
        }
        unreachable!("the clip has no end")
    }

    /// While nothing is due it is listened to what the server says; whether that is to reconnect.
    async fn listen_until_due(
        &self,
        connection: &mut Connection,
        tag: &Tag,
    ) -> anyhow::Result<bool> {
        let due = self.began + Duration::from_millis(tag.timestamp_ms);
        let mut asked = false;
        while tokio::select! {
            () = sleep_until(due) => false,
            readable = connection.readable() => { readable?; true }
        } {
            asked |= connection.listen().await?;
        }
        Ok(asked)
    }
}
