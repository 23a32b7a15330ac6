//! The command line.

use clap::{Arg, ArgAction, ArgMatches, Command};
use svc_core::config::{self, Config, ConfigError};

use crate::Part;

/// What the command line asks for.
#[derive(Debug)]
pub struct Asked {
    /// What runs in this process.
    pub part: Part,
    /// Whether the demo clip is published too.
    pub demo: bool,
    /// Only print the configuration in effect.
    pub print_config: bool,
    /// Only ask whether what runs here is ready, at these URLs, or at those of the configuration if there are none.
    pub healthcheck: Option<Vec<String>>,
    /// The configuration in effect.
    pub config: Config,
}

/// The command line's grammar.
pub fn command() -> Command {
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let print_config =
        switch("print-config", "Print the configuration in effect, as TOML, and exit").global(true);
    Command::new("rtmp2rtsp")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Takes live streams by RTMP and serves them by RTSP; without a subcommand all in one process")
        .after_help("`--help` lists every key of the configuration as a flag; `-h` leaves them out.")
        .disable_help_subcommand(true)
        .arg(switch("demo", "Publish a small clip in an endless loop as \"demo\""))
        .arg(print_config)
        .args(config::flags())
        .subcommand(
            Command::new("ingest-svc")
                .visible_alias("ingest")
                .about("Only takes RTMP and sends RTP to the nodes that the registry names")
                .arg(switch("demo", "Publish a small clip in an endless loop as \"demo\"")),
        )
        .subcommand(
            Command::new("publish-svc")
                .visible_alias("publish")
                .about("Only receives RTP and serves RTSP; embeds the registry unless registry.url names one"),
        )
        .subcommand(healthcheck())
}

fn healthcheck() -> Command {
    let urls = "What has to answer 200, such as http://127.0.0.1:8080/readyz. Without any: the HTTP ports of the \
        configuration (file, environment, flags) on which someone listens, one at least";
    Command::new("healthcheck")
        .about("Only asks whether what runs on this host is ready: exits with 0, or with 1 and the reason")
        .arg(Arg::new("url").value_name("URL").num_args(0..).help(urls))
}

/// What `matches` of [`command`] ask for.
pub fn asked(matches: &ArgMatches) -> Result<Asked, ConfigError> {
    let healthcheck = matches
        .subcommand_matches("healthcheck")
        .map(|matches| matches.get_many("url").into_iter().flatten().cloned().collect());
    // Global arguments given on either side of a subcommand are known to the subcommand's matches.
    let (part, matches) = match matches.subcommand() {
        Some(("ingest-svc", matches)) => (Part::Ingest, matches),
        Some(("publish-svc", matches)) => (Part::Publish, matches),
        Some((_, matches)) => (Part::Both, matches),
        None => (Part::Both, matches),
    };
    let on = |name| matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false);
    Ok(Asked {
        part,
        demo: on("demo"),
        print_config: on("print-config"),
        healthcheck,
        config: config::from_flags(matches)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Asked {
        let args = std::iter::once("rtmp2rtsp").chain(args.iter().copied());
        asked(&command().try_get_matches_from(args).unwrap()).unwrap()
    }

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_count_on_either_side_of_a_subcommand() {
        for args in [["--rtmp-listen", "[::1]:7", "ingest"], ["ingest", "--rtmp-listen", "[::1]:7"]]
        {
            let asked = parse(&args);
            assert_eq!(asked.part, Part::Ingest);
            assert_eq!(asked.config.rtmp.listen, "[::1]:7".parse().unwrap());
        }
    }

    #[test]
    fn without_a_subcommand_all_runs_in_one_process() {
        let asked = parse(&["--demo"]);
        assert_eq!(asked.part, Part::Both);
        assert!(asked.demo && !asked.print_config);
        assert_eq!(parse(&["publish-svc"]).part, Part::Publish);
    }

    #[test]
    fn a_health_check_takes_urls_or_the_configuration() {
        assert_eq!(parse(&[]).healthcheck, None);
        assert_eq!(parse(&["healthcheck"]).healthcheck, Some(vec![]));
        let asked = parse(&["healthcheck", "http://a:1", "http://b:2", "--rtmp-listen", "[::1]:7"]);
        assert_eq!(asked.healthcheck.unwrap(), ["http://a:1", "http://b:2"]);
        assert_eq!(asked.config.rtmp.listen, "[::1]:7".parse().unwrap());
    }

    #[test]
    fn the_demo_needs_an_rtmp_port() {
        assert!(command().try_get_matches_from(["rtmp2rtsp", "publish-svc", "--demo"]).is_err());
    }
}
