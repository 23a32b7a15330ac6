//! The RTSP server: readers of the node's streams.

use std::{net::SocketAddr, sync::Arc};

use svc_core::{config::RtspConfig, drain::Shutdown, metrics::Metrics, tasks::Tasks};

use crate::{service::StartError, stream::StreamSource};

/// The bound RTSP server: its TCP port and, with `rtsp.udp`, the pair of UDP ports for all UDP readers.
pub(crate) struct Server {
    address: SocketAddr,
}

impl Server {
    /// Takes the sockets.
    pub(crate) async fn bind(
        _config: &RtspConfig,
        _streams: Arc<dyn StreamSource>,
        _metrics: &Metrics,
        _tasks: Tasks,
    ) -> Result<Self, StartError> {
        todo!()
    }
    /// Where it listens, port 0 resolved.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
    /// Serves. When the drain begins it accepts no more, ends its readers with BYE and returns when the last of them is gone or at the cut.
    pub(crate) async fn run(self, _shutdown: Shutdown) {
        todo!()
    }
}
