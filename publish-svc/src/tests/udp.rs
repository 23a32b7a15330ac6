//! Readers over UDP.

use std::time::Duration;

use media::{
    rtcp::{RtcpPacket, bye, parse_compound, receiver_report},
    rtp::Header,
};
use proto::v1;
use tokio::{net::UdpSocket, time::timeout};

use crate::testing::{Bench, Reader, Source, Track, config};

const PATIENCE: Duration = Duration::from_secs(20);

/// A reader's ports for one track, and the server's.
pub(super) struct Ports {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
}

impl Ports {
    pub(super) async fn set_up(reader: &mut Reader, track: usize) -> Self {
        let any = ("127.0.0.1", 0);
        let (rtp, rtcp) =
            (UdpSocket::bind(any).await.unwrap(), UdpSocket::bind(any).await.unwrap());
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let transport = format!("RTP/AVP;unicast;client_port={}-{}", port(&rtp), port(&rtcp));
        let response = reader.set_up(track, &transport).await;
        let served = &response.headers["transport"];
        let ports = served.split(';').find_map(|part| part.strip_prefix("server_port=")).unwrap();
        let (to_rtp, to_rtcp) = ports.split_once('-').unwrap();
        rtp.connect(("127.0.0.1", to_rtp.parse().unwrap())).await.unwrap();
        rtcp.connect(("127.0.0.1", to_rtcp.parse().unwrap())).await.unwrap();
        Self { rtp, rtcp }
    }

    pub(super) async fn rtp(&self) -> Header {
        let mut buffer = [0; 2048];
        let read = timeout(PATIENCE, self.rtp.recv(&mut buffer)).await;
        Header::parse(&buffer[..read.expect("no RTP").unwrap()]).unwrap()
    }

    pub(super) async fn rtcp(&self) -> Vec<RtcpPacket> {
        let mut buffer = [0; 2048];
        let read = timeout(PATIENCE, self.rtcp.recv(&mut buffer)).await;
        parse_compound(&buffer[..read.expect("no RTCP").unwrap()]).unwrap()
    }
}

#[tokio::test]
async fn a_udp_reader_gets_reports_packets_and_bye() {
    let mut bench = Bench::start(config()).await;
    let mut source = Source::new(1);
    let sender = bench.start_by_hand("a", &source).await;
    // Larger than one burst, the last packet smaller than the others.
    let sent: Vec<_> = source.picture_of(0, true, 60_000, 0).packets().collect();
    sender.rtp(sent.clone());
    let mut reader = bench.reader("a").await;
    let video = Ports::set_up(&mut reader, 0).await;
    let audio = Ports::set_up(&mut reader, 1).await;
    let played = reader.ask("PLAY", "", "").await;
    assert_eq!(played.status, 200);
    let first = video.rtp().await;
    assert!(played.headers["rtp-info"].contains(&format!("seq={};", first.sequence_number)));
    let mut last = first.clone();
    for _ in 1..sent.len() {
        let header = video.rtp().await;
        assert_eq!(header.sequence_number, last.sequence_number.wrapping_add(1));
        last = header;
    }
    assert!(last.marker && last.timestamp == first.timestamp);
    let report = video.rtcp().await;
    assert!(matches!(&report[0], RtcpPacket::SenderReport(r, _) if r.ssrc == first.ssrc));
    sender.rtp(source.sound(0));
    assert_ne!(audio.rtp().await.ssrc, first.ssrc);
    assert_eq!(bench.stream("a").await.unwrap().readers[0].transport(), v1::ReaderTransport::Udp);

    bench.stop("a", 0).await.unwrap();
    assert!(reader.rest().await.is_empty());
    let mut packets = video.rtcp().await;
    while !packets.contains(&RtcpPacket::Bye(vec![first.ssrc])) {
        packets = video.rtcp().await;
    }
    bench.drain().await;
}

#[tokio::test]
async fn only_rtcp_from_its_own_address_keeps_a_udp_reader() {
    let mut config = config();
    config.rtsp.session_timeout = Duration::from_secs(2);
    config.rtsp.sender_report_interval = Duration::from_millis(50);
    let mut bench = Bench::start(config).await;
    let mut source = Source::new(1);
    let sender = bench.start_by_hand("a", &source).await;
    sender.rtcp(&source.report(Track::Video, 0));
    sender.rtp(source.keyframe(0));
    let (mut kept, mut silent) = (bench.reader("a").await, bench.reader("a").await);
    let kept_ports = Ports::set_up(&mut kept, 0).await;
    let silent_ports = Ports::set_up(&mut silent, 0).await;
    kept.ask("PLAY", "", "").await;
    silent.ask("PLAY", "", "").await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = silent_ports.rtcp.peer_addr().unwrap();
    let report = receiver_report(1, &[], "reader");
    let ended = async {
        loop {
            tokio::select! {
                rest = silent.rest() => break rest,
                _ = kept_ports.rtcp() => {
                    kept_ports.rtcp.send(&report).await.unwrap();
                    stranger.send_to(&report, server).await.unwrap();
                    stranger.send_to(&bye(&[1], "reader"), server).await.unwrap();
                    // From its own address, but no RTCP; and RTCP where none belongs.
                    silent_ports.rtcp.send(b"no RTCP").await.unwrap();
                    silent_ports.rtp.send(&report).await.unwrap();
                }
            }
        }
    };
    assert!(ended.await.is_empty());
    // Set up before the other, it would have been closed before it.
    for _ in 0..3 {
        kept_ports.rtcp().await;
    }
    let readers = bench.stream("a").await.unwrap().readers;
    let peers: Vec<_> = readers.iter().map(|reader| reader.peer_address.clone()).collect();
    assert_eq!(peers, [kept.address().to_string()]);
    let counters = bench.stream("a").await.unwrap().reader_counters.unwrap();
    assert_eq!((counters.dropped_silent, counters.dropped_stuck), (1, 0));
    let dropped = counters.last_dropped.unwrap();
    assert_eq!(dropped.peer_address, silent.address().to_string());
    assert_eq!(dropped.reason, v1::ReaderDropReason::Silent as i32);
    bench.until_metrics(&["readers_dropped_total{reason=\"silent\"} 1"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn without_udp_a_reader_is_told_so_and_may_go_on_interleaved() {
    let mut config = config();
    config.rtsp.udp = false;
    let mut bench = Bench::start(config).await;
    let mut source = Source::new(1);
    let sender = bench.start_by_hand("a", &source).await;
    sender.rtp(source.keyframe(0));
    let mut reader = bench.reader("a").await;
    let udp = "Transport: RTP/AVP;unicast;client_port=4000-4001\r\n";
    assert_eq!(reader.ask("SETUP", "/trackID=0", udp).await.status, 461);
    reader.set_up(0, "RTP/AVP/TCP;interleaved=0-1").await;
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    assert_eq!(reader.mark().await, 0);
    bench.drain().await;
}
