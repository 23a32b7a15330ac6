//! Whose a report in a group is.

use media::{
    NtpTime,
    rtcp::{SenderReport, receiver_report, sender_report},
};

use super::*;
use crate::rtsp::udp::tests::{Silent, report};

fn host(last: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, last], port).into()
}

#[test]
fn a_report_is_of_the_only_session_of_its_host_whatever_its_port() {
    let (members, metrics) = (Arc::<Members>::default(), Instruments::default());
    // As a server sees it that listens to IPv6 too.
    let mapped = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped(), 4000));
    let (one, other) = (Silent::at(mapped), Silent::at(host(2, 4000)));
    let _members = [members.add(one.ear()), members.add(other.ear())];
    members.take(&report(3), host(1, 9011), &metrics);
    assert_eq!((one.losses(), other.losses()), (vec![3], vec![]));
    assert!(one.heard() && !other.heard());
    members.take(&report(5), host(3, 9011), &metrics);
    assert_eq!((one.losses(), other.losses()), (vec![3], vec![]));
}

#[test]
fn of_two_sessions_on_one_host_none_is_believed_until_one_has_gone() {
    let (members, metrics) = (Arc::<Members>::default(), Instruments::default());
    let (one, other) = (Silent::at(host(1, 4000)), Silent::at(host(1, 4001)));
    let (_one, member) = (members.add(one.ear()), members.add(other.ear()));
    members.take(&report(3), host(1, 9011), &metrics);
    assert!(!one.heard() && !other.heard());
    drop(member);
    members.take(&report(3), host(1, 9011), &metrics);
    assert_eq!((one.losses(), other.losses()), (vec![3], vec![]));
}

#[test]
fn what_is_no_report_on_the_group_keeps_no_session() {
    let (members, metrics) = (Arc::<Members>::default(), Instruments::default());
    let silent = Silent::at(host(1, 4000));
    let _member = members.add(silent.ear());
    let ours = SenderReport {
        ssrc: 7,
        ntp: NtpTime::from_bits(1),
        rtp_timestamp: 2,
        packets: 3,
        octets: 4,
    };
    for datagram in [sender_report(&ours, "x"), receiver_report(1, &[], "x")] {
        members.take(&datagram, host(1, 9011), &metrics);
    }
    members.take(b"no RTCP", host(1, 9011), &metrics);
    assert!(!silent.heard());
    assert_eq!(metrics.malformed_rtcp.get(), 1);
}
