//! Readers through HTTP and through WebSockets, on the port of RTSP.

use std::time::Duration;

use media::rtcp::RtcpPacket;
use proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rtsp::live;
use crate::testing::{
    Bench, Carrier, Item, Reader, Source, config, http, masked, post, tunnel_request,
};

/// Plays stream "a" from its first picture to its end.
async fn is_served(mut bench: Bench, mut reader: Reader) {
    let described = reader.ask("DESCRIBE", "", "Accept: application/sdp\r\n").await;
    assert_eq!(described.status, 200);
    let udp = "Transport: RTP/AVP;unicast;client_port=4000-4001\r\n";
    assert_eq!(
        reader.ask("SETUP", "/trackID=0", udp).await.status,
        461,
        "UDP does not get through"
    );
    reader.play().await;
    assert_eq!((reader.mark().await, reader.mark().await), (0, 0));
    let readers = bench.stream("a").await.unwrap().readers;
    assert_eq!(readers[0].transport(), v1::ReaderTransport::Tcp);
    assert_eq!(readers[0].peer_address, reader.address().to_string());
    assert_eq!(reader.ask("PAUSE", "", "").await.status, 200);
    assert_eq!(reader.ask("PLAY", "", "").await.status, 200);
    bench.drain().await;
    let Some(Item::Rtcp(3, packets)) = reader.rest().await.pop() else { panic!("no BYE") };
    assert!(matches!(packets.last(), Some(RtcpPacket::Bye(_))));
    if let Carrier::WebSocket(socket) = reader.carrier() {
        assert_eq!(socket.control, [(0x88, 1000u16.to_be_bytes().to_vec())]);
    }
}

#[tokio::test]
async fn a_reader_through_a_pair_of_http_requests_is_served_from_describe_to_bye() {
    let (bench, _sender) = live(config(), &mut Source::new(1)).await;
    let reader = Reader::tunnelled(bench.addresses.rtsp, "a", "cookie").await;
    is_served(bench, reader).await;
}

#[tokio::test]
async fn a_reader_through_a_websocket_is_served_from_describe_to_bye() {
    let (bench, _sender) = live(config(), &mut Source::new(1)).await;
    let reader = Reader::by_websocket(bench.addresses.rtsp, "a").await;
    is_served(bench, reader).await;
}

#[tokio::test]
async fn a_tunnel_outlives_its_post_and_takes_another() {
    let mut source = Source::new(1);
    let (bench, sender) = live(config(), &mut source).await;
    let to = bench.addresses.rtsp;
    let mut reader = Reader::tunnelled(to, "a", "cookie").await;
    reader.play().await;
    *reader.carrier() = Carrier::Tunnel(None);
    sender.rtp(source.keyframe(40));
    while reader.mark().await != 40 {}
    // A group that the first left unfinished is not that of the second.
    let mut second = post(to, "cookie").await;
    second.write_all(b"T1B").await.unwrap();
    bench.until_metrics(&["rtsp_closed_total{reason=\"handed_over\"} 2"]).await;
    *reader.carrier() = Carrier::Tunnel(Some(post(to, "cookie").await));
    assert_eq!(reader.ask("OPTIONS", "", "").await.status, 200);
    bench.drain().await;
}

#[tokio::test]
async fn a_cookie_names_one_tunnel_for_as_long_as_its_get_lives() {
    let (mut bench, _sender) = live(config(), &mut Source::new(1)).await;
    let to = bench.addresses.rtsp;
    let (_, head) = http(to, &tunnel_request("POST", "cookie")).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let mut reader = Reader::tunnelled(to, "a", "cookie").await;
    reader.play().await;
    let (mut second, head) = http(to, &tunnel_request("GET", "cookie")).await;
    assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "it is closed");
    let (_, head) = http(to, &tunnel_request("POST", "cookie2")).await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    drop(reader);
    bench.until("a", |stream| stream.is_some_and(|stream| stream.readers.is_empty())).await;
    let mut again = Reader::tunnelled(to, "a", "cookie").await;
    assert_eq!(again.ask("OPTIONS", "", "").await.status, 200);
    bench.drain().await;
}

