use proptest::prelude::*;

use super::*;

/// The times of all frames of `samples` that a publisher stamped `ms`.
fn stamps(clock: &mut AudioClock, samples: u32, ms: &[i64]) -> Vec<i64> {
    ms.iter().map(|ms| clock.stamp(MediaTime::from_millis(*ms), samples)).collect()
}

fn clock(hz: u32) -> AudioClock {
    AudioClock::new(ClockRate::new(hz).unwrap(), Duration::from_millis(50))
}

#[test]
fn the_first_timestamp_keeps_its_value() {
    for first in [0, 1, 1 << 31, u32::MAX] {
        let unwrapped = TimestampUnwrapper::default().unwrap(first);
        assert_eq!(unwrapped, MediaTime::from_millis(first.into()));
    }
}

#[test]
fn a_step_of_half_the_range_goes_back_and_anything_less_forward() {
    for (step, unwrapped) in [
        ((1 << 31) - 1, (1_i64 << 31) - 1),
        (1 << 31, -(1 << 31)),
        ((1 << 31) + 1, 1 - (1 << 31)),
        (u32::MAX, -1),
    ] {
        let mut unwrapper = TimestampUnwrapper::default();
        unwrapper.unwrap(0);
        assert_eq!(unwrapper.unwrap(step), MediaTime::from_millis(unwrapped), "{step}");
    }
}

#[test]
fn many_wraps_are_counted() {
    let mut unwrapper = TimestampUnwrapper::default();
    // A year of a timestamp each day.
    for day in 0..365_i64 {
        let ms = day * 86_400_000;
        assert_eq!(unwrapper.unwrap(ms as u32), MediaTime::from_millis(ms));
    }
}

#[test]
fn a_publisher_that_jumps_for_ever_begins_anew_before_time_overflows() {
    for jump in [(1_u32 << 31) - 1, 1 << 31] {
        let mut unwrapper = TimestampUnwrapper::default();
        let (mut timestamp, mut last, mut restarts) = (0_u32, MediaTime::ZERO, 0);
        for _ in 0..20_000 {
            let time = unwrapper.unwrap(timestamp);
            // Whatever is made of two times later on: their distance fits.
            let distance = time.as_nanos().checked_sub(last.as_nanos());
            let restarted = distance.unwrap().abs() > MediaTime::from_millis(1 << 31).as_nanos();
            if restarted {
                assert_eq!(time, MediaTime::from_millis(timestamp.into()));
                restarts += 1;
            }
            last = time;
            timestamp = timestamp.wrapping_add(jump);
        }
        // 139 years are 2048 jumps of 24 days.
        assert!((8..=10).contains(&restarts), "{restarts}");
    }
}

#[test]
fn jitter_below_the_drift_never_shows() {
    let mut clock = clock(48_000);
    let ms = [1000, 1061, 1003, 1064, 1085, 1057, 1128, 1199];
    let expected: Vec<_> = (0..8).map(|frame| 48_000 + frame * 1024).collect();
    assert_eq!(stamps(&mut clock, 1024, &ms), expected);
    assert_eq!(clock.reanchored(), 0);
}

#[test]
fn a_drift_of_exactly_the_bound_is_kept_and_one_sample_more_reanchors() {
    let rate = ClockRate::new(48_000).unwrap();
    let bound = 48_000 / 20;
    for (ahead, stamp, reanchored) in
        [(bound, 1024, 0), (bound + 1, 1024 + bound + 1, 1), (-bound, 1024, 0)]
    {
        let mut clock = clock(48_000);
        clock.stamp(MediaTime::ZERO, 1024);
        let at = MediaTime::from_ticks(1024 + ahead, rate);
        assert_eq!((clock.stamp(at, 1024), clock.reanchored()), (stamp, reanchored), "{ahead}");
    }
}

#[test]
fn a_slow_drift_is_taken_back_in_one_step_each_time_it_grows_too_far() {
    // An encoder whose clock runs 1 % fast: 1024 samples of it last 1034.24 of ours.
    let mut clock = clock(48_000);
    let rate = ClockRate::new(48_000).unwrap();
    let mut last = 0;
    for frame in 0..10_000_i64 {
        let told = frame * 103_424 / 100;
        let stamp = clock.stamp(MediaTime::from_ticks(told, rate), 1024);
        assert!((told - stamp).abs() <= 2400, "frame {frame} is {} off", told - stamp);
        assert!(frame == 0 || stamp >= last + 1024);
        last = stamp;
    }
    // 2400 samples of drift take 235 frames.
    assert_eq!(clock.reanchored(), 10_000 / 235);
}

