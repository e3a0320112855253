#![forbid(unsafe_code)]
//! Seatrial.
pub mod api;
pub mod revision;
pub mod rollout;
pub mod route;
pub mod workload;
