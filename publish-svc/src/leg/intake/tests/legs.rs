//! What readers see while sources come back and legs are made anew.

use super::*;

/// A source with another clock than the tests'.
fn source(seed: u32, ahead: Duration) -> Source {
    let mut source = Source::new(seed);
    source.clock_ahead = ahead;
    source
}

/// Both tracks' access units of 40 ms, and reports in front if `reported`.
fn play(bench: &mut Bench, source: &mut Source, times: std::ops::Range<u32>, reported: bool) {
    for ms in times.step_by(40) {
        if reported {
            bench.rtcp(ms, &source.report(Track::Video, ms));
            bench.rtcp(ms, &source.report(Track::Audio, ms));
        }
        bench.rtp(ms, source.keyframe(ms));
        bench.rtp(ms, source.sound(ms));
    }
}

/// SSRCs are those of the first leg, sequence numbers go on, timestamps never run backwards; by track, the units.
fn assert_unbroken(units: &[RingUnit]) -> [Vec<&RingUnit>; 2] {
    [0, 1].map(|track| {
        let units: Vec<_> = units.iter().filter(|unit| unit.track == track).collect();
        let headers: Vec<_> = units.iter().flat_map(|unit| headers(unit)).collect();
        for pair in headers.windows(2) {
            assert_eq!(pair[1].ssrc, pair[0].ssrc);
            assert_eq!(pair[1].sequence_number, pair[0].sequence_number.wrapping_add(1));
            assert!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) < 1 << 31);
        }
        units
    })
}

/// The milliseconds from one unit to the next on the track's clock.
fn gap_ms(units: &[&RingUnit], behind: u32) -> u32 {
    let at = units.iter().position(|unit| mark(unit) == behind).unwrap();
    let ticks = units[at + 1].rtp_timestamp.wrapping_sub(units[at].rtp_timestamp);
    ticks / [90, 48][units[at].track]
}

/// Pictures and sounds of one time are of one time to readers, too.
fn assert_in_step(bench: &mut Bench, [video, audio]: [&RingUnit; 2]) {
    assert_eq!(mark(video), mark(audio));
    let apart = bench.wall(video).nanos_since(bench.wall(audio));
    assert!(apart.abs() <= 1_000_000, "{apart} ns apart");
}

#[test]
fn a_leg_made_anew_by_another_host_goes_on_where_the_old_one_ended() {
    for ahead in [Duration::ZERO, Duration::from_millis(400), Duration::from_secs(3600)] {
        let (mut first, mut second) = (source(1, Duration::ZERO), source(2, ahead));
        let mut bench = Bench::new(&first);
        play(&mut bench, &mut first, 0..400, true);
        bench.intake.begin_leg(&second.description(), &mut || rand::random());
        assert_eq!(bench.intake.state(), LegState::Held);
        play(&mut bench, &mut second, 2000..2400, true);
        // What the old one still sends is refused.
        bench.rtp(2400, first.keyframe(2400));
        assert_eq!(bench.count(|c| &c.refused_ssrc), 1);
        let units = std::mem::take(&mut bench.units);
        let [video, audio] = assert_unbroken(&units);
        let gap =
            if ahead < Duration::from_secs(1) { 1640 + ahead.as_millis() as u32 } else { 1640 };
        assert_eq!((gap_ms(&video, 360), gap_ms(&audio, 360)), (gap, gap), "{ahead:?}");
        assert_in_step(&mut bench, [video.last().unwrap(), audio.last().unwrap()]);
        assert_eq!((gap_ms(&video, 2000), gap_ms(&audio, 2000)), (40, 40));
    }
}

#[test]
fn a_leg_whose_clock_is_behind_never_runs_backwards() {
    let (mut first, mut second) = (source(1, Duration::from_millis(900)), Source::new(2));
    let mut bench = Bench::new(&first);
    play(&mut bench, &mut first, 0..400, true);
    bench.intake.begin_leg(&second.description(), &mut || rand::random());
    play(&mut bench, &mut second, 500..900, true);
    let units = std::mem::take(&mut bench.units);
    let [video, audio] = assert_unbroken(&units);
    assert_eq!((gap_ms(&video, 360), gap_ms(&audio, 360)), (1, 1));
    assert_in_step(&mut bench, [video.last().unwrap(), audio.last().unwrap()]);
}

