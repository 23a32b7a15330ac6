use super::*;

fn packet(sequence_number: u16, at: Instant) -> ReceivedPacket {
    let header = Header {
        marker: false,
        payload_type: 96,
        sequence_number,
        timestamp: 0,
        ssrc: 1,
        payload: 12..12,
    };
    ReceivedPacket { header, bytes: Bytes::new(), received_at: at }
}

fn drain(buffer: &mut ReorderBuffer, now: Instant) -> Vec<i32> {
    std::iter::from_fn(|| buffer.poll(now))
        .map(|ordered| match ordered {
            Ordered::Packet(packet) => i32::from(packet.header.sequence_number),
            Ordered::Lost(n) => -(n as i32),
            Ordered::Restarted => i32::MAX,
        })
        .collect()
}

fn buffer() -> ReorderBuffer {
    ReorderBuffer::new(ClockRate::VIDEO, Duration::from_millis(20), 64)
}

#[test]
fn packets_swapped_or_sent_twice_come_out_once_and_in_order_over_the_wrap() {
    let (mut buffer, now) = (buffer(), Instant::now());
    for sequence in [65_533, 65_535, 65_534, 65_534, 1, 0, 2] {
        buffer.insert(packet(sequence, now));
    }
    assert_eq!(drain(&mut buffer, now), [65_533, 65_534, 65_535, 0, 1, 2]);
    assert_eq!((buffer.discarded(), buffer.lost(), buffer.deadline()), (1, 0, None));
    assert_eq!(buffer.report_block(7).map(|b| b.highest_sequence_number), Some(65_538));
}

#[test]
fn a_packet_that_is_next_passes_and_one_behind_a_gap_does_not() {
    let (mut buffer, now) = (buffer(), Instant::now());
    let passes =
        |buffer: &mut ReorderBuffer, sequence| buffer.pass(&packet(sequence, now).header, now);
    assert!(!passes(&mut buffer, 65_534), "the first begins a sequence");
    buffer.insert(packet(65_534, now));
    assert!(!passes(&mut buffer, 65_535), "another is to come out first");
    assert_eq!(drain(&mut buffer, now), [65_534]);
    assert!(passes(&mut buffer, 65_535) && passes(&mut buffer, 0));
    assert!(!passes(&mut buffer, 2) && !passes(&mut buffer, 0));
    buffer.insert(packet(2, now));
    assert!(!passes(&mut buffer, 1), "one waits for it");
    buffer.insert(packet(1, now));
    assert_eq!(drain(&mut buffer, now), [1, 2]);
    assert!(passes(&mut buffer, 3));
    let block = buffer.report_block(7).unwrap();
    assert_eq!((block.highest_sequence_number, block.cumulative_lost), (65_539, 0));
}

#[test]
fn a_missing_packet_is_waited_for_one_window_and_no_longer() {
    let (mut buffer, now) = (buffer(), Instant::now());
    buffer.insert(packet(1, now));
    buffer.insert(packet(4, now));
    assert_eq!(drain(&mut buffer, now), [1]);
    let deadline = buffer.deadline().unwrap();
    assert_eq!(deadline, now + Duration::from_millis(20));
    assert_eq!(drain(&mut buffer, deadline), [-2, 4]);
    buffer.insert(packet(3, deadline));
    assert_eq!((buffer.lost(), buffer.discarded()), (2, 1));
}

#[test]
fn the_window_in_packets_bounds_what_waits() {
    let (mut buffer, now) = (buffer(), Instant::now());
    buffer.insert(packet(0, now));
    for sequence in 2..=66 {
        buffer.insert(packet(sequence, now));
    }
    assert_eq!(drain(&mut buffer, now).len(), 67);
    assert_eq!(buffer.lost(), 1);
}

#[test]
fn two_packets_in_a_row_elsewhere_are_a_restart_and_one_is_a_stray() {
    let (mut buffer, now) = (buffer(), Instant::now());
    for sequence in [10, 30_000, 11, 40_000, 40_001] {
        buffer.insert(packet(sequence, now));
    }
    assert_eq!(drain(&mut buffer, now), [10, 11, i32::MAX, 40_000, 40_001]);
    assert_eq!(buffer.discarded(), 1);
}

#[test]
fn every_stray_is_counted_whatever_follows_it() {
    let (mut buffer, now) = (buffer(), Instant::now());
    for sequence in [10, 30_000, 50_000, 11, 30_000, 12] {
        buffer.insert(packet(sequence, now));
    }
    assert_eq!(drain(&mut buffer, now), [10, 11, 12]);
    assert_eq!(buffer.discarded(), 3);
}

/// A buffer whose sender answers, and the time of its tests.
struct Asking {
    buffer: ReorderBuffer,
    start: Instant,
}

