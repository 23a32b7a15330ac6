//! RTP (RFC 3550): packets, packetizing, putting in order.

mod assembler;
mod inspect;
mod missing;
mod pace;
mod packet;
mod packetizer;
mod reorder;
mod rewriter;

pub use assembler::{AccessUnitAssembler, AssembledAccessUnit};
pub use inspect::{PayloadInfo, inspect};
pub use pace::{PACE_PERIOD, SendPace};
pub use packet::{Header, PacketBatch, RtpError, SegmentRun, is_rtcp};
pub use packetizer::{Packetizer, PacketizerConfig};
pub use reorder::{Ordered, ReceivedPacket, ReorderBuffer};
pub use rewriter::Rewriter;
