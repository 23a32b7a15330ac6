//! Reading the file, the environment and the flags.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf};

use clap::{Arg, ArgMatches};

use super::{Config, KEYS, Key, SECTIONS};

/// The largest RTP packet that SRTP carries over Ethernet by IPv4: 1,500 bytes less 20 of IP, 8 of UDP and 16 of the tag.
const MAX_SRTP_PACKET: usize = 1456;

/// The file's flag.
const FILE_FLAG: &str = "config";
/// The file's environment variable.
const FILE_ENV: &str = "RTMP2RTSP_CONFIG";
/// What our environment variables begin with.
const ENV_PREFIX: &str = "RTMP2RTSP_";
/// The largest file read: all keys with comments are some 10 kB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(String),
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the config file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the config file {} is not valid TOML: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no key {key}{hint}")]
    UnknownKey {
        /// What was given.
        key: String,
        /// Where.
        origin: Origin,
        /// What there is instead.
        hint: String,
    },
    /// A value that cannot be.
    #[error("{origin}: {key} = {value:?} is not allowed; allowed is {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
        /// Where the value came from.
        origin: Origin,
    },
}

/// Every key as a flag, and `--config`, for a `clap` command.
pub fn flags() -> impl Iterator<Item = Arg> {
    let file = Arg::new(FILE_FLAG)
        .long(FILE_FLAG)
        .value_name("FILE")
        .global(true)
        .help(format!("The TOML file with the configuration [env: {FILE_ENV}]"));
    std::iter::once(file).chain(KEYS.iter().map(|key| {
        Arg::new(key.flag())
            .long(key.flag())
            .value_name("VALUE")
            .global(true)
            .allow_hyphen_values(true)
            .hide_short_help(true)
            .help_heading(format!("Configuration: [{}]", key.section))
            .help(format!("{} [default: {}]", key.doc, shown(&key.default().show())))
            .long_help(format!(
                "{}\n[default: {}] [env: {}]\n[allowed: {}]",
                key.doc,
                shown(&key.default().show()),
                key.env(),
                key.rule.allowed()
            ))
    }))
}

/// A value as help shows it.
fn shown(value: &str) -> &str {
    if value.is_empty() { "empty" } else { value }
}

/// The configuration from this process's environment and `clap`'s matches of [`flags`].
pub fn from_flags(matches: &ArgMatches) -> Result<Config, ConfigError> {
    let given = KEYS.iter().filter_map(|key| {
        let flag = key.flag();
        let value = matches.get_one::<String>(&flag)?.clone();
        Some((flag, value))
    });
    let file = matches.get_one::<String>(FILE_FLAG).map(PathBuf::from);
    load(file, std::env::vars_os(), given)
}

/// The configuration from the file (if any; else the one that `RTMP2RTSP_CONFIG` names), then the environment, then flags (without their dashes).
pub fn load(
    file: Option<PathBuf>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let env: BTreeMap<String, String> = env
        .into_iter()
        .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect();
    let mut loading = Loading::default();
    let from_env = env.get(FILE_ENV).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = file.or(from_env) {
        loading.file(path)?;
    }
    loading.env(&env)?;
    for (flag, value) in flags {
        let origin = Origin::Flag(flag.clone());
        let key = KEYS.iter().find(|key| key.flag() == flag);
        let key = key.ok_or_else(|| unknown(&flag, origin.clone(), String::new()))?;
        loading.set(key, &value, origin)?;
    }
    loading.check_together()?;
    Ok(loading.config)
}

fn unknown(key: &str, origin: Origin, hint: String) -> ConfigError {
    ConfigError::UnknownKey { key: key.to_owned(), origin, hint }
}

