//! `make judge`: simulated rollouts through the real judge, beside the rules of other rollout controllers. Checks the
//! error rates and times that the documentation promises; exit code 1 if one does not hold. Fixed seeds.

mod random;
mod report;
mod rules;
mod variants;
mod world;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use seatrial::analysis::judge::SloJudge;
use seatrial::analysis::settings::{Kappa, Settings};
use seatrial::analysis::verdict::Verdict;
use serde_json::json;

use report::{Bound, Cell};
use rules::Outcome;
use world::{BLOCK_SECONDS, Moment, Scenario};

const THREADS: usize = 2;
const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
const RULES: [&str; 9] = [
    "Flagger-like",
    "Argo-like",
    "Kayenta-like",
    "Seatrial, alpha 1%",
    "Seatrial, alpha 5%",
    "alpha 1%, kappa by group of pods",
    "alpha 1%, kappa known after 15 min",
    "alpha 1%, kappa never known",
    "alpha 1%, baseline: History",
];
const OURS: &str = RULES[3];
const LATE: &str = RULES[6];
/// Blocks after which a late answer about stable's past comes.
const LATE_BLOCKS: usize = 60;
const RUNS_NULL: usize = 4000;
const RUNS_FAULT: usize = 1000;
const RUNS_PROMOTION: usize = 1000;
const RUNS_VARIANTS: usize = 1000;
/// A step is over after two minutes at the least and undecided after an hour.
const LEAST_BLOCKS: u32 = 8;
const MOST_BLOCKS: u32 = 240;
/// Median seconds until Seatrial rolls back in statistics.md (A2 and A3, alpha 1 %), from 10 requests a second on.
const PUBLISHED: [(&str, [f64; 3]); 2] = [("A2", [2475.0, 600.0, 105.0]), ("A3", [1155.0, 210.0, 60.0])];

fn main() -> ExitCode {
    // `cargo bench` runs all targets; this one takes minutes and is asked for by name.
    if !std::env::args().any(|argument| argument == "--run") {
        return ExitCode::SUCCESS;
    }
    match simulate(&mut io::stdout()) {
        Ok(bounds) if bounds.iter().all(Bound::holds) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "judge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(out: &mut impl Write) -> io::Result<Vec<Bound>> {
    let (mut scenarios, mut bounds) = (Vec::new(), Vec::new());
    for scenario in &world::NULLS {
        let cells = across_rates(scenario, RUNS_NULL);
        write!(out, "{}", report::to_table(scenario, &cells, |cell| format!("{:.2} %", 100.0 * cell.share)))?;
        out.flush()?;
        for cell in cells.iter().filter(|cell| [OURS, LATE].contains(&cell.rule)) {
            let at_most = if scenario.incident { 0.001 } else { 0.01 };
            let late = if cell.rule == LATE { ", kappa known late" } else { "" };
            let claim = format!("rolled back falsely, {} at {} rps{late}", scenario.name, cell.rps);
            bounds.push(Bound { claim, at_most, measured: cell.share });
        }
        scenarios.push(report::to_json(scenario, &cells));
    }
    for scenario in &world::FAULTS {
        let cells = across_rates(scenario, RUNS_FAULT);
        write!(out, "{}", report::to_table(scenario, &cells, show_fault))?;
        out.flush()?;
        bounds.extend(times_to_detect(scenario, &cells));
        scenarios.push(report::to_json(scenario, &cells));
    }
    for scenario in &world::PROMOTIONS {
        let cells: Vec<Cell> = RATES.iter().map(|rps| promotions(scenario, *rps)).collect();
        write!(out, "{}", report::to_table(scenario, &cells, show_promotion))?;
        out.flush()?;
        if scenario.base >= scenario.limit {
            bounds.extend(cells.iter().map(|cell| Bound {
                claim: format!("promoted although {}, {} rps", scenario.about, cell.rps),
                at_most: 0.05,
                measured: cell.share,
            }));
        }
        scenarios.push(report::to_json(scenario, &cells));
    }
    for variants in &variants::VARIANTS {
        let cell = a_b_tests(variants);
        let median = cell.median.map_or_else(|| "-".to_owned(), |hours| format!("{hours:.0} h"));
        writeln!(
            out,
            "A/B test, {}: winner in {:.1} %, median {median}",
            variants.about,
            100.0 * cell.share
        )?;
        if variants.lift == 0.0 {
            let claim = format!("a winner is named, {}", variants.about);
            bounds.push(Bound { claim, at_most: 0.05, measured: cell.share });
        }
        scenarios.push(report::variants_to_json(variants.about, &cell));
    }
    write!(out, "{}", report::bounds_to_table(&bounds))?;
    let bounds_json: Vec<_> = bounds.iter().map(report::bound_to_json).collect();
    let directory =
        PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into())).join("judge");
    fs::create_dir_all(&directory)?;
    let page = json!({"scenarios": scenarios, "bounds": bounds_json});
    fs::write(directory.join("report.json"), serde_json::to_string_pretty(&page)?)?;
    writeln!(out, "{}", directory.join("report.json").display())?;
    Ok(bounds)
}

fn show_fault(cell: &Cell) -> String {
    let median = cell.median.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0} s"));
    format!("{:.0} % / {median} / {:.1} bad", 100.0 * cell.share, cell.bad_served)
}

fn show_promotion(cell: &Cell) -> String {
    let median = cell.median.map_or_else(|| "-".to_owned(), |seconds| format!("{:.0} min", seconds / 60.0));
    format!("{:.2} % / {median}", 100.0 * cell.share)
}

