//! Hosts, which are network namespaces with addresses of their own, and the network between them, which can be cut.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::Command;

use crate::clients::{as_root, run};

/// Hosts that all hang on one switch; taken apart when dropped.
pub struct Hosts {
    names: Vec<String>,
    switch: String,
}

async fn ip(args: &str) {
    let mut command = as_root("ip");
    command.args(args.split(' '));
    run(command).await;
}

impl Hosts {
    /// So many.
    pub async fn new(count: usize) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Interface names have 15 characters at the most; process ids up to seven.
        let id = format!("{}x{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let names = (0..count).map(|host| format!("r2r-h{host}-{id}")).collect();
        let hosts = Self { names, switch: format!("r2r-s-{id}") };
        let switch = &hosts.switch;
        ip(&format!("netns add {switch}")).await;
        ip(&format!("-n {switch} link add sw0 type bridge")).await;
        ip(&format!("-n {switch} link set sw0 up")).await;
        for (host, name) in hosts.names.iter().enumerate() {
            let address = Self::address(host);
            ip(&format!("netns add {name}")).await;
            ip(&format!(
                "link add eth0 netns {name} type veth peer name port{host} netns {switch}"
            ))
            .await;
            ip(&format!("-n {switch} link set port{host} master sw0 up")).await;
            ip(&format!("-n {name} addr add {address}/24 dev eth0")).await;
            ip(&format!("-n {name} link set eth0 up")).await;
            ip(&format!("-n {name} link set lo up")).await;
        }
        hosts
    }

    /// The address of a host, on a network that nothing else has.
    pub fn address(host: usize) -> String {
        format!("10.77.32.{}", host + 1)
    }

    /// The namespace of a host.
    pub fn name(&self, host: usize) -> &str {
        &self.names[host]
    }

    /// A command that is run on a host.
    pub fn on(&self, host: usize, program: &str) -> Command {
        let mut command = as_root("ip");
        command.args(["netns", "exec", &self.names[host], program]);
        command
    }

    /// From now on nothing passes between two hosts; neither is told.
    pub async fn cut(&self, one: usize, other: usize) {
        for (host, from) in [(one, other), (other, one)] {
            let table = format!("inet cut{from}");
            let address = Self::address(from);
            for rule in [
                format!("add table {table}"),
                format!("add chain {table} in {{ type filter hook input priority 0 ; }}"),
                format!("add rule {table} in ip saddr {address} drop"),
            ] {
                let mut command = self.on(host, "nft");
                command.arg(rule);
                run(command).await;
            }
        }
    }

    /// It passes again.
    pub async fn heal(&self, one: usize, other: usize) {
        for (host, from) in [(one, other), (other, one)] {
            let mut command = self.on(host, "nft");
            command.arg(format!("delete table inet cut{from}"));
            run(command).await;
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in self.names.iter().chain([&self.switch]) {
            let mut command = as_root("ip");
            let _ = command.as_std_mut().args(["netns", "delete", name]).status();
        }
    }
}
