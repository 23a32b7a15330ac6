//! One run: publishers and readers against one server, a window in which is measured, a report.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    clip::Kind,
    clock::Clock,
    costs::{Costs, Memory},
    dialog::Transport,
    publishers::{Published, Publishers},
    reader::{Plan, Purpose},
    readers::{self, Joins},
    report::{Report, Times},
    system_calls::Counting,
    tally::{Told, delays},
    url::{Scheme, Url},
};

/// How long all publishers may take to begin, and all readers to play.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long what was sent in the window may be on its way after it.
const GRACE: Duration = Duration::from_secs(3);
/// How often a condition of another thread is looked at.
const POLL: Duration = Duration::from_millis(5);

/// What is run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The URL of a publisher, with `{key}` in it.
    pub publish: String,
    /// The URL of a reader, with `{key}` in it.
    pub read: String,
    /// The server's processes.
    pub pids: Vec<u32>,
    /// How many streams.
    pub streams: usize,
    /// How many readers each of them has.
    pub readers: usize,
    /// How many further readers of each stream stall.
    pub stalled: usize,
    /// How packets come to the readers, in turn.
    pub transports: Vec<Transport>,
    /// How many readers come in a second of the window, and leave with their first keyframe.
    pub joins_per_second: f64,
    /// What is published.
    pub clip: Kind,
    /// How long it goes on with all readers before it is measured.
    pub warm_up: Duration,
    /// How long is measured.
    pub window: Duration,
    /// Threads of readers.
    pub threads: usize,
    /// Whether the server's system calls are counted; its times are then worth nothing.
    pub system_calls: bool,
}

/// The threads of a run.
struct Running {
    publishers: JoinHandle<Published>,
    readers: Vec<JoinHandle<anyhow::Result<Told>>>,
}

/// Runs it.
pub fn run(setup: &Setup) -> anyhow::Result<Report> {
    run_watched(setup, |_| Ok(()))
}

/// Runs it; `watch` is called when the window begins, with the instant when it ends, and has until then.
pub fn run_watched(
    setup: &Setup,
    watch: impl FnOnce(Instant) -> anyhow::Result<()>,
) -> anyhow::Result<Report> {
    let clock = Arc::new(Clock::default());
    let keys: Vec<String> = (0..setup.streams).map(|at| format!("load{at}")).collect();
    let urls = |template: &str| {
        keys.iter().map(|key| Url::of(template, key)).collect::<anyhow::Result<Vec<_>>>()
    };
    let (publish, read) = (urls(&setup.publish)?, urls(&setup.read)?);
    let is_raw = read.first().is_some_and(|url| url.scheme == Scheme::Raw);
    ensure!(!is_raw || setup.joins_per_second == 0.0, "nobody can join the floor");
    let publishers = Publishers::connect(&publish, setup.clip, clock.clone())?;
    let (all_begun, begun) = mpsc::channel();
    let publishers = thread::Builder::new()
        .name("publishers".to_owned())
        .spawn(move || publishers.run(&all_begun))?;
    let mut running = Running { publishers, readers: Vec::new() };
    let measured = if is_raw {
        // The floor's readers get what comes after them, wherever that begins.
        running.start_readers(setup, &read, &clock)?;
        running.await_readers(setup, &clock).and_then(|()| {
            clock.go.store(true, Relaxed);
            running.await_publishers(&begun)
        })
    } else {
        clock.go.store(true, Relaxed);
        running.await_publishers(&begun).and_then(|()| {
            running.start_readers(setup, &read, &clock)?;
            running.await_readers(setup, &clock)
        })
    };
    let measured = measured.and_then(|()| measure(setup, &clock, watch));
    clock.stop.store(true, Relaxed);
    running.report(setup, measured)
}

/// Waits for the window and through it.
fn measure(
    setup: &Setup,
    clock: &Clock,
    watch: impl FnOnce(Instant) -> anyhow::Result<()>,
) -> anyhow::Result<Report> {
    let begin_us = clock.now_us() + setup.warm_up.as_micros() as u64;
    let end_us = begin_us + setup.window.as_micros() as u64;
    clock.measure(begin_us, end_us);
    let own = [std::process::id()];
    sleep_until(clock.instant(begin_us));
    let counting = setup.system_calls.then(|| Counting::begin(&setup.pids)).transpose()?;
    let memory_before = Memory::read(&setup.pids)?;
    let before = (Costs::read(&setup.pids)?, Costs::read(&own)?, Instant::now());
    watch(clock.instant(end_us))?;
    sleep_until(clock.instant(end_us));
    let after = (Costs::read(&setup.pids)?, Costs::read(&own)?, Instant::now());
    let system_calls = counting.map(Counting::end).transpose()?.unwrap_or_default();
    let memory_after = Memory::read(&setup.pids)?;
    thread::sleep(GRACE);
    Ok(Report {
        seconds: (after.2 - before.2).as_secs_f64(),
        server: after.0 - before.0,
        own: after.1 - before.1,
        memory_before,
        memory_after,
        system_calls,
        ..Report::default()
    })
}

