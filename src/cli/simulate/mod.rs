//! `seatrial simulate`: what a rollout will do, played through by the real controllers in a made-up cluster in virtual time.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use tokio::time::Duration;

use crate::api::v1alpha1::{self, Percent};
use crate::world::plant::behaviour::Latency;

use super::backtest::Output;

mod input;
mod page;
mod play;

/// Plays a rollout through: without a cluster, in virtual time, by the real controllers.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A YAML file with a `TrafficSplit` and, if you like, its `ModelDeployments`; one that is missing is made up. Of two with
    /// one name the first serves and the second is rolled out; of one alone, a version before it serves
    #[arg(value_name = "FILE.yaml")]
    pub file: PathBuf,
    /// Requests a second that the route gets in all
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub rate: u64,
    /// The share of its requests that the candidate answers with a server error
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    pub candidate_errors: Percent,
    /// How long the candidate's answers take: the median, or the median and what one in a hundred exceeds (50ms..400ms)
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = latency)]
    pub candidate_latency: Latency,
    /// The share of events that the candidate's own counters call bad (SLOs with `ratio`)
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    pub candidate_bad_events: Percent,
    /// What custom queries (SLOs with `query`) give. Default: a value within their limits
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub candidate_value: Option<f64>,
    /// The share of server errors of the version that serves
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    pub stable_errors: Percent,
    /// How long its answers take
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = latency)]
    pub stable_latency: Latency,
    /// How long a pod of the candidate takes to be ready
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub start_time: v1alpha1::Duration,
    /// The candidate's pods never get ready
    #[arg(long)]
    pub never_ready: bool,
    /// The candidate's containers crash so long after each start
    #[arg(long, value_name = "DURATION")]
    pub crash_after: Option<v1alpha1::Duration>,
    /// Prometheus cannot be reached in this time, counted from the rollout's begin. May be given several times
    #[arg(long, value_name = "FROM..TO", value_parser = span)]
    pub prometheus_away: Vec<(Duration, Duration)>,
    /// The gateway takes routes over so much later
    #[arg(long, value_name = "DURATION")]
    pub gateway_late: Option<v1alpha1::Duration>,
    /// The operator is killed at this time and starts anew. May be given several times
    #[arg(long, value_name = "AT")]
    pub operator_restart: Vec<v1alpha1::Duration>,
    /// An approval that a step asks for is given so long after the rollout waits for it
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub approve_after: v1alpha1::Duration,
    /// How often Prometheus scrapes. Default: `analysis.interval`, at most 15s
    #[arg(long, value_name = "DURATION")]
    pub scrape_interval: Option<v1alpha1::Duration>,
    /// The longest virtual time that is played
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub limit: v1alpha1::Duration,
    /// Where all chance comes from: the same seed plays the same rollout
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Exit with 1 if the rollout ends otherwise
    #[arg(long, value_name = "OUTCOME")]
    pub expect: Option<Expected>,
    /// A table and the end in one sentence, or one JSON object
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// What a pipeline may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum Expected {
    /// The candidate takes over
    Promoted,
    /// The candidate is taken out and rejected
    RolledBack,
}

/// Why nothing was played through; each is the user's to mend (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {0}")]
    File(PathBuf, #[source] io::Error),
    /// What the file holds cannot be used.
    #[error("{0}: {1}")]
    Yaml(PathBuf, String),
    /// What the file holds was accepted by no API server or by no controller.
    #[error("{0}")]
    Refused(String),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Write(#[from] io::Error),
}

/// Runs the command: 0; 1 if the rollout does not end as expected; 2 with one line on standard error.
///
/// Virtual time: the clock of this runtime, which runs nothing else, is stopped and moves on whenever all is waiting.
pub async fn run(args: &Args) -> ExitCode {
    tokio::time::pause();
    match Box::pin(print(args, &mut io::stdout().lock())).await {
        Ok(code) => code,
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let _ = writeln!(io::stderr(), "seatrial simulate: {error}{cause}");
            ExitCode::from(2)
        }
    }
}

async fn print(args: &Args, out: &mut impl Write) -> Result<ExitCode, Error> {
    let text = fs::read_to_string(&args.file).map_err(|error| Error::File(args.file.clone(), error))?;
    let input = input::read(&text).map_err(|problem| Error::Yaml(args.file.clone(), problem))?;
    let played = Box::pin(play::play(args, input)).await?;
    match args.output {
        Output::Json => {
            serde_json::to_writer(&mut *out, &played).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Output::Table => out.write_all(page::page(&played).as_bytes())?,
    }
    let wanted = args.expect.map(|expected| match expected {
        Expected::Promoted => play::Ended::Promoted,
        Expected::RolledBack => play::Ended::RolledBack,
    });
    if wanted.is_none_or(|wanted| wanted == played.outcome) {
        return Ok(ExitCode::SUCCESS);
    }
    if args.output == Output::Table
        && let Some(wanted) = wanted
    {
        writeln!(out, "expected: {}, but it was {}", wanted.words(), played.outcome.words())?;
    }
    Ok(ExitCode::FAILURE)
}

/// `50ms` or `50ms..400ms`.
fn latency(text: &str) -> Result<Latency, String> {
    let (median, p99) = text.split_once("..").unwrap_or((text, text));
    let (median, p99) = (length(median)?, length(p99)?);
    if median.is_zero() || p99 < median {
        return Err("must be more than 0s, and the second not less than the first: write for instance 50ms or 50ms..400ms".to_owned());
    }
    Ok(Latency::spread(median, p99))
}

/// `5m..20m`.
fn span(text: &str) -> Result<(Duration, Duration), String> {
    let fix = "write two times, for instance 5m..20m";
    let (from, to) = text.split_once("..").ok_or(fix)?;
    let (from, to) = (length(from)?, length(to)?);
    if to <= from { Err(format!("must end after it begins: {fix}")) } else { Ok((from, to)) }
}

fn length(text: &str) -> Result<Duration, String> {
    let length: v1alpha1::Duration = text.parse().map_err(|error| format!("{error}"))?;
    Ok(whole(length))
}

/// As the clock counts it; never negative on the wire.
fn whole(length: v1alpha1::Duration) -> Duration {
    Duration::from_millis(u64::try_from(length.millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
