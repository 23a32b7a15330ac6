//! One end of a transport: its packets sealed, those of the other end opened.

use bytes::Bytes;
use ring::aead::{Aad, LessSafeKey, Nonce};
use smallvec::SmallVec;

use super::{
    MasterKey, RTCP_OVERHEAD_BYTES, TAG_BYTES,
    key::{SALT_BYTES, SessionKey},
    replay::{Known, ReplayWindow},
};
use crate::rtp::Header;

/// The RTP packets that are told from each other, in 64: as many as a sender keeps to send them again.
const RTP_WINDOW_WORDS: usize = 8192 / 64;
/// The RTCP compounds, in 64.
const RTCP_WINDOW_WORDS: usize = 2;
/// The most sources of the other end: as many as a session description has media sections.
const MAX_SOURCES: usize = 16;
/// After so many packets in a row that are not authentic or too old the rollover counter may be another: more than half a round of the sequence
/// numbers was missed.
const MAX_FAILURES: u32 = 16;
/// One round of the sequence numbers.
const ROUND: u64 = 1 << 16;
/// E of SRTCP (RFC 7714, 9): it is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// The RTCP header and the sender's SSRC.
const RTCP_HEADER_BYTES: usize = 8;

/// See the module.
pub struct Session {
    rtp: SessionKey,
    rtcp: SessionKey,
    sending: SmallVec<[Sending; 2]>,
    receiving: SmallVec<[Receiving; 2]>,
}

/// A source of ours.
struct Sending {
    ssrc: u32,
    /// The highest index of RTP: rollover counter and sequence number.
    highest: Option<u64>,
    rtcp_index: u32,
}

/// A source of the other end's, of which something authentic came.
struct Receiving {
    ssrc: u32,
    rtp: ReplayWindow,
    rtcp: ReplayWindow,
    /// Packets in a row that were not authentic, or too old.
    failures: u32,
}

/// Why a packet is not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It is no SRTP packet or SRTCP compound; maybe one that is not encrypted.
    #[error("not an SRTP packet")]
    Malformed,
    /// It is not of who has the key, or was changed on its way.
    #[error("not authentic")]
    Unauthentic,
    /// It came before: sent twice, or replayed.
    #[error("it came before")]
    CameBefore,
    /// It is so old that nobody knows whether it came before.
    #[error("too old")]
    TooOld,
}

/// Why a packet cannot be sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// It is no RTP packet or RTCP compound.
    #[error("not a packet")]
    Malformed,
    /// The other end sends with its SSRC.
    #[error("SSRC {0:08x} is the other end's")]
    ForeignSsrc(u32),
    /// 2^31 compounds, or 2^48 packets, went out with this key (RFC 3711, 9.2).
    #[error("the key is used up")]
    KeyUsedUp,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(..)")
    }
}

impl Session {
    /// Before the first packet.
    pub fn new(key: &MasterKey) -> Self {
        let (rtp, rtcp) = key.derive();
        Self::with(rtp, rtcp)
    }

    pub(super) fn with(rtp: SessionKey, rtcp: SessionKey) -> Self {
        Self { rtp, rtcp, sending: SmallVec::new(), receiving: SmallVec::new() }
    }

    /// Seals an RTP packet of ours behind what is in `out`; it grows by [`TAG_BYTES`]. One that was sealed before becomes the same bytes again.
    pub fn seal_rtp(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let header = header_bytes(packet).ok_or(SealError::Malformed)?;
        let (number, ssrc) = number_and_ssrc(packet).ok_or(SealError::Malformed)?;
        let source = self.sending(ssrc)?;
        let index = match source.highest {
            None => number.into(),
            Some(highest) => nearest(highest, number).ok_or(SealError::Malformed)?,
        };
        if index >> 48 != 0 {
            return Err(SealError::KeyUsedUp);
        }
        source.highest = source.highest.max(Some(index));
        let start = out.len();
        out.extend_from_slice(packet);
        let (header, payload) = out[start..].split_at_mut(header);
        let tag = self.rtp.seal(rtp_nonce(ssrc, index), header, payload);
        out.extend_from_slice(tag.ok_or(SealError::Malformed)?.as_ref());
        Ok(())
    }

    /// Opens an RTP packet of the other end in its place; the packet as it was sealed.
    pub fn open_rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a mut [u8], Refused> {
        let header = header_bytes(packet).ok_or(Refused::Malformed)?;
        let (number, ssrc) = number_and_ssrc(packet).ok_or(Refused::Malformed)?;
        let plain = packet.len().checked_sub(TAG_BYTES).filter(|plain| *plain >= header);
        let plain = plain.ok_or(Refused::Malformed)?;
        let at = self.receiving(ssrc)?;
        let opened = self.indexes(at, number).and_then(|indexes| {
            let opened = self.rtp.open_one_of(&indexes, ssrc, packet, header);
            opened.ok_or(Refused::Unauthentic)
        });
        let index = match opened {
            Ok(index) => index,
            Err(Refused::CameBefore) => return Err(Refused::CameBefore),
            Err(refused) => {
                if let Some(source) = at.and_then(|at| self.receiving.get_mut(at)) {
                    source.failures = source.failures.saturating_add(1);
                }
                return Err(refused);
            }
        };
        let source = self.source(at, ssrc)?;
        source.failures = 0;
        // Another one than was expected is checked now.
        match source.rtp.known(index) {
            Known::New => source.rtp.come(index),
            Known::Came => return Err(Refused::CameBefore),
            Known::TooOld => return Err(Refused::TooOld),
        }
        Ok(&mut packet[..plain])
    }

