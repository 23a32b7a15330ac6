//! Each target holds for its corpus and for seeded mutations of it.
//!
//! `FUZZ_ITERATIONS` sets how many mutations are tried instead of each target's own number.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuzz::{Target, corpus, mutate::mutated, random::Random, seeds, target};

/// Runs one input; says which it was where it fails.
fn run(target: &Target, seed: &str, data: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err() {
        let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("target {}, seed {seed}, input of {} bytes: {hex}", target.name, data.len());
    }
}

fn holds(name: &str) {
    let target = target(name).expect("the target is listed");
    let corpus = corpus::read(name).expect("the target has a corpus");
    assert!(!corpus.is_empty());
    for entry in &corpus {
        run(&target, &entry.name, &entry.data);
    }
    let corpus: Vec<_> = corpus.into_iter().map(|entry| entry.data).collect();
    let iterations = match std::env::var("FUZZ_ITERATIONS") {
        Ok(number) => number.parse().expect("FUZZ_ITERATIONS is a number"),
        Err(_) => target.iterations,
    };
    for seed in 0..iterations {
        let data = mutated(&corpus, &mut Random::named(name, seed));
        run(&target, &seed.to_string(), &data);
    }
}

/// A test for each target, so that they run side by side.
macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                holds(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(fuzz::TARGETS.map(|target| target.name), tested);
        }
    };
}

targets! {
    rtmp_chunk rtmp_amf0 rtmp_session rtmp_client flv avcc aac_config hevc av1 vp9 sei sound h264_inspect rtp_header rtp_receive
    rtcp sdp rtsp_connection
}

#[test]
fn the_committed_seeds_are_those_that_the_generator_writes() {
    let all = seeds::all().expect("the files of the seeds are there");
    assert_eq!(
        all.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        fuzz::TARGETS.map(|t| t.name)
    );
    for (name, mut seeds) in all {
        seeds.sort();
        let mut committed = corpus::read(name).expect("the target has a corpus");
        committed.retain(|entry| !entry.name.starts_with("crash-"));
        let names = |entries: &[corpus::Entry]| -> Vec<String> {
            entries.iter().map(|entry| entry.name.clone()).collect()
        };
        assert_eq!(names(&committed), names(&seeds), "{name}");
        assert!(committed == seeds, "{name}: run `cargo run -p fuzz --example make_corpus`");
    }
}

#[test]
#[should_panic(expected = "target broken, seed 7, input of 2 bytes: 0aff")]
fn a_failure_names_the_target_the_seed_and_the_input() {
    let broken = Target { name: "broken", run: |_| panic!("as it should"), iterations: 1 };
    run(&broken, "7", &[10, 255]);
}
