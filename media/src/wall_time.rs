//! Where a stream's timeline lies on the wall clock: as the publisher tells, or as its access units arrive.
//!
//! The line moves slowly, so that readers see a steady clock: one that drifts from ours by some parts in a million is followed, the
//! jitter of a network is not. All tracks have the same line, so that what belongs together stays together.

use std::{collections::VecDeque, time::Duration};

use crate::{MediaTime, NtpTime};

/// Arrivals that are looked at together: the least delayed of them says most about the publisher's clock. Links stall for less.
const WINDOW: Duration = Duration::from_secs(10);
/// Slots of the window; each keeps its least delayed arrival.
const SLOTS: usize = 10;
/// How fast the line moves: clocks of encoders are off by 100 parts in a million at the most, and twice as much is not seen.
const SLEW_PER_MILLION: i64 = 200;
/// What a publisher tells is believed at once where it differs by more: it has set its clock, or told it for the first time.
const STEP_NANOS: i64 = 500_000_000;
/// A clock that differs from ours by more is not right, and readers could not be told of it: in a Sender Report 2^31 ticks of RTP time are
/// the furthest, which are 6.2 hours at 96 kHz.
pub const FAR_NANOS: i64 = 6 * 3600 * 1_000_000_000;
/// Arrivals say no more exactly when something was published: encoders begin with a burst of half a second, or with what they have held
/// while they connected. Readers take their presentation times from the line, so that it is left alone within.
const SLACK_NANOS: i64 = 1_000_000_000;
/// A line that is being moved is moved until it is as near.
const NEAR_NANOS: i64 = 100_000_000;
/// Arrivals that differ by more are those of a clock that was set.
const ARRIVAL_STEP_NANOS: i64 = 10_000_000_000;
/// Time zones differ by multiples of it.
const QUARTER_HOUR_NANOS: i64 = 15 * 60 * 1_000_000_000;
/// A time of day that lies further from our clock, in whatever zone, is no wall-clock time but a count of a studio. Behind: what
/// publishers hold back, and networks. Ahead: a clock that is not quite right. Of counts that begin anywhere one in 75 lies within,
/// and does no more harm than that.
const TIME_OF_DAY_BEHIND_NANOS: i64 = 10_000_000_000;
const TIME_OF_DAY_AHEAD_NANOS: i64 = 2_000_000_000;
/// Who has said nothing for so long has stopped: some tell the time with keyframes alone, which may be as rare as one in ten seconds.
const SILENCE_NANOS: i64 = 60_000_000_000;
/// 2000-01-01 and 2100-01-01 in seconds since 1970: what lies outside is a clock that was never set, or no time.
pub(crate) const PLAUSIBLE_SECONDS: std::ops::Range<u64> = 946_684_800..4_102_444_800;
const DAY_SECONDS: i64 = 86_400;

/// Who says where the timeline lies; of several the last of this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum ClockSource {
    /// Our clock, when access units arrive.
    #[default]
    Arrival,
    /// The publisher, in the time code of its pictures: exact to a picture, its date and its time zone are those nearest to our clock.
    TimeCode,
    /// The publisher, in its data messages: with their date, and stamped beside the pictures.
    DataMessage,
    /// The publisher, in SEI of its pictures that tells date and time of the very picture.
    Sei,
}

/// The line; [`Self::origin`] is the wall-clock time of [`MediaTime::ZERO`].
#[derive(Debug, Default)]
pub struct WallTime {
    origin: Option<NtpTime>,
    source: ClockSource,
    /// When the source was heard last.
    told_at: Option<NtpTime>,
    /// The end of each slot on our clock, and the least delayed origin in it.
    slots: VecDeque<(NtpTime, NtpTime)>,
    /// When the line was last looked at.
    moved_at: Option<NtpTime>,
    /// It was found outside of the slack, and is on its way back.
    moving: bool,
}

impl WallTime {
    /// The wall-clock time of the timeline's origin; `None` before the first access unit.
    pub fn origin(&self) -> Option<NtpTime> {
        self.origin
    }

    /// Who says it.
    pub fn source(&self) -> ClockSource {
        self.source
    }

