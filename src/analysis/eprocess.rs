//! Evidence that grows block by block: against "within the limit" (`EProcess`) and for it (`PassProcess`).
//! Pure: no I/O, no clock.

use super::kernel::{FAIL_GRID, PASS_GRID, log_add_exp, log_mean_exp, log_sum_exp};

/// Most bursts that can be discounted.
pub const MOST_LEFT_OUT: usize = 5;

/// The share of the money that is bet on "it was bad from the first block"; the rest is for later starts.
const FIRST_STAKE: f64 = 0.5;

/// What counts of one block say, and how strongly they may speak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Events in the block, `0 ≤ events ≤ trials`.
    pub events: f64,
    /// Trials in the block.
    pub trials: f64,
    /// The chance of an event under the hypothesis, in `(0, 1)`.
    pub theta: f64,
    /// The tempering exponent in `(0, 1]`, see [`super::kernel::tempering`].
    pub eta: f64,
}

impl Observation {
    /// A block without data: it uses up stakes and says nothing.
    pub const NOTHING: Self = Self { events: 0.0, trials: 0.0, theta: 0.5, eta: 1.0 };
}

/// Evidence against "the chance of an event is at most θ" with restarts: a fault that starts late is found about as
/// fast as one that was there from the beginning. By Ville's inequality the chance that [`EProcess::raw`] ever
/// reaches `ln(1/α)` under the hypothesis is at most α, however often one looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EProcess {
    sums: [f64; FAIL_GRID.len()],
    largest: [[f64; MOST_LEFT_OUT]; FAIL_GRID.len()],
    left_out: usize,
    cash: f64,
    stake: f64,
    rho: f64,
}

impl EProcess {
    /// `left_out`: how many bursts the decision must survive, at most [`MOST_LEFT_OUT`]. `planned_blocks`: about how
    /// many blocks the trial will last; later blocks are still valid but find new faults more slowly.
    pub fn new(left_out: usize, planned_blocks: u32) -> Self {
        Self {
            sums: [f64::NEG_INFINITY; FAIL_GRID.len()],
            largest: [[0.0; MOST_LEFT_OUT]; FAIL_GRID.len()],
            left_out: left_out.min(MOST_LEFT_OUT),
            cash: 1.0,
            stake: FIRST_STAKE,
            rho: 1.0 / f64::from(planned_blocks.max(1)),
        }
    }

    /// Folds one closed block. The caller has checked the numbers; see [`super::counts::Counts::checked`].
    pub fn fold(&mut self, block: Observation) {
        let Observation { events, trials, theta, eta } = block;
        let invested = self.cash * self.stake;
        self.cash -= invested;
        self.stake = self.rho;
        let share = (invested / 6.0).ln();
        for (point, omega) in FAIL_GRID.into_iter().enumerate() {
            let gain = eta * omega.ln();
            let cost = eta * (theta * (omega - 1.0)).ln_1p();
            let step = events * gain - trials * cost;
            self.sums[point] = log_add_exp(self.sums[point], share) + step;
            // Few requests: a burst counts as its first event. Many: the block is taken out as a whole.
            let discount = if gain > trials * cost { (events - 1.0).max(0.0) * gain } else { step.max(0.0) };
            keep_largest(&mut self.largest[point][..self.left_out], discount);
        }
    }

    /// `ln e` on all blocks.
    pub fn raw(&self) -> f64 {
        log_add_exp(self.cash.ln(), log_sum_exp(self.sums.into_iter()))
    }

    /// `ln e` that is left when the most incriminating blocks are discounted: what decisions rest on.
    pub fn trimmed(&self) -> f64 {
        let rests =
            self.sums.iter().zip(&self.largest).map(|(sum, largest)| sum - largest.iter().sum::<f64>());
        log_add_exp(self.cash.ln(), log_sum_exp(rests))
    }

    /// Gives evidence up: multiplies everything won and everything still to be staked by `exp(log_factor)`.
    /// Always allowed for `log_factor ≤ 0`; a positive one is ignored.
    pub fn give_up(&mut self, log_factor: f64) {
        if log_factor < 0.0 {
            self.cash *= log_factor.exp();
            for sum in &mut self.sums {
                *sum += log_factor;
            }
        }
    }
}

fn keep_largest(largest: &mut [f64], candidate: f64) {
    let mut rest = candidate;
    for kept in largest {
        if rest > *kept {
            std::mem::swap(&mut rest, kept);
        }
    }
}

/// Evidence against "the chance of an event is θ or more", without restarts: begun afresh with every step, so that a
/// step passes only on data of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PassProcess {
    sums: [f64; PASS_GRID.len()],
}

impl PassProcess {
    /// Folds one closed block.
    pub fn fold(&mut self, block: Observation) {
        let Observation { events, trials, theta, eta } = block;
        for (sum, omega) in self.sums.iter_mut().zip(PASS_GRID) {
            *sum += eta * (events * omega.ln() - trials * (theta * (omega - 1.0)).ln_1p());
        }
    }

    /// `ln e` that the candidate is better than its limit.
    pub fn log_e(&self) -> f64 {
        log_mean_exp(self.sums.into_iter())
    }

    /// How many more trials at event rate `rate` and tempering `eta` bring `ln e` to `goal`; `None` if no number
    /// does. At most 2⁵³.
    pub fn trials_until(&self, goal: f64, rate: f64, theta: f64, eta: f64) -> Option<f64> {
        let slope = |omega: f64| eta * (rate * omega.ln() - (theta * (omega - 1.0)).ln_1p());
        let after = |trials: f64| {
            log_mean_exp(self.sums.iter().zip(PASS_GRID).map(|(sum, omega)| sum + trials * slope(omega)))
        };
        let mut enough = 1.0;
        while after(enough) < goal {
            enough *= 2.0;
            if enough > super::counts::MOST_REQUESTS {
                return None;
            }
        }
        let mut short = if enough > 1.0 { enough / 2.0 } else { 0.0 };
        while enough - short > 0.5 {
            let middle = f64::midpoint(short, enough);
            if after(middle) < goal { short = middle } else { enough = middle }
        }
        Some(enough.ceil())
    }
}
