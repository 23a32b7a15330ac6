//! Time on a stream: a 64-bit timeline, clock rates, and NTP timestamps.

use std::{
    num::NonZeroU32,
    ops::{Add, Sub},
    time::Duration,
};

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A point on a stream's timeline: nanoseconds since an origin that belongs to the stream. 64 bits, so it never
/// wraps (292 years); milliseconds, 90 kHz ticks and their like convert to and fro without a lasting error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MediaTime(i64);

impl MediaTime {
    /// The origin of the timeline.
    pub const ZERO: Self = Self(0);

    /// `ms` milliseconds after the origin.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms * 1_000_000)
    }

    /// `ns` nanoseconds after the origin.
    pub const fn from_nanos(ns: i64) -> Self {
        Self(ns)
    }

    /// `ticks` of a clock of `rate` after the origin, rounded to the nearest nanosecond.
    pub fn from_ticks(ticks: i64, rate: ClockRate) -> Self {
        Self(div_round(i128::from(ticks) * NANOS_PER_SECOND, i128::from(rate.hz())))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Ticks of a clock of `rate` since the origin, rounded to the nearest; not wrapped to 32 bits.
    pub fn to_ticks(self, rate: ClockRate) -> i64 {
        div_round(i128::from(self.0) * i128::from(rate.hz()), NANOS_PER_SECOND)
    }

    /// The signed distance `self - earlier` in nanoseconds.
    pub const fn nanos_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

fn div_round(numerator: i128, denominator: i128) -> i64 {
    (numerator + denominator / 2).div_euclid(denominator) as i64
}

impl Add<Duration> for MediaTime {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0 + by.as_nanos() as i64)
    }
}

impl Sub<Duration> for MediaTime {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0 - by.as_nanos() as i64)
    }
}

/// An RTP clock rate in Hz.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClockRate(NonZeroU32);

impl ClockRate {
    /// The clock of all video payload formats.
    pub const VIDEO: Self = Self(NonZeroU32::new(90_000).unwrap());

    /// A rate in Hz; `None` for 0.
    pub const fn new(hz: u32) -> Option<Self> {
        match NonZeroU32::new(hz) {
            Some(hz) => Some(Self(hz)),
            None => None,
        }
    }

    /// The rate in Hz.
    pub const fn hz(self) -> u32 {
        self.0.get()
    }
}

/// An NTP timestamp (RFC 5905, 6): seconds since 1900 in the upper 32 bits, their binary fraction below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NtpTime(u64);

impl NtpTime {
    /// Seconds from 1900-01-01 to 1970-01-01.
    const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;

    /// The timestamp as it stands in a Sender Report.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The timestamp of a wall-clock time given as the time since 1970-01-01.
    pub fn from_unix(since_1970: Duration) -> Self {
        let seconds = since_1970.as_secs() + Self::UNIX_EPOCH_SECONDS;
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The timestamp as it stands in a Sender Report.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The time since 1970-01-01, of times from 1970 to 2104: seconds that begin with 0 are of the era from 2036 on (RFC 4330, 3).
    pub const fn since_1970(self) -> Duration {
        let era = if self.0 >> 63 == 0 { 1 << 32 } else { 0 };
        let seconds = ((self.0 >> 32) + era).saturating_sub(Self::UNIX_EPOCH_SECONDS);
        let nanos = ((self.0 & 0xFFFF_FFFF) * 1_000_000_000) >> 32;
        Duration::new(seconds, nanos as u32)
    }

    /// The middle 32 bits, as they stand in LSR and are compared for round-trip times (RFC 3550, 6.4.1).
    pub const fn middle_bits(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The timestamp `nanos` later (earlier when negative).
    pub fn offset_by_nanos(self, nanos: i64) -> Self {
        let units = (i128::from(nanos) << 32) / NANOS_PER_SECOND;
        Self(self.0.wrapping_add(units as u64))
    }

    /// The signed distance `self - earlier` in nanoseconds.
    pub fn nanos_since(self, earlier: Self) -> i64 {
        let units = i128::from(self.0.wrapping_sub(earlier.0) as i64);
        ((units * NANOS_PER_SECOND) >> 32) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_convert_to_90_khz_exactly_for_centuries() {
        for ms in [0, 1, 33, 4_294_967_296, 1 << 42] {
            assert_eq!(MediaTime::from_millis(ms).to_ticks(ClockRate::VIDEO), ms * 90);
        }
    }

    #[test]
    fn ticks_of_any_audio_clock_survive_the_round_trip() {
        for hz in [7350, 11_025, 44_100, 48_000, 96_000] {
            let rate = ClockRate::new(hz).unwrap();
            for ticks in [-1, 0, 1, 1024, 44_099, 1 << 45] {
                assert_eq!(MediaTime::from_ticks(ticks, rate).to_ticks(rate), ticks);
            }
        }
    }

    #[test]
    fn ntp_time_counts_from_1900_and_keeps_its_distances() {
        let t = NtpTime::from_unix(Duration::from_millis(1_500));
        assert_eq!(t.bits() >> 32, 2_208_988_801);
        assert_eq!(t.bits() as u32, 1 << 31);
        assert_eq!(t.offset_by_nanos(-250_000_000).nanos_since(t), -250_000_000);
    }

    #[test]
    fn ntp_time_goes_on_over_its_eras() {
        for seconds in [0, 1_795_694_400, 2_085_978_495, 2_085_978_496, 4_102_444_799] {
            let since = Duration::from_millis(seconds * 1000 + 500);
            assert_eq!(NtpTime::from_unix(since).since_1970(), since);
        }
    }
}