    /// An access unit that lies at `time` came at `now`.
    pub fn arrive(&mut self, time: MediaTime, now: NtpTime) {
        let sample = now.offset_by_nanos(-time.as_nanos());
        let slot = nanos(WINDOW) / SLOTS as i64;
        match self.slots.back_mut() {
            Some((end, least)) if now.nanos_since(*end) < 0 => *least = (*least).min(sample),
            _ => self.slots.push_back((now.offset_by_nanos(slot), sample)),
        }
        if self.slots.len() > SLOTS {
            self.slots.pop_front();
        }
        match self.source {
            ClockSource::Arrival => {}
            // It has left the neighbourhood of our clock, so that it was none.
            ClockSource::TimeCode if self.is_silent(now) => self.source = ClockSource::Arrival,
            // One that tells the date may tell it once.
            ClockSource::TimeCode | ClockSource::DataMessage | ClockSource::Sei => return,
        }
        let least = self.slots.iter().map(|(_, least)| *least).min().unwrap_or(sample);
        let away = self.origin.map_or(0, |origin| least.nanos_since(origin).abs());
        self.moving = away > if self.moving { NEAR_NANOS } else { SLACK_NANOS };
        if self.moving || self.origin.is_none() {
            self.approach(least, now, ARRIVAL_STEP_NANOS);
        } else {
            self.moved_at = Some(now);
        }
    }

    /// The publisher says that its clock showed `told` at `time` on the timeline; `now` is ours. Nothing comes of it while a better
    /// source is heard, or where the clock is hours off.
    pub fn tell(&mut self, source: ClockSource, (time, told): (MediaTime, NtpTime), now: NtpTime) {
        let is_outdone = source < self.source && !self.is_silent(now);
        if is_outdone || told.nanos_since(now).abs() > FAR_NANOS {
            return;
        }
        let origin = told.offset_by_nanos(-time.as_nanos());
        if source > self.source {
            self.origin = None;
        }
        (self.source, self.told_at) = (source, Some(now));
        self.approach(origin, now, STEP_NANOS);
    }

    fn is_silent(&self, now: NtpTime) -> bool {
        self.told_at.is_none_or(|at| now.nanos_since(at) > SILENCE_NANOS)
    }

    /// Another publisher: what the last one told counts no longer.
    pub fn forget_told(&mut self) {
        self.source = ClockSource::Arrival;
        self.told_at = None;
        self.slots.clear();
    }

    fn approach(&mut self, target: NtpTime, now: NtpTime, step: i64) {
        let moved_at = self.moved_at.replace(now);
        let Some(origin) = self.origin else {
            self.origin = Some(target);
            return;
        };
        let away = target.nanos_since(origin);
        if away.abs() > step {
            self.origin = Some(target);
            return;
        }
        let passed = moved_at.map_or(0, |at| now.nanos_since(at).max(0));
        let most = passed / 1_000_000 * SLEW_PER_MILLION;
        self.origin = Some(origin.offset_by_nanos(away.clamp(-most, most)));
    }
}

/// A local time whose zone is not told, in the zone in which it is nearest to `now`.
pub fn in_nearest_zone(local: NtpTime, now: NtpTime) -> NtpTime {
    let away = local.nanos_since(now);
    let zones = (away + QUARTER_HOUR_NANOS / 2).div_euclid(QUARTER_HOUR_NANOS);
    local.offset_by_nanos(-zones * QUARTER_HOUR_NANOS)
}

/// A time of day, in nanoseconds since midnight, of which neither date nor zone are told: where it is nearest to `now`. `None` where it
/// is not near, and so is no wall-clock time.
pub fn of_day(since_midnight: i64, now: NtpTime) -> Option<NtpTime> {
    // Any midnight will do: days are multiples of the quarter hours that zones differ by.
    let midnight = NtpTime::from_unix(Duration::from_secs(PLAUSIBLE_SECONDS.start));
    let told = in_nearest_zone(midnight.offset_by_nanos(since_midnight), now);
    let away = told.nanos_since(now);
    (-TIME_OF_DAY_BEHIND_NANOS..=TIME_OF_DAY_AHEAD_NANOS).contains(&away).then_some(told)
}

