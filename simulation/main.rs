//! `make sim`: the real controllers in a deterministic world that fails, thousands of rollouts a minute.
//!
//! ```text
//! scenario  a seed → models, users' deeds, actors, faults      (data; a failing one is made smaller)
//! seed      one thread, paused time: two replicas + the plant  → history
//! checker   history → violations
//! ```
//!
//! `SEEDS=20000 FROM=1` says which seeds; `TWICE=1` plays each of them twice; `DIGEST=1` prints a number for the history of
//! each, to compare two builds. `SEED=n` replays one and tells its history; with `REQUESTS=1` what was asked for, too, with
//! `LAST=1` each object as it was last. `plans` goes through the systematic plans instead, `leftovers` draws its worlds from
//! [`plans::leftovers`], `busy` from [`Scenario::busy`]. Exit code 1 when an invariant was violated or a replay differed.

mod allocator;
#[allow(dead_code, reason = "the checker tells more than the table shows")]
mod checker;
mod draw;
mod entropy;
mod faults;
#[cfg(feature = "mutants")]
mod mutants;
mod objects;
mod plans;
mod plant;
mod regressions;
mod replica;
mod report;
mod requests;
mod scenario;
mod seed;
mod shrink;
mod stage;
mod story;

use std::{
    env,
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use report::{Report, cpu_time};
use scenario::Scenario;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Seeds when nobody says how many: those of `make test`.
const SEEDS: u64 = 5000;
/// Every so many seeds, one is run twice, unless `TWICE` says otherwise.
const TWICE: u64 = 50;
/// After so many failing seeds the run ends: they are told in full.
const ENOUGH: usize = 20;

fn main() -> ExitCode {
    if !entropy::is_interposed() {
        eprintln!("getrandom is not interposed in this binary: nothing could be replayed");
        return ExitCode::FAILURE;
    }
    seed::catch_panics();
    warm();
    #[cfg(feature = "mutants")]
    if mode("mutants") {
        return mutants::run();
    }
    if let Some(seed) = number("SEED") {
        return one(seed);
    }
    let plans = mode("plans");
    let began = tokio::time::Instant::now();
    let (report, file) = if plans {
        (plans::run(number("PLANS").unwrap_or(6000)), "plans.json")
    } else {
        (run(number("FROM").unwrap_or(1), number("SEEDS").unwrap_or(SEEDS)), "report.json")
    };
    let (wall, cpu) = (began.elapsed(), cpu_time());
    println!("{}", report.table(wall, cpu));
    match report.save(file, wall, cpu) {
        Ok(path) => println!("{}", path.display()),
        Err(error) => eprintln!("cannot write the report: {error}"),
    }
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is made once a process (parsed schemas, compiled rules) is made before the first seed: whoever makes it draws from
/// its own thread's randomness, and a seed that did would differ from its replay.
fn warm() {
    for seed in [2, 3, 5, 7, 400] {
        drop(seed::play(&Scenario::of(seed)));
    }
}

fn mode(name: &str) -> bool {
    env::args().any(|argument| argument == name)
}

/// Which worlds are played: the command that does it, and how a seed becomes one.
fn family() -> (&'static str, fn(u64) -> Scenario) {
    match () {
        () if mode("leftovers") => ("make sim-leftovers", plans::leftovers::scenario),
        () if mode("busy") => ("make sim-busy", Scenario::busy),
        () => ("make sim", Scenario::of),
    }
}

/// How many seeds run beside each other: one a core.
fn workers() -> usize {
    thread::available_parallelism().map_or(2, Into::into)
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Replays one seed, tells what happened, and makes it smaller if it fails.
fn one(seed: u64) -> ExitCode {
    let scenario = family().1(seed);
    let mut outcome = seed::play(&scenario);
    println!("{scenario}");
    let again = seed::play(&scenario);
    if let Some((one, other)) = story::parting(&outcome.history, &again.history) {
        println!("DIFFERS when played again\n    {one}\n    {other}");
    }
    if env::var_os("QUIET").is_none() {
        for change in &outcome.history {
            println!("{}", story::line(change));
        }
        if env::var_os("LAST").is_some() {
            let last: std::collections::BTreeMap<_, _> =
                outcome.history.iter().map(|change| (&change.key, &change.after)).collect();
            last.values().filter_map(|object| object.as_deref()).for_each(|object| println!("{object:#}"));
        }
        if env::var_os("REQUESTS").is_some() {
            outcome.asked.iter().for_each(|request| println!("{}", story::asked(request)));
        }
    }
    println!(
        "{} requests, {} changes, {:.0} virtual seconds",
        outcome.requests,
        outcome.changes,
        outcome.lived.as_secs_f64()
    );
    for violation in &outcome.report.violations {
        println!("VIOLATED {violation}");
    }
    if outcome.report.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    let smaller = shrink::shrink(scenario, &mut outcome);
    println!("{}", shrink::told(&smaller, &outcome));
    ExitCode::FAILURE
}

/// The regressions, then the seeds.
fn run(from: u64, count: u64) -> Report {
    let report = Mutex::new(Report::default());
    regressions::run(&report);
    let twice = number("TWICE").unwrap_or(TWICE).max(1);
    beside(from..from + count, |seed| play(seed, twice, &report));
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Does something for each number, on a thread per core that each do one after the other, until one says `false`.
fn beside(numbers: Range<u64>, task: impl Fn(u64) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(numbers.start), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    if !task(number) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// One seed. `false`: enough has failed.
fn play(seed: u64, twice: u64, report: &Mutex<Report>) -> bool {
    let (command, draw) = family();
    let scenario = draw(seed);
    let (digest, twice) = (env::var_os("DIGEST").is_some(), seed.is_multiple_of(twice));
    let outcome = if digest || twice { seed::play(&scenario) } else { seed::verdict(&scenario) };
    if digest {
        println!("digest {seed} {:016x} {} {}", outcome.hash(), outcome.requests, outcome.changes);
    }
    let equal = !twice || seed::play(&scenario).hash() == outcome.hash();
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    report.add(&outcome);
    report.replayed += u64::from(twice);
    if !equal {
        println!("seed {seed}: two runs differ: SEED={seed} {command}");
        report.unequal.push(seed);
    }
    if let Some(first) = outcome.report.violations.first() {
        println!("seed {seed}, replay and shrink it: SEED={seed} {command}");
        let mut told = vec![];
        for violation in &outcome.report.violations {
            if !told.contains(&violation.invariant) {
                println!("    {violation}");
                told.push(violation.invariant);
            }
        }
        report.failed.push((format!("SEED={seed} {command}"), first.to_string()));
    }
    if report.runs.is_multiple_of(1000) {
        println!(
            "{} seeds, {} violations, {:.1} s of CPU",
            report.runs,
            report.failed.len(),
            seconds(cpu_time())
        );
    }
    report.failed.len() + report.unequal.len() < ENOUGH
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
