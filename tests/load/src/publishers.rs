//! The thread of all publishers: one timer for them all, images written as they are.
//!
//! Publishers are spread evenly over the time between two pictures, and their keyframes over the GOP, as those of real encoders
//! are that know nothing of each other. What is due within one tick is sent together.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    time::Duration,
};

use anyhow::Context as _;
use hdrhistogram::Histogram;

use crate::{
    clip::{self, Clip, Image, Kind},
    clock::Clock,
    rtmp::{CHUNK_BYTES, Publish, chunks},
    stamp::Stamp,
    tally::delays,
    url::{Scheme, Url},
};

/// What is due within so long is sent together.
const TICK_US: u64 = 1000;
/// A server that lets so much of a stream lie is too slow for it: the publisher is then given up.
const PENDING_BYTES: usize = 16 << 20;
/// How often it is listened to what servers say: acknowledgements and pings.
const LISTEN_US: u64 = 500_000;

/// The stream numbers that were sent in the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// How many.
    pub access_units: u64,
    /// With all framing.
    pub bytes: u64,
}

/// What the thread has to tell at its end.
#[derive(Debug)]
pub struct Published {
    /// By stream.
    pub sent: Vec<Sent>,
    /// How late access units of the window were sent, in microseconds: the tool's own fault.
    pub lateness: Histogram<u64>,
    /// Streams that the server ended or did not take fast enough, with the reason.
    pub ended: Vec<String>,
    /// The most that lay with one publisher because the server did not take it.
    pub most_pending_bytes: usize,
}

enum Connection {
    Rtmp(Box<Publish>),
    Raw(TcpStream),
    Ended,
}

struct Publisher {
    connection: Connection,
    /// Where in the GOP it is when the first begins it.
    offset: u64,
    /// The access unit of the run with which it began.
    began: Option<u64>,
    number: u32,
    pending: Vec<u8>,
    sent: Sent,
}

/// All publishers.
pub struct Publishers {
    clock: Arc<Clock>,
    clip: Clip,
    publishers: Vec<Publisher>,
    published: Published,
    listen_us: u64,
}

impl Publishers {
    /// Connects all of them, one after the other.
    pub fn connect(urls: &[Url], kind: Kind, clock: Arc<Clock>) -> anyhow::Result<Self> {
        let is_raw = urls.first().is_some_and(|url| url.scheme == Scheme::Raw);
        let clip = if is_raw { Clip::for_floor(kind) } else { Clip::for_rtmp(kind, CHUNK_BYTES) };
        let gop = clip.images.len() as u64;
        let connect = |(at, url): (usize, &Url)| {
            let connection = match url.scheme {
                Scheme::Raw => Connection::Raw(connect_raw(url)?),
                Scheme::Rtmp | Scheme::Rtsp => {
                    Connection::Rtmp(Box::new(Publish::connect(url, kind)?))
                }
            };
            let offset = at as u64 * gop / urls.len() as u64;
            let (pending, sent) = (Vec::new(), Sent::default());
            anyhow::Ok(Publisher { connection, offset, began: None, number: 0, pending, sent })
        };
        let publishers = urls.iter().enumerate().map(|(at, url)| {
            connect((at, url)).with_context(|| format!("publish to {}", url.text))
        });
        let publishers = publishers.collect::<anyhow::Result<_>>()?;
        let published = Published {
            sent: Vec::new(),
            lateness: delays(),
            ended: Vec::new(),
            most_pending_bytes: 0,
        };
        Ok(Self { clock, clip, publishers, published, listen_us: 0 })
    }

    /// Publishes until the clock's stop; tells by `all_begun` when each stream has had its first keyframe.
    pub fn run(mut self, all_begun: &mpsc::Sender<()>) -> Published {
        while !self.clock.go.load(Relaxed) && !self.clock.stop.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let begin_us = self.clock.now_us();
        let count = self.publishers.len() as u64;
        for access_unit in 0.. {
            for at in 0..self.publishers.len() {
                let spread = clip::access_unit_time_us(1) * at as u64 / count;
                let due_us = begin_us + clip::access_unit_time_us(access_unit) + spread;
                if self.clock.stop.load(Relaxed) {
                    return self.end();
                }
                let tick_us = due_us.next_multiple_of(TICK_US);
                self.sleep_until(tick_us);
                self.send(at, access_unit, tick_us);
            }
            if access_unit == self.clip.images.len() as u64 {
                // Nobody waits for it any more if the run has failed.
                let _ = all_begun.send(());
            }
        }
        unreachable!("there is always a next access_unit")
    }

