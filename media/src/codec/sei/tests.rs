use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    user_data::{
        MISP_MICROSECONDS, MISP_MICROSECONDS_HEVC, MISP_NANOSECONDS_HEVC, OBS_RFC_3339,
        OBS_TIMESTAMPS, SEI_STAMPER,
    },
    *,
};
use crate::{
    codec::fixtures::{hevc, hex},
    flv::VideoCodec,
};

/// By GStreamer 1.22 on 2026-11-26, with 30 pictures a second: `videotestsrc is-live=true ! video/x-raw,framerate=30/1 !
/// timecodestamper source=rtc ! x264enc bframes=2 option-string=nal-hrd=cbr:pic-struct=1 ! h264parse update-timecode=true`.
const GST_SPS: &str =
    "67f4000990d9b2884d80b506060640000003004000000f380800493c002bf38a4c03e244b2c0";
/// Its SEI of picture timing in decode order, and the time codes that ffmpeg's `trace_headers` reads in them. Behind the message of the
/// third and further ones there is a byte too many.
const GST_PICTURE_TIMING: [(&str, &str); 5] = [
    ("060108000204820eba2ba080020280", "14:05:29:29"),
    ("06010800840482013c2ba08080", "14:05:30:02"),
    ("06010801010482003c2ba08080", "14:05:30:00"),
    ("0601080181048200bc2ba08080", "14:05:30:01"),
    ("0601080204048202bc2ba08080", "14:05:30:05"),
];
/// As the header of x264 (`-c:v libx264`, core 164) begins, which is no time.
const X264_SETTINGS: &str = "0605ffff99dc45e9bde6d948b7962cd820d923eeef78323634202d20636f7265";
const MICROSECONDS: u64 = 1_795_694_400_123_456;

fn avc(sps: &[u8]) -> VideoHeader {
    let mut record = vec![1, 0x64, 0, 9, 0xFF, 0xE1];
    record.extend((sps.len() as u16).to_be_bytes());
    record.extend(sps);
    record.push(0);
    VideoHeader::parse(VideoCodec::Avc, &record.into()).unwrap()
}

fn avc_clock() -> SeiClock {
    SeiClock::new(&avc(&hex(GST_SPS)))
}

fn hevc_clock() -> SeiClock {
    SeiClock::new(&VideoHeader::parse(VideoCodec::Hevc, &hex(hevc::MAIN.record)).unwrap())
}

fn nal(text: &str) -> Bytes {
    hex(&text.replace(' ', ""))
}

/// An access unit: NAL units behind lengths of four bytes.
fn unit(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
}

fn escaped(rbsp: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    for &byte in rbsp {
        if byte <= 3 && bytes.ends_with(&[0, 0]) {
            bytes.push(3);
        }
        bytes.push(byte);
    }
    bytes
}

/// A SEI NAL unit of messages: payloadType and payload.
fn sei(header: &[u8], messages: &[(u32, &[u8])]) -> Vec<u8> {
    let number = |mut number: usize, bytes: &mut Vec<u8>| {
        while number >= 0xFF {
            bytes.push(0xFF);
            number -= 0xFF;
        }
        bytes.push(number as u8);
    };
    let mut rbsp = vec![];
    for (payload_type, payload) in messages {
        number(*payload_type as usize, &mut rbsp);
        number(payload.len(), &mut rbsp);
        rbsp.extend(*payload);
    }
    rbsp.push(0x80);
    [header, &escaped(&rbsp)].concat()
}

/// MISB ST 0604.6, 7.4: the status of a clock that is locked, and the time with its stuffing.
fn misp(uuid: &[u8; 16], time: u64) -> Vec<u8> {
    let [a, b, c, d, e, f, g, h] = time.to_be_bytes();
    [&uuid[..], &[0x1F, a, b, 0xFF, c, d, 0xFF, e, f, 0xFF, g, h]].concat()
}

fn date(time: Option<SeiTime>) -> Option<Duration> {
    match time? {
        SeiTime::Date(time) => Some(time.since_1970()),
        SeiTime::OfDay(_) => panic!("a time of day"),
    }
}

/// What a user data message tells, in microseconds since 1970 to the nearest one.
fn told(data: &[u8]) -> Option<u64> {
    let unit = unit(&[&sei(&[6], &[(5, data)]), &[0x65, 1, 2, 3]]);
    date(avc_clock().read(&unit)).map(|time| (time + Duration::from_nanos(500)).as_micros() as u64)
}

