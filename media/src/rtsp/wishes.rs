//! What a reader may ask for in the query of its URL, beside what RTSP has words for.
//!
//! | query | what it asks for |
//! | --- | --- |
//! | `start=keyframe` | to start at the last keyframe, which has been already: a picture at once. The default |
//! | `start=live` | to start at the next keyframe, which is still to come: nothing old is sent |
//!
//! What is not understood changes nothing, as queries also carry what other servers and proxies want to know.

/// Where a reader starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// At the last keyframe that has been.
    #[default]
    LastKeyframe,
    /// At the next keyframe that comes.
    NextKeyframe,
}

/// What one query asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// `start`.
    pub start: Option<Start>,
}

impl Wishes {
    /// Reads a query, without its `?`. Of a name that stands twice the last one that is understood counts.
    pub(super) fn parse(query: &str) -> Self {
        let mut wishes = Self::default();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if name == "start" {
                wishes.start = match value {
                    "live" => Some(Start::NextKeyframe),
                    "keyframe" => Some(Start::LastKeyframe),
                    _ => wishes.start,
                };
            }
        }
        wishes
    }

    /// These; where they say nothing, what was said `before`.
    pub(super) fn or(self, before: Self) -> Self {
        Self { start: self.start.or(before.start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_where_to_start_among_whatever_else_it_says() {
        for (query, start) in [
            ("", None),
            ("start", None),
            ("start=", None),
            ("start=Live", None),
            ("restart=live", None),
            ("start=live", Some(Start::NextKeyframe)),
            ("token=a=b&start=live&x", Some(Start::NextKeyframe)),
            ("start=live&start=keyframe", Some(Start::LastKeyframe)),
            ("start=live&start=then", Some(Start::NextKeyframe)),
        ] {
            assert_eq!(Wishes::parse(query).start, start, "{query}");
        }
    }

    #[test]
    fn what_is_said_later_goes_over_what_was_said_before() {
        let (none, live) = (Wishes::default(), Wishes::parse("start=live"));
        let keyframe = Wishes::parse("start=keyframe");
        assert_eq!(none.or(live), live);
        assert_eq!(keyframe.or(live), keyframe);
        assert_eq!(live.or(none), live);
    }
}