impl Asking {
    fn new() -> Self {
        let mut buffer = ReorderBuffer::new(ClockRate::VIDEO, Duration::from_millis(20), 1024);
        buffer.set_asking(true);
        Self { buffer, start: Instant::now() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn come(&mut self, ms: u64, sequence_numbers: impl IntoIterator<Item = u16>) {
        let at = self.at(ms);
        sequence_numbers.into_iter().for_each(|number| self.buffer.insert(packet(number, at)));
    }

    fn out(&mut self, ms: u64) -> Vec<i32> {
        let now = self.at(ms);
        drain(&mut self.buffer, now)
    }

    fn asked(&mut self, ms: u64) -> Vec<u16> {
        let now = self.at(ms);
        self.buffer.requests(now).to_vec()
    }

    fn deadline(&self) -> Option<u128> {
        self.buffer.deadline().map(|at| at.duration_since(self.start).as_millis())
    }
}

#[test]
fn what_is_missing_is_asked_for_at_once_and_again_until_it_comes() {
    let mut a = Asking::new();
    a.come(0, [65_534, 1, 2]);
    assert_eq!(a.asked(0), [65_535, 0]);
    assert_eq!(a.asked(0), [0u16; 0], "once");
    assert_eq!(a.out(0), [65_534]);
    a.come(5, [65_535]);
    assert_eq!(a.out(5), [65_535]);
    assert_eq!(a.deadline(), Some(20));
    assert_eq!(a.asked(20), [0]);
    assert_eq!(a.out(20), [0i32; 0], "the window is over, and it is waited for all the same");
    a.come(40, [0]);
    assert_eq!(a.out(40), [0, 1, 2]);
    assert_eq!((a.buffer.lost(), a.buffer.asked(), a.deadline()), (0, 3, None));
    a.out(400);
    assert_eq!(a.buffer.recovered(), 2);
}

#[test]
fn what_never_comes_is_given_up_when_all_requests_had_their_time() {
    let mut a = Asking::new();
    a.come(0, [1, 3]);
    let asked: Vec<_> = (0..200).filter(|&ms| !a.asked(ms).is_empty()).collect();
    assert_eq!(asked, [0, 20, 40, 60, 80]);
    assert_eq!(a.out(0), [1]);
    assert_eq!(a.deadline(), Some(120));
    assert_eq!(a.out(119), [0i32; 0]);
    assert_eq!(a.out(120), [-1, 3]);
    a.come(130, [2, 2]);
    assert_eq!(a.out(130), [0i32; 0]);
    let counts = (a.buffer.lost(), a.buffer.discarded(), a.buffer.too_late(), a.buffer.recovered());
    assert_eq!(counts, (1, 2, 1, 0));
}

#[test]
fn a_longer_round_trip_is_learned_from_the_first_answer() {
    let mut a = Asking::new();
    a.come(0, [1, 3]);
    (0..100).for_each(|ms| drop(a.asked(ms)));
    a.come(100, [2]);
    assert_eq!(a.out(400), [1, 2, 3], "100 ms were waited for");
    a.come(1000, [5]);
    let asked: Vec<_> = (1000..1300).filter(|&ms| !a.asked(ms).is_empty()).collect();
    assert_eq!(asked, [1000, 1113, 1226]);
}

#[test]
fn where_packets_are_late_by_themselves_they_are_asked_for_as_late() {
    let mut a = Asking::new();
    let mut first_asks = vec![];
    for round in 0..40_u16 {
        let (number, ms) = (2 * round, u64::from(round) * 400);
        a.come(ms, [number, number + 2]);
        let asked = (ms..ms + 8).find(|&ms| !a.asked(ms).is_empty());
        first_asks.push(asked.map(|at| at - ms));
        // It comes by itself, and where it was asked for once more.
        a.come(ms + 8, [number + 1]);
        if asked.is_some() {
            a.come(ms + 30, [number + 1]);
        }
        a.out(ms + 300);
    }
    assert_eq!(first_asks[0], Some(0));
    assert_eq!(first_asks[39], None, "{first_asks:?}");
    assert!(first_asks.iter().filter(|asked| asked.is_some()).count() < 10, "{first_asks:?}");
    assert_eq!((a.buffer.recovered(), a.buffer.lost()), (0, 0));
}

#[test]
fn nothing_of_a_gap_that_is_no_loss_is_asked_for_or_waited_for_longer() {
    let mut a = Asking::new();
    a.come(0, [1, 2100]);
    assert_eq!(a.asked(0), [0u16; 0]);
    assert_eq!(a.out(20), [1, -2098, 2100]);
}

#[test]
fn a_long_gap_is_asked_for_by_several_nacks_and_the_rest_of_it_as_answers_come() {
    let mut a = Asking::new();
    a.come(0, [1, 600]);
    let asked: Vec<_> = std::iter::from_fn(|| Some(a.asked(0)).filter(|n| !n.is_empty())).collect();
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256]);
    assert!(asked.concat().iter().copied().eq(2..514));
    assert_eq!((a.asked(5), a.deadline()), (vec![], Some(20)), "nothing is to be done before");
    a.come(10, 2..34);
    assert!(a.asked(10).into_iter().eq(514..546));
    assert_eq!(a.asked(20).len(), 256, "those of the first that have not come are asked for again");
    a.come(30, 34..600);
    assert_eq!(a.out(30).len(), 600);
    assert_eq!(a.buffer.lost(), 0);
}

