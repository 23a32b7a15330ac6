//! The sending side of a connection: what waits to be written, and what plays.
//!
//! Who has something for the reader writes it at once, under one lock: the connection's task its answers and reports, the stream's fan-out
//! its access units. What the socket does not take, and what has to be paced, is left to the connection's task; until that is done the
//! fan-out passes the reader over, and what it missed is taken from the ring.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use media::rtsp::{RtpInfo, tunnel::WebSocketError};
use svc_core::panics::Panic;
use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};

use super::{output::Output, playback::Playback, udp::Heard};
use crate::{fan_out::Outlet, stream::ReaderEntry};

/// How exactly it is known when the peer was last heard of, by what it takes: timeouts are of seconds.
const HEARD: Duration = Duration::from_millis(100);
/// Batches that are taken from the ring before others get their turn.
const BATCHES: usize = 4;

/// See the module.
pub(super) struct Sending {
    socket: OwnedWriteHalf,
    state: Mutex<State>,
    /// Told when there is something for the connection's task to do.
    left: Notify,
    /// When the peer was last heard of, or took what it was sent.
    heard: Heard,
}

struct State {
    output: Output,
    playing: Option<(Playback, Arc<ReaderEntry>)>,
    bytes: u64,
    /// Since when what waits could not be written.
    stuck_since: Option<Instant>,
    is_broken: bool,
    /// A fault of ours in sending, for the connection's task to end with.
    panic: Option<Panic>,
    /// When it was last noted that the peer takes something.
    noted: Instant,
}

/// What the connection's task has to see to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Outstanding {
    /// Buffers that wait to be written.
    pub(super) unwritten: usize,
    /// Since when they could not be.
    pub(super) stuck_since: Option<Instant>,
    /// The socket has failed.
    pub(super) is_broken: bool,
    /// When there is something to do: a report, or a burst.
    pub(super) due: Option<Instant>,
}

/// What is left after all was sent that could be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    /// The ring may have something new one day.
    Nothing,
    /// What the socket did not take, or what has to wait for its burst.
    Waits,
    /// The ring has more.
    More,
}

impl Sending {
    /// The sending side of a socket on which `output` is to be said.
    pub(super) fn new(socket: OwnedWriteHalf, output: Output, heard: Heard) -> Self {
        let state = State {
            output,
            playing: None,
            bytes: 0,
            stuck_since: None,
            is_broken: false,
            panic: None,
            noted: Instant::now(),
        };
        Self { socket, state: Mutex::new(state), left: Notify::new(), heard }
    }

    /// The address that the peer called.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Adds a response, or whole interleaved frames; [`Self::send`] sends them.
    pub(super) fn push(&self, rtsp: Bytes) {
        self.lock().output.push(rtsp);
    }

    /// Adds bytes as they are.
    pub(super) fn push_raw(&self, bytes: Bytes) {
        self.lock().output.push_raw(bytes);
    }

    /// Says, where there is a way to, that nothing more comes.
    pub(super) fn close(&self, why: WebSocketError) {
        self.lock().output.close(why);
    }

    /// From now on the reader is sent this, behind what waits.
    pub(super) fn play(&self, playback: Playback, reader: Arc<ReaderEntry>) {
        self.lock().playing = Some((playback, reader));
    }

    /// Nothing plays any more.
    pub(super) fn pause(&self) {
        self.lock().playing = None;
    }

    /// RTP-Info of what plays, if something does.
    pub(super) fn rtp_info(&self) -> Option<Vec<RtpInfo>> {
        self.lock().playing.as_ref().map(|(playback, _)| playback.rtp_info())
    }

    /// Says BYE on all tracks of what plays, which then ends.
    pub(super) fn bye(&self) {
        let state = &mut *self.lock();
        if let Some((playback, _)) = state.playing.take() {
            playback.bye(&mut state.output);
        }
    }

    /// What the connection's task has to see to.
    pub(super) fn outstanding(&self) -> Outstanding {
        let state = self.lock();
        Outstanding {
            unwritten: state.output.len(),
            stuck_since: state.stuck_since,
            is_broken: state.is_broken,
            due: state.playing.as_ref().map(|(playback, _)| playback.due()),
        }
    }

    /// What the fan-out panicked with when it sent to this reader, if it did.
    pub(super) fn panicked(&self) -> Option<Panic> {
        self.lock().panic.take()
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Completes when the socket takes something. Cancel safe.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Completes when [`Self::send`] has something to do which nothing else tells of. Cancel safe.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }

    /// Sends what can be sent, in the connection's task.
    pub(super) fn send(&self) {
        if self.send_on(&mut self.lock()) == Left::More {
            self.left.notify_one();
        }
    }

    fn send_on(&self, state: &mut State) -> Left {
        for _ in 0..BATCHES {
            if let Err(error) = self.write(state) {
                tracing::debug!(%error, "the socket takes nothing more");
                state.is_broken = true;
                return Left::Waits;
            }
            if !state.output.is_empty() {
                state.stuck_since.get_or_insert_with(Instant::now);
                return Left::Waits;
            }
            state.stuck_since = None;
            let Some((playback, reader)) = &mut state.playing else { return Left::Nothing };
            let more = playback.advance(reader, &mut state.output);
            if playback.is_paced() {
                return Left::Waits;
            }
            if !more && state.output.is_empty() {
                return Left::Nothing;
            }
        }
        Left::More
    }

    /// Writes as much of what waits as the socket takes: as a rule all of it, in one call.
    fn write(&self, state: &mut State) -> io::Result<()> {
        while !state.output.is_empty() {
            match state.output.write(&self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    state.bytes += bytes as u64;
                    state.stuck_since = None;
                    state.output.written(bytes);
                    // Who takes interleaved media is there, though it says nothing.
                    let now = Instant::now();
                    if now - state.noted >= HEARD {
                        state.noted = now;
                        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = now;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what waits and says that nothing more comes.
    pub(super) async fn finish(&self) -> io::Result<()> {
        loop {
            {
                let state = &mut *self.lock();
                self.write(state)?;
                if state.output.is_empty() {
                    break;
                }
            }
            self.socket.writable().await?;
        }
        socket2::SockRef::from(self.socket.as_ref()).shutdown(Shutdown::Write)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Sending {
    fn advance(&self) {
        let mut state = self.lock();
        // Else the connection's task is at it.
        if state.output.is_empty() && !state.is_broken && self.send_on(&mut state) != Left::Nothing
        {
            self.left.notify_one();
        }
    }

    fn fail(&self, panic: Panic) {
        let mut state = self.lock();
        (state.is_broken, state.panic) = (true, Some(panic));
        self.left.notify_one();
    }
}
