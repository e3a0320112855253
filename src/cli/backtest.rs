//! `seatrial backtest`: what the judge would have decided on blocks that somebody recorded.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use textplots::{Chart, Plot, Shape};

use crate::analysis::counts::{Block, Counts};
use crate::analysis::judge::{Evidence, SloJudge, Untrimmed};
use crate::analysis::settings::{Kappa, Settings};
use crate::analysis::verdict::{Verdict, Why};
use crate::analysis::words;
use crate::api::v1alpha1::Percent;

/// Rows of the table; of a longer trial the changes and evenly spread blocks are shown.
const MOST_ROWS: usize = 40;

/// Says what would have been decided on recorded blocks, one SLO at a time.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Blocks, one JSON object a line: {"t": "2026-11-21T10:00:00Z", "step": 0, "candidate": {"bad": 0, "total": 120},
    /// "stable": {"bad": 1, "total": 1100}}. No `step`: weights were moving. No `candidate` or `stable`: no data.
    #[arg(long, value_name = "FILE.jsonl")]
    pub blocks: PathBuf,
    /// The share of requests that must be good, for instance 99.5%.
    #[arg(long)]
    pub objective: Percent,
    /// How often a healthy revision may be rolled back.
    #[arg(long, default_value = "1%")]
    pub alpha: Percent,
    /// How often a revision that breaks the objective may be promoted.
    #[arg(long, default_value = "5%")]
    pub beta: Percent,
    /// How many blocks with a burst of errors never count as proof.
    #[arg(long, default_value_t = 1)]
    pub leave_out: usize,
    /// How much the error rate varies by itself; 0: requests fail independently.
    #[arg(long, default_value_t = 0.0)]
    pub kappa: f64,
    /// How many times stable's share of bad requests the candidate may have.
    #[arg(long, default_value_t = 1.25)]
    pub tolerance: f64,
    /// About how many blocks the rollout was planned to last.
    #[arg(long, default_value_t = 240)]
    pub planned_blocks: u32,
    /// A table with plots, or one JSON object a block with natural logarithms of e-values.
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
    /// The file cannot be read.
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
    /// The options contradict the judge's rules.
    #[error("{0}")]
    Settings(&'static str),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Write(#[from] io::Error),
}