#[derive(Default)]
struct Loading {
    config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Loading {
    fn file(&mut self, path: PathBuf) -> Result<(), ConfigError> {
        let text = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
                Err(std::io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes")))
            }
            Ok(_) => std::fs::read_to_string(&path),
            Err(error) => Err(error),
        };
        let text = text.map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            ConfigError::Syntax { path: path.clone(), problem: error.to_string() }
        })?;
        let origin = Origin::File(path);
        for (section, keys) in table {
            let toml::Value::Table(keys) = keys else {
                return Err(unknown(&section, origin, sections_hint()));
            };
            if !SECTIONS.iter().any(|(name, _)| *name == section) {
                return Err(unknown(&section, origin, sections_hint()));
            }
            for (name, value) in keys {
                let key = KEYS.iter().find(|key| key.section == section && key.name == name);
                let Some(key) = key else {
                    let path = format!("{section}.{name}");
                    return Err(unknown(&path, origin, keys_hint(&section)));
                };
                self.set(key, &text_of(&value), origin.clone())?;
            }
        }
        Ok(())
    }

    fn env(&mut self, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        for (name, value) in env {
            if name == FILE_ENV {
                continue;
            }
            let origin = Origin::Env(name.clone());
            match KEYS.iter().find(|key| key.env() == *name) {
                // A key that ends in PORT can also be what the orchestrator says about a Service of that name.
                Some(_) if is_service_link(name, value) => {}
                Some(key) => self.set(key, value, origin)?,
                None if is_service_link(name, value) => {}
                None => return Err(unknown(name, origin, "; docs/config.md lists all".into())),
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &Key, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let value = key.rule.parse(text);
        if !value.is_some_and(|value| (key.set)(&mut self.config, &value)) {
            return Err(ConfigError::Invalid {
                key: key.path(),
                value: text.to_owned(),
                allowed: key.rule.allowed(),
                origin,
            });
        }
        self.origins.insert(key.path(), origin);
        Ok(())
    }

    /// What no key can know alone.
    fn check_together(&self) -> Result<(), ConfigError> {
        let Config { publish, rtsp, rtp, hop, .. } = &self.config;
        let (min, max) = (publish.rtp_port_min, publish.rtp_port_max);
        let invalid = |key: &str, value: String, allowed: String| {
            let origin = self.origins.get(key).cloned().unwrap_or(Origin::Default);
            Err(ConfigError::Invalid { key: key.to_owned(), value, allowed, origin })
        };
        if max <= min {
            let allowed = format!("at least {}, one above publish.rtp_port_min", min + 1);
            return invalid("publish.rtp_port_max", max.to_string(), allowed);
        }
        // Even and below 65535, hence the pair's upper port exists.
        let pair = rtsp.rtp_port;
        if rtsp.udp && pair != 0 && pair <= max && pair + 1 >= min {
            let allowed = format!("a pair outside {min} to {max}, the publish.rtp_port range");
            return invalid("rtsp.rtp_port", pair.to_string(), allowed);
        }
        let packet = rtp.max_packet_size;
        if hop.srtp && packet > MAX_SRTP_PACKET {
            let allowed = format!("up to {MAX_SRTP_PACKET} where hop.srtp is true");
            return invalid("rtp.max_packet_size", packet.to_string(), allowed);
        }
        Ok(())
    }
}

fn sections_hint() -> String {
    let names: Vec<_> = SECTIONS.iter().map(|(name, _)| format!("[{name}]")).collect();
    format!("; the sections are {}", names.join(", "))
}

fn keys_hint(section: &str) -> String {
    let names: Vec<_> = KEYS.iter().filter(|k| k.section == section).map(|k| k.name).collect();
    format!("; the keys of [{section}] are {}", names.join(", "))
}

/// A TOML value as the environment would give it.
fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => value.to_string(),
    }
}

/// Kubernetes gives each container `<SERVICE>_SERVICE_HOST`, `<SERVICE>_PORT=tcp://…` and the like for every Service of the
/// namespace, also one named rtmp2rtsp-something. They are not ours.
fn is_service_link(name: &str, value: &str) -> bool {
    let link = |value: &str| ["tcp://", "udp://", "sctp://"].iter().any(|s| value.starts_with(s));
    let of_a_port = || {
        let mut parts = name.rsplit('_').skip_while(|part| part.parse::<u16>().is_err());
        parts.next().is_some() && parts.next() == Some("PORT")
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && link(value))
        || of_a_port()
}
