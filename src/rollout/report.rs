//! The judge's numbers in words: what `kubectl get mdep -o yaml` shows per SLO.

use crate::{
    analysis::{
        settings::{Kappa, Sensitivity as Preset, Settings},
        threshold::{Threshold, ThresholdJudge},
        verdict::{Breach, Cause, Report, Verdict, Why},
        words,
    },
    api::v1alpha1::{self as api, Analysis, Duration, Interval, Sensitivity, Slo, SloStatus, VerdictWord},
};

/// The judge's settings from a spec: the preset, and each value that is set by itself. `slos`: how many share alpha;
/// `planned_blocks`: see [`super::steps::planned_blocks`].
#[must_use]
pub fn settings(analysis: &Analysis, slos: usize, planned_blocks: u32) -> Settings {
    let mut settings = Settings::preset(match analysis.sensitivity {
        Sensitivity::Strict => Preset::Strict,
        Sensitivity::Balanced => Preset::Balanced,
        Sensitivity::Relaxed => Preset::Relaxed,
    });
    settings.planned_blocks = planned_blocks;
    settings.slos = u32::try_from(slos).unwrap_or(u32::MAX).max(1);
    if let Some(alpha) = analysis.false_rollback {
        settings.alpha = alpha.fraction();
    }
    if let Some(beta) = analysis.false_promotion {
        settings.beta = beta.fraction();
    }
    if let Some(bursts) = analysis.ignored_bursts.and_then(|b| usize::try_from(b).ok()) {
        settings.leave_out = bursts;
    }
    if let Some(kappa) = analysis.dispersion.as_ref().and_then(|d| d.parse().ok()) {
        settings.kappa = Kappa::Known(kappa);
        settings.kappa_compare = Kappa::Known(kappa);
    }
    if let Some(tolerance) = analysis.tolerance {
        settings.tolerance = 1.0 + tolerance.fraction();
    }
    settings
}

/// The limits of a query from a spec; `None` if they are not numbers (the schema refuses those).
#[must_use]
pub fn threshold(threshold: &api::Threshold) -> Option<Threshold> {
    let number = |text: &Option<String>| match text {
        None => Some(None),
        Some(text) => text.parse::<f64>().ok().filter(|v| v.is_finite()).map(Some),
    };
    let fail_after = u32::try_from(threshold.fail_after).unwrap_or(1);
    Some(Threshold { min: number(&threshold.min)?, max: number(&threshold.max)?, fail_after })
}

/// A share of good requests, for people: four significant digits after the nines would mislead more than help.
fn percent(share: f64) -> String {
    format!("{:.2}%", (share * 100.0).clamp(0.0, 100.0))
}

/// A count for people.
fn count(requests: f64) -> i64 {
    // A count of requests is a whole number far below 2^53; what is not (never seen) shows as the limit.
    #[allow(clippy::cast_possible_truncation)]
    let count = requests.round() as i64;
    count
}

fn word(verdict: &Verdict) -> VerdictWord {
    match verdict {
        Verdict::Pass => VerdictWord::Pass,
        Verdict::Fail(_) => VerdictWord::Fail,
        Verdict::Inconclusive(Why::SharedWithStable) => VerdictWord::Shared,
        Verdict::Inconclusive(Why::Undecided | Why::NoData) => VerdictWord::Undecided,
        Verdict::Inconclusive(Why::Unusable) => VerdictWord::Unobservable,
    }
}

/// The status of an SLO that is a share of good requests.
#[must_use]
pub fn share(slo: &Slo, verdict: &Verdict, report: &Report, interval: Duration) -> SloStatus {
    let asked = slo.objective.map_or_else(String::new, |o| o.to_string());
    let good = report.good.map_or_else(|| "no requests".to_owned(), |g| format!("{} good", percent(g)));
    let requests = count(report.requests);
    let needed = report.requests_needed.map(count);
    let message = match verdict {
        Verdict::Pass => format!("{good} of {requests} requests: {asked} is proven at this step"),
        Verdict::Fail(Breach { cause, one_in }) => {
            let odds =
                if *one_in > 1e6 { "less than 1 in 1000000".to_owned() } else { format!("1 in {one_in:.0}") };
            let against = match cause {
                Cause::Objective => format!("{asked} is asked for"),
                Cause::WorseThanStable => words::worse_than_stable(report),
                Cause::WorseThanBefore => "worse than the stable revision was before the trial".to_owned(),
                Cause::Threshold { .. } => "beyond its threshold".to_owned(),
            };
            format!(
                "{good} of {requests} requests, {against}; a healthy revision looks so bad {odds} by chance"
            )
        }
        Verdict::Inconclusive(Why::SharedWithStable) => {
            format!(
                "{good} of {requests} requests, less than {asked}, but the stable revision is no better: held"
            )
        }
        Verdict::Inconclusive(Why::NoData) => {
            format!("no requests at this step yet; about {} are needed to prove {asked}", needed.unwrap_or(0))
        }
        Verdict::Inconclusive(_) => undecided(&good, requests, needed, report, interval),
    };
    SloStatus {
        name: slo.name.clone(),
        verdict: word(verdict),
        estimate: report.good.map(percent),
        interval: report
            .good
            .map(|_| Interval { low: percent(report.interval.low), high: percent(report.interval.high) }),
        requests,
        requests_needed: needed,
        message,
    }
}

