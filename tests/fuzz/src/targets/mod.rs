//! The targets, and what several of them use.

pub(crate) mod aac_config;
pub(crate) mod av1;
pub(crate) mod avcc;
mod depacketize;
pub(crate) mod flv;
pub(crate) mod h264_inspect;
pub(crate) mod hevc;
pub(crate) mod rtcp;
pub(crate) mod rtmp_amf0;
pub(crate) mod rtmp_chunk;
pub(crate) mod rtmp_client;
pub(crate) mod rtmp_session;
pub(crate) mod rtp_header;
pub(crate) mod rtp_receive;
pub(crate) mod rtsp_connection;
pub(crate) mod sdp;
pub(crate) mod sei;
pub(crate) mod sound;
pub(crate) mod vp9;