    /// Seals an RTCP compound of ours; it grows by [`RTCP_OVERHEAD_BYTES`].
    pub fn seal_rtcp(&mut self, compound: &[u8]) -> Result<Bytes, SealError> {
        let ssrc = rtcp_ssrc(compound).ok_or(SealError::Malformed)?;
        let source = self.sending(ssrc)?;
        let index = source.rtcp_index;
        if index & ENCRYPTED != 0 {
            return Err(SealError::KeyUsedUp);
        }
        source.rtcp_index += 1;
        let mut out = Vec::with_capacity(compound.len() + RTCP_OVERHEAD_BYTES);
        out.extend_from_slice(compound);
        let (header, body) = out.split_at_mut(RTCP_HEADER_BYTES);
        let trailer = (ENCRYPTED | index).to_be_bytes();
        let tag = self.rtcp.seal(rtcp_nonce(ssrc, index), &rtcp_aad(header, trailer), body);
        out.extend_from_slice(tag.ok_or(SealError::Malformed)?.as_ref());
        out.extend_from_slice(&trailer);
        Ok(out.into())
    }

    /// Opens an RTCP compound of the other end in its place; the compound as it was sealed.
    pub fn open_rtcp<'a>(&mut self, compound: &'a mut [u8]) -> Result<&'a mut [u8], Refused> {
        let ssrc = rtcp_ssrc(compound).ok_or(Refused::Malformed)?;
        let least = RTCP_HEADER_BYTES + RTCP_OVERHEAD_BYTES;
        let trailer = *compound.last_chunk::<4>().ok_or(Refused::Malformed)?;
        let word = u32::from_be_bytes(trailer);
        if compound.len() < least || word & ENCRYPTED == 0 {
            return Err(Refused::Malformed);
        }
        let index = word & !ENCRYPTED;
        let at = self.receiving(ssrc)?;
        match at.map_or(Known::New, |at| self.receiving[at].rtcp.known(index.into())) {
            Known::New => {}
            Known::Came => return Err(Refused::CameBefore),
            Known::TooOld => return Err(Refused::TooOld),
        }
        let end = compound.len() - trailer.len();
        let (header, sealed) = compound[..end].split_at_mut(RTCP_HEADER_BYTES);
        let aad = rtcp_aad(header, trailer);
        if !self.rtcp.open(rtcp_nonce(ssrc, index), &aad, sealed) {
            return Err(Refused::Unauthentic);
        }
        self.source(at, ssrc)?.rtcp.come(index.into());
        Ok(&mut compound[..end - TAG_BYTES])
    }

    fn sending(&mut self, ssrc: u32) -> Result<&mut Sending, SealError> {
        if self.receiving.iter().any(|source| source.ssrc == ssrc) {
            return Err(SealError::ForeignSsrc(ssrc));
        }
        let at = self.sending.iter().position(|source| source.ssrc == ssrc);
        let at = at.unwrap_or_else(|| {
            self.sending.push(Sending { ssrc, highest: None, rtcp_index: 0 });
            self.sending.len() - 1
        });
        Ok(&mut self.sending[at])
    }

    /// Where a source of the other end's is, if something of it came. What we sent ourselves is none.
    fn receiving(&self, ssrc: u32) -> Result<Option<usize>, Refused> {
        if self.sending.iter().any(|source| source.ssrc == ssrc) {
            return Err(Refused::Unauthentic);
        }
        Ok(self.receiving.iter().position(|source| source.ssrc == ssrc))
    }

    /// The source of something authentic.
    fn source(&mut self, at: Option<usize>, ssrc: u32) -> Result<&mut Receiving, Refused> {
        let at = match at {
            Some(at) => at,
            None if self.receiving.len() == MAX_SOURCES => return Err(Refused::Unauthentic),
            None => {
                let rtp = ReplayWindow::new(RTP_WINDOW_WORDS);
                let rtcp = ReplayWindow::new(RTCP_WINDOW_WORDS);
                self.receiving.push(Receiving { ssrc, rtp, rtcp, failures: 0 });
                self.receiving.len() - 1
            }
        };
        Ok(&mut self.receiving[at])
    }

    /// The indexes that a packet with this sequence number may have (RFC 3711, 3.3.1).
    fn indexes(&self, at: Option<usize>, number: u16) -> Result<SmallVec<[u64; 2]>, Refused> {
        let mut indexes = SmallVec::new();
        let source = at.map(|at| &self.receiving[at]);
        let Some((source, highest)) = source.and_then(|s| Some((s, s.rtp.highest()?))) else {
            // The first that comes may be behind a round whose end was lost.
            indexes.push(number.into());
            if number < 1 << 15 {
                indexes.push(ROUND + u64::from(number));
            }
            return Ok(indexes);
        };
        let index = nearest(highest, number).unwrap_or(number.into());
        if source.failures >= MAX_FAILURES {
            indexes.extend([index, index + ROUND]);
            return Ok(indexes);
        }
        match source.rtp.known(index) {
            Known::New => indexes.push(index),
            Known::Came => return Err(Refused::CameBefore),
            Known::TooOld => return Err(Refused::TooOld),
        }
        Ok(indexes)
    }
}

