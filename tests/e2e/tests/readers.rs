//! Every reader with every codec that it knows, over every transport that it knows, without an error of its decoders. A short form
//! for `scripts/test`; `scripts/interop` has it read a minute of each (`INTEROP_SECONDS`).
//!
//! Where a reader hands out the access units, they are compared with those of the clip bit for bit; where it only plays, it has to
//! decode each track that it knows. By multicast: `readers_multicast.rs`.

use std::collections::BTreeSet;

use e2e::{
    clients::newest_publishes,
    clips::{Units, clip},
    control::until_live,
    frames::{self, Frames},
    interop::{self, record_lack},
    process::Setup,
    programmes::{LEGACY, NEWEST, PROGRAMMES},
    readers::{Cell, Published, READERS, Via, run_all},
    tags, websocket,
};
use futures_util::future::ready;

/// Readers at one time: to start one takes more of a machine than to read a minute.
fn at_once() -> usize {
    if interop::is_long() { 20 } else { 6 }
}

#[tokio::test]
async fn every_reader_plays_every_codec_over_every_transport_that_it_knows() {
    let gateway = Setup::both().start().await;
    let published = Published::all_looped(interop::seconds()).await;
    let mut publishers = Vec::new();
    for Published { programme, .. } in &published {
        let (clip, url) = (clip(programme.clip), gateway.rtmp_url(programme.clip));
        publishers.push(newest_publishes(&clip, &url, &["-stream_loop", "-1"], &[]));
    }
    for Published { programme, .. } in &published {
        until_live(&gateway.publish_grpc(), programme.clip).await;
    }
    let bridge = websocket::bridge(gateway.rtsp()).await;
    let mut cells = Vec::new();
    for reader in READERS {
        for published in reader.programmes(&published) {
            for &via in reader.ways.iter().filter(|&&via| via != Via::Multicast) {
                let key = published.programme.clip;
                let url = match via {
                    Via::WebSocket => format!("rtsp://{bridge}/{key}"),
                    _ => gateway.rtsp_url(key),
                };
                let seconds = interop::seconds();
                cells.push(Cell { reader, via, published, url, seconds, island: None });
            }
        }
        for lack in reader.lacks {
            lack.codecs.iter().for_each(|codec| record_lack(reader.name, codec, lack.why));
        }
    }
    run_all(cells.iter().map(Cell::run), at_once()).await;
    for publisher in &mut publishers {
        assert!(publisher.runs(), "a publisher ended");
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
        frames: frames::of_clip_in(&clip, programme.filter).await,
        units: Units::of_tags(&tags),
    };
    let publisher = tokio::spawn(tags::publish(gateway.rtmp(), "legacy", tags));
    until_live(&gateway.publish_grpc(), "legacy").await;
    let mut cells = Vec::new();
    for reader in READERS {
        for via in [Via::Tcp, Via::Udp] {
            let (published, url) = (&published, gateway.rtsp_url("legacy"));
            cells.push(Cell { reader, via, published, url, seconds: 3, island: None });
        }
    }
    run_all(cells.iter().map(Cell::run), cells.len()).await;
    publisher.abort();
}

#[test]
fn each_codec_that_a_reader_knows_is_in_a_programme_that_it_is_run_with() {
    let published = PROGRAMMES.map(|programme| Published {
        publisher: NEWEST,
        programme,
        frames: Frames { video: Vec::new(), audio: Vec::new() },
        units: Units::default(),
    });
    let codecs = PROGRAMMES.iter().flat_map(|programme| [programme.video, programme.audio]);
    let codecs: BTreeSet<_> = codecs.collect();
    for reader in READERS {
        let run = reader.programmes(&published);
        let run = run.iter().flat_map(|p| [p.programme.video, p.programme.audio]);
        let run: BTreeSet<_> = run.filter(|codec| reader.knows(codec)).collect();
        let known: BTreeSet<_> = codecs.iter().copied().filter(|c| reader.knows(c)).collect();
        assert_eq!(run, known, "{}", reader.name);
        let lacks: BTreeSet<_> =
            reader.lacks.iter().flat_map(|lack| lack.codecs).copied().collect();
        assert!(lacks.is_subset(&codecs), "{} lacks what nobody carries", reader.name);
    }
}

#[tokio::test]
#[should_panic(expected = "1 of 3 failed: [\n    \"sound\",\n]")]
async fn a_reading_that_fails_is_told_when_all_have_ended() {
    run_all([Ok(()), Err("sound".to_owned()), Ok(())].map(ready), 1).await;
}