/// Runs the command: 0, or 2 with one line on standard error.
pub fn run(args: &Args) -> ExitCode {
    match backtest(args, &mut io::stdout().lock()) {
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

fn backtest(args: &Args, out: &mut impl Write) -> Result<(), Error> {
    let unreadable = |error| Error::File(args.blocks.clone(), error);
    let file = File::open(&args.blocks).map_err(unreadable)?;
    let lines = read(BufReader::new(file)).map_err(|failure| match failure {
        ReadFailure::File(error) => unreadable(error),
        ReadFailure::Line(line, problem) => Error::Line { line, problem },
    })?;
    let rows = judge(args, &lines)?;
    match args.output {
        Output::Json => {
            for row in &rows {
                serde_json::to_writer(&mut *out, &Printed::from(row)).map_err(io::Error::from)?;
                writeln!(out)?;
            }
        }
        Output::Table => out.write_all(page(args, &rows)?.as_bytes())?,
    }
    Ok(())
}

/// One line of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    t: Timestamp,
    step: Option<i32>,
    candidate: Option<Requests>,
    stable: Option<Requests>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    bad: f64,
    total: f64,
}

enum ReadFailure {
    File(io::Error),
    Line(usize, String),
}

/// Blocks with the text of their time; blank lines are skipped.
fn read(lines: impl BufRead) -> Result<Vec<(Timestamp, Block)>, ReadFailure> {
    let mut blocks: Vec<(Timestamp, Block)> = Vec::new();
    for (number, text) in (1..).zip(lines.lines()) {
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => ReadFailure::Line(number, "not UTF-8".to_owned()),
            _ => ReadFailure::File(error),
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let block = parse(&text, blocks.last()).map_err(|problem| ReadFailure::Line(number, problem))?;
        blocks.push(block);
    }
    Ok(blocks)
}

fn parse(text: &str, previous: Option<&(Timestamp, Block)>) -> Result<(Timestamp, Block), String> {
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if previous.is_some_and(|(before, _)| line.t <= *before) {
        return Err(format!("t must be later than in the line before, not {}", line.t));
    }
    let counts = |arm: &str, requests: Option<Requests>| match requests {
        None => Ok(None),
        Some(Requests { bad, total }) => Counts::exact(bad, total)
            .checked()
            .map(Some)
            .ok_or_else(|| format!("{arm}: bad must lie between 0 and total, and total be a count")),
    };
    let block = Block {
        index: previous.map_or(0, |(_, block)| block.index + 1),
        step: line.step,
        alone: false,
        candidate: counts("candidate", line.candidate)?,
        stable: counts("stable", line.stable)?,
    };
    Ok((line.t, block))
}

/// What was known after one block.
struct Row {
    t: Timestamp,
    block: Block,
    evidence: Evidence,
    untrimmed: Untrimmed,
    verdict: Verdict,
}

fn judge(args: &Args, blocks: &[(Timestamp, Block)]) -> Result<Vec<Row>, Error> {
    let mut judge = new_judge(args)?;
    let mut step = 0;
    Ok(blocks
        .iter()
        .map(|&(t, block)| {
            judge.fold(&block);
            step = block.step.unwrap_or(step);
            let (evidence, untrimmed) = (judge.evidence(), judge.untrimmed());
            Row { t, block, evidence, untrimmed, verdict: judge.verdict(step) }
        })
        .collect())
}

fn new_judge(args: &Args) -> Result<SloJudge, Error> {
    let kappa = Kappa::Known(args.kappa);
    let settings = Settings {
        alpha: args.alpha.fraction(),
        beta: args.beta.fraction(),
        leave_out: args.leave_out,
        kappa,
        kappa_compare: kappa,
        tolerance: args.tolerance,
        planned_blocks: args.planned_blocks,
        ..Settings::default()
    };
    if let Some(problem) = settings.problem() {
        return Err(Error::Settings(problem));
    }
    let allowed = Percent::from_ppm(Percent::ALL.ppm() - args.objective.ppm()).map_or(0.0, Percent::fraction);
    SloJudge::new(allowed, &settings)
        .ok_or(Error::Settings("the objective must lie between 0% and 100%, both excluded"))
}

/// One object of `--output json`.
#[derive(Serialize)]
struct Printed {
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

impl From<&Row> for Printed {
    fn from(row: &Row) -> Self {
        Self {
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

/// The page for people: the decisions as a table, both kinds of evidence as plots, and the end in one sentence.
fn page(args: &Args, rows: &[Row]) -> Result<String, Error> {
    if rows.is_empty() {
        return Ok("no blocks, nothing to judge\n".to_owned());
    }
    let mut page = format!("{}\n", table(rows));
    let strengths = |log_e: fn(&Evidence) -> f64| -> Vec<f64> {
        rows.iter().map(|row| log_e(&row.evidence) / std::f64::consts::LN_10).collect()
    };
    let plots = [
        ("breach: rolled back at", strengths(|evidence| evidence.combined), args.alpha),
        ("health: passes at", strengths(|evidence| evidence.health), args.beta),
    ];
    for (title, powers, level) in plots {
        let limit = -level.fraction().log10();
        let _ = writeln!(page, "\n{title} {limit:.1}; as the power of ten of N in \"by chance once in N\"");
        page.push_str(&plot(&powers, limit));
    }
    let decided =
        rows.iter().position(|row| matches!(row.verdict, Verdict::Fail(_))).unwrap_or(rows.len() - 1);
    let mut judge = new_judge(args)?;
    for row in &rows[..=decided] {
        judge.fold(&row.block);
    }
    let decided = &rows[decided];
    let report = judge.report(decided.block.step.unwrap_or_default());
    let sentence = words::sentence(&decided.verdict, &report, seconds_per_block(rows));
    let what = match decided.verdict {
        Verdict::Fail(_) => "would have been rolled back",
        Verdict::Pass => "its last step would have passed",
        Verdict::Inconclusive(_) => "would not have been decided",
    };
    let _ = writeln!(page, "\n{}: {what}: {sentence}", decided.t);
    Ok(page)
}

fn seconds_per_block(rows: &[Row]) -> f64 {
    match rows {
        [first, second, ..] => second.t.duration_since(first.t).as_secs_f64(),
        _ => 15.0,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "time",
        "step",
        "candidate",
        "stable",
        "breach: by chance 1 in",
        "health: by chance 1 in",
        "verdict",
    ]);
    let every = rows.len().div_ceil(MOST_ROWS);
    for (at, row) in rows.iter().enumerate() {
        let changed = at == 0 || word(&rows[at - 1].verdict) != word(&row.verdict);
        if changed || at % every == 0 || at + 1 == rows.len() {
            table.add_row(cells(row));
        }
    }
    table
}

fn cells(row: &Row) -> [String; 7] {
    let requests = |counts: Option<Counts>| {
        counts.map_or_else(
            || "no data".to_owned(),
            |counts| format!("{} bad of {}", counts.bad, words::grouped(counts.total)),
        )
    };
    let one_in = |log_e: f64| words::grouped(log_e.max(0.0).exp().floor());
    let verdict = match row.verdict {
        Verdict::Inconclusive(Why::SharedWithStable) => "Inconclusive (stable is no better)",
        Verdict::Inconclusive(Why::NoData) => "Inconclusive (no data)",
        ref other => word(other),
    };
    [
        row.t.to_string(),
        row.block.step.map_or_else(|| "moving".to_owned(), |step| step.to_string()),
        requests(row.block.candidate),
        requests(row.block.stable),
        one_in(row.evidence.combined),
        one_in(row.evidence.health),
        verdict.to_owned(),
    ]
}

/// Powers of ten of the evidence by block, with the limit as a line.
fn plot(powers: &[f64], limit: f64) -> String {
    // Around the limit is where decisions fall; evidence far beyond it would flatten the picture.
    let (bottom, top) = (-2.0, 3.0 * limit);
    let line = |values: &mut dyn Iterator<Item = f64>| -> Vec<(f32, f32)> {
        (0_u16..).zip(values).map(|(x, y)| (f32::from(x), single(y.clamp(bottom, top)))).collect()
    };
    let every = powers.len().div_ceil(usize::from(u16::MAX));
    let evidence = line(&mut powers.iter().copied().step_by(every));
    let end = evidence.last().map_or(1.0, |(x, _)| x.max(1.0));
    let limits = [(0.0, single(limit)), (end, single(limit))];
    let (evidence, limits) = (Shape::Lines(&evidence), Shape::Lines(&limits));
    let mut chart = Chart::new_with_y_range(120, 40, 0.0, end, single(bottom), single(top));
    let chart = chart.lineplot(&evidence).lineplot(&limits);
    chart.axis();
    chart.figures();
    chart.to_string()
}

/// For the screen only.
#[allow(clippy::cast_possible_truncation)]
fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
#[path = "backtest_tests.rs"]
mod tests;
