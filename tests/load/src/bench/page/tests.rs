use std::{path::PathBuf, time::Duration};

use super::*;

fn series(server: &str, costs: &[f64]) -> Series {
    let report = |cost: &f64| Report { cpu_s_per_gbit: *cost, seconds: 1.0, ..Report::default() };
    Series {
        workload: "S1".to_owned(),
        server: server.to_owned(),
        reports: costs.iter().map(report).collect(),
        failures: Vec::new(),
        counted: None,
    }
}

fn page(all: &[Series]) -> String {
    let plan = Plan {
        gateway: PathBuf::new(),
        peers: Vec::new(),
        workloads: Vec::new(),
        repeats: 3,
        window: Duration::from_secs(1),
        warm_up: Duration::ZERO,
        system_calls: false,
    };
    text(&plan, all, &[], &[])
}

#[test]
fn a_ratio_is_the_median_of_the_ratios_of_neighbours() {
    // Of medians it would be 4 / 2.
    let page = page(&[series("floor", &[1.0, 2.0, 4.0]), series("gateway", &[3.0, 4.0, 4.0])]);
    assert!(
        page.contains("| S1 | gateway | 4.000 (3.000 to 4.000) | 2.00 (1.00 to 3.00) |"),
        "{page}"
    );
    assert!(page.contains("| S1 | floor | 2.000 (1.000 to 4.000) |  |"), "{page}");
}

#[test]
fn a_run_that_failed_is_told() {
    let mut failed = series("gateway", &[]);
    failed.failures.push("no such thing".to_owned());
    let page = page(&[failed]);
    assert!(page.contains("| S1 | gateway | failed |"), "{page}");
    assert!(page.contains("A run of S1, gateway, failed: no such thing"), "{page}");
}

#[test]
fn the_median_of_an_even_count_is_between_the_two_in_the_middle() {
    assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    assert!(median([].into_iter()).is_nan());
}
