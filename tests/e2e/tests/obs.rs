//! OBS Studio publishes, with its boxes for user and password filled in; it runs on a display of its own that nobody sees.

use std::{fs, path::Path, process::Stdio};

use e2e::{
    PATIENCE,
    clients::{Running, Transport, newest_ffmpeg, rtsp_input},
    control::{streams, until_live},
    eventually,
    interop::{Cell, Outcome, record},
    process::Setup,
    programmes::NEWEST,
    readers::Via,
};
use proto::v1::Codec;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// How OBS is named in docs/interop.md.
const NAME: &str = "OBS Studio 29";
/// No first-run dialog, no question, no update.
const GLOBAL: &str = "\
[General]
FirstRun=true
EnableAutoUpdates=false
[Basic]
Profile=e2e
ProfileDir=e2e
SceneCollection=e2e
SceneCollectionFile=e2e
[BasicWindow]
SysTrayEnabled=false
WarnBeforeStartingStream=false
";
/// 640x360 at 25 a second by x264, as little of a computer as may be.
const PROFILE: &str = "\
[General]
Name=e2e
[Output]
Mode=Simple
[SimpleOutput]
VBitrate=400
ABitrate=96
StreamEncoder=x264
Preset=ultrafast
UseAdvanced=true
[Video]
BaseCX=640
BaseCY=360
OutputCX=640
OutputCY=360
FPSType=1
FPSInt=25
";
/// A rectangle.
const SCENES: &str = r#"{"name":"e2e","current_scene":"Scene","current_program_scene":"Scene",
"scene_order":[{"name":"Scene"}],"sources":[
{"id":"color_source_v3","name":"Color","settings":{"color":4278255360,"width":320,"height":180}},
{"id":"scene","name":"Scene","settings":{"items":[{"name":"Color","visible":true}]}}]}"#;

/// Writes what OBS is to do under its home.
fn configure(home: &Path, server: &str, key: &str) {
    let config = home.join(".config/obs-studio");
    let profile = config.join("basic/profiles/e2e");
    let scenes = config.join("basic/scenes");
    let service = serde_json::json!({"type": "rtmp_custom", "settings": {
        "server": server, "key": key, "use_auth": true, "username": "op", "password": "secret",
    }});
    for directory in [&profile, &scenes] {
        fs::create_dir_all(directory).expect("a directory");
    }
    for (path, text) in [
        (config.join("global.ini"), GLOBAL),
        (profile.join("basic.ini"), PROFILE),
        (profile.join("service.json"), &service.to_string()),
        (scenes.join("e2e.json"), SCENES),
    ] {
        fs::write(path, text).expect("a file");
    }
}

/// A display, and its name.
async fn display() -> (Child, String) {
    let mut display = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Xvfb does not start");
    let mut lines = BufReader::new(display.stdout.take().expect("a pipe")).lines();
    let number = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("Xvfb is silent");
    let number = number.expect("a line").expect("Xvfb ended");
    (display, format!(":{number}"))
}

fn obs(home: &Path, display: &str) -> Child {
    Command::new("obs")
        .args(["--startstreaming", "--profile", "e2e", "--collection", "e2e", "--multi"])
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("XDG_CONFIG_HOME")
        .env("DISPLAY", display)
        .env("LIBGL_ALWAYS_SOFTWARE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("OBS does not start")
}

#[tokio::test]
async fn obs_publishes_and_comes_back_by_itself_in_the_same_sessions() {
    let gateway = Setup::both().start().await;
    let home = tempfile::tempdir().expect("a directory");
    let server = gateway.rtmp_url("x").replace("/x", "");
    configure(home.path(), &server, "obs1?token=t0ken");
    let (_display, display) = display().await;
    let mut publisher = obs(home.path(), &display);
    until_live(&gateway.publish_grpc(), "obs1").await;
    let codecs: Vec<_> =
        streams(&gateway.publish_grpc()).await[0].tracks.iter().map(|t| t.codec()).collect();
    assert_eq!(codecs, [Codec::H264, Codec::Aac]);

    let url = gateway.rtsp_url("obs1");
    let mut decoding = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut decode = newest_ffmpeg();
        decode.args(rtsp_input(transport, &url)).args(["-t", "14", "-f", "null", "-"]);
        decoding.push((transport, Running::start(decode)));
    }
    eventually("readers", async || {
        let readers = streams(&gateway.publish_grpc()).await.remove(0).readers;
        (readers.len() == 2 && readers.iter().all(|r| r.packets_sent > 0)).then_some(())
    })
    .await;
    // OBS dies, and is started again by who watches over it.
    publisher.kill().await.expect("kill");
    publisher = obs(home.path(), &display);
    for (transport, decoding) in decoding {
        match transport {
            Transport::Tcp => drop(decoding.silent_success().await),
            // ffmpeg has lines for UDP ports that are taken.
            Transport::Udp => drop(decoding.success().await),
        }
        for codec in ["h264", "aac"] {
            record(&Cell {
                publisher: NAME,
                codec,
                reader: NEWEST,
                way: Via::from(transport).name(),
                outcome: Outcome::Decoded,
                seconds: 14,
            });
        }
    }
    assert!(publisher.try_wait().expect("OBS").is_none(), "OBS gave up");
    let log = gateway.log();
    assert!(!log.contains("secret") && !log.contains("t0ken"), "a secret in the log");
}
