//! The rules that are compared: ours, and what Flagger, Argo Rollouts and Kayenta do, re-implemented from reading
//! their source. Each answers: after how many seconds is this candidate rolled back?

use seatrial::analysis::counts::{Block, Counts};
use seatrial::analysis::dispersion;
use seatrial::analysis::judge::SloJudge;
use seatrial::analysis::settings::{Kappa, Settings};
use seatrial::analysis::verdict::Verdict;

use super::world::{BLOCK_SECONDS, Moment, Scenario};

/// Blocks are closed one block after their end.
const SETTLE: f64 = 15.0;
const BLOCKS_PER_MINUTE: usize = 4;
/// Flagger rolls back at the tick after the fifth failed check, Argo Rollouts with the fourth failed measurement.
const FLAGGER_THRESHOLD: usize = 5;
const ARGO_FAILURE_LIMIT: usize = 3;
/// Kayenta judges every ten minutes, everything so far.
const KAYENTA_MINUTES: usize = 10;

/// What a rule did: seconds until the rollback.
pub type Outcome = Option<f64>;

/// The settings of the judge at `alpha`, with κ learned from `history`.
pub fn settings(scenario: &Scenario, alpha: f64, history: &[Vec<Counts>]) -> Settings {
    let found = dispersion::from_history(history, scenario.limit);
    let kappa = |value: Option<f64>| value.map_or(Kappa::Unknown, Kappa::Known);
    Settings {
        alpha,
        tolerance: scenario.tolerance,
        kappa: kappa(found.map(|found| found.objective)),
        kappa_compare: kappa(found.map(|found| found.comparison)),
        ..Settings::default()
    }
}

/// Our judge, looking at every block.
pub fn ours(scenario: &Scenario, settings: &Settings, moments: &[Moment]) -> Outcome {
    let mut judge = SloJudge::new(scenario.limit, settings)?;
    for (index, moment) in (0_i32..).zip(moments) {
        let step = i32::try_from(moment.step).ok()?;
        judge.fold(&block(i64::from(index), step, moment));
        if matches!(judge.verdict(step), Verdict::Fail(_)) {
            return Some(f64::from(index + 1) * BLOCK_SECONDS + SETTLE);
        }
    }
    None
}

/// A moment as the judge takes it.
pub fn block(index: i64, step: i32, moment: &Moment) -> Block {
    let (candidate, stable) = (Some(moment.candidate), Some(moment.stable));
    Block { index, step: Some(step), alone: false, candidate, stable }
}

/// Flagger: a failed check is one minute beyond the limit, or without a value; it never forgets one.
pub fn flagger(scenario: &Scenario, moments: &[Moment]) -> Outcome {
    let failed = minutes(moments, |moment| moment.candidate)
        .enumerate()
        .filter(|(_, ratio)| ratio.is_none_or(|ratio| ratio > scenario.limit));
    failed.map(|(minute, _)| seconds(minute + 2)).nth(FLAGGER_THRESHOLD - 1).filter(|at| *at <= 3600.0)
}

/// Argo Rollouts: a measurement a minute; too many failures, ever.
pub fn argo(scenario: &Scenario, moments: &[Moment]) -> Outcome {
    let failed = minutes(moments, |moment| moment.candidate)
        .enumerate()
        .filter(|(_, ratio)| ratio.is_none_or(|ratio| ratio > scenario.limit));
    failed.map(|(minute, _)| seconds(minute + 1)).nth(ARGO_FAILURE_LIMIT)
}

/// Kayenta: Mann–Whitney on the series of minute ratios, again and again on a growing window; a baseline as large as
/// the candidate.
pub fn kayenta(moments: &[Moment]) -> Outcome {
    let candidate: Vec<Option<f64>> = minutes(moments, |moment| moment.candidate).collect();
    let baseline: Vec<Option<f64>> = minutes(moments, |moment| moment.twin).collect();
    let judged = |until: &usize| {
        let points =
            |series: &[Option<f64>]| series[..*until].iter().copied().flatten().collect::<Vec<f64>>();
        is_higher(&points(&candidate), &points(&baseline))
    };
    (KAYENTA_MINUTES..=candidate.len()).step_by(KAYENTA_MINUTES).find(judged).map(seconds)
}

/// Whether the 98 % interval of the shift lies above a quarter of the estimate, and the mean above the baseline's.
fn is_higher(candidate: &[f64], baseline: &[f64]) -> bool {
    if candidate.is_empty() || baseline.is_empty() {
        return false;
    }
    let mean = |points: &[f64]| points.iter().sum::<f64>() / length(points);
    let low = shift(candidate, baseline, 2.326_347_874);
    let estimate = shift(candidate, baseline, 0.0);
    low > 0.25 * estimate.abs() && mean(candidate) >= mean(baseline)
}

/// By how much the candidate must be shifted for its rank sum to lie `quantile` deviations above the middle: searched
/// to 1e-4, as R's `wilcox.test` and Kayenta do, which is as coarse as the ratios of a rare error themselves.
fn shift(candidate: &[f64], baseline: &[f64], quantile: f64) -> f64 {
    let least = |points: &[f64]| points.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |points: &[f64]| points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut low = least(candidate) - most(baseline);
    let mut high = most(candidate) - least(baseline);
    while high - low > 1e-4 {
        let middle = f64::midpoint(low, high);
        if standardized_rank_sum(candidate, baseline, middle) > quantile {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

fn standardized_rank_sum(candidate: &[f64], baseline: &[f64], shift: f64) -> f64 {
    let shifted: Vec<f64> = candidate.iter().map(|point| point - shift).collect();
    let wins: f64 = shifted
        .iter()
        .flat_map(|a| {
            baseline.iter().map(move |b| if a > b { 1.0 } else { f64::from(u8::from(a >= b)) / 2.0 })
        })
        .sum();
    let mut pooled: Vec<f64> = shifted.iter().chain(baseline).copied().collect();
    pooled.sort_by(f64::total_cmp);
    let ties: f64 = pooled.chunk_by(|a, b| a.total_cmp(b).is_eq()).map(length).map(|t| t * t * t - t).sum();
    let (m, n) = (length(candidate), length(baseline));
    let all = m + n;
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let above = wins - m * n / 2.0;
    let corrected = if above == 0.0 { 0.0 } else { above - 0.5 * above.signum() };
    corrected / variance.max(f64::MIN_POSITIVE).sqrt()
}

fn length(points: &[f64]) -> f64 {
    points.iter().map(|_| 1.0).sum()
}

fn seconds(minutes: usize) -> f64 {
    u32::try_from(minutes).map_or(f64::INFINITY, |minutes| 60.0 * f64::from(minutes))
}

/// The share of bad requests in every minute; `None` without requests.
fn minutes(moments: &[Moment], of: impl Fn(&Moment) -> Counts) -> impl Iterator<Item = Option<f64>> {
    moments.chunks(BLOCKS_PER_MINUTE).map(move |minute| {
        let (bad, total) =
            minute.iter().map(&of).fold((0.0, 0.0), |sum, counts| (sum.0 + counts.bad, sum.1 + counts.total));
        (total > 0.0).then(|| bad / total)
    })
}
