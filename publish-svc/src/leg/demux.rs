//! Which packet belongs to which track of a leg, sans-IO: by payload type, SSRC (RFC 3550, 8; `a=ssrc` of RFC 5576) and source.
//!
//! A packet is accepted only from the source of the leg. Where the session description names the SSRC it must match; where it
//! names none, the first valid packet of the payload type tells it ("latches"). The source (address and port) always
//! latches, within `a=source-filter` if there is one. A latch lives until its track was silent for `silence` or said BYE, so that
//! a sender that came back on another port, or an RTP source fed by hand that began anew, gets in again.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use media::{
    rtp::Header,
    sdp::{SessionDescription, TrackDescription},
};

/// Tells the packets of one leg apart.
pub(crate) struct Demux {
    slots: Vec<Slot>,
    source_address: Option<IpAddr>,
    silence: Duration,
}

#[derive(Debug)]
struct Slot {
    payload_type: u8,
    /// From the session description.
    named_ssrc: Option<u32>,
    ssrc: Option<u32>,
    source: Option<SocketAddr>,
    rtcp_source: Option<SocketAddr>,
    last_packet: Option<Instant>,
}

/// Why a packet is refused. Counted, never answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// No track has its payload type.
    PayloadType,
    /// Not the SSRC of the track.
    Ssrc,
    /// Not from the source of the leg.
    Source,
}

/// A packet that belongs to the leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    /// The index of its track.
    pub(crate) track: usize,
    /// Another SSRC than that of the track's last packet (also: the first one).
    pub(crate) new_ssrc: bool,
}

impl Demux {
    /// Before the first packet of a leg.
    pub(crate) fn new(description: &SessionDescription, silence: Duration) -> Self {
        let slots = description.tracks.iter().map(Slot::new).collect();
        Self { slots, source_address: description.source_address, silence }
    }

    /// Whether `description` is of the same leg with the same tracks, and maybe further ones: their SSRCs are named, and the same.
    pub(crate) fn goes_on_in(&self, description: &SessionDescription) -> bool {
        let tracks = &description.tracks;
        self.slots.len() <= tracks.len()
            && self.slots.iter().zip(tracks).all(|(slot, track)| {
                let same = (slot.payload_type, slot.named_ssrc) == (track.payload_type, track.ssrc);
                same && slot.named_ssrc.is_some()
            })
    }

    /// Further tracks have come. Who tells so may send from another port by now, so the sources latch anew.
    pub(crate) fn extend(&mut self, description: &SessionDescription) {
        for slot in &mut self.slots {
            (slot.source, slot.rtcp_source) = (None, None);
        }
        let further = description.tracks.iter().skip(self.slots.len());
        self.slots.extend(further.map(Slot::new));
        self.source_address = description.source_address;
    }

    /// Whether an RTP packet is accepted, and as which track's.
    pub(crate) fn rtp(
        &mut self,
        source: SocketAddr,
        header: &Header,
        now: Instant,
    ) -> Result<Accepted, Refusal> {
        if self.source_address.is_some_and(|only| only != canonical(source.ip())) {
            return Err(Refusal::Source);
        }
        let track = self.track_of(header)?;
        self.check_source(track, source, now)?;
        let silence = self.silence;
        let slot = &mut self.slots[track];
        let first = slot.last_packet.is_none();
        let new_ssrc = match slot.ssrc {
            Some(ssrc) if ssrc == header.ssrc => first,
            Some(_) if !slot.is_silent(now, silence) => return Err(Refusal::Ssrc),
            Some(_) | None => true,
        };
        slot.ssrc = Some(header.ssrc);
        if slot.source.replace(source) != Some(source) {
            // Its RTCP comes from another port, too.
            slot.rtcp_source = None;
        }
        slot.last_packet = Some(now);
        Ok(Accepted { track, new_ssrc })
    }

    fn track_of(&self, header: &Header) -> Result<usize, Refusal> {
        let mut refusal = Refusal::PayloadType;
        for (track, slot) in self.slots.iter().enumerate() {
            if slot.payload_type != header.payload_type {
                continue;
            }
            if slot.named_ssrc.is_none_or(|ssrc| ssrc == header.ssrc) {
                return Ok(track);
            }
            refusal = Refusal::Ssrc;
        }
        Err(refusal)
    }

    /// Tracks whose SSRCs are named are one sender's: one source for all of them. Others may come from one program each.
    fn check_source(&self, track: usize, source: SocketAddr, now: Instant) -> Result<(), Refusal> {
        let of_one_sender = self.slots[track].named_ssrc.is_some();
        let latched = self.slots.iter().enumerate().filter(|(other, slot)| {
            *other == track || (of_one_sender && slot.named_ssrc.is_some())
        });
        for (_, slot) in latched {
            if slot.source.is_some_and(|s| s != source) && !slot.is_silent(now, self.silence) {
                return Err(Refusal::Source);
            }
        }
        Ok(())
    }

