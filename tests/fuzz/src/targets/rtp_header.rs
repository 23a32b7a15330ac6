//! RTP headers. Input: one packet.

use media::rtp::Header;

pub(crate) fn run(data: &[u8]) {
    assert_eq!(Header::parse(data).ok(), expected(data));
}

/// The same by the letter of RFC 3550, 5.1 and 5.3.1.
fn expected(packet: &[u8]) -> Option<Header> {
    let word = |at: usize| Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    let first = word(0)?;
    if first >> 30 != 2 || (192..=223).contains(&packet[1]) {
        return None;
    }
    let (timestamp, ssrc) = (word(4)?, word(8)?);
    let mut start = 12 + 4 * (first >> 24 & 15) as usize;
    if first >> 28 & 1 == 1 {
        start += 4 + 4 * (word(start)? & 0xFFFF) as usize;
    }
    let padding = match first >> 29 & 1 {
        0 => 0,
        _ => match *packet.last()? {
            0 => return None,
            padding => usize::from(padding),
        },
    };
    let end = packet.len().checked_sub(padding).filter(|&end| end >= start)?;
    Some(Header {
        marker: first >> 23 & 1 == 1,
        payload_type: (first >> 16 & 127) as u8,
        sequence_number: first as u16,
        timestamp,
        ssrc,
        payload: start..end,
    })
}