/// Year, month and day, hour, minute and second, of UTC and after 1970; `None` where there is no such.
pub(crate) fn of_calendar(
    (year, month, day): (i64, i64, i64),
    (hours, minutes, seconds): (u64, u64, f64),
) -> Option<NtpTime> {
    let is_date = (1..=31).contains(&day) && (1..=12).contains(&month);
    let is_time = hours < 24 && minutes < 60 && (0.0..61.0).contains(&seconds);
    if !is_date || !is_time || !(1970..2100).contains(&year) {
        return None;
    }
    let days = u64::try_from(days_since_1970(year, month, day) * DAY_SECONDS).ok()?;
    let since = Duration::from_secs(days + hours * 3600 + minutes * 60);
    Some(NtpTime::from_unix(since + Duration::from_secs_f64(seconds)))
}

/// Days of the Gregorian calendar, by counting years from March on, so that a leap day ends one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // Lengths of the months from March on are 31, 30, 31, 30, 31 twice over.
    let in_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + in_year - 719_468
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(nanos: i64) -> NtpTime {
        NtpTime::from_unix(Duration::from_secs(1_000_000)).offset_by_nanos(nanos)
    }

    fn off(wall: &WallTime) -> i64 {
        wall.origin().unwrap().nanos_since(at(0))
    }

    /// Access units each 20 ms of the publisher's clock, which runs fast by so many parts in a million, late by what `late` says.
    fn run(wall: &mut WallTime, seconds: i64, ppm: i64, late: impl Fn(i64) -> i64) {
        for n in 0..seconds * 50 {
            let real = n * SECOND / 50;
            let media = real + real / 1_000_000 * ppm;
            wall.arrive(MediaTime::from_nanos(media), at(real + late(n)));
        }
    }

    #[test]
    fn jitter_does_not_move_the_line() {
        let mut wall = WallTime::default();
        run(&mut wall, 60, 0, |n| if n % 7 == 0 { 0 } else { (n * 7919 % 200) * 1_000_000 });
        assert_eq!(off(&wall), 0);
        assert_eq!(wall.source(), ClockSource::Arrival);
    }

    #[test]
    fn a_beginning_that_came_late_moves_nothing_unless_it_is_far_off_and_then_slowly() {
        let mut wall = WallTime::default();
        run(&mut wall, 20, 0, |n| if n == 0 { SECOND / 2 } else { 0 });
        assert_eq!(off(&wall), SECOND / 2);
        let mut wall = WallTime::default();
        run(&mut wall, 1, 0, |n| if n == 0 { 2 * SECOND } else { 0 });
        let after_a_second = off(&wall);
        assert!((2 * SECOND - SECOND / 1000..2 * SECOND).contains(&after_a_second));
    }

    #[test]
    fn an_encoder_whose_clock_drifts_is_followed() {
        let mut wall = WallTime::default();
        // 100 parts in a million for five hours: 1.8 s.
        run(&mut wall, 5 * 3600, 100, |_| 0);
        let drifted = -5 * 3600 * SECOND / 10_000;
        assert!((off(&wall) - drifted).abs() <= SLACK_NANOS, "{} of {drifted}", off(&wall));
        assert_ne!(off(&wall), 0);
    }

    #[test]
    fn what_the_publisher_tells_is_believed_at_once_and_then_followed_slowly() {
        let mut wall = WallTime::default();
        run(&mut wall, 1, 0, |_| 0);
        let told = |wall: &mut WallTime, second: i64, ahead: i64| {
            let time = MediaTime::from_nanos(second * SECOND);
            let told = (time, at(second * SECOND + ahead));
            wall.tell(ClockSource::DataMessage, told, at(second * SECOND));
        };
        told(&mut wall, 2, 3 * SECOND);
        assert_eq!((off(&wall), wall.source()), (3 * SECOND, ClockSource::DataMessage));
        told(&mut wall, 3, 3 * SECOND + SECOND / 10);
        // NTP's fractions are no whole nanoseconds.
        let slewed = 3 * SECOND + SECOND / 1_000_000 * SLEW_PER_MILLION;
        assert!((off(&wall) - slewed).abs() < 10, "{}", off(&wall));
        // It sets its clock.
        told(&mut wall, 4, 9 * SECOND);
        assert_eq!(off(&wall), 9 * SECOND);
        // Arrivals say nothing any more.
        wall.arrive(MediaTime::from_nanos(5 * SECOND), at(5 * SECOND));
        assert_eq!(off(&wall), 9 * SECOND);
        wall.forget_told();
        assert_eq!(wall.source(), ClockSource::Arrival);
    }

    /// A source tells a time at a second, and how far the line is off then.
    fn tell(wall: &mut WallTime, source: ClockSource, second: i64, ahead: i64) -> i64 {
        let told = (MediaTime::from_nanos(second * SECOND), at(second * SECOND + ahead));
        wall.tell(source, told, at(second * SECOND));
        off(wall)
    }

    #[test]
    fn the_better_source_is_believed_while_it_is_heard() {
        let mut wall = WallTime::default();
        run(&mut wall, 1, 0, |_| 0);
        for (source, ahead) in
            [(ClockSource::TimeCode, -3), (ClockSource::DataMessage, -2), (ClockSource::Sei, -1)]
        {
            assert_eq!(tell(&mut wall, source, 2, ahead * SECOND), ahead * SECOND);
            assert_eq!(wall.source(), source);
        }
        for source in [ClockSource::TimeCode, ClockSource::DataMessage] {
            assert_eq!(tell(&mut wall, source, 62, 9 * SECOND), -SECOND);
            assert_eq!(wall.source(), ClockSource::Sei);
        }
        assert_eq!(tell(&mut wall, ClockSource::DataMessage, 63, 9 * SECOND), 9 * SECOND);
        assert_eq!(wall.source(), ClockSource::DataMessage);
    }

    #[test]
    fn a_time_code_that_is_heard_no_more_gives_way_to_arrivals_and_a_date_told_once_does_not() {
        for (source, after) in [
            (ClockSource::TimeCode, ClockSource::Arrival),
            (ClockSource::DataMessage, ClockSource::DataMessage),
            (ClockSource::Sei, ClockSource::Sei),
        ] {
            let mut wall = WallTime::default();
            tell(&mut wall, source, 0, -5 * SECOND);
            run(&mut wall, 60, 0, |_| 0);
            assert_eq!((off(&wall), wall.source()), (-5 * SECOND, source));
            wall.arrive(MediaTime::from_nanos(61 * SECOND), at(61 * SECOND));
            assert_eq!(wall.source(), after);
        }
    }

    #[test]
    fn a_time_of_day_counts_where_it_is_near_our_clock_in_some_zone() {
        // 2026-11-26 00:00:03 UTC.
        let now = NtpTime::from_unix(Duration::from_secs(1_795_651_203));
        let hour = 3600 * SECOND;
        for (since_midnight, away) in [
            (3 * SECOND, Some(0)),
            // Yesterday; in UTC-3:30; in UTC+5:45; on the edges.
            (24 * hour - SECOND, Some(-4 * SECOND)),
            (20 * hour + hour / 2 + 2 * SECOND, Some(-SECOND)),
            (5 * hour + hour / 4 * 3, Some(-3 * SECOND)),
            (5 * SECOND, Some(2 * SECOND)),
            (24 * hour - 7 * SECOND, Some(-10 * SECOND)),
            // A count of a studio.
            (6 * SECOND, None),
            (24 * hour - 8 * SECOND, None),
            (10 * hour + 60 * SECOND, None),
        ] {
            let told = of_day(since_midnight, now).map(|told| told.nanos_since(now));
            assert_eq!(told, away, "{since_midnight}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2026, 11, 26), 20_783);
    }

    #[test]
    fn a_clock_that_is_hours_off_is_not_believed() {
        for hours in [-7, 7, 24 * 365 * 30] {
            let mut wall = WallTime::default();
            run(&mut wall, 1, 0, |_| 0);
            let told = (MediaTime::from_nanos(SECOND), at(SECOND + hours * 3600 * SECOND));
            wall.tell(ClockSource::Sei, told, at(SECOND));
            assert_eq!((off(&wall), wall.source()), (0, ClockSource::Arrival));
        }
    }

    #[test]
    fn a_local_time_is_taken_in_the_zone_that_fits() {
        let now = at(0);
        for (local, meant) in [(0, 0), (3600 + 2, 2), (-5 * 3600 - 1, -1), (20_700 - 400, -400)] {
            let found = in_nearest_zone(at(local * SECOND), now);
            assert_eq!(found.nanos_since(now) / SECOND, meant, "{local}");
        }
    }
}
