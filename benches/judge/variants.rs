//! A/B tests: two weeks of hours, 200 users an hour in each arm, 5 % of whom convert; looked at every hour.

use fastrand::Rng;
use seatrial::analysis::ab::{Pair, Sums};
use seatrial::analysis::experiment::{Decision, Experiment, Plan};

use super::random::{Noise, poisson};

const HOURS: i64 = 336;
const USERS: f64 = 200.0;
const RATE: f64 = 0.05;

/// A kind of A/B test.
#[derive(Clone, Copy, Debug)]
pub struct Variants {
    /// What it is.
    pub about: &'static str,
    /// By how much more users of B convert.
    pub lift: f64,
    /// Deviation of the hourly noise that both arms share.
    pub shared: f64,
    /// Deviation of each arm's own.
    pub own: f64,
}

/// Tests between equals, and two with a winner.
pub const VARIANTS: [Variants; 5] = [
    Variants { about: "A/A", lift: 0.0, shared: 0.0, own: 0.0 },
    Variants { about: "A/A, shared hourly noise 0.4", lift: 0.0, shared: 0.4, own: 0.0 },
    Variants { about: "A/A, noise 0.3 of each arm", lift: 0.0, shared: 0.0, own: 0.3 },
    Variants { about: "B converts 10 % more", lift: 0.1, shared: 0.0, own: 0.0 },
    Variants { about: "B converts 20 % more", lift: 0.2, shared: 0.0, own: 0.0 },
];

/// Hours until a winner is named; `None` if none is.
pub fn winner_after(rng: &mut Rng, variants: &Variants) -> Option<f64> {
    let value_variance = RATE * (1.0 - RATE);
    let tau2 = Plan::tau2(0.05, 168.0 * USERS, value_variance, value_variance);
    let plan = Plan { alpha: 0.05, least_effect: 0.1 * RATE, share: 0.5, tau2 };
    let mut experiment = Experiment::new(plan)?;
    let [mut shared, mut a, mut b] =
        [variants.shared, variants.own, variants.own].map(|deviation| Noise::new(rng, deviation, 0.0));
    for hour in 0..HOURS {
        let rate = RATE * shared.next(rng);
        let rates = [rate * a.next(rng), rate * b.next(rng) * (1.0 + variants.lift)];
        let [control, treatment] = rates.map(|rate| {
            let converted = poisson(rng, USERS * rate.min(1.0));
            Sums::conversions(converted, converted + poisson(rng, USERS * (1.0 - rate.min(1.0))))
        });
        experiment.fold(hour, Pair { control, treatment });
        let decision = experiment.outcome().map(|outcome| outcome.decision);
        if matches!(decision, Some(Decision::TreatmentWins | Decision::ControlWins)) {
            return u32::try_from(hour + 1).ok().map(f64::from);
        }
    }
    None
}
