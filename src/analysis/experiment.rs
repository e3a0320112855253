//! An A/B test from block to block: who wins, how sure, and is the traffic shared as it should be?
//! Pure: no I/O, no clock.

use super::ab::{self, Difference, Pair, Sums};
use super::counts::MOST_REQUESTS;
use super::kernel::{SHARE_GRID, log_e, log_mean_exp};

/// Before so many blocks the scatter between blocks is not known well enough to decide.
pub const LEAST_BLOCKS: usize = 24;

/// A traffic share is called wrong when chance makes it look so in at most this share of tests.
const MISMATCH_LEVEL: f64 = 0.001;

/// What an A/B test is to find; fixed before its first block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// How often a test between equals may name a winner, however often one looks.
    pub alpha: f64,
    /// Differences of means smaller than this do not matter; more than 0.
    pub least_effect: f64,
    /// B's share of the units, in (0, 1).
    pub share: f64,
    /// See [`Plan::tau2`].
    pub tau2: f64,
}

impl Plan {
    /// The variance of the effects that the test is tuned to: the interval is narrowest when `units` units per arm
    /// have been seen, if their values have the given variances.
    pub fn tau2(alpha: f64, units: f64, variance_a: f64, variance_b: f64) -> f64 {
        ab::phi(alpha) * (variance_a + variance_b) / units
    }

    fn is_sound(&self) -> bool {
        let is_chance = |value: f64| value > 0.0 && value < 1.0;
        let is_size = |value: f64| value > 0.0 && value.is_finite();
        is_chance(self.alpha) && is_chance(self.share) && is_size(self.least_effect) && is_size(self.tau2)
    }
}

/// What to do with the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is proven yet.
    GoOn,
    /// B is better than A.
    TreatmentWins,
    /// A is better than B.
    ControlWins,
    /// Neither is better by as much as matters.
    NoDifference,
    /// The arms do not have the shares of the traffic that they should: whatever the difference is, it proves nothing.
    WrongShares,
}

/// What is known after some blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// What to do.
    pub decision: Decision,
    /// B's mean minus A's.
    pub difference: Difference,
    /// Lower end of the interval that holds the true difference at every look with a chance of `1 − alpha`.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The p-value that stays valid at every look.
    pub p_value: f64,
}

/// An A/B test. Units are users or sessions, never requests of one user; routing must be sticky.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    plan: Plan,
    blocks: Vec<Pair>,
    last: Option<i64>,
    largest: f64,
    shares: [f64; SHARE_GRID.len()],
}

impl Experiment {
    /// A test before its first block; `None` when a number of the plan is out of range.
    pub fn new(plan: Plan) -> Option<Self> {
        let shares = [0.0; SHARE_GRID.len()];
        plan.is_sound().then_some(Self { plan, blocks: Vec::new(), last: None, largest: 0.0, shares })
    }

    /// Folds one closed block (an hour, by default). One that is not later than the last, or whose numbers are not sums
    /// over units, changes nothing.
    pub fn fold(&mut self, index: i64, block: Pair) {
        if self.last.is_some_and(|last| index <= last) {
            return;
        }
        self.last = Some(index);
        if !is_possible(block.control) || !is_possible(block.treatment) {
            return;
        }
        let (own, all) = (block.treatment.units, block.control.units + block.treatment.units);
        for (sum, ln_omega) in self.shares.iter_mut().zip(SHARE_GRID) {
            *sum += log_e(own, all, self.plan.share, ln_omega.exp());
        }
        self.blocks.push(block);
        if let Some(difference) = ab::difference(&self.blocks)
            && self.blocks.len() >= LEAST_BLOCKS
        {
            let seen = ab::log_e(difference.mean, variance(&difference), self.plan.tau2);
            self.largest = self.largest.max(seen);
        }
    }

    /// What is known; `None` before both arms have units in two blocks.
    pub fn outcome(&self) -> Option<Outcome> {
        let difference = ab::difference(&self.blocks)?;
        let half = ab::half_width(variance(&difference), self.plan.tau2, self.plan.alpha);
        let (low, high) = (difference.mean - half, difference.mean + half);
        let decision = if log_mean_exp(self.shares.into_iter()) >= (1.0 / MISMATCH_LEVEL).ln() {
            Decision::WrongShares
        } else if self.blocks.len() < LEAST_BLOCKS {
            Decision::GoOn
        } else if low > 0.0 {
            Decision::TreatmentWins
        } else if high < 0.0 {
            Decision::ControlWins
        } else if -self.plan.least_effect < low && high < self.plan.least_effect {
            Decision::NoDifference
        } else {
            Decision::GoOn
        };
        Some(Outcome { decision, difference, low, high, p_value: ab::p_value(self.largest) })
    }
}

