//! Seatrial: a new version of a model proves itself on real traffic before it takes over.
//!
//! ```text
//! observe     watches + live reads      → Observed            controller/, I/O
//! questions   Observed, now             → Question            rollout/, pure
//! ask         Question                  → counts, samples     prometheus/, I/O in client.rs only
//! judge       counts                    → Verdict per SLO     analysis/, pure
//! plan        Observed, verdicts, now   → Plan                rollout/, pure and total
//! render      Plan                      → desired objects     workload/, route/, pure
//! act         desired, in safety order  → applied             controller/, I/O
//! publish     applied, Plan             → status, Events      controller/, I/O
//! ```
//!
//! Read [`rollout::phase`] next: the one table of what may follow what. Then [`rollout::plan`], and for the shell
//! [`controller::reconcile`]. What users write is in [`api`]; how the process starts and leads in [`process`].

#![forbid(unsafe_code)]

pub mod analysis;
pub mod api;
pub mod cli;
pub mod controller;
pub mod mutant;
pub mod process;
pub mod prometheus;
pub mod revision;
pub mod rollout;
pub mod route;
pub mod workload;
pub mod world;

#[cfg(test)]
mod house;
