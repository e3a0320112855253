//! How a [`Question`](crate::rollout::question::Question) is asked of Prometheus, and what its answer means.
//!
//! ```text
//! pack        data: which counters a data plane has, and which label holds the revision
//! provider    a pack with the operator's settings
//! promql      what users may write; how values enter it
//! query       Question → instant queries
//! answer      bytes → series, or why not
//! assemble    series → Answer
//! client      sends them (the only I/O here)
//! ```
//!
//! Raw counters are read with range selectors, never `rate()`: every increment is counted once and exactly. An answer
//! that is not wholly sound (an error, a timeout, a warning, NaN, several series for one value) is no answer.

pub mod answer;
pub mod assemble;
pub mod client;
pub mod pack;
pub mod promql;
pub mod provider;
pub mod query;

use crate::rollout::question::Unanswered;

/// Text or a setting that cannot be used: which field, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct Refused {
    /// The field, relative to the SLO or to the provider: `ratio.bad`, `metrics`.
    pub field: String,
    /// A clause that follows the field's name: `must be …: write …`.
    pub message: String,
}

impl Refused {
    fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

impl From<Refused> for Unanswered {
    fn from(refused: Refused) -> Self {
        Self { reason: "BadQuestion", message: refused.to_string() }
    }
}

/// Reasons are one word (a metric label); messages are a sentence without anything that a server sent.
fn unanswered(reason: &'static str, message: impl Into<String>) -> Unanswered {
    Unanswered { reason, message: message.into() }
}
