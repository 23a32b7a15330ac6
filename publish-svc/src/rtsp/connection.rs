//! One RTSP connection: the task that owns its socket, its session and its place in the ring.

mod requests;
mod waiting;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use media::{
    StreamKey,
    rtsp::{ServerConfig, ServerConnection, tunnel::WebSocketError},
};
use svc_core::alarm::Alarm;

use super::{
    Place, Shared,
    closed::Closed,
    multicast::{Cast, Casting, Member},
    sending::Sending,
    udp::{Heard, Listening, UdpPorts},
    wire::{Came, Deaf, Inbound, READ_BYTES, Wire},
};
use crate::{
    fan_out::Joined,
    stream::{PublishedStream, ReaderDescription, ReaderGuard, Transport},
};
pub(super) use waiting::place;
use waiting::{Ready, Waiting};

/// What is read at the most while a request waits: what the connection may leave unread (a header block, a body and a frame header), and a read.
const MAX_INPUT: usize = (16 << 10) + (64 << 10) + READ_BYTES;
/// Buffers that wait to be written before nothing more is read: many times what media fills, so that a slow reader is still heard, while
/// one that asks and never reads costs no more than so many answers.
const MAX_UNWRITTEN: usize = 256;
/// How often timeouts are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long the last words may take when a connection is ended from our side.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// The connection.
pub(super) struct Connection {
    peer: SocketAddr,
    shared: Arc<Shared>,
    inbound: Inbound,
    machine: ServerConnection,
    input: BytesMut,
    sending: Arc<Sending>,
    session: Option<Session>,
    /// The request that waits for its answer.
    waiting: Option<Waiting>,
    played: Option<Played>,
    /// When the peer was last heard of, or took what it was sent.
    heard: Heard,
    /// When timeouts are looked at next.
    next_tick: Instant,
    /// Set to what is due next.
    alarm: Alarm,
    began: Instant,
    _place: Place,
}

struct Session {
    stream: Arc<PublishedStream>,
    description: Arc<ReaderDescription>,
    reader: ReaderGuard,
    /// In the stream's fan-out while it plays.
    playing: Option<Joined>,
    listening: Vec<Listening>,
    /// The group of a reader by multicast, and while it plays its part in that.
    cast: Option<Arc<Cast>>,
    casting: Option<Casting>,
    _member: Option<Member>,
}

/// What the last session of the connection was, for the log.
struct Played {
    stream: StreamKey,
    by: Transport,
    packets: u32,
    skips: u32,
}

/// What woke the task.
enum Wake {
    Read(Result<Came, Deaf>),
    Writable(io::Result<()>),
    Answer(Ready),
    Left,
    Time,
    End(Closed),
}

impl Connection {
    /// A connection before its first byte.
    pub(super) fn new(wire: Wire, shared: Arc<Shared>) -> Self {
        let Wire { peer, local, began, input, inbound, output, writing, place } = wire;
        // Where only HTTP gets through, UDP does not.
        let udp = shared.udp.as_ref().filter(|_| matches!(inbound, Inbound::Plain(_)));
        let config = ServerConfig {
            server_name: concat!("rtmp2rtsp/", env!("CARGO_PKG_VERSION")).to_owned(),
            session_timeout: shared.config.session_timeout,
            udp_ports: udp.map(UdpPorts::ports),
            multicast: shared.multicast.is_some() && matches!(inbound, Inbound::Plain(_)),
        };
        let heard = Arc::new(Mutex::new(began));
        Self {
            peer,
            inbound,
            machine: ServerConnection::new(config, peer, local),
            input,
            sending: Arc::new(Sending::new(writing, output, heard.clone())),
            session: None,
            waiting: None,
            played: None,
            heard,
            next_tick: began + TICK,
            alarm: Alarm::default(),
            began,
            _place: place,
            shared,
        }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        // The first requests have been read already.
        let mut why = self.serve_requests();
        let why = loop {
            if let Some(why) = why {
                break why;
            }
            let wake = self.wake().await;
            why = self.handle(wake);
            if let Some(panic) = self.sending.panicked() {
                // As if it had happened here: it is counted, and no other connection notices.
                panic!("{panic}");
            }
        };
        self.last_words().await;
        self.shared.metrics.close(why.label());
        if let (Some(session), Some(reason)) = (&self.session, why.drops()) {
            session.stream.readers.dropped(&session.reader, reason);
            self.shared.metrics.drop_reader(reason);
        }
        self.end_session();
        let played = self.played.as_ref();
        tracing::info!(
            peer = %self.peer,
            carrier = self.inbound.name(),
            stream = played.map(|played| played.stream.as_str()),
            by = played.map(|played| tracing::field::debug(played.by)),
            why = why.text(),
            seconds = self.began.elapsed().as_secs(),
            bytes = self.sending.bytes(),
            packets = played.map(|played| played.packets),
            skips = played.map(|played| played.skips),
            "RTSP connection closed"
        );
    }

