//! The chassis both services stand on: configuration, error kinds, telemetry, health, gRPC, drain.

pub mod config;
pub mod drain;
pub mod error;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod tasks;
pub mod telemetry;