    /// Whose RTCP it is: that of a known SSRC from the address that its RTP comes from. The first one tells the sender's RTCP port.
    pub(crate) fn rtcp(&mut self, source: SocketAddr, ssrc: u32) -> Option<usize> {
        let track = self.slots.iter().position(|slot| slot.ssrc == Some(ssrc))?;
        let slot = &mut self.slots[track];
        let address = slot.source.map(|s| s.ip()).or(self.source_address);
        if address.is_some_and(|a| canonical(a) != canonical(source.ip())) {
            return None;
        }
        // Without a packet and without a source filter there is nothing yet to hold it against.
        slot.source?;
        match slot.rtcp_source {
            Some(latched) if latched != source => None,
            Some(_) => Some(track),
            None => {
                slot.rtcp_source = Some(source);
                Some(track)
            }
        }
    }

    /// Where reports on a track go.
    pub(crate) fn rtcp_source(&self, track: usize) -> Option<SocketAddr> {
        self.slots.get(track)?.rtcp_source
    }

    /// Where a track's sender can be asked for packets: tracks whose SSRCs are named are one sender's, with one RTCP port.
    pub(crate) fn sender_of(&self, track: usize) -> Option<SocketAddr> {
        let slot = self.slots.get(track)?;
        let of_one_sender = || {
            let named = self.slots.iter().filter(|other| other.named_ssrc.is_some());
            slot.named_ssrc.and_then(|_| named.filter_map(|other| other.rtcp_source).next())
        };
        slot.rtcp_source.or_else(of_one_sender)
    }

    /// The SSRC of a track, once it is known.
    pub(crate) fn ssrc(&self, track: usize) -> Option<u32> {
        self.slots.get(track)?.ssrc
    }

    /// The source of a track said BYE or fell silent: the next valid packet latches anew.
    pub(crate) fn release(&mut self, track: usize) {
        if let Some(slot) = self.slots.get_mut(track) {
            slot.ssrc = slot.named_ssrc;
            slot.source = None;
            slot.rtcp_source = None;
            slot.last_packet = None;
        }
    }

    /// When a packet of any track was last accepted.
    pub(crate) fn last_packet(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.last_packet).max()
    }
}

impl Slot {
    fn new(track: &TrackDescription) -> Self {
        Self {
            payload_type: track.payload_type,
            named_ssrc: track.ssrc,
            ssrc: track.ssrc,
            source: None,
            rtcp_source: None,
            last_packet: None,
        }
    }

    fn is_silent(&self, now: Instant, silence: Duration) -> bool {
        self.last_packet.is_none_or(|last| now.saturating_duration_since(last) >= silence)
    }
}

