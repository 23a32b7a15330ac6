//! Readers that do not keep up.

use std::time::Duration;

use proto::v1;
use tokio::net::UdpSocket;

use crate::testing::{Bench, Item, Reader, Sender, Source, config, mark};

/// Bytes of each picture: 51 packets, which a default socket buffer holds.
const PICTURE: usize = 60_000;
/// Pictures of a GOP.
const GOP: u32 = 5;

#[tokio::test]
async fn who_asks_without_reading_is_not_read_and_gets_all_answers_once_it_reads() {
    const REQUESTS: usize = 4000;
    let bench = Bench::start(config()).await;
    let mut reader = Reader::connect_narrow(bench.addresses.rtsp, "a").await;
    let mut other = bench.reader("a").await;
    // Its answers, some 200 bytes each, are more than its and the server's buffers hold.
    let requests = reader.request("OPTIONS", "", "").repeat(REQUESTS);
    reader.send(&requests).await;
    assert_eq!(other.ask("OPTIONS", "", "").await.status, 200);
    for _ in 0..REQUESTS {
        assert_eq!(reader.response().await.status, 200);
    }
    bench.drain().await;
}

fn small_ring() -> svc_core::config::Config {
    let mut config = config();
    config.ring.max_bytes = 1 << 20;
    config
}

/// Sends pictures in step with a reader that keeps up, so that nothing is lost on the leg.
struct Film {
    source: Source,
    sender: Sender,
    watcher: Reader,
    next: u32,
    packets: u32,
}

impl Film {
    async fn start(bench: &mut Bench) -> Self {
        let source = Source::new(1);
        let sender = bench.start_by_hand("a", &source).await;
        let watcher = bench.reader("a").await;
        let mut film = Self { source, sender, watcher, next: 0, packets: 0 };
        film.send();
        film.watcher.play().await;
        assert_eq!(film.watcher.mark().await, 0);
        film
    }

    fn send(&mut self) {
        let keyframe = self.next.is_multiple_of(GOP);
        let picture = self.source.picture_of(40 * self.next, keyframe, PICTURE, self.next);
        self.packets += picture.sizes.len() as u32;
        self.sender.rtp(picture.packets());
        self.next += 1;
    }

    /// Shows `count` pictures: what one reader does not take, the other gets all the same.
    async fn show(&mut self, count: u32) {
        for _ in 0..count {
            self.send();
            assert_eq!(self.watcher.mark().await, self.next - 1);
        }
    }
}

