//! The first Sender Reports of a leg on a network that loses and delays them.

use super::*;

/// How long a beginning waits for its report.
const WAIT: u32 = 200;

fn waiting(source: &Source) -> Bench {
    Bench::waiting(&source.description(), WAIT)
}

/// Both reports of a moment, as ingest sends them: in one datagram.
fn both(source: &Source, ms: u32) -> Bytes {
    [Track::Video, Track::Audio].map(|track| source.report(track, ms)).concat().into()
}

/// What was put out, and where it lies on the wall clock that readers see at this moment, in ms.
fn seen(bench: &mut Bench) -> Vec<(String, i64)> {
    let walls = |unit: &RingUnit| {
        let clock = bench.intake.output().tracks[unit.track].clock.unwrap();
        let nanos = clock.ntp_at(unit.rtp_timestamp).nanos_since(ntp(0, Duration::ZERO));
        (nanos + 500_000).div_euclid(1_000_000)
    };
    let units = std::mem::take(&mut bench.units);
    let walls: Vec<_> = units.iter().map(walls).collect();
    bench.units = units;
    bench.marks().into_iter().zip(walls).collect()
}

fn expected(units: &[(&str, i64)]) -> Vec<(String, i64)> {
    units.iter().map(|(mark, ms)| ((*mark).to_owned(), *ms)).collect()
}

#[test]
fn what_comes_before_its_first_report_waits_for_it_and_then_lies_where_it_says() {
    let mut source = Source::new(1);
    let mut bench = waiting(&source);
    // The first reports are lost; the sound takes 17 ms longer than the picture.
    bench.rtp(3, source.keyframe(0));
    bench.rtp(20, source.sound(0));
    bench.rtp(23, source.sound(20));
    assert_eq!(seen(&mut bench), []);
    assert_eq!(bench.intake.deadline(), Some(bench.now(3 + WAIT).instant));
    bench.rtcp(40, &both(&source, 20));
    let units = [("v0", 0), ("a0", 0), ("a20", 20)];
    assert_eq!(seen(&mut bench), expected(&units), "as published");
    // Nothing waits any more, and nothing moves.
    bench.rtp(52, source.picture(40));
    bench.rtcp(80, &both(&source, 60));
    bench.rtp(85, source.sound(40));
    assert_eq!(seen(&mut bench), expected(&[("v40", 40), ("a40", 40)]));
    assert_eq!(bench.count(|c| &c.clocks_by_arrival), 0);
}

#[test]
fn a_track_waits_for_a_report_of_its_own() {
    let mut source = Source::new(1);
    let mut bench = waiting(&source);
    bench.rtcp(0, &source.report(Track::Audio, 0));
    bench.rtp(3, source.keyframe(0));
    bench.rtp(20, source.sound(0));
    assert_eq!(seen(&mut bench), expected(&[("a0", 0)]));
    bench.rtcp(50, &source.report(Track::Video, 40));
    assert_eq!(seen(&mut bench), expected(&[("v0", 0)]));
}

#[test]
fn a_report_that_does_not_come_is_waited_for_no_longer_than_the_bound() {
    let mut source = Source::new(1);
    let mut bench = waiting(&source);
    bench.rtp(3, source.keyframe(0));
    bench.rtp(20, source.sound(0));
    bench.pass(3 + WAIT - 1);
    assert_eq!(seen(&mut bench), []);
    bench.pass(3 + WAIT);
    assert_eq!(bench.intake.deadline(), Some(bench.now(20 + WAIT).instant));
    bench.pass(20 + WAIT);
    // By when they came: 17 ms apart, until reports come.
    assert_eq!(seen(&mut bench), expected(&[("v0", 3), ("a0", 20)]));
    assert_eq!(bench.count(|c| &c.clocks_by_arrival), 2);
    bench.rtp(230, source.sound(220));
    assert_eq!(seen(&mut bench), expected(&[("a220", 240)]), "it waits only once");
    bench.rtcp(250, &both(&source, 240));
    bench.rtp(260, source.sound(240));
    assert_eq!(seen(&mut bench), expected(&[("a240", 240)]));
}

#[test]
fn only_so_much_waits() {
    let mut source = Source::new(1);
    let mut bench = waiting(&source);
    let most = input::MAX_WAITING as u32;
    for n in 0..most {
        bench.rtp(1, source.sound_of(n, 4, n).packets());
    }
    assert_eq!(seen(&mut bench), []);
    bench.rtp(1, source.sound_of(most, 4, most).packets());
    assert_eq!(seen(&mut bench).len() as u32, most + 1);
    // 20,000 bytes.
    for ms in [0, 40] {
        bench.rtp(1, source.picture_of(ms, true, 9_000, ms).packets());
    }
    assert_eq!(seen(&mut bench), []);
    bench.rtp(1, source.picture_of(80, true, 9_000, 80).packets());
    assert_eq!(seen(&mut bench).len(), 3);
    assert_eq!(bench.count(|c| &c.clocks_by_arrival), 2);
}

#[test]
fn who_promises_no_reports_is_not_waited_for() {
    let mut source = Source::new(1);
    let mut description = source.description();
    description.tracks.iter_mut().for_each(|track| track.cname = None);
    let mut bench = Bench::waiting(&description, WAIT);
    bench.rtp(3, source.keyframe(0));
    assert_eq!(seen(&mut bench), expected(&[("v0", 3)]));
}

#[test]
fn on_a_leg_made_anew_both_tracks_keep_their_offset_though_reports_come_late() {
    let (mut first, mut second) = (Source::new(1), Source::new(2));
    second.clock_ahead = Duration::from_secs(7200);
    let mut bench = waiting(&first);
    bench.rtcp(0, &both(&first, 0));
    bench.rtp(0, first.keyframe(0));
    bench.rtp(0, first.sound(0));
    assert_eq!(seen(&mut bench), expected(&[("v0", 0), ("a0", 0)]));
    let before = [Track::Video, Track::Audio].map(|track| first.timestamp(track, 0));
    bench.intake.begin_leg(&second.description(), &mut || rand::random());
    bench.rtp(2000, second.keyframe(2000));
    bench.rtp(2017, second.sound(2000));
    bench.rtcp(2020, &both(&second, 2010));
    let passed = [0, 1].map(|at| {
        let unit: &RingUnit = &bench.units[at];
        unit.rtp_timestamp.wrapping_sub(before[unit.track]) / [90, 48][unit.track]
    });
    assert_eq!(passed, [2000, 2000], "ms on each RTP clock");
    assert_eq!(seen(&mut bench), expected(&[("v2000", 2000), ("a2000", 2000)]));
}

#[test]
fn what_waits_when_its_source_begins_anew_or_leaves_is_not_lost() {
    let mut source = Source::at([1, 2], [100, 100], [0, 0]);
    let mut bench = waiting(&source);
    bench.rtp(0, source.keyframe(0));
    let mut again = Source::at([1, 2], [40_000, 40_000], [900_000_000, 7]);
    bench.rtp(50, again.keyframe(50));
    bench.rtp(50, again.keyframe(90));
    assert_eq!(seen(&mut bench), expected(&[("v0", 0)]));
    bench.rtcp(60, &again.bye());
    assert_eq!(bench.marks(), ["v50", "v90"]);
}
