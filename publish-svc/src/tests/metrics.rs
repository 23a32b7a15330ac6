//! What is counted.

use proto::v1;

use crate::testing::{Bench, Sender, Source, by_hand, config};

#[tokio::test]
async fn streams_readers_and_who_was_turned_away_are_counted() {
    let mut config = config();
    config.rtsp.max_connections = 3;
    let mut bench = Bench::start(config).await;
    let mut source = Source::new(1);
    let stream = bench.start_stream(by_hand("a", &source)).await.unwrap();
    let sender = Sender::to(stream.rtp_port as u16);
    sender.rtp(source.keyframe(0));
    sender.rtp(Source::new(2).keyframe(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    let (mut tcp, mut udp, mut bad) =
        (bench.reader("a").await, bench.reader("a").await, bench.reader("a").await);
    tcp.play().await;
    tcp.mark().await;
    udp.set_up(0, "RTP/AVP;unicast;client_port=1-2").await;
    assert_eq!(udp.ask("PLAY", "", "").await.status, 200);
    assert_eq!(bad.ask("SETUP", "/trackID=9", "Transport: RTP/AVP/TCP\r\n").await.status, 404);
    assert!(bench.reader("a").await.next().await.is_none());
    bench
        .until_metrics(&[
            "streams 1",
            "rtsp_connections 3",
            "rtsp_accepted_total 3",
            "rtsp_turned_away_total 1",
            "rtsp_responses_total{status=\"404\"} 1",
            "rtsp_responses_total{status=\"200\"} 5",
            "readers{transport=\"tcp\"} 1",
            "readers{transport=\"udp\"} 1",
            "reader_packets_total{transport=\"tcp\"} 1",
        ])
        .await;
    bad.send(b"\0\0\0\0 no RTSP\r\n\r\n").await;
    bad.rest().await;
    bench.stop("a", 0).await.unwrap();
    tcp.rest().await;
    udp.rest().await;
    bench
        .until_metrics(&[
            "streams 0",
            "rtsp_connections 0",
            "readers{transport=\"tcp\"} 0",
            "rtsp_closed_total{reason=\"stream_ended\"} 2",
            "rtsp_closed_total{reason=\"protocol\"} 1",
            "rtp_packets_total 1",
            "rtp_refused_total{reason=\"ssrc\"} 1",
            "access_units_total{kind=\"video\"} 1",
            "keyframes_total 1",
        ])
        .await;
    bench.drain().await;
}
