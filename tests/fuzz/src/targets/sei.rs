//! The time that SEI tells. Input: codec and length size, length of the SPS, the SPS, then access units: the length of each, and it.

use bytes::Bytes;
use media::{
    codec::{
        VideoHeader,
        h264::avcc_nal_units,
        sei::{SeiClock, SeiTime},
    },
    flv::VideoCodec,
};

use crate::input::Input;

/// Of longer NAL units not all is looked at.
const MAX_NAL_BYTES: usize = 16 * 1024;
const DAY_NANOS: i64 = 86_400_000_000_000;
/// An offset is less than 2^30 units of which there is one a second at least.
const MOST_NANOS: i64 = (1 << 30) * 1_000_000_000;

/// payloadType and payload.
type Message = (usize, Vec<u8>);

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choices = input.u8();
    let is_hevc = choices & 1 == 1;
    let length_size = choices >> 1 & 0b11;
    let sps_bytes = input.u8().into();
    let sps = input.take(sps_bytes);
    let Some(header) = header(is_hevc, length_size, sps) else { return };
    let mut whole = SeiClock::new(&header);
    let mut alone = whole.clone();
    while !input.is_empty() {
        let unit_bytes = input.u16().into();
        let unit = input.take(unit_bytes);
        let told = whole.read(unit);
        let messages = messages(unit, length_size + 1, is_hevc);
        let Some(messages) = messages else { return };
        let by_one: Vec<_> = messages
            .iter()
            .filter_map(|message| alone.read(&written(message, length_size + 1, is_hevc)))
            .collect();
        let date = by_one.iter().find(|told| matches!(told, SeiTime::Date(_)));
        assert_eq!(told.as_ref(), date.or(by_one.first()));
        match told {
            Some(SeiTime::Date(time)) => {
                let since = time.since_1970().as_secs();
                assert!((946_684_799..4_102_444_800).contains(&since), "2000 to 2100");
            }
            Some(SeiTime::OfDay(nanos)) => {
                assert!((-MOST_NANOS..DAY_NANOS + MOST_NANOS).contains(&nanos));
            }
            None => {}
        }
    }
}

fn header(is_hevc: bool, length_size: u8, sps: &[u8]) -> Option<VideoHeader> {
    if is_hevc {
        let mut record = [0; 23];
        record[21] = length_size;
        return VideoHeader::parse(VideoCodec::Hevc, &Bytes::copy_from_slice(&record)).ok();
    }
    let sps_bytes = (sps.len() as u16).to_be_bytes();
    let record = [&[1, 0, 0, 0, length_size, 1][..], &sps_bytes, sps, &[0]].concat();
    VideoHeader::parse(VideoCodec::Avc, &record.into()).ok()
}

/// The messages of an access unit by the letter (H.264, 7.3.2.3.1); `None` where one is in a NAL unit that is not looked through.
fn messages(unit: &[u8], length_size: u8, is_hevc: bool) -> Option<Vec<Message>> {
    let mut messages = vec![];
    for nal in avcc_nal_units(unit, length_size).map_while(Result::ok) {
        let (is_sei, header_bytes) =
            if is_hevc { (matches!(nal[0] >> 1 & 63, 39 | 40), 2) } else { (nal[0] & 31 == 6, 1) };
        if !is_sei || nal.len() < header_bytes {
            continue;
        }
        if nal.len() > MAX_NAL_BYTES {
            return None;
        }
        let rbsp = unescaped(&nal[header_bytes..]);
        let mut rest = &rbsp[..];
        while let Some((message, behind)) = message(rest) {
            messages.push(message);
            rest = behind;
        }
    }
    Some(messages)
}

fn message(rbsp: &[u8]) -> Option<(Message, &[u8])> {
    let (payload_type, rest) = number(rbsp)?;
    let (size, rest) = number(rest)?;
    let (payload, rest) = rest.split_at_checked(size)?;
    Some(((payload_type, payload.to_vec()), rest))
}

fn number(rbsp: &[u8]) -> Option<(usize, &[u8])> {
    let full = rbsp.iter().take_while(|&&byte| byte == 0xFF).count();
    Some((full * 255 + usize::from(*rbsp.get(full)?), &rbsp[full + 1..]))
}

fn unescaped(nal: &[u8]) -> Vec<u8> {
    let mut rbsp: Vec<u8> = vec![];
    let mut at = 0;
    while at < nal.len() {
        if nal[at..].starts_with(&[0, 0, 3]) {
            rbsp.extend([0, 0]);
            at += 3;
        } else {
            rbsp.push(nal[at]);
            at += 1;
        }
    }
    rbsp
}

/// An access unit of one NAL unit of one message. It is cut where its length does not hold it, and then tells nothing, as its whole did.
fn written(message: &Message, length_size: u8, is_hevc: bool) -> Vec<u8> {
    let (payload_type, payload) = message;
    let number = |number: usize| [vec![255; number / 255], vec![(number % 255) as u8]].concat();
    let rbsp = [number(*payload_type), number(payload.len()), payload.clone()].concat();
    let mut nal = if is_hevc { vec![39 << 1, 1] } else { vec![6] };
    let mut zeros = 0;
    for byte in rbsp {
        if zeros >= 2 && byte <= 3 {
            nal.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        nal.push(byte);
    }
    let length = (nal.len() as u32).to_be_bytes();
    [&length[4 - usize::from(length_size)..], &nal].concat()
}
