//! What the end-to-end tests stand on: the gateway as real processes, real clients as child processes, and a reader that shows
//! each packet it is sent.
//!
//! A client that is missing is a failure, never a skip; `scripts/test` installs them all. A test that fails prints the end of
//! the gateway's log.

pub mod clients;
pub mod clips;
pub mod control;
pub mod encoder;
pub mod follow;
pub mod frames;
pub mod gaps;
pub mod hosts;
pub mod interop;
pub mod island;
pub mod nginx;
pub mod process;
pub mod programmes;
pub mod reader;
pub mod readers;
pub mod relay;
pub mod service;
pub mod tags;
pub mod websocket;

use std::time::Duration;

/// How long anything may take that will not happen by itself if it has not happened by then.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition of another process is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Waits until `condition` gives something; `what` names it where it never does.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(found) => found,
        Err(_) => panic!("not in {PATIENCE:?}: {what}"),
    }
}
