//! What a Prometheus remembers of a past rollout, asked and counted as the operator does.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;

use super::{Error, Trial, allowed};
use crate::analysis::counts::Block;
use crate::analysis::judge::SloJudge;
use crate::analysis::ledger::{Badness, Ledger, Standing};
use crate::analysis::settings::{Kappa, Settings};
use crate::api::v1alpha1::{Analysis, Duration, Percent, Slo, TrafficSplit};
use crate::cli::plan::{seconds, traffic_split};
use crate::prometheus::Refused;
use crate::prometheus::client::{Endpoint, Limits, Transport, ask, connect};
use crate::prometheus::provider::{Provider, Settings as ProviderSettings};
use crate::rollout::question::{Answer, Indicator, Question, Unanswered};
use crate::rollout::{past as history, report, slo_evidence::parts, steps};

/// A question never reaches further than so many scrapes, so that its answer stays small.
const REACH: i64 = 240;

/// Which rollout, and who remembers it.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PastRollout {
    /// Instead of recorded blocks: the Prometheus to ask, for instance `http://localhost:9090`
    #[arg(long, value_name = "URL", requires_all = ["traffic_split", "candidate", "from", "until"])]
    pub prometheus: Option<String>,
    /// The `TrafficSplit` with the SLOs and how they are judged
    #[arg(long, value_name = "FILE.yaml", requires = "prometheus")]
    pub traffic_split: Option<PathBuf>,
    /// The revision that was on trial, for instance `iris-5c6f7a8b`
    #[arg(long, value_name = "REVISION", requires = "prometheus")]
    pub candidate: Option<String>,
    /// The revision that served
    #[arg(long, value_name = "REVISION", requires = "prometheus")]
    pub stable: Option<String>,
    /// When the trial began; its whole time is judged as one step
    #[arg(long, value_name = "RFC 3339", requires = "prometheus")]
    pub from: Option<Timestamp>,
    /// When it ended
    #[arg(long, value_name = "RFC 3339", requires = "prometheus")]
    pub until: Option<Timestamp>,
    /// The model's namespace. Default: the `TrafficSplit`'s, else `default`
    #[arg(long, value_name = "NAME", requires = "prometheus")]
    pub namespace: Option<String>,
    /// The metric pack, as in the operator's configuration. Default: `contour`
    #[arg(long, value_name = "PACK", requires = "prometheus")]
    pub metrics: Option<String>,
    /// The label that holds the revision, for packs that need one
    #[arg(long, value_name = "LABEL", requires = "prometheus")]
    pub revision_label: Option<String>,
    /// How often that Prometheus scrapes. Default: 15s
    #[arg(long, value_name = "DURATION", requires = "prometheus")]
    pub scrape_interval: Option<Duration>,
    /// The model's `replicas`: errors of a candidate with fewer pods than stable vary more. Default: 1
    #[arg(long, value_name = "NUMBER", requires = "prometheus")]
    pub replicas: Option<i32>,
    /// A file with a bearer token
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    pub bearer_token_file: Option<PathBuf>,
    /// A file with certificate authorities, in PEM
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    pub ca_file: Option<PathBuf>,
}

/// The past rollout as the operator would have seen it.
struct Past {
    transport: Transport,
    provider: Provider,
    namespace: String,
    candidate: String,
    stable: Option<String>,
    from: Timestamp,
    until: Timestamp,
    pods_ratio: f64,
}

/// Every SLO that is a share of good requests, with its blocks. Queries with a threshold are left out: their value at
/// a past moment is not what the operator saw then.
pub(super) async fn trials(args: &PastRollout, kappa: Option<f64>) -> Result<Vec<Trial>, Error> {
    let missing = || {
        Error::Options(
            "write --blocks, or --prometheus with --traffic-split, --candidate, --from, --until".into(),
        )
    };
    let url = args.prometheus.as_ref().ok_or_else(missing)?;
    let file = args.traffic_split.as_ref().ok_or_else(missing)?;
    let text = fs::read_to_string(file).map_err(|error| Error::File(file.clone(), error))?;
    let split =
        traffic_split(&text).map_err(|problem| Error::Options(format!("{}: {problem}", file.display())))?;
    let endpoint = Endpoint {
        url: url.clone(),
        bearer_token_file: args.bearer_token_file.clone(),
        ca_file: args.ca_file.clone(),
    };
    let refused = |refused: Refused| Error::Options(refused.to_string());
    let settings = ProviderSettings {
        metrics: args.metrics.clone().unwrap_or_else(|| "contour".to_owned()),
        revision_label: args.revision_label.clone(),
        scrape_interval: args.scrape_interval.unwrap_or(Duration::from_secs(15)),
        propagation: Duration::from_secs(0),
    };
    let namespace = args.namespace.clone().or_else(|| split.metadata.namespace.clone());
    let past = Past {
        transport: connect(&endpoint, Limits::default()).map_err(refused)?,
        provider: Provider::new("backtest", &settings).map_err(refused)?,
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        candidate: args.candidate.clone().ok_or_else(missing)?,
        stable: args.stable.clone(),
        from: args.from.ok_or_else(missing)?,
        until: args.until.ok_or_else(missing)?,
        pods_ratio: steps::pods_ratio(&split.spec.strategy.canary, args.replicas.unwrap_or(1)),
    };
    past.trials(&split, kappa).await
}

