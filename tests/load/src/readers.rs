//! A thread of readers: one epoll for all of them, no task and no timer each.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context as _;
use mio::{Events, Poll, event::Event};

use crate::{
    clock::Clock,
    reader::{Buffers, Plan, Purpose, Reader},
    tally::Told,
    url::Scheme,
};

/// How many connect at one time: a server's backlog is no part of what is measured.
const CONNECTING: usize = 64;
/// How often a reader that the server refuses or ends before it plays tries again: the stream may only just be coming up.
const ATTEMPTS: u32 = 20;
/// The wait between two attempts.
const RETRY_US: u64 = 300_000;
/// Access units after which a reader that shall stall does so.
const STALL_AFTER: u64 = 30;
/// How often readers tell the server that they are there.
const KEEP_ALIVE_US: u64 = 20_000_000;
/// How long the thread waits for anything at the most.
const IDLE: Duration = Duration::from_millis(20);

/// Readers that come and go.
#[derive(Clone, Debug)]
pub struct Joins {
    /// Who they are, in turn.
    pub plans: Vec<Plan>,
    /// How many come in a second of the window.
    pub rate: f64,
    /// How many come.
    pub count: u64,
}

/// All readers of one thread.
struct Readers {
    clock: Arc<Clock>,
    poll: Poll,
    buffers: Buffers,
    readers: Vec<Option<Reader>>,
    free: Vec<usize>,
    /// Those that are to connect: when, who, how often they have tried.
    waiting: VecDeque<(u64, Plan, u32)>,
    attempts: Vec<u32>,
    connecting: usize,
    joins: Option<Joins>,
    joined: u64,
    keep_alive_us: u64,
    told: Told,
}

/// Reads until the clock's stop, and tells what was counted.
pub fn run(plans: Vec<Plan>, joins: Option<Joins>, clock: Arc<Clock>) -> anyhow::Result<Told> {
    let mut readers = Readers {
        keep_alive_us: clock.now_us() + KEEP_ALIVE_US,
        poll: Poll::new().context("epoll")?,
        buffers: Buffers::default(),
        readers: Vec::with_capacity(plans.len()),
        free: Vec::new(),
        waiting: plans.into_iter().map(|plan| (0, plan, 0)).collect(),
        attempts: Vec::new(),
        connecting: 0,
        joins,
        joined: 0,
        told: Told::default(),
        clock,
    };
    let mut events = Events::with_capacity(1024);
    while !readers.clock.stop.load(Relaxed) {
        readers.connect()?;
        let timeout = readers.timeout();
        match readers.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            polled => polled.context("epoll")?,
        }
        for event in &events {
            readers.handle(event);
        }
        readers.keep_alive();
    }
    Ok(readers.end())
}

impl Readers {
    /// Opens those that are due.
    fn connect(&mut self) -> anyhow::Result<()> {
        let now = self.clock.now_us();
        while self.connecting < CONNECTING
            && self.waiting.front().is_some_and(|(due_us, ..)| *due_us <= now)
            && let Some((_, plan, attempt)) = self.waiting.pop_front()
        {
            self.open(plan, attempt, now)?;
        }
        while let Some(plan) = self.next_join(now) {
            self.joined += 1;
            self.open(plan, ATTEMPTS, now)?;
        }
        Ok(())
    }

    fn next_join(&self, now: u64) -> Option<Plan> {
        let (joins, begin) = (self.joins.as_ref()?, self.clock.begins_us()?);
        let due = begin + (self.joined as f64 * 1e6 / joins.rate) as u64;
        let is_due = self.joined < joins.count && due <= now;
        is_due.then(|| joins.plans[self.joined as usize % joins.plans.len()].clone())
    }

    fn timeout(&self) -> Duration {
        match &self.joins {
            // epoll counts milliseconds: those that are due are then opened together.
            Some(_) => Duration::from_millis(1),
            None => IDLE,
        }
    }

    fn open(&mut self, plan: Plan, attempt: u32, now: u64) -> anyhow::Result<()> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.readers.push(None);
            self.attempts.push(0);
            self.readers.len() - 1
        });
        self.attempts[at] = attempt;
        self.connecting += usize::from(plan.purpose != Purpose::Join);
        let reader = Reader::open(plan, self.poll.registry(), at * 2, now).context("a reader")?;
        self.readers[at] = Some(reader);
        Ok(())
    }

    fn handle(&mut self, event: &Event) {
        let (at, is_udp) = (event.token().0 / 2, event.token().0 % 2 == 1);
        let Some(reader) = self.readers.get_mut(at).and_then(Option::as_mut) else { return };
        let (was_playing, had_keyframe) = (reader.is_playing, reader.access_units_seen > 0);
        let done = match (is_udp, reader.has_begun) {
            (true, _) => reader.read_udp(&mut self.buffers, &self.clock),
            (false, false) if event.is_writable() || event.is_error() => reader.connected(),
            (false, false) => Ok(()),
            (false, true) if event.is_readable() => reader.read_tcp(&mut self.buffers, &self.clock),
            (false, true) => Ok(()),
        };
        let is_new = !was_playing && reader.is_playing;
        let has_keyframe = !had_keyframe && reader.access_units_seen > 0;
        let purpose = reader.plan.purpose;
        let is_raw = reader.plan.url.scheme == Scheme::Raw;
        if purpose == Purpose::Join {
            if has_keyframe {
                let took = self.clock.now_us() - reader.began_us;
                self.told.first_keyframes.saturating_record(took.max(1));
                reader.leave();
                self.close(at);
            } else if done.is_err() {
                self.told.failed_joins += 1;
                self.close(at);
            }
            return;
        }
        if purpose == Purpose::Stall
            && reader.access_units_seen >= STALL_AFTER
            && !reader.is_stalled
        {
            let _ = reader.stall(self.poll.registry());
        }
        self.connecting -= usize::from(is_new);
        if if is_raw { is_new } else { has_keyframe } {
            self.clock.playing.fetch_add(1, Relaxed);
        }
        if let Err(reason) = done {
            self.ended(at, reason);
        }
    }

    /// The server has ended a reader that wanted to stay.
    fn ended(&mut self, at: usize, reason: String) {
        let Some(reader) = self.close(at) else { return };
        if reader.is_playing {
            *self.told.ended.entry(reason).or_default() += 1;
            self.told
                .tallies
                .extend((reader.plan.purpose == Purpose::Stay).then_some(reader.tally));
            return;
        }
        self.connecting -= 1;
        if self.attempts[at] < ATTEMPTS {
            let due = self.clock.now_us() + RETRY_US;
            self.waiting.push_back((due, reader.plan, self.attempts[at] + 1));
        } else {
            *self.told.ended.entry(reason).or_default() += 1;
        }
    }

    fn close(&mut self, at: usize) -> Option<Reader> {
        let reader = self.readers[at].take();
        self.free.extend(reader.is_some().then_some(at));
        reader
    }

    fn keep_alive(&mut self) {
        let now = self.clock.now_us();
        if now < self.keep_alive_us {
            return;
        }
        self.keep_alive_us = now + KEEP_ALIVE_US;
        for reader in self.readers.iter_mut().flatten().filter(|reader| reader.is_playing) {
            // If it failed, the end of the connection shows it.
            let _ = reader.keep_alive();
        }
    }

    fn end(mut self) -> Told {
        for mut reader in self.readers.into_iter().flatten() {
            match reader.plan.purpose {
                Purpose::Stay => {
                    reader.leave();
                    self.told.tallies.push(reader.tally);
                }
                Purpose::Stall => {}
                Purpose::Join => self.told.failed_joins += 1,
            }
        }
        self.told
    }
}
