//! What makes it a process: configuration, leadership, admin endpoints, logs, shutdown.

pub mod admin;
pub mod config;
pub mod epoch;
mod handover;
pub mod leader;
pub mod log;
pub mod shutdown;
