//! ingest-svc and publish-svc on two hosts, which are two network namespaces with addresses of their own.

use std::sync::atomic::{AtomicU32, Ordering};

use e2e::{
    clients::{Running, as_root, run},
    clips::clip,
    process::Setup,
};
use tokio::process::Command;

/// Two namespaces joined by a cable; taken apart when dropped.
struct Hosts {
    names: [String; 2],
}

/// The addresses of the two; a network that nothing else has.
const ADDRESSES: [&str; 2] = ["10.77.31.1", "10.77.31.2"];

async fn ip(args: &str) {
    let mut command = as_root("ip");
    command.args(args.split(' '));
    run(command).await;
}

impl Hosts {
    async fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Interface names have 15 characters at the most; process ids up to seven.
        let id = format!("{}x{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let hosts = Self { names: [format!("r2r-a-{id}"), format!("r2r-b-{id}")] };
        let [a, b] = &hosts.names;
        let (in_a, in_b) = (format!("va{id}"), format!("vb{id}"));
        ip(&format!("netns add {a}")).await;
        ip(&format!("netns add {b}")).await;
        ip(&format!("link add {in_a} netns {a} type veth peer name {in_b} netns {b}")).await;
        for (name, interface, address) in [(a, &in_a, ADDRESSES[0]), (b, &in_b, ADDRESSES[1])] {
            ip(&format!("-n {name} addr add {address}/24 dev {interface}")).await;
            ip(&format!("-n {name} link set {interface} up")).await;
            ip(&format!("-n {name} link set lo up")).await;
        }
        hosts
    }

    /// A command that is run in a namespace.
    fn on(&self, host: usize, program: &str) -> Command {
        let mut command = as_root("ip");
        command.args(["netns", "exec", &self.names[host], program]);
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let mut command = as_root("ip");
            let _ = command.as_std_mut().args(["netns", "delete", name]).status();
        }
    }
}

/// The node is told its address, and ingest where the registry is; nothing else.
#[tokio::test]
async fn two_hosts_find_each_other_by_configuration_alone() {
    let hosts = Hosts::new().await;
    let publish = Setup::publish()
        .with("publish-rtp-address", ADDRESSES[1])
        .in_namespace(&hosts.names[1], ADDRESSES[1])
        .start()
        .await;
    let ingest = Setup::ingest(&publish.publish_grpc())
        .in_namespace(&hosts.names[0], ADDRESSES[0])
        .start()
        .await;
    let mut publisher = hosts.on(0, "ffmpeg");
    publisher.args(["-v", "error", "-nostdin", "-re", "-i"]).arg(clip("small"));
    publisher.args(["-c", "copy", "-f", "flv", &ingest.rtmp_url("drone1")]);
    let _publisher = Running::start(publisher);

    for (host, transport) in [(0, "tcp"), (0, "udp"), (1, "tcp"), (1, "udp")] {
        e2e::eventually("the stream can be read", async || {
            let mut reader = hosts.on(host, "ffmpeg");
            reader.args(["-v", "error", "-nostdin", "-rtsp_transport", transport, "-i"]);
            reader.arg(publish.rtsp_url("drone1")).args(["-t", "2", "-f", "null", "-"]);
            let output = Running::start(reader).output().await;
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            // Before the stream is there it is 404.
            assert!(output.status.success() || printed.contains("404"), "{printed}");
            assert!(!output.status.success() || printed.is_empty(), "{printed}");
            output.status.success().then_some(())
        })
        .await;
        println!("host {host} reads over {transport}");
    }
}

/// A second node that is told nothing but where the registry is announces the address by which it reaches it.
#[tokio::test]
async fn a_node_announces_the_address_by_which_it_reaches_the_registry() {
    let hosts = Hosts::new().await;
    let first = Setup::publish()
        .with("publish-rtp-address", ADDRESSES[0])
        .in_namespace(&hosts.names[0], ADDRESSES[0])
        .start()
        .await;
    let second = Setup::publish()
        .with("registry-url", &first.publish_grpc())
        .with("publish-node-id", "second")
        .in_namespace(&hosts.names[1], ADDRESSES[1])
        .start()
        .await;
    let grpc = first.publish_grpc();
    let listed = e2e::eventually("the second node is known", async || {
        let mut command = hosts.on(0, "scripts/buf");
        command.current_dir(e2e::clips::repository());
        command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "{}"]);
        command.arg(format!("{grpc}/rtmp2rtsp.v1.Registry/ListNodes"));
        let listed = run(command).await;
        listed.contains("second").then_some(listed)
    })
    .await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let nodes = listed["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|node| node["nodeId"] == "second").unwrap();
    assert_eq!(node["rtpAddress"], ADDRESSES[1], "{node}");
    assert_eq!(node["grpcUrl"], second.publish_grpc(), "{node}");
}
