#![forbid(unsafe_code)]
//! Seatrial.
pub mod analysis;
pub mod api;
pub mod rollout;
