//! Publishers that are not the usual two tracks from beginning to end: one track alone, a track that comes late, codecs that are not
//! carried, and headers that change on the way.

use std::{sync::Arc, time::Duration};

use e2e::{
    clients::{Running, Transport, newest_ffmpeg, newest_publishes, rtsp_input},
    clips::clip,
    control::{streams, until_live},
    eventually,
    process::{Gateway, Setup},
    reader::{Connection, Packet, Reader},
    tags::{self, Tag},
};
use gateway::demo::Kind;
use media::{
    codec::{Codec, h264::nal_type},
    rtcp::RtcpPacket,
    sdp::SessionDescription,
};
use proto::v1::Stream;

/// When the second part of a programme begins, in milliseconds; a keyframe of the first is there.
const CHANGE_MS: u32 = 4_000;
/// When both parts are over.
const END_MS: u32 = 12_000;

/// Publishes tags as the stream `key`; ends with the test.
fn publish(gateway: &Gateway, key: &'static str, tags: Vec<Tag>) -> tokio::task::JoinHandle<()> {
    let rtmp = gateway.rtmp();
    tokio::spawn(async move { tags::publish(rtmp, key, tags).await.expect("the publisher") })
}

async fn tags_of(name: &str) -> Vec<Tag> {
    tags::of_clip(&clip(name)).await
}

/// The tags of one programme, and from [`CHANGE_MS`] on those of another.
fn one_then_another(one: &[Tag], another: &[Tag]) -> Vec<Tag> {
    let another = tags::later(tags::until(another, END_MS - CHANGE_MS), CHANGE_MS);
    [tags::until(one, CHANGE_MS), another].concat()
}

/// What DESCRIBE answers now.
async fn described(url: &str) -> Option<SessionDescription> {
    let mut connection = Connection::open(url).await.ok()?;
    let answer = connection.request("DESCRIBE", url, "Accept: application/sdp\r\n").await.ok()?;
    (answer.status == 200).then(|| SessionDescription::parse(&answer.body).expect("an SDP"))
}

fn codecs(description: &SessionDescription) -> Vec<Codec> {
    description.tracks.iter().map(|track| track.config.codec()).collect()
}

async fn ingested(gateway: &Gateway) -> Stream {
    streams(&gateway.ingest_grpc()).await.remove(0)
}

/// The newest ffmpeg decodes some seconds without a line of error. Over UDP it has lines for ports that are taken.
async fn decodes(url: &str, seconds: &str) {
    let mut decode = newest_ffmpeg();
    decode.args(rtsp_input(Transport::Tcp, url)).args(["-t", seconds, "-f", "null", "-"]);
    Running::start(decode).silent_success().await;
}

#[tokio::test]
async fn a_publisher_of_one_track_is_read_after_the_wait_for_the_other() {
    for (key, map, codec) in [("video", "0:v", Codec::H265), ("audio", "0:a", Codec::Aac)] {
        let gateway = Setup::both().start().await;
        let clip = clip("hevc_aac");
        let publisher = newest_publishes(&clip, &gateway.rtmp_url(key), &[], &["-map", map]);
        until_live(&gateway.publish_grpc(), key).await;
        let url = gateway.rtsp_url(key);
        assert_eq!(codecs(&described(&url).await.expect("a stream")), [codec]);
        decodes(&url, "2").await;
        publisher.kill().await;
    }
}

