//! `seatrial backtest`: what the judge would have decided, on recorded blocks or on what a Prometheus remembers.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use crate::analysis::counts::Block;
use crate::analysis::judge::{Evidence, SloJudge, Untrimmed};
use crate::analysis::settings::{Kappa, Settings};
use crate::analysis::verdict::Verdict;
use crate::api::v1alpha1::Percent;

mod page;
mod recorded;
mod remembered;

use recorded::ReadFailure;

/// Says what would have been decided, one SLO at a time.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Blocks, one JSON object a line: {"t": "2026-11-21T10:00:00Z", "step": 0, "candidate": {"bad": 0, "total": 120},
    /// "stable": {"bad": 1, "total": 1100}}. No `step`: weights were moving. No `candidate` or `stable`: no data
    #[arg(
        long,
        value_name = "FILE.jsonl",
        required_unless_present = "prometheus",
        conflicts_with = "prometheus"
    )]
    pub blocks: Option<PathBuf>,
    /// The share of requests that must be good, for instance 99.5%
    #[arg(
        long,
        value_name = "PERCENT",
        required_unless_present = "prometheus",
        conflicts_with = "prometheus"
    )]
    pub objective: Option<Percent>,
    /// How often a healthy revision may be rolled back
    #[arg(long, value_name = "PERCENT", default_value = "1%", conflicts_with = "prometheus")]
    pub alpha: Percent,
    /// How often a revision that breaks the objective may be promoted
    #[arg(long, value_name = "PERCENT", default_value = "5%", conflicts_with = "prometheus")]
    pub beta: Percent,
    /// How many blocks with a burst of errors never count as proof
    #[arg(long, value_name = "NUMBER", default_value_t = 1, conflicts_with = "prometheus")]
    pub leave_out: usize,
    /// How much the error rate varies by itself; 0: requests fail independently. Default: 0 for recorded blocks; with
    /// --prometheus as the operator has it: `analysis.dispersion`, else learned from the stable revision's history
    #[arg(long, value_name = "NUMBER")]
    pub kappa: Option<f64>,
    /// How many times stable's share of bad requests the candidate may have
    #[arg(long, value_name = "FACTOR", default_value_t = 1.25, conflicts_with = "prometheus")]
    pub tolerance: f64,
    /// About how many blocks the rollout was planned to last
    #[arg(long, value_name = "NUMBER", default_value_t = 240, conflicts_with = "prometheus")]
    pub planned_blocks: u32,
    #[command(flatten)]
    pub remembered: remembered::PastRollout,
    /// A table with plots, or one JSON object a block with natural logarithms of e-values
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How the result is printed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Why there is no result; each is the user's to mend (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {0}")]
    File(PathBuf, #[source] io::Error),
    /// A line is not a block.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The options, or the `TrafficSplit`, cannot be used.
    #[error("{0}")]
    Options(String),
    /// Prometheus gave no answer that can be judged.
    #[error(transparent)]
    Unanswered(#[from] crate::rollout::question::Unanswered),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Write(#[from] io::Error),
}

/// Runs the command: 0, or 2 with one line on standard error.
pub async fn run(args: &Args) -> ExitCode {
    let result = match trials(args).await {
        Ok(trials) => trials.iter().try_for_each(|trial| print(args.output, trial, &mut io::stdout().lock())),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let _ = writeln!(io::stderr(), "seatrial backtest: {error}{cause}");
            ExitCode::from(2)
        }
    }
}

/// One SLO, and the blocks that it is judged on.
struct Trial {
    /// Its name; recorded blocks have none.
    slo: Option<String>,
    /// The share of bad requests that it allows.
    theta: f64,
    settings: Settings,
    blocks: Vec<(Timestamp, Block)>,
}

async fn trials(args: &Args) -> Result<Vec<Trial>, Error> {
    match (&args.blocks, args.objective) {
        (Some(file), Some(objective)) => Ok(vec![recorded_trial(args, file, objective)?]),
        _ => remembered::trials(&args.remembered, args.kappa).await,
    }
}

