//! The handshake (5.2), simple and complex (with digests, as Flash Player 9 introduced it), over
//! `rml_rtmp`, which answers in the form in which the peer asks and does not verify C2 or S2.
//!
//! What we say holds random bytes that `rml_rtmp` draws itself: the one random source in this crate.
//! Nothing that the session does depends on them.

use bytes::{Buf, Bytes, BytesMut};
use rml_rtmp::handshake::{Handshake as Exchange, HandshakeProcessResult, PeerType};

use super::RtmpError;

/// C0, C1 and C2, or S0, S1 and S2: all that a peer sends before its first chunk, and so the most that
/// is buffered.
pub(super) const HANDSHAKE_BYTES: usize = 1 + 1536 + 1536;

/// The version of plain RTMP (5.2.2).
const VERSION: u8 = 3;

/// One side of the handshake.
pub(super) struct Handshake {
    exchange: Exchange,
    taken: usize,
}

impl Handshake {
    /// The server's side, which waits for C0 and C1.
    pub(super) fn server() -> Self {
        Self { exchange: Exchange::new(PeerType::Server), taken: 0 }
    }

    /// The client's side, which says C0 and C1 at once. C1 has a digest, as ffmpeg's and Flash Player's have: some
    /// servers send H.264 to no others.
    pub(super) fn client(output: &mut Vec<Bytes>) -> Self {
        let mut exchange = Exchange::new(PeerType::Client);
        // Without an input there is nothing that could be wrong with it.
        if let Ok(c0_c1) = exchange.generate_outbound_p0_and_p1() {
            output.push(c0_c1.into());
        }
        Self { exchange, taken: 0 }
    }

    /// Takes what belongs to the handshake and leaves what follows it. `true` when it is through.
    pub(super) fn handle_input(
        &mut self,
        input: &mut BytesMut,
        output: &mut Vec<Bytes>,
    ) -> Result<bool, RtmpError> {
        if self.taken == 0 {
            match input.first() {
                None | Some(&VERSION) => {}
                Some(&other) => return Err(RtmpError::Version(other)),
            }
        }
        let now = input.len().min(HANDSHAKE_BYTES - self.taken);
        if now == 0 {
            return Ok(false);
        }
        let result = self.exchange.process_bytes(&input[..now]);
        input.advance(now);
        self.taken += now;
        let (response, done) = match result {
            Ok(HandshakeProcessResult::InProgress { response_bytes }) => (response_bytes, false),
            Ok(HandshakeProcessResult::Completed { response_bytes, remaining_bytes: _ }) => {
                (response_bytes, true)
            }
            Err(_) => {
                return Err(RtmpError::Protocol {
                    what: "broken handshake",
                    at: self.taken as u64,
                });
            }
        };
        if !response.is_empty() {
            output.push(response.into());
        }
        Ok(done)
    }
}
