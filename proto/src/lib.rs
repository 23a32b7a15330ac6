//! The `rtmp2rtsp.v1` gRPC API. The reference of every message and call is the comments in
//! `proto/rtmp2rtsp/v1/*.proto`; what stands here is generated from them by `build.rs`.

/// Version 1 of the API.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub mod v1 {
    tonic::include_proto!("rtmp2rtsp.v1");
    include!(concat!(env!("OUT_DIR"), "/rtmp2rtsp.v1.serde.rs"));
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
