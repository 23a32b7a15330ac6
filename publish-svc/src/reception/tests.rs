//! Reports of real readers, and of those that make them up.

use media::rtcp::{ReportBlock, bye, parse_compound, receiver_report};

use super::*;

/// SSRCs of the gateway's demo clip, to which the recorded reports belong.
const VIDEO: u32 = 0x473b_eec5;
const AUDIO: u32 = 0x4956_70a2;
/// GStreamer 1.22 (rtspsrc over UDP), its second report of the video and its first of the sound.
const GSTREAMER_VIDEO: &str = "81c900078980f335473beec500ffffff00006aff0000156bbba5382200039d4c81ca000c8980f335011c757365723230323139363635393940686f73742d633232376436383706094753747265616d6572000000";
const GSTREAMER_AUDIO: &str = "81c90007ad56987f495670a200ffffff000072640000001bbba037d80002939b81ca000cad56987f011c757365723230323139363635393940686f73742d633232376436383706094753747265616d6572000000";
/// ffmpeg 5.1 over UDP.
const FFMPEG_VIDEO: &str = "80c90007473beec6473beec50000000000006b31000013f0bba54fed0004e9c081ca0003473beec60102766d00000000";

fn compound(hex: &str) -> Vec<RtcpPacket> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<_> = (0..hex.len()).step_by(2).map(byte).collect();
    parse_compound(&bytes).unwrap()
}

/// A session of both tracks.
fn session() -> Receptions {
    let receptions = Receptions::default();
    receptions.add_track(1, AUDIO, ClockRate::new(44_100).unwrap());
    receptions.add_track(0, VIDEO, ClockRate::VIDEO);
    receptions
}

fn sent(receptions: &Receptions, middle_bits: u32, at: Instant) {
    receptions.sent(NtpTime::from_bits(u64::from(middle_bits) << 16), at);
}

fn made_up(block: ReportBlock) -> Vec<RtcpPacket> {
    parse_compound(&receiver_report(1, &[block], "x")).unwrap()
}

#[test]
fn what_real_readers_report_is_told_by_track_in_seconds() {
    let (receptions, begin, at) = (session(), Instant::now(), SystemTime::now());
    sent(&receptions, 0xbba0_37d8, begin);
    sent(&receptions, 0xbba5_3822, begin + Duration::from_secs(5));
    let later = |ms| begin + Duration::from_millis(ms);
    let [audio] = receptions.take(&compound(GSTREAMER_AUDIO), later(2600), at)[..] else {
        panic!("not told")
    };
    // 0x2939b of 65536 are 2.576 s.
    let trip = audio.reception.round_trip.unwrap();
    assert!((20..30).contains(&trip.as_millis()), "{trip:?}");
    assert_eq!((audio.reception.track, audio.newly_lost), (1, 0));
    assert_eq!(audio.reception.jitter, Duration::from_nanos(612_245), "27 ticks of 44.1 kHz");
    let [video] = receptions.take(&compound(GSTREAMER_VIDEO), later(8630), at)[..] else {
        panic!("not told")
    };
    let expected = Reception {
        track: 0,
        fraction_lost: 0,
        packets_lost: -1,
        jitter: Duration::from_nanos(60_922_222),
        round_trip: video.reception.round_trip,
        at,
    };
    assert_eq!(video.reception, expected);
    let trip = video.reception.round_trip.unwrap();
    assert!((10..20).contains(&trip.as_millis()), "answers the second report: {trip:?}");
    assert_eq!(receptions.list(), [video.reception, audio.reception]);
    // Another client, whose LSR is of a report that this session was never sent.
    let [video] = receptions.take(&compound(FFMPEG_VIDEO), later(9000), at)[..] else {
        panic!("not told")
    };
    assert_eq!((video.reception.round_trip, video.reception.packets_lost), (None, 0));
}

#[test]
fn what_is_said_of_others_sources_changes_nothing() {
    let receptions = session();
    let block = ReportBlock { ssrc: 7, fraction_lost: 255, ..Default::default() };
    let (now, at) = (Instant::now(), SystemTime::now());
    assert!(receptions.take(&made_up(block), now, at).is_empty());
    let farewell = parse_compound(&bye(&[VIDEO], "x")).unwrap();
    assert!(receptions.take(&farewell, now, at).is_empty());
    assert!(receptions.list().is_empty());
}

#[test]
fn of_many_blocks_on_a_track_in_one_compound_the_last_packets_counts() {
    let receptions = session();
    let block = |lost| ReportBlock { ssrc: VIDEO, cumulative_lost: lost, ..Default::default() };
    let mut compound = made_up(block(9));
    compound.extend(made_up(block(3)));
    let news = receptions.take(&compound, Instant::now(), SystemTime::now());
    assert_eq!(news.iter().map(|news| news.newly_lost).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_loss_is_counted_once_however_often_it_is_told() {
    let receptions = session();
    let lost = |lost| {
        let block = ReportBlock { ssrc: VIDEO, cumulative_lost: lost, ..Default::default() };
        receptions.take(&made_up(block), Instant::now(), SystemTime::now())[0].newly_lost
    };
    assert_eq!([3, 3, 1, 5, -8_388_608, 8_388_607].map(lost), [3, 0, 0, 2, 0, 8_388_602]);
}

#[test]
fn there_is_no_round_trip_without_a_sender_report_or_with_an_impossible_delay() {
    let (receptions, begin) = (session(), Instant::now());
    sent(&receptions, 0, begin);
    sent(&receptions, 5, begin);
    let now = begin + Duration::from_secs(1);
    let trip = |last_sr, delay| {
        let block = ReportBlock {
            ssrc: VIDEO,
            last_sr,
            delay_since_last_sr: delay,
            jitter: u32::MAX,
            ..Default::default()
        };
        receptions.take(&made_up(block), now, SystemTime::now())[0].reception.round_trip
    };
    assert_eq!(trip(0, 0), None, "LSR 0 says that there was none");
    assert_eq!(trip(6, 0), None, "never sent");
    assert_eq!(trip(5, 1 << 15), Some(Duration::from_millis(500)));
    assert_eq!(trip(5, (1 << 16) + 1), Some(Duration::ZERO), "rounded up");
    assert_eq!(trip(5, 1 << 17), None, "held for longer than it was there");
    assert_eq!(trip(5, u32::MAX), None);
}

#[test]
fn only_the_last_sender_reports_are_remembered() {
    let (receptions, begin) = (session(), Instant::now());
    for n in 1..=1000 {
        sent(&receptions, n, begin);
    }
    let sent = lock(&receptions.sent);
    assert_eq!(sent.len(), SENT_REPORTS);
    assert_eq!(sent.back().unwrap().0, 1000);
}
