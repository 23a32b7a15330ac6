//! How things end, and what must not end: SIGTERM, readers that leave or stall, keyframes that fill socket buffers.

use e2e::{
    clients::{Publisher, Transport},
    clips::{Units, clip, place},
    control::{streams, until_live},
    eventually,
    process::Setup,
    reader::{Depacketizer, Packet, Reader},
};
use media::{codec::MediaKind, rtcp::RtcpPacket};
use proto::v1::{ReaderDropReason, ReaderTransport};

#[tokio::test]
async fn sigterm_says_bye_to_readers_ends_the_publisher_and_exits_with_success() {
    let mut gateway = Setup::both().start().await;
    let publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("drone1"));
    until_live(&gateway.publish_grpc(), "drone1").await;
    let url = gateway.rtsp_url("drone1");
    let mut readers = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        readers.push((transport, Reader::play(&url, transport).await.unwrap()));
    }
    let status = gateway.terminate().await;
    assert!(status.success(), "{status}");
    for (transport, mut reader) in readers {
        let mut byes = 0;
        while let Ok(Some(packet)) = reader.next().await {
            if let Packet::Rtcp { packets, .. } = packet {
                byes += usize::from(packets.iter().any(|p| matches!(p, RtcpPacket::Bye(_))));
            }
            if byes == 2 {
                break;
            }
        }
        assert_eq!(byes, 2, "{transport:?}: a BYE for each track");
    }
    assert!(!publisher.output().await.status.success());
}

/// Reads this many pictures of the stream, none of them damaged.
async fn pictures(url: &str, transport: Transport, count: usize) -> Vec<Vec<u8>> {
    let mut reader = Reader::play(url, transport).await.unwrap();
    let tracks = &reader.description.tracks;
    let video = tracks.iter().position(|t| t.config.kind() == MediaKind::Video).unwrap();
    let mut input = Depacketizer::new(MediaKind::Video, video);
    let mut pictures = Vec::new();
    while pictures.len() < count {
        let packet = reader.next().await.unwrap().expect("the server closed the connection");
        if let Packet::Rtp { track, header, bytes } = packet
            && track == video
        {
            pictures.extend(input.push(&header, &bytes).unwrap().map(|unit| unit.pictured()));
        }
    }
    pictures
}

#[tokio::test]
async fn keyframes_of_two_megabytes_cross_the_hop_whole_with_default_socket_buffers() {
    let clip = clip("huge");
    let published = Units::of_clip(&clip);
    let gateway = Setup::both().with("ring-max-bytes", "64MiB").start().await;
    let _publisher = Publisher::Ffmpeg.start(&clip, &gateway.rtmp_url("huge"));
    until_live(&gateway.publish_grpc(), "huge").await;
    let read = pictures(&gateway.rtsp_url("huge"), Transport::Tcp, 11).await;
    let largest = read.iter().map(Vec::len).max().unwrap();
    println!("the largest picture has {largest} bytes");
    assert!(largest > 1_900_000, "{largest}");
    assert!(place(&published.video, &read).is_some(), "other pictures");
    let counters = streams(&gateway.publish_grpc()).await[0].counters.unwrap();
    assert_eq!(counters.packets_lost, 0);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_skipped_and_dropped_and_no_other_notices() {
    let clip = clip("main");
    let published = Units::of_clip(&clip);
    let gateway = Setup::both()
        .with("rtsp-write-timeout", "3s")
        .with("rtsp-max-reader-age", "1s")
        .start()
        .await;
    let _publisher = Publisher::Ffmpeg.start(&clip, &gateway.rtmp_url("drone1"));
    until_live(&gateway.publish_grpc(), "drone1").await;
    let url = gateway.rtsp_url("drone1");
    let stalled = Reader::play(&url, Transport::Tcp).await.unwrap();
    let read = pictures(&url, Transport::Tcp, 300).await;
    assert!(place(&published.video, &read).is_some(), "other pictures");
    let counters = eventually("the stalled reader is dropped", async || {
        let stream = streams(&gateway.publish_grpc()).await.into_iter().next()?;
        stream.readers.is_empty().then_some(stream.reader_counters.unwrap())
    })
    .await;
    assert_eq!((counters.readers, counters.dropped_stuck), (2, 1));
    let dropped = counters.last_dropped.unwrap();
    assert_eq!(dropped.reason(), ReaderDropReason::Stuck);
    assert_eq!(dropped.transport(), ReaderTransport::Tcp);
    assert!(gateway.log().contains("the reader takes nothing"), "said why");
    drop(stalled);
}
