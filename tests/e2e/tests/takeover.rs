//! A second publisher of a live stream key, under readers that stay: one SSRC and no gap, which the follower holds, no step back, and
//! a keyframe of the second publisher first.

use std::collections::HashSet;

use e2e::{
    clients::{Publisher, Running, Transport},
    clips::{Units, clip},
    control::{streams, until_live},
    eventually,
    follow::{follow, ordered},
    process::{Gateway, Setup},
    reader::AccessUnit,
};
use media::codec::h264::nal_type;
use proto::v1::Stream;
use tokio::{sync::oneshot, task::JoinHandle};

/// What the publishers send: pictures of two sizes, so that each is known by its pictures and needs its own parameter sets. The
/// second clip is one of 26 s.
const CLIPS: [&str; 2] = ["small", "main"];

/// Tells a follower to stop, and what it saw.
type Follower = (oneshot::Sender<()>, JoinHandle<[Vec<AccessUnit>; 2]>);

/// A gateway with a publisher and followers by TCP and UDP.
struct Bench {
    gateway: Gateway,
    followers: Vec<Follower>,
}

impl Bench {
    async fn start(policy: &str) -> (Self, Running) {
        // Made before anyone waits for them.
        let clips = CLIPS.map(clip);
        let gateway = Setup::both().with("ingest-takeover", policy).start().await;
        let publisher = Publisher::Ffmpeg.start(&clips[0], &gateway.rtmp_url("drone1"));
        until_live(&gateway.publish_grpc(), "drone1").await;
        let mut followers = Vec::new();
        for transport in [Transport::Tcp, Transport::Udp] {
            let (stop, stopped) = oneshot::channel();
            let url = gateway.rtsp_url("drone1");
            followers.push((stop, tokio::spawn(follow(url, transport, stopped))));
        }
        let bench = Self { gateway, followers };
        bench.read(50).await;
        (bench, publisher)
    }

    fn publish(&self) -> Running {
        Publisher::Ffmpeg.start(&clip(CLIPS[1]), &self.gateway.rtmp_url("drone1"))
    }

    async fn stream(&self) -> Stream {
        streams(&self.gateway.ingest_grpc()).await.remove(0)
    }

    /// Waits until the node has sent so many more pictures.
    async fn read(&self, more: u32) {
        let mut wanted = None;
        eventually("media flows", async || {
            let stream = streams(&self.gateway.publish_grpc()).await.into_iter().next()?;
            let now = stream.counters?.video_access_units;
            (now >= *wanted.get_or_insert(now + more)).then_some(())
        })
        .await;
    }

    /// Waits until there is a standby that has sent for a while.
    async fn stands_by(&self) {
        eventually("a standby", async || self.stream().await.standby).await;
        self.read(50).await;
    }

    /// Waits until the publisher is another than the one of `before`, and holds what the followers saw.
    async fn switched(self, before: &Stream) {
        let old = before.publisher.as_ref().unwrap();
        let after = eventually("another publisher", async || {
            let stream = self.stream().await;
            stream.publisher.as_ref().is_some_and(|now| now != old).then_some(stream)
        })
        .await;
        assert_eq!(after.epoch, before.epoch);
        self.read(60).await;
        let readers = streams(&self.gateway.publish_grpc()).await.remove(0).readers;
        assert_eq!(readers.len(), self.followers.len(), "nobody's session ended");
        for (stop, follower) in self.followers {
            stop.send(()).unwrap();
            hold(&follower.await.unwrap());
        }
    }
}

/// Pictures of the first publisher, then pictures of the second from a keyframe on.
fn hold([video, audio]: &[Vec<AccessUnit>; 2]) {
    let [first, second] = CLIPS.map(|name| -> HashSet<Vec<u8>> {
        Units::of_clip(&clip(name)).video.into_iter().collect()
    });
    let at = video.iter().position(|unit| second.contains(&unit.pictured()));
    let at = at.expect("the second publisher");
    assert!(at >= 25, "{at} pictures of the first publisher");
    assert!(video.len() >= at + 30, "{} pictures of the second", video.len() - at);
    assert!(video[..at].iter().all(|unit| first.contains(&unit.pictured())), "as published");
    assert!(video[at..].iter().all(|unit| second.contains(&unit.pictured())), "as published");
    let nal_types = video[at].nal_types();
    assert!(nal_types.contains(&nal_type::IDR), "{nal_types:?}");
    assert!(nal_types.contains(&nal_type::SPS), "its own parameter sets: {nal_types:?}");
    // A B-frame is shown before the picture it follows, by some pictures.
    assert!(ordered(video, 3 * 3600), "pictures run back");
    assert!(ordered(audio, 0), "sound runs back");
}

#[tokio::test]
async fn under_takeover_readers_go_on_with_the_second_ffmpeg_and_the_first_ends() {
    let (bench, first) = Bench::start("takeover").await;
    let before = bench.stream().await;
    let _second = bench.publish();
    bench.switched(&before).await;
    first.output().await;
}

#[tokio::test]
async fn under_backup_readers_go_on_with_the_standby_when_the_first_ffmpeg_is_killed() {
    let (bench, first) = Bench::start("backup").await;
    let before = bench.stream().await;
    let _standby = bench.publish();
    bench.stands_by().await;
    first.kill().await;
    bench.switched(&before).await;
}

#[tokio::test]
async fn under_backup_readers_go_on_with_the_standby_when_the_first_ffmpeg_is_frozen() {
    let (bench, first) = Bench::start("backup").await;
    let before = bench.stream().await;
    let _standby = bench.publish();
    bench.stands_by().await;
    first.signal("STOP").await;
    bench.switched(&before).await;
    // It was disconnected, which it notices when it thaws.
    first.signal("CONT").await;
    first.output().await;
}
