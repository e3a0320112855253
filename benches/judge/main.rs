//! `make judge`: simulated rollouts through the real judge, beside the rules of other rollout controllers. Checks the
//! error rates and times that the documentation promises; exit code 1 if the runs do not show one. Everything follows from
//! `--seed` (0 unless given); `SEED=7 make judge` plays other rollouts.

mod bounds;
mod latency;
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
use seatrial::analysis::verdict::Verdict;
use serde_json::json;

use bounds::Bound;
use latency::{LATENCIES, Latencies};
use report::Cell;
use rules::Outcome;
use world::{BLOCK_SECONDS, Live, Moment, Scenario};

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
const NEVER: &str = RULES[7];
/// Blocks after which a late answer about stable's past comes.
const LATE_BLOCKS: usize = 60;
/// Rollouts per rate. The rules that nothing is promised of play only the first [`RUNS`].
const RUNS: usize = 1000;
const RUNS_NULL: usize = 4000;
/// Where the share comes nearest to what is promised.
const RUNS_HOSTILE: usize = 12_000;
/// To show 0.1 % where one rollout in ten thousand is rolled back.
const RUNS_INCIDENT: usize = 12_000;
const RUNS_FAULT: usize = 2000;
const RUNS_SLOW: usize = 500;
/// A step is over after two minutes at the least and undecided after an hour.
const LEAST_BLOCKS: u32 = 8;
const MOST_BLOCKS: u32 = 240;
/// Median seconds until Seatrial rolls back in statistics.md (A2 and A3, alpha 1 %), from 10 requests a second on.
const PUBLISHED: [(&str, [f64; 3]); 2] = [("A2", [2475.0, 600.0, 105.0]), ("A3", [1155.0, 210.0, 60.0])];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` runs all targets; this one takes minutes and is asked for by name.
    if !arguments.iter().any(|argument| argument == "--run") {
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.iter().skip_while(|argument| *argument != "--seed").nth(1);
    let Some(base) = wanted.map_or(Some(0), |seed| seed.parse().ok()) else {
        let _ = writeln!(io::stderr(), "judge: --seed is a whole number");
        return ExitCode::from(2);
    };
    match simulate(&Seeds { base }, &mut io::stdout()) {
        Ok(bounds) if bounds.iter().all(Bound::holds) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "judge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(seeds: &Seeds, out: &mut impl Write) -> io::Result<Vec<Bound>> {
    let (mut scenarios, mut bounds) = (Vec::new(), Vec::new());
    for scenario in &world::NULLS {
        let cells = across_rates(seeds, scenario, runs_of_null(scenario));
        write!(
            out,
            "{}",
            report::to_table(scenario.title(), &cells, |cell| format!("{:.2} %", 100.0 * cell.share))
        )?;
        out.flush()?;
        bounds.extend(cells.iter().filter_map(|cell| not_rolled_back(scenario, cell)));
        scenarios.push(report::to_json(scenario.title(), &cells));
    }
    for scenario in &world::FAULTS {
        let cells = across_rates(seeds, scenario, RUNS_FAULT);
        write!(out, "{}", report::to_table(scenario.title(), &cells, show_fault))?;
        out.flush()?;
        bounds.extend(times_to_detect(scenario, &cells));
        scenarios.push(report::to_json(scenario.title(), &cells));
    }
    for scenario in &world::PROMOTIONS {
        let cells: Vec<Cell> = RATES.iter().map(|rps| promotions(seeds, scenario, *rps)).collect();
        write!(out, "{}", report::to_table(scenario.title(), &cells, show_promotion))?;
        out.flush()?;
        let claim = |cell: &Cell| format!("promoted although {}, {} rps", scenario.about, cell.rps);
        let broken = cells.iter().filter(|_| scenario.base >= scenario.limit);
        bounds.extend(broken.map(|cell| cell.bound(claim(cell), 0.05)));
        scenarios.push(report::to_json(scenario.title(), &cells));
    }
    for latencies in &LATENCIES {
        let cells: Vec<Cell> =
            RATES.iter().flat_map(|rps| cells_of_latencies(seeds, latencies, *rps)).collect();
        let title = (latencies.name, latencies.about);
        write!(out, "{}", report::to_table(title, &cells, show_fault))?;
        out.flush()?;
        bounds.extend(of_latencies(latencies, &cells));
        scenarios.push(report::to_json(title, &cells));
    }
    for variants in &variants::VARIANTS {
        let cell = a_b_tests(seeds, variants);
        let (share, median) = (100.0 * cell.share, cell.median);
        let median = median.map_or_else(|| "-".to_owned(), |hours| format!("{hours:.0} h"));
        writeln!(out, "A/B test, {}: winner in {share:.1} %, median {median}", variants.about)?;
        let claim = format!("a winner is named, {}", variants.about);
        bounds.extend((variants.lift == 0.0).then(|| cell.bound(claim, 0.05)));
        scenarios.push(report::variants_to_json(variants.about, &cell));
    }
    write!(out, "{}", report::bounds_to_table(&bounds))?;
    let bounds_json: Vec<_> = bounds.iter().map(report::bound_to_json).collect();
    let directory =
        PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into())).join("judge");
    fs::create_dir_all(&directory)?;
    let page = json!({"seed": seeds.base, "scenarios": scenarios, "bounds": bounds_json});
    fs::write(directory.join("report.json"), serde_json::to_string_pretty(&page)?)?;
    writeln!(out, "{} (seed {})", directory.join("report.json").display(), seeds.base)?;
    Ok(bounds)
}

fn runs_of_null(scenario: &Scenario) -> usize {
    match scenario {
        Scenario { incident: true, .. } => RUNS_INCIDENT,
        Scenario { own: (deviation, _), .. } if *deviation > 0.6 => RUNS_HOSTILE,
        _ => RUNS_NULL,
    }
}

/// What is promised of a healthy candidate.
fn not_rolled_back(scenario: &Scenario, cell: &Cell) -> Option<Bound> {
    let known = match cell.rule {
        OURS => "",
        LATE => ", kappa known late",
        NEVER => ", kappa never known",
        _ => return None,
    };
    let claim = format!("rolled back falsely, {} at {} rps{known}", scenario.name, cell.rps);
    Some(cell.bound(claim, if scenario.incident { 0.001 } else { 0.01 }))
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
    let published = PUBLISHED.iter().filter(|(name, _)| *name == scenario.name).map(|(_, times)| times);
    published.flat_map(|times| not_later(scenario.about, cells, times.map(tenth_above))).collect()
}

/// What is promised of latencies.
fn of_latencies(latencies: &Latencies, cells: &[Cell]) -> Vec<Bound> {
    if !latencies.is_healthy() {
        let promised = latencies.published.iter().all(|seconds| seconds.is_finite());
        // A trial is looked at once a block, and a few blocks are enough here: a median tells no finer than one block.
        let limits = latencies.published.map(|time| tenth_above(time).max(time + BLOCK_SECONDS));
        return if promised { not_later(latencies.about, cells, limits) } else { vec![] };
    }
    let ours = cells.iter().filter(|cell| cell.rule != latency::RULES[0]);
    let claim =
        |cell: &Cell| format!("rolled back falsely, {} at {} rps: {}", latencies.name, cell.rps, cell.rule);
    ours.map(|cell| cell.bound(claim(cell), 0.01)).collect()
}

/// What of statistics.md's times is promised.
fn tenth_above(time: f64) -> f64 {
    1.1 * time
}

/// That what is wrong is found within the `limits`, at 10, 100 and 1,000 requests a second.
fn not_later(about: &str, cells: &[Cell], limits: [f64; 3]) -> Vec<Bound> {
    let ours = cells.iter().filter(|cell| cell.rule == OURS && cell.rps > 1.0);
    ours.zip(limits)
        .map(|(cell, limit)| Bound {
            claim: format!("median seconds until {about} is found, {} rps", cell.rps),
            at_most: limit,
            measured: cell.median.unwrap_or(f64::INFINITY),
            upper: None,
            runs: cell.runs,
        })
        .collect()
}

fn across_rates(seeds: &Seeds, scenario: &Scenario, runs: usize) -> Vec<Cell> {
    RATES.iter().flat_map(|rps| cells(seeds, scenario, *rps, runs)).collect()
}

/// Runs of one rollout under every rule; each run has its own seed, so the number of threads changes nothing.
fn cells(seeds: &Seeds, scenario: &Scenario, rps: f64, runs: usize) -> Vec<Cell> {
    let scenario = &scenario.at(rps);
    let outcomes = parallel(runs, |run| {
        let mut rng = seeds.rng(&format!("{} {rps} {run}", scenario.name));
        let history = world::history(&mut rng, scenario, rps);
        let moments = world::rollout(&mut rng, scenario, rps);
        let settings = |alpha| rules::settings(scenario, alpha, &history);
        let judged = |settings| rules::ours(scenario, &settings, &moments);
        let learned = settings(0.01);
        let known = judged(learned);
        let compared = run < RUNS;
        let outcomes = RULES.map(|rule| match rule {
            OURS => Some(known),
            LATE => Some(rules::ours_late(scenario, &learned, &moments, LATE_BLOCKS, known)),
            NEVER => Some(judged(rules::unknown(&learned))),
            _ if !compared => None,
            "Flagger-like" => Some(rules::flagger(scenario, &moments)),
            "Argo-like" => Some(rules::argo(scenario, &moments)),
            "Kayenta-like" => Some(rules::kayenta(&moments)),
            "Seatrial, alpha 5%" => Some(judged(settings(0.05))),
            "alpha 1%, kappa by group of pods" => {
                Some(judged(rules::settings_by_group(scenario, 0.01, &history)))
            }
            _ => Some(judged(rules::against_past(&learned, scenario, &history, &mut rng))),
        });
        outcomes.map(|outcome| outcome.map(|outcome| (outcome, bad_until(&moments, outcome))))
    });
    let fault = BLOCK_SECONDS * f64::from(u32::try_from(scenario.since).unwrap_or(u32::MAX));
    RULES
        .iter()
        .enumerate()
        .map(|(at, rule)| {
            let of_rule: Vec<(Outcome, f64)> = outcomes.iter().filter_map(|run| run[at]).collect();
            cell(rule, rps, fault, &of_rule)
        })
        .collect()
}

fn cells_of_latencies(seeds: &Seeds, latencies: &Latencies, rps: f64) -> Vec<Cell> {
    let runs = if latencies.is_healthy() { RUNS_NULL } else { RUNS_SLOW };
    let played = parallel(runs, |run| {
        let mut rng = seeds.rng(&format!("{} {rps} {run}", latencies.name));
        let (moments, outcomes) = latency::play(&mut rng, latencies, rps);
        outcomes.map(|outcome| (outcome, bad_until(&moments, outcome)))
    });
    let of_rule = |at: usize| played.iter().map(|run| run[at]).collect::<Vec<_>>();
    (0..).zip(latency::RULES).map(|(at, rule)| cell(rule, rps, 0.0, &of_rule(at))).collect()
}

fn cell(rule: &'static str, rps: f64, fault: f64, outcomes: &[(Outcome, f64)]) -> Cell {
    let runs: f64 = outcomes.iter().map(|_| 1.0).sum();
    let events: u32 = outcomes.iter().map(|(time, _)| u32::from(time.is_some())).sum();
    let mut times: Vec<f64> =
        outcomes.iter().map(|(time, _)| time.unwrap_or(f64::INFINITY) - fault).collect();
    times.sort_by(f64::total_cmp);
    Cell {
        rule,
        rps,
        runs: outcomes.len(),
        events,
        share: f64::from(events) / runs,
        median: times.get(times.len() / 2).copied().filter(|time| time.is_finite()),
        bad_served: outcomes.iter().map(|(_, bad)| *bad).sum::<f64>() / runs,
    }
}

fn bad_until(moments: &[Moment], outcome: Outcome) -> f64 {
    let until = outcome.unwrap_or(f64::INFINITY);
    let served =
        moments.iter().zip(0_u32..).take_while(|(_, block)| f64::from(*block) * BLOCK_SECONDS < until);
    served.map(|(moment, _)| moment.candidate.bad).sum()
}

/// How often, and after how many seconds, a candidate passes all steps.
fn promotions(seeds: &Seeds, scenario: &Scenario, rps: f64) -> Cell {
    let outcomes = parallel(RUNS, |run| {
        let mut rng = seeds.rng(&format!("{} {rps} {run}", scenario.name));
        (promotion(&mut rng, scenario, rps), 0.0)
    });
    cell(OURS, rps, 0.0, &outcomes)
}

fn promotion(rng: &mut Rng, scenario: &Scenario, rps: f64) -> Outcome {
    let history = world::history(rng, scenario, rps);
    let mut judge = SloJudge::new(scenario.limit, &rules::settings(scenario, 0.01, &history))?;
    let mut traffic = Live::new(rng, scenario, rps);
    let mut blocks = 0_u32;
    for (step, number) in (0_usize..5).zip(0_i32..) {
        let mut passed = false;
        for of_step in 0..MOST_BLOCKS {
            let moment = traffic.block(rng, step, scenario.factor, 0.0);
            judge.fold(&rules::block(i64::from(blocks), number, &moment));
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
fn a_b_tests(seeds: &Seeds, variants: &variants::Variants) -> Cell {
    let outcomes = parallel(RUNS, |run| {
        let mut rng = seeds.rng(&format!("{} {run}", variants.about));
        (variants::winner_after(&mut rng, variants), 0.0)
    });
    cell("Seatrial, alpha 5%", 0.0, 0.0, &outcomes)
}

/// Where all chance comes from.
struct Seeds {
    base: u64,
}

impl Seeds {
    /// The random numbers of one run, which no other run of any base shares.
    fn rng(&self, run: &str) -> Rng {
        let begin = 0xcbf2_9ce4_8422_2325 ^ self.base.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Rng::with_seed(run.bytes().fold(begin, mix))
    }
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
