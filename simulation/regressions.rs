//! Seeds that found bugs. Each says what would have happened to a user; they run first.

use std::sync::{Mutex, PoisonError};

use crate::{report::Report, scenario::Scenario, seed};

/// A seed, and what would have happened to a user.
const SEEDS: [(u64, &str); 1] = [(
    1,
    "after a conflict the same status was sent again until the watch caught up: with a watch that had stalled, a rollback \
     waited up to five minutes",
)];

/// Runs them; what fails again is told with its story.
pub fn run(report: &Mutex<Report>) {
    for (number, story) in SEEDS {
        let outcome = seed::play(&Scenario::of(number));
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report.add(&outcome);
        if let Some(first) = outcome.report.violations.first() {
            println!("regression, seed {number} ({story}): {first}");
            report.failed.push((format!("SEED={number} make sim"), first.to_string()));
        }
    }
}
