//! What a process calls itself where it is told no name.

/// The configured id, or one that no other process has: the host's name and a random suffix. `fallback` stands for a host without a name.
pub fn process_id(configured: &str, fallback: &str) -> String {
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => fallback,
        host => host,
    };
    format!("{host}-{:08x}", rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_id_is_kept_and_others_are_unlike_each_other() {
        assert_eq!(process_id("node-7", "node"), "node-7");
        assert_ne!(process_id("", "node"), process_id("", "node"));
    }
}