/// Publishes one kind of a clip's tags, and from 5 s on the other, too. Readers who play from before go on in their sessions over
/// it, without a gap; new ones are told of both.
async fn comes_late(first: Kind, late: Kind, codecs_told: [Codec; 2]) {
    let gateway = Setup::both().start().await;
    let tags = tags_of("hevc_aac").await;
    let first = tags::until(&tags::only(&tags, first), END_MS);
    let late = tags::later(tags::until(&tags::only(&tags, late), END_MS - 5_000), 5_000);
    let mut both = [first, late].concat();
    both.sort_by_key(|tag| tag.timestamp_ms);
    let publisher = publish(&gateway, "late", both);
    until_live(&gateway.publish_grpc(), "late").await;
    let url = gateway.rtsp_url("late");
    assert_eq!(codecs(&described(&url).await.expect("a stream")), codecs_told[..1]);
    let reading = [Transport::Tcp, Transport::Udp].map(|transport| {
        let url = url.clone();
        tokio::spawn(async move { reads_on_for(&url, transport, Duration::from_secs(9)).await })
    });
    let told = eventually("the late track is told", async || {
        let description = described(&url).await?;
        (codecs(&description) == codecs_told).then_some(())
    });
    told.await;
    let late: Vec<_> = ingested(&gateway).await.tracks.iter().filter(|t| t.late).cloned().collect();
    assert_eq!(late.len(), 1);
    decodes(&url, "2").await;
    for reading in reading {
        reading.await.unwrap();
    }
    publisher.abort();
}

/// Plays all there is, and goes on for so long of its media time without a gap.
async fn reads_on_for(url: &str, transport: Transport, time: Duration) {
    let mut reader = Reader::play(url, transport).await.unwrap();
    let ticks = time.as_secs() as u32 * reader.description.tracks[0].config.clock_rate().hz();
    let (mut next, mut began) = (None, None);
    loop {
        let packet = reader.next().await.unwrap().expect("the session ended");
        let Packet::Rtp { header, .. } = packet else { continue };
        assert!(next.is_none_or(|next| next == header.sequence_number), "a gap");
        next = Some(header.sequence_number.wrapping_add(1));
        let passed = header.timestamp.wrapping_sub(*began.get_or_insert(header.timestamp)) as i32;
        if passed > ticks as i32 {
            return;
        }
    }
}

#[tokio::test]
async fn sound_that_comes_late_is_told_to_new_readers_and_the_others_go_on() {
    comes_late(Kind::Video, Kind::Audio, [Codec::H265, Codec::Aac]).await;
}

#[tokio::test]
async fn pictures_that_come_late_are_told_to_new_readers_and_the_others_go_on() {
    comes_late(Kind::Audio, Kind::Video, [Codec::Aac, Codec::H265]).await;
}

#[tokio::test]
async fn what_is_not_carried_is_left_out_and_told() {
    let gateway = Setup::both().start().await;
    let clip = clip("h264_flac");
    let publisher = newest_publishes(&clip, &gateway.rtmp_url("flac"), &[], &[]);
    until_live(&gateway.publish_grpc(), "flac").await;
    let url = gateway.rtsp_url("flac");
    assert_eq!(codecs(&described(&url).await.expect("a stream")), [Codec::H264]);
    decodes(&url, "2").await;
    assert_eq!(ingested(&gateway).await.left_out, ["fLaC is not carried"]);
    publisher.kill().await;
    assert!(gateway.log().contains("a codec that is not carried"));
}

#[tokio::test]
async fn a_four_cc_that_nobody_knows_is_left_out_and_told() {
    let gateway = Setup::both().start().await;
    let mut tags = tags_of("hevc_aac").await;
    for tag in tags.iter_mut().filter(|tag| tag.kind == Kind::Video) {
        let mut body = tag.body.to_vec();
        body[1..5].copy_from_slice(b"zzz1");
        tag.body = body.into();
    }
    let publisher = publish(&gateway, "unknown", tags);
    until_live(&gateway.publish_grpc(), "unknown").await;
    let url = gateway.rtsp_url("unknown");
    assert_eq!(codecs(&described(&url).await.expect("a stream")), [Codec::Aac]);
    assert_eq!(ingested(&gateway).await.left_out, ["zzz1 is not carried"]);
    publisher.abort();
}

