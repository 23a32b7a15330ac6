//! What a key's value may be, and how it is read and written.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use tracing_subscriber::EnvFilter;

use super::{LogFormat, MulticastRange, Takeover};

/// What a key's value may be.
#[derive(Clone, Debug)]
pub enum Rule {
    /// `address:port` to listen on; port 0: any free one.
    Listen,
    /// An IP address.
    Ip,
    /// `true` or `false`.
    Switch,
    /// A number.
    Count(RangeInclusive<u64>),
    /// An even port number, or 0 as well if so said.
    EvenPort {
        /** Whether 0 is allowed, for any free pair. */
        zero: bool,
    },
    /// A number of bytes, `65536` or `"64KiB"`.
    Bytes(RangeInclusive<u64>),
    /// A duration, such as `"10s"` or `"500ms"`.
    Time(RangeInclusive<Duration>),
    /// `scheme://host:port`, or empty.
    Url(&'static str),
    /// Several of `scheme://host:port`, of any of the schemes, separated by commas; or empty.
    Urls(&'static [&'static str]),
    /// What keys of a store begin with: begins and ends in `/`.
    Prefix,
    /// Any text on one line, or empty.
    Text,
    /// A range of multicast addresses, or empty.
    Multicast,
    /// 1 to 128 letters, digits, `.`, `_`, `-`; or empty.
    Id,
    /// The path of a file, or empty.
    Path,
    /// A `tracing` filter.
    Filter,
    /// `text` or `json`.
    Format,
    /// `reject`, `takeover` or `backup`.
    Takeover,
}

/// A value that its key's [`Rule`] allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A socket address.
    Listen(SocketAddr),
    /// An IP address.
    Ip(IpAddr),
    /// A switch.
    Switch(bool),
    /// A number, also of a port.
    Number(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A duration.
    Time(Duration),
    /// Text, also of a URL, path or filter.
    Text(String),
    /// A range of multicast addresses.
    Multicast(MulticastRange),
    /// A log format.
    Format(LogFormat),
    /// What a second publisher meets.
    Takeover(Takeover),
}

/// The longest id, as that of a stream key.
const MAX_ID_CHARS: usize = 128;

impl Rule {
    /// What is allowed, for people.
    pub fn allowed(&self) -> String {
        match self {
            Self::Listen => "an address and port, such as 0.0.0.0:1935 or [::1]:0".into(),
            Self::Ip => "an IP address".into(),
            Self::Switch => "true or false".into(),
            Self::Count(range) => format!("a number from {} to {}", range.start(), range.end()),
            Self::EvenPort { zero: false } => "an even port from 2 to 65534".into(),
            Self::EvenPort { zero: true } => "an even port from 0 to 65534".into(),
            Self::Bytes(range) => format!(
                "bytes, from {} to {}, as a number or such as \"64KiB\"",
                show_bytes(*range.start()),
                show_bytes(*range.end())
            ),
            Self::Time(range) => format!(
                "a duration from {} to {}, such as \"10s\" or \"500ms\"",
                show_time(*range.start()),
                show_time(*range.end())
            ),
            Self::Url(scheme) => format!("{scheme}://host:port, or empty"),
            Self::Urls(schemes) => {
                let one = format!("{}://host:port", schemes.join(":// or "));
                format!("{one}, several separated by commas, or empty")
            }
            Self::Prefix => "text that begins and ends in \"/\"".into(),
            Self::Text => "text on one line, or empty".into(),
            Self::Multicast => "IPv4 multicast addresses, such as 239.255.42.0/24, or empty".into(),
            Self::Id => {
                format!("up to {MAX_ID_CHARS} letters, digits, \".\", \"_\", \"-\", or empty")
            }
            Self::Path => "the path of a file, or empty".into(),
            Self::Filter => "a filter such as info or info,publish_svc=debug".into(),
            Self::Format => "text or json".into(),
            Self::Takeover => "reject, takeover or backup".into(),
        }
    }