fn times_to_detect(scenario: &Scenario, cells: &[Cell]) -> Vec<Bound> {
    let published = PUBLISHED.iter().filter(|(name, _)| *name == scenario.name).flat_map(|(_, times)| times);
    let ours = cells.iter().filter(|cell| cell.rule == OURS && cell.rps > 1.0);
    ours.zip(published)
        .map(|(cell, time)| Bound {
            claim: format!("median seconds until {} is found, {} rps", scenario.about, cell.rps),
            at_most: 1.1 * time,
            measured: cell.median.unwrap_or(f64::INFINITY),
        })
        .collect()
}

fn across_rates(scenario: &Scenario, runs: usize) -> Vec<Cell> {
    RATES.iter().flat_map(|rps| cells(scenario, *rps, runs)).collect()
}

/// Runs of one rollout under every rule; each run has its own seed, so the number of threads changes nothing.
fn cells(scenario: &Scenario, rps: f64, runs: usize) -> Vec<Cell> {
    let scenario = &scenario.at(rps);
    let outcomes = parallel(runs, |run| {
        let mut rng = Rng::with_seed(seed(scenario, rps, run));
        let history = world::history(&mut rng, scenario, rps);
        let moments = world::rollout(&mut rng, scenario, rps);
        let settings = |alpha| rules::settings(scenario, alpha, &history);
        let judged = |settings: &Settings| rules::ours(scenario, settings, &moments);
        let learned = settings(0.01);
        let unknown = Settings { kappa: Kappa::Unknown, kappa_compare: Kappa::Unknown, ..learned };
        let outcomes = [
            rules::flagger(scenario, &moments),
            rules::argo(scenario, &moments),
            rules::kayenta(&moments),
            judged(&learned),
            judged(&settings(0.05)),
            judged(&rules::settings_by_group(scenario, 0.01, &history)),
            rules::ours_late(scenario, &learned, &moments, LATE_BLOCKS),
            judged(&unknown),
            judged(&rules::against_past(&learned, scenario, &history, &mut rng)),
        ];
        outcomes.map(|outcome| (outcome, bad_until(&moments, outcome)))
    });
    let fault = BLOCK_SECONDS * f64::from(u32::try_from(scenario.since).unwrap_or(u32::MAX));
    RULES
        .iter()
        .enumerate()
        .map(|(at, rule)| {
            let of_rule: Vec<(Outcome, f64)> = outcomes.iter().map(|run| run[at]).collect();
            cell(rule, rps, fault, &of_rule)
        })
        .collect()
}

fn cell(rule: &'static str, rps: f64, fault: f64, outcomes: &[(Outcome, f64)]) -> Cell {
    let count = |of: &dyn Fn(&(Outcome, f64)) -> f64| outcomes.iter().map(of).sum::<f64>();
    let runs = count(&|_| 1.0);
    let mut times: Vec<f64> =
        outcomes.iter().map(|(time, _)| time.unwrap_or(f64::INFINITY) - fault).collect();
    times.sort_by(f64::total_cmp);
    Cell {
        rule,
        rps,
        runs: outcomes.len(),
        share: count(&|(time, _)| f64::from(u8::from(time.is_some()))) / runs,
        median: times.get(times.len() / 2).copied().filter(|time| time.is_finite()),
        bad_served: count(&|(_, bad)| *bad) / runs,
    }
}

fn bad_until(moments: &[Moment], outcome: Outcome) -> f64 {
    let until = outcome.unwrap_or(f64::INFINITY);
    let served =
        moments.iter().zip(0_u32..).take_while(|(_, block)| f64::from(*block) * BLOCK_SECONDS < until);
    served.map(|(moment, _)| moment.candidate.bad).sum()
}

/// How often, and after how many seconds, a candidate passes all steps.
fn promotions(scenario: &Scenario, rps: f64) -> Cell {
    let outcomes = parallel(RUNS_PROMOTION, |run| {
        let mut rng = Rng::with_seed(seed(scenario, rps, run));
        (promotion(&mut rng, scenario, rps), 0.0)
    });
    cell(OURS, rps, 0.0, &outcomes)
}

fn promotion(rng: &mut Rng, scenario: &Scenario, rps: f64) -> Outcome {
    let none = Kappa::Known(0.0);
    let settings = Settings { kappa: none, kappa_compare: none, ..Settings::default() };
    let mut judge = SloJudge::new(scenario.limit, &settings)?;
    let mut blocks = 0_u32;
    for (step, number) in (0_usize..5).zip(0_i32..) {
        let mut passed = false;
        for of_step in 0..MOST_BLOCKS {
            judge.fold(&rules::block(i64::from(blocks), number, &world::block_at(rng, scenario, rps, step)));
            blocks += 1;
            match judge.verdict(number) {
                Verdict::Fail(_) => return None,
                Verdict::Pass if of_step + 1 >= LEAST_BLOCKS => {
                    passed = true;
                    break;
                }
                Verdict::Pass | Verdict::Inconclusive(_) => {}
            }
        }
        if !passed {
            return None;
        }
    }
    Some(f64::from(blocks) * BLOCK_SECONDS)
}

/// How often, and after how many hours, an A/B test names a winner.
fn a_b_tests(variants: &variants::Variants) -> Cell {
    let outcomes = parallel(RUNS_VARIANTS, |run| {
        let mut rng = Rng::with_seed(hash(&format!("{} {run}", variants.about)));
        (variants::winner_after(&mut rng, variants), 0.0)
    });
    cell("Seatrial, alpha 5%", 0.0, 0.0, &outcomes)
}

fn seed(scenario: &Scenario, rps: f64, run: usize) -> u64 {
    hash(&format!("{} {rps} {run}", scenario.name))
}

fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Results of `job(0..runs)` in order.
fn parallel<T: Send>(runs: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= runs {
                return results;
            }
            results.push((run, job(run)));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    results.sort_by_key(|(run, _)| *run);
    results.into_iter().map(|(_, result)| result).collect()
}
