//! A leg that is up: access units through the pacer into the socket, Sender Reports, Receiver Reports.
//!
//! Who has an access unit sends it itself, in the call that hands it over: no task is woken for it. What has to wait, for its
//! burst or for the socket, is left to the leg's task, which also reports and hears the node. Both work on [`Carried`] under its lock.

mod carried;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use media::{codec::MediaKind, rtp::PacketBatch};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tracing::Span;

use self::carried::{Carried, MAX_UNREPORTED, Waits};
use crate::{Opened, Track, socket::LegSockets};

/// The largest RTCP compound that is read; more than any datagram of Ethernet.
const RTCP_BUFFER_BYTES: usize = 2048;
/// The shortest wait of what is in a hurry, access units of 800 KB and more, that is left to a timer of the runtime.
const MIN_TIMER: Duration = Duration::from_micros(900);
/// What may wait to be sent before more is taken, from the publisher or of what was kept: 200 ms of 40 Mbit/s. What is over it stays
/// with the publisher, whose TCP connection holds it back.
const ROOM_BYTES: usize = 1 << 20;

/// Why a leg is no longer carried.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The node's port is closed.
    #[error("the node's RTP port is closed")]
    Refused,
    /// The node has said that it takes nothing more.
    #[error("the node has left the leg")]
    Left,
    /// The node reported, and does no longer.
    #[error("no Receiver Report for {MAX_UNREPORTED:?}")]
    Silent,
    /// A socket is of no more use.
    #[error("the leg's socket: {0}")]
    Socket(io::ErrorKind),
}

/// An access unit, ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct AccessUnit<'a> {
    /// Its track.
    pub kind: MediaKind,
    /// It holds an IDR.
    pub keyframe: bool,
    /// Its packets.
    pub packets: &'a PacketBatch,
}

/// Told of each Receiver Report of the node. It must not wait.
pub type OnReport = Box<dyn Fn() + Send + Sync>;

/// See the module.
pub struct Carrier {
    sockets: Arc<LegSockets>,
    interval: Duration,
    carried: Mutex<Carried>,
    /// Told when there is something for the leg's task to do.
    left: Notify,
    /// Told when there is room again.
    room: Notify,
}

/// What becomes of an access unit that is handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handed {
    /// It is on its way, or waits for its turn.
    Taken,
    /// It was left out: the leg is behind.
    LeftOut,
    /// The leg is no longer carried.
    Closed,
}

impl Carrier {
    /// Before the first packet; that goes out under the span `bring_up`.
    pub fn new(leg: &Opened, on_report: OnReport, bring_up: Span) -> Self {
        let interval = leg.config.rtp.sender_report_interval;
        let carried = Carried::new(leg, on_report, bring_up);
        let (left, room) = (Notify::new(), Notify::new());
        Self { sockets: leg.sockets.clone(), interval, carried: Mutex::new(carried), left, room }
    }

    /// Sends an access unit, or as much of it as may go out now.
    pub fn send(&self, unit: AccessUnit<'_>, starts_gop: bool) -> Handed {
        let mut carried = self.lock();
        if carried.is_closed {
            return Handed::Closed;
        }
        let taken = carried.push(unit, starts_gop);
        match carried.flush() {
            Ok(None) if !carried.blocked => {}
            Ok(_) => self.left.notify_one(),
            Err(broken) => {
                carried.close();
                carried.broken = Some(broken);
                self.left.notify_one();
            }
        }
        if taken { Handed::Taken } else { Handed::LeftOut }
    }

    /// Waits until what waits to be sent is not too much. Cancel safe.
    pub async fn room(&self) {
        loop {
            // Taken first, so that no word in between is slept through.
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Whether it is no longer carried.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Whether what waits to be sent is not too much.
    pub fn has_room(&self) -> bool {
        let carried = self.lock();
        carried.is_closed || carried.pacer.queued_bytes() < ROOM_BYTES
    }

    /// Carries until the leg breaks. Cancel safe.
    pub async fn run(&self) -> Broken {
        let mut buffer = [0; RTCP_BUFFER_BYTES];
        let mut report_ticks = interval(self.interval);
        report_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        report_ticks.reset();
        loop {
            let waits = match self.lock().flush_on() {
                Ok(waits) => waits,
                Err(broken) => return broken,
            };
            self.room.notify_waiters();
            let done = tokio::select! {
                () = self.left.notified() => Ok(()),
                () = pause(waits) => Ok(()),
                () = self.sockets.writable(), if waits.blocked => {
                    self.lock().blocked = false;
                    Ok(())
                }
                received = self.sockets.receive_rtcp(&mut buffer) => match received {
                    Ok(length) => self.lock().read_rtcp(&mut buffer[..length]),
                    Err(error) => self.lock().rtcp_error(&error),
                },
                _ = report_ticks.tick() => self.lock().report(),
            };
            if let Err(broken) = done {
                return broken;
            }
        }
    }

    /// The node knows of these tracks now; they extend those that it knew of.
    pub fn learn(&self, tracks: Vec<Track>) {
        self.lock().learn(tracks);
        self.left.notify_one();
    }

    /// Tells the node that the sources leave.
    pub fn say_bye(&self) {
        self.lock().say_bye();
    }

    /// It is no longer carried: what is handed over is not taken, and what waits is dropped.
    pub fn close(&self) {
        self.lock().close();
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until some more may go out. Timers of the runtime have steps of a ms and come up to two late; what is in a hurry is not left to
/// them. Cancel safe.
async fn pause(waits: Waits) {
    let Some(until) = waits.pace_at else { return std::future::pending().await };
    let wait = until.saturating_duration_since(Instant::now());
    if wait.is_zero() {
        return tokio::task::yield_now().await;
    }
    if waits.is_hurried && wait < MIN_TIMER {
        // It sleeps on one of the runtime's own threads, which are there for that.
        let slept = tokio::task::spawn_blocking(move || std::thread::sleep(wait)).await;
        if slept.is_ok() {
            return;
        }
    }
    sleep_until(until.into()).await;
}