fn undecided(good: &str, requests: i64, needed: Option<i64>, report: &Report, interval: Duration) -> String {
    let edges = words::between_edges(report);
    let Some(needed) = needed else {
        return format!(
            "{good} of {requests} requests: too close to the objective for any number to prove it{edges}"
        );
    };
    let left = report.blocks_needed.map(|blocks| count(blocks).saturating_mul(interval.millis()));
    let time = match left.map(Duration::from_millis) {
        None => format!(", but there is no traffic: {WAYS_OUT}"),
        Some(left) if left > LONG_WAIT => format!(", {left} at the present rate: {WAYS_OUT}"),
        Some(left) => format!(", {left} at the present rate"),
    };
    let assumed = if report.dispersion_assumed {
        "; how much errors vary by themselves is not known, so a cautious value is assumed (analysis.dispersion)"
    } else {
        ""
    };
    format!("{good} of {requests} requests; about {needed} more needed{time}{edges}{assumed}")
}

/// Beyond this a person should not just wait.
const LONG_WAIT: Duration = Duration::from_secs(3600);

const WAYS_OUT: &str = "raise the weight, loosen the objective, or send it more requests";

/// The status of an SLO that is a query with a threshold.
#[must_use]
pub fn value(slo: &Slo, verdict: &Verdict, judge: &ThresholdJudge) -> SloStatus {
    let value = judge.value().map(|v| format!("{v}"));
    let shown = value.clone().unwrap_or_else(|| "no value".to_owned());
    let message = match verdict {
        Verdict::Pass => format!("{shown} is within its threshold"),
        Verdict::Fail(_) => {
            format!("{shown} is beyond its threshold, {} evaluations in a row", judge.beyond())
        }
        Verdict::Inconclusive(Why::Unusable) => "the last answer was not one finite number".to_owned(),
        Verdict::Inconclusive(Why::NoData) => "no value at this step yet".to_owned(),
        Verdict::Inconclusive(_) => {
            format!("{shown} is beyond its threshold, {} in a row so far", judge.beyond())
        }
    };
    SloStatus {
        name: slo.name.clone(),
        verdict: word(verdict),
        estimate: value,
        interval: None,
        requests: 0,
        requests_needed: None,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{estimate, judge::SloJudge};

    fn told(change: impl FnOnce(&mut Report)) -> String {
        let judge = SloJudge::new(0.01, &Settings::default()).unwrap();
        let mut report = Report {
            good: Some(0.999),
            interval: estimate::Interval { low: 0.99, high: 1.0 },
            requests: 1000.0,
            requests_needed: Some(400.0),
            blocks_needed: Some(8.0),
            dispersion_assumed: false,
            ..judge.report(0)
        };
        change(&mut report);
        let slo = serde_json::from_value(serde_json::json!({"name": "a", "objective": "99%", "errors": {}}));
        let open = Verdict::Inconclusive(Why::Undecided);
        share(&slo.unwrap(), &open, &report, Duration::from_secs(15)).message
    }

    #[test]
    fn an_open_verdict_says_how_long_it_takes() {
        assert_eq!(
            told(|_| ()),
            "99.90% good of 1000 requests; about 400 more needed, 2m at the present rate"
        );
    }

    #[test]
    fn with_little_traffic_it_says_what_to_do() {
        let slow = told(|report| report.blocks_needed = Some(2400.0));
        assert!(slow.contains("10h at the present rate: raise the weight, loosen the objective"), "{slow}");
        let none = told(|report| report.blocks_needed = None);
        assert!(none.contains("there is no traffic: raise the weight"), "{none}");
    }

    #[test]
    fn what_makes_a_verdict_slow_is_named() {
        assert!(told(|report| report.dispersion_assumed = true).contains("analysis.dispersion"));
        let between = told(|report| report.between_edges = 70.0);
        assert!(between.contains("70 requests lie between the two bucket edges"), "{between}");
    }
}
