//! On what was measured.

use std::fs;

/// Processor, kernel and the settings that matter, one a line.
pub fn describe() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let models = cpu.lines().filter_map(|line| line.strip_prefix("model name"));
    let model =
        models.into_iter().next().map_or("unknown", |rest| rest.trim_matches([' ', '\t', ':']));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let memory = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let setting = |path: &str| read(path).split_whitespace().collect::<Vec<_>>().join(" ");
    vec![
        format!("{cores} x {model}, {} GiB of memory", memory.unwrap_or(0) >> 20),
        format!("Linux {}", setting("/proc/sys/kernel/osrelease")),
        format!(
            "UDP socket buffers: default {} B, largest {} B",
            setting("/proc/sys/net/core/rmem_default"),
            setting("/proc/sys/net/core/rmem_max")
        ),
        format!("TCP send buffers (`tcp_wmem`): {}", setting("/proc/sys/net/ipv4/tcp_wmem")),
        format!("load average at the end: {}", setting("/proc/loadavg")),
    ]
}
