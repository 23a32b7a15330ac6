use super::*;

const MIB: u64 = 1024;

/// A sample a second, by its second.
fn samples(kib: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Vec<Sample> {
    let sample = |at: u64| Sample {
        seconds: at as f64,
        memory: Memory { pss_kib: kib(at), ..Memory::default() },
        held: Held { descriptors: descriptors(at), threads: 1 },
    };
    (0..100).map(sample).collect()
}

/// Of a run in which everything came.
fn report() -> Report {
    Report { access_units_expected: 10, access_units_whole: 10, ..Report::default() }
}

fn faults(samples: Vec<Sample>, report: Report) -> Vec<String> {
    Soak::of(samples, report).faults
}

#[test]
fn memory_that_swings_about_a_level_has_not_grown_nor_have_descriptors_of_readers_that_come_and_go()
{
    let samples = samples(|at| (300 + at % 7) * MIB, |at| 200 + at % 3);
    assert_eq!(faults(samples, report()), Vec::<String>::new());
}

#[test]
fn memory_that_grows_by_more_than_its_share_is_a_fault_with_its_slope() {
    let soak = Soak::of(samples(|at| 300 * MIB + at * 100, |_| 200), report());
    assert_eq!(soak.faults, ["memory grew by 8.8 MiB, which is more than 6.0 MiB"]);
    assert!((soak.trend.slope_kib_a_minute - 6000.0).abs() < 1e-6, "{soak}");
}

#[test]
fn where_there_is_little_memory_some_spare_pages_are_no_growth() {
    let grown = |kib: u64| faults(samples(|at| 10 * MIB + at / 50 * kib, |_| 200), report()).len();
    assert_eq!((grown(4096), grown(4097)), (0, 1));
}

#[test]
fn memory_is_what_is_resident_where_shares_may_not_be_read() {
    let memory = Memory { rss_kib: 5, peak_rss_kib: 9, pss_kib: 0 };
    assert_eq!(Sample { memory, ..Sample::default() }.kib(), 5.0);
}

#[test]
fn a_descriptor_that_stays_is_a_fault() {
    let samples = samples(|_| MIB, |at| 200 + at % 3 + at / 30);
    let expected = "open descriptors grew from 202 at most to 203 at least";
    assert_eq!(faults(samples, report()), [expected]);
}

#[test]
fn each_way_to_lose_something_is_a_fault() {
    let report = Report {
        access_units_lost: 1,
        access_units_damaged: 2,
        access_units_backwards: 3,
        failed_joins: 4,
        ended: [("why".to_owned(), 5)].into(),
        ..report()
    };
    let expected = [
        "1 of 10 access units were lost",
        "2 of 10 access units were damaged",
        "3 of 10 access units were backwards",
        "5 ended: why",
        "4 readers that came got no keyframe",
    ];
    assert_eq!(faults(samples(|_| MIB, |_| 200), report), expected);
}

#[test]
fn a_soak_in_which_nothing_was_published_is_a_fault() {
    let expected = ["nothing was published for any reader"];
    assert_eq!(faults(samples(|_| MIB, |_| 200), Report::default()), expected);
}

#[test]
fn a_soak_of_a_busy_machine_says_so_and_one_of_a_quiet_machine_does_not() {
    let told = |late_ms: f64| {
        let mut report = report();
        report.lateness.max_ms = late_ms;
        Soak::of(samples(|_| MIB, |_| 200), report).to_string()
    };
    assert!(told(729.4).ends_with("too busy: the tool itself was up to 729 ms late\n"));
    assert!(!told(50.0).contains("busy"));
}

#[test]
fn samples_that_are_too_seldom_to_tell_are_refused() {
    let plan = Plan {
        gateway: PathBuf::new(),
        streams: 1,
        readers: 1,
        joins_per_second: 0.0,
        clip: Kind::Tiny,
        warm_up: Duration::ZERO,
        window: Duration::from_secs(19),
        every: Duration::from_secs(1),
    };
    let error = run(&plan).unwrap_err().to_string();
    assert_eq!(error, "1s is too seldom for 19s");
}
