//! Our values as the messages of the API.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use proto::v1;

use crate::{
    leg::{Counters, LegState},
    stream::{ReaderEntry, Transport},
};

/// A stream's state.
pub(crate) fn state(state: LegState) -> v1::StreamState {
    match state {
        LegState::Waiting => v1::StreamState::Waiting,
        LegState::Live => v1::StreamState::Live,
        LegState::Held => v1::StreamState::Held,
    }
}

/// A stream's counters.
pub(crate) fn counters(counters: &Counters) -> v1::StreamCounters {
    let load = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    v1::StreamCounters {
        video_access_units: load(&counters.video_access_units),
        audio_access_units: load(&counters.audio_access_units),
        keyframes: load(&counters.keyframes),
        packets: load(&counters.packets),
        packets_lost: load(&counters.packets_lost),
        packets_refused: counters.refused(),
        packets_discarded: load(&counters.packets_discarded),
        malformed: load(&counters.malformed).wrapping_add(load(&counters.oversized)),
        bitrate: load(&counters.bitrate),
        live_for: Some(proto::duration(Duration::from_millis(load(&counters.live_ms).into()))),
        // Ingest repairs what publishers stamp.
        timestamps_repaired: 0,
    }
}

/// A reader.
pub(crate) fn reader(reader: &ReaderEntry) -> v1::Reader {
    let transport = match reader.by {
        Transport::Tcp => v1::ReaderTransport::Tcp,
        Transport::Udp => v1::ReaderTransport::Udp,
        Transport::Multicast => v1::ReaderTransport::Multicast,
    };
    let playing = reader.playing.load(Ordering::Relaxed);
    let state = if playing { v1::ReaderState::Playing } else { v1::ReaderState::Ready };
    v1::Reader {
        reader_id: format!("{:016x}", reader.id),
        peer_address: reader.peer.to_string(),
        user_agent: reader.user_agent.clone(),
        transport: transport.into(),
        state: state.into(),
        connected_at: Some(proto::timestamp(reader.connected_at)),
        packets_sent: reader.packets_sent.load(Ordering::Relaxed),
        skips: reader.skips.load(Ordering::Relaxed),
        access_units_skipped: reader.access_units_skipped.load(Ordering::Relaxed),
    }
}
