//! Sending packets that are marked with a DSCP.
//!
//! quinn-udp tells the system the ECN bits of each message, and by that the whole traffic class: that of the socket does not count then. So what is
//! marked is sent by socket2, with the one control message that segmentation offload takes.

use std::{
    io::{self, IoSlice},
    net::UdpSocket,
};

use socket2::{MsgHdr, SockRef};

/// The level and the type of the control message that says the size of segments (linux/udp.h).
const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;
/// `struct cmsghdr`: its length in the machine's word, level and type.
const HEADER_BYTES: usize = size_of::<usize>() + 8;
/// With a 16-bit number behind it, up to a whole word.
const CONTROL_BYTES: usize = HEADER_BYTES + size_of::<usize>();

/// Sends packets of one size, but for a smaller last one, on a connected socket.
pub(super) fn send(socket: &UdpSocket, packets: &[u8], segment_size: u16) -> io::Result<()> {
    let buffers = [IoSlice::new(packets)];
    let control = control(segment_size);
    let mut message = MsgHdr::new().with_buffers(&buffers);
    if packets.len() > usize::from(segment_size) {
        message = message.with_control(&control);
    }
    SockRef::from(socket).sendmsg(&message, 0).map(drop)
}

fn control(segment_size: u16) -> [u8; CONTROL_BYTES] {
    let mut control = [0; CONTROL_BYTES];
    let (header, size) = control.split_at_mut(HEADER_BYTES);
    let (length, level_and_type) = header.split_at_mut(size_of::<usize>());
    length.copy_from_slice(&(HEADER_BYTES + size_of::<u16>()).to_ne_bytes());
    level_and_type[..4].copy_from_slice(&SOL_UDP.to_ne_bytes());
    level_and_type[4..].copy_from_slice(&UDP_SEGMENT.to_ne_bytes());
    size[..2].copy_from_slice(&segment_size.to_ne_bytes());
    control
}
