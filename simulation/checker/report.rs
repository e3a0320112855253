//! What the checker says.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::invariant::Invariant;

/// What came of a history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every violation, in the order of the invariants, then of time.
    pub violations: Vec<Violation>,
    /// How often each invariant had something to say about this history: one that never has proves nothing.
    pub evaluated: BTreeMap<Invariant, u64>,
}

/// Something happened that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: Invariant,
    /// Virtual time since the world began.
    pub at: Duration,
    /// The change that did it; `None` where the lack of one did.
    pub revision: Option<u64>,
    /// What was wrong, for somebody at three in the morning: who did what to which object, and what it should have been.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s", self.invariant, self.at.as_secs_f64())?;
        if let Some(revision) = self.revision {
            write!(f, ", change {revision}")?;
        }
        write!(f, ": {}", self.message)
    }
}
