//! What becomes of a publisher's timestamps: over days of made-up time and every wrap of the clocks that they are told by, with pictures in
//! every order, and with tracks that begin apart.

use super::*;

/// What of the days is played in full: the beginning, the wraps of RTMP's 24 and 32 bits of milliseconds, of RTP's 32 bits at
/// 90 kHz (13 h 14 m) and at 48 kHz (24 h 51 m), and the end.
const FULL_MS: [u64; 6] = [0, 1 << 24, (1 << 32) / 90, (1 << 32) / 48, 1 << 32, 51 * 86_400_000];
/// How long each of them is played, the wrap in the middle.
const WINDOW_MS: u64 = 10_000;
/// Between them a picture comes as often as this.
const PAUSE_MS: u64 = 60_000;

/// A publisher whose first timestamp is `first_ms`, `at_ms` after it began: its stamps are rounded to milliseconds and wrap.
struct Days {
    bench: Bench,
    begin: Instant,
    first_ms: u32,
}

impl Days {
    fn stamp(&self, at_ms: u64) -> u32 {
        self.first_ms.wrapping_add(at_ms as u32)
    }

    fn picture(&mut self, at_ms: u64) {
        self.bench.now = self.begin + Duration::from_millis(at_ms);
        let units = self.bench.video(self.stamp(at_ms), avc_picture(true, 80, 100, 1));
        let expected = VIDEO_ORIGIN.wrapping_add(((at_ms + 80) * 90) as u32);
        assert_eq!(timestamp(&units), expected, "{at_ms} ms");
    }

    /// Both tracks in full: pictures are exact; sounds follow each other without a gap, and lie where they should to a millisecond.
    fn play(&mut self, from_ms: u64) {
        let mut next_sound = None;
        for at_ms in (from_ms..from_ms + WINDOW_MS).step_by(40) {
            self.picture(at_ms);
            // As many frames of 64/3 ms as have begun by now.
            let frames = |ms: u64| (ms - from_ms) * 3 / 64 + 1;
            let done = if at_ms == from_ms { 0 } else { frames(at_ms - 40) };
            for n in done..frames(at_ms) {
                let exact_samples = from_ms * 48 + n * 1024;
                let units = self.bench.audio(self.stamp(exact_samples / 48), aac_frame(100, 1));
                let sound = timestamp(&units);
                assert!(next_sound.is_none_or(|next| next == sound), "a gap at {at_ms} ms");
                next_sound = Some(sound.wrapping_add(1024));
                let off = sound.wrapping_sub(AUDIO_ORIGIN.wrapping_add(exact_samples as u32));
                assert!((off as i32).abs() < 48, "{off} samples off at {at_ms} ms");
            }
        }
    }
}

#[test]
fn fifty_one_days_go_over_every_wrap_to_the_tick() {
    for first_ms in [0, 7, 0x00FF_FFFF, 0x7FFF_FFFF, u32::MAX - 3] {
        let bench = Bench::with_tracks();
        let mut days = Days { begin: bench.now, bench, first_ms };
        let mut at_ms = 0;
        for full in FULL_MS {
            let from = full.saturating_sub(WINDOW_MS / 2);
            while at_ms + PAUSE_MS < from {
                at_ms += PAUSE_MS;
                days.picture(at_ms);
            }
            days.play(from);
            at_ms = from + WINDOW_MS;
        }
        let repaired = days.bench.pipeline.repaired();
        // Sound that was left out for hours is anchored anew, once at most for each time.
        assert!(repaired.reanchored <= FULL_MS.len() as u32, "{repaired:?}");
        assert_eq!((repaired.jumps, repaired.compositions), (0, 0), "{first_ms}");

        // Sender Reports are on the same lines.
        let origin = NtpTime::from_unix(Duration::from_secs(1_800_000_000));
        let now = origin.offset_by_nanos(at_ms as i64 * 1_000_000);
        let lines: Vec<_> =
            days.bench.pipeline.tracks().iter().map(|t| t.clock_mapping(origin)).collect();
        let video = VIDEO_ORIGIN.wrapping_add((at_ms * 90) as u32);
        let audio = AUDIO_ORIGIN.wrapping_add((at_ms * 48) as u32);
        assert_eq!(lines.iter().map(|line| line.rtp_at(now)).collect::<Vec<_>>(), [video, audio]);
    }
}