#[tokio::test]
async fn a_reader_that_stalls_goes_on_at_a_keyframe_and_nobody_else_notices() {
    let mut bench = Bench::start(small_ring()).await;
    let mut film = Film::start(&mut bench).await;
    let mut slow = Reader::connect_narrow(bench.addresses.rtsp, "a").await;
    slow.play().await;
    // More than the ring, the sockets and one batch hold together.
    film.show(250).await;
    let last = film.next - 1;
    let mut marks = vec![];
    let mut number = None;
    while marks.last() != Some(&last) {
        let unit = slow.unit().await;
        let (_, first, _) = &unit[0];
        if number.is_some_and(|number| first.sequence_number != number) {
            assert_eq!(mark(&unit) % GOP, 0, "goes on with a whole GOP");
        }
        let packets = unit.len() as u16;
        number = Some(first.sequence_number.wrapping_add(packets));
        marks.push(mark(&unit));
    }
    let skipped = marks.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(skipped > 0, "{marks:?}");
    assert!(marks.windows(2).all(|pair| pair[1] > pair[0]), "{marks:?}");
    let readers = bench.stream("a").await.unwrap().readers;
    assert_eq!(readers[0].skips, 0);
    assert_eq!(readers[1].skips, skipped as u32);
    let missed = last - marks[0] + 1 - marks.len() as u32;
    assert_eq!(readers[1].access_units_skipped, missed);
    // 250 pictures are sent within a moment: none is too old, but the ring is small.
    assert_eq!(readers[0].last_skip_reason(), v1::SkipReason::Unspecified);
    assert_eq!(readers[1].last_skip_reason(), v1::SkipReason::Overwritten);
    let counters = v1::ReaderCounters {
        readers: 2,
        skips_overwritten: skipped as u32,
        access_units_skipped: missed,
        ..Default::default()
    };
    assert_eq!(bench.stream("a").await.unwrap().reader_counters, Some(counters));
    bench
        .until_metrics(&[
            &format!("reader_skips_total{{reason=\"overwritten\"}} {skipped}"),
            &format!("reader_access_units_skipped_total {missed}"),
        ])
        .await;
    bench.drain().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_dropped_and_nobody_else_notices() {
    let mut config = small_ring();
    config.rtsp.write_timeout = Duration::from_millis(200);
    let mut bench = Bench::start(config).await;
    let mut film = Film::start(&mut bench).await;
    let mut stalled = Reader::connect_narrow(bench.addresses.rtsp, "a").await;
    stalled.play().await;
    let was = bench.stream("a").await.unwrap().readers.pop().unwrap();
    film.show(250).await;
    bench.until("a", |s| s.is_some_and(|s| s.readers.len() == 1)).await;
    let counters = bench.stream("a").await.unwrap().reader_counters.unwrap();
    let (one, dropped) = (counters.dropped_stuck, counters.last_dropped.unwrap());
    assert_eq!((one, counters.dropped_silent, counters.dropped_protocol), (1, 0, 0));
    assert_eq!((dropped.reader_id, dropped.peer_address), (was.reader_id, was.peer_address));
    assert_eq!(dropped.reason, v1::ReaderDropReason::Stuck as i32);
    assert_eq!(dropped.transport, v1::ReaderTransport::Tcp as i32);
    assert!(dropped.dropped_at.is_some());
    bench.until_metrics(&["readers_dropped_total{reason=\"stuck\"} 1"]).await;
    film.show(1).await;
    let rest = stalled.rest().await;
    assert!(rest.iter().all(|item| !matches!(item, Item::Response(_))));
    bench.drain().await;
}

#[tokio::test]
async fn what_waits_for_a_reader_that_takes_nothing_is_bounded_in_the_system_as_well() {
    /// Of the connection's queue: what is there when more is taken, and a batch; and of the system, with a page or two more.
    const MOST: u32 = (32 + 16 + 1) * PICTURE as u32 + (256 << 10) + (128 << 10);
    let mut bench = Bench::start(small_ring()).await;
    let mut film = Film::start(&mut bench).await;
    let mut stalled = Reader::connect_narrow(bench.addresses.rtsp, "a").await;
    stalled.play().await;
    film.show(250).await;
    let readers = bench.stream("a").await.unwrap().readers;
    let sent = readers[1].packets_sent * 1200;
    eprintln!("{sent} of {}", film.packets * 1200);
    assert!(sent < MOST, "{sent} bytes of {MOST}");
    bench.drain().await;
}

#[tokio::test]
async fn what_is_too_old_for_a_reader_is_skipped_and_said_to_be() {
    let mut config = config();
    // The watcher is sent each picture as the newest; for the other one all but the newest GOP is too old.
    config.rtsp.max_reader_age = Duration::from_millis(1);
    let mut bench = Bench::start(config).await;
    let mut film = Film::start(&mut bench).await;
    let mut slow = Reader::connect_narrow(bench.addresses.rtsp, "a").await;
    slow.play().await;
    film.show(250).await;
    let mut last = slow.mark().await;
    while last != film.next - 1 {
        last = slow.mark().await;
    }
    let stream = bench.stream("a").await.unwrap();
    let (reader, counters) = (&stream.readers[1], stream.reader_counters.unwrap());
    assert_eq!(reader.last_skip_reason(), v1::SkipReason::TooOld);
    assert_eq!((counters.skips_too_old, counters.skips_overwritten), (reader.skips, 0));
    let line = format!("reader_skips_total{{reason=\"too_old\"}} {}", reader.skips);
    bench.until_metrics(&[&line]).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_reader_over_udp_that_takes_nothing_is_sent_all_in_time_and_is_no_trouble() {
    let mut config = config();
    config.rtsp.write_timeout = Duration::from_millis(200);
    let mut bench = Bench::start(config).await;
    let mut film = Film::start(&mut bench).await;
    let sockets = [UdpSocket::bind("127.0.0.1:0").await, UdpSocket::bind("127.0.0.1:0").await];
    let ports = sockets.map(|socket| socket.unwrap());
    let [rtp, rtcp] = [&ports[0], &ports[1]].map(|port| port.local_addr().unwrap().port());
    let mut reader = bench.reader("a").await;
    reader.set_up(0, &format!("RTP/AVP;unicast;client_port={rtp}-{rtcp}")).await;
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    // For longer than a reader over TCP may take nothing, and at less than the pace of readers by UDP.
    for _ in 0..100 {
        film.show(1).await;
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    let stream =
        bench.until_asked("a", |stream| stream.readers[1].packets_sent == film.packets).await;
    assert_eq!((stream.readers[0].skips, stream.readers[1].skips), (0, 0));
    let counters = v1::ReaderCounters { readers: 2, ..Default::default() };
    assert_eq!(stream.reader_counters, Some(counters));
    bench.drain().await;
}
