//! `make mutants`: faults of other rollout controllers, put into ours one at a time; the checker must see each.
//!
//! A mutant is caught by the first seed in which an invariant is violated that holds in the same seed without it; which one
//! is expected to is only told (a question mark: by another). Most are
//! looked for in the seeds as they are; some need a world in which their fault can matter at all, and say which (`hint`).
//! `MUTANT=name SEED=n make mutants` tells one of them in full.

mod table;
mod worlds;

use std::{
    collections::BTreeMap,
    env,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use seatrial::mutant::{self, Mutant};

use crate::{
    checker::{Invariant, Violation},
    report::cpu_time,
    scenario::Scenario,
    seed,
};
use table::{KNOWN, Known};

/// After so many seeds a mutant has survived.
const SEEDS: u64 = 2000;

/// How a mutant was caught.
struct Caught {
    seed: u64,
    violation: Violation,
    /// What else it violated in that seed.
    also: Vec<Invariant>,
}

/// Looks for all of them, or for the one that `MUTANT` names. With `SEED` too, that one world is told instead.
pub fn run() -> ExitCode {
    let wanted = env::var("MUTANT").ok();
    let chosen: Vec<&Known> = KNOWN
        .iter()
        .filter(|k| wanted.as_ref().is_none_or(|name| *name == format!("{:?}", k.mutant)))
        .collect();
    if let (Some(seed), [one]) = (crate::number("SEED"), &chosen[..]) {
        return tell(one, seed);
    }
    let most = env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..crate::workers() {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(known) = chosen.get(index) else { return };
                    let caught = hunt(known, most);
                    println!("{}", line(known, caught.as_ref()));
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(index, caught);
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let caught = found.values().flatten().count();
    println!("\n{caught} of {} mutants caught in {:.0} s of CPU", chosen.len(), cpu_time().as_secs_f64());
    for (index, caught) in &found {
        println!("{}", line(chosen[*index], caught.as_ref()));
    }
    if caught == chosen.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed that gives it away, whichever invariant it does that by: one that is expected to comes first, if there
/// are several.
fn hunt(known: &Known, most: u64) -> Option<Caught> {
    for seed in 1..=most {
        let scenario = world(known, seed);
        let wrong = violations(&scenario, Some(known.mutant));
        if wrong.is_empty() {
            continue;
        }
        // What is wrong without it says nothing about it.
        let anyway: Vec<Invariant> = violations(&scenario, None).iter().map(|v| v.invariant).collect();
        let mut own: Vec<Violation> = wrong.into_iter().filter(|v| !anyway.contains(&v.invariant)).collect();
        own.sort_by_key(|v| (!known.expected.contains(&v.invariant), v.at));
        let mut also: Vec<Invariant> = own.iter().map(|v| v.invariant).collect();
        let Some(violation) = own.into_iter().next() else { continue };
        also.sort();
        also.dedup();
        also.retain(|i| *i != violation.invariant);
        return Some(Caught { seed, violation, also });
    }
    None
}

/// The seed's world, in which the mutant can matter.
fn world(known: &Known, seed: u64) -> Scenario {
    let mut scenario = Scenario::of(seed);
    if let Some(hint) = known.hint {
        hint(&mut scenario);
        scenario.script.sort_by_key(|(at, _)| *at);
    }
    scenario
}

/// What happens in one world with the mutant, in full.
fn tell(known: &Known, seed: u64) -> ExitCode {
    let scenario = world(known, seed);
    mutant::choose(Some(known.mutant));
    let outcome = seed::play(&scenario);
    mutant::choose(None);
    println!("{scenario}");
    for change in &outcome.history {
        println!("{}", crate::story::line(change));
    }
    for violation in &outcome.report.violations {
        println!("VIOLATED {violation}");
    }
    if outcome.report.violations.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn violations(scenario: &Scenario, mutant: Option<Mutant>) -> Vec<Violation> {
    mutant::choose(mutant);
    let outcome = seed::play(scenario);
    mutant::choose(None);
    outcome.report.violations
}

fn line(known: &Known, caught: Option<&Caught>) -> String {
    let (name, incidents) = (format!("{:?}", known.mutant), known.incidents);
    match caught {
        None => format!("{name:<22} {incidents:<28} SURVIVED"),
        Some(caught) => {
            let by = format!("{:?}", caught.violation.invariant);
            let sure = if known.expected.contains(&caught.violation.invariant) { ' ' } else { '?' };
            let also: Vec<String> = caught.also.iter().map(|i| format!("{i:?}")).collect();
            format!(
                "{name:<22} {incidents:<28} seed {:<5} {by:<4}{sure} {} [{}]",
                caught.seed,
                caught.violation.message,
                also.join(" ")
            )
        }
    }
}