    fn sleep_until(&mut self, tick_us: u64) {
        if self.clock.now_us() >= tick_us {
            return;
        }
        self.listen();
        let now_us = self.clock.now_us();
        if tick_us > now_us {
            std::thread::sleep(Duration::from_micros(tick_us - now_us));
        }
    }

    fn send(&mut self, at: usize, access_unit: u64, due_us: u64) {
        let publisher = &mut self.publishers[at];
        let images = &mut self.clip.images;
        let position = (access_unit + publisher.offset) % images.len() as u64;
        if publisher.began.is_none() && position != 0 {
            return;
        }
        let began = *publisher.began.get_or_insert(access_unit);
        let image = &mut images[position as usize];
        let now_us = self.clock.now_us();
        let is_measured = self.clock.is_measured(now_us);
        let time_ms = (clip::access_unit_time_us(access_unit - began) / 1000) as u32;
        if let Err(reason) = publisher.write(image, time_ms, now_us, is_measured) {
            self.published.ended.push(reason);
            publisher.connection = Connection::Ended;
        }
        let pending = publisher.pending.len();
        self.published.most_pending_bytes = self.published.most_pending_bytes.max(pending);
        if is_measured {
            self.published.lateness.saturating_record(now_us.saturating_sub(due_us).max(1));
        }
    }

    fn listen(&mut self) {
        let now_us = self.clock.now_us();
        if now_us < self.listen_us {
            return;
        }
        self.listen_us = now_us + LISTEN_US;
        for publisher in &mut self.publishers {
            if let Err(reason) = publisher.listen() {
                self.published.ended.push(reason);
                publisher.connection = Connection::Ended;
            }
        }
    }

    fn end(mut self) -> Published {
        self.published.sent = self.publishers.iter().map(|publisher| publisher.sent).collect();
        self.published
    }
}

impl Publisher {
    fn write(
        &mut self,
        image: &mut Image,
        time_ms: u32,
        now_us: u64,
        is_measured: bool,
    ) -> Result<(), String> {
        let stamp = Stamp { number: self.number, sent_us: now_us, slice_bytes: image.slice_bytes };
        stamp.write_over(&mut image.bytes[image.sei_at..]);
        let socket = match &mut self.connection {
            Connection::Rtmp(publish) => {
                chunks::address(&mut image.bytes, time_ms, publish.message_stream);
                &mut publish.socket
            }
            Connection::Raw(socket) => socket,
            Connection::Ended => return Ok(()),
        };
        self.number += 1;
        if is_measured {
            self.sent.access_units += 1;
            self.sent.bytes += image.bytes.len() as u64;
        }
        flush(socket, &mut self.pending)?;
        let written = if self.pending.is_empty() { write_some(socket, &image.bytes)? } else { 0 };
        self.pending.extend_from_slice(&image.bytes[written..]);
        if self.pending.len() > PENDING_BYTES {
            return Err("the server does not take what is published".to_owned());
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), String> {
        match &mut self.connection {
            Connection::Rtmp(publish) => publish.listen().map_err(|error| format!("{error:#}")),
            Connection::Raw(_) | Connection::Ended => Ok(()),
        }
    }
}

fn flush(socket: &mut TcpStream, pending: &mut Vec<u8>) -> Result<(), String> {
    if !pending.is_empty() {
        let written = write_some(socket, pending)?;
        pending.drain(..written);
    }
    Ok(())
}

/// Writes what the socket takes at once.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> Result<usize, String> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(format!("publishing ended: {error}")),
        }
    }
    Ok(written)
}

fn connect_raw(url: &Url) -> anyhow::Result<TcpStream> {
    let mut socket = url.connect()?;
    socket.set_nodelay(true)?;
    writeln!(socket, "PUB {}", url.path)?;
    let mut answer = [0; 6];
    socket.read_exact(&mut answer)?;
    anyhow::ensure!(&answer == b"OK\r\n\r\n", "the floor says {answer:?}");
    socket.set_nonblocking(true)?;
    Ok(socket)
}
