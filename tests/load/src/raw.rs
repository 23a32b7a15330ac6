//! What the floor is driven with: the packets that an RTSP server would send, interleaved framing (RFC 2326, 10.12) in place, made
//! by the publisher already.
//!
//! All packets of a NAL unit are of one size but the last. They have no sequence numbers: what is lost shows by the bytes that
//! the stamp announces.

/// The largest RTP packet: the gateway's default.
pub const PACKET_BYTES: usize = 1200;
/// Of the interleaved framing and the RTP header.
pub const PAYLOAD_AT: usize = FRAMING_BYTES + 12;
/// `$`, channel, length.
pub const FRAMING_BYTES: usize = 4;

/// The packets of one NAL unit; of the last one of its access unit, the last has the marker.
pub fn packets(payload: &[u8], is_last: bool) -> Vec<u8> {
    let room = PACKET_BYTES - 12;
    let mut packets = Vec::with_capacity(payload.len() + payload.len() / room * 16 + 16);
    let count = payload.len().div_ceil(room);
    for (at, part) in payload.chunks(room).enumerate() {
        let length = (part.len() + 12) as u16;
        packets.extend([b'$', 0]);
        packets.extend(length.to_be_bytes());
        let marker = if is_last && at + 1 == count { 0x80 } else { 0 };
        packets.extend([0x80, marker | 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packets.extend(part);
    }
    packets
}

/// The frames at the beginning of `bytes` that are of one size, and one smaller one after them, as far as they are whole and go into
/// `limit` bytes: what one call with segmentation offload sends. Their length and the size of a segment.
pub fn batch(bytes: &[u8], limit: usize) -> Option<(usize, usize)> {
    let first = frame_bytes(bytes)?;
    let mut length = first;
    while length + first <= limit
        && let Some(next) = frame_bytes(&bytes[length..])
        && next <= first
    {
        length += next;
        if next < first {
            break;
        }
    }
    Some((length, first))
}

/// The size of the frame at the beginning, if it is whole.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let [_, _, high, low, ..] = *bytes else { return None };
    let size = FRAMING_BYTES + usize::from(u16::from_be_bytes([high, low]));
    (size <= bytes.len()).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_packets_but_the_last_are_of_one_size() {
        let payload = vec![7; 3000];
        let bytes = packets(&payload, true);
        assert_eq!(bytes.len(), payload.len() + 3 * 16);
        assert_eq!(batch(&bytes, 1 << 16), Some((bytes.len(), PACKET_BYTES + FRAMING_BYTES)));
    }

    #[test]
    fn a_batch_ends_at_its_limit_and_before_a_frame_that_is_not_whole() {
        let bytes = packets(&vec![7; 3000], true);
        let frame = PACKET_BYTES + FRAMING_BYTES;
        assert_eq!(batch(&bytes, 2 * frame), Some((2 * frame, frame)));
        assert_eq!(batch(&bytes[..2 * frame - 1], 1 << 16), Some((frame, frame)));
        assert_eq!(batch(&bytes[..3], 1 << 16), None);
    }

    #[test]
    fn a_batch_ends_with_its_access_unit() {
        let one = packets(&vec![7; 1500], true);
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(batch(&two, 1 << 16).map(|(length, _)| length), Some(one.len()));
    }
}
