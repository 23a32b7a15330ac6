//! Where and when a reader starts.

use std::time::Duration;

use super::rtsp::{FOR_EVER, live, read_by_now, rtp_info};
use crate::testing::{Source, config};

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
    let played = reader.response().await;
    sender.rtp(source.sound(80));
    sender.rtp(source.keyframe(120));
    let info = &played.headers["rtp-info"];
    let picture = reader.unit().await;
    assert_eq!(crate::testing::mark(&picture), 80);
    let first = &picture[0].1;
    assert_eq!((first.sequence_number, first.timestamp), rtp_info(info, 0));
    let sound = reader.unit().await;
    assert_eq!(crate::testing::mark(&sound), 80);
    assert!(info.ends_with(&format!("trackID=1;seq={}", sound[0].1.sequence_number)), "{info}");
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
