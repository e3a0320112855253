//! Is the candidate worse than stable? Given the bad requests of both arms in a block, how many are the candidate's
//! follows from the traffic alone, whatever the (moving, unknown) base rate: incidents and daily patterns cancel.
//! Pure: no I/O, no clock.

use super::counts::Counts;
use super::eprocess::Observation;
use super::kernel::{log_mean_exp, tempering};

/// The chance that a bad request of a block is the candidate's, if the candidate's rate is `tolerance` times stable's.
pub fn expected_share(candidate_total: f64, stable_total: f64, tolerance: f64) -> f64 {
    candidate_total * tolerance / (candidate_total * tolerance + stable_total)
}

/// One block as evidence against "at most `tolerance` times as many bad requests as stable"; says nothing unless
/// both arms had requests.
pub fn observation(candidate: Counts, stable: Counts, tolerance: f64, kappa: f64) -> Observation {
    if candidate.total <= 0.0 || stable.total <= 0.0 {
        return Observation::NOTHING;
    }
    let theta = expected_share(candidate.total, stable.total, tolerance);
    if theta <= 0.0 || theta >= 1.0 {
        return Observation::NOTHING;
    }
    let bad = candidate.bad + stable.bad;
    let share = candidate.total / (candidate.total + stable.total);
    let eta = tempering(kappa, bad * share * (1.0 - share));
    Observation { events: candidate.bad, trials: bad, theta, eta }
}

/// Grid of the logarithm of the ratio: −3 … 3 in steps of 0.02.
const RATIO_POINTS: i32 = 150;
const RATIO_STEP: f64 = 0.02;

/// Confidence sequence for the ratio of the two arms' bad shares, for display. 2.4 KB; kept only where it is shown.
#[derive(Clone, Debug)]
pub struct RatioSequence {
    sums: Vec<f64>,
}

/// What a [`RatioSequence`] says: natural logarithms of the ratio candidate / stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioInterval {
    /// Lower end; −3 means "open": no lower end within the grid.
    pub low: f64,
    /// The most likely value on the grid.
    pub likely: f64,
    /// Upper end; 3 means "open", read it as "20 times or more".
    pub high: f64,
    /// The mixture's `ln e` that both ends are measured against.
    pub log_mean: f64,
}

impl Default for RatioSequence {
    fn default() -> Self {
        Self { sums: vec![0.0; grid().count()] }
    }
}

fn grid() -> impl Iterator<Item = f64> + Clone {
    (-RATIO_POINTS..=RATIO_POINTS).map(|point| f64::from(point) * RATIO_STEP)
}

impl RatioSequence {
    /// Folds one block; blocks with an empty arm change nothing.
    pub fn fold(&mut self, candidate: Counts, stable: Counts) {
        if candidate.total <= 0.0 || stable.total <= 0.0 {
            return;
        }
        let bad = candidate.bad + stable.bad;
        let share = candidate.total / (candidate.total + stable.total);
        for (sum, x) in self.sums.iter_mut().zip(grid()) {
            *sum += candidate.bad * x - bad * (share * x.exp_m1()).ln_1p();
        }
    }

    /// The interval that holds the true ratio at all times with a chance of at least `1 − alpha`.
    pub fn interval(&self, alpha: f64) -> RatioInterval {
        let log_mean = log_mean_exp(self.sums.iter().copied());
        let limit = log_mean - (1.0 / alpha).ln();
        let mut interval = RatioInterval { low: f64::NAN, likely: 0.0, high: f64::NAN, log_mean };
        let mut best = f64::NEG_INFINITY;
        for (&sum, x) in self.sums.iter().zip(grid()) {
            if sum > best {
                (best, interval.likely) = (sum, x);
            }
            if sum > limit {
                interval.low = interval.low.min(x);
                interval.high = x;
            }
        }
        interval
    }
}
