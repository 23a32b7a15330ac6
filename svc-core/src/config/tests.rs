use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::*;

/// Loads from a file with this text, these variables and these flags.
fn load_from(
    file: &str,
    env: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file).unwrap();
    let env = env.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let flags = flags.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    load(Some(path.path().to_owned()), env, flags)
}

fn refusal(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load_from(file, env, flags).unwrap_err().to_string()
}

#[test]
fn a_flag_goes_over_the_environment_and_that_over_the_file() {
    let file = "[rtmp]\nlisten = \"127.0.0.1:1\"\nchunk_size = 1024\nmax_connections = 5";
    let env = [("RTMP2RTSP_RTMP_LISTEN", "127.0.0.1:2"), ("RTMP2RTSP_RTMP_CHUNK_SIZE", "2KiB")];
    let config = load_from(file, &env, &[("rtmp-listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.rtmp.listen.port(), 3);
    assert_eq!(config.rtmp.chunk_size, 2048);
    assert_eq!(config.rtmp.max_connections, 5);
    assert_eq!(config.rtmp.idle_timeout, Duration::from_secs(30));
}

#[test]
fn the_file_can_be_named_by_the_environment() {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), "[log]\nformat = \"json\"").unwrap();
    let env = [("RTMP2RTSP_CONFIG".into(), path.path().into())];
    assert_eq!(load(None, env, []).unwrap().log.format, LogFormat::Json);
}

#[test]
fn an_unknown_key_is_refused_wherever_it_stands() {
    let text = refusal("[rtmp]\nlisten_on = 1", &[], &[]);
    assert!(text.contains("there is no key rtmp.listen_on"), "{text}");
    assert!(text.contains("the keys of [rtmp] are listen,"), "{text}");
    let text = refusal("[rtpm]\nlisten = 1", &[], &[]);
    assert!(text.contains("there is no key rtpm; the sections are [ingest],"), "{text}");
    let text = refusal("", &[("RTMP2RTSP_RTMP_LISTEN_ON", "1")], &[]);
    assert!(text.contains("environment variable RTMP2RTSP_RTMP_LISTEN_ON"), "{text}");
}

#[test]
fn what_kubernetes_says_about_services_of_our_name_is_not_taken_for_keys() {
    let env = [
        ("RTMP2RTSP_SERVICE_HOST", "10.0.0.1"),
        ("RTMP2RTSP_PUBLISH_SERVICE_PORT", "8554"),
        ("RTMP2RTSP_PUBLISH_SERVICE_PORT_RTSP", "8554"),
        ("RTMP2RTSP_PUBLISH_PORT", "tcp://10.0.0.1:8554"),
        ("RTMP2RTSP_PUBLISH_PORT_8554_TCP_ADDR", "10.0.0.1"),
        ("RTMP2RTSP_PUBLISH_PORT_8554_TCP", "tcp://10.0.0.1:8554"),
        ("RTMP2RTSP_RTSP_RTP_PORT", "tcp://10.0.0.1:8554"),
        ("OTHER", "x"),
    ];
    assert_eq!(load_from("", &env, &[]).unwrap().rtsp.rtp_port, 8000);
}

#[test]
fn an_impossible_value_is_refused_with_key_value_range_and_origin() {
    let text = refusal("", &[], &[("rtp-max-packet-size", "65000")]);
    assert_eq!(
        text,
        "flag --rtp-max-packet-size: rtp.max_packet_size = \"65000\" is not allowed; \
         allowed is bytes, from 256 to 1460, as a number or such as \"64KiB\""
    );
    let text = refusal("[rtsp]\nsession_timeout = 60", &[], &[]);
    assert!(text.contains("rtsp.session_timeout = \"60\" is not allowed"), "{text}");
    assert!(text.starts_with("file "), "{text}");
}

#[test]
fn every_kind_of_impossible_value_is_refused() {
    for (flag, value) in [
        ("rtmp-listen", "1935"),
        ("rtmp-listen", "localhost:1935"),
        ("rtmp-chunk-size", "127"),
        ("rtmp-chunk-size", "65537"),
        ("rtmp-max-message-bytes", "16MiB"),
        ("rtmp-max-connections", "0"),
        ("rtp-max-packet-size", "255"),
        ("rtp-max-packet-size", "-1"),
        ("rtp-pacing-burst", "0"),
        ("rtp-reorder-window", "2s"),
        ("rtp-bind-address", "0.0.0.0:1"),
        ("hop-dscp", "64"),
        ("hop-srtp", "aes"),
        ("hop-receive-buffer", "2GiB"),
        ("publish-rtp-port-min", "5005"),
        ("publish-rtp-port-min", "0"),
        ("publish-rtp-port-max", "65536"),
        ("publish-node-id", "a b"),
        ("publish-advertise-rtsp-url", "http://a:1"),
        ("publish-advertise-grpc-url", "http://a"),
        ("publish-advertise-grpc-url", "http://u:p@a:1"),
        ("registry-url", "localhost:50052"),
        ("registry-ttl", "1ms"),
        ("rtsp-rtp-port", "8001"),
        ("rtsp-udp", "maybe"),
        ("rtsp-multicast", "10.0.0.0/24"),
        ("rtsp-multicast-port", "8003"),
        ("rtsp-multicast-ttl", "256"),
        ("ring-max-bytes", "99999999999999999999GiB"),
        ("log-level", "publish_svc=loud"),
        ("log-format", "xml"),
        ("ingest-takeover", "maybe"),
    ] {
        let text = refusal("", &[], &[(flag, value)]);
        assert!(text.contains("is not allowed; allowed is"), "{flag} {value}: {text}");
    }
}

#[test]
fn the_port_range_holds_a_pair_and_leaves_the_readers_pair_out() {
    let text =
        refusal("", &[], &[("publish-rtp-port-min", "6000"), ("publish-rtp-port-max", "6000")]);
    assert!(text.contains("publish.rtp_port_max = \"6000\""), "{text}");
    assert!(text.contains("at least 6001"), "{text}");
    let text = refusal("", &[], &[("publish-rtp-port-max", "8000")]);
    assert!(text.starts_with("default: rtsp.rtp_port = \"8000\""), "{text}");
    let udp_off = [("publish-rtp-port-max", "8000"), ("rtsp-udp", "false")];
    load_from("", &[], &udp_off).unwrap();
}

#[test]
fn packets_leave_room_for_the_tag_of_srtp() {
    let packet = |size| [("hop-srtp", "true"), ("rtp-max-packet-size", size)];
    let text = refusal("", &[], &packet("1457"));
    assert!(text.contains("rtp.max_packet_size = \"1457\"") && text.contains("1456"), "{text}");
    load_from("", &[], &packet("1456")).unwrap();
    load_from("", &[], &[("rtp-max-packet-size", "1460")]).unwrap();
}

#[test]
fn a_file_that_is_missing_or_not_toml_is_refused_with_its_name() {
    let missing = load(Some(PathBuf::from("/nonexistent/x.toml")), [], []).unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/x.toml cannot be read"));
    let text = refusal("[rtmp\n", &[], &[]);
    assert!(text.contains("is not valid TOML") && text.contains("line 1"), "{text}");
}

#[test]
fn every_default_is_allowed_and_read_back_as_it_is_shown() {
    for key in KEYS {
        let default = key.default();
        assert_eq!(key.rule.parse(&default.show()).as_ref(), Some(&default), "{}", key.path());
        let mut config = Config::default();
        assert!((key.set)(&mut config, &default), "{}: the rule does not fit", key.path());
    }
}

#[test]
fn every_field_of_every_section_is_a_key() {
    // `Debug` of the whole names every field once; fields of a section are indented by eight.
    let debug = format!("{:#?}", Config::default());
    let fields = debug.lines().filter(|line| {
        line.starts_with("        ") && !line.starts_with("         ") && line.contains(": ")
    });
    assert_eq!(fields.count(), KEYS.len());
    for key in KEYS {
        assert!(SECTIONS.iter().any(|(name, _)| *name == key.section), "{}", key.path());
    }
}

#[test]
fn every_takeover_policy_is_read_by_its_name() {
    for (name, policy) in [
        ("reject", Takeover::Reject),
        ("takeover", Takeover::Takeover),
        ("backup", Takeover::Backup),
    ] {
        let config = load_from("", &[], &[("ingest-takeover", name)]).unwrap();
        assert_eq!(config.ingest.takeover, policy);
        assert!(to_toml(&config).contains(&format!("takeover = \"{name}\"")));
    }
}

#[test]
fn a_printed_configuration_is_a_file_that_gives_it() {
    let flags = [("rtmp-listen", "[::1]:0"), ("ring-max-bytes", "20MiB"), ("log-level", "debug")];
    let config = load_from("", &[], &flags).unwrap();
    let again = load_from(&to_toml(&config), &[], &[]).unwrap();
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}

#[test]
fn the_documentation_is_that_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == markdown(), "docs/config.md is out of date: run this test with UPDATE=1");
}
