//! A publisher's connection that says in `connect` that it can be asked to reconnect.

use std::net::SocketAddr;

use anyhow::bail;
use bytes::Bytes;
use gateway::demo::{Kind, Publisher};
use rml_amf0::Amf0Value;
use rml_rtmp::{
    chunk_io::ChunkSerializer,
    messages::{MessagePayload, RtmpMessage},
    time::RtmpTimestamp,
};

/// `capsEx`: it can be asked to reconnect.
const RECONNECTS: f64 = 1.0;
/// What it is asked by.
const RECONNECT_REQUEST: &str = "NetConnection.Connect.ReconnectRequest";

/// A connection on which the server has accepted the publish.
pub(super) struct Connection(Publisher);

impl Connection {
    pub(super) async fn open(server: SocketAddr, app: &str, key: &str) -> anyhow::Result<Self> {
        Ok(Self(Publisher::connect_by(&connect(app)?, server, app, key).await?))
    }

    /// Sends the body of one FLV tag.
    pub(super) async fn send(
        &mut self,
        kind: Kind,
        body: Bytes,
        timestamp_ms: u32,
    ) -> anyhow::Result<()> {
        self.0.send(kind, body, timestamp_ms).await
    }

    /// Waits until the server says something, or ends. May be dropped at any time.
    pub(super) async fn readable(&self) -> anyhow::Result<()> {
        self.0.readable().await
    }

    /// Reads what the server says. Whether it asks to reconnect; an error when it ends the publish or the connection.
    pub(super) async fn listen(&mut self) -> anyhow::Result<bool> {
        let codes = self.0.hear().await?;
        if let Some(code) = codes.iter().find(|code| *code != RECONNECT_REQUEST) {
            bail!("the server ended the publish: {code}");
        }
        Ok(!codes.is_empty())
    }
}

fn connect(app: &str) -> anyhow::Result<Vec<u8>> {
    let text = |text: &str| Amf0Value::Utf8String(text.to_owned());
    let properties = [
        ("app", text(app)),
        ("tcUrl", text(&format!("rtmp://localhost/{app}"))),
        ("flashVer", text("encoder")),
        ("capsEx", Amf0Value::Number(RECONNECTS)),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value));
    let message = RtmpMessage::Amf0Command {
        command_name: "connect".to_owned(),
        transaction_id: 1.0,
        command_object: Amf0Value::Object(properties.into()),
        additional_arguments: vec![],
    };
    let payload = MessagePayload::from_rtmp_message(message, RtmpTimestamp::new(0), 0)?;
    Ok(ChunkSerializer::new().serialize(&payload, true, false)?.bytes)
}
