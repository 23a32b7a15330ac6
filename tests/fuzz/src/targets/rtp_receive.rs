//! Received packets: reorder buffer, access unit assembler and rewriter, one behind the other. Input: kind of track, window,
//! bounds, then records of one packet each: flags, milliseconds that pass, step of the sequence number (or, flagged, a number),
//! length and payload.

use std::time::{Duration, Instant};

use bytes::Bytes;
use media::{
    ClockRate,
    codec::{Codec, MediaKind},
    rtp::{
        AccessUnitAssembler, AssembledAccessUnit, Header, Ordered, ReceivedPacket, ReorderBuffer,
        Rewriter, inspect,
    },
};

use crate::input::Input;

const MARKER: u8 = 1;
const NEW_TIMESTAMP: u8 = 2;
const ANYWHERE: u8 = 4;
const LONG: u8 = 8;
const READER_SSRC: u32 = 0xCAFE;
const READER_PAYLOAD_TYPE: u8 = 100;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut receiver = Receiver::new(&mut input);
    let mut source =
        Source { sequence_number: u16::MAX - 3, timestamp: u32::MAX - 9_000, packets: 0 };
    let mut now = Instant::now();
    while !input.is_empty() {
        let flags = input.u8();
        now += Duration::from_millis(u64::from(input.u8() & 0x3F));
        receiver.receive(source.packet(flags, &mut input, now), now);
    }
    receiver.finish(now);
}

/// Where the sender stands.
struct Source {
    sequence_number: u16,
    timestamp: u32,
    packets: u32,
}

impl Source {
    fn packet(&mut self, flags: u8, input: &mut Input<'_>, now: Instant) -> ReceivedPacket {
        self.sequence_number = match flags & ANYWHERE {
            0 => self.sequence_number.wrapping_add_signed(i16::from(input.u8() as i8)),
            _ => input.u16(),
        };
        if flags & NEW_TIMESTAMP != 0 {
            self.timestamp = self.timestamp.wrapping_add(3000);
        }
        let length = usize::from(input.u8());
        let mut payload = input.take(length).to_vec();
        if flags & LONG != 0 {
            payload.resize(1400, 0);
        }
        let marker = if flags & MARKER != 0 { 0x80 } else { 0 };
        let mut packet = vec![0x80, marker | 96];
        packet.extend_from_slice(&self.sequence_number.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        // Nothing under test looks at the SSRC; here it makes each packet one of a kind.
        packet.extend_from_slice(&self.packets.to_be_bytes());
        self.packets += 1;
        packet.extend_from_slice(&payload);
        let header = Header::parse(&packet).expect("it is a packet");
        ReceivedPacket { header, bytes: packet.into(), received_at: now }
    }
}

/// All that a leg does with the packets of a track.
struct Receiver {
    codec: Codec,
    max_packets: usize,
    max_bytes: usize,
    buffer: ReorderBuffer,
    order: Order,
    assembler: AccessUnitAssembler,
    units: Vec<AssembledAccessUnit>,
    received: u32,
}

/// Codecs by the first byte of the input.
const CODECS: [Codec; 9] = [
    Codec::H264,
    Codec::Aac,
    Codec::H265,
    Codec::Av1,
    Codec::Vp9,
    Codec::Opus,
    Codec::Mp3,
    Codec::G711,
    Codec::Ac3,
];

impl Receiver {
    fn new(input: &mut Input<'_>) -> Self {
        let codec = CODECS[usize::from(input.u8()) % CODECS.len()];
        let window = Duration::from_millis(input.u8().into());
        let flags = input.u8();
        let max_packets = usize::from(flags & 63);
        let (answers, asks) = (flags & 64 != 0, flags & 128 != 0);
        let buffer = if answers { ReorderBuffer::answered } else { ReorderBuffer::new };
        let mut buffer = buffer(ClockRate::VIDEO, window, max_packets);
        buffer.set_asking(asks);
        let max_bytes = 64 << (input.u8() & 15);
        Self {
            codec,
            max_packets,
            max_bytes,
            buffer,
            order: Order::default(),
            assembler: AccessUnitAssembler::new(codec, max_bytes),
            units: vec![],
            received: 0,
        }
    }

    fn receive(&mut self, packet: ReceivedPacket, now: Instant) {
        self.received += 1;
        self.buffer.insert(packet);
        self.drain(now);
        let held = self.received - self.order.given - self.buffer.discarded();
        // The first packet of a sequence, which waits for those before it, is none of those that may wait.
        let most = self.max_packets + 2;
        assert!(held as usize <= most, "{held} wait, one of them as a stray");
    }

    fn drain(&mut self, now: Instant) {
        while let Some(ordered) = self.buffer.poll(now) {
            self.order.see(&ordered);
            self.assembler.handle(ordered);
            self.units.extend(std::iter::from_fn(|| self.assembler.poll()));
        }
        // What one NACK cannot name is due at once again.
        for _ in 0..16 {
            let requests = self.buffer.requests(now);
            assert!(requests.len() <= 256 + 2);
            if requests.is_empty() {
                break;
            }
        }
        assert!(self.buffer.deadline().is_none_or(|deadline| deadline > now));
        assert_eq!(self.buffer.lost(), self.order.lost);
        if let Some(block) = self.buffer.report_block(1) {
            assert!((0..0x80_0000).contains(&block.cumulative_lost), "{block:?}");
        }
    }

