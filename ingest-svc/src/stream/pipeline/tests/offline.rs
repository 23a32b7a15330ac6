//! The last keyframe and silence in place of a publisher.

use super::*;
use crate::stream::Offline;

#[test]
fn while_there_is_no_publisher_the_last_keyframe_is_repeated_and_silence_goes_on() {
    let mut bench = Bench::with_tracks();
    bench.pipeline.keep_picture();
    let mut sent = Vec::new();
    for (ms, keyframe) in [(0, true), (40, false), (80, true), (120, false)] {
        bench.now += Duration::from_millis(40);
        sent.extend(bench.video(ms, avc_picture(keyframe, 80, 500, ms as u8)));
        sent.extend(bench.audio(ms, aac_frame(100, 1)));
    }
    assert!(bench.pipeline.can_be_offline());
    let mut offline = Offline::begin(&mut bench.pipeline, bench.now);
    for _ in 0..95 {
        bench.now = offline.poll_timeout();
        offline.handle_timeout(&mut bench.pipeline, bench.now);
        sent.extend(std::iter::from_fn(|| bench.pipeline.poll_unit()));
    }
    let (video, audio): (Vec<_>, Vec<_>) = sent.iter().partition(|u| u.kind == MediaKind::Video);
    let pictures: Vec<_> = video.iter().map(|unit| unit.packets.packets().last()).collect();
    assert_eq!(pictures.len(), 4 + 10, "one a second");
    let payload = |at: usize| pictures[at].as_ref().unwrap().slice(12..);
    assert!((4..14).all(|at| payload(at) == payload(2) && video[at].keyframe));
    assert!(
        video.windows(2).skip(4).all(|two| two[1].time.nanos_since(two[0].time) == 1_000_000_000)
    );
    assert!(video[4].time > video[3].time);
    // 9.5 s of sound: frames of 1024 samples without a gap, and none of it ahead.
    let stamps: Vec<_> =
        audio[4..].iter().map(|unit| timestamp(std::slice::from_ref(unit))).collect();
    assert!(stamps.windows(2).all(|two| two[1].wrapping_sub(two[0]) == 1024));
    assert!((436..=446).contains(&stamps.len()), "{}", stamps.len());

    // A publisher comes back with its own clock: nothing runs back.
    bench.now += Duration::from_millis(50);
    bench.pipeline.begin_publisher();
    assert_eq!(bench.video(7_000_000, avc_picture(false, 80, 500, 9)).len(), 0);
    let first = bench.video(7_000_040, avc_picture(true, 80, 500, 9));
    assert!(first[0].time > video.last().unwrap().time);
    let sound = bench.audio(7_000_040, aac_frame(100, 1));
    assert!(timestamp(&sound).wrapping_sub(*stamps.last().unwrap()) < 48_000);
}

#[test]
fn a_pause_of_the_process_is_not_made_up_for_while_offline() {
    let mut bench = Bench::with_tracks();
    bench.pipeline.keep_picture();
    bench.video(0, avc_picture(true, 0, 500, 1));
    let mut offline = Offline::begin(&mut bench.pipeline, bench.now);
    offline.handle_timeout(&mut bench.pipeline, bench.now);
    let first: Vec<_> = std::iter::from_fn(|| bench.pipeline.poll_unit()).collect();
    bench.now += Duration::from_secs(3600);
    offline.handle_timeout(&mut bench.pipeline, bench.now);
    let second: Vec<_> = std::iter::from_fn(|| bench.pipeline.poll_unit()).collect();
    assert!(second.len() <= first.len() + 1, "{} and {}", first.len(), second.len());
    let passed = second[0].time.nanos_since(first[0].time);
    assert_eq!(passed, 3_600_000_000_000);
}

#[test]
fn a_keyframe_of_another_codec_header_is_not_repeated() {
    let mut bench = Bench::with_tracks();
    bench.video(0, avc_picture(true, 0, 500, 1));
    assert!(!bench.pipeline.can_be_offline(), "nobody wanted it kept");
    bench.pipeline.keep_picture();
    bench.video(40, avc_picture(true, 0, 500, 1));
    assert!(bench.pipeline.can_be_offline());
    bench.video(80, avc_header(SPS, &[0x68, 0xEF, 0xBC, 0xB3]));
    assert!(!bench.pipeline.can_be_offline());
    bench.video(80, avc_picture(true, 0, 500, 1));
    assert!(bench.pipeline.can_be_offline());
}
