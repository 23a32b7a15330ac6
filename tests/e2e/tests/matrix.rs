//! Every publisher with every reader, over TCP and over UDP.
//!
//! Where a reader hands out the access units, they are compared with those of the clip bit for bit; where it only plays, it has to
//! decode both tracks. Debian's VLC is not among them: it is built without its RTSP client (live555).

use e2e::{
    clients::{Publisher, Transport, run},
    clips::{Units, clip, pictured, place},
    control::until_live,
    frames::Reading,
    interop::{Outcome, record},
    process::Setup,
};
use futures_util::{StreamExt as _, future::join_all};
use media::codec::h264::avcc_nal_units;
use tokio::process::Command;

/// Pictures that a player has to decode.
const PICTURES: u32 = 50;

/// Who reads.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Ffprobe,
    Ffmpeg,
    Rtspsrc,
    Mpv,
    Retina,
}

impl Reader {
    /// Its name in docs/interop.md.
    fn name(self) -> &'static str {
        match self {
            // It reads as ffmpeg does.
            Self::Ffprobe | Self::Ffmpeg => "ffmpeg 5.1",
            Self::Rtspsrc => "GStreamer",
            Self::Mpv => "mpv",
            Self::Retina => "retina",
        }
    }
}

const READERS: [Reader; 5] =
    [Reader::Ffprobe, Reader::Ffmpeg, Reader::Rtspsrc, Reader::Mpv, Reader::Retina];

#[tokio::test]
async fn every_reader_plays_what_ffmpeg_publishes() {
    all_readers_play(Publisher::Ffmpeg).await;
}

#[tokio::test]
async fn every_reader_plays_what_rtmp2sink_publishes() {
    all_readers_play(Publisher::Rtmp2sink).await;
}

#[tokio::test]
async fn every_reader_plays_what_librtmp_publishes() {
    all_readers_play(Publisher::Rtmpsink).await;
}

async fn all_readers_play(publisher: Publisher) {
    let clip = clip("small");
    let published = Units::of_clip(&clip);
    let gateway = Setup::both().start().await;
    let publishing = publisher.start(&clip, &gateway.rtmp_url("matrix"));
    until_live(&gateway.publish_grpc(), "matrix").await;
    let url = gateway.rtsp_url("matrix");
    let cells =
        READERS.iter().flat_map(|reader| [(*reader, Transport::Tcp), (*reader, Transport::Udp)]);
    join_all(cells.map(|(reader, transport)| {
        let (url, published) = (&url, &published);
        async move {
            read(reader, transport, url, published).await;
            println!("{publisher:?} -> {reader:?} over {transport:?}: ok");
            let outcome = match reader {
                Reader::Ffprobe | Reader::Ffmpeg => Outcome::Read,
                Reader::Rtspsrc | Reader::Mpv => Outcome::Decoded,
                Reader::Retina => Outcome::Exact,
            };
            for codec in ["h264", "aac"] {
                record(publisher.name(), codec, reader.name(), transport, outcome);
            }
        }
    }))
    .await;
    publishing.kill().await;
}

async fn read(reader: Reader, transport: Transport, url: &str, published: &Units) {
    match reader {
        Reader::Ffprobe => ffprobe(transport, url).await,
        Reader::Ffmpeg => {
            let read = Reading::of_url(url, transport, Some(4)).frames().await;
            assert!(read.video.len() > 90 && read.audio.len() > 170, "too few");
        }
        Reader::Rtspsrc => rtspsrc(transport, url).await,
        Reader::Mpv => mpv(transport, url).await,
        Reader::Retina => retina(transport, url, published).await,
    }
}

async fn ffprobe(transport: Transport, url: &str) {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-rtsp_transport", transport.name(), "-show_entries"]);
    command.args(["stream=codec_name,width,height,sample_rate,channels", "-of", "csv", url]);
    let printed = run(command).await;
    assert!(printed.contains("stream,h264,320,180"), "{printed}");
    assert!(printed.contains("stream,aac,48000,2"), "{printed}");
}

/// Both tracks are decoded, until each sink has had its number of buffers.
async fn rtspsrc(transport: Transport, url: &str) {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "rtspsrc", "name=s", "latency=200"]);
    command.arg(format!("location={url}")).arg(format!("protocols={}", transport.name()));
    let branch = |depay: &str, parse: &str, decode: &str| {
        let elements = ["queue", depay, parse, decode];
        format!("s. ! {} ! fakesink sync=false num-buffers={PICTURES}", elements.join(" ! "))
    };
    for branch in [
        branch("rtph264depay", "h264parse", "avdec_h264"),
        branch("rtpmp4gdepay", "aacparse", "avdec_aac"),
    ] {
        command.args(branch.split(' '));
    }
    run(command).await;
}

async fn mpv(transport: Transport, url: &str) {
    let mut command = Command::new("mpv");
    command.args(["--no-config", "--vo=null", "--ao=null", "--untimed"]);
    command.arg(format!("--rtsp-transport={}", transport.name()));
    command.arg(format!("--frames={PICTURES}")).arg(url);
    let printed = run(command).await;
    assert!(printed.contains("Video --vid=1 (h264 320x180"), "{printed}");
    assert!(printed.contains("Audio --aid=1 (aac 2ch 48000Hz)"), "{printed}");
    assert!(printed.contains("(End of file)"), "{printed}");
}

/// retina is the strictest of them; its access units are those that were published.
async fn retina(transport: Transport, url: &str, published: &Units) {
    use retina::{
        client::{PlayOptions, Session, SessionOptions, SetupOptions, Transport as Retina},
        codec::CodecItem,
    };
    let transport = match transport {
        Transport::Tcp => Retina::Tcp(Default::default()),
        Transport::Udp => Retina::Udp(Default::default()),
    };
    let url = url::Url::parse(url);
    let mut session = Session::describe(url.unwrap(), SessionOptions::default()).await.unwrap();
    assert_eq!(session.streams().len(), 2);
    for stream in 0..2 {
        let options = SetupOptions::default().transport(transport.clone());
        session.setup(stream, options).await.unwrap();
    }
    let playing = session.play(PlayOptions::default()).await.unwrap();
    let mut demuxed = playing.demuxed().unwrap();
    let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
    while pictures.len() < PICTURES as usize || sounds.len() < PICTURES as usize {
        let item = tokio::time::timeout(e2e::PATIENCE, demuxed.next()).await.expect("silence");
        match item.expect("the server closed the connection").unwrap() {
            CodecItem::VideoFrame(frame) => {
                assert_eq!(frame.loss(), 0);
                // It hands out NAL units with their lengths in front, parameter sets included.
                pictures.push(pictured(avcc_nal_units(frame.data(), 4).map(|nal| nal.unwrap())));
            }
            CodecItem::AudioFrame(frame) => {
                assert_eq!(frame.loss(), 0);
                sounds.push(frame.data().to_vec());
            }
            _ => {}
        }
    }
    assert!(place(&published.audio, &sounds).is_some(), "other sound than was published");
    assert!(place(&published.video, &pictures).is_some(), "other pictures than were published");
}