    async fn wake(&mut self) -> Wake {
        let outstanding = self.sending.outstanding();
        let due = outstanding.due.map_or(self.next_tick, |due| due.min(self.next_tick));
        self.alarm.set(Some(due));
        let Self { session, waiting, inbound, input, sending, shared, alarm, .. } = self;
        let read_on =
            outstanding.unwritten < MAX_UNWRITTEN && (waiting.is_none() || input.len() < MAX_INPUT);
        let ended = async {
            match session {
                Some(session) => session.stream.ended.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let answer = async {
            match waiting {
                Some(waiting) => waiting.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.shutdown.draining().cancelled() => Wake::End(Closed::ServerStops),
            () = ended => Wake::End(Closed::StreamEnded),
            ready = answer => Wake::Answer(ready),
            read = inbound.read(input), if read_on => Wake::Read(read),
            writable = sending.writable(), if outstanding.unwritten > 0 => Wake::Writable(writable),
            () = alarm.rings() => Wake::Time,
            () = sending.left() => Wake::Left,
        }
    }

    /// Why the connection ends, if it does.
    fn handle(&mut self, wake: Wake) -> Option<Closed> {
        match wake {
            Wake::End(why) => return Some(why),
            Wake::Writable(Err(_)) => return Some(Closed::Broken),
            Wake::Read(Err(why)) => return Some(self.deaf(&why)),
            Wake::Read(Ok(Came::End)) => return Some(Closed::ByReader),
            Wake::Read(Ok(Came::Bytes(answers))) => {
                self.hear();
                self.sending.push_raw(answers);
                if let Some(why) = self.serve_requests() {
                    return Some(why);
                }
            }
            Wake::Answer(ready) => {
                self.waiting = None;
                // It has said nothing since only as it waited for us.
                self.hear();
                self.answer(ready);
                if let Some(why) = self.serve_requests() {
                    return Some(why);
                }
            }
            Wake::Writable(Ok(())) | Wake::Left => {}
            Wake::Time => {
                let now = Instant::now();
                if now >= self.next_tick {
                    self.next_tick = now + TICK;
                }
            }
        }
        self.sending.send();
        self.overdue()
    }

    fn deaf(&mut self, why: &Deaf) -> Closed {
        tracing::debug!(%why, "nothing more can be read");
        match why {
            Deaf::Io(_) => Closed::Broken,
            Deaf::NotBase64(_) => Closed::Protocol,
            Deaf::WebSocket(why) => {
                self.sending.close(*why);
                if *why == WebSocketError::Closed { Closed::ByReader } else { Closed::Protocol }
            }
        }
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn overdue(&self) -> Option<Closed> {
        let (config, outstanding) = (&self.shared.config, self.sending.outstanding());
        if outstanding.is_broken {
            return Some(Closed::Broken);
        }
        if outstanding.stuck_since.is_some_and(|since| since.elapsed() > config.write_timeout) {
            return Some(Closed::TakesNothing);
        }
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if self.waiting.is_none() && heard.elapsed() > config.session_timeout {
            return Some(Closed::TimedOut);
        }
        (self.machine.wants_close() && outstanding.unwritten == 0).then_some(Closed::Done)
    }

    /// Why the connection ends, if it does.
    fn serve_requests(&mut self) -> Option<Closed> {
        let error = self.requests().err()?;
        tracing::debug!(%error, "no RTSP");
        Some(Closed::Protocol)
    }

    fn requests(&mut self) -> Result<(), media::rtsp::RtspError> {
        loop {
            let before = self.input.len();
            let mut new_session_id = || format!("{:032x}", rand::random::<u128>());
            let read = self.machine.handle_input(&mut self.input, &mut new_session_id);
            let mut events = false;
            while let Some(event) = self.machine.poll_event() {
                events = true;
                self.event(event);
            }
            self.responses();
            read?;
            if !events && self.input.len() == before {
                return Ok(());
            }
        }
    }

    fn responses(&mut self) {
        while let Some(response) = self.machine.poll_output() {
            self.shared.metrics.respond(status_of(&response));
            self.sending.push(response);
        }
    }

    /// BYE to who plays, and what still waits; bounded in time.
    async fn last_words(&mut self) {
        self.abandon();
        self.responses();
        self.sending.bye();
        self.sending.close(WebSocketError::Closed);
        let _ = tokio::time::timeout(LAST_WORDS, self.sending.finish()).await;
    }
}

/// The status code of a response, whose first line is `RTSP/1.0 <status code> <reason>`, or the same of HTTP.
pub(super) fn status_of(response: &[u8]) -> u16 {
    let code = response.get(9..12).unwrap_or_default();
    code.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0') % 10))
}
