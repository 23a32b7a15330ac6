//! The wall-clock time that SEI messages of an access unit tell (H.264 and H.265, annexes D).
//!
//! | message | by | what is taken |
//! | --- | --- | --- |
//! | user data, MISB ST 0604.6 | drones | microseconds (H.265: or nanoseconds) since 1970 |
//! | user data, OBS Studio's broadcast performance metrics | OBS with multitrack video, on keyframes | the time at which the picture was composed, by RFC 3339 or in milliseconds since 1970 |
//! | user data, the OBS plugin SEI Stamper | OBS | an NTP timestamp |
//! | picture timing of H.264, time code of H.265 | GStreamer, hardware encoders, phones (Larix, Moblin) | a time of day, see below |
//!
//! A time code counts pictures within a second, and encoders do not agree how: two by two at 50 and 60 a second (SMPTE ST 12-1), by a
//! VUI that is missing or wrong, or not at all. All agree that picture 0 begins the second. So one picture a second is taken, and none
//! of an encoder that never counts. It tells neither date nor zone: [`crate::wall_time::of_day`] decides whether it is wall-clock time.
//!
//! Left out on purpose: which SPS is active where several differ (the first one counts), timestamps that give no hour, those of second
//! and third fields, metadata OBUs of AV1.

mod messages;
mod user_data;

use messages::Messages;

use super::{
    VideoHeader,
    bits::BitReader,
    h264::{self, avcc_nal_units},
    h265,
};
use crate::{
    NtpTime,
    wall_time::{ClockSource, of_day},
};

/// payloadType (H.264, D.1.1; H.265, D.2.1).
const PICTURE_TIMING: u32 = 1;
const USER_DATA_UNREGISTERED: u32 = 5;
const TIME_CODE: u32 = 136;

/// What an access unit tells of the time at which its picture was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeiTime {
    /// Date and time.
    Date(NtpTime),
    /// Nanoseconds since midnight, of a day and a zone that are not told.
    OfDay(i64),
}

impl SeiTime {
    /// As a wall-clock time; `now` is ours. `None` where it is none.
    pub fn wall_clock(self, now: NtpTime) -> Option<(ClockSource, NtpTime)> {
        match self {
            Self::Date(told) => Some((ClockSource::Sei, told)),
            Self::OfDay(time) => Some((ClockSource::TimeCode, of_day(time, now)?)),
        }
    }
}

/// Reads the SEI of a video track.
#[derive(Clone, Debug)]
pub struct SeiClock {
    syntax: Syntax,
    time_code: TimeCode,
}

/// What the codec header says of how SEI is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Syntax {
    H264 {
        length_size: u8,
        timing: Option<PictureTiming>,
    },
    H265 {
        length_size: u8,
    },
    /// No SEI.
    None,
}

/// How picture timing of H.264 is written (D.1.3), where it has clock timestamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PictureTiming {
    /// cpb_removal_delay and dpb_output_delay.
    delay_bits: usize,
    time_offset_bits: usize,
    /// Units of time_offset in a second.
    time_scale: Option<u32>,
}

/// Which pictures begin a second.
#[derive(Clone, Copy, Default, Debug)]
struct TimeCode {
    /// Pictures within a second were seen.
    counts: bool,
    /// The second that was told last.
    told: Option<u32>,
}

/// clock timestamp of one field or frame (H.264, D.1.3; H.265, D.2.27).
struct ClockTimestamp {
    second_of_day: u32,
    n_frames: u32,
    /// Of a second.
    offset_nanos: i64,
}

impl SeiClock {
    /// For access units that are read by `header`. Make a new one when it changes, and for another publisher.
    pub fn new(header: &VideoHeader) -> Self {
        let syntax = match header {
            VideoHeader::H264(record) => Syntax::H264 {
                length_size: record.length_size,
                timing: record.config.sps.first().and_then(|sps| PictureTiming::of(sps)),
            },
            VideoHeader::H265(record) => Syntax::H265 { length_size: record.length_size },
            VideoHeader::Av1(_) | VideoHeader::Vp9(_) => Syntax::None,
        };
        Self { syntax, time_code: TimeCode::default() }
    }

    /// What an access unit tells of the time of its picture. Costs next to nothing where it has no SEI.
    pub fn read(&mut self, unit: &[u8]) -> Option<SeiTime> {
        let (length_size, header_bytes) = match self.syntax {
            Syntax::H264 { length_size, .. } => (length_size, 1),
            Syntax::H265 { length_size } => (length_size, h265::NAL_HEADER_BYTES),
            Syntax::None => return None,
        };
        let mut found = None;
        for nal in avcc_nal_units(unit, length_size).map_while(Result::ok) {
            if !self.is_sei(nal) {
                continue;
            }
            let mut messages = Messages::new(nal.get(header_bytes..).unwrap_or_default());
            while let Some(payload_type) = messages.next_message() {
                found = better(found, self.message(payload_type, messages.payload()));
            }
        }
        found
    }

    fn is_sei(&self, nal: &[u8]) -> bool {
        nal.first().is_some_and(|&first| match self.syntax {
            Syntax::H264 { .. } => h264::nal_type::of(first) == h264::nal_type::SEI,
            Syntax::H265 { .. } => h265::nal_type::SEI.contains(&h265::nal_type::of(first)),
            Syntax::None => false,
        })
    }

