//! Why a connection has to be closed.

use super::amf0::Amf0Error;

/// Why a connection has to be closed; always the peer's fault. What must still be said to the peer
/// stands in `poll_output`. `at` counts from the first byte of the connection.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RtmpError {
    /// The peer broke the protocol.
    #[error("{what} at byte {at} of the connection")]
    Protocol {
        /// What it did.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// C0 does not name RTMP version 3: not an RTMP client, or one that wants RTMPE.
    #[error("the first byte is {0:#04x}, RTMP starts with 0x03")]
    Version(u8),
    /// A Set Chunk Size of nothing or of more than 31 bits (5.4.1).
    #[error("chunk size {size} at byte {at} of the connection, 1 to 2147483647 can be")]
    ChunkSize {
        /// What was asked for.
        size: u32,
        /// Where.
        at: u64,
    },
    /// A message longer than its type may be.
    #[error(
        "message of type {type_id} announces {length} bytes at byte {at} of the connection, {max} can be"
    )]
    MessageTooLong {
        /// Its message type id.
        type_id: u8,
        /// Its announced length in bytes.
        length: usize,
        /// What its type may have.
        max: usize,
        /// Where.
        at: u64,
    },
    /// More chunk streams than a publisher needs.
    #[error("chunk stream {id} is one more than {max} at byte {at} of the connection")]
    TooManyChunkStreams {
        /// The id of the chunk stream too many.
        id: u32,
        /// How many can be.
        max: usize,
        /// Where.
        at: u64,
    },
    /// Unfinished messages hold more bytes than one connection may.
    #[error("unfinished messages hold more than {max} bytes at byte {at} of the connection")]
    TooMuchInProgress {
        /// How many bytes can be.
        max: usize,
        /// Where.
        at: u64,
    },
    /// A chunk header leans on an earlier one that never came.
    #[error(
        "chunk of type {format} without an earlier header on chunk stream {id} at byte {at} of the connection"
    )]
    NoEarlierHeader {
        /// The chunk's type, 2 or 3.
        format: u8,
        /// Its chunk stream.
        id: u32,
        /// Where.
        at: u64,
    },
    /// The AMF0 values of a command cannot be read.
    #[error("AMF0 in the message that ends at byte {at} of the connection: {source}")]
    Amf0 {
        /// Why.
        source: Amf0Error,
        /// Where the message ends.
        at: u64,
    },
}
