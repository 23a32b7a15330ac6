//! Readers by multicast, on the loopback interface.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use media::{
    rtcp::{ReportBlock, RtcpPacket, parse_compound, receiver_report},
    rtp::Header,
};
use proto::v1;
use socket2::{Domain, Protocol, Socket, Type};

use super::rtsp::live;
use crate::testing::{Reader, Source, config};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TRANSPORT: &str = "RTP/AVP/UDP;multicast";

/// A range of one address that no other test has, and ports that none has.
fn multicast(last: u8) -> svc_core::config::Config {
    let mut config = config();
    config.rtsp.multicast = format!("239.255.77.{last}").parse().unwrap();
    config.rtsp.multicast_port = 9000 + 10 * u16::from(last);
    config
}

/// What a group's member hears.
struct Member {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Member {
    /// Joins the group of an answer to SETUP.
    fn join(transport: &str) -> Self {
        let value = |name: &str| {
            let found = transport.split(';').find_map(|part| part.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {transport}"))
        };
        let group: Ipv4Addr = value("destination=").parse().unwrap();
        let (rtp, rtcp) = value("port=").split_once('-').unwrap();
        let join = |port: &str| {
            // The server listens to RTCP, too.
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
            socket.set_reuse_address(true).unwrap();
            let address = SocketAddr::from((group, port.parse().unwrap()));
            socket.bind(&address.into()).unwrap();
            let socket = UdpSocket::from(socket);
            socket.join_multicast_v4(&group, &LOOPBACK).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket
        };
        Self { rtp: join(rtp), rtcp: join(rtcp) }
    }

    async fn heard(socket: &UdpSocket) -> Vec<u8> {
        let socket = socket.try_clone().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 2048];
            let length = socket.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        });
        read.await.unwrap()
    }

    async fn rtp(&self) -> (Header, u32) {
        let packet = Self::heard(&self.rtp).await;
        let mark = u32::from_be_bytes(*packet.last_chunk().unwrap());
        (Header::parse(&packet).unwrap(), mark)
    }
}

async fn set_up(reader: &mut Reader, track: usize) -> String {
    reader.set_up(track, TRANSPORT).await.headers["transport"].clone()
}

#[tokio::test]
async fn all_readers_by_multicast_hear_what_is_sent_once() {
    let mut source = Source::new(1);
    let (mut bench, sender) = live(multicast(1), &mut source).await;
    let (mut first, mut second) = (bench.reader("a").await, bench.reader("a").await);
    let video = set_up(&mut first, 0).await;
    assert!(
        video.starts_with("RTP/AVP/UDP;multicast;destination=239.255.77.1;port=9010-9011;ttl=1;"),
        "{video}"
    );
    let audio = set_up(&mut first, 1).await;
    assert!(audio.contains(";port=9012-9013;"), "{audio}");
    assert_eq!(set_up(&mut second, 0).await, video, "one group for all");
    let member = Member::join(&video);
    let played = first.ask("PLAY", "", "").await;
    assert!(played.headers["rtp-info"].ends_with("/trackID=1"), "{:?}", played.headers);
    let (keyframe, mark) = member.rtp().await;
    assert_eq!(mark, 0, "the first reader starts the sender at the last keyframe");
    assert_eq!(second.ask("PLAY", "", "").await.status, 200);
    sender.rtp(source.keyframe(40));
    let (next, mark) = member.rtp().await;
    assert_eq!((next.sequence_number, mark), (keyframe.sequence_number.wrapping_add(1), 40));
    let readers = bench.stream("a").await.unwrap().readers;
    for reader in &readers {
        assert_eq!(reader.transport(), v1::ReaderTransport::Multicast);
        assert_eq!(reader.packets_sent, readers[0].packets_sent);
    }
    bench.until_metrics(&["readers{transport=\"multicast\"} 2"]).await;

    // It goes on for the second when the first has gone.
    assert_eq!(first.ask("TEARDOWN", "", "").await.status, 200);
    sender.rtp(source.keyframe(80));
    assert_eq!(member.rtp().await.1, 80);
    bench.stop("a", 0).await.unwrap();
    loop {
        let compound = parse_compound(&Member::heard(&member.rtcp).await).unwrap();
        if compound.contains(&RtcpPacket::Bye(vec![next.ssrc])) {
            break;
        }
    }
    bench.drain().await;
}

