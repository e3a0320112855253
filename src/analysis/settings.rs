//! How sure the judge must be. Pure data.

use super::counts::Counts;
use super::dispersion::{Dispersion, FEW_EVENTS, from_history};
use super::estimate;
use super::slowness::{FURTHER, Limit};

/// How much more cautious than an unknown κ an unanswered one is.
const AWAITED: f64 = 4.0;

/// The part of alpha that pays for the past's own uncertainty; the comparison with it keeps the rest.
pub(super) const PAST_PART: f64 = 0.1;

/// How often a healthy version may be rolled back, in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sensitivity {
    /// One false rollback in 1 000 rollouts, one false promotion in 100; slowest.
    Strict,
    /// One false rollback in 100 rollouts, one false promotion in 20.
    #[default]
    Balanced,
    /// One false rollback in 20 rollouts, one false promotion in 10; fastest.
    Relaxed,
}

/// What is known about waves of errors, see [`super::dispersion`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kappa {
    /// Measured on stable's history or set by the user; at least 0.
    Known(f64),
    /// Not known: what the settings assume stands in.
    Unknown,
}

/// The judge's settings for one rollout; fixed before its first block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Chance of rolling back a healthy candidate: over the whole rollout, all SLOs, all looks. In (0, 1).
    pub alpha: f64,
    /// Chance of promoting a candidate that breaks an objective. In (0, 1).
    pub beta: f64,
    /// Bursts (blocks) that a rollback must survive without. At most [`super::eprocess::MOST_LEFT_OUT`].
    pub leave_out: usize,
    /// Waves in the objective's counts.
    pub kappa: Kappa,
    /// Waves in the comparison's counts: those that stable and candidate do not share.
    pub kappa_compare: Kappa,
    /// What stands in for an unknown κ where a broken objective or health is proven; at least 0.
    pub assumed_kappa: f64,
    /// What stands in for an unknown κ where a candidate within its objective is proven to be worse than stable; at
    /// least 0. Larger: there nothing but the comparison speaks against it, and the waves of both arms add up.
    pub assumed_kappa_guard: f64,
    /// The candidate may have this many times stable's share of bad requests; at least 1.
    pub tolerance: f64,
    /// Whether being worse than stable, beyond the tolerance but within the objective, is a breach by itself.
    pub compare: bool,
    /// What the candidate is compared with instead of stable at the same time: the largest share of bad requests that
    /// stable's past, times the tolerance, does not rule out; in (0, 1). `None`: stable at the same time.
    pub past_limit: Option<f64>,
    /// Latencies at which the arms are compared besides the objective's limit; with [`Self::past_limit`] they say nothing.
    pub further: [Option<Limit>; FURTHER],
    /// About how many blocks the rollout will last; at least 1. Later blocks count too, but faults that begin there
    /// are found more slowly.
    pub planned_blocks: u32,
    /// How many SLOs of the rollout share `alpha`; at least 1.
    pub slos: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self::preset(Sensitivity::Balanced)
    }
}

impl Settings {
    /// The settings behind a word.
    pub const fn preset(sensitivity: Sensitivity) -> Self {
        let balanced = Self {
            alpha: 0.01,
            beta: 0.05,
            leave_out: 1,
            kappa: Kappa::Unknown,
            kappa_compare: Kappa::Unknown,
            assumed_kappa: 5.0,
            assumed_kappa_guard: 12.5,
            tolerance: 1.25,
            compare: true,
            past_limit: None,
            further: [None; FURTHER],
            planned_blocks: 240,
            slos: 1,
        };
        match sensitivity {
            Sensitivity::Balanced => balanced,
            Sensitivity::Strict => Self {
                alpha: 0.001,
                beta: 0.01,
                leave_out: 2,
                assumed_kappa: 10.0,
                assumed_kappa_guard: 25.0,
                tolerance: 1.1,
                ..balanced
            },
            Sensitivity::Relaxed => Self {
                alpha: 0.05,
                beta: 0.1,
                assumed_kappa: 1.0,
                assumed_kappa_guard: 5.0,
                tolerance: 1.5,
                ..balanced
            },
        }
    }

    /// The same with what stable's history says about waves; without a usable history as it is.
    #[must_use]
    pub fn with_dispersion(self, found: Option<Dispersion>) -> Self {
        let Some(Dispersion { objective, comparison }) = found else { return self };
        Self { kappa: Kappa::Known(objective), kappa_compare: Kappa::Known(comparison), ..self }
    }

