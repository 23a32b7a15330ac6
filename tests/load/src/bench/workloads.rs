//! The workloads, by name.

use crate::clip::Kind;

/// What is published and read in one.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name; that of its group is what comes before the first dash.
    pub name: String,
    /// What it is.
    pub what: &'static str,
    /// Streams.
    pub streams: usize,
    /// Readers of each stream.
    pub readers: usize,
    /// Further readers of each stream that stall.
    pub stalled: usize,
    /// `tcp`, `udp` or `mix`.
    pub transport: &'static str,
    /// Readers that come in a second.
    pub joins: u32,
    /// The clip.
    pub clip: Kind,
}

impl Workload {
    fn new(name: &str, what: &'static str, streams: usize, readers: usize) -> Self {
        Self {
            name: name.to_owned(),
            what,
            streams,
            readers,
            stalled: 0,
            transport: "tcp",
            joins: 0,
            clip: Kind::Hd,
        }
    }

    fn by(self, transport: &'static str) -> Self {
        Self { transport, ..self }
    }

    /// Whether `asked` is its name or that of its group.
    pub fn is_called(&self, asked: &str) -> bool {
        self.name == asked || self.name.split('-').next() == Some(asked)
    }

    /// Whether the floor can run it: it cannot be joined, and readers that stall are nothing to it.
    pub fn has_floor(&self) -> bool {
        self.joins == 0 && self.stalled == 0
    }

    /// Whether the floor is to send what it reads by UDP to itself: where there are no readers, it is the hop that the kernel cannot spare
    /// two services.
    pub fn floor_has_hop(&self) -> bool {
        self.readers == 0
    }

    /// Whether it is only run when it is asked for by name: these are many.
    pub fn is_on_demand(&self) -> bool {
        self.is_called("S9") || self.is_called("S10")
    }
}

/// All of them.
pub fn all() -> Vec<Workload> {
    let mut all = vec![
        Workload::new("S1", "1 stream, 500 readers by TCP", 1, 500),
        Workload::new("S2", "1 stream, 500 readers by UDP", 1, 500).by("udp"),
        Workload::new("S3-50-tcp", "50 streams, 1 reader each, TCP", 50, 1),
        Workload::new("S3-50-udp", "50 streams, 1 reader each, UDP", 50, 1).by("udp"),
        Workload::new("S3-200-tcp", "200 streams, 1 reader each, TCP", 200, 1),
        Workload::new("S3-200-udp", "200 streams, 1 reader each, UDP", 200, 1).by("udp"),
        Workload::new("S4", "500 streams, no readers", 500, 0),
        Workload::new("S5", "50 streams, 4 readers each, half TCP, half UDP", 50, 4).by("mix"),
        Workload {
            clip: Kind::Huge,
            ..Workload::new("S6-tcp", "keyframes of 2 MB, 1 reader by TCP", 1, 1)
        },
        Workload {
            clip: Kind::Huge,
            ..Workload::new("S6-udp", "keyframes of 2 MB, 1 reader by UDP", 1, 1).by("udp")
        },
        Workload::new("S7-calm", "1 stream, 150 readers by TCP", 1, 150),
        Workload {
            stalled: 50,
            ..Workload::new("S7-stall", "1 stream, 150 readers by TCP, 50 more that stall", 1, 150)
        },
        Workload {
            joins: 1000,
            ..Workload::new(
                "S8",
                "10 streams, 10 readers each, 1,000 more come each second",
                10,
                10,
            )
        },
        Workload::new("S9-none", "1 stream, no readers: memory", 1, 0),
        Workload::new("S9-streams", "201 streams, no readers: memory", 201, 0),
        Workload::new("S9-readers", "1 stream, 500 readers: memory", 1, 500),
    ];
    for count in [1, 3, 10, 30, 100, 300, 1000] {
        let name = format!("S10-streams-{count}");
        all.push(Workload::new(&name, "growth in streams, 1 reader each, TCP", count, 1));
    }
    for count in [1, 3, 10, 30, 100, 300, 1000] {
        let name = format!("S10-readers-{count}");
        all.push(Workload::new(&name, "growth in readers of 1 stream, TCP", 1, count));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_called_by_its_name_and_by_that_of_its_group() {
        let called = |asked: &str| all().iter().filter(|one| one.is_called(asked)).count();
        assert_eq!((called("S1"), called("S3"), called("S3-50-udp"), called("S11")), (1, 4, 1, 0));
        assert_eq!((called("S9"), called("S10")), (3, 14));
    }
}
