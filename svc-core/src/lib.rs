//! The chassis both services stand on: configuration, error kinds, telemetry, health, gRPC, drain.

pub mod accept;
pub mod alarm;
pub mod api;
pub mod clock;
pub mod config;
pub mod drain;
pub mod error;
pub mod grpc;
pub mod http;
mod local_address;
pub mod metrics;
pub mod panics;
mod process_id;
pub mod sockets;
pub mod tasks;
pub mod telemetry;

pub use local_address::local_address_towards;
pub use process_id::process_id;
