//! The tool against the gateway and against the floor, small and for a second, so that neither can rot.

use std::{path::Path, time::Duration};

use load::{
    clip::Kind,
    dialog::Transport,
    report::Report,
    run::{self, Setup},
    servers::Server,
};

const STREAMS: usize = 2;
const READERS: usize = 2;

/// Two streams, each with one reader by TCP and one by UDP.
fn setup(server: &Server) -> Setup {
    Setup {
        publish: server.publish.clone(),
        read: server.read.clone(),
        pids: vec![server.pid()],
        streams: STREAMS,
        readers: READERS,
        stalled: 0,
        transports: vec![Transport::Tcp, Transport::Udp],
        joins_per_second: 0.0,
        clip: Kind::Tiny,
        warm_up: Duration::from_millis(100),
        window: Duration::from_secs(1),
        threads: 1,
        system_calls: false,
    }
}

/// Everything came, once, in order; and it was measured.
fn assert_nothing_is_lost(report: &Report) {
    assert!(report.ended.is_empty(), "{report}");
    assert!(report.access_units_in > 0, "{report}");
    assert_eq!(report.access_units_expected, report.access_units_in * READERS as u64, "{report}");
    assert_eq!(report.access_units_whole, report.access_units_expected, "{report}");
    assert_eq!((report.access_units_damaged, report.access_units_backwards), (0, 0), "{report}");
    assert_eq!(report.delay.count, report.access_units_whole, "{report}");
    assert!(report.delay.p50_ms <= report.delay.p99_ms, "{report}");
    assert!(report.bytes_out > report.bytes_in, "{report}");
    assert!(report.memory_after.peak_rss_kib > 0, "{report}");
}

#[test]
fn what_is_published_to_the_gateway_is_read_by_tcp_and_udp_with_nothing_lost() {
    let directory = tempfile::tempdir().unwrap();
    let server =
        Server::gateway(test_gateway::binary(), (29_000, 29_199), None, directory.path()).unwrap();
    assert_nothing_is_lost(&run::run(&setup(&server)).unwrap());
}

#[test]
fn what_is_published_to_the_floor_is_read_by_tcp_and_udp_with_nothing_lost() {
    let directory = tempfile::tempdir().unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_load"));
    let server = Server::floor(tool, false, None, directory.path()).unwrap();
    assert_nothing_is_lost(&run::run(&setup(&server)).unwrap());
}

#[test]
fn readers_that_come_get_a_keyframe_while_others_stall_and_the_rest_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server =
        Server::gateway(test_gateway::binary(), (29_200, 29_399), None, directory.path()).unwrap();
    let report =
        run::run(&Setup { stalled: 1, joins_per_second: 20.0, threads: 2, ..setup(&server) });
    let report = report.unwrap();
    assert_nothing_is_lost(&report);
    assert_eq!((report.first_keyframe.count, report.failed_joins), (20, 0), "{report}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_load"));
    let server = Server::floor(tool, false, None, directory.path()).unwrap();
    let setup = setup(&server);
    drop(server);
    let error = format!("{:#}", run::run(&setup).unwrap_err());
    assert!(error.contains("load0"), "{error}");
}

#[test]
fn a_bench_runs_the_floor_and_the_gateway_and_writes_the_page_and_its_plots() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("benchmark.md");
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["bench", "--workload", "S10-streams-1", "--repeats", "1"])
        .args(["--window", "1s", "--warm-up", "100ms", "--gateway"])
        .arg(test_gateway::binary())
        .arg("--page")
        .arg(&page)
        .status()
        .unwrap();
    assert!(status.success());
    let text = std::fs::read_to_string(&page).unwrap();
    for server in ["floor", "gateway"] {
        let row = format!("| S10-streams-1 | {server} |");
        let row = text.lines().find(|line| line.starts_with(&row)).expect(&text);
        assert!(row.contains("| 0 of ") && !row.contains("failed"), "{text}");
    }
    for plot in ["benchmark-streams-cpu.svg", "benchmark-streams-p99.svg"] {
        assert!(text.contains(plot) && directory.path().join(plot).exists(), "{text}");
    }
}
