//! The receiving end of a leg, fed with what a sender makes, in made-up time.

use std::sync::atomic::{AtomicU32, Ordering};

use media::{
    codec::CodecConfig,
    rtcp::{self, ReportBlock, RtcpPacket},
    sdp::TrackDescription,
};

use super::*;
use crate::testing::{PPS, SPS, Source, Track, aac_config, ntp};

mod days;
mod legs;
mod nack;
mod reports;
mod schedule;
mod srtp;

const SILENCE: u32 = 5000;
const WINDOW: u32 = 20;

/// An intake and what it has put out.
struct Bench {
    intake: Intake,
    counters: Arc<Counters>,
    start: Instant,
    units: Vec<RingUnit>,
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Where the RTP of a source comes from; its RTCP comes from the port above.
const FROM: u16 = 7000;

impl Bench {
    fn new(source: &Source) -> Self {
        Self::of(&source.description())
    }

    fn of(description: &SessionDescription) -> Self {
        Self::waiting(description, 0)
    }

    /// One whose tracks wait so many ms for their first Sender Report.
    fn waiting(description: &SessionDescription, report_wait: u32) -> Self {
        let config = IntakeConfig {
            reorder_window: Duration::from_millis(WINDOW.into()),
            silence: Duration::from_millis(SILENCE.into()),
            report_wait: Duration::from_millis(report_wait.into()),
            max_access_unit_bytes: 20_000,
            report_ssrc: 0xF00D,
        };
        let mut number = 1000;
        let mut random = || {
            number += 1;
            number
        };
        let key = media::StreamKey::parse("a").unwrap();
        let output = StreamOutput::new(&key, description, &mut random);
        let counters = Arc::<Counters>::default();
        let intake = Intake::new(config, description, output, counters.clone());
        Self { intake, counters, start: Instant::now(), units: Vec::new() }
    }

    fn now(&self, ms: u32) -> Now {
        let instant = self.start + Duration::from_millis(ms.into());
        Now { instant, ntp: ntp(ms, Duration::ZERO) }
    }

    fn rtp(&mut self, ms: u32, packets: impl IntoIterator<Item = Bytes>) {
        self.rtp_from(address(FROM), ms, packets);
    }

    fn rtp_from(&mut self, from: SocketAddr, ms: u32, packets: impl IntoIterator<Item = Bytes>) {
        let now = self.now(ms);
        for packet in packets {
            self.intake.handle_rtp(from, &packet, now);
        }
        self.pass(ms);
    }

    fn rtcp(&mut self, ms: u32, compound: &[u8]) {
        self.rtcp_from(address(FROM + 1), ms, compound);
    }

    fn rtcp_from(&mut self, from: SocketAddr, ms: u32, compound: &[u8]) {
        self.intake.handle_rtcp(from, compound, self.now(ms));
        self.pass(ms);
    }

    fn pass(&mut self, ms: u32) {
        self.intake.handle_timeout(self.now(ms));
        while let Some(unit) = self.intake.poll_unit() {
            self.units.push(unit);
        }
    }

    /// The marks of the access units put out since the last call, `v` or `a` in front.
    fn marks(&mut self) -> Vec<String> {
        self.units
            .drain(..)
            .map(|unit| format!("{}{}", "va".as_bytes()[unit.track] as char, mark(&unit)))
            .collect()
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU32) -> u32 {
        counter(&self.counters).load(Ordering::Relaxed)
    }

    /// Receiver Reports that are due, read.
    fn reports(&mut self, ms: u32) -> Vec<(SocketAddr, Vec<RtcpPacket>)> {
        let reports = self.intake.take_reports(self.now(ms).instant, "node");
        reports.into_iter().map(|(to, bytes)| (to, rtcp::parse_compound(&bytes).unwrap())).collect()
    }

