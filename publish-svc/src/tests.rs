//! The whole service in one process: its API, its registry, legs over UDP, readers over TCP and UDP.

mod any_node;
mod control;
mod drain;
mod feeds;
mod metrics;
mod multicast;
mod orphans;
mod reports;
mod rtsp;
mod slow;
mod start;
mod tunnel;
mod udp;
