//! `seatrial plan`: how long each step of a `TrafficSplit` will need, and what it can find, before anything is rolled
//! out.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::analysis::planner::{Traffic, blocks_to_fail, smallest_fault, to_pass};
use crate::analysis::settings::{Kappa, Settings};
use crate::analysis::words;
use crate::api::v1alpha1::{Duration, Percent, Slo, TrafficSplit};
use crate::rollout::{report, steps};

use super::backtest::Output;

/// How much worse than the objective the fault is whose detection is planned.
const GROSS: f64 = 10.0;
/// Said under a plan for which nobody told how much the error rate varies by itself.
const ASSUMED: &str = "note: planned with the cautious dispersion for a stable revision of which nothing is known. In the cluster it is learned \
                       from stable's last hours; where errors come singly, as they mostly do, --kappa 0 shows what to expect";
/// More blocks than this are not played through for the smallest fault.
const MOST_BLOCKS: f64 = 4000.0;

/// Says how long each step needs and what it can find, for a `TrafficSplit` and a rate of requests.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A YAML file with a `TrafficSplit`; other documents in it are passed over.
    #[arg(value_name = "FILE.yaml")]
    pub file: PathBuf,
    /// Requests a second that the route gets in all.
    #[arg(long, value_name = "NUMBER")]
    pub rps: f64,
    /// The share of bad requests of a healthy revision. Default: a tenth of what each objective allows.
    #[arg(long, value_name = "PERCENT")]
    pub healthy: Option<Percent>,
    /// How much the error rate of the stable revision varies by itself, if its history is known. Default:
    /// `analysis.dispersion`, else the preset's value for an unknown one.
    #[arg(long, value_name = "NUMBER")]
    pub kappa: Option<f64>,
    /// The provider's scrape interval: a block is judged two scrapes after its end. Default: `analysis.interval`.
    #[arg(long, value_name = "DURATION")]
    pub scrape_interval: Option<Duration>,
    /// A table with warnings, or one JSON object for each step and SLO.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Why there is no plan; each is the user's to mend (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {0}")]
    File(PathBuf, #[source] io::Error),
    /// The file is not YAML, or its `TrafficSplit` is not one.
    #[error("{0}: {1}")]
    Yaml(PathBuf, String),
    /// An option is out of range.
    #[error("{0}")]
    Options(String),
    /// The plan cannot be written.
    #[error("cannot write the plan")]
    Write(#[from] io::Error),
}

/// Runs the command: 0, or 2 with one line on standard error.
pub fn run(args: &Args) -> ExitCode {
    match print(args, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let _ = writeln!(io::stderr(), "seatrial plan: {error}{cause}");
            ExitCode::from(2)
        }
    }
}

fn print(args: &Args, out: &mut impl Write) -> Result<(), Error> {
    let text = fs::read_to_string(&args.file).map_err(|error| Error::File(args.file.clone(), error))?;
    let split = traffic_split(&text).map_err(|problem| Error::Yaml(args.file.clone(), problem))?;
    let rows = plan(args, &split)?;
    match args.output {
        Output::Json => {
            for row in &rows {
                serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
                writeln!(out)?;
            }
        }
        Output::Table => {
            out.write_all(page(&rows).as_bytes())?;
            if args.kappa.is_none() && split.spec.analysis.dispersion.is_none() {
                writeln!(out, "{ASSUMED}")?;
            }
        }
    }
    Ok(())
}

/// The one `TrafficSplit` among the documents of a file.
pub(super) fn traffic_split(text: &str) -> Result<TrafficSplit, String> {
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let mut found = documents.into_iter().filter(|document| document["kind"] == "TrafficSplit");
    let split = found.next().ok_or("it holds no TrafficSplit")?;
    if found.next().is_some() {
        return Err("it holds more than one TrafficSplit: put each in a file of its own".to_owned());
    }
    serde_json::from_value(split).map_err(|error| error.to_string())
}

/// What one step can do for one SLO. Times in seconds from the moment the weight is effective.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// 1 …; one more than there are steps: 100 %.
    step: usize,
    weight: Percent,
    slo: String,
    /// The candidate's requests a second.
    rps: f64,
    /// The longest that the step may last.
    most_seconds: f64,
    /// Until a healthy candidate passes, `bake` included; `null`: never, or not needed at 100 %.
    pass_seconds: Option<f64>,
    requests: Option<f64>,
    /// The smallest share of bad requests that is found in time.
    smallest_fault: Option<f64>,
    /// Until a candidate is found that fails ten times as many requests as the objective allows.
    gross_fault_seconds: Option<f64>,
    warning: Option<String>,
}

