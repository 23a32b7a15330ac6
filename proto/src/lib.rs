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
