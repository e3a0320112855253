//! The judge without the operator around it: see `Cargo.toml` beside this file.

#[path = "../../src/analysis/mod.rs"]
pub mod analysis;