#[test]
fn where_nobody_answers_a_packet_is_waited_for_one_window() {
    let mut a = Asking::new();
    a.buffer.set_asking(false);
    a.come(0, [1, 3]);
    assert_eq!((a.asked(0), a.deadline()), (vec![], Some(20)));
    assert_eq!(a.out(20), [1, -1, 3]);
}

#[test]
fn answers_that_come_far_too_late_are_no_restart() {
    let mut a = Asking::new();
    a.come(0, (0..3000).filter(|&number| number != 7 && number != 8));
    a.out(1000);
    a.come(1001, 3000..6000);
    a.come(1002, [7, 8]);
    assert!(!a.out(1002).contains(&i32::MAX));
    assert_eq!((a.buffer.too_late(), a.buffer.discarded()), (2, 2));
}

#[test]
fn the_beginning_is_put_in_order_and_what_may_be_before_it_is_asked_for() {
    let window = Duration::from_millis(20);
    let mut a = Asking::new();
    a.buffer = ReorderBuffer::answered(ClockRate::VIDEO, window, 1024);
    a.come(0, [4]);
    assert_eq!(a.asked(0), [0u16; 0], "it is not known where to ask");
    a.buffer.set_asking(true);
    assert_eq!(a.asked(1), [2, 3]);
    a.come(5, [1, 6]);
    assert_eq!(a.asked(5), [2, 3, 5]);
    a.come(9, [2, 65_535, 2]);
    assert_eq!(a.asked(39), [0, 3, 5]);
    assert_eq!((a.out(39), a.deadline()), (vec![], Some(40)));
    assert_eq!(a.out(40), [65_535]);
    a.come(41, [0, 3, 5, 7]);
    assert_eq!(a.out(41), [0, 1, 2, 3, 4, 5, 6, 7]);
    a.come(42, [8]);
    assert_eq!((a.out(42), a.buffer.lost(), a.buffer.discarded()), (vec![8], 0, 1));
    let block = a.buffer.report_block(1).unwrap();
    assert_eq!((block.highest_sequence_number, block.cumulative_lost), (8, 0));
}

#[test]
fn a_beginning_of_more_than_fits_is_given_out_at_once() {
    let mut a = Asking::new();
    a.buffer = ReorderBuffer::answered(ClockRate::VIDEO, Duration::from_millis(20), 3);
    a.come(0, [7, 9, 10]);
    assert_eq!(a.out(0), [0i32; 0]);
    a.come(1, [11]);
    assert_eq!(a.out(1), [7]);
    a.come(2, [8]);
    assert_eq!(a.out(2), [8, 9, 10, 11]);
}

/// A network of 2 % loss both ways, and of delays from 0 to 20 ms that overtake each other.
#[test]
fn on_a_bad_network_all_is_recovered_and_nearly_all_within_60_ms() {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % below
    };
    let mut a = Asking::new();
    // By the microsecond at which they arrive: packets at the node, requests at the sender.
    let mut packets = BTreeMap::<(u64, u64), u16>::new();
    let mut requests = BTreeMap::<(u64, u64), Vec<u16>>::new();
    let mut sent_at = [0; 40_000];
    let (mut tie, mut out, mut waits, mut answered) = (0, 0, vec![], 0);
    for us in (0..80_000_000_u64).step_by(500) {
        // An access unit of 20 packets each 40 ms, the last one sent twice.
        if us % 40_000 == 0 {
            for n in (0..20).chain([19]) {
                let number = us / 40_000 * 20 + n;
                sent_at[number as usize] = us;
                tie += 1;
                if next(100) >= 2 {
                    packets.insert((us + next(20_000), tie), number as u16);
                }
            }
        }
        let now = a.start + Duration::from_micros(us);
        while let Some(entry) = packets.first_entry().filter(|entry| entry.key().0 <= us) {
            a.buffer.insert(packet(entry.remove(), now));
        }
        while let Some(entry) = requests.first_entry().filter(|entry| entry.key().0 <= us) {
            for number in entry.remove() {
                (tie, answered) = (tie + 1, answered + 1);
                if next(100) >= 2 {
                    packets.insert((us + next(20_000), tie), number);
                }
            }
        }
        let asked = a.buffer.requests(now);
        if !asked.is_empty() && next(100) >= 2 {
            tie += 1;
            requests.insert((us + next(20_000), tie), asked.to_vec());
        }
        for sequence in drain(&mut a.buffer, now) {
            if out == 0 {
                out = sequence as usize;
            }
            assert_eq!(sequence, (out % 65_536) as i32, "in order, and none is missing");
            if out % 20 == 19 {
                waits.push((us - sent_at[out]) / 1000);
            }
            out += 1;
        }
    }
    assert!(out > 39_900);
    waits.sort_unstable();
    let percentile = |n: usize| waits[waits.len() * n / 1000];
    println!(
        "access units after {} ms (median), {} (99 %), {} (longest); {answered} answers for {} lost of {out}",
        percentile(500),
        percentile(990),
        waits[waits.len() - 1],
        a.buffer.recovered(),
    );
    assert!(percentile(990) < 60, "{} ms", percentile(990));
    assert!(answered < out / 3, "{answered} answers");
}
