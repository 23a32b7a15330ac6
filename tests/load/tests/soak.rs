//! A soak in small and in short: that it samples the gateway to its end, that nothing is lost beside readers that come and go, and
//! that it says so.

use load::soak::Soak;

#[test]
fn a_short_soak_loses_nothing_while_readers_come_and_go_and_tells_what_the_gateway_had() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("soak.json");
    // The rings are full after 10 s and a GOP of half a second.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["soak", "--streams", "2", "--readers", "4", "--clip", "tiny", "--joins", "5"])
        .args(["--warm-up", "11s", "--window", "5s", "--every", "250ms", "--gateway"])
        .arg(test_gateway::binary())
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let soak: Soak = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(soak.faults, Vec::<String>::new(), "{soak}");
    assert!(soak.samples.len() > 10, "{soak}");
    let held = soak.samples.iter().all(|sample| {
        sample.memory.rss_kib > 0 && sample.held.descriptors > 8 && sample.held.threads > 0
    });
    assert!(held, "{soak}");
    let report = &soak.report;
    assert_eq!((report.streams, report.readers), (2, 8), "{soak}");
    assert_eq!((report.first_keyframe.count, report.failed_joins), (25, 0), "{soak}");
    assert_eq!(report.access_units_whole, report.access_units_in * 4, "{soak}");
    assert!(told.contains("KiB a minute") && told.contains("soak.json"), "{told}");
}
