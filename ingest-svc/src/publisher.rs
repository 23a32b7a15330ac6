//! Who sends a stream: a client that pushes it to us, or a remote server that we pull it from. A stream does not ask which.

use std::{net::SocketAddr, time::SystemTime};

use media::rtmp::{MediaMessage, PublishRefusal};

use crate::{
    pull::PulledConnection,
    rtmp::{PublisherConnection, PublisherGone},
};

/// See the module. Whoever holds it drives it: no task of its own. Dropping it closes its connection.
pub(crate) enum Publisher {
    /// An RTMP client that asked to publish.
    Pushed(Box<PublisherConnection>),
    /// An RTMP server that plays for us.
    Pulled(Box<PulledConnection>),
}

impl Publisher {
    /// Its address.
    pub(crate) fn peer(&self) -> SocketAddr {
        match self {
            Self::Pushed(connection) => connection.peer(),
            Self::Pulled(connection) => connection.peer(),
        }
    }

    /// The app that it connected to, or that it was asked for.
    pub(crate) fn app(&self) -> &str {
        match self {
            Self::Pushed(connection) => &connection.request().app,
            Self::Pulled(connection) => connection.app(),
        }
    }

    /// What it calls itself; servers do not.
    pub(crate) fn user_agent(&self) -> &str {
        match self {
            Self::Pushed(connection) => &connection.request().user_agent,
            Self::Pulled(_) => "",
        }
    }

    /// When it connected.
    pub(crate) fn connected_at(&self) -> SystemTime {
        match self {
            Self::Pushed(connection) => connection.connected_at(),
            Self::Pulled(connection) => connection.connected_at(),
        }
    }

    /// Bytes received so far.
    pub(crate) fn bytes_received(&self) -> u64 {
        match self {
            Self::Pushed(connection) => connection.bytes_received(),
            Self::Pulled(connection) => connection.bytes_received(),
        }
    }

    /// Whether it leaves some time, and may then come to another ingest. A pull is this ingest's own.
    pub(crate) fn leaves(&self) -> bool {
        match self {
            Self::Pushed(_) => true,
            Self::Pulled(_) => false,
        }
    }

    /// Whether it may go on in place of another under `ingest.takeover = takeover`. A client that pushes is somebody's wish of this
    /// moment. A pull comes again by itself, and if it took over, the two would do so in turns for ever.
    pub(crate) fn takes_over(&self) -> bool {
        match self {
            Self::Pushed(_) => true,
            Self::Pulled(_) => false,
        }
    }

    /// Lets it publish. What a client is told is sent by the next `receive`.
    pub(crate) fn accept(&mut self) {
        match self {
            Self::Pushed(connection) => connection.accept(),
            Self::Pulled(connection) => connection.accept(),
        }
    }

    /// Asks it to come again, to whatever ingest it gets to, and goes on with it until it does. What a client is told is sent by the next
    /// `receive`. Whether it is one that understands that.
    pub(crate) fn ask_to_reconnect(&mut self, text: &str) -> bool {
        match self {
            Self::Pushed(connection) => connection.ask_to_reconnect(text),
            Self::Pulled(_) => false,
        }
    }

    /// Refuses it, says so to it, and closes. Bounded in time.
    pub(crate) async fn refuse(self, why: PublishRefusal, text: &str) {
        match self {
            Self::Pushed(connection) => connection.refuse(why, text).await,
            Self::Pulled(connection) => connection.end(text).await,
        }
    }

    /// Ends it from our side and closes. Bounded in time.
    pub(crate) async fn end(self, text: &str) {
        match self {
            Self::Pushed(connection) => connection.end(text).await,
            Self::Pulled(connection) => connection.end(text).await,
        }
    }

    /// Appends at least one media message to `batch`: all that one read of the socket brought. Cancel safe. An error is final.
    pub(crate) async fn receive(
        &mut self,
        batch: &mut Vec<MediaMessage>,
    ) -> Result<(), PublisherGone> {
        match self {
            Self::Pushed(connection) => connection.receive(batch).await,
            Self::Pulled(connection) => Ok(connection.receive(batch).await?),
        }
    }
}