/// An IPv4 address that came by an IPv6 socket is the IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use media::codec::{CodecConfig, h264};

    use super::*;

    const SILENCE: Duration = Duration::from_secs(5);

    fn demux(tracks: &[(u8, Option<u32>)], source_address: Option<&str>) -> Demux {
        Demux::new(&description(tracks, source_address), SILENCE)
    }

    fn description(
        tracks: &[(u8, Option<u32>)],
        source_address: Option<&str>,
    ) -> SessionDescription {
        SessionDescription {
            name: "x".into(),
            source_address: source_address.map(|a| a.parse().unwrap()),
            crypto: None,
            tracks: tracks
                .iter()
                .map(|&(payload_type, ssrc)| TrackDescription {
                    config: CodecConfig::H264(h264::Config::default()),
                    payload_type,
                    ssrc,
                    cname: None,
                    nack: false,
                })
                .collect(),
        }
    }

    fn header(payload_type: u8, ssrc: u32) -> Header {
        Header {
            marker: false,
            payload_type,
            sequence_number: 1,
            timestamp: 1,
            ssrc,
            payload: 12..20,
        }
    }

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_named_ssrc_is_the_only_one_that_gets_in() {
        let mut demux = demux(&[(96, Some(7)), (97, Some(8))], None);
        let now = Instant::now();
        assert_eq!(demux.rtp(at(1000), &header(96, 9), now), Err(Refusal::Ssrc));
        assert_eq!(demux.rtp(at(1000), &header(96, 8), now), Err(Refusal::Ssrc));
        assert_eq!(demux.rtp(at(1000), &header(98, 7), now), Err(Refusal::PayloadType));
        assert_eq!(demux.rtp(at(1000), &header(97, 8), now).map(|a| a.track), Ok(1));
    }

    #[test]
    fn the_first_valid_packet_latches_the_source_for_all_tracks_of_the_sender() {
        let mut demux = demux(&[(96, Some(7)), (97, Some(8))], None);
        let now = Instant::now();
        assert!(demux.rtp(at(1000), &header(96, 7), now).is_ok());
        assert_eq!(demux.rtp(at(1001), &header(97, 8), now), Err(Refusal::Source));
        assert_eq!(demux.rtp(at(1001), &header(96, 7), now), Err(Refusal::Source));
        assert!(demux.rtp(at(1000), &header(97, 8), now).is_ok());
    }

    #[test]
    fn tracks_without_named_ssrcs_may_come_from_one_program_each() {
        let mut demux = demux(&[(96, None), (97, None)], None);
        let now = Instant::now();
        assert!(demux.rtp(at(1000), &header(96, 7), now).is_ok());
        assert!(demux.rtp(at(1002), &header(97, 8), now).is_ok());
        assert_eq!(demux.rtp(at(1000), &header(96, 9), now), Err(Refusal::Ssrc));
    }

    #[test]
    fn a_source_that_began_anew_gets_in_when_the_old_one_was_silent() {
        let mut demux = demux(&[(96, None)], None);
        let now = Instant::now();
        assert!(demux.rtp(at(1000), &header(96, 7), now).is_ok());
        let soon = now + SILENCE / 2;
        assert_eq!(demux.rtp(at(2000), &header(96, 9), soon), Err(Refusal::Source));
        let later = now + SILENCE;
        let accepted = Accepted { track: 0, new_ssrc: true };
        assert_eq!(demux.rtp(at(2000), &header(96, 9), later), Ok(accepted));
        assert_eq!(demux.rtp(at(1000), &header(96, 7), later), Err(Refusal::Source));
    }

    #[test]
    fn a_source_filter_keeps_other_addresses_out_before_any_latch() {
        let mut demux = demux(&[(96, None)], Some("127.0.0.2"));
        let now = Instant::now();
        assert_eq!(demux.rtp(at(1000), &header(96, 7), now), Err(Refusal::Source));
        assert!(demux.rtp(([127, 0, 0, 2], 1000).into(), &header(96, 7), now).is_ok());
    }

    #[test]
    fn rtcp_is_taken_of_known_ssrcs_and_from_the_address_of_their_rtp() {
        let mut demux = demux(&[(96, Some(7))], None);
        assert_eq!(demux.rtcp(at(1001), 7), None, "nothing to hold it against yet");
        assert!(demux.rtp(at(1000), &header(96, 7), Instant::now()).is_ok());
        assert_eq!(demux.rtcp(at(1001), 8), None);
        assert_eq!(demux.rtcp(([127, 0, 0, 2], 1001).into(), 7), None);
        assert_eq!(demux.rtcp(at(1001), 7), Some(0));
        assert_eq!(demux.rtcp(at(1003), 7), None, "the RTCP port has latched");
        assert_eq!(demux.rtcp_source(0), Some(at(1001)));
    }

    #[test]
    fn bye_frees_the_latch_at_once() {
        let mut demux = demux(&[(96, None)], None);
        let now = Instant::now();
        assert!(demux.rtp(at(1000), &header(96, 7), now).is_ok());
        demux.release(0);
        assert!(demux.rtp(at(2000), &header(96, 9), now).is_ok());
        assert_eq!(demux.ssrc(0), Some(9));
    }
    #[test]
    fn a_leg_goes_on_with_a_further_track_and_from_another_port() {
        let mut demux = demux(&[(96, Some(7))], None);
        let now = Instant::now();
        assert!(demux.rtp(at(1000), &header(96, 7), now).is_ok());
        let further = description(&[(96, Some(7)), (97, Some(8))], None);
        assert!(demux.goes_on_in(&further));
        demux.extend(&further);
        let accepted = |track, new_ssrc| Ok(Accepted { track, new_ssrc });
        assert_eq!(demux.rtp(at(2000), &header(96, 7), now), accepted(0, false));
        assert_eq!(demux.rtp(at(2000), &header(97, 8), now), accepted(1, true));
        assert_eq!(demux.rtp(at(1000), &header(96, 7), now), Err(Refusal::Source));
    }

    #[test]
    fn a_leg_of_other_or_unnamed_ssrcs_is_another() {
        let two = demux(&[(96, Some(7)), (97, Some(8))], None);
        for tracks in [
            &[(96, Some(7))][..],
            &[(96, Some(7)), (97, Some(9))],
            &[(96, Some(7)), (98, Some(8))],
            &[(96, Some(7)), (97, None)],
        ] {
            assert!(!two.goes_on_in(&description(tracks, None)), "{tracks:?}");
        }
        let unnamed = demux(&[(96, None)], None);
        assert!(!unnamed.goes_on_in(&description(&[(96, None)], None)));
    }
}
