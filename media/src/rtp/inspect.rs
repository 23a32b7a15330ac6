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
    let Some(&flags) = payload.first() else { return PayloadInfo::default() };
    let begins = flags & descriptor::B != 0;
    let predicted = flags & descriptor::P != 0;
    let mut spatial_layer = 0;
    if flags & descriptor::L != 0 {
        let id_bytes = match (flags & descriptor::I, payload.get(1)) {
            (0, _) => 0,
            (_, Some(id)) if id & 0x80 != 0 => 2,
            (..) => 1,
        };
        spatial_layer = payload.get(1 + id_bytes).map_or(0, |layers| layers >> 1 & 0b111);
    }
    PayloadInfo {
        starts_keyframe: begins && !predicted && spatial_layer == 0,
        continues: !begins,
        ..PayloadInfo::default()
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inspect(payload: &[u8]) -> (bool, Vec<Vec<u8>>) {
        let mut sets = vec![];
        let info = inspect_h264(payload, |set| sets.push(set.to_vec()));
        assert_eq!(info.has_parameter_sets, !sets.is_empty());
        (info.starts_keyframe, sets)
    }

    #[test]
    fn an_idr_is_seen_where_it_begins() {
        assert!(inspect(&[0x65, 0x88]).0, "single");
        assert!(inspect(&[0x78, 0, 1, 0x09, 0, 2, 0x65, 0x88]).0, "STAP-A");
        assert!(inspect(&[0x7C, 0x85, 0x88]).0, "first FU-A");
        assert!(!inspect(&[0x7C, 0x05, 0x88]).0, "later FU-A");
        assert!(!inspect(&[0x7C, 0x81, 0x88]).0, "first FU-A of another slice");
        assert!(!inspect(&[0x41, 0x88]).0, "another slice");
    }

    #[test]
    fn only_a_later_fu_a_goes_on_with_a_nal_unit() {
        let continues = |payload: &[u8]| inspect_h264(payload, |_| {}).continues;
        assert!(continues(&[0x7C, 0x05, 0x88]), "in the middle");
        assert!(continues(&[0x7C, 0x41, 0x88]), "the last");
        for payload in [&[][..], &[0x7C], &[0x7C, 0x85, 0x88], &[0x65, 0x05], &[0x78, 0, 1, 0x65]] {
            assert!(!continues(payload), "{payload:?}");
        }
    }

    #[test]
    fn whole_parameter_sets_are_handed_out() {
        assert_eq!(inspect(&[0x67, 1, 2]).1, [[0x67, 1, 2]]);
        let stap = [0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2, 0, 1, 0x65];
        assert_eq!(inspect(&stap), (true, vec![vec![0x67, 1], vec![0x68, 2]]));
        for end in [2, 3, 4, 6, 8, 10] {
            assert_eq!(inspect(&stap[..end]), (false, vec![]), "cut at {end}");
        }
    }

    #[test]
    fn payloads_that_mode_1_excludes_give_nothing() {
        for payload in
            [&[][..], &[0x7C], &[0x60, 5], &[0x79, 0, 0, 0, 1, 0x65], &[0x7A, 0, 0], &[0x7D, 0x85]]
        {
            assert_eq!(inspect(payload), (false, vec![]), "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..40), first in any::<u8>()) {
            inspect(&payload);
            let mut payload = payload;
            payload.insert(0, first);
            inspect(&payload);
        }
    }
}
