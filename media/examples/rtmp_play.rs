//! Plays a live stream of an RTMP server, prints what the session makes of it, and records the bytes that the server sends:
//! how the captures of servers under `tests/fixtures/rtmp` were made.
//!
//! `cargo run -p media --example rtmp_play -- rtmp://127.0.0.1:1935/live/cam1 out.bin`

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::TcpStream,
};

use bytes::BytesMut;
use media::rtmp::{ClientConfig, ClientEvent, ClientSession, RtmpUrl};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "rtmp://127.0.0.1/live/cam1".to_owned());
    let record = arguments.next().unwrap_or_else(|| "/dev/null".to_owned());
    let url = RtmpUrl::parse(&url)?;
    let socket = TcpStream::connect((url.host(), url.port()))?;
    play(socket, ClientSession::new(ClientConfig::default(), url), File::create(record)?)
}

fn play(
    mut socket: TcpStream,
    mut session: ClientSession,
    mut record: File,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut input = BytesMut::new();
    let mut buffer = [0; 65_536];
    let mut counts = BTreeMap::new();
    loop {
        while let Some(output) = session.poll_output() {
            socket.write_all(&output)?;
        }
        while let Some(event) = session.poll_event() {
            match event {
                ClientEvent::Media(media) => {
                    let (count, bytes) =
                        counts.entry(format!("{:?}", media.kind)).or_insert((0, 0));
                    (*count, *bytes) = (*count + 1, *bytes + media.payload.len());
                }
                ClientEvent::Playing => println!("plays"),
                ClientEvent::Ended(why) => {
                    println!("{why}; messages and bytes: {counts:?}");
                    return Ok(());
                }
            }
        }
        let n = socket.read(&mut buffer)?;
        if n == 0 {
            println!("closed by the server; messages and bytes: {counts:?}");
            return Ok(());
        }
        record.write_all(&buffer[..n])?;
        input.extend_from_slice(&buffer[..n]);
        session.handle_input(&mut input)?;
    }
}
