//! What an RTP payload holds, without taking it apart.

use super::packetizer::{FU_A, STAP_A, h265, vp9::descriptor};
use crate::codec::{
    Codec, h264,
    h265::{NAL_HEADER_BYTES, nal_type},
    mp3,
};

/// What an RTP payload holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PayloadInfo {
    /// A picture that decoders can start at begins in it.
    pub starts_keyframe: bool,
    /// Holds a whole parameter set (H.264, H.265).
    pub has_parameter_sets: bool,
    /// Goes on with what began before.
    pub continues: bool,
    /// Nothing of its access unit follows, whatever the marker says: payload formats that use the marker for something else.
    pub ends_unit: bool,
}

/// Whether a marker ends an access unit. In MPEG audio it says that sound begins (RFC 2250, 3.3), be it with a fragment.
pub(super) fn marker_ends_unit(codec: Codec) -> bool {
    match codec {
        Codec::Mp3 => false,
        Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Vp9 => true,
        Codec::Aac | Codec::Opus | Codec::G711 | Codec::Ac3 => true,
    }
}

/// Looks into an RTP payload; `on_parameter_set` gets each whole parameter set. Malformed payloads of video give the default.
pub fn inspect(codec: Codec, payload: &[u8], on_parameter_set: impl FnMut(&[u8])) -> PayloadInfo {
    match codec {
        Codec::H264 => inspect_h264(payload, on_parameter_set),
        Codec::H265 => inspect_h265(payload, on_parameter_set),
        Codec::Av1 => match payload.first() {
            // Z, and N of the aggregation header (AV1 RTP specification, 4.4).
            Some(header) => PayloadInfo {
                starts_keyframe: header & 0x08 != 0,
                continues: header & 0x80 != 0,
                ..PayloadInfo::default()
            },
            None => PayloadInfo::default(),
        },
        Codec::Vp9 => inspect_vp9(payload),
        // RFC 3640: the marker ends an access unit.
        Codec::Aac => PayloadInfo::default(),
        // A packet each (RFC 7587, 4.2; RFC 3551, 4.5); the marker says that sound begins again.
        Codec::Opus | Codec::G711 => PayloadInfo { ends_unit: true, ..PayloadInfo::default() },
        // Frag_offset (RFC 2250, 3.5). Where a fragmented frame ends is not said.
        Codec::Mp3 => match payload.split_at_checked(4) {
            Some(([_, _, 0, 0], frames)) => {
                PayloadInfo { ends_unit: mp3::is_whole(frames), ..PayloadInfo::default() }
            }
            Some(_) => PayloadInfo { continues: true, ..PayloadInfo::default() },
            None => PayloadInfo::default(),
        },
        // FT 3 (RFC 4184, 4.1.1).
        Codec::Ac3 => PayloadInfo {
            continues: payload.first().is_some_and(|header| header & 0b11 == 3),
            ends_unit: payload.first().is_some_and(|header| header & 0b11 == 0),
            ..PayloadInfo::default()
        },
    }
}

/// RFC 6184: single, STAP-A, FU-A. The interleaved types (STAP-B, MTAP, FU-B), which packetization-mode 1 excludes, give the default.
fn inspect_h264(payload: &[u8], mut on_parameter_set: impl FnMut(&[u8])) -> PayloadInfo {
    use h264::nal_type;
    let mut info = PayloadInfo::default();
    let mut look_at = |nal: &[u8]| match nal.first().map(|&header| nal_type::of(header)) {
        Some(nal_type::IDR) => info.starts_keyframe = true,
        Some(nal_type::SPS | nal_type::PPS) => {
            info.has_parameter_sets = true;
            on_parameter_set(nal);
        }
        _ => {}
    };
    match payload.first().map(|&header| nal_type::of(header)) {
        Some(1..=23) => look_at(payload),
        Some(STAP_A) if aggregated(payload, 1).all(|nal| nal.is_some()) => {
            aggregated(payload, 1).flatten().for_each(look_at);
        }
        Some(FU_A) => {
            if let Some(&fu) = payload.get(1) {
                let starts = fu & 0x80 != 0;
                info.starts_keyframe = starts && nal_type::of(fu) == nal_type::IDR;
                info.continues = !starts;
            }
        }
        _ => {}
    }
    info
}

/// RFC 7798: single, aggregation packet, fragmentation unit, without DONL.
fn inspect_h265(payload: &[u8], mut on_parameter_set: impl FnMut(&[u8])) -> PayloadInfo {
    let mut info = PayloadInfo::default();
    let mut look_at = |nal: &[u8]| match nal_type::of_nal(nal) {
        Some(kind) if nal_type::IRAP.contains(&kind) => info.starts_keyframe = true,
        Some(nal_type::VPS | nal_type::SPS | nal_type::PPS) => {
            info.has_parameter_sets = true;
            on_parameter_set(nal);
        }
        _ => {}
    };
    match nal_type::of_nal(payload) {
        Some(h265::AP) => {
            if aggregated(payload, NAL_HEADER_BYTES).all(|nal| nal.is_some()) {
                aggregated(payload, NAL_HEADER_BYTES).flatten().for_each(look_at);
            }
        }
        Some(h265::FU) => {
            let (starts, kind) = (payload[2] & 0x80 != 0, payload[2] & 0b11_1111);
            info.starts_keyframe = starts && nal_type::IRAP.contains(&kind);
            info.continues = !starts;
        }
        // PACI and what is reserved.
        Some(50..) | None => {}
        Some(_) => look_at(payload),
    }
    info
}

/// RFC 9628, 4.2: a keyframe begins where the first layer of a picture that is not predicted begins.
fn inspect_vp9(payload: &[u8]) -> PayloadInfo {
    let read = || {
        let &flags = payload.first()?;
        let id_bytes = match flags & descriptor::I {
            0 => 0,
            _ if payload.get(1)? & 0x80 != 0 => 2,
            _ => 1,
        };
        let layers = match flags & descriptor::L {
            0 => 0,
            _ => *payload.get(1 + id_bytes)?,
        };
        // Something of the frame stands behind the descriptor.
        payload.get(1 + id_bytes + usize::from(flags & descriptor::L != 0))?;
        let begins = flags & descriptor::B != 0;
        let predicted = flags & descriptor::P != 0;
        let spatial_layer = layers >> 1 & 0b111;
        Some(PayloadInfo {
            starts_keyframe: begins && !predicted && spatial_layer == 0,
            continues: !begins,
            ..PayloadInfo::default()
        })
    };
    read().unwrap_or_default()
}

/// The NAL units of an aggregation packet behind its header of so many bytes; `None`, and then nothing more, where it ends too early.
fn aggregated(packet: &[u8], header: usize) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = packet.get(header..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let nal = rest.split_first_chunk().and_then(|(length, behind)| {
            behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        });
        rest = nal.map_or(&[], |(_, behind)| behind);
        Some(nal.map(|(nal, _)| nal))
    })
}

#[cfg(test)]
mod tests;
