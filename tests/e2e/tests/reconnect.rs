//! A publisher that drops and comes back under its readers, who go on in the same sessions.

use e2e::{
    clients::{Publisher, Running, Transport, ffmpeg, gst_launch, rtsp_input},
    clips::clip,
    control::{streams, until_live},
    eventually,
    follow::{follow, ordered},
    process::Setup,
};
use proto::v1::StreamState;
use tokio::{process::Command, sync::oneshot};

/// How often the publisher is killed.
const KILLS: usize = 10;

/// Players that are none of ours, which must still play when all is over.
fn players(url: &str) -> Vec<Running> {
    let mut commands = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut decode = ffmpeg();
        decode.args(rtsp_input(transport, url)).args(["-f", "null", "-"]);
        commands.push(decode);
        let mut gst = gst_launch();
        gst.args(["-q", "rtspsrc", "name=s", "latency=100", "timeout=0"]);
        gst.arg(format!("location={url}")).arg(format!("protocols={}", transport.name()));
        gst.args(["s.", "!", "rtph264depay", "!", "h264parse", "!", "avdec_h264", "!"]);
        gst.args(["fakesink", "sync=false"]);
        commands.push(gst);
        let mut mpv = Command::new("mpv");
        mpv.args(["--no-config", "--vo=null", "--ao=null", "--untimed", "--really-quiet"]);
        mpv.arg(format!("--rtsp-transport={}", transport.name())).arg(url);
        commands.push(mpv);
    }
    commands.into_iter().map(Running::start).collect()
}

#[tokio::test]
async fn readers_of_every_kind_go_on_while_the_publisher_is_killed_ten_times() {
    let gateway = Setup::both().start().await;
    let (clip, rtmp) = (clip("small"), gateway.rtmp_url("drone1"));
    let (url, grpc) = (gateway.rtsp_url("drone1"), gateway.publish_grpc());
    let mut publisher = Publisher::Ffmpeg.start(&clip, &rtmp);
    until_live(&grpc, "drone1").await;
    let mut followers = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let (stop, stopped) = oneshot::channel();
        followers.push((stop, tokio::spawn(follow(url.clone(), transport, stopped))));
    }
    let mut players = players(&url);
    let played = async |at_least: u32| {
        eventually("media flows", async || {
            let stream = streams(&grpc).await.into_iter().next()?;
            let counters = stream.counters.unwrap();
            (counters.video_access_units >= at_least).then_some(counters.video_access_units)
        })
        .await
    };
    let mut units = played(25).await;
    for _ in 0..KILLS {
        publisher.kill().await;
        // Not before the server knows, else the key is another's still.
        eventually("the stream is held", async || {
            let held = streams(&gateway.ingest_grpc()).await.into_iter().next()?;
            (held.state() == StreamState::Held).then_some(())
        })
        .await;
        publisher = Publisher::Ffmpeg.start(&clip, &rtmp);
        units = played(units + 25).await;
    }
    let readers = streams(&grpc).await[0].readers.len();
    assert_eq!(readers, 2 + players.len(), "nobody's session ended");
    for player in &mut players {
        assert!(player.runs(), "a player gave up");
    }
    for (stop, follower) in followers {
        stop.send(()).unwrap();
        let [video, audio] = follower.await.unwrap();
        // From the first keyframe of each publisher on, so that each picture can be decoded.
        let keyframes = video.iter().filter(|u| u.nal_types().contains(&5)).count();
        assert!(keyframes > KILLS, "{keyframes} keyframes");
        // A B-frame is shown before the picture it follows, by some pictures.
        assert!(ordered(&video, 3 * 3600), "pictures run back");
        assert!(ordered(&audio, 0), "sound runs back");
    }
}
