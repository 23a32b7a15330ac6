//! What readers report by RTCP of how they receive.

use media::rtcp::{ReportBlock, RtcpPacket, bye, receiver_report};
use proto::v1;
use tokio::net::UdpSocket;

use super::{rtsp::live, udp::Ports};
use crate::testing::{Bench, Item, Reader, Source, Track, config};

/// A report on one track: 64 of 256 lost, `lost` in all, a jitter of 9000 ticks.
fn report(ssrc: u32, lost: i32, last_sr: u32) -> Vec<u8> {
    let block = ReportBlock {
        ssrc,
        fraction_lost: 64,
        cumulative_lost: lost,
        highest_sequence_number: 1000,
        jitter: 9000,
        last_sr,
        delay_since_last_sr: 0,
    };
    receiver_report(7, &[block], "reader").to_vec()
}

/// Without its times.
fn timeless(reception: &v1::ReaderReception) -> v1::ReaderReception {
    assert!(reception.reported_at.is_some_and(|at| at.seconds > 1_700_000_000), "{reception:?}");
    v1::ReaderReception { reported_at: None, round_trip_time: None, ..*reception }
}

fn expected(track: u32, packets_lost: i32, jitter: proto::Duration) -> v1::ReaderReception {
    let jitter = Some(jitter);
    v1::ReaderReception { track, fraction_lost: 64, packets_lost, jitter, ..Default::default() }
}

const VIDEO_JITTER: proto::Duration = proto::Duration { seconds: 0, nanos: 100_000_000 };
const AUDIO_JITTER: proto::Duration = proto::Duration { seconds: 0, nanos: 187_500_000 };

#[tokio::test]
async fn what_a_reader_reports_in_its_connection_is_shown_whatever_carries_it() {
    for carrier in ["plain", "http", "websocket"] {
        let (mut bench, _sender) = live(config(), &mut Source::new(1)).await;
        let to = bench.addresses.rtsp;
        let mut other = bench.reader("a").await;
        other.play().await;
        let mut reader = match carrier {
            "http" => Reader::tunnelled(to, "a", "cookie").await,
            "websocket" => Reader::by_websocket(to, "a").await,
            _ => bench.reader("a").await,
        };
        reader.play().await;
        let (video, audio) = (reader.sender_report(1).await, reader.sender_report(3).await);
        reader.send_frame(1, &report(video.ssrc, 5, video.ntp.middle_bits())).await;
        reader.send_frame(3, &report(audio.ssrc, -2, 0)).await;
        let stream = bench.until_asked("a", |stream| stream.readers[1].receptions.len() == 2).await;
        let [of_video, of_audio] = &stream.readers[1].receptions[..] else { unreachable!() };
        assert_eq!(timeless(of_video), expected(0, 5, VIDEO_JITTER), "{carrier}");
        assert_eq!(timeless(of_audio), expected(1, -2, AUDIO_JITTER), "{carrier}");
        assert!(of_video.round_trip_time.is_some() && of_audio.round_trip_time.is_none());
        assert!(stream.readers[0].receptions.is_empty(), "another says nothing by it");
        bench
            .until_metrics(&[
                "reader_reports_total{transport=\"tcp\"} 2",
                "reader_packets_lost_total{transport=\"tcp\"} 5",
                "reader_loss_ratios_bucket{le=\"0.2\",transport=\"tcp\"} 0",
                "reader_loss_ratios_bucket{le=\"0.5\",transport=\"tcp\"} 2",
                "reader_jitter_seconds_count{transport=\"tcp\"} 2",
                "reader_round_trip_seconds_count{transport=\"tcp\"} 1",
            ])
            .await;
        bench.drain().await;
    }
}

#[tokio::test]
async fn rtcp_that_says_nothing_of_the_sessions_tracks_or_is_none_harms_nobody() {
    let mut source = Source::new(1);
    let (mut bench, sender) = live(config(), &mut source).await;
    let mut reader = bench.reader("a").await;
    reader.play().await;
    let video = reader.sender_report(1).await.ssrc;
    let whole = report(video, 5, 0);
    reader.send_frame(1, &report(video.wrapping_add(1), 5, 0)).await;
    reader.send_frame(1, &bye(&[7, video], "reader")).await;
    reader.send_frame(1, b"").await;
    reader.send_frame(1, b"no RTCP").await;
    reader.send_frame(1, &whole[..20]).await;
    // Neither is this a channel of RTCP.
    reader.send_frame(0, &whole).await;
    reader.send_frame(9, &whole).await;
    assert_eq!(reader.ask("OPTIONS", "", "").await.status, 200);
    bench.until_metrics(&["reader_malformed_rtcp_total 3"]).await;
    sender.rtp(source.keyframe(40));
    while reader.mark().await != 40 {}
    let stream = bench.stream("a").await.unwrap();
    assert_eq!(stream.readers[0].state(), v1::ReaderState::Playing, "BYE is no TEARDOWN");
    assert!(stream.readers[0].receptions.is_empty());
    bench.drain().await;
}