#[tokio::test]
async fn a_tunnel_in_which_no_base64_comes_is_closed_and_the_others_play_on() {
    let mut source = Source::new(1);
    let (mut bench, sender) = live(config(), &mut source).await;
    let mut good = Reader::tunnelled(bench.addresses.rtsp, "a", "good").await;
    let mut bad = Reader::tunnelled(bench.addresses.rtsp, "a", "bad").await;
    good.play().await;
    bad.play().await;
    let Carrier::Tunnel(Some(post)) = bad.carrier() else { panic!("no tunnel") };
    post.write_all(b"OPTIONS * RTSP/1.0\r\n\r\n").await.unwrap();
    bad.rest().await;
    bench.until_metrics(&["rtsp_closed_total{reason=\"protocol\"} 1"]).await;
    bench.until("a", |stream| stream.is_some_and(|stream| stream.readers.len() == 1)).await;
    sender.rtp(source.keyframe(40));
    while good.mark().await != 40 {}
    bench.drain().await;
}

#[tokio::test]
async fn half_a_tunnel_and_half_a_request_end_with_the_session_timeout() {
    let mut config = config();
    config.rtsp.session_timeout = Duration::from_millis(100);
    let (bench, _sender) = live(config, &mut Source::new(1)).await;
    let to = bench.addresses.rtsp;
    let (mut get, head) = http(to, &tunnel_request("GET", "cookie")).await;
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    let mut half = tokio::net::TcpStream::connect(to).await.unwrap();
    half.write_all(b"GET /a HTTP/1.0\r\nx-sessioncookie: other").await.unwrap();
    assert_eq!(get.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(half.read(&mut [0]).await.unwrap(), 0);
    bench.until_metrics(&["rtsp_closed_total{reason=\"timed_out\"} 2"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_half_a_request_or_half_a_tunnel() {
    let mut config = config();
    config.publish.drain_grace = Duration::from_secs(3600);
    let (bench, _sender) = live(config, &mut Source::new(1)).await;
    let to = bench.addresses.rtsp;
    let (_get, _) = http(to, &tunnel_request("GET", "cookie")).await;
    let mut half = tokio::net::TcpStream::connect(to).await.unwrap();
    half.write_all(b"GET /a HTTP/1.0\r\n").await.unwrap();
    let _nothing = tokio::net::TcpStream::connect(to).await.unwrap();
    bench.until_metrics(&["rtsp_connections 3"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn pings_are_answered_and_what_is_no_binary_message_closes_a_websocket() {
    let (bench, _sender) = live(config(), &mut Source::new(1)).await;
    for (frame, code) in [(masked(0x81, b"OPTIONS"), 1003u16), (vec![0x82, 1, b'x'], 1002)] {
        let mut reader = Reader::by_websocket(bench.addresses.rtsp, "a").await;
        reader.send_raw(&masked(0x89, b"here?")).await;
        assert_eq!(reader.ask("OPTIONS", "", "").await.status, 200);
        reader.send_raw(&frame).await;
        assert!(reader.rest().await.is_empty());
        let Carrier::WebSocket(socket) = reader.carrier() else { panic!("no WebSocket") };
        let close = (0x88, code.to_be_bytes().to_vec());
        assert_eq!(socket.control, [(0x8A, b"here?".to_vec()), close]);
    }
    bench.until_metrics(&["rtsp_closed_total{reason=\"protocol\"} 2"]).await;
    bench.drain().await;
}

#[tokio::test]
async fn a_websocket_that_its_client_closes_is_closed_in_order() {
    let (bench, _sender) = live(config(), &mut Source::new(1)).await;
    let mut reader = Reader::by_websocket(bench.addresses.rtsp, "a").await;
    reader.play().await;
    reader.send_raw(&masked(0x88, &1001u16.to_be_bytes())).await;
    reader.rest().await;
    let Carrier::WebSocket(socket) = reader.carrier() else { panic!("no WebSocket") };
    assert_eq!(socket.control, [(0x88, 1000u16.to_be_bytes().to_vec())]);
    bench.until_metrics(&["rtsp_closed_total{reason=\"by_reader\"} 1"]).await;
    bench.drain().await;
}
