//! RTCP of a reader, whichever way it came.
//!
//! Its reports say how it receives (`reception.rs`). BYE (RFC 3550, 6.6) says that its SSRC is used no more, as when it takes another; it is
//! no TEARDOWN. The RTSP session ends by RTSP, with its connection, or by its timeout, which BYE puts off like all RTCP.

use std::time::{Instant, SystemTime};

use crate::{metrics::Instruments, stream::ReaderEntry};

/// Takes what came; on how many of the session's tracks it reports. `None` if it is no RTCP.
pub(super) fn take(bytes: &[u8], reader: &ReaderEntry, metrics: &Instruments) -> Option<usize> {
    let compound = match media::rtcp::parse_compound(bytes) {
        Ok(compound) => compound,
        Err(error) => {
            metrics.malformed_rtcp.inc();
            tracing::debug!(%error, peer = %reader.peer, "a reader sent what is no RTCP");
            return None;
        }
    };
    let news = reader.receptions.take(&compound, Instant::now(), SystemTime::now());
    news.iter().for_each(|news| metrics.report(reader.by, news));
    Some(news.len())
}