#[test]
fn behind_a_step_back_the_count_goes_on_until_the_publisher_has_caught_up() {
    let mut clock = clock(1000);
    // A clock of 1 kHz: frames of 20 samples last 20 ms. The publisher goes back by 200 ms, and then
    // sends twice as fast.
    let ms: Vec<_> = [1000, 1020].into_iter().chain((0..12).map(|n| 820 + 40 * n)).collect();
    let expected: Vec<_> = (0..14).map(|frame| 1000 + 20 * frame).collect();
    assert_eq!(stamps(&mut clock, 20, &ms), expected);
    assert_eq!(clock.reanchored(), 0);
    assert_eq!(clock.stamp(MediaTime::from_millis(1400), 20), 1400);
    assert_eq!(clock.reanchored(), 1);
}

#[test]
fn frames_may_differ_in_length() {
    let mut clock = clock(48_000);
    let stamps = [1024, 960, 0, 480].map(|samples| clock.stamp(MediaTime::ZERO, samples));
    assert_eq!(stamps, [0, 1024, 1984, 1984]);
}

proptest! {
    #[test]
    fn any_walk_by_less_than_half_the_range_is_unwrapped_as_it_was(
        first: u32,
        steps in prop::collection::vec(-(1_i64 << 31)..1_i64 << 31, 0..100),
    ) {
        let mut unwrapper = TimestampUnwrapper::default();
        let mut ms = i64::from(first);
        prop_assert_eq!(unwrapper.unwrap(first), MediaTime::from_millis(ms));
        for step in steps {
            ms += step;
            prop_assert_eq!(unwrapper.unwrap(ms as u32), MediaTime::from_millis(ms));
        }
    }

    #[test]
    fn no_frame_begins_before_the_last_one_has_ended(
        hz in 1..1_u32 << 24,
        frames in prop::collection::vec((any::<i32>(), 0..2049_u32), 1..100),
    ) {
        let mut clock = clock(hz);
        let mut end = i64::MIN;
        for (ms, samples) in frames {
            let stamp = clock.stamp(MediaTime::from_millis(ms.into()), samples);
            prop_assert!(stamp >= end);
            end = stamp + i64::from(samples);
        }
    }
}

#[test]
fn timestamps_unwrap_over_32_bits_and_take_small_steps_back() {
    let mut unwrapper = TimestampUnwrapper::default();
    let ms: Vec<_> = [u32::MAX - 10, u32::MAX - 20, 5, 25]
        .map(|t| unwrapper.unwrap(t).as_nanos() / 1_000_000)
        .to_vec();
    let wrap = 1_i64 << 32;
    assert_eq!(ms, [wrap - 11, wrap - 21, wrap + 5, wrap + 25]);
}

#[test]
fn millisecond_rounding_over_13_hours_never_shows_and_never_reanchors() {
    let rate = ClockRate::new(44_100).unwrap();
    let mut clock = AudioClock::new(rate, Duration::from_millis(50));
    for frame in 0..2_000_000_i64 {
        let ms = frame * 1024 * 1000 / 44_100;
        assert_eq!(clock.stamp(MediaTime::from_millis(ms), 1024), frame * 1024);
    }
    assert_eq!(clock.reanchored(), 0);
}

#[test]
fn a_jump_forward_reanchors_and_a_jump_back_never_goes_back() {
    let rate = ClockRate::new(48_000).unwrap();
    let mut clock = AudioClock::new(rate, Duration::from_millis(50));
    assert_eq!(clock.stamp(MediaTime::from_millis(0), 1024), 0);
    assert_eq!(clock.stamp(MediaTime::from_millis(1000), 1024), 48_000);
    assert_eq!(clock.reanchored(), 1);
    assert_eq!(clock.stamp(MediaTime::from_millis(500), 1024), 49_024);
}