impl SessionKey {
    fn seal(
        &self,
        nonce: [u8; SALT_BYTES],
        header: &[u8],
        payload: &mut [u8],
    ) -> Option<ring::aead::Tag> {
        let nonce = self.salted(nonce);
        self.key()?.seal_in_place_separate_tag(nonce, Aad::from(header), payload).ok()
    }

    /// Whether it is authentic. If not, what was in `sealed` is gone.
    fn open(&self, nonce: [u8; SALT_BYTES], header: &[u8], sealed: &mut [u8]) -> bool {
        let Some(key) = self.key() else { return false };
        key.open_in_place(self.salted(nonce), Aad::from(header), sealed).is_ok()
    }

    /// Opens a packet with the first of these indexes with which it is authentic.
    fn open_one_of(
        &self,
        indexes: &[u64],
        ssrc: u32,
        packet: &mut [u8],
        header: usize,
    ) -> Option<u64> {
        let (&last, others) = indexes.split_last()?;
        for &index in others {
            let mut copy = packet.to_vec();
            let (head, sealed) = copy.split_at_mut(header);
            if self.open(rtp_nonce(ssrc, index), head, sealed) {
                packet.copy_from_slice(&copy);
                return Some(index);
            }
        }
        let (head, sealed) = packet.split_at_mut(header);
        self.open(rtp_nonce(ssrc, last), head, sealed).then_some(last)
    }

    fn key(&self) -> Option<&LessSafeKey> {
        self.key.as_ref()
    }

    fn salted(&self, mut nonce: [u8; SALT_BYTES]) -> Nonce {
        nonce.iter_mut().zip(&self.salt).for_each(|(byte, salt)| *byte ^= salt);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The index with this sequence number that is nearest to another; `None`: it would be before the first.
fn nearest(highest: u64, number: u16) -> Option<u64> {
    let step = number.wrapping_sub(highest as u16) as i16;
    highest.checked_add_signed(step.into())
}

/// RFC 7714, 8.1. The index is the rollover counter and behind it the sequence number.
fn rtp_nonce(ssrc: u32, index: u64) -> [u8; SALT_BYTES] {
    let mut nonce = [0; SALT_BYTES];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    nonce
}

/// RFC 7714, 9.1.
fn rtcp_nonce(ssrc: u32, index: u32) -> [u8; SALT_BYTES] {
    let mut nonce = [0; SALT_BYTES];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    nonce
}

/// RFC 7714, 9.2.
fn rtcp_aad(header: &[u8], trailer: [u8; 4]) -> [u8; RTCP_HEADER_BYTES + 4] {
    let mut aad = [0; RTCP_HEADER_BYTES + 4];
    aad[..RTCP_HEADER_BYTES].copy_from_slice(&header[..RTCP_HEADER_BYTES]);
    aad[RTCP_HEADER_BYTES..].copy_from_slice(&trailer);
    aad
}

/// The size of an RTP header with its contributing sources and extension (RFC 3550, 5.1), which is as long as the packet at the most.
fn header_bytes(packet: &[u8]) -> Option<usize> {
    let &first = packet.first().filter(|first| **first >> 6 == 2)?;
    let sources = Header::FIXED_BYTES + 4 * usize::from(first & 0x0f);
    let bytes = match first & 0x10 {
        0 => sources,
        _ => {
            let &[high, low] = packet.get(sources + 2..sources + 4)? else { return None };
            sources + 4 + 4 * usize::from(u16::from_be_bytes([high, low]))
        }
    };
    (bytes <= packet.len()).then_some(bytes)
}

fn number_and_ssrc(packet: &[u8]) -> Option<(u16, u32)> {
    let &[_, _, n1, n0, _, _, _, _, s3, s2, s1, s0] = packet.first_chunk::<12>()?;
    Some((u16::from_be_bytes([n1, n0]), u32::from_be_bytes([s3, s2, s1, s0])))
}

fn rtcp_ssrc(compound: &[u8]) -> Option<u32> {
    let &[first, _, _, _, s3, s2, s1, s0] = compound.first_chunk::<RTCP_HEADER_BYTES>()?;
    (first >> 6 == 2).then_some(u32::from_be_bytes([s3, s2, s1, s0]))
}
