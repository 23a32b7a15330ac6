//! The stream's own timeline: where a publisher's timestamps lie on it.
//!
//! It begins at zero with the first access unit and goes on for as long as the stream lives: over reconnects of
//! the publisher, and over jumps of its clock (VLC goes from 0 to thousands of seconds, loops go back to 0). All tracks of a
//! publisher are moved by the same distance, so what belongs together stays together.

use std::time::{Duration, Instant};

use media::{MediaTime, codec::MediaKind, timeline::TimestampUnwrapper};

/// A step further ahead of the wall clock than this is a jump of the publisher's clock. Encoders that resume after a
/// stall step by what they left out, which the wall clock knows of; muxers interleave within a few seconds.
const MAX_AHEAD: Duration = Duration::from_secs(10);
/// A step back on one track further than this is a jump: in decode order a track never goes back; some encoders
/// jitter by some milliseconds.
const MAX_BACK: Duration = Duration::from_secs(1);

/// The least step from the last access unit of a publisher to the first of the next: a picture of 25 a second. Where one goes on in
/// the instant in which the other leaves, what the next one's other track begins with lies before its first access unit by as
/// much as muxers interleave, and is still behind what was sent.
const SEAM: Duration = Duration::from_millis(40);
/// Two access units of a track have not one time, though the first of a publisher be further before its other track than [`SEAM`].
const TRACK_SEAM: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct StreamTimeline {
    unwrapper: TimestampUnwrapper,
    /// The distance from the publisher's clock to the timeline, as it was found last; `None` before the first access unit
    /// of a publisher.
    newest_shift: Option<i64>,
    /// The one before it: a single access unit that is stamped hours away is no jump of the clock, and what comes behind it fits again.
    shift_before: Option<i64>,
    video: TrackPlace,
    audio: TrackPlace,
    /// The furthest that any track has come, and when its access unit came.
    last: Option<(MediaTime, Instant)>,
    /// The next access unit is the first of a publisher that goes on after another.
    at_seam: bool,
    jumps: u32,
}

/// Where a track is.
#[derive(Debug, Default)]
struct TrackPlace {
    /// The distance that this track is moved by; `None` before its first access unit of a publisher.
    shift: Option<i64>,
    /// Its last access unit, and when it came.
    last: Option<(MediaTime, Instant)>,
}

impl StreamTimeline {
    /// Another publisher goes on: its first access unit is placed behind the last one by the time that has passed.
    pub(crate) fn restart(&mut self) {
        self.at_seam = self.last.is_some();
        self.unwrapper = TimestampUnwrapper::default();
        (self.newest_shift, self.shift_before) = (None, None);
        self.video.shift = None;
        self.audio.shift = None;
    }

    /// The place of an access unit stamped `timestamp_ms` that came at `now`; never before the one before it on its track.
    pub(crate) fn place(&mut self, kind: MediaKind, timestamp_ms: u32, now: Instant) -> MediaTime {
        let at = self.unwrapper.unwrap(timestamp_ms);
        let shift = self.shift_for(kind, at, now);
        self.at_seam = false;
        let track = self.track_mut(kind);
        let mut place = shifted(at, shift);
        if let Some((last, _)) = track.last {
            let is_first = track.shift.is_none();
            place = place.max(if is_first { last + TRACK_SEAM } else { last });
        }
        track.shift = Some(shift);
        track.last = Some((place, now));
        self.last = Some(match self.last {
            Some((last, _)) => (last.max(place), now),
            None => (place, now),
        });
        place
    }

    /// The place of what is stamped `timestamp_ms` and is of no track; `None` before the first access unit of a publisher.
    pub(crate) fn peek(&self, timestamp_ms: u32) -> Option<MediaTime> {
        Some(shifted(self.unwrapper.peek(timestamp_ms), self.newest_shift?))
    }

    /// How often the publisher's clock jumped.
    pub(crate) fn jumps(&self) -> u32 {
        self.jumps
    }

