//! The rules that are compared: ours, and what Flagger, Argo Rollouts and Kayenta do, re-implemented from reading
//! their source. Each answers: after how many seconds is this candidate rolled back?

use fastrand::Rng;
use seatrial::analysis::counts::{Block, Counts};
use seatrial::analysis::dispersion;
use seatrial::analysis::judge::SloJudge;
use seatrial::analysis::settings::{Kappa, Settings};
use seatrial::analysis::verdict::Verdict;

use super::random::poisson;
use super::world::{self, BLOCK_SECONDS, Moment, Scenario};

/// Blocks are closed one block after their end.
const SETTLE: f64 = 15.0;
const BLOCKS_PER_MINUTE: usize = 4;
/// Flagger rolls back at the tick after the fifth failed check, Argo Rollouts with the fourth failed measurement.
const FLAGGER_THRESHOLD: usize = 5;
const ARGO_FAILURE_LIMIT: usize = 3;
/// Groups of stable's pods for every group of the candidate's.
pub const PODS_RATIO: f64 = 4.0;
/// Kayenta judges every ten minutes, everything so far.
const KAYENTA_MINUTES: usize = 10;

/// What a rule did: seconds until the rollback.
pub type Outcome = Option<f64>;

/// The settings of the judge at `alpha`, with κ learned from `history` as the operator does: all pods of stable together,
/// of which the candidate has as many as one of the groups.
pub fn settings(scenario: &Scenario, alpha: f64, history: &[Vec<Counts>]) -> Settings {
    let settings = Settings { alpha, tolerance: scenario.tolerance, ..Settings::default() };
    settings.learned_from(world::together(history), scenario.limit, PODS_RATIO)
}

/// The same with what statistics.md learns from: every group of pods by itself.
pub fn settings_by_group(scenario: &Scenario, alpha: f64, history: &[Vec<Counts>]) -> Settings {
    let settings = Settings { alpha, tolerance: scenario.tolerance, ..Settings::default() };
    settings.with_dispersion(dispersion::from_history(history, scenario.limit))
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

/// Our judge where the answers about stable's past come after so many blocks: cautious until then, then judged again.
/// `known`: what it does when it knows them from the beginning.
pub fn ours_late(
    scenario: &Scenario,
    settings: &Settings,
    moments: &[Moment],
    late: usize,
    known: Outcome,
) -> Outcome {
    let cautious = ours(scenario, &unknown(settings).while_awaited(), &moments[..late]);
    let learned = f64::from(u32::try_from(late).ok()?) * BLOCK_SECONDS + SETTLE;
    cautious.or_else(|| known.map(|at| at.max(learned)))
}

/// The settings without what was learned from stable's past.
pub fn unknown(settings: &Settings) -> Settings {
    Settings { kappa: Kappa::Unknown, kappa_compare: Kappa::Unknown, ..*settings }
}

/// The settings with which a candidate is compared with stable's last day instead of its present.
pub fn against_past(
    settings: &Settings,
    scenario: &Scenario,
    history: &[Vec<Counts>],
    rng: &mut Rng,
) -> Settings {
    let sum = |of: fn(&Counts) -> f64| history.iter().flatten().map(of).sum::<f64>();
    // The twenty hours before the four that are drawn block by block.
    let earlier = 5.0 * sum(|block| block.total);
    let bad = sum(|block| block.bad) + poisson(rng, earlier * scenario.base);
    settings.against_past(bad, earlier + sum(|block| block.total))
}

/// A moment as the judge takes it.
pub fn block(index: i64, step: i32, moment: &Moment) -> Block {
    let (candidate, stable) = (Some(moment.candidate), Some(moment.stable));
    Block { index, step: Some(step), candidate, stable, further: moment.further, ..Block::default() }
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
///
/// The interval's end is the exact order statistic of all differences, with the variance corrected for ties. Kayenta
/// searches for it numerically, to 1e-4, which is coarser than the ratios of rare errors: this version flatters it
/// where most minutes have no error.
fn is_higher(candidate: &[f64], baseline: &[f64]) -> bool {
    let (m, n) = (length(candidate), length(baseline));
    if m == 0.0 || n == 0.0 {
        return false;
    }
    let mean = |points: &[f64]| points.iter().sum::<f64>() / length(points);
    let mut differences: Vec<f64> =
        candidate.iter().flat_map(|a| baseline.iter().map(move |b| a - b)).collect();
    differences.sort_by(f64::total_cmp);
    let mut pooled: Vec<f64> = candidate.iter().chain(baseline).copied().collect();
    pooled.sort_by(f64::total_cmp);
    let ties: f64 = pooled.chunk_by(|a, b| a.total_cmp(b).is_eq()).map(length).map(|t| t * t * t - t).sum();
    let all = m + n;
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let rank = m * n / 2.0 - 2.326_347_874 * variance.max(0.0).sqrt();
    let at = |position: f64| {
        let below = differences.iter().zip(1_i32..).find(|(_, rank)| f64::from(*rank) >= position);
        below.map_or(0.0, |(difference, _)| *difference)
    };
    let (estimate, low) = (at(m * n / 2.0), at(rank.max(1.0)));
    low > 0.25 * estimate.abs() && mean(candidate) >= mean(baseline)
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
