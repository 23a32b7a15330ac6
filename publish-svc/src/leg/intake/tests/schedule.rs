//! Seeded random schedules: loss, reordering, duplicates, sources that begin anew, legs that are made anew.

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

/// Steps of one schedule, of 10 ms each.
const STEPS: u32 = 600;
/// How far a picture may be shown behind one that follows it in decode order.
const COMPOSITION_MS: u32 = 80;

/// What a track's readers have seen.
#[derive(Default)]
struct Seen {
    ssrc: Option<u32>,
    next_number: Option<u16>,
    highest: Option<u32>,
    missing: u32,
    units: u32,
}

/// One schedule.
struct Schedule {
    random: StdRng,
    bench: Bench,
    source: Source,
    from: SocketAddr,
    /// Datagrams on their way: when they come, whether RTCP.
    way: Vec<(u32, bool, Bytes)>,
    lossy: bool,
    seen: [Seen; 2],
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let source = Source::new(7);
        Self {
            random: StdRng::seed_from_u64(seed),
            // Of some the beginning waits for reports.
            bench: Bench::waiting(&source.description(), 200 * (seed % 2) as u32),
            source,
            from: address(FROM),
            way: Vec::new(),
            lossy: !seed.is_multiple_of(4),
            seen: Default::default(),
        }
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.random_range(0..of) == 0
    }

    fn send(&mut self, ms: u32, rtcp: bool, datagram: Bytes) {
        if self.lossy && self.chance(30) {
            return;
        }
        for _ in 0..1 + u32::from(self.chance(40)) {
            let late = if self.chance(8) { self.random.random_range(0..60) } else { 0 };
            self.way.push((ms + late, rtcp, datagram.clone()));
        }
    }

    /// A new sender, with all numbers anew; `ssrcs` stay within a leg.
    fn another_source(&mut self, ssrcs: [u32; 2]) -> Source {
        let mut source = Source::at(ssrcs, self.random.random(), self.random.random());
        source.clock_ahead = Duration::from_millis(self.random.random_range(0..5000));
        source
    }

    fn disturb(&mut self, ms: u32) {
        match self.random.random_range(0..400) {
            0 | 1 => {
                let ssrcs = self.random.random();
                self.source = self.another_source(ssrcs);
                self.from = address(self.random.random_range(2000..60_000));
                self.bench.intake.begin_leg(&self.source.description(), &mut || rand::random());
            }
            2 => {
                // Often too near in the sequence to be told from loss (RFC 3550, A.1).
                let near = self.random.random_range(0..6000);
                let numbers = self.source.next_numbers().map(|n| n.wrapping_add(near));
                // Behind by more than pictures are put in order, or ahead.
                let jump = self.random.random_range(1_000_000..u32::MAX - 1_000_000);
                let bases = self.source.bases.map(|base| base.wrapping_add(jump));
                self.source = Source::at(self.source.ssrcs, numbers, bases);
            }
            3 => {
                let bye = self.source.bye();
                self.send(ms, true, bye);
            }
            4 => {
                let mut noise = vec![0; self.random.random_range(0..100)];
                self.random.fill(&mut noise[..]);
                self.send(ms, false, noise.clone().into());
                self.send(ms, true, noise.into());
            }
            5 => {
                // The same leg told anew, maybe from another port.
                self.from = address(self.random.random_range(2000..60_000));
                let description = self.source.description();
                self.bench.intake.describe_leg(&description, &mut || rand::random());
            }
            _ => {}
        }
    }

    fn step(&mut self, ms: u32) {
        self.disturb(ms);
        if ms.is_multiple_of(20) {
            let shown =
                ms + COMPOSITION_MS - 20 * self.random.random_range(0..=COMPOSITION_MS / 20);
            let keyframe = self.chance(10);
            let bytes = self.random.random_range(8..5000);
            let picture = self.source.picture_of(shown, keyframe, bytes, ms);
            let sound = self.source.sound_of(ms, 100, ms);
            for packet in picture.packets().chain(sound.packets()) {
                self.send(ms, false, packet);
            }
        }
        for track in [Track::Video, Track::Audio] {
            if self.chance(50) {
                self.send(ms, true, self.source.report(track, ms));
            }
        }
        self.deliver(ms);
        self.bench.reports(ms);
        for unit in std::mem::take(&mut self.bench.units) {
            self.see(&unit);
        }
    }

    fn deliver(&mut self, ms: u32) {
        let (now, from) = (self.bench.now(ms), self.from);
        let mut due: VecDeque<_> = Default::default();
        self.way.retain(|(at, rtcp, datagram)| {
            if *at <= ms {
                due.push_back((*rtcp, datagram.clone()));
            }
            *at > ms
        });
        for (rtcp, datagram) in due {
            match rtcp {
                true => {
                    let from = SocketAddr::new(from.ip(), from.port() + 1);
                    self.bench.intake.handle_rtcp(from, &datagram, now);
                }
                false => self.bench.intake.handle_rtp(from, &datagram, now),
            }
        }
        self.bench.pass(ms);
    }

    fn see(&mut self, unit: &RingUnit) {
        let seen = &mut self.seen[unit.track];
        seen.units += 1;
        for header in headers(unit) {
            assert_eq!(*seen.ssrc.get_or_insert(header.ssrc), header.ssrc);
            let next = *seen.next_number.get_or_insert(header.sequence_number);
            let gap = header.sequence_number.wrapping_sub(next);
            assert!(
                gap < 1 << 15,
                "sequence numbers ran back from {next} by {}",
                gap.wrapping_neg()
            );
            seen.missing += u32::from(gap);
            seen.next_number = Some(header.sequence_number.wrapping_add(1));
        }
        let highest = *seen.highest.get_or_insert(unit.rtp_timestamp);
        let ahead = unit.rtp_timestamp.wrapping_sub(highest) as i32;
        let back = [90 * COMPOSITION_MS as i32, 0][unit.track];
        assert!(ahead >= -back, "timestamps of track {} ran back by {}", unit.track, -ahead);
        if ahead > 0 {
            seen.highest = Some(unit.rtp_timestamp);
        }
    }
}

#[test]
fn whatever_happens_on_the_way_readers_see_one_unbroken_stream() {
    let (mut lost, mut units) = (0, 0);
    for seed in 0..150 {
        println!("seed {seed}");
        let mut schedule = Schedule::new(seed);
        for step in 0..STEPS {
            schedule.step(10 * step);
        }
        let missing = schedule.seen[0].missing + schedule.seen[1].missing;
        let counted = schedule.bench.count(|c| &c.packets_lost);
        assert!(missing <= counted, "{missing} are missing, {counted} counted");
        lost += counted;
        units += schedule.seen[0].units + schedule.seen[1].units;
    }
    assert!(lost > 1000 && units > 10_000, "{lost} packets lost, {units} units seen");
}
