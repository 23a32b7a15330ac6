//! The sending end of a leg: RTP and RTCP of one stream to one node.
//!
//! An ingest sends a stream to its nodes by it, and a node that feeds further nodes does it in the same way; the node at the other end cannot tell
//! them apart. A leg is [opened](Opened::open), which has the node bind its port and tells it what comes, and then carries access units
//! ([`Carrier`]) until it is closed or breaks. Whose lease it is under, and what follows a break, is its owner's business.

mod carrier;
mod history;
mod metrics;
mod node;
mod opened;
mod pacer;
mod reports;
mod seal;
mod socket;
mod track;

pub use carrier::{AccessUnit, Broken, Carrier, Handed, OnReport};
pub use metrics::Instruments;
pub use node::{Feeder, NodeError, stop};
pub use opened::{Config, LegStatus, OpenError, Opened, Target};
pub use track::{Clock, Track};
