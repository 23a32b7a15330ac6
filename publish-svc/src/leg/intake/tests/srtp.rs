//! A leg with a key.

use media::srtp::{MasterKey, Session};

use super::*;

fn key(seed: u8) -> MasterKey {
    MasterKey::new([seed; MasterKey::BYTES])
}

fn with_key(source: &Source, seed: u8) -> SessionDescription {
    let mut description = source.description();
    description.crypto = Some(key(seed));
    description.tracks.iter_mut().for_each(|track| track.nack = true);
    description
}

/// A source that seals what it sends.
struct Sealed {
    source: Source,
    session: Session,
}

impl Sealed {
    fn new(seed: u8) -> Self {
        Self { source: Source::new(1), session: Session::new(&key(seed)) }
    }

    fn seal(&mut self, packets: &[Bytes]) -> Vec<Vec<u8>> {
        let mut seal = |packet: &Bytes| {
            let mut sealed = vec![];
            self.session.seal_rtp(packet, &mut sealed).unwrap();
            sealed
        };
        packets.iter().map(&mut seal).collect()
    }

    fn report(&mut self, ms: u32) -> Vec<u8> {
        let report = self.source.report(Track::Video, ms);
        self.session.seal_rtcp(&report).unwrap().to_vec()
    }
}

fn receive(bench: &mut Bench, ms: u32, packets: impl IntoIterator<Item = Vec<u8>>) {
    let now = bench.now(ms);
    for mut packet in packets {
        bench.intake.receive_rtp(address(FROM), &mut packet, now);
    }
    bench.pass(ms);
}

fn receive_rtcp(bench: &mut Bench, ms: u32, mut compound: Vec<u8>) {
    let now = bench.now(ms);
    bench.intake.receive_rtcp(address(FROM + 1), &mut compound, now);
    bench.pass(ms);
}

#[test]
fn what_is_sealed_with_the_key_is_read_and_answered_sealed() {
    let mut sender = Sealed::new(1);
    let mut bench = Bench::of(&with_key(&sender.source, 1));
    let report = sender.report(0);
    receive_rtcp(&mut bench, 0, report);
    let keyframe = sender.source.keyframe(0);
    let sealed = sender.seal(&keyframe);
    receive(&mut bench, 0, sealed);
    bench.pass(40);
    let units = std::mem::take(&mut bench.units);
    assert_eq!(payloads(units[0].packets.packets()), payloads(keyframe));

    let picture = sender.source.picture(40);
    let sealed = sender.seal(&picture);
    receive(&mut bench, 41, [sealed[0].clone(), sealed[2].clone()]);
    let mut rtcp = bench.intake.take_rtcp(bench.now(41).instant, "node");
    let (to, nack) = rtcp.pop().unwrap();
    assert_eq!(to, address(FROM + 1));
    assert!(rtcp::parse_compound(&nack).is_err() || !nack.windows(4).any(|w| w == b"node"));
    let mut nack = nack.to_vec();
    let opened = sender.session.open_rtcp(&mut nack).unwrap();
    let Some(RtcpPacket::Nack(ssrc, missing)) = rtcp::parse_compound(opened).unwrap().pop() else {
        panic!("no NACK")
    };
    assert_eq!(ssrc, sender.source.ssrcs[0]);
    assert_eq!(missing, [Header::parse(&picture[1]).unwrap().sequence_number]);
    // The answer, and the packet itself that was only late.
    let again = sender.seal(&picture[1..2]);
    assert_eq!(again[0], sealed[1]);
    receive(&mut bench, 50, [again[0].clone(), again[0].clone()]);
    assert_eq!(bench.marks(), ["v40"]);
    assert_eq!((bench.count(|c| &c.packets_discarded), bench.counters.refused()), (1, 0));
}

#[test]
fn what_is_plain_or_sealed_by_another_is_counted_and_changes_nothing() {
    let mut sender = Sealed::new(1);
    let mut stranger = Sealed::new(2);
    let mut bench = Bench::of(&with_key(&sender.source, 1));
    let plain = stranger.source.keyframe(0);
    receive(&mut bench, 0, plain.iter().map(|packet| packet.to_vec()));
    let sealed = stranger.seal(&plain);
    receive(&mut bench, 0, sealed);
    let report = stranger.report(0);
    receive_rtcp(&mut bench, 0, report);
    receive_rtcp(&mut bench, 0, stranger.source.report(Track::Video, 0).to_vec());
    receive_rtcp(&mut bench, 0, stranger.source.bye().to_vec());
    receive(&mut bench, 0, [b"no RTP".to_vec()]);
    assert_eq!(bench.intake.state(), LegState::Waiting);
    assert_eq!(bench.count(|c| &c.refused_unauthentic), 3);
    assert_eq!((bench.count(|c| &c.malformed), bench.count(|c| &c.packets)), (3, 0));
    // Nothing has latched: the sender comes from elsewhere.
    let sealed = {
        let packets = sender.source.keyframe(0);
        sender.seal(&packets)
    };
    let now = bench.now(1);
    for mut packet in sealed {
        bench.intake.receive_rtp(address(FROM + 100), &mut packet, now);
    }
    bench.pass(100);
    assert_eq!(bench.marks(), ["v0"]);
}

#[test]
fn a_leg_that_gets_another_key_takes_what_is_sealed_with_it_alone() {
    let mut sender = Sealed::new(1);
    let mut bench = Bench::of(&with_key(&sender.source, 1));
    let packets = sender.source.keyframe(0);
    let sealed = sender.seal(&packets);
    receive(&mut bench, 0, sealed);
    // The same description again changes nothing; so does one with a further key but for the key.
    let (same, other) = (with_key(&sender.source, 1), with_key(&sender.source, 2));
    bench.intake.describe_leg(&same, &mut || 1);
    let packets = sender.source.keyframe(40);
    let sealed = sender.seal(&packets);
    receive(&mut bench, 40, sealed);
    bench.pass(80);
    assert_eq!(bench.marks(), ["v0", "v40"]);
    bench.intake.describe_leg(&other, &mut || 1);
    let packets = sender.source.keyframe(80);
    let sealed = sender.seal(&packets);
    receive(&mut bench, 90, sealed);
    assert_eq!((bench.marks().len(), bench.count(|c| &c.refused_unauthentic)), (0, 1));
    sender.session = Session::new(&key(2));
    let sealed = sender.seal(&packets);
    receive(&mut bench, 91, sealed);
    assert_eq!(bench.marks(), ["v80"]);
}
