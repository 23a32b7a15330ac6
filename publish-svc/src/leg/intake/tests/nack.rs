//! What is missing is asked for, where the sender offers to send it again.

use super::*;

/// The beginning of a leg is put in order before anything is given out.
const START: u32 = 2 * WINDOW;

fn offering(source: &Source) -> SessionDescription {
    let mut description = source.description();
    description.tracks.iter_mut().for_each(|track| track.nack = true);
    description
}

/// What is asked for at `ms`: where, and the sequence numbers by SSRC.
fn asked(bench: &mut Bench, ms: u32) -> Vec<(SocketAddr, u32, Vec<u16>)> {
    let nacks = bench.intake.take_nacks(bench.now(ms).instant, "node");
    let read = |(to, compound): (SocketAddr, Bytes)| {
        let Some(RtcpPacket::Nack(ssrc, missing)) = rtcp::parse_compound(&compound).unwrap().pop()
        else {
            panic!("no NACK");
        };
        (to, ssrc, missing)
    };
    nacks.into_iter().map(read).collect()
}

/// A leg whose sender's port is known, and that has begun with a keyframe at 0 ms.
fn begun(source: &mut Source) -> Bench {
    let mut bench = Bench::of(&offering(source));
    // The report of the other track tells the port of both.
    bench.rtcp(0, &source.report(Track::Audio, 0));
    bench.rtp(0, source.sound(0));
    bench.rtp(0, source.keyframe(0));
    asked(&mut bench, 0);
    bench.pass(START);
    assert_eq!(bench.marks(), ["v0", "a0"]);
    for counter in [&bench.counters.nacks, &bench.counters.packets_asked_for] {
        counter.store(0, Ordering::Relaxed);
    }
    bench
}

#[test]
fn a_missing_packet_is_asked_for_at_the_senders_rtcp_port_and_waited_for() {
    let mut source = Source::new(1);
    let mut bench = begun(&mut source);
    let picture = source.picture(40);
    bench.rtp(40, [picture[0].clone(), picture[2].clone()]);
    let missing = headers_of(&picture)[1].sequence_number;
    assert_eq!(asked(&mut bench, 40), [(address(FROM + 1), source.ssrcs[0], vec![missing])]);
    assert_eq!(asked(&mut bench, 41), []);
    assert_eq!(bench.intake.deadline(), Some(bench.now(60).instant));
    bench.pass(60);
    assert_eq!(asked(&mut bench, 60).len(), 1, "once more");
    bench.rtp(75, [picture[1].clone()]);
    assert_eq!(bench.marks(), ["v40"]);
    bench.pass(1000);
    assert_eq!((bench.count(|c| &c.packets_lost), bench.count(|c| &c.packets_recovered)), (0, 1));
    assert_eq!((bench.count(|c| &c.packets_asked_for), bench.count(|c| &c.nacks)), (2, 2));
}

#[test]
fn where_it_is_not_known_where_to_ask_a_packet_is_waited_for_one_window() {
    for (nack, reported) in [(true, false), (false, true)] {
        let mut source = Source::new(1);
        let description = if nack { offering(&source) } else { source.description() };
        let mut bench = Bench::of(&description);
        if reported {
            bench.rtcp(0, &source.report(Track::Video, 0));
        }
        bench.rtp(0, source.keyframe(0));
        bench.pass(START);
        let picture = source.picture(40);
        bench.rtp(100, [picture[0].clone(), picture[2].clone()]);
        assert_eq!(asked(&mut bench, 100), []);
        bench.pass(100 + WINDOW);
        assert_eq!((bench.count(|c| &c.packets_lost), bench.count(|c| &c.nacks)), (1, 0));
    }
}

#[test]
fn an_answer_that_comes_too_late_is_counted() {
    let mut source = Source::new(1);
    let mut bench = begun(&mut source);
    let picture = source.picture(40);
    bench.rtp(40, [picture[0].clone(), picture[2].clone()]);
    for ms in 40..1000 {
        asked(&mut bench, ms);
        bench.pass(ms);
    }
    assert_eq!(bench.count(|c| &c.packets_lost), 1);
    bench.rtp(1000, [picture[1].clone()]);
    let counts = (bench.count(|c| &c.packets_too_late), bench.count(|c| &c.packets_discarded));
    assert_eq!(counts, (1, 1));
}

/// Its ingest sends a new leg what it has kept, the last GOP.
#[test]
fn a_leg_that_begins_anew_with_what_was_had_already_goes_on_without_it() {
    let mut source = Source::new(1);
    let mut bench = begun(&mut source);
    let mut picture = |n: u32| source.picture_of(n * 40, n == 1, 3000, n * 40);
    let gop: Vec<_> = (1..=80).map(|n| (n * 40, picture(n))).collect();
    for (ms, picture) in &gop {
        bench.rtp(*ms, picture.packets());
    }
    assert_eq!(bench.marks().len(), 80);
    bench.rtp(4000, gop.iter().flat_map(|(_, picture)| picture.packets()));
    bench.rtp(4001, source.keyframe(3240));
    assert_eq!(bench.marks(), ["v3240"], "no restart");
}

#[test]
fn the_beginning_of_a_leg_is_read_in_whatever_order_it_comes() {
    let mut source = Source::new(1);
    let mut bench = Bench::of(&offering(&source));
    let keyframe: Vec<_> = source.picture_of(0, true, 5000, 0).packets().collect();
    let mut order: Vec<_> = keyframe.iter().rev().cloned().collect();
    let first = order.pop().unwrap();
    bench.rtp(0, order);
    bench.rtcp(3, &source.report(Track::Video, 0));
    let [(_, _, missing)] = &asked(&mut bench, 3)[..] else { panic!("the first is not missed") };
    assert!(missing.contains(&headers_of(&keyframe)[0].sequence_number), "{missing:?}");
    bench.rtp(25, [first]);
    bench.pass(START);
    let units = std::mem::take(&mut bench.units);
    assert_eq!((units.len(), units[0].keyframe), (1, true), "it is undamaged");
    assert_eq!(payloads(units[0].packets.packets()), payloads(keyframe));
}

fn headers_of(packets: &[Bytes]) -> Vec<Header> {
    packets.iter().map(|packet| Header::parse(packet).unwrap()).collect()
}

#[test]
fn pictures_come_out_before_the_sound_that_came_with_them_though_sound_wakes_them() {
    let mut source = Source::new(1);
    let mut bench = Bench::of(&offering(&source));
    bench.rtp(0, source.keyframe(0));
    bench.rtp(0, source.sound(0));
    assert_eq!(bench.marks(), [""; 0], "the beginning is put in order");
    // By then it was waited for long enough: who begins at the keyframe gets all of the sound.
    let (sound, picture) = (source.sound(START), source.picture(START));
    bench.rtp(START, [sound, picture].into_iter().flatten());
    let expected = ["v0".to_owned(), format!("v{START}"), "a0".to_owned(), format!("a{START}")];
    assert_eq!(bench.marks(), expected);
}
