//! A publisher that sends faster than its leg may.

use super::*;

/// What may wait for its turn: 1 MiB, what one more read of the socket brings, and one picture, in packets of the default size.
const MOST_QUEUED: u32 = ((1 << 20) + (64 << 10) + PICTURE_BYTES as u32) / 1000;
const PICTURE_BYTES: usize = 60_000;
const PICTURES: u32 = 100;

#[tokio::test]
async fn a_publisher_that_is_faster_than_the_leg_is_held_back_and_nothing_is_lost() {
    let mut config = config();
    // A packet each ms, or three of pictures as large as these: some 2 s for all of them.
    config.rtp.pacing_burst = 1;
    let (mut bench, mut node) = Bench::with_node(config).await;
    let mut publisher = bench.publish("fast").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 100, 0)).await;
    node.next_start().await;
    bench.until("fast", |stream| stream.is_some_and(|s| s.legs[0].established)).await;
    let publishing = tokio::spawn(async move {
        for n in 1..=PICTURES {
            publisher.video(n * 40, avc_picture(n % 25 == 0, 0, PICTURE_BYTES, n as u8)).await;
        }
        publisher
    });
    let mut most_queued = 0;
    let sent_all = async {
        loop {
            let stream = bench.stream("fast").await.unwrap();
            let counters = stream.counters.unwrap();
            let queued = counters.packets - stream.legs[0].packets_sent;
            most_queued = most_queued.max(queued);
            if counters.video_access_units == PICTURES + 1 && queued == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, sent_all).await.expect("it sends on all of it");
    assert!(most_queued < MOST_QUEUED, "{most_queued} packets waited");
    drop(publishing.await.unwrap());
    bench.drain().await;
}