    /// Where the clock of a track says that a readers' timestamp lies.
    fn wall(&mut self, unit: &RingUnit) -> NtpTime {
        let clock = self.intake.output().tracks[unit.track].clock;
        clock.unwrap().ntp_at(unit.rtp_timestamp)
    }
}

/// The last four bytes of an access unit.
fn mark(unit: &RingUnit) -> u32 {
    u32::from_be_bytes(*unit.packets.data.last_chunk().unwrap())
}

fn headers(unit: &RingUnit) -> Vec<Header> {
    unit.packets.packets().map(|packet| Header::parse(&packet).unwrap()).collect()
}

fn payloads(packets: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let payload = |packet: Bytes| packet.slice(Header::parse(&packet).unwrap().payload);
    packets.into_iter().map(payload).collect()
}

#[test]
fn what_comes_in_order_goes_out_at_once_and_bit_for_bit() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    let sent = [source.keyframe(0), source.picture(40), source.sound(50)];
    for packets in &sent {
        bench.rtp(0, packets.clone());
    }
    assert_eq!(bench.units.len(), 3);
    for (unit, packets) in bench.units.iter().zip(&sent) {
        assert_eq!(payloads(unit.packets.packets()), payloads(packets.clone()));
        assert_eq!(headers(unit)[0].sequence_number, unit.first_sequence_number);
        assert!(headers(unit).iter().all(|header| header.timestamp == unit.rtp_timestamp));
        assert!(headers(unit).last().unwrap().marker);
    }
    assert_eq!(
        bench.units.iter().map(|unit| unit.keyframe).collect::<Vec<_>>(),
        [true, false, true]
    );
    assert_eq!(bench.marks(), ["v0", "v40", "a50"]);
    assert_eq!((bench.count(|c| &c.packets), bench.count(|c| &c.packets_lost)), (5, 0));
    assert_eq!((bench.count(|c| &c.keyframes), bench.count(|c| &c.audio_access_units)), (1, 1));
}

#[test]
fn packets_out_of_order_are_put_in_order_and_duplicates_go() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    let (first, second) = (source.picture(40), source.picture(80));
    let order = [&second[2], &first[1], &first[0], &first[0], &second[0], &first[2], &second[1]];
    bench.rtp(1, order.map(Bytes::clone));
    bench.rtp(2, [second[1].clone()]);
    assert_eq!(bench.marks(), ["v0", "v40", "v80"]);
    assert_eq!((bench.count(|c| &c.packets_discarded), bench.count(|c| &c.packets_lost)), (2, 0));
}

#[test]
fn a_lost_packet_is_waited_for_one_window_then_its_place_stays_empty() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    let mut lossy = source.picture_of(40, true, 3000, 40).packets().collect::<Vec<_>>();
    lossy.remove(1);
    bench.rtp(10, lossy);
    bench.rtp(11, source.keyframe(80));
    assert_eq!(bench.marks(), ["v0"]);
    let deadline = bench.intake.deadline().unwrap();
    assert_eq!(deadline, bench.now(10 + WINDOW).instant);
    bench.pass(10 + WINDOW);
    let keyframes: Vec<_> = bench.units.iter().map(|unit| unit.keyframe).collect();
    assert_eq!(keyframes, [false, true], "a damaged picture is none to start at");
    let numbers: Vec<_> =
        bench.units.iter().flat_map(headers).map(|header| header.sequence_number).collect();
    let first = numbers[0];
    assert_eq!(numbers[1], first + 2);
    assert!(numbers[1..].is_sorted_by(|a, b| *b == a + 1), "{numbers:?}");
    assert_eq!(bench.count(|c| &c.packets_lost), 1);
}

#[test]
fn strangers_are_refused_and_counted_by_what_is_wrong_with_them() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    bench.rtp_from(address(FROM + 2), 1, source.picture(40));
    bench.rtp(1, Source::new(2).keyframe(40));
    let mut alien = source.sound(40)[0].to_vec();
    alien[1] = 98;
    bench.rtp(1, [alien.into(), Bytes::from_static(b"no RTP"), Bytes::new()]);
    bench.rtcp(1, b"no RTCP");
    assert_eq!(bench.count(|c| &c.refused_source), 3);
    assert_eq!(bench.count(|c| &c.refused_ssrc), 1);
    assert_eq!(bench.count(|c| &c.refused_payload_type), 1);
    assert_eq!(bench.count(|c| &c.malformed), 3);
    assert_eq!((bench.counters.refused(), bench.count(|c| &c.packets)), (5, 1));
    assert_eq!(bench.marks(), ["v0"]);
}