    /// The same with what `history` says about waves: what stable did before the trial, block by block, all its pods
    /// together, for a candidate with `pods_ratio` times fewer pods. A history with few bad requests cannot tell waves
    /// from chance (two in one minute of four hours look like a storm): it never says more than
    /// [`Self::assumed_kappa`]. Without a usable history as it is.
    #[must_use]
    pub fn learned_from(self, history: Vec<Counts>, theta: f64, pods_ratio: f64) -> Self {
        let bad: f64 = history.iter().map(|block| block.bad).sum();
        let most = if bad < FEW_EVENTS { self.assumed_kappa } else { f64::INFINITY };
        let found = from_history(&[history], theta).map(|found| {
            let Dispersion { objective, comparison } = found.of_fewer_pods(pods_ratio);
            Dispersion { objective: objective.min(most), comparison: comparison.min(most) }
        });
        self.with_dispersion(found)
    }

    /// The same with what stable's past tells of other latencies: for each, in seconds, what stable did block by block,
    /// measured there, all its pods together, for a candidate with `pods_ratio` times fewer pods. Latencies of which the
    /// past is too short or too thin to tell how much they vary by themselves are left out.
    #[must_use]
    pub fn compared_at(self, slower: &[(f64, Vec<Counts>)], pods_ratio: f64) -> Self {
        let unknown = Self { kappa: Kappa::Unknown, kappa_compare: Kappa::Unknown, ..self };
        let mut known = slower.iter().filter_map(|(seconds, blocks)| {
            let (bad, total) = blocks.iter().fold((0.0, 0.0), |sum, b| (sum.0 + b.bad, sum.1 + b.total));
            match unknown.learned_from(blocks.clone(), bad / total, pods_ratio).kappa_compare {
                Kappa::Known(kappa) => Some(Limit { seconds: *seconds, kappa }),
                Kappa::Unknown => None,
            }
        });
        Self { further: std::array::from_fn(|_| known.next()), ..self }
    }

    /// The same while stable's past is not answered yet: what stands in for κ is four times as cautious as without any,
    /// so that a rollback in that time is as safe as any later one even among waves that the preset's value is too low
    /// for.
    #[must_use]
    pub fn while_awaited(self) -> Self {
        let cautious = AWAITED * self.assumed_kappa;
        Self { assumed_kappa: cautious, assumed_kappa_guard: cautious.max(self.assumed_kappa_guard), ..self }
    }

    /// The same with a comparison against what stable did before the trial: `bad` of `total` requests. As it is when
    /// that rules out no share at all. See [`super::judge`] for what it proves and what it costs.
    #[must_use]
    pub fn against_past(self, bad: f64, total: f64) -> Self {
        let share = estimate::interval(bad, total, PAST_PART * self.alpha).high;
        Self { past_limit: Some(self.tolerance * share).filter(|limit| *limit < 1.0), ..self }
    }

    /// What is wrong with these settings and what to write instead; `None`: nothing.
    pub fn problem(&self) -> Option<&'static str> {
        let is_chance = |value: f64| value > 0.0 && value < 1.0;
        let is_kappa = |kappa| !matches!(kappa, Kappa::Known(value) if !is_waviness(value));
        let of_further = self.further.into_iter().flatten().map(|limit| limit.kappa);
        let are_assumed =
            [self.assumed_kappa, self.assumed_kappa_guard].into_iter().chain(of_further).all(is_waviness);
        if !is_chance(self.alpha) {
            Some("alpha must lie between 0% and 100%, both excluded")
        } else if !is_chance(self.beta) {
            Some("beta must lie between 0% and 100%, both excluded")
        } else if self.leave_out > super::eprocess::MOST_LEFT_OUT {
            Some("at most 5 bursts can be left out")
        } else if !is_kappa(self.kappa) || !is_kappa(self.kappa_compare) || !are_assumed {
            Some("kappa must be a number from 0 to 1000000")
        } else if !(self.tolerance >= 1.0 && self.tolerance <= 1000.0) {
            Some("the tolerance must be a factor from 1 to 1000")
        } else if self.past_limit.is_some_and(|limit| !(limit > 0.0 && limit < 1.0)) {
            Some("the past's limit must lie between 0 and 1, both excluded")
        } else if self.planned_blocks == 0 || self.slos == 0 {
            Some("at least one block and one SLO must be planned")
        } else {
            None
        }
    }

    /// κ of the objective's evidence.
    pub fn objective_kappa(&self) -> f64 {
        resolve(self.kappa, self.assumed_kappa)
    }

    /// κ of the comparison's evidence for blame and for a shared breach.
    pub fn comparison_kappa(&self) -> f64 {
        resolve(self.kappa_compare, self.assumed_kappa)
    }

    /// κ of the evidence that a candidate is worse than stable is, or was ([`Self::past_limit`]), whatever its objective.
    pub fn guard_kappa(&self) -> f64 {
        let known = if self.past_limit.is_some() { self.kappa } else { self.kappa_compare };
        resolve(known, self.assumed_kappa_guard)
    }
}