    fn finish(mut self, now: Instant) {
        self.drain(now + Duration::from_secs(1));
        assert_eq!(self.buffer.deadline(), None);
        let held = self.received - self.order.given - self.buffer.discarded();
        assert!(held <= 1, "{held} packets are neither given out nor counted");
        // Ends the open access unit.
        self.assembler.handle(Ordered::Restarted);
        self.units.extend(self.assembler.poll());
        let packets: usize = self.units.iter().map(|unit| unit.packets.sizes.len()).sum();
        if self.assembler.oversized() == 0 {
            assert_eq!(packets, self.order.given as usize);
        }
        for unit in &self.units {
            self.unit(unit);
        }
        rewrite(&self.units);
    }

    fn unit(&self, unit: &AssembledAccessUnit) {
        let packets: Vec<Bytes> = unit.packets.packets().collect();
        assert!(!packets.is_empty() && unit.packets.data.len() <= self.max_bytes);
        let (mut keyframe, mut ended, mut sets) = (false, false, vec![]);
        let mut expected = None;
        let mut marker = false;
        for packet in &packets {
            let header = Header::parse(packet).expect("it was a packet");
            assert!(!marker, "a marker ends an access unit");
            // In MPEG audio it says that sound begins.
            marker = header.marker && self.codec != Codec::Mp3;
            assert_eq!(header.timestamp, unit.timestamp);
            let follows = expected.is_none_or(|expected| expected == header.sequence_number);
            assert!(follows || unit.damaged, "a gap within an access unit that is not damaged");
            expected = Some(header.sequence_number.wrapping_add(1));
            let payload = &packet[header.payload];
            assert!(!ended, "nothing follows the end of an access unit");
            let info = inspect(self.codec, payload, |set| sets.push(Bytes::copy_from_slice(set)));
            keyframe |= info.starts_keyframe;
            ended = info.ends_unit;
        }
        let cut = !marker && !ended && self.order.breaks_behind(&packets);
        assert!(unit.damaged || !cut, "an access unit whose end is missing is not damaged");
        match self.codec.kind() {
            MediaKind::Video => {
                assert_eq!((unit.keyframe, &unit.parameter_sets[..]), (keyframe, &sets[..]))
            }
            MediaKind::Audio => assert!(unit.keyframe && unit.parameter_sets.is_empty()),
        }
    }
}

/// Holds what comes out of the reorder buffer against the order that it promises.
#[derive(Default)]
struct Order {
    next: Option<u16>,
    given: u32,
    lost: u32,
    last: Option<Bytes>,
    /// The packets behind which there is a restart.
    last_before_restart: Vec<Bytes>,
}

impl Order {
    fn see(&mut self, ordered: &Ordered) {
        match ordered {
            Ordered::Packet(packet) => {
                let sequence_number = packet.header.sequence_number;
                assert!(self.next.is_none_or(|next| next == sequence_number), "out of order");
                self.next = Some(sequence_number.wrapping_add(1));
                self.given += 1;
                self.last = Some(packet.bytes.clone());
            }
            Ordered::Lost(count) => {
                assert!(*count > 0);
                self.next = self.next.map(|next| next.wrapping_add(*count as u16));
                self.lost += count;
            }
            Ordered::Restarted => {
                self.next = None;
                self.last_before_restart.extend(self.last.take());
            }
        }
    }

    fn breaks_behind(&self, packets: &[Bytes]) -> bool {
        let Some(last) = packets.last() else { return false };
        self.last_before_restart.iter().any(|packet| packet == last)
    }
}

/// Readers see one sequence without a break, with gaps where packets are missing, whatever the leg did.
fn rewrite(units: &[AssembledAccessUnit]) {
    let mut rewriter = Rewriter::new(READER_SSRC, READER_PAYLOAD_TYPE, 7);
    for (at, unit) in units.iter().enumerate() {
        let resumes = at % 5 == 4;
        let (before, next) =
            (at.checked_sub(1).map(|at| &units[at]), rewriter.next_sequence_number());
        let last_timestamp = before.map(|before| rewriter.map_timestamp(before.timestamp));
        if resumes {
            rewriter.resume(unit.timestamp, 3000);
        }
        let out = rewriter.rewrite(unit.packets.clone(), unit.timestamp);
        assert_eq!(out.sizes, unit.packets.sizes);
        let mut offset = None;
        for (new, old) in out.packets().zip(unit.packets.packets()) {
            let (header, was) =
                (Header::parse(&new).expect("new"), Header::parse(&old).expect("old"));
            assert_eq!((header.ssrc, header.payload_type), (READER_SSRC, READER_PAYLOAD_TYPE));
            assert_eq!((header.marker, &new[header.payload]), (was.marker, &old[was.payload]));
            assert_eq!(header.timestamp, rewriter.map_timestamp(unit.timestamp));
            if offset.is_none() && (resumes || at == 0) {
                assert_eq!(header.sequence_number, next, "the sequence goes on");
            }
            let shift = header.sequence_number.wrapping_sub(was.sequence_number);
            assert_eq!(*offset.get_or_insert(shift), shift, "gaps stay gaps");
        }
        if let Some(last) = last_timestamp.filter(|_| resumes) {
            assert_eq!(rewriter.map_timestamp(unit.timestamp), last.wrapping_add(3000));
        }
    }
}
