//! The `rtmp2rtsp.v1` gRPC API. The reference of every message and call is the comments in
//! `proto/rtmp2rtsp/v1/*.proto`; what stands here is generated from them by `build.rs`.

/// Version 1 of the API.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub mod v1 {
    tonic::include_proto!("rtmp2rtsp.v1");
    include!(concat!(env!("OUT_DIR"), "/rtmp2rtsp.v1.serde.rs"));
}

impl std::fmt::Debug for v1::StartStreamRequest {
    /// Without the keys of its session description (RFC 4568) and the credentials of its URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            stream_key,
            source_url,
            session_description,
            lease,
            offline_picture,
            node_id,
            feed,
        } = self;
        f.debug_struct("StartStreamRequest")
            .field("stream_key", stream_key)
            .field("source_url", &without_credentials(source_url))
            .field("session_description", &without_keys(session_description))
            .field("lease", lease)
            .field("offline_picture", offline_picture)
            .field("node_id", node_id)
            .field("feed", feed)
            .finish()
    }
}

/// A session description whose keys are left out.
fn without_keys(description: &str) -> String {
    let shown = description.lines().map(|line| match line.split_once("inline:") {
        Some((before, _)) => format!("{before}inline:..\r\n"),
        None => format!("{line}\r\n"),
    });
    shown.collect()
}

/// A URL whose user, password and query are left out.
fn without_credentials(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(before, _)| before);
    match (url.split_once("//"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}//..@{host}"),
        _ => url.to_owned(),
    }
}

/// The encoded `FileDescriptorSet` of the API and of all that it imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use pbjson_types::{Duration, Timestamp};

/// A span of time as a message; what does not fit is the largest that does (292 billion years).
pub fn duration(duration: std::time::Duration) -> Duration {
    Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A span of time out of a message; what is absent or negative is zero.
pub fn std_duration(duration: Option<Duration>) -> std::time::Duration {
    let Some(duration) = duration else { return std::time::Duration::ZERO };
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    let nanos = u32::try_from(duration.nanos).unwrap_or(0).min(999_999_999);
    std::time::Duration::new(seconds, nanos)
}

/// A point of time as a message; what lies before 1970 is 1970.
pub fn timestamp(time: std::time::SystemTime) -> Timestamp {
    let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    let Duration { seconds, nanos } = duration(since);
    Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_without_the_keys_that_it_carries() {
        let key = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWg==";
        let request = v1::StartStreamRequest {
            stream_key: "cam".into(),
            source_url: "rtmp://user:p@ss@host/app/name?token=x".into(),
            session_description: format!(
                "v=0\r\nm=video 5004 RTP/SAVPF 96\r\na=crypto:1 AEAD_AES_128_GCM inline:{key}\r\na=mid:0\r\n"
            ),
            ..Default::default()
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("rtmp://..@host/app/name") && !shown.contains("p@ss"), "{shown}");
        assert!(!shown.contains("token"), "{shown}");
        assert!(shown.contains("cam") && shown.contains("a=mid:0"), "{shown}");
        assert!(shown.contains("AEAD_AES_128_GCM inline:..") && !shown.contains("Wlpa"), "{shown}");
    }
}