#[tokio::test]
async fn a_reader_goes_on_over_another_resolution_and_new_readers_are_told() {
    let gateway = Setup::both().start().await;
    let small = tags::only(&tags_of("h264_pcma").await, Kind::Video);
    let large = tags::only(&tags_of("h264_large").await, Kind::Video);
    let publisher = publish(&gateway, "sizes", one_then_another(&small, &large));
    until_live(&gateway.publish_grpc(), "sizes").await;
    let url = gateway.rtsp_url("sizes");
    let readers = [Transport::Tcp, Transport::Udp].map(|transport| {
        let url = url.clone();
        tokio::spawn(async move { parameter_sets_of_two_sizes(&url, transport).await })
    });
    let decoding = decodes(&url, "8");
    let followed = async {
        for reader in readers {
            reader.await.unwrap();
        }
        let description = described(&url).await.expect("a stream");
        assert_eq!(description.tracks[0].config.dimensions(), Some((640, 360)));
    };
    tokio::join!(decoding, followed);
    publisher.abort();
}

/// Reads in one session until the parameter sets of the second size came in-band.
async fn parameter_sets_of_two_sizes(url: &str, transport: Transport) {
    let mut reader = Reader::play(url, transport).await.unwrap();
    assert_eq!(reader.description.tracks[0].config.dimensions(), Some((320, 180)));
    let mut next = None;
    loop {
        let packet = reader.next().await.unwrap().expect("the session ended");
        let Packet::Rtp { header, bytes, .. } = packet else { continue };
        assert!(next.is_none_or(|next| next == header.sequence_number), "a gap");
        next = Some(header.sequence_number.wrapping_add(1));
        let payload = &bytes[header.payload.clone()];
        // Parameter sets of a keyframe share a STAP-A (RFC 6184, 5.7.1): its first is the SPS.
        if payload[0] & 0x1F == 24 && nal_type::of(payload[3]) == nal_type::SPS {
            let size = usize::from(u16::from_be_bytes([payload[1], payload[2]]));
            let mut config = media::codec::h264::Config::default();
            config.learn(&payload[3..3 + size]);
            if config.dimensions() == Some((640, 360)) {
                return;
            }
        }
    }
}

/// Publishes one and then another; readers over TCP and UDP are told BYE and hung up on, and come back to `codecs`.
async fn readers_come_back(one: &str, another: &str, told: fn(&SessionDescription) -> bool) {
    let gateway = Arc::new(Setup::both().start().await);
    let (one, another) = (tags_of(one).await, tags_of(another).await);
    let publisher = publish(&gateway, "changes", one_then_another(&one, &another));
    until_live(&gateway.publish_grpc(), "changes").await;
    let url = gateway.rtsp_url("changes");
    assert!(!told(&described(&url).await.expect("a stream")), "told before it is so");
    let read = async |transport| {
        let mut reader = Reader::play(&url, transport).await.unwrap();
        let mut byes = vec![false; reader.description.tracks.len()];
        while let Some(packet) = reader.next().await.unwrap() {
            if let Packet::Rtcp { track, packets } = packet {
                byes[track] |= packets.iter().any(|packet| matches!(packet, RtcpPacket::Bye(_)));
            }
        }
        assert_eq!(byes, [true, true], "{transport:?}");
        eventually("the other description", async || described(&url).await.filter(told)).await;
        decodes(&url, "2").await;
    };
    tokio::join!(read(Transport::Tcp), read(Transport::Udp));
    publisher.abort();
}

#[tokio::test]
async fn another_config_of_aac_sends_readers_away_and_back_to_the_right_description() {
    readers_come_back("small", "h264_large", |description| {
        let audio = &description.tracks[1].config;
        (audio.sample_rate(), audio.channels()) == (44_100, 1)
    })
    .await;
}

#[tokio::test]
async fn another_codec_sends_readers_away_and_back_to_the_right_description() {
    readers_come_back("h264_mp3", "hevc_aac", |description| {
        codecs(description) == [Codec::H265, Codec::Aac]
    })
    .await;
}
