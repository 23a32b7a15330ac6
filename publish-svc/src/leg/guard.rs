//! The key of a leg: what its sender sealed is opened, and what goes back to it is sealed.

use std::net::SocketAddr;

use bytes::Bytes;
use media::{
    sdp::SessionDescription,
    srtp::{MasterKey, Refused, Session},
};

use super::Counters;

/// See the module.
pub(super) struct Guard {
    key: MasterKey,
    session: Session,
}

impl Guard {
    /// That of a leg with this key; the one before, if it is the same key: no nonce is to be used twice with it.
    pub(super) fn next(before: Option<Self>, key: Option<&MasterKey>) -> Option<Self> {
        let key = key?;
        let same = before.filter(|before| before.key == *key);
        Some(same.unwrap_or_else(|| Self { key: key.clone(), session: Session::new(key) }))
    }

    /// Opens an RTP packet in its place.
    pub(super) fn open_rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        self.session.open_rtp(packet).map(|packet| &*packet)
    }

    /// Opens an RTCP compound in its place.
    pub(super) fn open_rtcp<'a>(&mut self, compound: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        self.session.open_rtcp(compound).map(|compound| &*compound)
    }

    /// Seals compounds. One that cannot be sealed is left out.
    pub(super) fn seal(&mut self, compounds: &mut Vec<(SocketAddr, Bytes)>) {
        compounds.retain_mut(|(to, compound)| match self.session.seal_rtcp(compound) {
            Ok(sealed) => {
                *compound = sealed;
                true
            }
            Err(error) => {
                tracing::debug!(%error, %to, "RTCP cannot be sealed");
                false
            }
        });
    }
}

/// Our SSRC in reports: none of the sender's (RFC 3550, 8.1), with whom we may share a key.
pub(super) fn report_ssrc(
    description: &SessionDescription,
    random: &mut dyn FnMut() -> u32,
) -> u32 {
    loop {
        let ssrc = random();
        if description.tracks.iter().all(|track| track.ssrc != Some(ssrc)) {
            return ssrc;
        }
    }
}

impl Counters {
    /// Something was not opened.
    pub(super) fn refuse_sealed(&self, refused: Refused) {
        let counter = match refused {
            Refused::Malformed => &self.malformed,
            Refused::Unauthentic => &self.refused_unauthentic,
            Refused::CameBefore | Refused::TooOld => &self.refused_replayed,
        };
        Self::add(counter, 1);
    }
}