#[tokio::test]
async fn over_udp_only_the_readers_own_rtcp_address_is_believed() {
    let (mut bench, _sender) = live(config(), &mut Source::new(1)).await;
    let (mut reader, mut other) = (bench.reader("a").await, bench.reader("a").await);
    let (video, audio) = (Ports::set_up(&mut reader, 0).await, Ports::set_up(&mut reader, 1).await);
    let others = Ports::set_up(&mut other, 0).await;
    reader.ask("PLAY", "", "").await;
    other.ask("PLAY", "", "").await;
    let (RtcpPacket::SenderReport(video_report, _), RtcpPacket::SenderReport(audio_report, _)) =
        (video.rtcp().await[0].clone(), audio.rtcp().await[0].clone())
    else {
        panic!("no Sender Reports first");
    };
    let last_sr = video_report.ntp.middle_bits();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let made_up = report(video_report.ssrc, 1000, last_sr);
    stranger.send_to(&made_up, video.rtcp.peer_addr().unwrap()).await.unwrap();
    video.rtp.send(&made_up).await.unwrap();
    bench.until_metrics(&["reader_strange_rtcp_total 1"]).await;
    assert!(bench.stream("a").await.unwrap().readers[0].receptions.is_empty());
    // All of a reader's tracks may be reported from either of its ports; of the other reader it says nothing.
    video.rtcp.send(&report(audio_report.ssrc, 3, last_sr)).await.unwrap();
    audio.rtcp.send(&report(video_report.ssrc, 4, last_sr)).await.unwrap();
    // Not one of its tracks.
    others.rtcp.send(&report(audio_report.ssrc, 9, last_sr)).await.unwrap();
    others.rtcp.send(b"no RTCP").await.unwrap();
    bench.until_metrics(&["reader_malformed_rtcp_total 1"]).await;
    let stream = bench.until_asked("a", |stream| stream.readers[0].receptions.len() == 2).await;
    let [of_video, of_audio] = &stream.readers[0].receptions[..] else { unreachable!() };
    assert_eq!(timeless(of_video), expected(0, 4, VIDEO_JITTER));
    assert_eq!(timeless(of_audio), expected(1, 3, AUDIO_JITTER));
    assert!(of_video.round_trip_time.is_some());
    assert!(stream.readers[1].receptions.is_empty());
    bench.until_metrics(&["reader_packets_lost_total{transport=\"udp\"} 7"]).await;
    video.rtcp.send(&bye(&[7], "reader")).await.unwrap();
    video.rtcp.send(&report(video_report.ssrc, 6, last_sr)).await.unwrap();
    // BYE is no TEARDOWN.
    bench.until_metrics(&["reader_packets_lost_total{transport=\"udp\"} 9"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn who_plays_before_the_first_access_unit_is_told_each_clock_in_front_of_its_first() {
    let mut source = Source::new(1);
    let mut bench = Bench::start(config()).await;
    let sender = bench.start_by_hand("a", &source).await;
    let mut reader = bench.reader("a").await;
    reader.play().await;
    for track in [Track::Video, Track::Audio] {
        sender.rtcp(&source.report(track, 0));
    }
    sender.rtp(source.keyframe(0));
    sender.rtp(source.sound(0));
    let (mut reported, mut came) = ([false; 2], [false; 2]);
    while came != [true; 2] {
        match reader.next().await.expect("closed") {
            Item::Rtp(channel, ..) => {
                let track = usize::from(channel / 2);
                assert!(reported[track], "nothing told of the clock of track {track}");
                came[track] = true;
            }
            Item::Rtcp(channel, packets) => {
                assert!(matches!(packets[0], RtcpPacket::SenderReport(..)), "{packets:?}");
                reported[usize::from(channel / 2)] = true;
            }
            Item::Response(response) => panic!("{response:?}"),
        }
    }
    bench.drain().await;
}
