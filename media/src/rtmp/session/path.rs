//! Where a publisher wants to go: app, stream key and query.
//!
//! Clients split `rtmp://host/stream/site/cam1` between app and publishing name in different ways:
//! ffmpeg and librtmp put up to two segments into the app (`stream/site`), GStreamer's `rtmp2sink`
//! all but the last, OBS whatever the user typed as server. So that all give one key, the app is
//! the first segment of `connect`'s app, and its further segments go before the publishing name.

/// The app of `connect` and what belongs to the key.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct App {
    /// The first segment.
    pub(super) name: String,
    /// The further segments, without outer slashes.
    prefix: String,
    query: String,
}

impl App {
    /// Reads the `app` and `tcUrl` of a `connect`. The query of the app counts; that of tcUrl does
    /// where the app has none.
    pub(super) fn parse(app: &str, tc_url: &str) -> Self {
        let (path, query) = split_query(app);
        let query = if query.is_empty() { split_query(tc_url).1 } else { query };
        let path = path.trim_matches('/');
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        Self {
            name: name.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            query: query.to_owned(),
        }
    }

    /// The stream key and the query that a publishing name makes with this app.
    pub(super) fn key_and_query(&self, publishing_name: &str) -> (String, String) {
        let (name, query) = split_query(publishing_name);
        let join = |a: &str, separator: &str, b: &str| match (a, b) {
            ("", only) | (only, "") => only.to_owned(),
            (a, b) => format!("{a}{separator}{b}"),
        };
        (join(&self.prefix, "/", name), join(&self.query, "&", query))
    }
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}
