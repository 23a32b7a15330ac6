//! What an RTP payload of H.264 holds. Input: one payload.

use media::{
    codec::Codec,
    rtp::{PayloadInfo, inspect},
};

pub(crate) fn run(data: &[u8]) {
    let mut sets = vec![];
    let info = inspect(Codec::H264, data, |set| sets.push(set.to_vec()));
    assert_eq!((info, sets), expected(data));
}

/// The same by the letter of RFC 6184: the NAL units that begin in a payload, and which of them are whole.
fn expected(payload: &[u8]) -> (PayloadInfo, Vec<Vec<u8>>) {
    let nals: Option<Vec<&[u8]>> = match payload.first().map(|header| header & 31) {
        Some(1..=23) => Some(vec![payload]),
        Some(24) => aggregated(&payload[1..]),
        _ => None,
    };
    let first_fragment_of_idr = matches!(payload, [a, b, ..] if a & 31 == 28 && b & 0x9F == 0x85);
    let nals = nals.unwrap_or_default();
    let is = |nal: &[u8], types: &[u8]| nal.first().is_some_and(|h| types.contains(&(h & 31)));
    let sets: Vec<_> = nals.iter().filter(|nal| is(nal, &[7, 8])).map(|nal| nal.to_vec()).collect();
    let starts_idr = first_fragment_of_idr || nals.iter().any(|nal| is(nal, &[5]));
    let continues = matches!(payload, [a, b, ..] if a & 31 == 28 && b & 0x80 == 0);
    let info = PayloadInfo {
        starts_keyframe: starts_idr,
        has_parameter_sets: !sets.is_empty(),
        continues,
        ends_unit: false,
    };
    (info, sets)
}

fn aggregated(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut nals = vec![];
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes([rest[0], *rest.get(1)?]));
        nals.push(rest.get(2..2 + length)?);
        rest = &rest[2 + length..];
    }
    Some(nals)
}