    fn track_mut(&mut self, kind: MediaKind) -> &mut TrackPlace {
        match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        }
    }

    fn shift_for(&mut self, kind: MediaKind, at: MediaTime, now: Instant) -> i64 {
        let track = match kind {
            MediaKind::Video => &self.video,
            MediaKind::Audio => &self.audio,
        };
        // The track's own distance, then the one that the other track has found since, then the one before.
        let candidates = [track.shift, self.newest_shift, self.shift_before];
        if let Some(shift) =
            candidates.into_iter().flatten().find(|&shift| self.fits(track, at, shift, now))
        {
            if Some(shift) == self.shift_before {
                std::mem::swap(&mut self.newest_shift, &mut self.shift_before);
            }
            return shift;
        }
        if self.newest_shift.is_some() {
            self.jumps = self.jumps.wrapping_add(1);
        }
        let place = match self.last {
            Some((last, came)) => {
                let seam = if self.at_seam { SEAM } else { Duration::ZERO };
                last + now.saturating_duration_since(came).max(seam)
            }
            None => MediaTime::ZERO,
        };
        let shift = place.nanos_since(at);
        self.shift_before = self.newest_shift.replace(shift);
        shift
    }

    fn fits(&self, track: &TrackPlace, at: MediaTime, shift: i64, now: Instant) -> bool {
        // A track without an access unit yet is measured by the other, at a distance that interleaving may have.
        let (last, came, max_back) = match (track.last, self.last) {
            (Some((last, came)), _) if track.shift.is_some() => (last, came, MAX_BACK),
            (_, Some((last, came))) => (last, came, MAX_AHEAD),
            (_, None) => return true,
        };
        let step = shifted(at, shift).nanos_since(last);
        let max_step = now.saturating_duration_since(came) + MAX_AHEAD;
        step >= -(max_back.as_nanos() as i64) && step <= max_step.as_nanos() as i64
    }
}