#[test]
fn a_stream_waits_then_lives_and_is_held_by_silence() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    assert_eq!(bench.intake.state(), LegState::Waiting);
    bench.pass(10 * SILENCE);
    assert_eq!(bench.intake.state(), LegState::Waiting);
    bench.rtp(10 * SILENCE, source.keyframe(0));
    assert_eq!(bench.intake.state(), LegState::Live);
    bench.rtp(10 * SILENCE + 100, source.sound(0));
    let deadline = bench.now(11 * SILENCE + 100).instant;
    assert_eq!(bench.intake.deadline(), Some(deadline), "since any track's last packet");
    bench.pass(11 * SILENCE + 99);
    assert_eq!(bench.intake.state(), LegState::Live);
    bench.intake.take_changes();
    bench.pass(11 * SILENCE + 100);
    assert_eq!(bench.intake.state(), LegState::Held);
    assert!(bench.intake.take_changes().status);
    bench.rtp(20 * SILENCE, source.picture(40));
    assert_eq!(bench.intake.state(), LegState::Live);
}

#[test]
fn bye_of_all_sources_holds_at_once_and_the_media_before_it_is_not_lost() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    let (keyframe, sound) = (source.keyframe(0), source.sound(0));
    let now = bench.now(0);
    // As they come in one batch: RTCP is read first.
    bench.intake.handle_rtp(address(FROM), &keyframe[0], now);
    bench.intake.handle_rtcp(address(FROM + 1), &source.bye(), now);
    bench.intake.handle_rtp(address(FROM), &sound[0], now);
    bench.pass(0);
    assert_eq!(bench.marks(), ["v0", "a0"]);
    assert_eq!(bench.intake.state(), LegState::Held);
    bench.rtp(10, source.keyframe(40));
    assert_eq!((bench.intake.state(), bench.marks()), (LegState::Live, vec!["v40".to_owned()]));
}

#[test]
fn bye_of_a_stranger_or_of_one_track_holds_nothing() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    bench.rtp(0, source.sound(0));
    bench.rtcp_from(([127, 0, 0, 9], FROM + 1).into(), 1, &source.bye());
    bench.rtcp(1, &Source::new(2).bye());
    bench.rtcp(1, &rtcp::bye(&[source.ssrcs[0]], "source"));
    assert_eq!(bench.intake.state(), LegState::Live);
    bench.rtcp(2, &rtcp::bye(&[source.ssrcs[1]], "source"));
    assert_eq!(bench.intake.state(), LegState::Held);
}

#[test]
fn only_so_many_byes_are_kept_until_the_media_was_read() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    let now = bench.now(1);
    for ssrc in 100..100 + MAX_BYES as u32 {
        bench.intake.handle_rtcp(address(FROM + 1), &rtcp::bye(&[ssrc], ""), now);
    }
    bench.intake.handle_rtcp(address(FROM + 1), &source.bye(), now);
    assert_eq!(bench.intake.byes.len(), MAX_BYES);
    bench.pass(1);
    assert_eq!(bench.intake.state(), LegState::Live, "there was no room for it");
    bench.rtcp(2, &source.bye());
    assert_eq!(bench.intake.state(), LegState::Held, "but there is again");
}

#[test]
fn receiver_reports_say_what_came_and_how_long_ago_the_sender_reported() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    bench.rtp(0, source.sound(0));
    assert_eq!(bench.reports(60_000), [], "nobody reported yet, so there is nowhere to send it");
    bench.rtcp(500, &source.report(Track::Video, 500));
    let mut lossy = source.picture(540);
    lossy.remove(1);
    bench.rtp(540, lossy);
    bench.rtcp(1000, &source.report(Track::Audio, 1000));
    assert_eq!(bench.reports(2499), []);
    assert!(bench.intake.deadline().unwrap() <= bench.now(2500).instant);
    let reports = bench.reports(2500);
    let [(to, packets)] = reports.as_slice() else { panic!("{reports:?}") };
    assert_eq!(*to, address(FROM + 1));
    let [RtcpPacket::ReceiverReport(from, blocks), RtcpPacket::Cname(_, cname)] =
        packets.as_slice()
    else {
        panic!("{packets:?}")
    };
    assert_eq!((*from, cname.as_str(), blocks.len()), (0xF00D, "node", 2));
    let middle = |ms| ntp(ms, Duration::ZERO).middle_bits();
    let [video, audio] = [blocks[0], blocks[1]];
    assert_eq!((video.ssrc, audio.ssrc), (source.ssrcs[0], source.ssrcs[1]));
    assert_eq!((video.last_sr, video.delay_since_last_sr), (middle(500), 2 << 16));
    assert_eq!((audio.last_sr, audio.delay_since_last_sr), (middle(1000), 3 << 15));
    // 1 of 4 packets.
    assert_eq!((video.cumulative_lost, video.fraction_lost), (1, 64));
    let quiet = ReportBlock { jitter: 0, highest_sequence_number: 0, ..audio };
    assert_eq!((quiet.cumulative_lost, quiet.fraction_lost), (0, 0));
    assert_eq!(bench.reports(4499), [], "one interval later");
    assert_eq!(bench.reports(4500).len(), 1);
}

