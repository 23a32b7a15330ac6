//! Every codec with every reader that knows it, over TCP and over UDP: with those that Debian has, and with retina.
//!
//! Where a reader hands out the access units, they are compared with those of the clip bit for bit; where it only plays, it has to
//! decode each track that it knows.

use e2e::{
    clients::{Transport, ffmpeg, newest_publishes, run},
    clips::{Units, clip, nal_units, pictured, pictured_hevc, place},
    control::until_live,
    frames::{self, Frame, Frames, Reading},
    interop::{Outcome, record},
    process::Setup,
    programmes::{LEGACY, NEWEST, PROGRAMMES, Programme},
    tags,
};
use futures_util::{StreamExt as _, stream};
use tokio::process::Command;

/// Pictures, or frames of sound, that a player has to decode.
const FRAMES: u32 = 50;
/// Readers at one time.
const AT_ONCE: usize = 8;

/// Who reads.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Ffmpeg,
    Gstreamer,
    Mpv,
    Retina,
}

const READERS: [Reader; 4] = [Reader::Ffmpeg, Reader::Gstreamer, Reader::Mpv, Reader::Retina];

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Ffmpeg => "ffmpeg 5.1",
            Self::Gstreamer => "GStreamer",
            Self::Mpv => "mpv",
            Self::Retina => "retina",
        }
    }

    /// Whether it knows how the codec is carried in RTP: FFmpeg 5.1, which Debian's mpv plays by, and Debian's GStreamer know no AV1.
    fn knows(self, codec: &str) -> bool {
        match self {
            Self::Ffmpeg | Self::Gstreamer | Self::Mpv => codec != "av1",
            Self::Retina => matches!(codec, "h264" | "hevc" | "aac" | "he-aac" | "pcma" | "pcmu"),
        }
    }
}

/// A programme that is published, and what of it the readers are compared with.
struct Published {
    publisher: &'static str,
    programme: Programme,
    url: String,
    frames: Frames,
    units: Units,
}

#[tokio::test]
async fn every_reader_plays_every_codec_that_it_knows() {
    let gateway = Setup::both().start().await;
    let mut published = Vec::new();
    let mut publishers = Vec::new();
    for programme in PROGRAMMES {
        // Those that no other reader knows the pictures of are in codecs.rs.
        if !Reader::Ffmpeg.knows(programme.video) {
            continue;
        }
        let clip = clip(programme.clip);
        let frames = frames::of_clip_in(&clip, programme.filter).await;
        let units = Units::of_tags(&tags::of_clip(&clip).await);
        published.push(Published {
            publisher: NEWEST,
            programme,
            url: gateway.rtsp_url(programme.clip),
            frames: Frames { video: twice(frames.video), audio: twice(frames.audio) },
            units: Units {
                video: twice(units.video),
                audio: twice(units.audio),
                video_times: units.video_times,
                audio_times: units.audio_times,
            },
        });
        let url = gateway.rtmp_url(programme.clip);
        publishers.push(newest_publishes(&clip, &url, &["-stream_loop", "-1"], &[]));
    }
    for published in &published {
        until_live(&gateway.publish_grpc(), published.programme.clip).await;
    }
    all_readers_play(&published).await;
    for publisher in publishers {
        publisher.kill().await;
    }
}

#[tokio::test]
async fn every_reader_plays_hevc_of_codec_id_12() {
    let gateway = Setup::both().start().await;
    let programme = PROGRAMMES[0];
    let clip = clip(programme.clip);
    let tags = tags::legacy_hevc(tags::of_clip(&clip).await);
    let published = Published {
        publisher: LEGACY,
        programme,
        url: gateway.rtsp_url("legacy"),
        frames: frames::of_clip_in(&clip, programme.filter).await,
        units: Units::of_tags(&tags),
    };
    let publisher = tokio::spawn(tags::publish(gateway.rtmp(), "legacy", tags));
    until_live(&gateway.publish_grpc(), "legacy").await;
    all_readers_play(&[published]).await;
    publisher.abort();
}

/// A reading may go over the end of a clip that is published again and again.
fn twice<T: Clone>(units: Vec<T>) -> Vec<T> {
    [units.clone(), units].concat()
}

async fn all_readers_play(published: &[Published]) {
    let cells = published.iter().flat_map(|published| {
        READERS.iter().flat_map(move |reader| {
            [(published, *reader, Transport::Tcp), (published, *reader, Transport::Udp)]
        })
    });
    let cells = cells.filter(|(published, reader, _)| {
        reader.knows(published.programme.video) || reader.knows(published.programme.audio)
    });
    let cells = stream::iter(cells).map(|(published, reader, transport)| async move {
        let outcome = read(reader, transport, published).await;
        let programme = published.programme;
        println!("{programme:?} -> {reader:?} over {transport:?}: {outcome:?}");
        for codec in [programme.video, programme.audio] {
            // Its sound is what every publisher sends.
            let legacy_sound = published.publisher == LEGACY && codec == programme.audio;
            if reader.knows(codec) && !legacy_sound {
                record(published.publisher, codec, reader.name(), transport, outcome);
            }
        }
    });
    cells.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
}

