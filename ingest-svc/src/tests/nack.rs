//! What a node misses and asks for.

use media::rtcp;

use super::*;

/// What a node is sent until `wanted` has come: RTP.
async fn until(node: &mut FakeNode, wanted: impl Fn(&Bytes) -> bool) -> Vec<Bytes> {
    let mut packets = vec![];
    loop {
        packets.push(node.next_rtp_packet().await);
        if wanted(&packets[packets.len() - 1]) {
            return packets;
        }
    }
}

fn number(packet: &Bytes) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

fn ends_unit(packet: &Bytes) -> bool {
    packet[1] & 0x80 != 0
}

/// Starts a stream of pictures alone; the node has its first GOP, and knows whence RTCP comes.
async fn started(bench: &Bench, node: &mut FakeNode) -> (TestPublisher, SocketAddr, Vec<Bytes>) {
    let mut publisher = bench.publish("a").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 10_000, 1)).await;
    let (_, _, from) = node.next_report().await;
    publisher.video(40, avc_picture(false, 0, 100, 2)).await;
    let sent = until(node, |packet| packet.last() == Some(&2)).await;
    (publisher, from, sent)
}

#[tokio::test]
async fn what_a_node_asks_for_is_sent_again_as_it_was() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 10_000, 1)).await;
    let (_, description) = node.next_start().await;
    assert!(description.tracks.iter().all(|track| track.nack));
    let ssrc = description.tracks[0].ssrc.unwrap();
    let (mut packets, mut from) = (Vec::<Bytes>::new(), None);
    while !packets.last().is_some_and(ends_unit) || from.is_none() {
        match node.next().await {
            Received::Rtp(packet) => packets.push(packet),
            Received::Rtcp(_, address) => from = Some(address),
            Received::Start(_) | Received::Stop(_) | Received::Feed(_) => {}
        }
    }
    let from = from.unwrap();

    let asked = [number(&packets[2]), number(&packets[5]), number(&packets[5]).wrapping_add(100)];
    node.send_rtcp(&rtcp::nack(1, ssrc, &asked, "node"), from).await;
    assert!(node.next_rtp_packet().await == packets[2]);
    assert!(node.next_rtp_packet().await == packets[5]);
    // The leg is lossy now: the last packet of an access unit comes twice.
    publisher.video(40, avc_picture(false, 0, 3000, 2)).await;
    let next: Vec<_> = [node.next_rtp_packet().await, node.next_rtp_packet().await].into();
    let last = [node.next_rtp_packet().await, node.next_rtp_packet().await];
    assert!(last[0] == last[1] && ends_unit(&last[0]));
    assert_eq!(number(&last[0]), number(&next[1]).wrapping_add(1));

    let metrics = bench.metrics().await;
    for line in [
        "nacks_total 1",
        "rtp_asked_for_total 3",
        "rtp_retransmitted_total 2",
        "rtp_repeated_total 1",
        "rtp_retransmissions_refused_total{reason=\"not_kept\"} 1",
    ] {
        assert!(metrics.contains(&format!("\nrtmp2rtsp_ingest_{line}\n")), "{line} in {metrics}");
    }
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn what_a_stranger_asks_for_is_not_heard_and_no_rtcp_is_counted() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let (mut publisher, from, sent) = started(&bench, &mut node).await;
    let header = media::rtp::Header::parse(&sent[0]).unwrap();
    let nack = rtcp::nack(1, header.ssrc, &[header.sequence_number], "node");
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(&nack, from).await.unwrap();
    node.send_rtcp(b"nothing of the sort", from).await;
    // Of another source.
    node.send_rtcp(&rtcp::nack(1, header.ssrc ^ 1, &[header.sequence_number], "node"), from).await;
    publisher.video(80, avc_picture(false, 0, 100, 3)).await;
    let next = node.next_rtp_packet().await;
    assert_eq!(number(&next), number(&sent[sent.len() - 1]).wrapping_add(1));
    let metrics = bench.metrics().await;
    for line in ["nacks_total 1", "rtp_retransmitted_total 0", "malformed_rtcp_total 1"] {
        assert!(metrics.contains(&format!("\nrtmp2rtsp_ingest_{line}\n")), "{line} in {metrics}");
    }
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn where_it_is_not_offered_nothing_is_sent_again() {
    let mut config = config();
    config.hop.nack = false;
    let (bench, mut node) = Bench::with_node(config).await;
    let mut publisher = bench.publish("a").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 100, 1)).await;
    let (_, description) = node.next_start().await;
    assert!(description.tracks.iter().all(|track| !track.nack));
    let (_, _, from) = node.next_report().await;
    let (header, _) = node.next_rtp().await;
    node.send_rtcp(&rtcp::nack(1, header.ssrc, &[header.sequence_number], "node"), from).await;
    publisher.video(40, avc_picture(false, 0, 100, 2)).await;
    let (next, _) = node.next_rtp().await;
    assert_eq!(next.sequence_number, header.sequence_number.wrapping_add(1));
    drop(publisher);
    bench.drain().await;
}
