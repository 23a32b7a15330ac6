//! Times in user data messages (user_data_unregistered of H.264 and H.265), which are told by their UUIDs.

use std::time::Duration;

use crate::{
    NtpTime,
    wall_time::{PLAUSIBLE_SECONDS, of_calendar},
};

/// uuid_iso_iec_11578 of MISB ST 0604.6 in H.264; in H.265 for microseconds and for nanoseconds.
pub(super) const MISP_MICROSECONDS: [u8; 16] = *b"MISPmicrosectime";
pub(super) const MISP_MICROSECONDS_HEVC: [u8; 16] =
    0xA868_7DD4_D759_3758_A5CE_F033_8B65_45F1_u128.to_be_bytes();
pub(super) const MISP_NANOSECONDS_HEVC: [u8; 16] =
    0xCF84_8278_EE23_306C_9265_E8FE_F22F_B8B8_u128.to_be_bytes();
/// bpm_ts_uuid of OBS Studio (bpm-internal.h).
pub(super) const OBS_TIMESTAMPS: [u8; 16] =
    0x0AEC_FFE7_5272_4E2F_A62F_D19C_D61A_93B5_u128.to_be_bytes();
/// SEI_STAMPER_UUID of github.com/ikenainanodesu/OBS-SEI-Stamper (sei-handler.c).
pub(super) const SEI_STAMPER: [u8; 16] =
    0xA5B3_C2D1_E4F5_6789_ABCD_EF01_2345_6789_u128.to_be_bytes();
/// BPM_TS_EVENT_CTS, and the types BPM_TS_RFC3339, BPM_TS_DURATION and BPM_TS_DELTA.
pub(super) const OBS_COMPOSITION_TIME: u8 = 1;
pub(super) const OBS_RFC_3339: u8 = 1;
pub(super) const OBS_MILLISECONDS: u8 = 2;
pub(super) const OBS_DELTA: u8 = 3;

/// The time in user data, by its UUID.
pub(super) fn time(payload: &[u8]) -> Option<NtpTime> {
    let (uuid, data) = payload.split_first_chunk::<16>()?;
    match *uuid {
        MISP_MICROSECONDS | MISP_MICROSECONDS_HEVC => unix(Duration::from_micros(misp(data)?)),
        MISP_NANOSECONDS_HEVC => unix(Duration::from_nanos(misp(data)?)),
        OBS_TIMESTAMPS => obs(data),
        SEI_STAMPER => {
            let (_pts, time) = data.split_first_chunk::<8>()?;
            let bits = u64::from_be_bytes(*time.first_chunk()?);
            // Seconds of 0 are those of a clock that was never set.
            unix(NtpTime::from_bits(bits).since_1970()).filter(|_| bits >> 32 != 0)
        }
        _ => None,
    }
}

fn unix(since_1970: Duration) -> Option<NtpTime> {
    PLAUSIBLE_SECONDS.contains(&since_1970.as_secs()).then(|| NtpTime::from_unix(since_1970))
}

/// A status, and eight bytes with one of 0xFF behind each two (MISB ST 0604.6, 7.4). The status says whether the clock is locked to a
/// reference; it is the publisher's clock all the same. Leap seconds are not counted by those who write it, whatever ST 0603 says.
fn misp(data: &[u8]) -> Option<u64> {
    let &[_status, a, b, 0xFF, c, d, 0xFF, e, f, 0xFF, g, h] = data.first_chunk::<12>()? else {
        return None;
    };
    Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Timestamps of OBS (bpm.c, bpm_ts_sei_render): their number less 1, then of each its type, its event and its value.
fn obs(data: &[u8]) -> Option<NtpTime> {
    let (&count, mut rest) = data.split_first()?;
    for _ in 0..=count & 0x0F {
        let (&[kind, event], behind) = rest.split_first_chunk()?;
        let length = match kind {
            OBS_RFC_3339 => behind.iter().position(|&byte| byte == 0)? + 1,
            OBS_MILLISECONDS | OBS_DELTA => 8,
            _ => return None,
        };
        let (value, behind) = behind.split_at_checked(length)?;
        match kind {
            OBS_RFC_3339 if event == OBS_COMPOSITION_TIME => return rfc_3339(&value[..length - 1]),
            OBS_MILLISECONDS if event == OBS_COMPOSITION_TIME => {
                let ms = u64::from_be_bytes(*value.first_chunk()?);
                return unix(Duration::from_millis(ms));
            }
            _ => rest = behind,
        }
    }
    None
}

/// `2024-05-31T12:26:03.591Z`, of UTC as OBS writes it.
fn rfc_3339(text: &[u8]) -> Option<NtpTime> {
    let text = str::from_utf8(text).ok()?;
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.split('-').map(|part| part.parse().ok());
    let date = (parts.next()??, parts.next()??, parts.next()??);
    let mut parts = time.split(':');
    let (hours, minutes) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let time = of_calendar(date, (hours, minutes, parts.next()?.parse().ok()?))?;
    unix(time.since_1970())
}
