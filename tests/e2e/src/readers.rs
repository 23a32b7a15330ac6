//! Who reads: one table of the readers, what each of them knows, by which ways, and how it is run. All tests of who can read what are
//! made from it; a further reader is a further entry.

mod ffmpeg;
mod gstreamer;
mod players;
mod python;
mod retina;

use std::panic::AssertUnwindSafe;

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, join_all},
    stream,
};
use tokio::process::Command;

use crate::{
    clients::{self, Transport},
    clips::{Units, clip, place},
    frames::{self, Frame, Frames},
    interop::{self, Outcome},
    island::Island,
    programmes::{NEWEST, PROGRAMMES, Programme},
    tags,
};

/// Pictures a second of the clips.
const RATE: u32 = 25;
/// How long the clips of the programmes are.
const CLIP_SECONDS: u32 = 20;

/// How what is read comes to the reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// Interleaved in the RTSP connection.
    Tcp,
    /// UDP unicast.
    Udp,
    /// RTSP through HTTP: QuickTime's tunnel.
    Http,
    /// RTSP through a WebSocket.
    WebSocket,
    /// UDP multicast.
    Multicast,
}

impl Via {
    /// Its name in docs/interop.md.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Http => "HTTP",
            Self::WebSocket => "WebSocket",
            Self::Multicast => "multicast",
        }
    }

    /// The value of libavformat's `rtsp_transport`.
    fn of_ffmpeg(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Http => "http",
            // What carries the connection through a WebSocket is another program (`websocket`).
            Self::Tcp | Self::WebSocket => "tcp",
            Self::Multicast => "udp_multicast",
        }
    }
}

impl From<Transport> for Via {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

/// What a reader cannot read by itself.
pub struct Lack {
    /// The codecs.
    pub codecs: &'static [&'static str],
    /// Why, as docs/interop.md says it.
    pub why: &'static str,
}

/// One who reads.
pub struct Reader {
    /// Its name in docs/interop.md.
    pub name: &'static str,
    /// The ways that it knows.
    pub ways: &'static [Via],
    /// The codecs that it does not know; all others of the programmes it reads.
    pub lacks: &'static [Lack],
    /// Reads a cell to its end, and panics where anything is not as it has to be.
    read: for<'a> fn(&'a Cell<'a>) -> BoxFuture<'a, Outcome>,
}

/// The ways of FFmpeg and of what is made of it.
const FFMPEG: &[Via] = &[Via::Tcp, Via::Udp, Via::Http, Via::Multicast];
/// All codecs of sound.
const SOUND: &[&str] = &["aac", "he-aac", "opus", "mp3", "ac3", "pcma", "pcmu"];
/// What libavformat 59 says of AV1.
const NO_AV1: Lack = Lack {
    codecs: &["av1"],
    why: "FFmpeg 5.1, which Debian's mpv and mplayer play by, has no depacketizer of AV1 (`Video: none, unknown codec`).",
};

/// All of them.
pub const READERS: &[Reader] = &[
    Reader {
        name: "FFmpeg 9",
        ways: &[Via::Tcp, Via::Udp, Via::Http, Via::WebSocket, Via::Multicast],
        lacks: &[],
        read: |cell| ffmpeg::read(clients::newest_ffmpeg(), cell).boxed(),
    },
    Reader {
        name: "ffmpeg 5.1",
        ways: FFMPEG,
        lacks: &[NO_AV1],
        read: |cell| ffmpeg::read(clients::ffmpeg(), cell).boxed(),
    },
    Reader {
        name: "GStreamer",
        ways: FFMPEG,
        lacks: &[Lack {
            codecs: &["av1"],
            why: "Debian's GStreamer has no `rtpav1depay`, which is of gst-plugins-rs.",
        }],
        read: |cell| gstreamer::read(cell).boxed(),
    },
    Reader { name: "mpv", ways: FFMPEG, lacks: &[NO_AV1], read: |cell| players::mpv(cell).boxed() },
    Reader {
        name: "mplayer",
        ways: FFMPEG,
        lacks: &[
            NO_AV1,
            Lack {
                codecs: SOUND,
                why: "Debian's mplayer (1.5+svn38408) plays no sound of any RTSP server that sends RTCP reports: it appends FFmpeg's side data (the \
                      reported time, 29 bytes) to each packet, so that AAC fails by `Multiple frames in a packet` and `channel element 3.4 is not \
                      allocated`, and MP3 by `Header missing`, from GStreamer's RTSP server as from this one. It is run with `-nosound`; its decoders pass over what follows a picture.",
            },
        ],
        read: |cell| players::mplayer(cell).boxed(),
    },
    Reader {
        name: "OpenCV",
        ways: FFMPEG,
        lacks: &[
            Lack {
                codecs: &["av1"],
                why: "OpenCV's wheel has no decoder of AV1 in software (`Your platform doesn't support hardware accelerated AV1 decoding`).",
            },
            Lack { codecs: SOUND, why: "OpenCV opens no sound by FFmpeg." },
        ],
        read: |cell| python::opencv(cell).boxed(),
    },
    Reader { name: "PyAV", ways: FFMPEG, lacks: &[], read: |cell| python::pyav(cell).boxed() },
    Reader {
        name: "aiortsp",
        ways: &[Via::Tcp, Via::Udp],
        lacks: &[],
        read: |cell| python::aiortsp(cell).boxed(),
    },
    Reader {
        name: "retina",
        ways: &[Via::Tcp, Via::Udp],
        lacks: &[Lack {
            codecs: &["av1", "vp9", "opus", "mp3", "ac3"],
            why: "retina knows H.264, H.265, AAC and G.711 of those that are carried, and sets up only these.",
        }],
        read: |cell| retina::read(cell).boxed(),
    },
];