/// The larger of the two: whole blocks may scatter more than their units, never less. Units without any scatter still
/// leave a little doubt.
fn variance(difference: &Difference) -> f64 {
    difference.robust_variance.max(difference.independent_variance).max(f64::MIN_POSITIVE)
}

fn is_possible(sums: Sums) -> bool {
    let Sums { units, sum, squares } = sums;
    (0.0..=MOST_REQUESTS).contains(&units)
        && sum.abs() <= MOST_REQUESTS
        && (0.0..=MOST_REQUESTS * MOST_REQUESTS).contains(&squares)
        && (units > 0.0 || (sum == 0.0 && squares == 0.0))
        && sum * sum <= squares * units * (1.0 + 1e-9)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn plan() -> Plan {
        Plan { alpha: 0.05, least_effect: 0.01, share: 0.5, tau2: Plan::tau2(0.05, 30_000.0, 0.0475, 0.0522) }
    }

    /// `blocks` blocks of 1 000 users in each arm; A converts 50 of them, B as many as given, both ±3 by turns.
    fn after(blocks: i64, converted: f64, users_of_b: f64) -> Outcome {
        let mut experiment = Experiment::new(plan()).unwrap();
        for index in 0..blocks {
            let swing = if index % 2 == 0 { 3.0 } else { -3.0 };
            let control = Sums::conversions(50.0 + swing, 1000.0);
            let treatment = Sums::conversions(converted - swing, users_of_b);
            experiment.fold(index, Pair { control, treatment });
        }
        experiment.outcome().unwrap()
    }

    #[rstest]
    #[case::better(60.0, Decision::TreatmentWins)]
    #[case::worse(40.0, Decision::ControlWins)]
    #[case::equal(50.0, Decision::NoDifference)]
    fn a_long_test_decides(#[case] converted: f64, #[case] decision: Decision) {
        let outcome = after(200, converted, 1000.0);
        assert_eq!(outcome.decision, decision, "{outcome:?}");
        assert_eq!(outcome.p_value < 0.05, decision != Decision::NoDifference, "{outcome:?}");
    }

    #[test]
    fn a_short_test_goes_on_whatever_it_looks_like() {
        assert_eq!(after(23, 300.0, 1000.0).decision, Decision::GoOn);
        assert!((after(23, 300.0, 1000.0).p_value - 1.0).abs() < f64::EPSILON);
        assert_eq!(after(24, 300.0, 1000.0).decision, Decision::TreatmentWins);
        assert_eq!(after(30, 55.0, 1000.0).decision, Decision::GoOn);
    }

    #[test]
    fn wrong_shares_of_the_traffic_decide_nothing() {
        assert_eq!(after(200, 60.0, 900.0).decision, Decision::WrongShares);
    }

    #[test]
    fn a_block_folded_again_or_impossible_changes_nothing() {
        let mut experiment = Experiment::new(plan()).unwrap();
        let block = Pair { control: Sums::conversions(5.0, 100.0), treatment: Sums::conversions(6.0, 100.0) };
        (0..30).for_each(|index| experiment.fold(index, block));
        let before = experiment.outcome();
        experiment.fold(29, block);
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 101.0] {
            let index = experiment.last.unwrap() + 1;
            experiment.fold(index, Pair { treatment: Sums::conversions(wrong, 100.0), ..block });
        }
        assert_eq!(experiment.outcome(), before);
    }

    #[test]
    fn a_plan_out_of_range_makes_no_test() {
        assert!(Experiment::new(Plan { alpha: 0.0, ..plan() }).is_none());
        assert!(Experiment::new(Plan { share: 1.0, ..plan() }).is_none());
        assert!(Experiment::new(Plan { tau2: f64::NAN, ..plan() }).is_none());
        assert!(Experiment::new(Plan { least_effect: 0.0, ..plan() }).is_none());
    }
}