fn shifted(at: MediaTime, nanos: i64) -> MediaTime {
    MediaTime::from_nanos(at.as_nanos().saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use MediaKind::{Audio, Video};

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_access_unit_is_the_origin_and_tracks_keep_their_distance() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        assert_eq!(timeline.place(Video, 5_000, t), MediaTime::ZERO);
        assert_eq!(timeline.place(Audio, 4_990, t), MediaTime::from_millis(-10));
        assert_eq!(timeline.place(Video, 5_040, t), MediaTime::from_millis(40));
    }

    #[test]
    fn a_jump_ahead_is_taken_out_for_both_tracks_alike() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Audio, 0, t);
        timeline.place(Video, 0, t);
        let t = t + ms(40);
        assert_eq!(timeline.place(Video, 7_000_000, t), MediaTime::from_millis(40));
        assert_eq!(timeline.place(Audio, 7_000_010, t), MediaTime::from_millis(50));
        assert_eq!(timeline.place(Video, 7_000_040, t + ms(40)), MediaTime::from_millis(80));
        assert_eq!(timeline.jumps(), 1);
    }

    #[test]
    fn a_track_that_has_not_jumped_yet_stays_where_it_was() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Audio, 60_000, t);
        timeline.place(Video, 60_000, t);
        assert_eq!(timeline.place(Video, 0, t + ms(40)), MediaTime::from_millis(40));
        assert_eq!(timeline.place(Audio, 60_020, t + ms(40)), MediaTime::from_millis(20));
        assert_eq!(timeline.place(Audio, 0, t + ms(41)), MediaTime::from_millis(40));
        assert_eq!(timeline.place(Video, 40, t + ms(80)), MediaTime::from_millis(80));
        assert_eq!(timeline.jumps(), 1);
    }

    #[test]
    fn an_access_unit_that_is_stamped_hours_away_moves_nothing_but_itself() {
        for away in [3 * 3_600_000, 0u32.wrapping_sub(3 * 3_600_000)] {
            let mut timeline = StreamTimeline::default();
            let t = Instant::now();
            timeline.place(Audio, 60_000, t);
            timeline.place(Video, 60_000, t);
            // It comes 7 ms later than it should.
            let late = t + ms(47);
            let stamp = 60_040u32.wrapping_add(away);
            assert_eq!(timeline.place(Video, stamp, late), MediaTime::from_millis(47));
            assert_eq!(timeline.place(Audio, 60_043, late), MediaTime::from_millis(43));
            assert_eq!(timeline.place(Video, 60_080, t + ms(80)), MediaTime::from_millis(80));
            assert_eq!(timeline.place(Audio, 60_085, t + ms(85)), MediaTime::from_millis(85));
            assert_eq!(timeline.jumps(), 1);
        }
    }

    #[test]
    fn pictures_alone_fit_again_behind_one_that_is_stamped_hours_away() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 60_000, t);
        timeline.place(Video, 9_000_000, t + ms(55));
        assert_eq!(timeline.place(Video, 60_080, t + ms(90)), MediaTime::from_millis(80));
        assert_eq!(timeline.place(Video, 60_120, t + ms(120)), MediaTime::from_millis(120));
        assert_eq!(timeline.jumps(), 1);
    }

    #[test]
    fn a_burst_after_a_stall_keeps_its_distances() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 0, t);
        let t = t + ms(25_000);
        for at in (40..25_000).step_by(40) {
            assert_eq!(timeline.place(Video, at, t), MediaTime::from_millis(at.into()));
        }
        assert_eq!(timeline.jumps(), 0);
    }

    #[test]
    fn a_pause_of_the_publisher_is_a_pause_on_the_timeline() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 0, t);
        let at = timeline.place(Video, 25_000, t + ms(25_000));
        assert_eq!((at, timeline.jumps()), (MediaTime::from_millis(25_000), 0));
    }

    #[test]
    fn a_track_never_goes_back() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 100, t);
        timeline.place(Video, 140, t);
        assert_eq!(timeline.place(Video, 135, t), MediaTime::from_millis(40));
    }

    #[test]
    fn another_publisher_goes_on_behind_the_last_one_by_the_time_that_passed() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 90_000, t);
        timeline.place(Video, 90_040, t + ms(40));
        timeline.restart();
        assert_eq!(timeline.place(Video, 0, t + ms(3_040)), MediaTime::from_millis(3_040));
        assert_eq!(timeline.place(Audio, 7, t + ms(3_040)), MediaTime::from_millis(3_047));
        assert_eq!(timeline.jumps(), 0);
    }

    #[test]
    fn a_publisher_that_goes_on_at_once_is_placed_behind_all_that_was_sent() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 90_000, t);
        timeline.place(Audio, 90_030, t);
        timeline.restart();
        assert_eq!(timeline.place(Video, 500, t), MediaTime::from_millis(70));
        // Before the picture by 30 ms as it was published, still behind the last sound.
        assert_eq!(timeline.place(Audio, 470, t), MediaTime::from_millis(40));
        assert_eq!(timeline.place(Video, 540, t), MediaTime::from_millis(110));
        assert_eq!(timeline.jumps(), 0);
    }

    #[test]
    fn no_access_unit_of_a_publisher_has_the_time_of_one_of_the_publisher_before() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 0, t);
        timeline.place(Audio, 0, t);
        timeline.restart();
        timeline.place(Audio, 500, t);
        assert_eq!(timeline.place(Video, 400, t), MediaTime::from_millis(1));
        assert_eq!(timeline.place(Video, 520, t), MediaTime::from_millis(60));
    }

    #[test]
    fn what_came_while_another_published_is_placed_by_when_it_came() {
        let mut timeline = StreamTimeline::default();
        let t = Instant::now();
        timeline.place(Video, 0, t + ms(1_000));
        timeline.restart();
        // Its keyframe came 500 ms after the last picture of the other, and is sent later.
        assert_eq!(timeline.place(Video, 7_000, t + ms(1_500)), MediaTime::from_millis(500));
        assert_eq!(timeline.place(Video, 7_500, t + ms(2_000)), MediaTime::from_millis(1_000));
    }
}
