//! StreamControl and the leases behind it.

use std::net::{Ipv4Addr, UdpSocket};

use media::rtcp::RtcpPacket;
use proto::v1;
use registry::{Engine, LeaseId, NodeInfo, WatchEvent};
use tonic::Code;
use tonic_types::StatusExt;

use crate::testing::{
    Bench, Item, PORTS, Sender, Source, Track, by_hand, config, free_ports, lease, leased, mark,
};

fn is_free(port: u16) -> bool {
    [port, port + 1].iter().all(|&port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_leased_port_is_bound_when_the_call_is_answered_and_free_when_it_is_stopped() {
    let mut bench = Bench::start(config()).await;
    let (port, source) = (bench.first_port + 4, Source::new(1));
    assert!(is_free(port));
    let request = leased("a/b", &source, lease("a/b", port, 7));
    let stream = bench.start_stream(request.clone()).await.unwrap();
    assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err());
    assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1)).is_err());
    assert_eq!((stream.rtp_port, stream.epoch), (port.into(), 7));
    assert_eq!(stream.state(), v1::StreamState::Waiting);
    assert_eq!(stream.rtsp_url, format!("rtsp://{}/a/b", bench.addresses.rtsp));
    assert_eq!((stream.tracks[0].width, stream.tracks[0].ssrc), (1280, source.ssrcs[0]));
    assert_eq!((stream.tracks[1].channels, stream.tracks[1].clock_rate), (2, 48_000));
    assert!(stream.session_description.contains("sprop-parameter-sets"));

    let again = bench.start_stream(request).await.unwrap();
    assert_eq!(again, stream, "the same parameters");
    let stopped = bench.stop("a/b", 7).await.unwrap();
    assert_eq!(stopped.rtp_port, u32::from(port));
    assert!(is_free(port));
    assert_eq!(bench.stream("a/b").await.unwrap_err().code(), Code::NotFound);
    bench.drain().await;
}

