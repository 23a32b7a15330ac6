//! RTCP compounds. Input: one datagram.

use std::collections::BTreeSet;

use media::rtcp::{
    MAX_NACKED, RtcpPacket, bye, nack, parse_compound, receiver_report, sender_report,
};

/// The most packets of one compound.
const MAX_PACKETS: usize = 64;

pub(crate) fn run(data: &[u8]) {
    let Ok(packets) = parse_compound(data) else { return };
    assert!((1..=MAX_PACKETS).contains(&packets.len()) && 4 * packets.len() <= data.len());
    let cname = packets.iter().find_map(|packet| match packet {
        RtcpPacket::Cname(_, cname) => Some(cname.as_str()),
        _ => None,
    });
    let cname = cname.unwrap_or("nobody");
    for packet in &packets {
        match packet {
            RtcpPacket::SenderReport(report, blocks) => {
                assert!(blocks.len() <= 31 && 24 * blocks.len() + 28 <= data.len());
                let alone = RtcpPacket::SenderReport(*report, vec![]);
                written(&sender_report(report, cname), &[alone], report.ssrc, cname);
            }
            RtcpPacket::ReceiverReport(sender, blocks) => {
                assert!(blocks.len() <= 31 && 24 * blocks.len() + 8 <= data.len());
                let all = [packet.clone()];
                written(&receiver_report(*sender, blocks, cname), &all, *sender, cname);
            }
            RtcpPacket::Bye(sources) => {
                assert!(sources.len() <= 31 && 4 * sources.len() + 4 <= data.len());
                let sender = sources.first().copied().unwrap_or_default();
                let all = [RtcpPacket::ReceiverReport(sender, vec![]), packet.clone()];
                written(&bye(sources, cname), &all, sender, cname);
            }
            // 12 bytes of header and sources, then 17 sequence numbers per word at most.
            RtcpPacket::Nack(source, missing) => {
                assert!(4 * missing.len() <= 17 * (data.len() - 12));
                asked(*source, &missing[..missing.len().min(MAX_NACKED)], cname);
            }
            RtcpPacket::Cname(_, cname) => assert!(cname.len() <= 3 * 255),
            RtcpPacket::Other(packet_type) => assert!(![200, 201, 203].contains(packet_type)),
        }
    }
}

/// A NACK that we write asks for these packets and no others.
fn asked(source: u32, missing: &[u16], cname: &str) {
    let read = parse_compound(&nack(1, source, missing, cname)).expect("our NACKs can be read");
    let Some(RtcpPacket::Nack(of, read)) = read.last() else { panic!("no NACK") };
    assert_eq!(*of, source);
    let set = |numbers: &[u16]| numbers.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(read), set(missing));
}

/// What we write reads as these packets, with the CNAME behind the first, cut to the 255 bytes that there is room for.
fn written(compound: &[u8], packets: &[RtcpPacket], source: u32, cname: &str) {
    assert!(compound.len().is_multiple_of(4));
    let read = parse_compound(compound).expect("our compounds can be read");
    assert_eq!((&read[..1], &read[2..]), packets.split_at(1));
    let RtcpPacket::Cname(of, read) = &read[1] else { panic!("a compound without CNAME") };
    assert_eq!(*of, source);
    assert!(cname.starts_with(read.as_str()), "{read:?} is not the beginning of {cname:?}");
    // A character has four bytes at most.
    assert!(read.len() == cname.len() || read.len() > 255 - 4);
}
