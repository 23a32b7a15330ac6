use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn report() -> SenderReport {
    SenderReport {
        ssrc: 7,
        ntp: NtpTime::from_bits(0x0102_0304_0506_0708),
        rtp_timestamp: 9,
        packets: 10,
        octets: 11,
    }
}

#[test]
fn what_is_written_is_read_back() {
    for cname in ["", "a", "ab", "abc", "abcd", "stream@host"] {
        let read = parse_compound(&sender_report(&report(), cname)).unwrap();
        let expected =
            [RtcpPacket::SenderReport(report(), vec![]), RtcpPacket::Cname(7, cname.to_owned())];
        assert_eq!(read, expected);
    }
    let block =
        ReportBlock { ssrc: 1, cumulative_lost: -5, fraction_lost: 3, ..Default::default() };
    let read = parse_compound(&receiver_report(2, &[block], "x")).unwrap();
    assert_eq!(read[0], RtcpPacket::ReceiverReport(2, vec![block]));
    let read = parse_compound(&bye(&[4, 5], "x")).unwrap();
    assert_eq!(read[2], RtcpPacket::Bye(vec![4, 5]));
}

#[test]
fn the_reports_of_all_sources_of_a_sender_are_one_compound() {
    let reports = [7, 8].map(|ssrc| SenderReport { ssrc, rtp_timestamp: 100 * ssrc, ..report() });
    for cname in ["", "abc", "stream@host", &"x".repeat(300)] {
        let whole = sender_reports(&reports, cname);
        let read = parse_compound(&whole).unwrap();
        let [first, second, RtcpPacket::Cname(7, read)] = &read[..] else { panic!("{read:?}") };
        let expected = reports.map(|report| RtcpPacket::SenderReport(report, vec![]));
        assert_eq!([first, second], expected.each_ref());
        assert!(cname.starts_with(read.as_str()));
        // Each source has its chunk, of the same size.
        let chunks = &whole[2 * 28 + 4..];
        let second = &chunks[chunks.len() / 2..];
        assert_eq!((second[3], &second[4..]), (8, &chunks[4..chunks.len() / 2]), "{cname}");
    }
    let most = sender_reports(&[report(); 40], &"x".repeat(300));
    assert_eq!(parse_compound(&most).unwrap().len(), MAX_REPORTS + 1);
    assert!(most.len() < 1400, "{} bytes", most.len());
}

#[test]
fn every_truncation_is_refused_or_read_without_a_panic() {
    let whole = sender_report(&report(), "stream");
    for end in 0..whole.len() {
        let _ = parse_compound(&whole[..end]);
    }
    assert!(parse_compound(&[]).is_err());
    assert!(parse_compound(&[0x40, 200, 0, 0]).is_err());
}

#[test]
fn a_compound_of_more_packets_than_its_bound_is_refused() {
    let bye_of_nobody = [0x80, packet_type::BYE, 0, 0];
    let read = parse_compound(&bye_of_nobody.repeat(MAX_PACKETS));
    assert_eq!(read, Ok(vec![RtcpPacket::Bye(vec![]); MAX_PACKETS]));
    assert!(parse_compound(&bye_of_nobody.repeat(MAX_PACKETS + 1)).is_err());
}

#[test]
fn no_more_blocks_and_sources_are_written_than_five_bits_count() {
    let blocks = [ReportBlock { ssrc: 9, ..Default::default() }; 40];
    let read = parse_compound(&receiver_report(2, &blocks, "x")).unwrap();
    assert_eq!(read[0], RtcpPacket::ReceiverReport(2, blocks[..31].to_vec()));
    let read = parse_compound(&bye(&[4; 40], "x")).unwrap();
    assert_eq!(read[2], RtcpPacket::Bye(vec![4; 31]));
}

#[test]
fn a_generic_nack_names_its_missing_packets() {
    let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0, 0b101];
    assert_eq!(parse_compound(&nack).unwrap(), [RtcpPacket::Nack(2, vec![65_535, 0, 2])]);
}

#[test]
fn a_nack_that_is_written_asks_for_these_packets_over_the_wrap() {
    let missing = [65_520, 65_530, 0, 1, 16, 17, 400];
    let compound = nack(7, 9, &missing, "node");
    let [report, cname, asked] = &parse_compound(&compound).unwrap()[..] else {
        panic!("a report, a CNAME and a NACK")
    };
    assert_eq!(*report, RtcpPacket::ReceiverReport(7, vec![]));
    assert_eq!(*cname, RtcpPacket::Cname(7, "node".into()));
    assert_eq!(*asked, RtcpPacket::Nack(9, missing.to_vec()));
    // 65,520 to 0 are one pair, 1 to 17 another.
    assert_eq!(compound.len(), 8 + 16 + 12 + 3 * 4);
}

