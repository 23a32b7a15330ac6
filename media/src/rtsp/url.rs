//! Request URLs (RFC 2326, 3.2): the stream's path, the query, the track.

/// What a request URL names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Target {
    /// Percent-decoded, no outer slashes, the control suffix taken off.
    pub(super) path: String,
    /// Without `?`, the control suffix taken off; as it stands.
    pub(super) query: String,
    /// N of `trackID=N`.
    pub(super) track: Option<usize>,
}

/// The URL cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadUrl;

const SCHEMES: [&str; 3] = ["rtsp://", "rtsps://", "rtspu://"];
const TRACK: &str = "trackID=";

impl Target {
    /// Reads an absolute URL, an absolute path, or `*` and nothing (the server as a whole). The host is not looked at. Clients append the
    /// control attribute to what they were given, so `/trackID=N` may stand behind the query.
    pub(super) fn parse(url: &str) -> Result<Self, BadUrl> {
        if url.is_empty() || url == "*" {
            return Ok(Self::default());
        }
        let rest = SCHEMES.iter().find_map(|scheme| {
            let (head, rest) = url.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        let path_and_query = match rest {
            Some(rest) => rest.find(['/', '?']).map_or("", |at| &rest[at..]),
            None if url.starts_with('/') => url,
            None => return Err(BadUrl),
        };
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let (path, path_track) = split_track(path);
        let (query, query_track) = split_track(query);
        Ok(Self {
            path: percent_decode(path)?.trim_matches('/').to_owned(),
            query: query.trim_end_matches('/').to_owned(),
            track: query_track.or(path_track),
        })
    }
}

/// Takes `/trackID=N` off the end. Relative controls are also appended without a slash by some clients when the base ends in one.
fn split_track(text: &str) -> (&str, Option<usize>) {
    let trimmed = text.trim_end_matches('/');
    let (head, last) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    let prefix = last.get(..TRACK.len());
    let track = prefix
        .filter(|prefix| prefix.eq_ignore_ascii_case(TRACK))
        .and_then(|_| last[TRACK.len()..].parse().ok());
    match track {
        Some(track) => (head, Some(track)),
        None => (text, None),
    }
}

fn percent_decode(text: &str) -> Result<String, BadUrl> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(BadUrl) };
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).map_err(|_| BadUrl)
}

/// The base of a stream's relative control URLs: `url` as the client wrote it, its path and its query ending in a slash,
/// as both plain concatenation and RFC 3986 resolution of `trackID=N` then lead to a URL that [`Target::parse`]
/// understands. A track that `url` names is taken off: the description is that of the stream.
pub(super) fn content_base(url: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, Some(split_track(query).0.trim_end_matches('/'))),
        None => (url, None),
    };
    let path = split_track(path).0.trim_end_matches('/');
    match query {
        Some(query) => format!("{path}/?{query}/"),
        None => format!("{path}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, String, Option<usize>) {
        let target = Target::parse(url).unwrap();
        (target.path, target.query, target.track)
    }

    #[test]
    fn path_query_and_track_are_found_however_a_client_composes_them() {
        for (url, path, query, track) in [
            ("rtsp://h/key", "key", "", None),
            ("rtsp://h:8554/key/", "key", "", None),
            ("RTSP://user:pw@[::1]:8554/a/b/trackID=1", "a/b", "", Some(1)),
            ("rtsp://h/key/trackid=0/", "key", "", Some(0)),
            ("rtsp://h/key?token=x", "key", "token=x", None),
            ("rtsp://h/key?token=x/trackID=1", "key", "token=x", Some(1)),
            ("rtsp://h/key/?token=x/trackID=1", "key", "token=x", Some(1)),
            ("rtsp://h/key/trackID=1?token=x", "key", "token=x", Some(1)),
            ("rtsp://h/key/?token=a/b/", "key", "token=a/b", None),
            ("rtsp://h/d%72one%2F1", "drone/1", "", None),
            ("rtsp://h/key/trackID=x", "key/trackID=x", "", None),
            ("rtsp://h/trackID=99999999999999999999", "trackID=99999999999999999999", "", None),
            ("/key/trackID=2", "key", "", Some(2)),
            ("rtsp://h", "", "", None),
            ("rtsp://h?x", "", "x", None),
            ("*", "", "", None),
            ("", "", "", None),
        ] {
            assert_eq!(parsed(url), (path.into(), query.into(), track), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in
            ["key", "http://h/key", "rtsp:/h", "rtsp://h/%", "rtsp://h/%4", "rtsp://h/%zz", "/%ff"]
        {
            assert_eq!(Target::parse(url), Err(BadUrl), "{url}");
        }
    }

    #[test]
    fn the_content_base_ends_its_path_with_a_slash() {
        assert_eq!(content_base("rtsp://h/key"), "rtsp://h/key/");
        assert_eq!(content_base("rtsp://h/key/"), "rtsp://h/key/");
        assert_eq!(content_base("rtsp://h/key?t=x"), "rtsp://h/key/?t=x/");
    }

    #[test]
    fn every_control_leads_from_the_content_base_to_its_track() {
        for url in [
            "rtsp://h/key",
            "rtsp://h/key/",
            "rtsp://h/key?t=x",
            "rtsp://h/key/trackID=0",
            "rtsp://h/key/trackID=0/",
            "rtsp://h/key?t=x/trackID=0",
            "rtsp://h/key/trackID=0?t=x",
        ] {
            let (path, query, _) = parsed(url);
            let base = content_base(url);
            let concatenated = format!("{base}trackID=1");
            assert_eq!(parsed(&concatenated), (path.clone(), query, Some(1)), "{concatenated}");
            // RFC 3986, 5.2: what is behind the last slash of the path goes, the query too.
            let base_path = base.split('?').next().unwrap();
            let resolved = format!("{}/trackID=1", base_path.rsplit_once('/').unwrap().0);
            assert_eq!(parsed(&resolved), (path, String::new(), Some(1)), "{resolved}");
        }
    }
}
