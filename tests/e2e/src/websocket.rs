//! RTSP over TCP carried on through a WebSocket, for readers that know none (ONVIF Streaming Specification, 5.1.4).

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

/// What a reader says at once is a request or a report.
const READ: usize = 4096;

/// Takes RTSP connections on a port of its own and carries each on to `server` by a WebSocket; where it listens. It ends with the
/// runtime.
pub async fn bridge(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((reader, _)) = listener.accept().await {
            tokio::spawn(carry(reader, server));
        }
    });
    address
}

/// Both directions, until either side ends: the reader then sees its connection closed, as it would without a bridge.
async fn carry(mut reader: TcpStream, server: SocketAddr) -> anyhow::Result<()> {
    let mut request = format!("ws://{server}/").into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", "rtsp.onvif.org".parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let mut said = vec![0; READ];
    loop {
        tokio::select! {
            length = reader.read(&mut said) => match length? {
                0 => break,
                length => socket.send(Message::binary(Bytes::copy_from_slice(&said[..length]))).await?,
            },
            message = socket.next() => match message {
                Some(Ok(message)) => reader.write_all(&message.into_data()).await?,
                Some(Err(error)) => return Err(error.into()),
                None => break,
            },
        }
    }
    Ok(socket.close(None).await?)
}
