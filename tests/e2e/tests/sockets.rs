//! The sockets of the hop: how packets are marked, what the system gives and drops.

use std::net::Ipv4Addr;

use e2e::{
    clients::{Publisher, Running, run},
    clips::clip,
    control::{metric, streams, until_live},
    eventually,
    island::Island,
    process::Setup,
};
use tokio::{net::UdpSocket, process::Command};

/// The DSCP that is asked for: 46.
const EF: &str = "ef";

/// Counts what comes in with a DSCP, and what comes without, on the ports of legs.
async fn counting(island: &Island, ports: (u16, u16)) {
    let range = format!("{}-{}", ports.0, ports.1);
    let rules = format!(
        "table inet hop {{
           counter marked {{ }}
           counter unmarked {{ }}
           chain input {{
             type filter hook input priority 0
             udp dport {range} ip dscp {EF} counter name marked
             udp dport {range} ip dscp != {EF} counter name unmarked
             udp sport {range} ip dscp {EF} counter name marked
             udp sport {range} ip dscp != {EF} counter name unmarked
           }}
         }}"
    );
    let mut nft = island.on("nft");
    nft.arg(rules);
    run(nft).await;
}

async fn counted(island: &Island, name: &str) -> u64 {
    let mut nft = island.on("nft");
    nft.args(["list", "counter", "inet", "hop", name]);
    let text = run(nft).await;
    let packets = text.split_once("packets ").and_then(|(_, rest)| rest.split_once(' '));
    packets.and_then(|(packets, _)| packets.parse().ok()).expect("a counter")
}

#[tokio::test]
async fn rtp_and_rtcp_of_both_ends_are_marked_and_nothing_else_is_different() {
    let island = Island::new().await;
    let ports = (21_000, 21_199);
    counting(&island, ports).await;
    let gateway = Setup::both()
        .with("hop-dscp", "46")
        .with_ports(ports.0, ports.1)
        .in_namespace(island.name(), "127.0.0.1")
        .start()
        .await;
    let mut publisher = island.on("ffmpeg");
    publisher.args(["-v", "error", "-nostdin", "-re", "-i"]).arg(clip("main"));
    publisher.args(["-c", "copy", "-f", "flv", &gateway.rtmp_url("cam")]);
    let _publisher = Running::start(publisher);
    // The first Receiver Report comes after two seconds.
    let marked = eventually("packets are marked", async || {
        let marked = counted(&island, "marked").await;
        (marked > 600).then_some(marked)
    })
    .await;
    println!("{marked} packets are marked");
    assert_eq!(counted(&island, "unmarked").await, 0);
}

#[tokio::test]
async fn what_a_socket_has_and_what_is_dropped_is_told() {
    let gateway = Setup::both()
        .with("hop-receive-buffer", "65536")
        .with("publish-rtp-bind-address", "127.0.0.1")
        .start()
        .await;
    let _publisher = Publisher::Ffmpeg.start(&clip("small"), &gateway.rtmp_url("cam"));
    until_live(&gateway.publish_grpc(), "cam").await;
    let http = gateway.publish_http();
    // The system counts twice what it is asked for.
    assert_eq!(metric(&http, "publish_rtp_receive_buffer_bytes").await, 131_072);
    assert_eq!(metric(&http, "publish_rtp_kernel_drops_total").await, 0);

    // While the node does not read, strangers fill its buffer.
    let port = streams(&gateway.publish_grpc()).await[0].rtp_port as u16;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let signal = async |name: &str| {
        let mut kill = Command::new("kill");
        kill.args([&format!("-{name}"), &gateway.pid().to_string()]);
        run(kill).await;
    };
    signal("STOP").await;
    for _ in 0..500 {
        stranger.send_to(&[0; 1000], (Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }
    signal("CONT").await;
    let dropped = eventually("drops are counted", async || {
        let dropped = metric(&http, "publish_rtp_kernel_drops_total").await;
        (dropped > 0).then_some(dropped)
    })
    .await;
    println!("{dropped} of 500 were dropped");
    assert!((300..520).contains(&dropped), "{dropped}");
}
