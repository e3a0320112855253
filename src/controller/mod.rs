//! The controllers: everything that talks to the API server while reconciling.

pub mod clock;
pub mod lanes;
pub mod metrics;
