//! Where a stream is pulled from: `rtmp://[user[:password]@]host[:port]/app/name[?query]`, or `rtmps://`.
//!
//! RTMP has no word on how such a URL is split into app and name; ffmpeg's rule is taken (libavformat/rtmpproto.c), so that
//! what `ffplay URL` plays is pulled as well:
//!
//! | path | app | name |
//! | --- | --- | --- |
//! | `live/cam1` | `live` | `cam1` |
//! | `live/site/cam1` | `live/site` | `cam1` |
//! | `live/site/b/cam1` | `live/site` | `b/cam1` |
//! | `vod/mp4:site/film` (a colon in the second segment) | `vod` | `mp4:site/film` |
//! | `live//site/cam1` (an empty second segment) | `live` | `site/cam1` |
//!
//! librtmp takes one segment more into the app where there are four and more. The query goes with the name, as both do. User
//! and password stay in tcUrl, where servers look that take them without Adobe's dialog. Nothing is unescaped.
//!
//! Left out on purpose: ffmpeg's rules for stored files (`ondemand/`, `slist=`, `mp4:` before names that end in `.mp4`, `.flv` taken
//! off names), options behind a space, and that it counts slashes of the query.

use std::fmt;

use super::session::decode;

/// ffmpeg keeps 1,024 bytes of a tcUrl, which has a port that this may lack.
const MAX_URL_BYTES: usize = 1000;
/// The port of RTMP, and of RTMPS.
const RTMP_PORT: u16 = 1935;
const RTMPS_PORT: u16 = 443;
/// Stands where a secret was.
const REDACTED: &str = "***";

/// See the module. `Display` and `Debug` show neither user and password nor the values of the query.
#[derive(Clone, PartialEq, Eq)]
pub struct RtmpUrl {
    tls: bool,
    user_info: Option<String>,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    app: String,
    name: String,
    /// Without `?`.
    query: Option<String>,
}

/// Why a text is no URL to pull from. Holds nothing of the text, which may hold secrets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Longer than any URL of a stream is.
    #[error("has more than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// White space or control characters.
    #[error("has white space or control characters")]
    Characters,
    /// Neither RTMP nor RTMPS.
    #[error("does not begin with rtmp:// or rtmps://")]
    Scheme,
    /// No host, or none that can be.
    #[error("names no host: a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// A port that cannot be.
    #[error("has a port that is not 1 to 65535")]
    Port,
    /// No app or no name.
    #[error("has no path of app and stream name, such as rtmp://host/live/cam1")]
    Path,
}

impl RtmpUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(UrlError::TooLong);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(UrlError::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "rtmp" => false,
            "rtmps" => true,
            _ => return Err(UrlError::Scheme),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query).filter(|query| !query.is_empty())),
            None => (rest, None),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, host_and_port) = match authority.rsplit_once('@') {
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, authority),
        };
        let (host, port) = host_and_port_of(host_and_port)?;
        let (app, name) = app_and_name(path).ok_or(UrlError::Path)?;
        Ok(Self {
            tls,
            user_info: user_info.filter(|text| !text.is_empty()).map(str::to_owned),
            host: host.to_owned(),
            port: port.unwrap_or(if tls { RTMPS_PORT } else { RTMP_PORT }),
            app,
            name: name.to_owned(),
            query: query.map(str::to_owned),
        })
    }

    /// Whether the connection is TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host's name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 1935 or, with TLS, 443 where none is given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The `app` of `connect`.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The `tcUrl` of `connect`; may hold secrets.
    pub(super) fn tc_url(&self) -> String {
        let user_info = self.user_info.as_ref().map(|text| format!("{text}@")).unwrap_or_default();
        format!("{}{user_info}{}/{}", self.scheme(), self.authority(), self.app)
    }

    /// What is asked of `play`; may hold secrets.
    pub(super) fn playing_name(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.name),
            None => self.name.clone(),
        }
    }

    /// A text of the remote's or of the system's without what is secret here: remotes repeat what they were asked.
    pub fn redact(&self, text: &str) -> String {
        let users = self.user_info.iter().flat_map(|text| text.split(':').chain([text.as_str()]));
        let values = self.query.iter().flat_map(|query| query.split('&').map(secret_of));
        let written: Vec<&str> = users.chain(values).filter(|secret| !secret.is_empty()).collect();
        // A remote may have unescaped them.
        let unescaped = written.iter().map(|secret| decode(secret));
        let mut secrets: Vec<_> =
            written.iter().map(|&text| text.to_owned()).chain(unescaped).collect();
        // One that holds another goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut text = text.to_owned();
        for secret in secrets {
            // What stands for a secret may hold a short one itself.
            text = text
                .split(REDACTED)
                .map(|part| part.replace(&secret, REDACTED))
                .collect::<Vec<_>>()
                .join(REDACTED);
        }
        text
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "rtmps://" } else { "rtmp://" }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for RtmpUrl {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}/{}", self.scheme(), self.authority(), self.app, self.name)?;
        for (at, part) in self.query.iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if at == 0 { "?" } else { "&" })?;
            match part.split_once('=') {
                Some((name, _)) => write!(f, "{name}={REDACTED}")?,
                None => f.write_str(REDACTED)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RtmpUrl {
    /// As `Display`: without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RtmpUrl({self})")
    }
}

/// The value of a parameter of a query, or all of one that has no name.
fn secret_of(part: &str) -> &str {
    part.split_once('=').map_or(part, |(_, value)| value)
}

fn host_and_port_of(text: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
        match (rest, rest.strip_prefix(':')) {
            ("", _) => (host, None),
            (_, Some(port)) => (host, Some(port)),
            (_, None) => return Err(UrlError::Host),
        }
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(UrlError::Host);
        }
        (host, port)
    };
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(UrlError::Port),
    });
    Ok((host, port.transpose()?))
}

/// See the module's table.
fn app_and_name(path: &str) -> Option<(String, &str)> {
    let (first, rest) = path.split_once('/')?;
    let (app, name) = match rest.split_once('/') {
        Some(("", name)) => (first.to_owned(), name),
        Some((second, name)) if !second.contains(':') => (format!("{first}/{second}"), name),
        Some(_) | None => (first.to_owned(), rest),
    };
    (!first.is_empty() && !name.is_empty()).then_some((app, name))
}

#[cfg(test)]
mod tests;
