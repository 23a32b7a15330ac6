use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn ring(max_bytes: usize, max_duration: Duration) -> Ring {
    Ring::new(&RingConfig { max_bytes, max_duration })
}

fn unit(kind: MediaKind, keyframe: bool, number: u32, at: Instant) -> RingUnit {
    let packets =
        PacketBatch { data: Bytes::from(vec![0; 10]), sizes: [6u16, 4].as_slice().into() };
    let track = usize::from(kind == MediaKind::Audio);
    RingUnit::new(track, kind, keyframe, number, number as u16 * 2, packets, at)
}

/// Pushes `K` keyframes, `v` other pictures and `a` sounds, numbered on, 100 ms apart.
struct Feed {
    start: Instant,
    pushed: u32,
}

impl Feed {
    fn new() -> Self {
        Self { start: Instant::now(), pushed: 0 }
    }
    fn push(&mut self, ring: &Ring, pattern: &str) {
        for unit_kind in pattern.chars() {
            let kind = if unit_kind == 'a' { MediaKind::Audio } else { MediaKind::Video };
            let at = self.start + Duration::from_millis(100) * self.pushed;
            // A leg calls each frame of sound one that can be begun with.
            ring.push(unit(kind, unit_kind != 'v', self.pushed, at));
            self.pushed += 1;
        }
    }
}

fn numbers(batch: &Batch) -> Vec<u32> {
    batch.units.iter().map(|unit| unit.rtp_timestamp).collect()
}

#[test]
fn a_reader_starts_at_the_last_keyframe_and_gets_no_earlier_sound() {
    let ring = ring(1 << 20, LONG);
    Feed::new().push(&ring, "KvavaKava");
    let mut cursor = ring.last_keyframe().unwrap();
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)), [5, 6, 7, 8]);
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)), [0u32; 0]);
}

#[test]
fn without_a_keyframe_a_reader_waits_for_the_next() {
    let ring = ring(1 << 20, LONG);
    let mut feed = Feed::new();
    feed.push(&ring, "vav");
    assert_eq!(ring.last_keyframe(), None);
    let mut cursor = ring.live_edge();
    feed.push(&ring, "vavKva");
    let batch = ring.read(&mut cursor, 99, LONG);
    assert_eq!((numbers(&batch), batch.skipped, batch.skip), (vec![6, 7, 8], 0, None));
}

#[test]
fn a_stream_without_video_is_read_from_the_live_edge() {
    let ring = ring(1 << 20, LONG);
    let mut feed = Feed::new();
    assert_eq!(ring.last_keyframe(), None);
    feed.push(&ring, "aaa");
    let mut cursor = ring.last_keyframe().unwrap();
    feed.push(&ring, "aa");
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)), [3, 4]);
}

#[test]
fn sound_ahead_of_the_first_picture_does_not_let_half_a_gop_through() {
    let ring = ring(1 << 20, LONG);
    let mut feed = Feed::new();
    let mut cursor = ring.live_edge();
    feed.push(&ring, "aa");
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)), [0, 1]);
    feed.push(&ring, "vaKa");
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)), [4, 5]);
}

#[test]
fn the_byte_bound_holds_and_may_take_the_last_keyframe() {
    let ring = ring(50, LONG);
    let mut feed = Feed::new();
    feed.push(&ring, "Kvvvvvvv");
    assert_eq!(ring.bytes(), 50);
    assert_eq!(ring.last_keyframe(), None);
}

#[test]
fn the_newest_gop_outlives_the_time_bound() {
    let ring = ring(1 << 20, Duration::from_millis(500));
    let mut feed = Feed::new();
    feed.push(&ring, "KvvKvvvvvvvvv");
    let mut cursor = ring.last_keyframe().unwrap();
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)).first(), Some(&3));
    assert_eq!(ring.bytes(), 100);
    feed.push(&ring, "vvvvvvvvvvvvvvvvvvvvvvv");
    assert_eq!(ring.last_keyframe(), None, "a GOP without an end goes in its turn");
}

