use proptest::prelude::*;

use super::{key::SessionKey, *};

fn hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The session key and salt of RFC 7714, 16 and 17.
fn of_the_rfc() -> Session {
    let session_key = || SessionKey::new(std::array::from_fn(|n| n as u8), *b"Quid pro quo");
    Session::with(session_key(), session_key())
}

/// RFC 7714, 16.1.
const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e6973206469766973612069\
    6e207061727465732074726573";
const SRTP: &str = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42\
    a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce";
/// RFC 7714, 17.1; its index is 0x5d4.
const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefde\
    adbeefdeadbeefdeadbeefdeadbeef";
const SRTCP: &str = "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f173\
    0d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4";

#[test]
fn the_packets_of_rfc_7714_are_sealed_and_opened_as_there() {
    let mut sealed = vec![];
    of_the_rfc().seal_rtp(&hex(RTP), &mut sealed).unwrap();
    assert_eq!(sealed, hex(SRTP));
    assert_eq!(of_the_rfc().open_rtp(&mut sealed), Ok(&mut hex(RTP)[..]));

    let mut session = of_the_rfc();
    for _ in 0..0x5d4 {
        session.seal_rtcp(&hex(RTCP)).unwrap();
    }
    let sealed = session.seal_rtcp(&hex(RTCP)).unwrap();
    assert_eq!(sealed, hex(SRTCP));
    assert_eq!(of_the_rfc().open_rtcp(&mut hex(SRTCP)), Ok(&mut hex(RTCP)[..]));
}

fn key(seed: u8) -> MasterKey {
    MasterKey::new(std::array::from_fn(|n| seed ^ (7 * n as u8)))
}