#[test]
fn composition_times_that_cannot_be_are_taken_as_none_and_counted() {
    let mut bench = Bench::with_tracks();
    for (at_ms, composition_ms, taken) in
        [(0, 80, 80), (40, 7_200_000, 0), (80, -7_200_000, 0), (120, -40, -40), (160, 9_000, 9_000)]
    {
        let units = bench.video(at_ms, avc_picture(true, composition_ms, 100, 1));
        let expected = VIDEO_ORIGIN.wrapping_add(((at_ms as i32 + taken) * 90) as u32);
        assert_eq!(timestamp(&units), expected, "{composition_ms}");
    }
    assert_eq!(bench.pipeline.repaired().compositions, 2);
}

#[test]
fn pictures_of_every_depth_of_reordering_keep_their_presentation_times() {
    // Of 25 a second in decode order: when each is shown, in pictures. Depths 0 to 4 (a pyramid).
    let orders: [&[i32]; 5] = [
        &[0, 1, 2, 3, 4],
        &[0, 2, 1, 4, 3],
        &[0, 3, 1, 2, 6, 4, 5],
        &[0, 4, 2, 1, 3, 8, 6, 5, 7],
        &[0, 8, 4, 2, 1, 3, 6, 5, 7, 16, 12, 10, 9, 11, 14, 13, 15],
    ];
    for (depth, order) in orders.into_iter().enumerate() {
        let mut bench = Bench::with_tracks();
        for (at, &shown) in order.iter().enumerate() {
            let composition_ms = (shown - at as i32 + depth as i32) * 40;
            let picture = avc_picture(at == 0, composition_ms, 100, 1);
            let units = bench.video(at as u32 * 40, picture);
            let ticks = (shown + depth as i32) * 3600;
            assert_eq!(timestamp(&units), VIDEO_ORIGIN.wrapping_add(ticks as u32), "{order:?}");
        }
        assert_eq!(bench.pipeline.tracks()[0].has_b_frames, depth > 0);
        assert_eq!(bench.pipeline.repaired(), Repaired::default());
    }
}

#[test]
fn two_seconds_between_the_tracks_at_the_start_are_kept() {
    for (video_ms, audio_ms) in [(2_000u32, 0u32), (0, 2_000), (5_000, 3_000)] {
        let mut bench = Bench::with_tracks();
        let video = timestamp(&bench.video(video_ms, avc_picture(true, 0, 100, 1)));
        let audio = timestamp(&bench.audio(audio_ms, aac_frame(100, 1)));
        let video = (video.wrapping_sub(VIDEO_ORIGIN) as i32) / 90;
        let audio = (audio.wrapping_sub(AUDIO_ORIGIN) as i32) / 48;
        assert_eq!(audio - video, audio_ms as i32 - video_ms as i32);
        assert_eq!(bench.pipeline.repaired(), Repaired::default());
    }
}

#[test]
fn pictures_of_a_varying_rate_and_of_one_time_keep_their_times() {
    let mut bench = Bench::with_tracks();
    let mut at_ms = 0;
    for step in [0, 0, 1, 250, 7, 0, 4_000, 16, 17, 9_900] {
        at_ms += step;
        bench.now += Duration::from_millis(step.into());
        let units = bench.video(at_ms, avc_picture(true, 0, 100, 1));
        assert_eq!(timestamp(&units), VIDEO_ORIGIN.wrapping_add(at_ms * 90));
    }
    assert_eq!(bench.pipeline.repaired(), Repaired::default());
}