#[test]
fn a_reader_whose_place_is_gone_goes_on_at_the_newest_keyframe() {
    let ring = ring(50, LONG);
    let mut feed = Feed::new();
    feed.push(&ring, "Kv");
    let mut cursor = ring.last_keyframe().unwrap();
    assert_eq!(numbers(&ring.read(&mut cursor, 1, LONG)), [0]);
    feed.push(&ring, "vvvvKav");
    let batch = ring.read(&mut cursor, 99, LONG);
    assert_eq!(
        (numbers(&batch), batch.skipped, batch.skip),
        (vec![6, 7, 8], 5, Some(SkipReason::Overwritten))
    );
}

#[test]
fn a_reader_whose_place_is_gone_waits_where_no_keyframe_is_left() {
    let ring = ring(30, LONG);
    let mut feed = Feed::new();
    feed.push(&ring, "K");
    let mut cursor = ring.last_keyframe().unwrap();
    ring.read(&mut cursor, 1, LONG);
    feed.push(&ring, "vvvvv");
    let batch = ring.read(&mut cursor, 99, LONG);
    assert_eq!(
        (numbers(&batch), batch.skipped, batch.skip),
        (vec![], 5, Some(SkipReason::Overwritten))
    );
    feed.push(&ring, "vaKa");
    let batch = ring.read(&mut cursor, 99, LONG);
    assert_eq!((numbers(&batch), batch.skip), (vec![8, 9], None));
}

#[test]
fn a_reader_too_far_behind_jumps_to_a_newer_keyframe_but_stays_in_the_newest_gop() {
    let ring = ring(1 << 20, LONG);
    let mut feed = Feed::new();
    let age = Duration::from_millis(300);
    feed.push(&ring, "Kvvvvvvv");
    let mut cursor = ring.last_keyframe().unwrap();
    assert_eq!(numbers(&ring.read(&mut cursor, 2, age)), [0, 1]);
    assert_eq!(numbers(&ring.read(&mut cursor, 1, age)), [2], "there is no newer keyframe");
    feed.push(&ring, "Kv");
    let batch = ring.read(&mut cursor, 99, age);
    assert_eq!(
        (numbers(&batch), batch.skipped, batch.skip),
        (vec![8, 9], 5, Some(SkipReason::TooOld))
    );
}

#[test]
fn the_first_packet_of_each_track_behind_a_cursor_is_found() {
    let ring = ring(1 << 20, LONG);
    Feed::new().push(&ring, "aKvav");
    let cursor = ring.last_keyframe().unwrap();
    assert_eq!(ring.first_packet(cursor, 0), (Some(2), Some(1)));
    assert_eq!(ring.first_packet(cursor, 1), (Some(6), Some(3)));
    assert_eq!(ring.first_packet(cursor, 2), (None, None));
    let mut cursor = cursor;
    ring.read(&mut cursor, 99, LONG);
    assert_eq!(ring.first_packet(cursor, 0), (Some(10), None), "the number is that of the next");
    assert_eq!(ring.first_packet(cursor, 1), (Some(8), None));
}

#[test]
fn the_first_packet_is_not_known_before_the_keyframe_that_a_reader_waits_for() {
    let ring = ring(1 << 20, LONG);
    let mut feed = Feed::new();
    feed.push(&ring, "Kva");
    let cursor = ring.live_edge();
    feed.push(&ring, "va");
    assert_eq!([0, 1].map(|track| ring.first_packet(cursor, track)), [(None, None); 2]);
    feed.push(&ring, "K");
    assert_eq!(ring.first_packet(cursor, 0), (Some(10), Some(5)));
    assert_eq!(ring.first_packet(cursor, 1), (Some(10), None));
}

#[tokio::test]
async fn the_first_packets_of_all_tracks_are_waited_for() {
    let ring = Arc::new(ring(1 << 20, LONG));
    let mut feed = Feed::new();
    feed.push(&ring, "avK");
    let cursor = ring.last_keyframe().unwrap();
    ring.first_packets(cursor, &[0]).await;
    let waiting = tokio::spawn({
        let ring = ring.clone();
        async move { ring.first_packets(cursor, &[0, 1]).await }
    });
    feed.push(&ring, "v");
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "there is no sound behind the keyframe");
    feed.push(&ring, "a");
    waiting.await.unwrap();
    assert_eq!(ring.first_packet(cursor, 1), (Some(8), Some(4)));
}