fn plan(args: &Args, split: &TrafficSplit) -> Result<Vec<Row>, Error> {
    if !(args.rps.is_finite() && args.rps >= 0.0) {
        return Err(Error::Options("--rps must be a number of requests a second".to_owned()));
    }
    let spec = &split.spec;
    let shares = spec.slos.iter().filter(|slo| slo.query.is_none()).count();
    let planned = steps::planned_blocks(&spec.strategy.canary, spec.analysis.interval.millis());
    let mut settings = report::settings(&spec.analysis, shares, planned);
    if let Some(kappa) = args.kappa {
        (settings.kappa, settings.kappa_compare) = (Kappa::Known(kappa), Kappa::Known(kappa));
    }
    if let Some(problem) = settings.problem() {
        return Err(Error::Options(problem.to_owned()));
    }
    let canary = &spec.strategy.canary;
    let steps = canary.steps.iter().map(|step| (step.weight, step.bake, step.max_duration, true));
    let whole = (Percent::ALL, canary.rollback_window, canary.rollback_window, false);
    let mut rows = Vec::new();
    for (number, (weight, bake, most, must_pass)) in (1..).zip(steps.chain([whole])) {
        let stage = Stage { number, weight, bake: seconds(bake), most: seconds(most), must_pass };
        for slo in &spec.slos {
            rows.push(row(args, &settings, seconds(spec.analysis.interval), &stage, slo));
        }
    }
    Ok(rows)
}

/// One step, or the time at 100 %.
struct Stage {
    number: usize,
    weight: Percent,
    bake: f64,
    most: f64,
    must_pass: bool,
}

fn row(args: &Args, settings: &Settings, interval: f64, stage: &Stage, slo: &Slo) -> Row {
    let rps = args.rps * stage.weight.fraction();
    let mut row = Row {
        step: stage.number,
        weight: stage.weight,
        slo: slo.name.clone(),
        rps,
        most_seconds: stage.most,
        pass_seconds: None,
        requests: None,
        smallest_fault: None,
        gross_fault_seconds: None,
        warning: None,
    };
    let settle = 2.0 * args.scrape_interval.map_or(interval, seconds);
    let Some(objective) = slo.objective else {
        let in_a_row = slo.threshold.as_ref().map_or(1, |threshold| threshold.fail_after);
        row.pass_seconds = stage.must_pass.then_some((interval + settle).max(stage.bake));
        row.gross_fault_seconds = Some(f64::from(in_a_row) * interval + settle);
        return row;
    };
    let theta = f64::from(Percent::ALL.ppm() - objective.ppm()) / 1e6;
    let healthy = args.healthy.map_or(theta / 10.0, Percent::fraction);
    let traffic = Traffic { candidate: rps * interval, stable: args.rps * interval - rps * interval };
    if stage.must_pass
        && let Some(needed) = to_pass(theta, settings, traffic, healthy)
    {
        row.requests = Some(needed.requests);
        row.pass_seconds = Some((needed.blocks * interval + settle).max(stage.bake));
    }
    let most = whole_number((stage.most - settle) / interval);
    row.smallest_fault = smallest_fault(theta, settings, traffic, healthy, most);
    let gross = (GROSS * theta).min(1.0);
    let found = blocks_to_fail(theta, settings, traffic, healthy, gross, most);
    row.gross_fault_seconds = found.map(|blocks| f64::from(blocks) * interval + settle);
    row.warning = warning(stage, &row);
    row
}

fn warning(stage: &Stage, row: &Row) -> Option<String> {
    let options = if stage.must_pass {
        "raise its weight, loosen the objective, or let it last longer"
    } else {
        "loosen the objective, or make rollbackWindow longer"
    };
    let most = words::span(stage.most);
    match row.pass_seconds {
        _ if stage.weight == Percent::ZERO => Some("has no traffic: only the approval decides".to_owned()),
        None if stage.must_pass => Some(format!(
            "can never prove health: a healthy revision is too close to the objective, or gets no requests; {options}"
        )),
        Some(needed) if needed > stage.most => {
            Some(format!("needs {} but may last {most} at the most; {options}", words::span(needed)))
        }
        _ if row.gross_fault_seconds.is_none() => {
            Some(format!("does not find {GROSS} times too many bad requests within {most}; {options}"))
        }
        _ => None,
    }
}

fn page(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "step",
        "weight",
        "SLO",
        "candidate's requests",
        "a healthy one passes after",
        "finds from",
        "finds 10 x too many bad after",
    ]);
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), words::span);
    for row in rows {
        let requests = row.requests.map(|n| format!(" ({} requests)", words::grouped(n))).unwrap_or_default();
        let fault = row
            .smallest_fault
            .map(|fault| format!("{} bad within {}", words::percent(fault), words::span(row.most_seconds)));
        table.add_row([
            row.step.to_string(),
            row.weight.to_string(),
            row.slo.clone(),
            format!("{:.1}/s", row.rps),
            format!("{}{requests}", time(row.pass_seconds)),
            fault.unwrap_or_else(|| "-".to_owned()),
            time(row.gross_fault_seconds),
        ]);
    }
    let mut page = format!("{table}\n");
    for row in rows {
        if let Some(warning) = &row.warning {
            let _ = writeln!(page, "warning: step {} ({}), SLO {}: {warning}", row.step, row.weight, row.slo);
        }
    }
    page
}

/// Whole milliseconds are far below 2⁵³.
#[allow(clippy::cast_precision_loss)]
pub(super) fn seconds(length: Duration) -> f64 {
    length.millis() as f64 / 1000.0
}

/// Whole blocks in a step.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole_number(blocks: f64) -> u32 {
    blocks.clamp(0.0, MOST_BLOCKS) as u32
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