#[tokio::test]
async fn whoever_sends_to_a_leg_is_told_when_the_node_leaves_it() {
    let mut bench = Bench::start(config()).await;
    let (port, mut source) = (bench.first_port, Source::new(1));
    bench.start_stream(leased("a", &source, lease("a", port, 7))).await.unwrap();
    let sender = Sender::to(port);
    sender.rtcp(&source.report(Track::Video, 0));
    sender.rtp(source.keyframe(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    bench.stop("a", 7).await.unwrap();
    let left = async {
        loop {
            let packets = sender.report().await;
            let bye = packets.into_iter().find_map(|packet| match packet {
                RtcpPacket::Bye(sources) => Some(sources),
                _ => None,
            });
            if let Some(sources) = bye {
                return sources;
            }
        }
    };
    let sources = left.await;
    assert!(sources.len() == 1 && !source.ssrcs.contains(&sources[0]), "{sources:?}");
    bench.drain().await;
}

#[tokio::test]
async fn a_newer_epoch_takes_the_leg_over_while_readers_play_on() {
    let mut bench = Bench::start(config()).await;
    let (mut old, mut new) = (Source::new(1), Source::new(2));
    let (old_port, new_port) = (bench.first_port, bench.first_port + 6);
    bench.start_stream(leased("a", &old, lease("a", old_port, 7))).await.unwrap();
    let sender = Sender::to(old_port);
    sender.rtcp(&old.report(Track::Video, 0));
    sender.rtp(old.keyframe(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    let mut reader = bench.reader("a").await;
    reader.play().await;
    let before = reader.unit().await;

    let stale = leased("a", &new, lease("a", new_port, 6));
    let status = bench.start_stream(stale).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, "STALE_EPOCH".into()));
    assert!(is_free(new_port));

    let newer = leased("a", &new, lease("a", new_port, 8));
    let stream = bench.start_stream(newer).await.unwrap();
    assert_eq!((stream.epoch, stream.rtp_port), (8, new_port.into()));
    assert_eq!(stream.readers.len(), 1);
    assert!(is_free(old_port));
    let sender = Sender::to(new_port);
    sender.rtp(old.keyframe(40));
    sender.rtp(new.keyframe(40));
    let after = reader.unit().await;
    assert_eq!((mark(&before), mark(&after)), (0, 40));
    let ((_, last, _), (_, first, _)) = (before.last().unwrap(), &after[0]);
    assert_eq!(first.ssrc, last.ssrc);
    assert_eq!(first.sequence_number, last.sequence_number.wrapping_add(1));
    assert!(first.timestamp.wrapping_sub(last.timestamp) < 1 << 31);
    assert_eq!(bench.stream("a").await.unwrap().counters.unwrap().packets_refused, 1);
    bench.drain().await;
}

#[tokio::test]
async fn a_leg_with_other_tracks_begins_the_stream_anew() {
    let mut bench = Bench::start(config()).await;
    let mut source = Source::new(1);
    let mut description = source.description();
    description.tracks.truncate(1);
    let to = ([127, 0, 0, 1], 5004).into();
    let mut request = leased("a", &source, lease("a", bench.first_port, 7));
    request.session_description = description.to_leg_sdp(to);
    bench.start_stream(request.clone()).await.unwrap();
    Sender::to(bench.first_port).rtp(source.keyframe(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    let mut reader = bench.reader("a").await;
    reader.set_up(0, "RTP/AVP/TCP;interleaved=0-1").await;
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);

    // One track, too, but sound: the readers' description is wrong now.
    let mut description = source.description();
    description.tracks.remove(0);
    request.session_description = description.to_leg_sdp(to);
    request.lease.as_mut().unwrap().epoch = 8;
    let stream = bench.start_stream(request).await.unwrap();
    let codecs: Vec<_> = stream.tracks.iter().map(v1::Track::codec).collect();
    assert_eq!(codecs, [v1::Codec::Aac]);
    assert_eq!(stream.state(), v1::StreamState::Waiting);
    let rest = reader.rest().await;
    assert!(matches!(rest.last(), Some(Item::Rtcp(1, _))), "ended with BYE: {rest:?}");
    bench.drain().await;
}

#[tokio::test]
async fn a_track_that_comes_late_is_told_to_new_readers_and_the_others_go_on() {
    let mut bench = Bench::start(config()).await;
    let mut source = Source::new(1);
    let whole = source.description();
    let mut sound = whole.clone();
    sound.tracks.remove(0);
    let to = ([127, 0, 0, 1], 5004).into();
    let mut request = leased("a", &source, lease("a", bench.first_port, 7));
    request.session_description = sound.to_leg_sdp(to);
    bench.start_stream(request.clone()).await.unwrap();
    let sender = Sender::to(bench.first_port);
    sender.rtp(source.sound(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    let mut reader = bench.reader("a").await;
    reader.set_up(0, "RTP/AVP/TCP;interleaved=0-1").await;
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);

    // Ingest tells pictures first; who listens knows the sound as the first track.
    request.session_description = whole.to_leg_sdp(to);
    let stream = bench.start_stream(request.clone()).await.unwrap();
    let codecs: Vec<_> = stream.tracks.iter().map(v1::Track::codec).collect();
    assert_eq!(codecs, [v1::Codec::Aac, v1::Codec::H264]);
    assert_eq!(stream.readers.len(), 1, "nobody was sent away");
    // Told once more, nothing changes.
    let again = bench.start_stream(request).await.unwrap();
    assert_eq!(again.readers.len(), 1);

    sender.rtp(source.keyframe(1000));
    sender.rtp(source.sound(1000));
    bench.until("a", |s| s.is_some_and(|s| s.counters.unwrap().video_access_units > 0)).await;
    let mut late = bench.reader("a").await;
    let sdp = late.ask("DESCRIBE", "", "Accept: application/sdp\r\n").await.body;
    let (audio, video) = (sdp.find("m=audio"), sdp.find("m=video"));
    assert!(audio.is_some() && audio < video, "{sdp}");
    bench.drain().await;
}

#[tokio::test]
async fn a_leased_port_that_another_program_holds_is_told_as_in_use() {
    let mut bench = Bench::start(config()).await;
    for held in [bench.first_port, bench.first_port + 3] {
        let _held = UdpSocket::bind((Ipv4Addr::LOCALHOST, held)).unwrap();
        let request = leased("a", &Source::new(1), lease("a", held & !1, 7));
        let status = bench.start_stream(request).await.unwrap_err();
        let wanted = (Code::FailedPrecondition, "PORT_IN_USE".to_owned());
        assert_eq!((status.code(), reason(&status)), wanted, "{held}");
        assert_eq!(bench.stream("a").await.unwrap_err().code(), Code::NotFound);
    }
    assert!(is_free(bench.first_port) && is_free(bench.first_port + 2), "nothing is left bound");
    bench.drain().await;
}

#[tokio::test]
async fn a_port_that_is_leased_anew_ends_the_stream_that_had_it() {
    let mut bench = Bench::start(config()).await;
    let port = bench.first_port;
    bench.start_stream(leased("old", &Source::new(1), lease("old", port, 7))).await.unwrap();
    bench.start_stream(leased("new", &Source::new(2), lease("new", port, 8))).await.unwrap();
    assert_eq!(bench.stream("old").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.stream("new").await.unwrap().rtp_port, u32::from(port));
    bench.drain().await;
}

#[tokio::test]
async fn a_port_that_is_leased_anew_is_refused_where_media_still_comes() {
    let mut bench = Bench::start(config()).await;
    let (port, mut source) = (bench.first_port, Source::new(1));
    bench.start_stream(leased("old", &source, lease("old", port, 7))).await.unwrap();
    Sender::to(port).rtp(source.keyframe(0));
    bench.until("old", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    let new = leased("new", &Source::new(2), lease("new", port, 8));
    let status = bench.start_stream(new).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, "PORT_IN_USE".into()));
    assert_eq!(bench.stream("old").await.unwrap().rtp_port, u32::from(port));
    bench.drain().await;
}

#[tokio::test]
async fn a_stream_by_hand_takes_a_port_itself_and_gives_it_back() {
    let mut bench = Bench::start(config()).await;
    // Another program has the first.
    let _held = UdpSocket::bind((Ipv4Addr::LOCALHOST, bench.first_port)).unwrap();
    let (mut source, other) = (Source::new(1), Source::new(2));
    let stream = bench.start_stream(by_hand("a", &source)).await.unwrap();
    assert_eq!(stream.rtp_port, u32::from(bench.first_port + 2));
    assert_eq!(bench.leases().await, 1);
    let again = bench.start_stream(by_hand("a", &source)).await.unwrap();
    assert_eq!((again, bench.leases().await), (stream.clone(), 1));
    for other in [
        by_hand("a", &other),
        leased("a", &source, lease("a", bench.first_port + 8, stream.epoch + 1)),
    ] {
        let status = bench.start_stream(other).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, "a");
    }
    Sender::to(stream.rtp_port as u16).rtp(source.keyframe(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    bench.stop("a", 0).await.unwrap();
    assert!(is_free(stream.rtp_port as u16));
    bench.drain().await;
}

#[tokio::test]
async fn stop_releases_the_lease_of_a_stream_by_hand() {
    let mut bench = Bench::start(config()).await;
    bench.start_stream(by_hand("a", &Source::new(1))).await.unwrap();
    let watch = bench.until_lease_event(|event| matches!(event, WatchEvent::LeaseRemoved { .. }));
    let request = v1::StopStreamRequest { stream_key: "a".into(), ..Default::default() };
    let mut control = bench.control.clone();
    let (stopped, ()) = tokio::join!(control.stop_stream(request), watch);
    stopped.unwrap();
    assert_eq!(bench.leases().await, 0);
    let epoch = bench.start_stream(by_hand("a", &Source::new(2))).await.unwrap().epoch;
    assert_ne!(epoch, 0);
    bench.drain().await;
}

#[tokio::test]
async fn a_leased_stream_is_not_taken_over_by_hand() {
    let mut bench = Bench::start(config()).await;
    let grant = bench.allocate("a", "ingest-1").await;
    let source = Source::new(1);
    // Claimed by an ingest, though not started here.
    let status = bench.start_stream(by_hand("a", &source)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let leased = leased("a", &source, registry::lease_to_proto(grant.lease.clone()));
    bench.start_stream(leased).await.unwrap();
    let status = bench.start_stream(by_hand("a", &source)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    bench.drain().await;
}

#[tokio::test]
async fn by_hand_never_takes_the_port_of_another_node() {
    let mut config = config();
    config.publish.rtp_port_max = config.publish.rtp_port_min + 1;
    let mut bench = Bench::start(config).await;
    let first = free_ports();
    let other = NodeInfo {
        id: "node-2".into(),
        rtp_address: Ipv4Addr::LOCALHOST.into(),
        rtp_port_min: first,
        rtp_port_max: first + PORTS - 1,
        rtsp_url: "rtsp://127.0.0.1:1".into(),
        grpc_url: "http://127.0.0.1:1".into(),
        draining: false,
    };
    bench.registry.register_node(other).await.unwrap();
    let _held = UdpSocket::bind((Ipv4Addr::LOCALHOST, bench.first_port)).unwrap();
    let status = bench.start_stream(by_hand("a", &Source::new(1))).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, "NO_PORT".into()));
    bench.until_all_is_released().await;
    bench.drain().await;
}

#[tokio::test]
async fn what_is_not_the_ports_fault_sets_no_port_aside() {
    let mut config = config();
    // Of no host (RFC 5737).
    config.publish.rtp_bind_address = [192, 0, 2, 1].into();
    config.publish.rtp_address = Ipv4Addr::LOCALHOST.into();
    let mut bench = Bench::start(config).await;
    let source = Source::new(1);
    for request in [by_hand("a", &source), leased("b", &source, lease("b", bench.first_port, 7))] {
        let status = bench.start_stream(request).await.unwrap_err();
        let wanted = (Code::FailedPrecondition, "BIND_FAILED".to_owned());
        assert_eq!((status.code(), reason(&status)), wanted);
    }
    bench.until_all_is_released().await;
    assert_eq!(bench.allocate("c", "ingest-1").await.lease.rtp_port, bench.first_port);
    bench.drain().await;
}

#[tokio::test]
async fn stop_stream_goes_by_the_epoch_that_it_is_given() {
    let mut bench = Bench::start(config()).await;
    let (source, port) = (Source::new(1), bench.first_port);
    assert_eq!(bench.stop("a", 0).await.unwrap_err().code(), Code::NotFound);
    for (epoch, stops) in [(6, false), (7, true), (8, true), (0, true)] {
        bench.start_stream(leased("a", &source, lease("a", port, 7))).await.unwrap();
        match bench.stop("a", epoch).await {
            Ok(stream) => assert!(stops && stream.epoch == 7, "{epoch}"),
            Err(status) => {
                assert!(!stops, "{epoch}: {status}");
                assert_eq!(reason(&status), "STALE_EPOCH");
                assert!(bench.stream("a").await.is_ok());
            }
        }
    }
    bench.drain().await;
}

#[tokio::test]
async fn a_lease_that_ends_in_the_registry_ends_its_stream_and_readers() {
    let mut bench = Bench::start(config()).await;
    let grant = bench.allocate("a", "ingest-1").await;
    let mut source = Source::new(1);
    let port = grant.lease.rtp_port;
    let request = leased("a", &source, registry::lease_to_proto(grant.lease.clone()));
    bench.start_stream(request).await.unwrap();
    Sender::to(port).rtp(source.keyframe(0));
    bench.until("a", |s| s.is_some_and(|s| s.state() == v1::StreamState::Live)).await;
    let mut reader = bench.reader("a").await;
    reader.play().await;
    // Another's lease changes nothing.
    bench.registry.release_port(&LeaseId("none".into())).await.unwrap();
    bench.registry.release_port(&grant.lease.id).await.unwrap();
    bench.until("a", |s| s.is_none()).await;
    assert!(matches!(reader.rest().await.last(), Some(Item::Rtcp(3, _))));
    assert!(is_free(port));
    bench.drain().await;
}

#[tokio::test]
async fn fields_that_cannot_be_are_named() {
    let mut bench = Bench::start(config()).await;
    let good = leased("a", &Source::new(1), lease("a", bench.first_port, 7));
    let change = |change: fn(&mut v1::StartStreamRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let change_lease = |change: fn(&mut v1::Lease)| {
        let mut request = good.clone();
        change(request.lease.as_mut().unwrap());
        request
    };
    for (field, request) in [
        ("stream_key", change(|r| r.stream_key = "a//b".into())),
        ("source_url", change(|r| r.source_url = "rtmp://x/live/a".into())),
        ("session_description", change(|r| r.session_description = "v=0\r\n".into())),
        ("session_description", change(|r| r.session_description.clear())),
        ("lease.stream_key", change_lease(|l| l.stream_key = "b".into())),
        ("lease.node_id", change_lease(|l| l.node_id = "node-2".into())),
        ("lease.rtp_port", change_lease(|l| l.rtp_port += 1)),
        ("lease.rtp_port", change_lease(|l| l.rtp_port = 65_536)),
        ("lease.rtp_port", change_lease(|l| l.rtp_port = 0)),
    ] {
        let status = bench.start_stream(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field);
    }
    for key in ["", "/a", "a/../b"] {
        assert_eq!(bench.stream(key).await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(bench.stop(key, 0).await.unwrap_err().code(), Code::InvalidArgument);
    }
    bench.drain().await;
}

#[tokio::test]
async fn streams_are_listed_by_key_and_watched_from_a_snapshot_on() {
    let mut bench = Bench::start(config()).await;
    for key in ["b", "a"] {
        bench.start_stream(by_hand(key, &Source::new(1))).await.unwrap();
    }
    let listed = bench.control.list_streams(v1::ListStreamsRequest {}).await.unwrap().into_inner();
    let keys: Vec<_> = listed.streams.iter().map(|stream| stream.stream_key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    let request = v1::WatchStreamsRequest {};
    let mut events = bench.control.watch_streams(request).await.unwrap().into_inner();
    let mut next = async || {
        let event = events.message().await.unwrap().unwrap();
        let stream = event.stream.clone().unwrap_or_default();
        (event.event(), stream.stream_key, stream.state)
    };
    use v1::StreamEvent::{Added, Changed, Removed, Snapshot, SnapshotEnd};
    let waiting = v1::StreamState::Waiting as i32;
    assert_eq!(next().await, (Snapshot, "a".into(), waiting));
    assert_eq!(next().await, (Snapshot, "b".into(), waiting));
    assert_eq!(next().await, (SnapshotEnd, String::new(), 0));
    let mut source = Source::new(3);
    let sender = bench.start_by_hand("c", &source).await;
    assert_eq!(next().await, (Added, "c".into(), waiting));
    sender.rtp(source.keyframe(0));
    assert_eq!(next().await, (Changed, "c".into(), v1::StreamState::Live as i32));
    sender.rtcp(&source.bye());
    // Before BYE is heard there may be a change that tells nothing new.
    while next().await != (Changed, "c".into(), v1::StreamState::Held as i32) {}
    bench.stop("a", 0).await.unwrap();
    assert_eq!(next().await, (Removed, "a".into(), waiting));
    bench.drain().await;
    assert!(events.message().await.is_ok_and(|event| event.is_none()), "the drain ends it");
}

#[tokio::test]
async fn the_sender_of_a_leg_gets_receiver_reports() {
    let mut bench = Bench::start(config()).await;
    let mut source = Source::new(1);
    let sender = bench.start_by_hand("a", &source).await;
    sender.rtp(source.keyframe(0));
    sender.rtp(source.sound(0));
    for track in [Track::Video, Track::Audio] {
        sender.rtcp(&source.report(track, 0));
    }
    let report = sender.report().await;
    let [RtcpPacket::ReceiverReport(_, blocks), RtcpPacket::Cname(_, node)] = report.as_slice()
    else {
        panic!("{report:?}")
    };
    assert_eq!(blocks.iter().map(|block| block.ssrc).collect::<Vec<_>>(), source.ssrcs);
    assert_eq!(node, "node-1");
    bench.drain().await;
}
