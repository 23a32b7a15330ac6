//! RTP payloads back to NAL units and AAC frames, by the letter of RFC 6184 and RFC 3640: the other side of `Packetizer`.

use media::rtp::{Header, PacketBatch};

/// What all packets of one access unit have in common, checked: sizes, sequence, marker on the last only. Gives their payloads.
pub(super) fn payloads(batch: &PacketBatch, first_sequence: u16, max_size: usize) -> Vec<Vec<u8>> {
    let (payloads, markers) = payloads_and_markers(batch, first_sequence, max_size);
    let last = markers.len().saturating_sub(1);
    assert!(markers.iter().enumerate().all(|(at, &marker)| marker == (at == last)));
    payloads
}

/// The same of payload formats whose markers say that sound begins: none is set.
pub(super) fn payloads_of_sound(batch: &PacketBatch, first: u16, max_size: usize) -> Vec<Vec<u8>> {
    let (payloads, markers) = payloads_and_markers(batch, first, max_size);
    assert!(!markers.contains(&true));
    payloads
}

fn payloads_and_markers(
    batch: &PacketBatch,
    first_sequence: u16,
    max_size: usize,
) -> (Vec<Vec<u8>>, Vec<bool>) {
    let total: usize = batch.sizes.iter().map(|&size| usize::from(size)).sum();
    assert_eq!(total, batch.data.len());
    let (mut payloads, mut markers) = (vec![], vec![]);
    for (at, packet) in batch.packets().enumerate() {
        assert!(packet.len() <= max_size, "a packet of {} bytes, not {max_size}", packet.len());
        let header = Header::parse(&packet).expect("our packets can be read");
        assert_eq!(header.sequence_number, first_sequence.wrapping_add(at as u16));
        markers.push(header.marker);
        payloads.push(packet[header.payload].to_vec());
    }
    let runs: usize = batch.runs(64).map(|run| run.data.len()).sum();
    assert_eq!(runs, total);
    (payloads, markers)
}

/// The NAL units of an access unit's payloads (RFC 6184, packetization-mode 1).
pub(super) fn nal_units(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = vec![];
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        let kind = payload[0] & 0x1F;
        assert!(open.is_none() || kind == 28, "fragments follow each other");
        match kind {
            1..=23 => nals.push(payload.clone()),
            24 => {
                let mut rest = &payload[1..];
                while let Some((length, behind)) = rest.split_first_chunk() {
                    let (nal, behind) = behind.split_at(u16::from_be_bytes(*length).into());
                    nals.push(nal.to_vec());
                    rest = behind;
                }
                assert!(rest.is_empty());
            }
            28 => {
                let (start, end) = (payload[1] & 0x80 != 0, payload[1] & 0x40 != 0);
                assert!(!(start && end), "a fragmented unit has two fragments at least");
                assert_eq!(start, open.is_none());
                let header = payload[0] & 0xE0 | payload[1] & 0x1F;
                let nal = open.get_or_insert_with(|| vec![header]);
                nal.extend_from_slice(&payload[2..]);
                if end {
                    nals.extend(open.take());
                }
            }
            other => panic!("a payload of type {other}"),
        }
    }
    assert!(open.is_none(), "the last fragment is marked");
    nals
}

/// The AAC frame of an access unit's payloads (RFC 3640, AAC-hbr, one frame).
pub(super) fn aac_frame(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = vec![];
    let mut size = None;
    for payload in payloads {
        assert_eq!(payload[..2], [0, 16], "one AU-header of 16 bits");
        let header = u16::from_be_bytes([payload[2], payload[3]]);
        assert_eq!(header & 7, 0, "AU-Index");
        assert_eq!(*size.get_or_insert(header >> 3), header >> 3);
        frame.extend_from_slice(&payload[4..]);
    }
    assert_eq!(size.map(usize::from), Some(frame.len()));
    frame
}
