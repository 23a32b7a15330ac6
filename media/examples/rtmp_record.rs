//! Takes one RTMP publisher at a time, prints what the session makes of it, and records the bytes
//! that it sends: how the captures under `tests/fixtures/rtmp` were made.
//!
//! `cargo run -p media --example rtmp_record -- 127.0.0.1:19350 out.bin [refuse]`

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use bytes::BytesMut;
use media::{
    flv::{AudioTag, VideoTag},
    rtmp::{Event, MediaMessageKind, PublishRefusal, ServerConfig, ServerSession},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:19350".to_owned());
    let record = arguments.next().unwrap_or_else(|| "/dev/null".to_owned());
    let refuse = arguments.next().is_some();
    let listener = TcpListener::bind(address)?;
    let (socket, peer) = listener.accept()?;
    println!("{peer} connected");
    take_publisher(socket, File::create(record)?, refuse)
}

fn take_publisher(
    mut socket: TcpStream,
    mut record: File,
    refuse: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut session = ServerSession::new(ServerConfig::default());
    let mut input = BytesMut::new();
    let mut buffer = [0; 65_536];
    let mut counts = BTreeMap::new();
    loop {
        // ffmpeg resets the connection at its end, since it does not read our last answers.
        let n = socket.read(&mut buffer).unwrap_or_default();
        if n == 0 {
            break;
        }
        record.write_all(&buffer[..n])?;
        input.extend_from_slice(&buffer[..n]);
        loop {
            let result = session.handle_input(&mut input);
            let mut asked = false;
            while let Some(event) = session.poll_event() {
                match event {
                    Event::PublishRequested(request) => {
                        println!("{request:?} query {:?}", request.query);
                        asked = true;
                        if refuse {
                            session.refuse_publish(request.id, PublishRefusal::BadName, "taken");
                        } else {
                            session.accept_publish(request.id);
                        }
                    }
                    Event::Media(message) => {
                        let what = match message.kind {
                            MediaMessageKind::Audio => match AudioTag::parse(&message.payload)? {
                                AudioTag::SequenceHeader { .. } => "audio config",
                                AudioTag::Frame { .. } => "audio",
                                AudioTag::Command
                                | AudioTag::Empty
                                | AudioTag::Multitrack(_)
                                | AudioTag::Unsupported(_) => "other audio",
                            },
                            MediaMessageKind::Video => match VideoTag::parse(&message.payload)? {
                                VideoTag::SequenceHeader { .. } => "video config",
                                VideoTag::Frame { keyframe: true, .. } => "keyframe",
                                VideoTag::Frame { .. } => "video",
                                VideoTag::EndOfSequence => "video end",
                                VideoTag::Command
                                | VideoTag::Empty
                                | VideoTag::Multitrack(_)
                                | VideoTag::Unsupported(_) => "other video",
                            },
                            MediaMessageKind::Data => "data",
                        };
                        let entry = counts.entry(what).or_insert((0, 0, 0));
                        *entry =
                            (entry.0 + 1, entry.1 + message.payload.len(), message.timestamp_ms);
                    }
                    Event::PublishEnded => println!("publish ended"),
                }
            }
            while let Some(bytes) = session.poll_output() {
                socket.write_all(&bytes)?;
            }
            result?;
            if !asked {
                break;
            }
        }
    }
    println!("what: (messages, bytes, last timestamp) {counts:?}; {} bytes left", input.len());
    Ok(())
}
