//! Publishers that send more than media, or other media than they say: their pictures and sounds go on, and nobody is disconnected.

use media::rtp::Header;
use rml_rtmp::sessions::StreamMetadata;

use super::*;

/// What stands for an access unit in a packet of one: the last byte of its payload.
fn mark(packet: &[u8]) -> (u8, u8) {
    let header = Header::parse(packet).unwrap();
    (header.payload_type, packet[header.payload.end - 1])
}

/// Waits for packets until one bears `last`; all that came, by payload type.
async fn marks_until(node: &mut FakeNode, last: u8) -> [Vec<u8>; 2] {
    let mut marks = [Vec::new(), Vec::new()];
    loop {
        match node.next().await {
            Received::Rtp(packet) => {
                let (payload_type, mark) = mark(&packet);
                marks[usize::from(payload_type - 96)].push(mark);
                if marks.iter().all(|marks| marks.contains(&last)) {
                    return marks;
                }
            }
            Received::Stop(stop) => panic!("the leg was ended: {stop:?}"),
            Received::Start(_) | Received::Feed(_) | Received::Rtcp(..) => {}
        }
    }
}

/// Metadata of another stream altogether: VP6 of 4 by 4 pixels, and no sound.
fn lies() -> StreamMetadata {
    let mut metadata = StreamMetadata::new();
    metadata.video_width = Some(4);
    metadata.video_height = Some(4);
    metadata.video_codec_id = Some(4);
    metadata.video_frame_rate = Some(-1.0);
    metadata
}

#[tokio::test]
async fn whatever_else_a_publisher_sends_its_access_units_go_on() {
    let (mut bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    // The config records come before any metadata, which then lies.
    send_headers(&mut publisher).await;
    publisher.metadata(&lies()).await;
    let odd_video: [&[u8]; 8] = [
        // Empty; a FourCC and a codec id that nobody knows; End of Sequence; a command frame; a packet type that is
        // none; a keyframe cut short; Enhanced RTMP that ends within its FourCC.
        &[],
        b"\x91zzz1abc",
        &[0x14, 1, 0, 0, 0, 9],
        &[0x17, 2, 0, 0, 0],
        &[0x57, 0],
        &[0x17, 7, 0, 0, 0, 1],
        &[0x17, 1, 0, 0, 0, 0, 0, 9, 9, 0x65],
        b"\x91hv",
    ];
    let odd_audio: [&[u8]; 5] = [&[], &[0xAF], &[0xAF, 1], &[0xB2, 1, 2, 3], b"\x91zzz2abc"];
    for at in 1..=20u8 {
        let ms = u32::from(at) * 40;
        if at % 5 == 0 {
            // Again and again, as many encoders do before each keyframe.
            send_headers(&mut publisher).await;
        }
        publisher.video(ms, avc_picture(at % 5 == 1, 0, 200, at)).await;
        publisher.video(ms, Bytes::from_static(odd_video[usize::from(at) % 8])).await;
        publisher.audio(ms, aac_frame(100, at)).await;
        publisher.audio(ms, Bytes::from_static(odd_audio[usize::from(at) % 5])).await;
    }
    let (_, description) = node.next_start().await;
    let codecs: Vec<_> = description.tracks.iter().map(|t| t.config.codec_string()).collect();
    assert_eq!(codecs, ["avc1.4D401F", "mp4a.40.2"]);
    let all: Vec<u8> = (1..=20).collect();
    let [video, audio] = marks_until(&mut node, 20).await;
    // A keyframe is led by its parameter sets.
    let video: Vec<_> = video.into_iter().filter(|mark| all.contains(mark)).collect();
    assert_eq!(video, all);
    assert_eq!(audio, all);
    let stream = bench.stream("a").await.unwrap();
    assert_eq!(stream.state(), v1::StreamState::Live);
    assert!(stream.counters.unwrap().malformed > 0);
    let told = ["FLV video codec 4 is not carried", "zzz1 is not carried", "zzz2 is not carried"];
    for line in told {
        assert!(stream.left_out.iter().any(|l| l == line), "{line}: {:?}", stream.left_out);
    }
    drop(publisher);
    bench.drain().await;
}

#[tokio::test]
async fn a_publisher_of_one_track_with_metadata_of_two_is_read_after_the_wait() {
    let (bench, mut node) = Bench::with_node(config()).await;
    let mut publisher = bench.publish("a").await;
    publisher.metadata(&lies()).await;
    publisher.audio(0, aac_header()).await;
    publisher.audio(0, aac_frame(100, 1)).await;
    let (_, description) = node.next_start().await;
    assert_eq!(description.tracks.len(), 1);
    assert_eq!(mark(&node.next_rtp_packet().await), (97, 1));
    drop(publisher);
    bench.drain().await;
}
