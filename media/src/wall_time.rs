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
const FAR_NANOS: i64 = 6 * 3600 * 1_000_000_000;
/// Arrivals say no more exactly when something was published: encoders begin with a burst of half a second, or with what they have held
/// while they connected. Readers take their presentation times from the line, so that it is left alone within.
const SLACK_NANOS: i64 = 1_000_000_000;
/// A line that is being moved is moved until it is as near.
const NEAR_NANOS: i64 = 100_000_000;
/// Arrivals that differ by more are those of a clock that was set.
const ARRIVAL_STEP_NANOS: i64 = 10_000_000_000;
/// Time zones differ by multiples of it.
const QUARTER_HOUR_NANOS: i64 = 15 * 60 * 1_000_000_000;

/// Who says where the timeline lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClockSource {
    /// Our clock, when access units arrive.
    #[default]
    Arrival,
    /// The publisher, in its data messages.
    Publisher,
}

/// The line; [`Self::origin`] is the wall-clock time of [`MediaTime::ZERO`].
#[derive(Debug, Default)]
pub struct WallTime {
    origin: Option<NtpTime>,
    told: bool,
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
        if self.told { ClockSource::Publisher } else { ClockSource::Arrival }
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
        if self.told {
            return;
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

    /// The publisher says that its clock showed `told` at `time` on the timeline; `now` is ours. Nothing comes of a clock that is hours off.
    pub fn tell(&mut self, time: MediaTime, told: NtpTime, now: NtpTime) {
        if told.nanos_since(now).abs() > FAR_NANOS {
            return;
        }
        let origin = told.offset_by_nanos(-time.as_nanos());
        if !self.told {
            (self.told, self.origin) = (true, None);
        }
        self.approach(origin, now, STEP_NANOS);
    }

    /// Another publisher: what the last one told counts no longer.
    pub fn forget_told(&mut self) {
        self.told = false;
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
            wall.tell(time, at(second * SECOND + ahead), at(second * SECOND));
        };
        told(&mut wall, 2, 3 * SECOND);
        assert_eq!((off(&wall), wall.source()), (3 * SECOND, ClockSource::Publisher));
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

    #[test]
    fn a_clock_that_is_hours_off_is_not_believed() {
        for hours in [-7, 7, 24 * 365 * 30] {
            let mut wall = WallTime::default();
            run(&mut wall, 1, 0, |_| 0);
            let told = (MediaTime::from_nanos(SECOND), at(SECOND + hours * 3600 * SECOND));
            wall.tell(told.0, told.1, at(SECOND));
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