#[test]
fn a_nack_of_very_many_packets_fits_a_datagram_and_asks_for_the_first_ones() {
    let missing: Vec<u16> = (0..1000).map(|n| 20 * n).collect();
    let compound = nack(7, 9, &missing, &"x".repeat(300));
    assert!(compound.len() < 1400, "{}", compound.len());
    let asked = parse_compound(&compound).unwrap().pop().unwrap();
    assert_eq!(asked, RtcpPacket::Nack(9, missing[..MAX_NACKED].to_vec()));
}

/// The one block of a Receiver Report, and the CNAME behind it.
fn of_a_reader(hex: &str) -> (ReportBlock, String) {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    let bytes: Vec<_> =
        hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    let [report, RtcpPacket::Cname(_, cname)] = &parse_compound(&bytes).unwrap()[..] else {
        panic!("no report of a reader");
    };
    let [block] = report.report_blocks() else { panic!("no block") };
    (*block, cname.clone())
}

/// As GStreamer 1.22 (rtspsrc) sent it over UDP and ffmpeg 5.1 did, both playing the gateway's demo clip; ffmpeg counts its block as none.
#[test]
fn the_reports_of_real_readers_are_read() {
    let (block, cname) = of_a_reader(
        "81c900078980f335473beec500ffffff00006a3400000c9dbba037d800027dde81ca000c8980f335011c7573\
         65723230323139363635393940686f73742d633232376436383706094753747265616d6572000000",
    );
    let expected = ReportBlock {
        ssrc: 0x473b_eec5,
        fraction_lost: 0,
        // It counts one more than it expected.
        cumulative_lost: -1,
        highest_sequence_number: 0x6a34,
        jitter: 0xc9d,
        last_sr: 0xbba0_37d8,
        delay_since_last_sr: 0x2_7dde,
    };
    assert_eq!((block, cname.as_str()), (expected, "user2021966599@host-c227d687"));
    let (block, cname) = of_a_reader(
        "80c90007473beec6473beec50000000000006b31000013f0bba54fed0004e9c081ca0003473beec60102766d\
         00000000",
    );
    let expected = ReportBlock {
        ssrc: 0x473b_eec5,
        highest_sequence_number: 0x6b31,
        jitter: 0x13f0,
        last_sr: 0xbba5_4fed,
        delay_since_last_sr: 0x4_e9c0,
        ..Default::default()
    };
    assert_eq!((block, cname.as_str()), (expected, "vm"));
}

#[test]
fn a_clock_mapping_stays_exact_beyond_the_wrap_of_rtp_time() {
    let start = NtpTime::from_unix(Duration::from_secs(1_700_000_000));
    let clock =
        ClockMapping { ntp: start, rtp_timestamp: u32::MAX - 5, clock_rate: ClockRate::VIDEO };
    let later = start.offset_by_nanos(20 * 3_600 * 1_000_000_000);
    let ticks = 20_u64 * 3_600 * 90_000;
    assert_eq!(clock.rtp_at(later), (u32::MAX - 5).wrapping_add(ticks as u32));
    assert!(clock.ntp_at(84).nanos_since(start).abs_diff(1_000_000) < 2);
}

prop_compose! {
    fn any_block()(
        ssrc in any::<u32>(),
        fraction_lost in any::<u8>(),
        cumulative_lost in -0x80_0000i32..=0x7f_ffff,
        highest_sequence_number in any::<u32>(),
        jitter in any::<u32>(),
        last_sr in any::<u32>(),
        delay_since_last_sr in any::<u32>(),
    ) -> ReportBlock {
        ReportBlock {
            ssrc, fraction_lost, cumulative_lost, highest_sequence_number, jitter, last_sr,
            delay_since_last_sr,
        }
    }
}

prop_compose! {
    fn any_report()(
        ssrc in any::<u32>(),
        ntp in any::<u64>(),
        rtp_timestamp in any::<u32>(),
        packets in any::<u32>(),
        octets in any::<u32>(),
    ) -> SenderReport {
        SenderReport { ssrc, ntp: NtpTime::from_bits(ntp), rtp_timestamp, packets, octets }
    }
}