#[test]
fn sound_that_comes_later_on_a_new_leg_keeps_its_offset_to_the_pictures() {
    let (mut first, mut second) = (Source::new(1), source(2, Duration::from_secs(99)));
    let mut bench = Bench::new(&first);
    play(&mut bench, &mut first, 0..400, true);
    bench.intake.begin_leg(&second.description(), &mut || rand::random());
    bench.rtcp(2000, &second.report(Track::Video, 2000));
    bench.rtcp(2000, &second.report(Track::Audio, 2000));
    bench.rtp(2000, second.keyframe(2000));
    // 300 ms late on the way.
    bench.rtp(2300, second.sound(2000));
    let units = std::mem::take(&mut bench.units);
    let [video, audio] = assert_unbroken(&units);
    assert_in_step(&mut bench, [video.last().unwrap(), audio.last().unwrap()]);
    assert_eq!(gap_ms(&audio, 360), gap_ms(&video, 360), "not by when it came");
}

#[test]
fn reports_that_come_after_the_media_of_a_new_leg_bring_the_tracks_in_step() {
    for (ahead, first_reports) in [(0, true), (0, false), (7200, true), (7200, false)] {
        let (mut first, mut second) = (Source::new(1), source(2, Duration::from_secs(ahead)));
        let mut bench = Bench::new(&first);
        play(&mut bench, &mut first, 0..400, first_reports);
        bench.intake.begin_leg(&second.description(), &mut || rand::random());
        bench.rtp(2000, second.keyframe(2000));
        bench.rtp(2017, second.sound(2000));
        bench.rtcp(2020, &second.report(Track::Video, 2020));
        bench.rtcp(2020, &second.report(Track::Audio, 2020));
        play(&mut bench, &mut second, 2040..2400, false);
        let units = std::mem::take(&mut bench.units);
        let [video, audio] = assert_unbroken(&units);
        assert_in_step(&mut bench, [video.last().unwrap(), audio.last().unwrap()]);
        assert_eq!((gap_ms(&video, 360), gap_ms(&audio, 360)), (1640, 1657), "by when they came");
        // Readers' clock goes on, too.
        let passed = bench.wall(video.last().unwrap()).nanos_since(ntp(2360, Duration::ZERO));
        assert!(passed.abs() < 50_000_000, "{passed} ns off");
    }
}

#[test]
fn without_any_report_a_first_leg_is_on_the_wall_clock_by_when_it_came() {
    let mut source = source(1, Duration::from_secs(50));
    let mut bench = Bench::new(&source);
    bench.rtp(100, source.keyframe(0));
    assert!(bench.intake.take_changes().clocks);
    let unit = bench.units.pop().unwrap();
    assert_eq!(unit.rtp_timestamp, source.timestamp(Track::Video, 0), "kept as it came");
    assert_eq!(bench.wall(&unit), ntp(100, Duration::ZERO));
    bench.rtcp(200, &source.report(Track::Video, 200));
    // The sender's clock is another: readers' goes on where it was, to within the jitter of the way.
    assert!(bench.intake.take_changes().clocks);
    assert!(bench.wall(&unit).nanos_since(ntp(100, Duration::ZERO)).abs() < 1_000_000);
}

#[test]
fn a_source_that_begins_anew_within_a_leg_goes_on_behind_itself() {
    let mut first = Source::at([1, 2], [100, 100], [0, 0]);
    let mut again = Source::at([1, 2], [40_000, 40_000], [900_000_000, 7]);
    let mut bench = Bench::new(&first);
    play(&mut bench, &mut first, 0..400, true);
    play(&mut bench, &mut again, 1000..1400, false);
    let units = std::mem::take(&mut bench.units);
    let [video, audio] = assert_unbroken(&units);
    assert_eq!((video.len(), audio.len()), (20, 20));
    // The first packet elsewhere waits for the second, but lies where it came.
    assert_eq!((gap_ms(&video, 360), gap_ms(&audio, 360)), (640, 640));
}

#[test]
fn a_source_whose_timestamps_jump_back_goes_on_behind_itself() {
    let mut first = Source::at([1, 2], [100, 100], [900_000_000, 900_000_000]);
    let mut bench = Bench::new(&first);
    play(&mut bench, &mut first, 0..400, true);
    let mut again = Source::at([1, 2], first.next_numbers(), [0, 0]);
    play(&mut bench, &mut again, 1000..1400, false);
    let units = std::mem::take(&mut bench.units);
    let [video, audio] = assert_unbroken(&units);
    assert_eq!((gap_ms(&video, 360), gap_ms(&audio, 360)), (640, 640));
    assert!(!bench.intake.output().tracks[0].has_b_frames);
}

