//! What publishers give to be known by: ffmpeg, GStreamer and librtmp lead Adobe's dialog with us, and nothing secret is shown anywhere.

use std::path::Path;

use bytes::BytesMut;
use e2e::{
    clients::{Publisher, Running, ffmpeg, run},
    clips::clip,
    control::{streams, until_live},
    process::Setup,
};
use media::rtmp::{AdobeAuth, Event, PublishRequest, ServerConfig, ServerSession};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

const SALT: u64 = 0x1234;

/// ffmpeg that names its app by itself.
fn ffmpeg_publishes(clip: &Path, app: &str, url: &str) -> Running {
    let mut command = ffmpeg();
    command.args(["-re", "-i"]).arg(clip).args(["-c", "copy", "-rtmp_app", app, "-f", "flv", url]);
    Running::start(command)
}

/// A server that demands a user: what the first publisher that gets through the dialog asks for, and on how many connections.
async fn demand(listener: TcpListener) -> (PublishRequest, u64) {
    for opaque in 1.. {
        let (socket, _) = listener.accept().await.unwrap();
        if let Some(request) = request_of(socket, opaque).await {
            return (request, opaque);
        }
    }
    unreachable!("it is let in at some time")
}

/// What a client asks to publish; `None` if it leaves before.
async fn request_of(mut socket: TcpStream, opaque: u64) -> Option<PublishRequest> {
    let adobe = AdobeAuth { demanded: true, salt: SALT, opaque };
    let mut session = ServerSession::new(ServerConfig { adobe, ..ServerConfig::default() });
    let mut input = BytesMut::new();
    loop {
        if socket.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return None;
        }
        session.handle_input(&mut input).unwrap();
        while let Some(bytes) = session.poll_output() {
            socket.write_all(&bytes).await.ok()?;
        }
        if let Some(Event::PublishRequested(request)) = session.poll_event() {
            return Some(*request);
        }
    }
}

/// The base64 of the MD5 of a text, by tools that are none of ours.
async fn hash(text: &str) -> String {
    let program = "import base64, hashlib, sys; \
        print(base64.b64encode(hashlib.md5(sys.argv[1].encode()).digest()).decode())";
    let mut command = Command::new("python3");
    command.args(["-c", program, text]);
    run(command).await.trim().to_owned()
}

/// Holds the request of a publisher that was asked: user `me`, password `secret`.
async fn hold(request: &PublishRequest) {
    assert_eq!((&*request.app, &*request.stream_key), ("live", "cam1"));
    let credentials = &request.credentials;
    assert_eq!(credentials.user.as_deref(), Some("me"));
    let response = credentials.adobe_response.as_ref().expect("a response");
    assert_eq!(response.salt, format!("{SALT:016x}"));
    let salted = hash(&format!("me{}secret", response.salt)).await;
    let expected = hash(&format!("{salted}{}{}", response.opaque, response.challenge)).await;
    assert_eq!(response.response, expected, "what is kept is enough to verify it");
}

#[tokio::test]
async fn clients_come_back_with_their_user_and_a_right_response_when_it_is_demanded() {
    let clip = clip("small");
    for publisher in [Publisher::Ffmpeg, Publisher::Rtmp2sink, Publisher::Rtmpsink] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = match publisher {
            Publisher::Ffmpeg | Publisher::Rtmp2sink => {
                format!("rtmp://me:secret@{address}/live/cam1")
            }
            Publisher::Rtmpsink => {
                format!("rtmp://{address}/live/cam1 pubUser=me pubPasswd=secret")
            }
        };
        let mut demanded = std::pin::pin!(demand(listener));
        let (request, connections) = loop {
            // It is killed when it is no longer waited for.
            tokio::select! {
                demanded = &mut demanded => break demanded,
                ended = publisher.start(&clip, &url).output() => {
                    // librtmp 2.4 with GnuTLS writes over the end of its own response, and crashes every other time.
                    assert_eq!(publisher, Publisher::Rtmpsink, "{ended:?}");
                }
            }
        };
        if publisher != Publisher::Rtmpsink {
            assert_eq!(connections, 3, "{publisher:?}: told, asked, let in");
        }
        hold(&request).await;
    }
}

#[tokio::test]
async fn a_client_that_begins_the_dialog_by_itself_is_let_in_and_its_secrets_are_shown_nowhere() {
    let gateway = Setup::both().with("log-level", "trace").start().await;
    let url =
        format!("rtmp://me:Secret1@{}/stream/drone1?token=Secret2&pass=Secret3", gateway.rtmp());
    let _publisher = ffmpeg_publishes(&clip("small"), "stream?authmod=adobe&user=Secret4", &url);
    until_live(&gateway.publish_grpc(), "drone1").await;
    let mut metrics = Command::new("curl");
    metrics.args(["-s", &format!("{}/metrics", gateway.ingest_http())]);
    let shown = [
        gateway.log(),
        format!("{:?}", streams(&gateway.ingest_grpc()).await),
        format!("{:?}", streams(&gateway.publish_grpc()).await),
        run(metrics).await,
    ];
    for shown in shown {
        assert!(shown.contains("drone1") || shown.contains("ingest_publishers 1"), "{shown}");
        let leak = shown.lines().find(|line| line.contains("Secret") || line.contains("authmod"));
        assert_eq!(leak, None);
    }
    // It was asked on one connection and let in on another.
    assert_eq!(gateway.log().matches("RTMP connection closed").count(), 1);
}
