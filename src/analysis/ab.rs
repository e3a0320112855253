//! A/B tests: is B better than A, worse, or no different? With an interval that holds at every look.
//! Pure: no I/O, no clock.

use libm::erfc;

/// One arm's units (users, sessions) in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Number of units.
    pub units: f64,
    /// Sum of their values.
    pub sum: f64,
    /// Sum of the squares of their values.
    pub squares: f64,
}

impl Sums {
    /// Units that either convert or do not.
    pub const fn conversions(events: f64, units: f64) -> Self {
        Self { units, sum: events, squares: events }
    }

    fn add(self, other: Self) -> Self {
        Self {
            units: self.units + other.units,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    fn mean(self) -> f64 {
        self.sum / self.units
    }

    /// Variance of the mean for independent units.
    fn variance_of_mean(self) -> f64 {
        (self.squares / self.units - self.mean() * self.mean()).max(0.0) / self.units
    }
}

/// Both arms in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pair {
    /// A: what serves today.
    pub control: Sums,
    /// B: what is tried.
    pub treatment: Sums,
}

/// B's mean minus A's, and how uncertain it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// B's mean minus A's.
    pub mean: f64,
    /// From the scatter of whole blocks: holds when units of a block depend on each other.
    pub robust_variance: f64,
    /// As if units were independent.
    pub independent_variance: f64,
}

/// The difference over all blocks; `None` before both arms have a unit and there are two blocks.
pub fn difference(blocks: &[Pair]) -> Option<Difference> {
    let all = blocks.iter().fold(Pair::default(), |all, block| Pair {
        control: all.control.add(block.control),
        treatment: all.treatment.add(block.treatment),
    });
    if blocks.len() < 2 || all.control.units <= 0.0 || all.treatment.units <= 0.0 {
        return None;
    }
    let residual = |own: Sums, total: Sums| (own.sum - total.mean() * own.units) / total.units;
    let count: f64 = blocks.iter().map(|_| 1.0).sum();
    let squares: f64 = blocks
        .iter()
        .map(|block| residual(block.treatment, all.treatment) - residual(block.control, all.control))
        .map(|scatter| scatter * scatter)
        .sum();
    Some(Difference {
        mean: all.treatment.mean() - all.control.mean(),
        robust_variance: count / (count - 1.0) * squares,
        independent_variance: all.control.variance_of_mean() + all.treatment.variance_of_mean(),
    })
}

/// `ln e` of the observed difference against "no difference", mixed over effects of variance `tau2`.
pub fn log_e(difference: f64, variance: f64, tau2: f64) -> f64 {
    let both = variance + tau2;
    0.5 * (variance / both).ln() + tau2 * difference * difference / (2.0 * variance * both)
}

/// The p-value that stays valid at every look, from the largest `ln e` so far.
pub fn p_value(largest_log_e: f64) -> f64 {
    (-largest_log_e).exp().min(1.0)
}

/// Half the width of the confidence sequence around the difference.
pub fn half_width(variance: f64, tau2: f64, alpha: f64) -> f64 {
    let both = variance + tau2;
    (variance * both / tau2 * (2.0 * (1.0 / alpha).ln() + (both / variance).ln())).sqrt()
}

/// `τ²` as a multiple of the variance at the planned end that makes the interval narrowest there.
pub fn phi(alpha: f64) -> f64 {
    let double = -2.0 * alpha.ln();
    double + (1.0 + double).ln()
}

/// Units per arm that an A/B test needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Samples {
    /// If one looks once, at the end.
    pub fixed: f64,
    /// At most, if one looks whenever one likes; mostly it ends earlier.
    pub sequential: f64,
}

/// Units per arm to find that a conversion rate `base` changes by the share `lift` (0.1: by a tenth), with a chance
/// of `power`. `None` when a rate leaves (0, 1), nothing changes, or `alpha` or `power` is not a chance.
pub fn samples_needed(base: f64, lift: f64, alpha: f64, power: f64) -> Option<Samples> {
    let changed = base * (1.0 + lift);
    let is_chance = |value: f64| value > 0.0 && value < 1.0;
    let effect = changed - base;
    if ![base, changed, alpha, power].into_iter().all(is_chance) || effect == 0.0 {
        return None;
    }
    let variance = base * (1.0 - base) + changed * (1.0 - changed);
    let per_arm = |quantile: f64| variance * (quantile + normal_quantile(power)).powi(2) / (effect * effect);
    let phi = phi(alpha);
    let boundary = ((1.0 + phi) / phi * (2.0 * (1.0 / alpha).ln() + (1.0 + phi).ln())).sqrt();
    Some(Samples {
        fixed: per_arm(normal_quantile(1.0 - alpha / 2.0)).ceil(),
        sequential: per_arm(boundary).ceil(),
    })
}

/// The point below which a standard normal variable falls with chance `p` in (0, 1): bisection on `erfc`.
fn normal_quantile(p: f64) -> f64 {
    let below = |x: f64| 0.5 * erfc(-x / std::f64::consts::SQRT_2);
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if below(middle) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}
