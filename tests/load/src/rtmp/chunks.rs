//! The chunks (RTMP 1.0, 5.3) of a video message, laid out once.

/// Basic header of one byte, message header of type 0.
pub const HEADER_BYTES: usize = 12;
/// Of no other message that `rml_rtmp` sends on this connection.
const CHUNK_STREAM: u8 = 7;
/// The message type of video.
const VIDEO: u8 = 9;

/// The chunks of a video message at time 0 on message stream 0.
pub fn video_message(tag: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut chunks = Vec::with_capacity(HEADER_BYTES + tag.len() + tag.len() / chunk_bytes + 1);
    let [_, l0, l1, l2] = (tag.len() as u32).to_be_bytes();
    chunks.extend([CHUNK_STREAM, 0, 0, 0, l0, l1, l2, VIDEO, 0, 0, 0, 0]);
    for (at, part) in tag.chunks(chunk_bytes).enumerate() {
        if at > 0 {
            chunks.push(3 << 6 | CHUNK_STREAM);
        }
        chunks.extend(part);
    }
    chunks
}

/// Gives the message its time, of which the upper 8 bits must be free (no extended timestamp below 4.6 hours), and its stream.
pub fn address(message: &mut [u8], time_ms: u32, message_stream: [u8; 4]) {
    message[1..4].copy_from_slice(&time_ms.to_be_bytes()[1..]);
    message[8..12].copy_from_slice(&message_stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_into_chunks_of_the_size() {
        let mut chunks = video_message(&[1, 2, 3, 4, 5], 2);
        address(&mut chunks, 0x01_02_03, [9, 0, 0, 0]);
        let header = [7, 1, 2, 3, 0, 0, 5, 9, 9, 0, 0, 0];
        assert_eq!(chunks, [&header[..], &[1, 2, 0xC7, 3, 4, 0xC7, 5]].concat());
    }
}