#[test]
fn early_reports_are_kept_for_media_that_comes_later_but_only_so_many() {
    let mut source = Source::new(1);
    source.clock_ahead = Duration::from_millis(300);
    for (strangers, known) in [(EARLY_REPORTS - 1, true), (EARLY_REPORTS, false)] {
        let mut bench = Bench::new(&source);
        bench.rtcp(0, &source.report(Track::Video, 0));
        for seed in 10..10 + strangers as u32 {
            bench.rtcp(0, &Source::new(seed).report(Track::Video, 0));
        }
        assert_eq!(bench.intake.early_reports.len(), EARLY_REPORTS);
        bench.rtp(50, source.keyframe(10));
        let unit = bench.units.pop().unwrap();
        let wanted = if known { ntp(310, Duration::ZERO) } else { ntp(50, Duration::ZERO) };
        assert!(bench.wall(&unit).nanos_since(wanted).abs() < 100_000, "{strangers} strangers");
    }
}

#[test]
fn an_access_unit_over_the_bound_is_dropped_whole_and_counted() {
    let mut source = Source::new(1);
    let mut bench = Bench::new(&source);
    bench.rtp(0, source.keyframe(0));
    let large: Vec<_> = source.picture_of(40, true, 30_000, 40).packets().collect();
    bench.rtp(40, large);
    bench.rtp(80, source.picture(80));
    assert_eq!(bench.marks(), ["v0", "v80"]);
    assert_eq!(bench.count(|c| &c.oversized), 1);
}

#[test]
fn parameter_sets_seen_in_band_complete_the_description() {
    let mut source = Source::new(1);
    let description = SessionDescription {
        tracks: vec![TrackDescription {
            config: CodecConfig::H264(Default::default()),
            payload_type: 96,
            ssrc: None,
            cname: None,
            nack: false,
        }],
        ..source.description()
    };
    let mut bench = Bench::of(&description);
    bench.intake.take_changes();
    assert!(bench.intake.output().describe().is_none());
    bench.rtp(0, source.picture(0));
    assert!(!bench.intake.take_changes().description);
    bench.rtp(40, source.keyframe(40));
    assert!(bench.intake.take_changes().description);
    let described = bench.intake.output().describe().unwrap();
    let CodecConfig::H264(config) = &described.description.tracks[0].config else { panic!() };
    assert_eq!((&config.sps[0][..], &config.pps[0][..]), (SPS, PPS));
    bench.rtp(80, source.keyframe(80));
    assert!(!bench.intake.take_changes().description, "nothing new");
}

#[test]
fn sequence_numbers_and_timestamps_wrap_without_a_trace() {
    let bases = [u32::MAX - 90 * 60, u32::MAX - 48 * 60];
    let mut source = Source::at([1, 2], [65_534, 65_535], bases);
    let mut bench = Bench::new(&source);
    for n in 0..5 {
        bench.rtp(n * 40, source.keyframe(n * 40));
        bench.rtp(n * 40, source.sound(n * 40));
        if n == 1 {
            bench.rtcp(40, &source.report(Track::Video, 40));
        }
    }
    let units = std::mem::take(&mut bench.units);
    for (track, ticks) in [(0, 90 * 40), (1, 48 * 40)] {
        let of_track: Vec<_> = units.iter().filter(|unit| unit.track == track).collect();
        assert_eq!(of_track.len(), 5);
        for pair in of_track.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            assert_eq!(after.rtp_timestamp.wrapping_sub(before.rtp_timestamp), ticks);
            assert_eq!(after.first_sequence_number, before.first_sequence_number.wrapping_add(1));
        }
    }
    assert!(!bench.intake.output().tracks[0].has_b_frames);
    let apart = bench.wall(&units[8]).nanos_since(bench.wall(&units[9]));
    assert!(apart.abs() < 1000, "both of 160 ms, but {apart} ns apart");
    assert_eq!((aac_config().channels(), bench.count(|c| &c.packets_lost)), (2, 0));
}
