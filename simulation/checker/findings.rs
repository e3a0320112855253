//! What one invariant found.

use std::time::Duration;

use seatrial::world::history::Change;

use super::{invariant::Invariant, report::Violation};

/// So many violations of one invariant are told; the first is what matters.
const TOLD: usize = 5;

/// What one invariant found.
pub struct Findings {
    invariant: Invariant,
    /// How often it had something to say.
    pub armed: u64,
    /// What it said.
    pub violations: Vec<Violation>,
}

impl Findings {
    /// Nothing yet.
    pub fn new(invariant: Invariant) -> Self {
        Self { invariant, armed: 0, violations: vec![] }
    }

    /// It looks at a case to which it applies.
    pub fn armed(&mut self) {
        self.armed += 1;
    }

    /// A change broke it.
    pub fn by(&mut self, change: &Change, message: String) {
        self.found(change.at, Some(change.revision), message);
    }

    /// A change broke it unless `holds`; counts as a case.
    pub fn expect(&mut self, holds: bool, change: &Change, message: impl FnOnce() -> String) {
        self.armed();
        if !holds {
            self.by(change, message());
        }
    }

    /// Nothing happened until `at` that should have.
    pub fn missed(&mut self, at: Duration, message: String) {
        self.found(at, None, message);
    }

    fn found(&mut self, at: Duration, revision: Option<u64>, message: String) {
        if self.violations.len() < TOLD {
            self.violations.push(Violation { invariant: self.invariant, at, revision, message });
        }
    }
}