#[test]
fn a_source_that_came_back_on_another_port_is_heard_by_rtcp_too() {
    for bye in [true, false] {
        let mut source = Source::new(1);
        let mut bench = Bench::new(&source);
        play(&mut bench, &mut source, 0..400, true);
        if bye {
            bench.rtcp(400, &source.bye());
        }
        let later = 400 + SILENCE;
        bench.rtp_from(address(9000), later, source.keyframe(later));
        bench.rtcp_from(address(9001), later, &source.report(Track::Video, later));
        bench.reports(later);
        let reports = bench.reports(later + 2000);
        assert!(reports.iter().any(|(to, _)| *to == address(9001)), "{bye}: {reports:?}");
        let stale = reports.iter().any(|(to, _)| *to == address(FROM + 1));
        assert!(!stale || !bye, "{bye}: {reports:?}");
    }
}

#[test]
fn the_description_of_a_new_leg_changes_the_readers_only_where_it_differs() {
    let source = Source::new(1);
    let mut bench = Bench::new(&source);
    let before = bench.intake.output().describe().unwrap();
    bench.intake.take_changes();
    let mut again = Source::new(2).description();
    bench.intake.begin_leg(&again, &mut || rand::random());
    assert!(!bench.intake.take_changes().description);
    let CodecConfig::H264(config) = &mut again.tracks[0].config else { panic!() };
    config.pps[0] = Bytes::from_static(&[0x68, 0xEF, 0xBC, 0xB3]);
    bench.intake.begin_leg(&again, &mut || rand::random());
    assert!(bench.intake.take_changes().description);
    let after = bench.intake.output().describe().unwrap();
    assert_eq!((after.version, after.session_id), (before.version + 1, before.session_id));
    assert_eq!(after.description.tracks[0].ssrc, before.description.tracks[0].ssrc);
}

#[test]
fn pictures_that_are_shown_in_another_order_are_told_as_b_frames() {
    let mut source = Source::new(1).without_parameter_sets();
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    bench.rtp(10, source.picture(120));
    bench.intake.take_changes();
    bench.rtp(20, source.picture(40));
    assert!(bench.intake.take_changes().status);
    assert!(bench.intake.output().tracks[0].has_b_frames);
    let timestamps: Vec<_> = bench.units.iter().map(|unit| unit.rtp_timestamp).collect();
    assert_eq!(timestamps, [0, 120, 40].map(|ms| source.timestamp(Track::Video, ms)));
}

#[test]
fn a_leg_goes_on_without_a_trace_when_a_track_comes_late() {
    let mut source = Source::new(1);
    let whole = source.description();
    let mut pictures = whole.clone();
    pictures.tracks.truncate(1);
    let mut bench = Bench::of(&pictures);
    bench.rtcp(0, &source.report(Track::Video, 0));
    for ms in (0..400).step_by(40) {
        let mut packets = source.picture(ms);
        if ms == 200 {
            // Told between two packets of one picture.
            bench.rtp(ms, packets.drain(..1));
            bench.intake.describe_leg(&whole, &mut || rand::random());
            assert_eq!(bench.intake.state(), LegState::Live);
        }
        bench.rtp(ms, packets);
        if ms >= 200 {
            bench.rtp(ms, source.sound(ms));
            bench.rtcp(ms, &source.report(Track::Audio, ms));
        }
    }
    let units = std::mem::take(&mut bench.units);
    let [video, audio] = assert_unbroken(&units);
    assert_eq!((video.len(), audio.len()), (10, 5));
    assert!((0..9).all(|at| gap_ms(&video, at * 40) == 40));
    assert_in_step(&mut bench, [video.last().unwrap(), audio.last().unwrap()]);
}

#[test]
fn a_first_clock_that_is_hours_off_is_put_on_ours_and_its_tracks_stay_together() {
    const HOUR: u64 = 3600;
    for (hours, is_taken) in [(5, true), (7, false), (24 * 49, false)] {
        let ahead = Duration::from_secs(hours * HOUR);
        let mut source = source(1, ahead);
        let mut bench = Bench::new(&source);
        // The reports come first, so that nothing is known but them.
        for track in [Track::Video, Track::Audio] {
            let report = source.report(track, 1000);
            bench.rtcp(1000, &report);
        }
        bench.rtp(1010, source.keyframe(1000));
        bench.rtp(1010, source.sound(1000));
        let [video, audio] = [bench.units.remove(0), bench.units.remove(0)];
        let expected = if is_taken { ntp(1000, ahead) } else { ntp(1010, Duration::ZERO) };
        for unit in [&video, &audio] {
            let off = bench.wall(unit).nanos_since(expected);
            assert!(off.abs() < 50_000, "{hours} hours: {off} ns");
        }
        // Later reports of the same clock move nothing.
        let report = source.report(Track::Video, 2000);
        bench.rtcp(2000, &report);
        assert!(bench.wall(&video).nanos_since(expected).abs() < 50_000, "{hours} hours");
    }
}