#[test]
fn the_picture_that_begins_a_second_tells_the_time_of_day() {
    let mut clock = avc_clock();
    for (bytes, time_code) in GST_PICTURE_TIMING {
        let told = clock.read(&unit(&[&[9, 0xF0], &nal(bytes), &[0x41, 0x9A]]));
        let second = (14 * 60 + 5) * 60 + 30;
        let begins = time_code == "14:05:30:00";
        assert_eq!(told, begins.then_some(SeiTime::OfDay(second * 1_000_000_000)), "{time_code}");
    }
    // Another picture of that number, at 60 a second.
    assert_eq!(clock.read(&unit(&[&nal(GST_PICTURE_TIMING[2].0)])), None);
}

#[test]
fn a_time_code_that_does_not_count_pictures_is_not_exact_and_tells_nothing() {
    let mut clock = avc_clock();
    for second in ["3c", "3c", "be", "bc"] {
        let bytes = format!("0601080101048200{second}2ba08080");
        assert_eq!(clock.read(&unit(&[&nal(&bytes)])), None);
    }
}

#[test]
fn a_time_code_needs_an_sps_that_says_how_it_is_written() {
    // x264 without pic-struct: no clock timestamps.
    let without = "674d401feca02802dd80880000030008000003 01e078c18cb0";
    for sps in [&nal(without)[..], &hex(GST_SPS)[..9], &[]] {
        let mut clock = SeiClock::new(&avc(sps));
        for (bytes, _) in GST_PICTURE_TIMING {
            assert_eq!(clock.read(&unit(&[&nal(bytes)])), None);
        }
    }
}

/// Writes bits, most significant first.
fn bits(fields: &[(u32, u32)]) -> Vec<u8> {
    let all = fields
        .iter()
        .flat_map(|&(count, value)| (0..count).rev().map(move |at| (value >> at & 1) as u8));
    let all: Vec<u8> = all.collect();
    let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |b, (at, bit)| b | bit << (7 - at));
    all.chunks(8).map(byte).collect()
}

#[test]
fn clock_timestamps_are_read_by_the_letter() {
    let timing = |time_offset_bits, time_scale| PictureTiming {
        delay_bits: 7,
        time_offset_bits,
        time_scale,
    };
    let read = |timing: PictureTiming, fields: &[(u32, u32)]| {
        let begin = [(7, 99), (4, 3), (1, 1), (2, 0), (1, 1)];
        let stamp = timing.read(&bits(&[&begin, fields].concat()))?;
        Some((stamp.second_of_day, stamp.n_frames, stamp.offset_nanos))
    };
    let full = [(5, 4), (1, 1), (2, 0), (8, 7), (6, 59), (6, 1), (5, 23)];
    let second = (23 * 60 + 1) * 60 + 59;
    assert_eq!(read(timing(0, None), &full), Some((second, 7, 0)));
    // Not full, but with all three.
    let parts = [(5, 4), (1, 0), (2, 3), (8, 7), (1, 1), (6, 59), (1, 1), (6, 1), (1, 1), (5, 23)];
    assert_eq!(read(timing(0, None), &parts), Some((second, 7, 0)));
    // The hour alone may be missing, as where GStreamer writes one of 0.
    for (missing, time) in [(4, None), (6, None), (8, Some((119, 7, 0)))] {
        let cut = [&parts[..missing], &[(1, 0), (24, 0)]].concat();
        assert_eq!(read(timing(0, None), &cut), time);
    }
    // 45000 and -45000 of 90000 a second.
    let with = |offset: u32| [&full[..], &[(24, offset)]].concat();
    let half = 500_000_000;
    assert_eq!(read(timing(24, Some(90_000)), &with(45_000)), Some((second, 7, half)));
    assert_eq!(read(timing(24, Some(90_000)), &with(0xFF_5038)), Some((second, 7, -half)));
    assert_eq!(read(timing(24, None), &with(0)), Some((second, 7, 0)));
    for scale in [None, Some(0)] {
        assert_eq!(read(timing(24, scale), &with(1)), None);
    }
    for (at, wrong) in [(4, (6, 60)), (5, (6, 60)), (6, (5, 24))] {
        let mut fields = full;
        fields[at] = wrong;
        assert_eq!(read(timing(0, None), &fields), None);
    }
    // A reserved pic_struct, and no clock timestamp.
    for (pic_struct, flag) in [(9, 1), (3, 0)] {
        let fields = [&[(7, 99), (4, pic_struct), (1, flag), (3, 1)], &full[..]].concat();
        assert!(timing(0, None).read(&bits(&fields)).is_none());
    }
}

#[test]
fn a_time_offset_tells_each_picture_exactly() {
    let mut time_code = TimeCode::default();
    for ms in [250, 290, 330] {
        let offset_nanos = ms * 1_000_000;
        let stamp = ClockTimestamp { second_of_day: 7, n_frames: 0, offset_nanos };
        assert_eq!(time_code.take(&stamp), Some(7_000_000_000 + offset_nanos));
    }
}

