//! The wall-clock time that a publisher tells in its data messages.
//!
//! `onFI` of Adobe's Flash Media Live Encoder, and of those that do as it does, has `sd` ("dd-mm-yyyy") and `st` ("hh:mm:ss.mmm"), the
//! encoder's local time. Others send a number of milliseconds since 1970 under one of the names below, or an AMF0 date.

use std::time::Duration;

use super::amf0::{self, Value};
use crate::{
    NtpTime,
    wall_time::{in_nearest_zone, of_calendar},
};

/// Properties that hold milliseconds since 1970.
const UNIX_MS: [&str; 4] = ["absoluteTime", "timestamp", "ntp", "utc"];
/// 2000-01-01 and 2100-01-01: what lies outside is no wall-clock time in milliseconds.
const PLAUSIBLE_MS: std::ops::Range<f64> = 946_684_800_000.0..4_102_444_800_000.0;

/// The wall-clock time in the payload of a data message, if it tells one; `now` says which time zone a local time is of.
pub fn told_time(payload: &[u8], now: NtpTime) -> Option<NtpTime> {
    let values = amf0::decode(payload).ok()?;
    values.iter().find_map(|value| match value {
        Value::Object(properties) | Value::EcmaArray(properties) => of_properties(properties, now),
        Value::TypedObject { properties, .. } => of_properties(properties, now),
        _ => None,
    })
}

fn of_properties(properties: &[(String, Value)], now: NtpTime) -> Option<NtpTime> {
    let property = |name: &str| {
        let found = properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    };
    if let (Some(Value::String(date)), Some(Value::String(time))) = (property("sd"), property("st"))
    {
        return local_time(date, time).map(|local| in_nearest_zone(local, now));
    }
    UNIX_MS.iter().find_map(|name| match property(name)? {
        Value::Number(ms) | Value::Date { unix_ms: ms, .. } if PLAUSIBLE_MS.contains(ms) => {
            Some(NtpTime::from_unix(Duration::from_secs_f64(ms / 1e3)))
        }
        _ => None,
    })
}

/// `dd-mm-yyyy` and `hh:mm:ss.mmm` as if they were of UTC.
fn local_time(date: &str, time: &str) -> Option<NtpTime> {
    let mut parts = date.split('-').map(|part| part.trim().parse::<i64>());
    let (day, month, year) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let mut parts = time.split(':');
    let hours: u64 = parts.next()?.trim().parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.trim().parse().ok()?;
    of_calendar((year, month, day), (hours, minutes, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(time: NtpTime) -> f64 {
        time.nanos_since(NtpTime::from_unix(Duration::ZERO)) as f64 / 1e9
    }

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn message(name: &str, properties: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = [&[2][..], &string(name), &[3]].concat();
        for (key, value) in properties {
            bytes.extend(string(key));
            bytes.extend(value);
        }
        bytes.extend([0, 0, 9]);
        bytes
    }

    fn text(value: &str) -> Vec<u8> {
        [&[2][..], &string(value)].concat()
    }

    fn number(value: f64) -> Vec<u8> {
        [&[0][..], &value.to_be_bytes()].concat()
    }

    #[test]
    fn on_fi_tells_local_time_in_the_zone_that_fits() {
        // 2026-11-26 12:00:00 UTC; the encoder stands in UTC+5:30 and is 1.5 s behind.
        let now = NtpTime::from_unix(Duration::from_secs(1_795_694_400));
        let sent = message("onFI", &[("sd", text("26-11-2026")), ("st", text("17:29:58.5"))]);
        assert!((unix(told_time(&sent, now).unwrap()) - 1_795_694_398.5).abs() < 1e-6);
    }

    #[test]
    fn milliseconds_since_1970_are_taken_as_they_are() {
        let now = NtpTime::from_unix(Duration::from_secs(1_795_694_400));
        let sent = message("onMetaData", &[("absoluteTime", number(1_795_694_390_250.0))]);
        assert!((unix(told_time(&sent, now).unwrap()) - 1_795_694_390.25).abs() < 1e-6);
    }

    #[test]
    fn what_tells_no_time_is_passed_over() {
        let now = NtpTime::from_unix(Duration::from_secs(1_795_694_400));
        for sent in [
            message("onMetaData", &[("width", number(1280.0))]),
            message("onMetaData", &[("timestamp", number(1280.0))]),
            message("onFI", &[("sd", text("99-11-2026")), ("st", text("17:29:58"))]),
            message("onFI", &[("sd", text("26-11-2026")), ("st", text("noon"))]),
            message("onFI", &[("sd", text("26-11-2026"))]),
            vec![2, 0],
        ] {
            assert_eq!(told_time(&sent, now), None);
        }
    }
}
