//! A failing scenario made smaller: faults off one by one, then actors, then deeds and steps, while it still fails.

use std::fmt::Write;

use crate::{
    checker::Invariant,
    scenario::Scenario,
    seed::{self, Outcome},
    story,
};

/// So many runs at most.
const RUNS: usize = 400;
/// So many lines of the history are told around the violation.
const AROUND: usize = 40;

/// The smallest scenario found that violates the same invariant; `outcome` becomes its outcome.
pub fn shrink(mut scenario: Scenario, outcome: &mut Outcome) -> Scenario {
    let Some(invariant) = outcome.report.violations.first().map(|v| v.invariant) else { return scenario };
    let mut runs = 0;
    let mut at = 0;
    loop {
        let smaller = scenario.smaller();
        let Some(next) = smaller.into_iter().nth(at) else { return scenario };
        runs += 1;
        if runs > RUNS {
            return scenario;
        }
        let played = seed::play(&next);
        if played.report.violations.iter().any(|v| v.invariant == invariant) {
            (scenario, *outcome) = (next, played);
        } else {
            at += 1;
        }
    }
}

/// What is left, and the history around the violation.
pub fn told(scenario: &Scenario, outcome: &Outcome) -> String {
    let mut text = format!("\nWhat is left of it:\n{scenario}\n");
    let Some(violation) = outcome.report.violations.first() else { return text };
    // The Lease is renewed every two seconds: it matters only to what is about it.
    let quiet = !matches!(violation.invariant, Invariant::S18 | Invariant::S19 | Invariant::S34);
    let lines: Vec<_> =
        outcome.history.iter().filter(|change| !quiet || change.key.kind != "Lease").collect();
    let at = lines.partition_point(|change| change.at <= violation.at);
    for (index, change) in lines.iter().enumerate().take(at + 5).skip(at.saturating_sub(AROUND)) {
        if index == at {
            let _ = writeln!(text, "VIOLATED {violation}");
        }
        let _ = writeln!(text, "{}", story::line(change));
    }
    if at == lines.len() {
        let _ = writeln!(text, "VIOLATED {violation}");
    }
    text
}