#[test]
fn a_reader_at_the_live_edge_starts_at_the_first_keyframe_that_comes() {
    let ring = ring(1 << 20, LONG);
    let mut feed = Feed::new();
    feed.push(&ring, "Kva");
    let edge = ring.live_edge();
    assert_eq!(ring.next_keyframe(edge), None);
    feed.push(&ring, "va");
    assert_eq!(ring.next_keyframe(edge), None);
    feed.push(&ring, "KvaKa");
    let mut cursor = ring.next_keyframe(edge).unwrap();
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)), [5, 6, 7, 8, 9]);
}

#[test]
fn a_reader_at_the_live_edge_of_a_stream_without_video_starts_at_the_next_sound() {
    let ring = ring(1 << 20, LONG);
    let mut feed = Feed::new();
    feed.push(&ring, "aa");
    let edge = ring.live_edge();
    assert_eq!(ring.next_keyframe(edge), None);
    feed.push(&ring, "aa");
    let mut cursor = ring.next_keyframe(edge).unwrap();
    assert_eq!(ring.first_packet(cursor, 1), (Some(4), Some(2)));
    assert_eq!(numbers(&ring.read(&mut cursor, 99, LONG)), [2, 3]);
}

#[test]
fn framing_is_shared_on_the_default_channel_and_copied_on_others() {
    let unit = unit(MediaKind::Audio, false, 0, Instant::now());
    let framed = unit.framed(2);
    assert_eq!(&framed[..], b"$\x02\0\x06\0\0\0\0\0\0$\x02\0\x04\0\0\0\0");
    assert_eq!(unit.framed(2).as_ptr(), framed.as_ptr());
    assert_eq!(&unit.framed(9)[..2], b"$\x09");
}

#[tokio::test]
async fn a_push_wakes_those_who_wait() {
    let ring = Arc::new(ring(1 << 20, LONG));
    let cursor = ring.live_edge();
    let waiting = tokio::spawn({
        let ring = ring.clone();
        async move { ring.news().wait(cursor).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    Feed::new().push(&ring, "K");
    waiting.await.unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Push(&'static str),
    Read(usize),
}

proptest! {
    #[test]
    fn every_reader_sees_gops_from_their_beginning_in_order_without_holes(
        steps in proptest::collection::vec(prop_oneof![
            prop_oneof![Just("K"), Just("v"), Just("a"), Just("Kavav"), Just("vava")].prop_map(Step::Push),
            (1usize..8).prop_map(Step::Read),
        ], 1..120),
        units in 1usize..30,
        age in 1u64..40,
    ) {
        let ring = ring(units * 10, LONG);
        let mut feed = Feed::new();
        feed.push(&ring, "v");
        let mut cursor = ring.live_edge();
        let mut seen: Option<u32> = None;
        let mut told = 0;
        for step in steps {
            match step {
                Step::Push(pattern) => feed.push(&ring, pattern),
                Step::Read(most) => {
                    let batch = ring.read(&mut cursor, most, Duration::from_millis(100 * age));
                    prop_assert!(batch.units.len() <= most);
                    told += batch.skipped;
                    for unit in batch.units {
                        match seen {
                            None => prop_assert!(unit.keyframe, "starts at a keyframe"),
                            Some(last) if unit.rtp_timestamp == last + 1 => {}
                            Some(last) => {
                                prop_assert!(unit.rtp_timestamp > last && unit.keyframe);
                                prop_assert_eq!(told, unit.rtp_timestamp - last - 1);
                                told = 0;
                            }
                        }
                        seen = Some(unit.rtp_timestamp);
                    }
                }
            }
            prop_assert!(ring.bytes() <= units * 10);
        }
    }
}
