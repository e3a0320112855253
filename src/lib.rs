#![forbid(unsafe_code)]
//! Seatrial.
pub mod analysis;
pub mod api;
pub mod cli;
pub mod controller;
pub mod process;
pub mod prometheus;
pub mod revision;
pub mod rollout;
pub mod route;
pub mod workload;