fn resolve(kappa: Kappa, assumed: f64) -> f64 {
    match kappa {
        Kappa::Known(value) => value,
        Kappa::Unknown => assumed,
    }
}

fn is_waviness(value: f64) -> bool {
    (0.0..=1e6).contains(&value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn presets_are_sound() {
        for word in [Sensitivity::Strict, Sensitivity::Balanced, Sensitivity::Relaxed] {
            assert_eq!(Settings::preset(word).problem(), None);
        }
    }

    /// `make judge` shows why: with the objective's value, hostile noise at 1 000 requests/s rolls back more than alpha.
    #[rstest]
    #[case::stable(None)]
    #[case::the_past(Some(0.01))]
    fn what_is_only_worse_than_stable_is_judged_more_cautiously_while_nothing_is_known(
        #[case] past_limit: Option<f64>,
    ) {
        for word in [Sensitivity::Strict, Sensitivity::Balanced, Sensitivity::Relaxed] {
            let settings = Settings { past_limit, ..Settings::preset(word) };
            assert!(settings.guard_kappa() >= 2.0 * settings.objective_kappa());
            let awaited = settings.while_awaited();
            assert!(awaited.guard_kappa() >= settings.guard_kappa());
            assert!(awaited.comparison_kappa() > settings.comparison_kappa());
            let (kappa, kappa_compare) = (Kappa::Known(0.5), Kappa::Known(0.7));
            let known = Settings { kappa, kappa_compare, ..awaited };
            let guard = if past_limit.is_some() { 0.5 } else { 0.7 };
            assert_eq!((known.objective_kappa(), known.comparison_kappa()), (0.5, 0.7));
            assert!((known.guard_kappa() - guard).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn a_history_with_few_errors_says_no_more_than_none() {
        // Two errors in one block of four hours: measured, it would be a storm.
        let mut history = vec![Counts::exact(0.0, 100.0); 960];
        history[400] = Counts::exact(2.0, 100.0);
        let settings = Settings::default();
        let learned = settings.learned_from(history, 0.01, 4.0);
        assert!(learned.kappa != Kappa::Unknown, "it is long enough");
        assert!(learned.objective_kappa() <= settings.objective_kappa());
        assert!(learned.comparison_kappa() <= settings.comparison_kappa());
    }

    #[rstest]
    #[case::alpha(|s: &mut Settings| s.alpha = 0.0)]
    #[case::alpha_nan(|s: &mut Settings| s.alpha = f64::NAN)]
    #[case::beta(|s: &mut Settings| s.beta = 1.0)]
    #[case::leave_out(|s: &mut Settings| s.leave_out = 6)]
    #[case::kappa(|s: &mut Settings| s.kappa = Kappa::Known(-1.0))]
    #[case::kappa_compare(|s: &mut Settings| s.kappa_compare = Kappa::Known(f64::NAN))]
    #[case::assumed(|s: &mut Settings| s.assumed_kappa = f64::INFINITY)]
    #[case::assumed_guard(|s: &mut Settings| s.assumed_kappa_guard = -1.0)]
    #[case::further(|s: &mut Settings| s.further[0] = Some(Limit { seconds: 0.1, kappa: f64::NAN }))]
    #[case::tolerance(|s: &mut Settings| s.tolerance = 0.9)]
    #[case::past_limit(|s: &mut Settings| s.past_limit = Some(1.0))]
    #[case::planned_blocks(|s: &mut Settings| s.planned_blocks = 0)]
    #[case::slos(|s: &mut Settings| s.slos = 0)]
    fn a_wrong_value_is_named(#[case] spoil: fn(&mut Settings)) {
        let mut settings = Settings::default();
        spoil(&mut settings);
        assert!(settings.problem().is_some());
    }
}
