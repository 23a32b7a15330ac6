//! Readers that do not keep up.

use std::time::Duration;

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
}

impl Film {
    async fn start(bench: &mut Bench) -> Self {
        let source = Source::new(1);
        let sender = bench.start_by_hand("a", &source).await;
        let mut film = Self { source, sender, watcher: bench.reader("a").await, next: 0 };
        film.send();
        film.watcher.play().await;
        assert_eq!(film.watcher.mark().await, 0);
        film
    }

    fn send(&mut self) {
        let keyframe = self.next.is_multiple_of(GOP);
        let picture = self.source.picture_of(40 * self.next, keyframe, PICTURE, self.next);
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
    film.show(250).await;
    bench.until("a", |s| s.is_some_and(|s| s.readers.len() == 1)).await;
    film.show(1).await;
    let rest = stalled.rest().await;
    assert!(rest.iter().all(|item| !matches!(item, Item::Response(_))));
    bench.drain().await;
}
