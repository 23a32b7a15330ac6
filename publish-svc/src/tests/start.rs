//! Where and when a reader starts.

use std::time::Duration;

use super::rtsp::{FOR_EVER, live, read_by_now, rtp_info};
use crate::testing::{Bench, Reader, Source, config};

#[tokio::test]
async fn a_reader_that_wants_nothing_old_starts_at_the_next_keyframe_as_rtp_info_says() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let mut source = Source::new(1);
    let (bench, sender) = live(config, &mut source).await;
    let mut reader = bench.reader("a").await;
    for track in 0..2 {
        reader.set_up(track, "RTP/AVP/TCP").await;
    }
    let play = reader.request("PLAY", "?start=live", "");
    reader.send(&play).await;
    read_by_now(&bench).await;
    sender.rtp(source.picture(40));
    sender.rtp(source.sound(40));
    sender.rtp(source.keyframe(80));
    sender.rtp(source.sound(80));
    let played = reader.response().await;
    sender.rtp(source.keyframe(120));
    let info = &played.headers["rtp-info"];
    let picture = reader.unit().await;
    assert_eq!(crate::testing::mark(&picture), 80);
    let first = &picture[0].1;
    assert_eq!((first.sequence_number, first.timestamp), rtp_info(info, 0));
    let sound = reader.unit().await;
    assert_eq!(crate::testing::mark(&sound), 80);
    let first = &sound[0].1;
    assert_eq!((first.sequence_number, first.timestamp), rtp_info(info, 1));
    assert_eq!(reader.mark().await, 120);
    bench.drain().await;
}

#[tokio::test]
async fn rtp_info_has_no_values_where_the_next_keyframe_does_not_come_in_time() {
    let mut config = config();
    config.rtsp.describe_wait = Duration::from_millis(50);
    let mut source = Source::new(1);
    let (bench, sender) = live(config, &mut source).await;
    let mut reader = bench.reader("a").await;
    // Said once is enough: clients lose the query on the way.
    assert_eq!(reader.ask("DESCRIBE", "?start=live", "").await.status, 200);
    reader.set_up(0, "RTP/AVP/TCP").await;
    let played = reader.ask("PLAY", "", "").await;
    let info = &played.headers["rtp-info"];
    assert!(played.status == 200 && info.ends_with("/trackID=0"), "{info}");
    sender.rtp(source.picture(40));
    sender.rtp(source.keyframe(80));
    assert_eq!(reader.mark().await, 80);
    bench.drain().await;
}

#[tokio::test]
async fn who_hangs_up_while_it_waits_is_no_reader_any_more() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let mut source = Source::new(1);
    let (mut bench, _sender) = live(config, &mut source).await;
    let mut reader = bench.reader("a").await;
    reader.set_up(0, "RTP/AVP/TCP").await;
    let play = reader.request("PLAY", "?start=live", "");
    reader.send(&play).await;
    read_by_now(&bench).await;
    assert_eq!(bench.stream("a").await.unwrap().readers.len(), 1);
    drop(reader);
    bench.until("a", |stream| stream.is_some_and(|stream| stream.readers.is_empty())).await;
    bench.drain().await;
}

/// A reader that has asked for stream "a" and waits for it.
async fn waiting(bench: &Bench, suffix: &str) -> Reader {
    let mut reader = bench.reader("a").await;
    let describe = reader.request("DESCRIBE", suffix, "");
    reader.send(&describe).await;
    reader
}

#[tokio::test]
async fn a_reader_may_come_before_its_publisher() {
    let mut bench = Bench::start(config()).await;
    let mut reader = waiting(&bench, "?wait=60s").await;
    bench.until_metrics(&["rtsp_waiters 1"]).await;
    let mut source = Source::new(1);
    bench.start_by_hand("b", &source).await;
    let sender = bench.start_by_hand("a", &source).await;
    sender.rtp(source.keyframe(0));
    assert_eq!(reader.response().await.status, 200);
    bench.until_metrics(&["rtsp_waiters 0"]).await;
    reader.set_up(0, "RTP/AVP/TCP").await;
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    assert_eq!(reader.mark().await, 0);
    bench.drain().await;
}

#[tokio::test]
async fn who_waits_for_a_publisher_waits_for_its_codec_headers_too() {
    let mut config = config();
    config.rtsp.describe_wait = Duration::ZERO;
    let mut bench = Bench::start(config).await;
    let mut reader = waiting(&bench, "?wait=60s").await;
    bench.until_metrics(&["rtsp_waiters 1"]).await;
    let mut source = Source::new(1);
    let mut request = crate::testing::by_hand("a", &source);
    request.session_description = source.bare_description().to_leg_sdp(([127, 0, 0, 1], 0).into());
    let stream = bench.start_stream(request).await.unwrap();
    bench.until_metrics(&["rtsp_waiters 0"]).await;
    crate::testing::Sender::to(stream.rtp_port as u16).rtp(source.keyframe(0));
    assert_eq!(reader.response().await.status, 200);
    bench.drain().await;
}

#[tokio::test]
async fn a_publisher_that_does_not_come_is_waited_for_as_long_as_url_or_configuration_say() {
    let mut config = config();
    config.rtsp.wait_for_publisher = FOR_EVER;
    let bench = Bench::start(config).await;
    // The URL goes over the configuration, so these are answered.
    for suffix in ["?wait=0", "?wait=20ms"] {
        assert_eq!(waiting(&bench, suffix).await.response().await.status, 404, "{suffix}");
    }
    let _patient = waiting(&bench, "").await;
    bench.until_metrics(&["rtsp_waiters 1"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn no_more_than_half_of_the_connections_wait_for_publishers() {
    let mut config = config();
    config.rtsp.max_connections = 4;
    let bench = Bench::start(config).await;
    let first = waiting(&bench, "?wait=60s").await;
    let _second = waiting(&bench, "?wait=60s").await;
    bench.until_metrics(&["rtsp_waiters 2"]).await;
    let mut third = waiting(&bench, "?wait=60s").await;
    assert_eq!(third.response().await.status, 503);
    bench.until_metrics(&["rtsp_waiters_refused_total 1"]).await;
    // A place is free again when a client hangs up.
    drop(first);
    bench.until_metrics(&["rtsp_waiters 1"]).await;
    let describe = third.request("DESCRIBE", "?wait=60s", "");
    third.send(&describe).await;
    bench.until_metrics(&["rtsp_waiters 2"]).await;
    bench.drain().await;
    assert_eq!(third.response().await.status, 503, "a drain does not wait");
}