/// H.265, D.2.27, as Moblin writes it (HevcSeiPayloadTimeCode.swift): one timestamp, by fields, full, an offset of no bits.
fn hevc_time_code(n_frames: u32, second: u32) -> Vec<u8> {
    let begin = [(2, 1), (1, 1), (1, 1), (5, 0), (1, 1), (2, 0), (9, n_frames)];
    let payload = bits(&[&begin[..], &[(6, second), (6, 5), (5, 14), (5, 0)]].concat());
    sei(&[39 << 1, 1], &[(136, &payload)])
}

#[test]
fn time_codes_of_hevc_are_read_likewise() {
    let mut clock = hevc_clock();
    let mut read = |sei: &[u8]| clock.read(&unit(&[sei, &[2, 1, 0xD0]]));
    let second = (14 * 60 + 5) * 60 + 30;
    assert_eq!(read(&hevc_time_code(29, 29)), None);
    assert_eq!(read(&hevc_time_code(0, 30)), Some(SeiTime::OfDay(second * 1_000_000_000)));
    assert_eq!(read(&hevc_time_code(1, 30)), None);
    // That of H.264 is another message here, and its NAL unit another type.
    for (bytes, _) in GST_PICTURE_TIMING {
        assert_eq!(read(&nal(bytes)), None);
        assert_eq!(read(&[&[39 << 1, 1][..], &nal(bytes)[1..]].concat()), None);
    }
    // An offset in units that are not known.
    let begin = [(2, 1), (1, 1), (1, 1), (5, 0), (1, 1), (2, 0), (9, 0), (6, 31), (6, 5), (5, 14)];
    for (offset, is_told) in [(1, false), (0, true)] {
        let payload = bits(&[&begin[..], &[(5, 4), (4, offset)]].concat());
        assert_eq!(read(&sei(&[40 << 1, 1], &[(136, &payload)])).is_some(), is_told);
    }
}

#[test]
fn misb_time_stamps_are_taken_in_either_codec() {
    assert_eq!(told(&misp(&MISP_MICROSECONDS, MICROSECONDS)), Some(MICROSECONDS));
    // Zeros on both sides of the stuffing.
    let zeros = MICROSECONDS & !0xFFFF_FFFF | 0x100;
    assert_eq!(told(&misp(&MISP_MICROSECONDS, zeros)), Some(zeros));
    for (uuid, time) in [
        (MISP_MICROSECONDS, MICROSECONDS),
        (MISP_MICROSECONDS_HEVC, MICROSECONDS),
        (MISP_NANOSECONDS_HEVC, MICROSECONDS * 1000),
    ] {
        for header in [[39 << 1, 1], [40 << 1, 1]] {
            let unit = unit(&[&[2, 1, 0xD0], &sei(&header, &[(5, &misp(&uuid, time))])]);
            let read = date(hevc_clock().read(&unit)).unwrap();
            assert_eq!((read + Duration::from_nanos(500)).as_micros() as u64, MICROSECONDS);
        }
    }
}

#[test]
fn user_data_that_is_no_time_or_one_of_no_clock_tells_nothing() {
    let right = misp(&MISP_MICROSECONDS, MICROSECONDS);
    for end in 0..right.len() {
        assert_eq!(told(&right[..end]), None, "{end}");
    }
    for stuffing in [19, 22, 25] {
        let mut wrong = right.clone();
        wrong[stuffing] = 0xFE;
        assert_eq!(told(&wrong), None);
    }
    // Up for an hour, and in the year 2100.
    for time in [3_600_000_000, 4_102_444_800_000_000, u64::MAX] {
        assert_eq!(told(&misp(&MISP_MICROSECONDS, time)), None);
    }
    assert_eq!(told(&misp(&[7; 16], MICROSECONDS)), None);
    assert_eq!(avc_clock().read(&unit(&[&hex(X264_SETTINGS)])), None);
}

/// As bpm_ts_sei_render of OBS Studio writes it: composition, encoder's request and its end, interleaving.
fn obs_timestamps(composed: &str) -> Vec<u8> {
    let others =
        ["2024-05-31T12:26:03.999Z", "2024-05-31T12:26:04.001Z", "2024-05-31T12:26:04.100Z"];
    let mut data = OBS_TIMESTAMPS.to_vec();
    data.push(3);
    for (text, event) in std::iter::once(composed).chain(others).zip(1..) {
        data.extend([OBS_RFC_3339, event]);
        data.extend(text.as_bytes());
        data.push(0);
    }
    data
}

