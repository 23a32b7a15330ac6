//! What an H.264 RTP payload (RFC 6184) holds, without taking it apart.

use super::packetizer::{FU_A, STAP_A};
use crate::codec::h264::nal_type;

/// What an H.264 RTP payload (RFC 6184: single, STAP-A, FU-A) holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct H264PayloadInfo {
    /// Begins (single, STAP-A or first FU-A) a slice of an IDR picture.
    pub starts_idr: bool,
    /// Holds a whole SPS or PPS.
    pub has_parameter_sets: bool,
    /// Goes on with a NAL unit that began before (a FU-A but the first).
    pub continues: bool,
}

/// Looks into an H.264 RTP payload; `on_parameter_set` gets each whole SPS and PPS NAL unit. Malformed payloads give the
/// default, as do the interleaved types (STAP-B, MTAP, FU-B), which packetization-mode 1 excludes.
pub fn inspect_h264(payload: &[u8], mut on_parameter_set: impl FnMut(&[u8])) -> H264PayloadInfo {
    let mut info = H264PayloadInfo::default();
    let mut look_at = |nal: &[u8]| match nal.first().map(|&header| nal_type::of(header)) {
        Some(nal_type::IDR) => info.starts_idr = true,
        Some(nal_type::SPS | nal_type::PPS) => {
            info.has_parameter_sets = true;
            on_parameter_set(nal);
        }
        _ => {}
    };
    match payload.first().map(|&header| nal_type::of(header)) {
        Some(1..=23) => look_at(payload),
        Some(STAP_A) if aggregated(payload).all(|nal| nal.is_some()) => {
            aggregated(payload).flatten().for_each(look_at);
        }
        Some(FU_A) => {
            if let Some(&fu) = payload.get(1) {
                let starts = fu & 0x80 != 0;
                info.starts_idr = starts && nal_type::of(fu) == nal_type::IDR;
                info.continues = !starts;
            }
        }
        _ => {}
    }
    info
}

/// The NAL units of a STAP-A; `None`, and then nothing more, where it ends too early.
fn aggregated(stap_a: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = &stap_a[1..];
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
        (info.starts_idr, sets)
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
