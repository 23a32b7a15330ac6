//! Readers over TCP.

use std::time::Duration;

use media::rtcp::RtcpPacket;
use proto::v1;

use crate::testing::{Bench, Item, Reader, Sender, Source, Track, by_hand, config, mark};

/// Longer than any test: what waits for it is woken by something else, or never.
pub(super) const FOR_EVER: Duration = Duration::from_secs(3600);

/// A service with a stream "a" that lives, and its sender.
pub(super) async fn live(config: svc_core::config::Config, source: &mut Source) -> (Bench, Sender) {
    let mut bench = Bench::start(config).await;
    let sender = bench.start_by_hand("a", source).await;
    for track in [Track::Video, Track::Audio] {
        sender.rtcp(&source.report(track, 0));
    }
    sender.rtp(source.keyframe(0));
    sender.rtp(source.sound(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    (bench, sender)
}

/// What was sent before has been read: it came before what is answered here.
pub(super) async fn read_by_now(bench: &Bench) {
    assert_eq!(bench.reader("a").await.ask("OPTIONS", "", "").await.status, 200);
}

/// The RTP-Info entry of a track: sequence number and timestamp.
pub(super) fn rtp_info(header: &str, track: usize) -> (u16, u32) {
    let entry = header.split(',').find(|entry| entry.contains(&format!("trackID={track}")));
    let value = |name: &str| {
        let mut parts = entry.unwrap().split(';');
        parts.find_map(|part| part.strip_prefix(name)).unwrap().to_owned()
    };
    (value("seq=").parse().unwrap(), value("rtptime=").parse().unwrap())
}

#[tokio::test]
async fn a_reader_gets_reports_first_then_what_play_announced_then_every_bit() {
    let mut source = Source::new(1);
    let (mut bench, sender) = live(config(), &mut source).await;
    let mut reader = bench.reader("a").await;
    let described = reader.ask("DESCRIBE", "", "Accept: application/sdp\r\n").await;
    assert_eq!(
        (described.status, described.headers["content-type"].as_str()),
        (200, "application/sdp")
    );
    let listed = bench.stream("a").await.unwrap();
    assert!(listed.readers.is_empty(), "who only asks is no reader");
    let description = media::sdp::SessionDescription::parse(&described.body).unwrap();
    assert_eq!(description.tracks.len(), 2);

    // Both tracks have come by now.
    let mut early = bench.reader("a").await;
    early.play().await;
    while early.unit().await[0].0 != 2 {}
    let played = reader.play().await;
    let infos = [0, 1].map(|track| rtp_info(&played.headers["rtp-info"], track));
    let first: Vec<_> = [reader.next().await.unwrap(), reader.next().await.unwrap()].into();
    let [Item::Rtcp(1, video), Item::Rtcp(3, audio)] = first.as_slice() else {
        panic!("{first:?}")
    };
    let [RtcpPacket::SenderReport(video, _), RtcpPacket::Cname(_, cname)] = video.as_slice() else {
        panic!("{video:?}")
    };
    let [RtcpPacket::SenderReport(audio, _), RtcpPacket::Cname(_, other)] = audio.as_slice() else {
        panic!("{audio:?}")
    };
    assert_eq!((video.ntp, cname), (audio.ntp, other));
    let (picture, sound) = (reader.unit().await, reader.unit().await);
    for (unit, report, info, channel) in
        [(&picture, video, infos[0], 0), (&sound, audio, infos[1], 2)]
    {
        let (on, header, _) = &unit[0];
        assert_eq!((*on, header.ssrc), (channel, report.ssrc));
        assert_eq!((header.sequence_number, header.timestamp), info);
    }

    let sent = source.picture(40);
    sender.rtp(sent.clone());
    let read = reader.unit().await;
    let payloads = read.iter().map(|(_, header, packet)| packet.slice(header.payload.clone()));
    assert!(payloads.eq(sent.iter().map(|packet| packet.slice(12..))));
    let readers = bench.stream("a").await.unwrap().readers;
    assert_eq!(readers.len(), 2);
    assert_eq!(readers[1].peer_address, reader.address().to_string());
    assert_eq!(readers[1].state(), v1::ReaderState::Playing);
    assert_eq!(readers[1].packets_sent, 5);
    bench.drain().await;
}

#[tokio::test]
async fn requests_are_read_however_they_are_cut() {
    let mut source = Source::new(1);
    let (bench, sender) = live(config(), &mut source).await;
    let mut reader = bench.reader("a").await;
    for byte in reader.request("DESCRIBE", "", "Accept: application/sdp\r\n") {
        reader.send(&[byte]).await;
    }
    assert_eq!(reader.response().await.status, 200);
    // And all at once, with interleaved RTCP between.
    let transport = "Transport: RTP/AVP/TCP;interleaved=0-1\r\n";
    let mut all = reader.request("SETUP", "/trackID=0", transport);
    all.extend(b"$\x01\0\x08\x80\xC9\0\x01\0\0\0\x01");
    all.extend(reader.request("PLAY", "", ""));
    all.extend(reader.request("GET_PARAMETER", "", ""));
    reader.send(&all).await;
    for _ in 0..3 {
        assert_eq!(reader.response().await.status, 200);
    }
    assert_eq!(reader.mark().await, 0);
    sender.rtp(source.keyframe(40));
    assert_eq!(reader.mark().await, 40);
    bench.drain().await;
}

#[tokio::test]
async fn what_is_no_rtsp_is_answered_and_closed_and_the_others_play_on() {
    let mut source = Source::new(1);
    let (bench, sender) = live(config(), &mut source).await;
    let mut good = bench.reader("a").await;
    good.play().await;
    let mut bad = bench.reader("a").await;
    bad.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(bad.response().await.status, 400);
    assert!(bad.next().await.is_none());
    good.unit().await;
    good.unit().await;
    sender.rtp(source.keyframe(40));
    assert_eq!(good.mark().await, 40);
    bench.drain().await;
}

#[tokio::test]
async fn the_end_of_a_stream_is_told_by_bye_on_every_track() {
    let mut source = Source::new(1);
    let (mut bench, _sender) = live(config(), &mut source).await;
    let mut reader = bench.reader("a").await;
    reader.play().await;
    let ssrc = reader.unit().await[0].1.ssrc;
    bench.stop("a", 0).await.unwrap();
    let rest = reader.rest().await;
    let byes: Vec<_> = rest
        .iter()
        .filter_map(|item| match item {
            Item::Rtcp(channel, packets) => match packets.last() {
                Some(RtcpPacket::Bye(sources)) => Some((*channel, sources.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(byes.iter().map(|(channel, _)| *channel).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(byes[0].1, [ssrc]);
    bench.drain().await;
}

#[tokio::test]
async fn a_drain_ends_readers_in_order() {
    let mut source = Source::new(1);
    let (bench, _sender) = live(config(), &mut source).await;
    let (mut playing, mut idle) = (bench.reader("a").await, bench.reader("a").await);
    playing.play().await;
    idle.ask("OPTIONS", "", "").await;
    bench.drain().await;
    let Some(Item::Rtcp(3, packets)) = playing.rest().await.pop() else { panic!("no BYE") };
    assert!(matches!(packets.last(), Some(RtcpPacket::Bye(_))));
    assert!(idle.rest().await.is_empty());
}

#[tokio::test]
async fn describe_of_a_starting_stream_waits_for_its_codec_headers() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let mut bench = Bench::start(config).await;
    let mut source = Source::new(1);
    let mut request = by_hand("a", &source);
    request.session_description = source.bare_description().to_leg_sdp(([127, 0, 0, 1], 0).into());
    let stream = bench.start_stream(request).await.unwrap();
    let mut reader = bench.reader("a").await;
    let describe = reader.request("DESCRIBE", "", "");
    reader.send(&describe).await;
    Sender::to(stream.rtp_port as u16).rtp(source.keyframe(0));
    let described = reader.response().await;
    assert_eq!(described.status, 200);
    assert!(described.body.contains("sprop-parameter-sets"), "{}", described.body);
    bench.drain().await;
}

#[tokio::test]
async fn a_stream_whose_codec_headers_do_not_come_is_unavailable() {
    let mut config = config();
    config.rtsp.describe_wait = Duration::from_millis(50);
    let mut bench = Bench::start(config).await;
    let source = Source::new(1);
    let mut request = by_hand("a", &source);
    request.session_description = source.bare_description().to_leg_sdp(([127, 0, 0, 1], 0).into());
    bench.start_stream(request).await.unwrap();
    let mut reader = bench.reader("a").await;
    assert_eq!(reader.ask("DESCRIBE", "", "").await.status, 503);
    let transport = "Transport: RTP/AVP/TCP;interleaved=0-1\r\n";
    assert_eq!(reader.ask("SETUP", "/trackID=0", transport).await.status, 503);
    let mut stranger = bench.reader("nobody").await;
    assert_eq!(stranger.ask("DESCRIBE", "", "").await.status, 404);
    bench.drain().await;
}

#[tokio::test]
async fn who_waits_for_a_stream_that_ends_is_told_at_once() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    let mut bench = Bench::start(config).await;
    let source = Source::new(1);
    let mut request = by_hand("a", &source);
    request.session_description = source.bare_description().to_leg_sdp(([127, 0, 0, 1], 0).into());
    bench.start_stream(request).await.unwrap();
    bench.start_stream(by_hand("b", &source)).await.unwrap();
    let mut describing = bench.reader("a").await;
    let describe = describing.request("DESCRIBE", "", "");
    describing.send(&describe).await;
    read_by_now(&bench).await;
    // No media has come yet, so PLAY waits for the first.
    let mut playing = bench.reader("b").await;
    playing.set_up(0, "RTP/AVP/TCP;interleaved=0-1").await;
    let play = playing.request("PLAY", "", "");
    playing.send(&play).await;
    read_by_now(&bench).await;
    bench.stop("a", 0).await.unwrap();
    assert_eq!(describing.response().await.status, 404);
    bench.stop("b", 0).await.unwrap();
    playing.rest().await;
    bench.drain().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_streams_that_start() {
    let mut config = config();
    config.rtsp.describe_wait = FOR_EVER;
    config.publish.drain_grace = Duration::from_millis(100);
    let mut bench = Bench::start(config).await;
    bench.start_stream(by_hand("a", &Source::new(1))).await.unwrap();
    let mut reader = bench.reader("a").await;
    reader.set_up(0, "RTP/AVP/TCP;interleaved=0-1").await;
    let play = reader.request("PLAY", "", "");
    reader.send(&play).await;
    read_by_now(&bench).await;
    bench.drain().await;
    reader.rest().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_a_free_place_is_taken() {
    let mut config = config();
    config.rtsp.max_connections = 2;
    let mut source = Source::new(1);
    let (bench, _sender) = live(config, &mut source).await;
    let (mut first, mut second) = (bench.reader("a").await, bench.reader("a").await);
    first.play().await;
    assert_eq!(second.ask("OPTIONS", "", "").await.status, 200);
    let mut third = bench.reader("a").await;
    assert!(third.next().await.is_none());
    drop(second);
    // Until the server has seen it go.
    let mut fourth = loop {
        let mut reader = bench.reader("a").await;
        if let Some(Item::Response(response)) = try_options(&mut reader).await {
            assert_eq!(response.status, 200);
            break reader;
        }
    };
    fourth.play().await;
    assert_eq!(first.mark().await, fourth.mark().await);
    bench.drain().await;
}

/// OPTIONS, unless the connection is closed.
async fn try_options(reader: &mut Reader) -> Option<Item> {
    let options = reader.request("OPTIONS", "", "");
    if reader.try_send(&options).await { reader.next().await } else { None }
}

#[tokio::test]
async fn who_says_nothing_is_closed_after_the_session_timeout() {
    let mut config = config();
    config.rtsp.session_timeout = Duration::from_millis(100);
    let mut source = Source::new(1);
    let (mut bench, _sender) = live(config, &mut source).await;
    let (mut idle, mut ready) = (bench.reader("a").await, bench.reader("a").await);
    ready.set_up(0, "RTP/AVP/TCP;interleaved=0-1").await;
    assert_eq!(bench.stream("a").await.unwrap().readers[0].state(), v1::ReaderState::Ready);
    assert!(idle.rest().await.is_empty());
    assert!(ready.rest().await.is_empty());
    bench.until("a", |s| s.is_some_and(|s| s.readers.is_empty())).await;
    bench.drain().await;
}

#[tokio::test]
async fn pause_stops_and_play_goes_on_at_a_keyframe() {
    let mut source = Source::new(1);
    let (bench, sender) = live(config(), &mut source).await;
    let (mut other, mut reader) = (bench.reader("a").await, bench.reader("a").await);
    other.play().await;
    reader.play().await;
    let sent = reader.unit().await;
    assert_eq!(reader.ask("PAUSE", "", "").await.status, 200);
    sender.rtp(source.keyframe(40));
    sender.rtp(source.picture(80));
    while other.mark().await != 80 {}
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    let mut marks = vec![];
    while marks.last() != Some(&80) {
        marks.push(reader.mark().await);
    }
    assert_eq!(marks[marks.len() - 2..], [40, 80]);
    assert!(marks.len() <= 3, "of the sound before PAUSE, not more: {marks:?}");
    assert_eq!(mark(&sent), 0);
    assert_eq!(reader.ask("TEARDOWN", "", "").await.status, 200);
    bench.drain().await;
}
