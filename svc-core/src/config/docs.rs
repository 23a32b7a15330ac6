//! The table of keys as documentation, and a configuration as a file.

use std::fmt::Write as _;

use super::{Config, KEYS, SECTIONS};

/// docs/config.md.
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for (section, about) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## `[{section}]`: {about}\n\n");
        text.push_str("| key | default | allowed | what it does |\n| --- | --- | --- | --- |\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} | {} |",
                key.name,
                key.default().to_toml(),
                key.rule.allowed(),
                key.doc
            );
        }
    }
    text.push_str(TAIL);
    text
}

const HEAD: &str = "\
# Configuration

Everything has a default with which `rtmp2rtsp` alone is a working gateway. Values come from, each over the one before:

1. one TOML file: `--config FILE`, or `RTMP2RTSP_CONFIG`;
2. the environment: `RTMP2RTSP_<SECTION>_<KEY>`, such as `RTMP2RTSP_RTMP_LISTEN=0.0.0.0:1935`;
3. flags: `--<section>-<key>`, such as `--rtmp-listen 0.0.0.0:1935` or `--log-format json`.

An unknown key (in the file, or as a `RTMP2RTSP_` variable) and an impossible value are refused at start, with the key, the value, what is
allowed, and where it came from. `rtmp2rtsp --print-config` prints what is in effect, as a file. Port 0 in an address to listen on means any free port; the
ready banner tells which.

```toml
[rtmp]
listen = \"0.0.0.0:1935\"

[publish]
rtp_port_min = 5004
rtp_port_max = 7999

[log]
level = \"info,publish_svc=debug\"
```

This page is made from the program's own table of keys; a test holds the two together.
";

const TAIL: &str = "
## Across keys

- `publish.rtp_port_max` is above `publish.rtp_port_min`: the range holds one pair of ports at least.
- `rtsp.rtp_port` and the port above it are outside that range, unless `rtsp.udp` is false.
- `rtp.max_packet_size` is 1456 at the most where `hop.srtp` is true.

## The size of packets

`rtp.max_packet_size` is what an RTP packet of the hop has, its header of 12 bytes included. On the wire come 8 bytes of UDP and 20 of IPv4 or 40 of IPv6,
and with `hop.srtp` 16 of the tag: by default 1200 + 16 + 8 + 40 = 1264, which passes any path of IPv6 (1,280), and tunnels in which 236 of Ethernet's 1,500
bytes are taken. For an MTU of M the largest is M - 28 over IPv4 and M - 48 over IPv6, and with `hop.srtp` 16 less: 1456 is for 1,500 and IPv4. Larger packets
cost less CPU; one that is larger than the path's MTU is not delivered or sent in fragments, each of which can be lost.

## Traces

OpenTelemetry traces are exported over OTLP (gRPC) when the standard variables ask for it, and not otherwise:

| variable | what it does |
| --- | --- |
| `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | where to; one of them turns the export on |
| `OTEL_SDK_DISABLED=true`, `OTEL_TRACES_EXPORTER=none` | turn it off again |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | who we are |
| `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`, `OTEL_BSP_*` | as the OpenTelemetry specification says |
";

/// `config` as a file that gives it.
pub fn to_toml(config: &Config) -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}# {about}\n[{section}]");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let _ = writeln!(text, "{} = {}", key.name, key.get(config).to_toml());
        }
    }
    text
}