#[test]
fn obs_tells_when_a_picture_was_composed() {
    // `date -u -d 2024-05-31T12:26:03 +%s`
    let time = 1_717_158_363_591_000;
    let of = |text| told(&obs_timestamps(text));
    assert_eq!(of("2024-05-31T12:26:03.591Z"), Some(time));
    assert_eq!(of("2024-05-31T12:26:03Z"), Some(1_717_158_363_000_000));
    for wrong in ["2024-05-31T12:26:03.591", "2024-13-31T12:26:03Z", "2024-05-31T12:26Z", "Z", ""] {
        assert_eq!(of(wrong), None, "{wrong}");
    }
    // Its other types: milliseconds since 1970, behind a delta of another event.
    let ms = [&OBS_TIMESTAMPS[..], &[1, 3, 2], &[9; 8], &[2, 1], &(time / 1000).to_be_bytes()];
    assert_eq!(told(&ms.concat()), Some(time));
    // A type that is not known may have any length.
    assert_eq!(told(&[&OBS_TIMESTAMPS[..], &[1, 4, 2], ms[3], ms[4]].concat()), None);
}

#[test]
fn the_sei_stamper_of_obs_tells_ntp_time() {
    let ntp = NtpTime::from_unix(Duration::from_micros(MICROSECONDS)).bits();
    let data = [&SEI_STAMPER[..], &[0; 8], &ntp.to_be_bytes()].concat();
    assert_eq!(told(&data), Some(MICROSECONDS));
    assert_eq!(told(&data[..31]), None);
    // 1900, and 1969.
    for bits in [0, 1 << 63] {
        let data = [&SEI_STAMPER[..], &[0; 8], &u64::to_be_bytes(bits)].concat();
        assert_eq!(told(&data), None);
    }
}

#[test]
fn a_date_is_taken_before_a_time_of_day_wherever_it_stands() {
    let stamp = misp(&MISP_MICROSECONDS, MICROSECONDS);
    let user_data = sei(&[6], &[(4, &[0xB5; 300]), (5, &stamp)]);
    let timing = nal(GST_PICTURE_TIMING[2].0);
    for nals in [[&user_data[..], &timing[..]], [&timing, &user_data]] {
        let mut clock = avc_clock();
        assert_eq!(clock.read(&unit(&[&nal(GST_PICTURE_TIMING[1].0)])), None);
        let told = date(clock.read(&unit(&nals))).unwrap();
        assert_eq!(told.as_secs(), MICROSECONDS / 1_000_000);
    }
}

#[test]
fn no_more_than_a_bound_of_sei_is_looked_at() {
    let stamp = misp(&MISP_MICROSECONDS, MICROSECONDS);
    for (before, is_told) in [(16_200, true), (17_000, false)] {
        let sei = sei(&[6], &[(4, &vec![7; before]), (5, &stamp)]);
        assert_eq!(avc_clock().read(&unit(&[&sei])).is_some(), is_told);
    }
}

#[test]
fn wall_clock_time_says_who_told_it() {
    let now = NtpTime::from_unix(Duration::from_micros(MICROSECONDS));
    let long_ago = now.offset_by_nanos(-1_000_000_000_000_000);
    assert_eq!(SeiTime::Date(long_ago).wall_clock(now), Some((ClockSource::Sei, long_ago)));
    // 2026-11-26 12:00:00.123456 UTC.
    let (source, told) = SeiTime::OfDay(13 * 3_600_000_000_000).wall_clock(now).unwrap();
    assert_eq!((source, told.nanos_since(now) / 1000), (ClockSource::TimeCode, -123_456));
    assert_eq!(SeiTime::OfDay(60_000_000_000).wall_clock(now), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_is_cut_off_tells_nothing(
        bytes in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..90),
        kind in 0usize..6,
        cut in 0usize..200,
    ) {
        let begin: [&[u8]; 6] = [
            &[6], &[6, 1], &[6, 5, 60, 0x0A, 0xEC], &[39 << 1, 1], &[40 << 1, 1, 136], &[],
        ];
        let written = [begin[kind], &bytes].concat();
        for clock in [avc_clock(), hevc_clock()] {
            let _ = clock.clone().read(&bytes);
            let _ = clock.clone().read(&unit(&[&written]));
        }
        let data = [&OBS_TIMESTAMPS[..], &bytes].concat();
        let _ = told(&data);
        let whole = unit(&[&sei(&[6], &[(5, &misp(&MISP_MICROSECONDS, MICROSECONDS))])]);
        // The trailing bits are not part of the message.
        let told = avc_clock().read(&whole[..cut.min(whole.len())]);
        prop_assert_eq!(told.is_some(), cut >= whole.len());
    }
}