impl Past {
    async fn trials(&self, split: &TrafficSplit, kappa: Option<f64>) -> Result<Vec<Trial>, Error> {
        if self.until <= self.from {
            return Err(Error::Options("--until must be later than --from".to_owned()));
        }
        let spec = &split.spec;
        let shares: Vec<(&Slo, Percent)> =
            spec.slos.iter().filter_map(|slo| Some((slo, slo.objective?))).collect();
        let planned = steps::planned_blocks(&spec.strategy.canary, spec.analysis.interval.millis());
        let mut settings = report::settings(&spec.analysis, shares.len(), planned);
        if let Some(kappa) = kappa {
            (settings.kappa, settings.kappa_compare) = (Kappa::Known(kappa), Kappa::Known(kappa));
        }
        let mut trials = Vec::new();
        for (slo, objective) in shares {
            let slo_name = Some(slo.name.clone());
            trials
                .push(Trial { slo: slo_name, ..self.trial(slo, objective, settings, &spec.analysis).await? });
        }
        Ok(trials)
    }

    async fn trial(
        &self,
        slo: &Slo,
        objective: Percent,
        settings: Settings,
        analysis: &Analysis,
    ) -> Result<Trial, Error> {
        let theta = allowed(objective);
        let indicator =
            indicator(slo).ok_or_else(|| Error::Options(format!("SLO {} measures nothing", slo.name)))?;
        let badness =
            slo.latency.as_ref().map_or(Badness::Counted, |l| Badness::SlowerThan(seconds(l.below)));
        let settings = self.learned(&indicator, badness, theta, analysis, settings).await?;
        let blocks = self.blocks(&indicator, badness, analysis.interval, &settings).await?;
        Ok(Trial { slo: None, theta, settings, blocks })
    }

    /// The settings with what stable did before the trial, asked for and used as the operator does; as they are without
    /// a stable revision.
    async fn learned(
        &self,
        indicator: &Indicator,
        badness: Badness,
        theta: f64,
        analysis: &Analysis,
        settings: Settings,
    ) -> Result<Settings, Error> {
        let (from, interval) = (self.from.as_millisecond(), analysis.interval.millis());
        let past = history::Past::new(from, interval, 0, &settings, analysis.baseline, badness);
        let (Some(stable), Some(mut past)) = (&self.stable, past) else { return Ok(settings) };
        while let Some((from, to)) = past.span(self.reach(interval), self.until) {
            let question = Question {
                candidate: stable.clone(),
                stable: None,
                ..self.question(indicator, moment(from)?, moment(to)?)
            };
            match ask(&self.transport, &self.provider, &question).await {
                // Asked for as if it were a candidate, since it was alone then.
                Ok(Answer::Counters { candidate, .. }) => past.take(to, Some(&candidate)),
                Ok(Answer::Value(_)) | Err(Unanswered { reason: "NoData", .. }) => {
                    past.take(to, None);
                }
                Err(unanswered) => return Err(unanswered.into()),
            }
        }
        Ok(past.learned(theta, self.pods_ratio, settings))
    }

    /// The blocks of the trial, counted by the operator's own ledger.
    async fn blocks(
        &self,
        indicator: &Indicator,
        badness: Badness,
        interval: Duration,
        settings: &Settings,
    ) -> Result<Vec<(Timestamp, Block)>, Error> {
        let (from, until) = (self.from.as_millisecond(), self.until.as_millisecond());
        let length = interval.millis().max(1);
        // Its verdict is not asked for: the blocks are judged again, one by one, for the table.
        let judge = SloJudge::new(0.5, settings)
            .ok_or_else(|| Error::Options("the judge cannot be set up".to_owned()))?;
        let mut ledger = Ledger::new(judge, badness, length, from);
        let mut blocks = Vec::new();
        // One look back before the beginning: it shows which targets were scraped already.
        let mut asked = from - 4 * self.provider.scrape_interval().millis();
        while asked < until {
            let to = until.min(asked + self.reach(length));
            match ask(&self.transport, &self.provider, &self.question(indicator, moment(asked)?, moment(to)?))
                .await
            {
                Ok(Answer::Counters { candidate, stable }) => ledger.observe(&parts(&candidate, &stable)),
                Ok(Answer::Value(_)) | Err(Unanswered { reason: "NoData", .. }) => {}
                Err(unanswered) => return Err(unanswered.into()),
            }
            let closed = ledger.close(to, |_, _| Standing { step: Some(0), alone: false });
            blocks.extend(closed.into_iter().map(|closed| closed.block));
            asked = to;
        }
        blocks.into_iter().map(|block| Ok((moment(block.index.saturating_mul(length))?, block))).collect()
    }

    fn reach(&self, interval: i64) -> i64 {
        REACH * self.provider.scrape_interval().millis().max(interval)
    }

    fn question(&self, indicator: &Indicator, from: Timestamp, until: Timestamp) -> Question {
        Question {
            provider: self.provider.name().to_owned(),
            namespace: self.namespace.clone(),
            candidate: self.candidate.clone(),
            stable: self.stable.clone(),
            indicator: indicator.clone(),
            from,
            until,
        }
    }
}

fn indicator(slo: &Slo) -> Option<Indicator> {
    match (&slo.errors, &slo.latency, &slo.ratio) {
        (Some(_), ..) => Some(Indicator::Errors),
        (_, Some(latency), _) => Some(Indicator::Latency { below: latency.below }),
        (_, _, Some(ratio)) => Some(Indicator::Ratio { bad: ratio.bad.clone(), total: ratio.total.clone() }),
        _ => None,
    }
}

fn moment(millis: i64) -> Result<Timestamp, Error> {
    Timestamp::from_millisecond(millis)
        .map_err(|_| Error::Options("--from and --until must be years that exist".into()))
}

#[cfg(test)]
#[path = "remembered_tests.rs"]
mod tests;