/// A compound that we write, and what it says.
fn any_compound() -> impl Strategy<Value = (Bytes, Vec<RtcpPacket>)> {
    let cname = "[ -~]{0,30}";
    let blocks = proptest::collection::vec(any_block(), 0..=31);
    let sources = proptest::collection::vec(any::<u32>(), 1..=31);
    prop_oneof![
        (any_report(), cname).prop_map(|(report, cname)| {
            let bytes = sender_report(&report, &cname);
            let ssrc = report.ssrc;
            (bytes, vec![RtcpPacket::SenderReport(report, vec![]), RtcpPacket::Cname(ssrc, cname)])
        }),
        (any::<u32>(), blocks, cname).prop_map(|(ssrc, blocks, cname)| {
            let bytes = receiver_report(ssrc, &blocks, &cname);
            (bytes, vec![RtcpPacket::ReceiverReport(ssrc, blocks), RtcpPacket::Cname(ssrc, cname)])
        }),
        (sources, cname).prop_map(|(sources, cname)| {
            let (bytes, ssrc) = (bye(&sources, &cname), sources[0]);
            let report = RtcpPacket::ReceiverReport(ssrc, vec![]);
            (bytes, vec![report, RtcpPacket::Cname(ssrc, cname), RtcpPacket::Bye(sources)])
        }),
    ]
}

proptest! {
    #[test]
    fn any_compound_comes_back_and_cut_it_says_nothing_else((bytes, packets) in any_compound()) {
        prop_assert_eq!(parse_compound(&bytes), Ok(packets.clone()));
        for end in 0..bytes.len() {
            if let Ok(read) = parse_compound(&bytes[..end]) {
                prop_assert!(read.len() < packets.len() && packets.starts_with(&read), "{}", end);
            }
        }
    }

    #[test]
    fn the_library_reads_what_we_write((bytes, packets) in any_compound()) {
        use rtcp_types::{Compound, Packet};
        let theirs: Vec<_> = Compound::parse(&bytes).unwrap().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(theirs.len(), packets.len());
        for (theirs, ours) in theirs.iter().zip(&packets) {
            match (theirs, ours) {
                (Packet::Sr(sr), RtcpPacket::SenderReport(report, _)) => {
                    prop_assert_eq!(sr.ssrc(), report.ssrc);
                    prop_assert_eq!(sr.ntp_timestamp(), report.ntp.bits());
                    prop_assert_eq!(sr.octet_count(), report.octets);
                }
                (Packet::Rr(rr), RtcpPacket::ReceiverReport(ssrc, blocks)) => {
                    prop_assert_eq!(rr.ssrc(), *ssrc);
                    let jitter: Vec<_> = rr.report_blocks().map(|block| block.interarrival_jitter()).collect();
                    prop_assert_eq!(jitter, blocks.iter().map(|b| b.jitter).collect::<Vec<_>>());
                }
                (Packet::Sdes(sdes), RtcpPacket::Cname(ssrc, cname)) => {
                    let chunk = sdes.chunks().next().unwrap();
                    prop_assert_eq!(chunk.ssrc(), *ssrc);
                    let item = chunk.items().next().unwrap();
                    prop_assert_eq!(item.value(), cname.as_bytes());
                }
                (Packet::Bye(bye), RtcpPacket::Bye(sources)) => {
                    prop_assert_eq!(&bye.ssrcs().collect::<Vec<_>>(), sources);
                }
                (theirs, ours) => prop_assert!(false, "{:?} is {:?}", theirs, ours),
            }
        }
    }

    #[test]
    fn a_cname_of_any_length_is_cut_between_characters(cname in "\\PC{0,200}") {
        let read = parse_compound(&sender_report(&report(), &cname)).unwrap();
        let [_, RtcpPacket::Cname(7, read)] = &read[..] else { panic!("{read:?}") };
        prop_assert!(cname.starts_with(read.as_str()), "{}", read);
        prop_assert!(read.len() == cname.len() || read.len() > MAX_CNAME_BYTES - 4);
    }

    #[test]
    fn no_bytes_make_it_panic_or_give_more_than_they_hold(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        types in proptest::collection::vec(198u8..208, 1..10),
    ) {
        let _ = parse_compound(&bytes);
        // Headers whose lengths add up.
        for (at, packet_type) in types.into_iter().enumerate() {
            if let Some(header) = bytes.get_mut(20 * at..).and_then(|b| b.first_chunk_mut::<4>()) {
                *header = [header[0] & 0x3f | 0x80, packet_type, 0, 4];
            }
        }
        bytes.truncate(bytes.len() / 20 * 20);
        if let Ok(packets) = parse_compound(&bytes) {
            prop_assert!(packets.len() <= MAX_PACKETS);
        }
    }
}