#[tokio::test]
async fn the_sender_rests_while_nobody_plays() {
    let mut source = Source::new(1);
    let (mut bench, sender) = live(multicast(2), &mut source).await;
    let (mut other, mut reader) = (bench.reader("a").await, bench.reader("a").await);
    other.play().await;
    assert_eq!(other.mark().await, 0);
    let member = Member::join(&set_up(&mut reader, 0).await);
    sender.rtp(source.keyframe(40));
    while other.mark().await != 40 {}
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200, "playing already");
    assert_eq!(member.rtp().await.1, 40, "nothing was sent before");
    assert_eq!(reader.ask("PAUSE", "", "").await.status, 200);
    bench.until_metrics(&["readers{transport=\"multicast\"} 0"]).await;
    for ms in [80, 120] {
        sender.rtp(source.keyframe(ms));
        while other.mark().await != ms {}
    }
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    assert_eq!(member.rtp().await.1, 120, "what came meanwhile was not sent");
    drop(reader);
    bench.until("a", |stream| stream.is_some_and(|stream| stream.readers.len() == 1)).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_stream_beyond_the_range_is_refused_and_an_address_is_free_after_its_last_reader() {
    let mut source = Source::new(1);
    let (mut bench, _sender) = live(multicast(3), &mut source).await;
    let b = bench.start_by_hand("b", &source).await;
    b.rtp(source.keyframe(0));
    let (mut reader, mut other) = (bench.reader("a").await, bench.reader("b").await);
    set_up(&mut reader, 0).await;
    let transport = format!("Transport: {TRANSPORT}\r\n");
    assert_eq!(other.ask("SETUP", "/trackID=0", &transport).await.status, 453);
    assert_eq!(reader.ask("TEARDOWN", "", "").await.status, 200);
    assert!(set_up(&mut other, 0).await.contains(";destination=239.255.77.3;"));
    bench.drain().await;
}

#[tokio::test]
async fn without_a_range_multicast_is_refused() {
    let (bench, _sender) = live(config(), &mut Source::new(1)).await;
    let mut reader = bench.reader("a").await;
    let transport = format!("Transport: {TRANSPORT}\r\n");
    assert_eq!(reader.ask("SETUP", "/trackID=0", &transport).await.status, 461);
    bench.drain().await;
}

#[tokio::test]
async fn what_the_only_reader_of_a_host_reports_to_its_group_is_shown() {
    let mut source = Source::new(1);
    let (mut bench, _sender) = live(multicast(4), &mut source).await;
    let mut reader = bench.reader("a").await;
    let member = Member::join(&set_up(&mut reader, 0).await);
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    let compound = parse_compound(&Member::heard(&member.rtcp).await).unwrap();
    let RtcpPacket::SenderReport(report, _) = compound[0] else { panic!("no report first") };
    let block = |lost| ReportBlock {
        ssrc: report.ssrc,
        cumulative_lost: lost,
        last_sr: report.ntp.middle_bits(),
        ..Default::default()
    };
    let to = member.rtcp.local_addr().unwrap();
    let receiver = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    socket2::SockRef::from(&receiver).set_multicast_if_v4(&LOOPBACK).unwrap();
    receiver.send_to(&receiver_report(1, &[block(3)], "reader"), to).unwrap();
    let stream = bench.until_asked("a", |stream| !stream.readers[0].receptions.is_empty()).await;
    let reception = &stream.readers[0].receptions[0];
    assert_eq!((reception.track, reception.packets_lost), (0, 3));
    assert!(reception.round_trip_time.is_some(), "it answers what was sent to the group");
    bench.until_metrics(&["reader_packets_lost_total{transport=\"multicast\"} 3"]).await;
    bench.drain().await;
}
