//! retina, the strictest of them; its access units are those that were published.

use futures_util::StreamExt as _;
use retina::{
    client::{PlayOptions, Session, SessionOptions, SetupOptions, Transport},
    codec::CodecItem,
};

use super::{Cell, RATE, Via};
use crate::{
    PATIENCE,
    clips::{nal_units, pictured, pictured_hevc, place},
    interop::Outcome,
    programmes::Programme,
};

pub(super) async fn read(cell: &Cell<'_>) -> Outcome {
    let Programme { video, audio, .. } = cell.published.programme;
    let transport = match cell.via {
        Via::Udp => Transport::Udp(Default::default()),
        _ => Transport::Tcp(Default::default()),
    };
    let url = url::Url::parse(&cell.url).unwrap();
    let mut session = Session::describe(url, SessionOptions::default()).await.unwrap();
    let knows = |media: &str| cell.reader.knows(if media == "video" { video } else { audio });
    let media: Vec<_> = session.streams().iter().map(|s| s.media().to_owned()).collect();
    assert_eq!(media.len(), 2);
    for (stream, _) in media.iter().enumerate().filter(|(_, media)| knows(media)) {
        let options = SetupOptions::default().transport(transport.clone());
        session.setup(stream, options).await.unwrap();
    }
    let playing = session.play(PlayOptions::default()).await.unwrap();
    let mut demuxed = playing.demuxed().unwrap();
    let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
    let enough = f64::from(cell.seconds);
    // In seconds of either track.
    let (mut seen, mut heard) = (0.0, if knows("audio") { 0.0 } else { enough });
    let mut first_heard = None;
    while seen < enough || heard < enough {
        let item = tokio::time::timeout(PATIENCE, demuxed.next()).await.expect("silence");
        match item.expect("the server closed the connection").unwrap() {
            CodecItem::VideoFrame(frame) => {
                assert_eq!(frame.loss(), 0);
                pictures.push(match video {
                    "hevc" => pictured_hevc(nal_units(frame.data())),
                    _ => pictured(nal_units(frame.data())),
                });
                seen = pictures.len() as f64 / f64::from(RATE);
            }
            CodecItem::AudioFrame(frame) => {
                assert_eq!(frame.loss(), 0);
                sounds.push(frame.data().to_vec());
                let time = frame.timestamp().elapsed_secs();
                heard = time - *first_heard.get_or_insert(time);
            }
            _ => {}
        }
    }
    let units = &cell.published.units;
    for (media, published, read) in
        [("video", &units.video, &pictures), ("audio", &units.audio, &sounds)]
    {
        let found = place(published, read).is_some();
        assert!(found || !knows(media), "{video} and {audio}: other {media} than was published");
    }
    Outcome::Exact
}
