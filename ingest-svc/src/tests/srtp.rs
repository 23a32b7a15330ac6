//! A hop that nobody can read.

use media::{rtcp, srtp::Session};

use super::*;

fn private() -> Config {
    let mut config = config();
    config.hop.srtp = true;
    config
}

/// What the node is sent next, opened: RTP.
async fn next(node: &mut FakeNode, session: &mut Session) -> Bytes {
    let mut packet = node.next_rtp_packet().await.to_vec();
    session.open_rtp(&mut packet).unwrap().to_vec().into()
}

#[tokio::test]
async fn what_is_sent_is_sealed_with_the_key_of_the_leg_and_what_is_asked_for_comes_again() {
    let (mut bench, mut node) = Bench::with_node(private()).await;
    let mut publisher = bench.publish("a").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 10_000, 0xEE)).await;
    let (request, description) = node.next_start().await;
    assert!(request.session_description.contains("RTP/SAVPF"), "{request:?}");
    let key = description.crypto.expect("a key");
    let mut session = Session::new(&key);
    let (mut packets, mut sealed, mut reported) = (Vec::<Vec<u8>>::new(), vec![], None);
    while packets.last().is_none_or(|packet| packet[1] & 0x80 == 0) || reported.is_none() {
        match node.next().await {
            Received::Rtp(packet) => {
                let mut opened = packet.to_vec();
                packets.push(session.open_rtp(&mut opened).unwrap().to_vec());
                sealed.push(packet);
            }
            Received::Rtcp(compound, from) => {
                let mut compound = compound.to_vec();
                let opened = session.open_rtcp(&mut compound).unwrap();
                reported = Some((from, rtcp::parse_compound(opened).unwrap()));
            }
            Received::Start(_) | Received::Stop(_) | Received::Feed(_) => {}
        }
    }
    assert!(packets.iter().skip(1).all(|packet| packet.ends_with(&[0xEE; 100])));
    assert!(sealed.iter().all(|packet| !packet.windows(8).any(|w| w == [0xEE; 8])));

    let (from, reports) = reported.unwrap();
    assert!(matches!(reports[0], rtcp::RtcpPacket::SenderReport(..)));
    let header = media::rtp::Header::parse(&packets[4]).unwrap();
    let nack = rtcp::nack(1, header.ssrc, &[header.sequence_number], "node");
    node.send_rtcp(&nack, from).await;
    node.send_rtcp(&session.seal_rtcp(&nack).unwrap(), from).await;
    assert!(node.next_rtp_packet().await == sealed[4], "the same bytes");
    let metrics = bench.metrics().await;
    let counted = |line: &str| metrics.contains(&format!("\nrtmp2rtsp_ingest_{line}\n"));
    assert!(counted("nacks_total 1"), "{metrics}");
    // Its last word is a sequence number, which is random: read as SRTCP it may or may not say that it is encrypted.
    let refused = |reason| counted(&format!("rtcp_refused_total{{reason=\"{reason}\"}} 1"));
    assert!(refused("malformed") || refused("unauthentic"), "{metrics}");
    let secret = key.to_attribute();
    let secret = secret.rsplit(':').next().unwrap();
    let shown = format!("{:?} {request:?}", bench.stream("a").await.unwrap());
    assert!(!shown.contains(secret), "{shown}");
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn a_leg_that_is_made_anew_has_another_key() {
    let (bench, mut node) = Bench::with_node(private()).await;
    let mut publisher = bench.publish("a").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 100, 1)).await;
    let (_, first) = node.next_start().await;
    let mut session = Session::new(&first.crypto.clone().unwrap());
    next(&mut node, &mut session).await;
    node.forget();
    let mut ms = 0;
    let second = loop {
        ms += 40;
        publisher.video(ms, avc_picture(ms % 400 == 0, 0, 100, 1)).await;
        let next = tokio::time::timeout(Duration::from_millis(40), node.next_start());
        if let Ok((_, description)) = next.await {
            break description;
        }
    };
    assert_ne!(second.crypto, first.crypto);
    let mut session = Session::new(&second.crypto.unwrap());
    next(&mut node, &mut session).await;
    drop(publisher);
    bench.drain().await;
}