fn packet(ssrc: u32, number: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(number.to_be_bytes());
    packet.extend([0, 0, 0, 9]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet
}

/// Two ends with one key.
fn ends() -> (Session, Session) {
    (Session::new(&key(1)), Session::new(&key(1)))
}

fn sealed(session: &mut Session, packet: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    session.seal_rtp(packet, &mut out).unwrap();
    assert_eq!(out.len(), packet.len() + TAG_BYTES);
    out
}

#[test]
fn packets_pass_over_the_wrap_of_their_numbers_in_any_order() {
    let (mut a, mut b) = ends();
    let numbers = (65_000..=65_535).chain(0..=65_535).chain(0..100);
    let mut waiting = vec![];
    for (n, number) in numbers.enumerate() {
        waiting.push((packet(7, number), sealed(&mut a, &packet(7, number))));
        // One in five comes after the next four.
        if n % 5 == 4 {
            waiting.rotate_left(1);
            for (plain, mut sealed) in waiting.drain(..) {
                assert_eq!(b.open_rtp(&mut sealed), Ok(&mut plain.clone()[..]));
            }
        }
    }
}

#[test]
fn the_first_packet_may_be_lost_behind_which_the_numbers_begin_anew() {
    let (mut a, mut b) = ends();
    sealed(&mut a, &packet(7, 65_535));
    for number in 0..3 {
        let mut sealed = sealed(&mut a, &packet(7, number));
        assert_eq!(b.open_rtp(&mut sealed), Ok(&mut packet(7, number)[..]));
    }
}

#[test]
fn a_packet_that_is_sent_again_is_the_same_and_is_taken_once_however_late() {
    let (mut a, mut b) = ends();
    let first = sealed(&mut a, &packet(7, 65_530));
    let missed = sealed(&mut a, &packet(7, 65_531));
    assert!(b.open_rtp(&mut first.clone()).is_ok());
    for number in 65_532..=65_535_u16 {
        assert!(b.open_rtp(&mut sealed(&mut a, &packet(7, number))).is_ok());
    }
    for number in 0..8000 {
        assert!(b.open_rtp(&mut sealed(&mut a, &packet(7, number))).is_ok());
    }
    let again = sealed(&mut a, &packet(7, 65_531));
    assert_eq!(again, missed);
    assert_eq!(b.open_rtp(&mut again.clone()), Ok(&mut packet(7, 65_531)[..]));
    assert_eq!(b.open_rtp(&mut again.clone()), Err(Refused::CameBefore));
    for number in 8000..9000 {
        assert!(b.open_rtp(&mut sealed(&mut a, &packet(7, number))).is_ok());
    }
    assert_eq!(b.open_rtp(&mut again.clone()), Err(Refused::TooOld));
}

#[test]
fn a_packet_of_a_whole_round_ago_is_not_taken_for_a_new_one() {
    let (mut a, mut b) = ends();
    let old = sealed(&mut a, &packet(7, 5));
    assert!(b.open_rtp(&mut old.clone()).is_ok());
    for number in (0..65_536_u32).step_by(1000) {
        assert!(b.open_rtp(&mut sealed(&mut a, &packet(7, number as u16))).is_ok());
    }
    assert!(b.open_rtp(&mut sealed(&mut a, &packet(7, 0))).is_ok());
    assert_eq!(b.open_rtp(&mut old.clone()), Err(Refused::Unauthentic));
}

#[test]
fn after_a_cut_of_more_than_half_a_round_it_goes_on() {
    let (mut a, mut b) = ends();
    let mut at = 1000_u32;
    for missed in [50_000, 64_000, 66_000] {
        // Its first round, or a later one.
        assert!(b.open_rtp(&mut sealed(&mut a, &packet(7, at as u16))).is_ok());
        for step in (0..missed).step_by(10_000) {
            sealed(&mut a, &packet(7, (at + step) as u16));
        }
        at += missed;
        let next = |n: u32| packet(7, (at + n) as u16);
        let opened = (0..100).position(|n| b.open_rtp(&mut sealed(&mut a, &next(n))).is_ok());
        assert!(opened.is_some_and(|opened| opened < 20), "{opened:?} after {missed}");
        at += 100;
    }
}

#[test]
fn rtcp_passes_both_ways_and_comes_once() {
    let (mut a, mut b) = ends();
    let compound = |ssrc: u32| crate::rtcp::receiver_report(ssrc, &[], "x");
    let there = a.seal_rtcp(&compound(1)).unwrap();
    assert_eq!(there.len(), compound(1).len() + RTCP_OVERHEAD_BYTES);
    assert_eq!(b.open_rtcp(&mut there.to_vec()), Ok(&mut compound(1).to_vec()[..]));
    assert_eq!(b.open_rtcp(&mut there.to_vec()), Err(Refused::CameBefore));
    let back = b.seal_rtcp(&compound(2)).unwrap();
    assert_eq!(a.open_rtcp(&mut back.to_vec()), Ok(&mut compound(2).to_vec()[..]));
    let later: Vec<_> = (0..200).map(|_| a.seal_rtcp(&compound(1)).unwrap()).collect();
    assert!(b.open_rtcp(&mut later[199].to_vec()).is_ok());
    assert!(b.open_rtcp(&mut later[100].to_vec()).is_ok());
    assert_eq!(b.open_rtcp(&mut later[10].to_vec()), Err(Refused::TooOld));
}

#[test]
fn what_is_not_of_the_other_end_is_refused() {
    let (mut a, mut b) = ends();
    let sealed_by_a = sealed(&mut a, &packet(7, 1));
    let compound = a.seal_rtcp(&crate::rtcp::bye(&[7], "x")).unwrap();
    // What was sent comes back.
    assert_eq!(a.open_rtp(&mut sealed_by_a.clone()), Err(Refused::Unauthentic));
    assert_eq!(a.open_rtcp(&mut compound.to_vec()), Err(Refused::Unauthentic));
    // Of another key, another protocol, or of none.
    let mut stranger = Session::new(&key(2));
    assert_eq!(b.open_rtp(&mut sealed(&mut stranger, &packet(7, 1))), Err(Refused::Unauthentic));
    assert_eq!(b.open_rtp(&mut packet(7, 1)), Err(Refused::Malformed));
    let mut plain = crate::rtcp::bye(&[7], &"x".repeat(40)).to_vec();
    assert_eq!(b.open_rtcp(&mut plain), Err(Refused::Malformed));
    for at in 0..sealed_by_a.len() {
        let mut changed = sealed_by_a.clone();
        changed[at] ^= 0x20;
        assert!(b.open_rtp(&mut changed).is_err(), "byte {at}");
    }
    for at in 0..compound.len() {
        let mut changed = compound.to_vec();
        changed[at] ^= 0x20;
        assert!(b.open_rtcp(&mut changed).is_err(), "byte {at}");
    }
    assert!(
        b.open_rtp(&mut sealed_by_a.clone()).is_ok() && b.open_rtcp(&mut compound.to_vec()).is_ok()
    );
    // No nonce is used by both ends.
    assert_eq!(b.seal_rtp(&packet(7, 2), &mut vec![]), Err(SealError::ForeignSsrc(7)));
    assert_eq!(b.seal_rtcp(&crate::rtcp::bye(&[7], "x")), Err(SealError::ForeignSsrc(7)));
}

#[test]
fn nothing_that_is_shown_has_a_key_in_it() {
    let (a, _) = ends();
    assert_eq!(format!("{a:?} {:?}", key(1)), "Session(..) MasterKey(..)");
}

proptest! {
    #[test]
    fn any_packet_comes_out_as_it_went_in(
        sources in 0u8..16,
        extension in proptest::option::of(0u8..5),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        number in any::<u16>(),
    ) {
        let mut plain = packet(3, number);
        plain[0] |= sources | if extension.is_some() { 0x10 } else { 0 };
        plain.truncate(12);
        plain.resize(12 + 4 * usize::from(sources), 0xAA);
        if let Some(words) = extension {
            plain.extend([0xBE, 0xDE, 0, words]);
            plain.resize(plain.len() + 4 * usize::from(words), 0xBB);
        }
        let header = plain.len();
        plain.extend(&payload);
        let (mut a, mut b) = ends();
        let mut sealed = sealed(&mut a, &plain);
        prop_assert_eq!(&sealed[..header], &plain[..header]);
        prop_assert!(payload.len() < 8 || sealed[header..plain.len()] != plain[header..]);
        prop_assert_eq!(b.open_rtp(&mut sealed), Ok(&mut plain[..]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), first in 0x80u8..0xC0) {
        let (mut a, _) = ends();
        for mut bytes in [bytes.clone(), [vec![first], bytes].concat()] {
            let _ = a.seal_rtp(&bytes, &mut vec![]);
            let _ = a.seal_rtcp(&bytes);
            prop_assert!(a.open_rtp(&mut bytes.clone()).is_err());
            prop_assert!(a.open_rtcp(&mut bytes).is_err());
        }
    }
}
