//! What concerns this engine alone: several of them on one etcd, what they cost, and what becomes of them when etcd, or the way
//! to it, goes. Against real etcds.

mod faults;
mod proxy;
mod sharing;
mod strangers;

use std::time::Duration;

use super::*;
use crate::{
    Claim, Engine, MemoryConfig, NodeInfo,
    conformance::{claim, node},
};

use test_etcd::Etcd;

/// How long an engine may take to reach etcd.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine with a prefix of its own on the etcd that tests share.
pub(crate) async fn engine(book: MemoryConfig) -> EtcdEngine {
    let endpoints = tokio::task::spawn_blocking(test_etcd::shared).await.unwrap();
    connected(config(endpoints, book)).await
}

/// Of an engine with a prefix that nobody else has.
fn config(endpoints: Vec<String>, book: MemoryConfig) -> EtcdConfig {
    let prefix = format!("/test/{:016x}/", rand::random::<u64>());
    EtcdConfig { endpoints, prefix, user: None, tls: None, book }
}

async fn connected(config: EtcdConfig) -> EtcdEngine {
    let engine = EtcdEngine::new(config);
    engine.connected(PATIENCE).await.unwrap();
    engine
}

/// `count` engines that share one prefix.
async fn engines(etcd: &Etcd, count: usize, book: MemoryConfig) -> Vec<EtcdEngine> {
    let config = config(etcd.endpoints(), book);
    let mut engines = Vec::new();
    for _ in 0..count {
        engines.push(connected(config.clone()).await);
    }
    engines
}

/// Asks again and again until it is so.
async fn becomes<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn start_etcd(count: usize) -> Etcd {
    let start = move || Etcd::with(count, "http", &[]);
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// The claim of a stream on any node by "i".
fn of(stream: &str) -> Claim {
    claim(stream, "i")
}

fn wide_node(id: &str) -> NodeInfo {
    node(id, 10_000, 19_999)
}