impl Reader {
    /// Whether it knows how the codec is carried in RTP, and decodes it if it decodes at all.
    pub fn knows(&self, codec: &str) -> bool {
        !self.lacks.iter().any(|lack| lack.codecs.contains(&codec))
    }

    /// Those of the programmes that it is run with: each has a codec that the ones before have not.
    pub fn programmes<'a>(&self, all: &'a [Published]) -> Vec<&'a Published> {
        let mut seen = Vec::new();
        let mut chosen = Vec::new();
        for published in all {
            let Programme { video, audio, .. } = published.programme;
            let new = |codec| self.knows(codec) && !seen.contains(&codec);
            if self.knows(video) && (new(video) || new(audio)) {
                seen.extend([video, audio]);
                chosen.push(published);
            }
        }
        chosen
    }
}

/// A programme that is published, and what of it the readers are compared with.
pub struct Published {
    /// Who publishes it, as docs/interop.md names them.
    pub publisher: &'static str,
    /// What it is.
    pub programme: Programme,
    /// Its access units as ffmpeg sees them.
    pub frames: Frames,
    /// Its access units.
    pub units: Units,
}

/// One reading.
pub struct Cell<'a> {
    /// Who reads.
    pub reader: &'static Reader,
    /// By which way.
    pub via: Via,
    /// What.
    pub published: &'a Published,
    /// From where.
    pub url: String,
    /// How much of it.
    pub seconds: u32,
    /// The namespace that the reader is run in, if it is not our own.
    pub island: Option<&'a Island>,
}

impl Published {
    /// All programmes, as [`Self::looped`].
    pub async fn all_looped(seconds: u32) -> Vec<Self> {
        join_all(PROGRAMMES.map(|programme| Self::looped(programme, seconds))).await
    }

    /// A programme that the newest ffmpeg publishes again and again, for so many seconds.
    pub async fn looped(programme: Programme, seconds: u32) -> Self {
        let clip = clip(programme.clip);
        // A reading begins anywhere in the first time, and goes over its end.
        let more = seconds / CLIP_SECONDS + 1;
        Self {
            publisher: NEWEST,
            programme,
            frames: frames::of_clip_again(&clip, programme.filter, more).await,
            units: Units::of_tags(&tags::of_clip_again(&clip, more).await),
        }
    }
}

impl Cell<'_> {
    /// Runs it, and writes down how it went; what was wrong, if anything was.
    pub async fn run(&self) -> Result<(), String> {
        let Programme { video, audio, .. } = self.published.programme;
        let what = format!("{video} and {audio} -> {} over {:?}", self.reader.name, self.via);
        let outcome = AssertUnwindSafe((self.reader.read)(self)).catch_unwind().await;
        // What was wrong has been printed by the panic.
        let outcome = outcome.unwrap_or(Outcome::Failed);
        println!("{what}: {outcome:?}");
        for codec in [video, audio].into_iter().filter(|codec| self.reader.knows(codec)) {
            interop::record(&interop::Cell {
                publisher: self.published.publisher,
                codec,
                reader: self.reader.name,
                way: self.via.name(),
                outcome,
                seconds: self.seconds,
            });
        }
        if outcome == Outcome::Failed { Err(what) } else { Ok(()) }
    }

    fn pictures(&self) -> u32 {
        self.seconds * RATE
    }

    /// The command where the reader has to be.
    fn placed(&self, command: Command) -> Command {
        match self.island {
            None => command,
            Some(island) => island.moved(&command),
        }
    }

    /// Panics unless what ffmpeg read is what was published.
    fn compare(&self, video: &[String], audio: &[String]) {
        let hashes = |frames: &[Frame]| -> Vec<_> {
            frames.iter().map(|frame| frame.hash.clone()).collect()
        };
        let Frames { video: pictures, audio: sound } = &self.published.frames;
        for (kind, published, read) in [("pictures", pictures, video), ("sound", sound, audio)] {
            let found = place(&hashes(published), read);
            assert!(found.is_some(), "other {kind} than were published: {} read", read.len());
        }
    }
}

/// Awaits readings, so many at one time, and panics with all that failed when all have ended.
pub async fn run_all(
    readings: impl IntoIterator<Item = impl Future<Output = Result<(), String>>>,
    at_once: usize,
) {
    let outcomes: Vec<_> = stream::iter(readings).buffer_unordered(at_once).collect().await;
    let count = outcomes.len();
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {count} failed: {failed:#?}", failed.len());
}
