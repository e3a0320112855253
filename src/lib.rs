#![forbid(unsafe_code)]
//! Seatrial.
pub mod api;
pub mod cli;
pub mod controller;
pub mod process;
pub mod rollout;