fn recorded_trial(args: &Args, file: &PathBuf, objective: Percent) -> Result<Trial, Error> {
    let unreadable = |error| Error::File(file.clone(), error);
    let lines = BufReader::new(File::open(file).map_err(unreadable)?);
    let blocks = recorded::read(lines).map_err(|failure| match failure {
        ReadFailure::File(error) => unreadable(error),
        ReadFailure::Line(line, problem) => Error::Line { line, problem },
    })?;
    Ok(Trial { slo: None, theta: allowed(objective), settings: settings(args), blocks })
}

/// The share of bad requests that an objective allows.
fn allowed(objective: Percent) -> f64 {
    Percent::from_ppm(Percent::ALL.ppm() - objective.ppm()).map_or(0.0, Percent::fraction)
}

fn settings(args: &Args) -> Settings {
    let kappa = Kappa::Known(args.kappa.unwrap_or_default());
    Settings {
        alpha: args.alpha.fraction(),
        beta: args.beta.fraction(),
        leave_out: args.leave_out,
        kappa,
        kappa_compare: kappa,
        tolerance: args.tolerance,
        planned_blocks: args.planned_blocks,
        ..Settings::default()
    }
}

impl Trial {
    /// The judge before its first block.
    fn judge(&self) -> Result<SloJudge, Error> {
        if let Some(problem) = self.settings.problem() {
            return Err(Error::Options(problem.to_owned()));
        }
        let all_or_nothing =
            || Error::Options("the objective must lie between 0% and 100%, both excluded".into());
        SloJudge::new(self.theta, &self.settings).ok_or_else(all_or_nothing)
    }

    fn rows(&self) -> Result<Vec<Row>, Error> {
        let mut judge = self.judge()?;
        let mut step = 0;
        let rows = self.blocks.iter().map(|&(t, block)| {
            judge.fold(&block);
            step = block.step.unwrap_or(step);
            let (evidence, untrimmed) = (judge.evidence(), judge.untrimmed());
            Row { t, block, evidence, untrimmed, verdict: judge.verdict(step) }
        });
        Ok(rows.collect())
    }
}

/// What was known after one block.
struct Row {
    t: Timestamp,
    block: Block,
    evidence: Evidence,
    untrimmed: Untrimmed,
    verdict: Verdict,
}

fn print(output: Output, trial: &Trial, out: &mut impl Write) -> Result<(), Error> {
    let rows = trial.rows()?;
    match output {
        Output::Json => {
            for row in &rows {
                serde_json::to_writer(&mut *out, &Printed::new(trial, row)).map_err(io::Error::from)?;
                writeln!(out)?;
            }
        }
        Output::Table => {
            if let Some(slo) = &trial.slo {
                writeln!(out, "SLO {slo}")?;
            }
            out.write_all(page::page(trial, &rows)?.as_bytes())?;
        }
    }
    Ok(())
}

/// One object of `--output json`.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    slo: Option<&'a str>,
    t: Timestamp,
    fail: PrintedStrength,
    compare: PrintedStrength,
    pass: f64,
    combined: f64,
    verdict: &'static str,
}

#[derive(Serialize)]
struct PrintedStrength {
    raw: f64,
    trim: f64,
}

impl<'a> Printed<'a> {
    fn new(trial: &'a Trial, row: &Row) -> Self {
        Self {
            slo: trial.slo.as_deref(),
            t: row.t,
            fail: PrintedStrength { raw: row.untrimmed.objective, trim: row.evidence.objective },
            compare: PrintedStrength { raw: row.untrimmed.guard, trim: row.evidence.guard },
            pass: row.evidence.health,
            combined: row.evidence.combined,
            verdict: word(&row.verdict),
        }
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Pass",
        Verdict::Fail(_) => "Fail",
        Verdict::Inconclusive(_) => "Inconclusive",
    }
}

#[cfg(test)]
mod tests;
