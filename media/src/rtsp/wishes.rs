//! What a reader may ask for in the query of its URL, beside what RTSP has words for.
//!
//! | query | what it asks for |
//! | --- | --- |
//! | `start=keyframe` | to start at the last keyframe, which has been already: a picture at once. The default |
//! | `wait` | DESCRIBE of a stream that is not there to wait for it, for 15 s |
//! | `wait=20s` | the same for so long (`s`, `ms`, `m`, without a unit seconds), a minute at the most; `wait=0`: not at all |
//! | `start=live` | to start at the next keyframe, which is still to come: nothing old is sent |
//!
//! What is not understood changes nothing, as queries also carry what other servers and proxies want to know.

use std::time::Duration;

/// `wait` alone: some seconds to start a publisher in, and less than clients wait for an answer (GStreamer: 20 s).
const USUAL_WAIT: Duration = Duration::from_secs(15);
/// What `wait` is cut to: an answer after that finds no client any more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

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
    /// `wait`, in its bounds.
    pub wait: Option<Duration>,
}

impl Wishes {
    /// Reads a query, without its `?`. Of a name that stands twice the last one that is understood counts.
    pub(super) fn parse(query: &str) -> Self {
        let mut wishes = Self::default();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match (name, value) {
                ("start", "live") => wishes.start = Some(Start::NextKeyframe),
                ("start", "keyframe") => wishes.start = Some(Start::LastKeyframe),
                ("wait", value) => wishes.wait = wait(value).or(wishes.wait),
                (_, _) => {}
            }
        }
        wishes
    }

    /// These; where they say nothing, what was said `before`.
    pub(super) fn or(self, before: Self) -> Self {
        Self { start: self.start.or(before.start), wait: self.wait.or(before.wait) }
    }
}

fn wait(value: &str) -> Option<Duration> {
    if value.is_empty() {
        return Some(USUAL_WAIT);
    }
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    Some(Duration::from_millis(u64::from(number) * milliseconds).min(LONGEST_WAIT))
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
    fn a_query_says_how_long_to_wait_and_no_longer_than_the_bound() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (query, wait) in [
            ("", None),
            ("waiting", None),
            ("wait=x", None),
            ("wait=s", None),
            ("wait=-1", None),
            ("wait=1h", None),
            ("wait=99999999999", None),
            ("wait", seconds(15)),
            ("wait=", seconds(15)),
            ("x&wait&start=live", seconds(15)),
            ("wait=20s", seconds(20)),
            ("wait=20", seconds(20)),
            ("wait=1m", seconds(60)),
            ("wait=61s", seconds(60)),
            ("wait=4294967295m", seconds(60)),
            ("wait=0", seconds(0)),
            ("wait=250ms", Some(Duration::from_millis(250))),
            ("wait=3&wait=x", seconds(3)),
        ] {
            assert_eq!(Wishes::parse(query).wait, wait, "{query}");
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
