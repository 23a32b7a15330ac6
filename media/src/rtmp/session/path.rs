//! Where a publisher wants to go: app, stream key and query.
//!
//! Clients split `rtmp://host/stream/site/cam1` between app and publishing name in different ways:
//! ffmpeg and librtmp put up to two segments into the app (`stream/site`), GStreamer's `rtmp2sink`
//! all but the last, OBS whatever the user typed as server. So that all give one key, the app is
//! the first segment of `connect`'s app, and its further segments go before the publishing name.

/// The app of `connect` and what belongs to the key.
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

    /// The query of `connect`, without `?`.
    pub(super) fn query(&self) -> &str {
        &self.query
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

#[cfg(test)]
mod tests {
    use super::*;

    /// App, key and query of a `connect` to `app` by `tc_url` and a `publish` of `name`.
    fn place(app: &str, tc_url: &str, name: &str) -> [String; 3] {
        let app = App::parse(app, tc_url);
        let (key, query) = app.key_and_query(name);
        [app.name, key, query]
    }

    #[test]
    fn clients_that_split_one_url_in_different_ways_come_to_one_key() {
        // rtmp://host/live/site/cam1, as it is split by ffmpeg and librtmp; by rtmp2sink; by OBS and
        // Larix with the server rtmp://host/live and with rtmp://host/live/site; and with slashes
        // that users add.
        for (app, name) in [
            ("live/site", "cam1"),
            ("live", "site/cam1"),
            ("/live/site/", "cam1"),
            ("live/", "site/cam1"),
            ("live//site", "cam1"),
            ("live/site/cam1", ""),
        ] {
            assert_eq!(place(app, "", name), ["live", "site/cam1", ""], "{app} {name}");
        }
    }

    #[test]
    fn forms_that_clients_are_known_to_send_are_understood() {
        for (app, tc_url, name, expected) in [
            // ffmpeg, OBS: the query is at the key.
            ("live", "rtmp://host/live", "cam1?token=1", ["live", "cam1", "token=1"]),
            ("stream/site", "rtmp://host/stream/site", "cam1?t=1", ["stream", "site/cam1", "t=1"]),
            // OBS, rtmp2sink: a server with a query is both app and tcUrl, and counts once.
            ("live?token=1", "rtmp://host/live?token=1", "cam1", ["live", "cam1", "token=1"]),
            // Some encoders keep the query in tcUrl only.
            ("live", "rtmp://host/live?token=1", "cam1", ["live", "cam1", "token=1"]),
            // App and key both have one.
            ("live?user=me", "rtmp://host/live", "cam1?pass=1", ["live", "cam1", "user=me&pass=1"]),
            // A slash or a further question mark in a query is part of it.
            (
                "live?back=/a/b",
                "",
                "cam1?u=http://x/?y",
                ["live", "cam1", "back=/a/b&u=http://x/?y"],
            ),
            // A stray question mark.
            ("live?", "rtmp://host/live?", "cam1?", ["live", "cam1", ""]),
            // Nothing but a key, nothing at all.
            ("", "", "cam1", ["", "cam1", ""]),
            ("", "rtmp://host", "", ["", "", ""]),
            ("live", "rtmp://host/live", "", ["live", "", ""]),
            ("live", "rtmp://host/live", "?token=1", ["live", "", "token=1"]),
        ] {
            assert_eq!(place(app, tc_url, name), expected, "{app} {tc_url} {name}");
        }
    }

    #[test]
    fn a_publishing_name_is_not_tidied_up() {
        // Whether it can be a key is for the one who takes the publisher to say.
        for name in ["/cam1", "cam1/", "a//b", "..", "cam 1", "é"] {
            assert_eq!(place("live", "", name)[1], name);
        }
    }
}
