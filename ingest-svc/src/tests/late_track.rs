//! A track that comes late: the node is told, and the leg goes on.

use media::{rtcp::RtcpPacket, rtp::Header, sdp::SessionDescription};

use super::*;

/// RTP packets of the leg until there are `count`, by payload type.
async fn payload_types(node: &mut FakeNode, whole: &SessionDescription, count: usize) -> Vec<u8> {
    let (audio_ssrc, mut audio_reported) = (whole.tracks[1].ssrc.unwrap(), false);
    let mut payload_types = Vec::new();
    while payload_types.len() < count {
        match node.next().await {
            Received::Rtp(packet) => {
                let payload_type = Header::parse(&packet).unwrap().payload_type;
                assert!(audio_reported || payload_type != 97, "no Sender Report before it");
                payload_types.push(payload_type);
            }
            Received::Rtcp(compound, _) => {
                let packets = media::rtcp::parse_compound(&compound).unwrap();
                audio_reported |= packets.iter().any(|packet| {
                    matches!(packet, RtcpPacket::SenderReport(r, _) if r.ssrc == audio_ssrc)
                });
            }
            Received::Start(_) | Received::Feed(_) => {}
            Received::Stop(stop) => panic!("the leg was ended: {stop:?}"),
        }
    }
    payload_types.sort_unstable();
    payload_types
}

#[tokio::test]
async fn a_track_that_comes_late_is_told_to_the_node_and_the_leg_goes_on() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    publisher.video(0, avc_header(SPS, PPS)).await;
    publisher.video(0, avc_picture(true, 0, 500, 1)).await;
    let (first, description) = node.next_start().await;
    assert_eq!(description.tracks.len(), 1);
    publisher.video(40, avc_picture(false, 80, 500, 1)).await;
    bench.until("a", |s| s.is_some_and(|s| s.tracks[0].has_b_frames)).await;
    assert_eq!([node.next_rtp().await.0, node.next_rtp().await.0].map(|h| h.payload_type), [96; 2]);
    // What came of it before the node knew is not lost.
    publisher.audio(40, aac_header()).await;
    publisher.audio(40, aac_frame(100, 1)).await;
    let (second, whole) = node.next_start().await;
    assert_eq!(second.lease, first.lease);
    assert_eq!(whole.tracks.len(), 2);
    publisher.video(80, avc_picture(false, 0, 500, 2)).await;
    assert_eq!(payload_types(&mut node, &whole, 2).await, [96, 97]);
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn while_a_node_cannot_be_told_of_a_late_track_the_other_goes_on() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    publisher.audio(0, aac_header()).await;
    publisher.audio(0, aac_frame(100, 0)).await;
    node.next_start().await;
    node.next_rtp().await;
    node.refuse_starts(2);
    // The first picture that is kept is a keyframe.
    publisher.video(10, avc_header(SPS, PPS)).await;
    for at in 1..10u8 {
        publisher.video(u32::from(at) * 20, avc_picture(at == 1, 0, 500, at)).await;
        publisher.audio(u32::from(at) * 20, aac_frame(100, at)).await;
        assert_eq!(node.next_rtp().await.0.payload_type, 97);
    }
    bench.until("a", |s| s.is_some_and(|s| s.problem.contains("refuses"))).await;
    let (_, whole) = node.next_start().await;
    assert_eq!(whole.tracks.len(), 2);
    for _ in 1..10 {
        assert_eq!(node.next_rtp().await.0.payload_type, 96);
    }
    bench.until("a", |s| s.is_some_and(|s| s.problem.is_empty())).await;
    drop(publisher);
    bench.drain().await;
}