async fn read(reader: Reader, transport: Transport, published: &Published) -> Outcome {
    match reader {
        Reader::Ffmpeg => {
            let Published { programme, url, frames, .. } = published;
            let filter = programme.filter;
            let read = Reading::in_codec(ffmpeg(), filter, url, transport, Some(3)).frames().await;
            for (published, read) in [(&frames.video, &read.video), (&frames.audio, &read.audio)] {
                let hashes = |frames: &[Frame]| -> Vec<_> {
                    frames.iter().map(|frame| frame.hash.clone()).collect()
                };
                assert!(read.len() > 20, "{programme:?}: {} read", read.len());
                let found = place(&hashes(published), &hashes(read)).is_some();
                assert!(found, "{programme:?} over {transport:?}: others than were published");
            }
            Outcome::Exact
        }
        Reader::Gstreamer => {
            gstreamer(transport, published).await;
            Outcome::Decoded
        }
        Reader::Mpv => {
            mpv(transport, published).await;
            Outcome::Decoded
        }
        Reader::Retina => {
            retina(transport, published).await;
            Outcome::Exact
        }
    }
}

/// Both tracks are decoded, until each sink has had its number of buffers.
async fn gstreamer(transport: Transport, published: &Published) {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "rtspsrc", "name=s", "latency=200"]);
    command.arg(format!("location={}", published.url));
    command.arg(format!("protocols={}", transport.name()));
    for codec in [published.programme.video, published.programme.audio] {
        let elements = match codec {
            "h264" => "rtph264depay ! h264parse ! avdec_h264",
            "hevc" => "rtph265depay ! h265parse ! avdec_h265",
            "vp9" => "rtpvp9depay ! vp9dec",
            "aac" | "he-aac" => "rtpmp4gdepay ! aacparse ! avdec_aac",
            "opus" => "rtpopusdepay ! opusdec",
            "mp3" => "rtpmpadepay ! mpegaudioparse ! avdec_mp3",
            "ac3" => "rtpac3depay ! ac3parse ! avdec_ac3",
            "pcma" => "rtppcmadepay ! alawdec",
            "pcmu" => "rtppcmudepay ! mulawdec",
            other => panic!("{other}"),
        };
        let branch = format!("s. ! queue ! {elements} ! fakesink sync=false num-buffers={FRAMES}");
        command.args(branch.split(' '));
    }
    run(command).await;
}

async fn mpv(transport: Transport, published: &Published) {
    let Programme { video, audio, .. } = published.programme;
    let mut command = Command::new("mpv");
    command.args(["--no-config", "--vo=null", "--ao=null", "--untimed"]);
    command.arg(format!("--rtsp-transport={}", transport.name()));
    command.arg(format!("--frames={FRAMES}")).arg(&published.url);
    let printed = run(command).await;
    let audio = match audio {
        "he-aac" => "aac",
        "pcma" => "pcm_alaw",
        "pcmu" => "pcm_mulaw",
        other => other,
    };
    assert!(printed.contains(&format!("Video --vid=1 ({video} 320x180")), "{printed}");
    assert!(printed.contains(&format!("Audio --aid=1 ({audio} ")), "{printed}");
    assert!(printed.contains("(End of file)"), "{printed}");
}

async fn retina(transport: Transport, published: &Published) {
    use retina::{
        client::{PlayOptions, Session, SessionOptions, SetupOptions, Transport as Retina},
        codec::CodecItem,
    };
    let Programme { video, audio, .. } = published.programme;
    let transport = match transport {
        Transport::Tcp => Retina::Tcp(Default::default()),
        Transport::Udp => Retina::Udp(Default::default()),
    };
    let url = url::Url::parse(&published.url).unwrap();
    let mut session = Session::describe(url, SessionOptions::default()).await.unwrap();
    let knows = |media: &str| Reader::Retina.knows(if media == "video" { video } else { audio });
    let media: Vec<_> = session.streams().iter().map(|s| s.media().to_owned()).collect();
    for (stream, _) in media.iter().enumerate().filter(|(_, media)| knows(media)) {
        let options = SetupOptions::default().transport(transport.clone());
        session.setup(stream, options).await.unwrap();
    }
    let playing = session.play(PlayOptions::default()).await.unwrap();
    let mut demuxed = playing.demuxed().unwrap();
    let wanted = |media: &str| if knows(media) { FRAMES as usize } else { 0 };
    let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
    while pictures.len() < wanted("video") || sounds.len() < wanted("audio") {
        let item = tokio::time::timeout(e2e::PATIENCE, demuxed.next()).await.expect("silence");
        match item.expect("the server closed the connection").unwrap() {
            CodecItem::VideoFrame(frame) => {
                assert_eq!(frame.loss(), 0);
                pictures.push(match video {
                    "hevc" => pictured_hevc(nal_units(frame.data())),
                    _ => pictured(nal_units(frame.data())),
                });
            }
            CodecItem::AudioFrame(frame) => {
                assert_eq!(frame.loss(), 0);
                sounds.push(frame.data().to_vec());
            }
            _ => {}
        }
    }
    for (media, published, read) in
        [("video", &published.units.video, &pictures), ("audio", &published.units.audio, &sounds)]
    {
        let found = place(published, read).is_some();
        assert!(found || !knows(media), "{video} and {audio}: other {media} than was published");
    }
}