    fn message(&mut self, payload_type: u32, payload: &[u8]) -> Option<SeiTime> {
        let timestamp = match (payload_type, self.syntax) {
            (USER_DATA_UNREGISTERED, _) => return user_data::time(payload).map(SeiTime::Date),
            (PICTURE_TIMING, Syntax::H264 { timing: Some(timing), .. }) => timing.read(payload)?,
            (TIME_CODE, Syntax::H265 { .. }) => time_code(payload)?,
            _ => return None,
        };
        self.time_code.take(&timestamp).map(SeiTime::OfDay)
    }
}

/// The first of two, unless only the second tells the date.
fn better(first: Option<SeiTime>, second: Option<SeiTime>) -> Option<SeiTime> {
    match (first, second) {
        (Some(SeiTime::OfDay(_)), Some(SeiTime::Date(_))) | (None, _) => second,
        (Some(_), _) => first,
    }
}

impl TimeCode {
    /// The time of day, where it is exact.
    fn take(&mut self, timestamp: &ClockTimestamp) -> Option<i64> {
        let ClockTimestamp { second_of_day, n_frames, offset_nanos } = *timestamp;
        self.counts |= n_frames != 0 || offset_nanos != 0;
        // Two pictures may have one number; the one that comes first begins the second.
        let again = offset_nanos == 0 && self.told == Some(second_of_day);
        if n_frames != 0 || again || !self.counts {
            return None;
        }
        self.told = Some(second_of_day);
        Some(i64::from(second_of_day) * 1_000_000_000 + offset_nanos)
    }
}

impl PictureTiming {
    /// By the VUI of an SPS (E.1.1); `None` where there are no clock timestamps.
    fn of(sps: &[u8]) -> Option<Self> {
        let vui = h264::vui(sps).filter(|vui| vui.pic_struct_present_flag)?;
        let hrd = vui.nal_hrd_parameters.as_ref().or(vui.vcl_hrd_parameters.as_ref());
        Some(Self {
            delay_bits: hrd.map_or(0, |hrd| {
                let minus_1 =
                    [hrd.cpb_removal_delay_length_minus1, hrd.dpb_output_delay_length_minus1];
                minus_1.map(|bits| usize::from(bits) + 1).iter().sum()
            }),
            // Inferred where there is no HRD (E.2.2).
            time_offset_bits: hrd.map_or(24, |hrd| hrd.time_offset_length.into()),
            time_scale: vui.timing_info.as_ref().map(|info| info.time_scale),
        })
    }

    /// pic_timing (D.1.3), its first clock timestamp.
    fn read(self, payload: &[u8]) -> Option<ClockTimestamp> {
        let mut bits = BitReader::new(payload);
        bits.skip(self.delay_bits)?;
        // Above 8 pic_struct is reserved (table D-1).
        if bits.read(4)? > 8 || !bits.flag()? {
            return None;
        }
        // ct_type, and nuit_field_based_flag, by which pictures within a second are counted.
        bits.skip(3)?;
        let (second_of_day, n_frames) = clock_timestamp(&mut bits, 8)?;
        let offset = signed(&mut bits, self.time_offset_bits)?;
        let offset_nanos = match (offset, self.time_scale) {
            (0, _) => 0,
            (offset, Some(scale)) if scale > 0 => offset * 1_000_000_000 / i64::from(scale),
            _ => return None,
        };
        Some(ClockTimestamp { second_of_day, n_frames, offset_nanos })
    }
}

/// time_code of H.265 (D.2.27), its first clock timestamp. Its offset is in units that stand deep in the SPS, and is 0 of all encoders
/// that are known.
fn time_code(payload: &[u8]) -> Option<ClockTimestamp> {
    let mut bits = BitReader::new(payload);
    if bits.read(2)? == 0 || !bits.flag()? {
        return None;
    }
    // units_field_based_flag.
    bits.skip(1)?;
    let (second_of_day, n_frames) = clock_timestamp(&mut bits, 9)?;
    let offset_bits = bits.read(5)? as usize;
    let offset = signed(&mut bits, offset_bits)?;
    (offset == 0).then_some(ClockTimestamp { second_of_day, n_frames, offset_nanos: 0 })
}

/// From counting_type on to the hour: the second of the day and the picture in it.
fn clock_timestamp(bits: &mut BitReader<'_>, n_frames_bits: usize) -> Option<(u32, u32)> {
    bits.skip(5)?;
    let full = bits.flag()?;
    // discontinuity_flag, cnt_dropped_flag.
    bits.skip(2)?;
    let n_frames = bits.read(n_frames_bits)?;
    let mut field = |count| if full || bits.flag()? { bits.read(count) } else { None };
    let (seconds, minutes) = (field(6)?, field(6)?);
    // GStreamer leaves out an hour that is 0. Which it is makes no difference: zones differ by quarters of it.
    let hours = if full || bits.flag()? { bits.read(5)? } else { 0 };
    (seconds < 60 && minutes < 60 && hours < 24)
        .then_some(((hours * 60 + minutes) * 60 + seconds, n_frames))
}

/// i(v).
fn signed(bits: &mut BitReader<'_>, count: usize) -> Option<i64> {
    let value = i64::from(bits.read(count)?);
    let is_negative = count > 0 && value >> (count - 1) == 1;
    Some(if is_negative { value - (1 << count) } else { value })
}

#[cfg(test)]
mod tests;