    /// Reads a value; `None` if it is not allowed.
    pub fn parse(&self, text: &str) -> Option<Value> {
        match self {
            Self::Listen => text.parse().ok().map(Value::Listen),
            Self::Ip => text.parse().ok().map(Value::Ip),
            Self::Switch => text.parse().ok().map(Value::Switch),
            Self::Count(range) => {
                text.parse().ok().filter(|n| range.contains(n)).map(Value::Number)
            }
            Self::EvenPort { zero } => text
                .parse::<u16>()
                .ok()
                .filter(|port| port.is_multiple_of(2) && (*zero || *port != 0))
                .map(|port| Value::Number(port.into())),
            Self::Bytes(range) => parse_bytes(text).filter(|n| range.contains(n)).map(Value::Bytes),
            Self::Time(range) => humantime::parse_duration(text)
                .ok()
                .filter(|time| range.contains(time))
                .map(Value::Time),
            Self::Url(scheme) => is_url(scheme, text).then(|| Value::Text(text.into())),
            Self::Urls(schemes) => {
                let is_one = |url: &str| {
                    let url = url.trim();
                    !url.is_empty() && schemes.iter().any(|scheme| is_url(scheme, url))
                };
                (text.is_empty() || text.split(',').all(is_one)).then(|| Value::Text(text.into()))
            }
            Self::Prefix => is_prefix(text).then(|| Value::Text(text.into())),
            Self::Text => (!text.contains(char::is_control)).then(|| Value::Text(text.into())),
            Self::Multicast => text.parse().ok().map(Value::Multicast),
            Self::Id => is_id(text).then(|| Value::Text(text.into())),
            // Whether it is there is for the one who opens it to say, and why not.
            Self::Path => (!text.contains('\0')).then(|| Value::Text(text.into())),
            Self::Filter => EnvFilter::builder().parse(text).ok().map(|_| Value::Text(text.into())),
            Self::Format => match text {
                "text" => Some(Value::Format(LogFormat::Text)),
                "json" => Some(Value::Format(LogFormat::Json)),
                _ => None,
            },
            Self::Takeover => match text {
                "reject" => Some(Value::Takeover(Takeover::Reject)),
                "takeover" => Some(Value::Takeover(Takeover::Takeover)),
                "backup" => Some(Value::Takeover(Takeover::Backup)),
                _ => None,
            },
        }
    }
}

impl Value {
    /// As [`Rule::parse`] reads it.
    pub fn show(&self) -> String {
        match self {
            Self::Listen(address) => address.to_string(),
            Self::Ip(address) => address.to_string(),
            Self::Switch(on) => on.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => show_bytes(*bytes),
            Self::Time(time) => show_time(*time),
            Self::Text(text) => text.clone(),
            Self::Multicast(range) => range.to_string(),
            Self::Format(LogFormat::Text) => "text".into(),
            Self::Format(LogFormat::Json) => "json".into(),
            Self::Takeover(Takeover::Reject) => "reject".into(),
            Self::Takeover(Takeover::Takeover) => "takeover".into(),
            Self::Takeover(Takeover::Backup) => "backup".into(),
        }
    }

    /// As it stands in the file.
    pub fn to_toml(&self) -> toml::Value {
        match self {
            Self::Switch(on) => (*on).into(),
            Self::Number(number) => i64::try_from(*number).unwrap_or(i64::MAX).into(),
            Self::Listen(_)
            | Self::Ip(_)
            | Self::Bytes(_)
            | Self::Time(_)
            | Self::Text(_)
            | Self::Multicast(_)
            | Self::Format(_)
            | Self::Takeover(_) => self.show().into(),
        }
    }
}

/// Units of sizes, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn show_bytes(bytes: u64) -> String {
    let unit = UNITS.into_iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    for (name, unit) in UNITS {
        if let Some(number) = text.strip_suffix(name) {
            return number.trim_end().parse::<u64>().ok()?.checked_mul(unit);
        }
    }
    text.parse().ok()
}

fn show_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn is_url(scheme: &str, text: &str) -> bool {
    let authority = || {
        let uri = text.parse::<http::Uri>().ok()?;
        let authority = uri.authority()?;
        let plain = uri.scheme_str() == Some(scheme)
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none();
        (plain && !authority.as_str().contains('@') && authority.port_u16().is_some()).then_some(())
    };
    text.is_empty() || authority().is_some()
}

fn is_prefix(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic();
    text.starts_with('/')
        && text.ends_with('/')
        && text.len() <= MAX_ID_CHARS
        && text.chars().all(plain)
}

fn is_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.len() <= MAX_ID_CHARS && text.chars().all(allowed)
}

/// A field's type, as it goes into and comes out of a [`Value`].
pub(super) trait Field: Sized {
    /// From a value that the key's rule allowed; `None` if the rule does not fit the field.
    fn from_value(value: &Value) -> Option<Self>;
    /// As a value for `rule`.
    fn to_value(&self, rule: &Rule) -> Value;
}

macro_rules! field {
    ($($type:ty: $variant:ident),+) => {$(
        impl Field for $type {
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::$variant(value) = value { Some(value.clone()) } else { None }
            }
            fn to_value(&self, _rule: &Rule) -> Value {
                Value::$variant(self.clone())
            }
        }
    )+};
}
field!(SocketAddr: Listen, IpAddr: Ip, bool: Switch, Duration: Time, String: Text);
field!(LogFormat: Format, Takeover: Takeover, MulticastRange: Multicast);

macro_rules! number {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::Number(number) | Value::Bytes(number) = value {
                    (*number).try_into().ok()
                } else {
                    None
                }
            }
            fn to_value(&self, rule: &Rule) -> Value {
                let number = u64::try_from(*self).unwrap_or(u64::MAX);
                if matches!(rule, Rule::Bytes(_)) {
                    Value::Bytes(number)
                } else {
                    Value::Number(number)
                }
            }
        }
    )+};
}
number!(u16, u32, usize);
