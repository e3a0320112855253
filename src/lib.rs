#![forbid(unsafe_code)]
//! Seatrial.
pub mod api;
pub mod prometheus;
pub mod rollout;