/// Sleeps until then; not at all if that is past.
pub fn sleep_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}

impl Running {
    fn start_readers(
        &mut self,
        setup: &Setup,
        urls: &[Url],
        clock: &Arc<Clock>,
    ) -> anyhow::Result<()> {
        let mut plans = plans(setup, urls);
        let threads = setup.threads.max(1);
        for at in 0..threads {
            let share = plans.split_off(plans.len() - plans.len() / (threads - at));
            let joins = joins(setup, urls);
            let clock = clock.clone();
            let thread = thread::Builder::new().name("readers".to_owned());
            self.readers.push(thread.spawn(move || readers::run(share, joins, clock))?);
        }
        Ok(())
    }

    fn await_publishers(&self, begun: &mpsc::Receiver<()>) -> anyhow::Result<()> {
        begun.recv_timeout(PATIENCE).context("not all publishers have begun")
    }

    /// Until all play, those that stall included.
    fn await_readers(&self, setup: &Setup, clock: &Clock) -> anyhow::Result<()> {
        let wanted = setup.streams * (setup.readers + setup.stalled);
        let began = Instant::now();
        loop {
            let playing = clock.playing.load(Relaxed);
            if playing >= wanted {
                return Ok(());
            }
            if began.elapsed() > PATIENCE || self.readers.iter().any(JoinHandle::is_finished) {
                bail!("{playing} of {wanted} readers play");
            }
            thread::sleep(POLL);
        }
    }

    /// Ends all threads; what they tell goes into the report, or into the error.
    fn report(self, setup: &Setup, measured: anyhow::Result<Report>) -> anyhow::Result<Report> {
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        let published = self.publishers.join().map_err(panicked)?;
        let mut all = Told::default();
        for thread in self.readers {
            let told = thread.join().map_err(panicked)??;
            all.tallies.extend(told.tallies);
            all.first_keyframes.add(&told.first_keyframes)?;
            all.failed_joins += told.failed_joins;
            for (reason, count) in told.ended {
                *all.ended.entry(reason).or_default() += count;
            }
        }
        for reason in &published.ended {
            *all.ended.entry(format!("publisher: {reason}")).or_default() += 1;
        }
        let mut report = measured.with_context(|| format!("ended: {:?}", all.ended))?;
        report.streams = setup.streams;
        report.readers = setup.streams * setup.readers;
        report.stalled = setup.streams * setup.stalled;
        add_readers(&mut report, &all, &published)?;
        add_publishers(&mut report, &published);
        report.ended = all.ended;
        report.conclude();
        Ok(report)
    }
}

fn add_readers(report: &mut Report, told: &Told, published: &Published) -> anyhow::Result<()> {
    let mut delay = delays();
    // What a reader that never came to play would have got is lost as well.
    for stream in 0..report.streams {
        let readers = (report.readers / report.streams.max(1)) as u64;
        report.access_units_expected += published.sent[stream].access_units * readers;
    }
    for tally in &told.tallies {
        report.access_units_whole += tally.whole;
        report.access_units_damaged += tally.damaged;
        report.access_units_backwards += tally.backwards;
        report.bytes_out += tally.bytes;
        delay.add(&tally.delays)?;
        let p99 = Times::of(&tally.delays).p99_ms;
        report.worst_reader_p99_ms = report.worst_reader_p99_ms.max(p99);
    }
    report.delay = Times::of(&delay);
    report.first_keyframe = Times::of(&told.first_keyframes);
    report.failed_joins = told.failed_joins;
    Ok(())
}

fn add_publishers(report: &mut Report, published: &Published) {
    report.access_units_in = published.sent.iter().map(|sent| sent.access_units).sum();
    report.bytes_in = published.sent.iter().map(|sent| sent.bytes).sum();
    report.lateness = Times::of(&published.lateness);
    report.most_pending_bytes = published.most_pending_bytes;
}

/// All readers that are there from the beginning.
fn plans(setup: &Setup, urls: &[Url]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (stream, url) in urls.iter().enumerate() {
        for reader in 0..setup.readers + setup.stalled {
            let (purpose, transport) = if reader < setup.readers {
                (Purpose::Stay, setup.transports[plans.len() % setup.transports.len()])
            } else {
                // By UDP nobody would notice.
                (Purpose::Stall, Transport::Tcp)
            };
            plans.push(Plan { stream, url: url.clone(), transport, purpose });
        }
    }
    plans
}

/// One thread's share of those that come in the window.
fn joins(setup: &Setup, urls: &[Url]) -> Option<Joins> {
    let rate = setup.joins_per_second / setup.threads.max(1) as f64;
    let plans = urls.iter().enumerate().map(|(stream, url)| Plan {
        stream,
        url: url.clone(),
        transport: setup.transports[stream % setup.transports.len()],
        purpose: Purpose::Join,
    });
    let count = (rate * setup.window.as_secs_f64()) as u64;
    (rate > 0.0).then(|| Joins { plans: plans.collect(), rate, count })
}
