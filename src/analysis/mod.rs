//! Is the candidate good, bad, or not known yet? Counts of requests in, verdicts out, with stated error rates.
//! Pure: no I/O, no clock, no dependency beyond `libm`.
//!
//! ```text
//! samples ── ledger ── counts ── judge ── verdict, report          one SLO, block by block
//!            counters · histogram  │
//! history ── dispersion ── settings┘       kernel · eprocess · compare · slowness · estimate · planner
//! a query's values ── threshold ── verdict
//! units of two variants ── ab ── experiment ── who wins
//! ```
//!
//! Begin with [`judge`]; the one formula is in [`kernel`].

pub mod ab;
pub mod compare;
pub mod counters;
pub mod counts;
pub mod dispersion;
pub mod eprocess;
pub mod estimate;
pub mod experiment;
pub mod histogram;
pub mod judge;
pub mod kernel;
pub mod ledger;
pub mod planner;
pub mod settings;
pub mod slowness;
pub mod threshold;
pub mod verdict;
pub mod words;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;
