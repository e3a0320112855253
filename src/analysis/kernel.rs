//! The one formula behind every verdict: how much `k` bad of `n` speaks against "at most θ are bad".
//! Pure: no I/O, no clock. All values are natural logarithms of e-values.
//!
//! An *e-value* is a bet against a hypothesis: if the hypothesis is true its expectation is at most 1, however
//! often one looks, so a value of 100 has a chance of at most 1 in 100. `ln e = 0` says nothing, positive values
//! speak against the hypothesis.

/// Odds multipliers that the fail side bets on: from "half as bad again" to "thirty times as bad".
/// Six points lose at most a third of the data against a test that knows the true rate.
pub const FAIL_GRID: [f64; 6] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Odds multipliers that the pass side bets on: the candidate is 1.5 to 10 times better than its limit.
pub const PASS_GRID: [f64; 5] = [1.0 / 1.5, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 10.0];

/// Logarithms of the odds multipliers that look for a wrong traffic share, in either direction.
pub const SHARE_GRID: [f64; 10] = [-0.6, -0.3, -0.15, -0.08, -0.04, 0.04, 0.08, 0.15, 0.3, 0.6];

/// `ln e` of `k` events in `n` trials against "the chance of an event is at most `theta`" (`omega > 1`) or "at
/// least `theta`" (`omega < 1`). `k` and `n` may be fractions (counts extrapolated by a query).
///
/// Exact for any dependence between trials whose conditional chance keeps to the hypothesis.
pub fn log_e(k: f64, n: f64, theta: f64, omega: f64) -> f64 {
    k * omega.ln() - n * (theta * (omega - 1.0)).ln_1p()
}

/// `ln e` of a uniform bet on every multiplier of `grid`.
pub fn mixture(grid: &[f64], k: f64, n: f64, theta: f64) -> f64 {
    log_mean_exp(grid.iter().map(|&omega| log_e(k, n, theta, omega)))
}

/// `ln e` that the share of `k` in `n` differs from `theta`, in either direction: a sample-ratio mismatch.
pub fn share_mismatch(k: f64, n: f64, theta: f64) -> f64 {
    log_mean_exp(SHARE_GRID.iter().map(|ln_omega| log_e(k, n, theta, ln_omega.exp())))
}

/// The kernel for rare events whose rate itself varies like a Gamma variable with relative variance at most
/// `kappa`: an exact, slower alternative to tempering. `kappa = 0` is the Poisson limit.
pub fn negative_binomial_log_e(k: f64, n: f64, theta: f64, omega: f64, kappa: f64) -> f64 {
    let mean = n * theta;
    if kappa == 0.0 {
        return k * omega.ln() - mean * (omega - 1.0);
    }
    let (null, alternative) = (1.0 + kappa * mean, 1.0 + kappa * omega * mean);
    k * (omega * null / alternative).ln() - (alternative / null).ln() / kappa
}

/// `ln e` against "the mean of these observations in `[0, 1]` is at most `mean`", for any dependence inside an
/// observation: gauges. Each `stake` is a bet `λ < 1/mean`.
pub fn bounded_mean_log_e(observations: &[f64], mean: f64, stakes: &[f64]) -> f64 {
    log_mean_exp(
        stakes.iter().map(|stake| observations.iter().map(|x| (stake * (x - mean)).ln_1p()).sum::<f64>()),
    )
}

/// `ln Σ wᵢ·exp(xᵢ)`: the average of e-values is an e-value whatever their dependence. Weights sum to 1.
pub fn weighted_average(log_e: &[f64], weights: &[f64]) -> f64 {
    log_sum_exp(log_e.iter().zip(weights).map(|(value, weight)| value + weight.ln()))
}

/// `ln (eᵃ + eᵇ)` without overflow.
pub fn log_add_exp(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY {
        return b;
    }
    if b == f64::NEG_INFINITY {
        return a;
    }
    let (larger, difference) = if a > b { (a, b - a) } else { (b, a - b) };
    larger + difference.exp().ln_1p()
}

/// `ln Σ exp(xᵢ)`; minus infinity for nothing.
pub fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// `ln` of the mean of `exp(xᵢ)`; minus infinity for nothing.
pub fn log_mean_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count: f64 = values.clone().map(|_| 1.0).sum();
    if count == 0.0 {
        return f64::NEG_INFINITY;
    }
    log_sum_exp(values) - count.ln()
}

/// How far apart two Bernoulli chances are, in nats per trial: `KL(p ‖ q)`. 0·ln 0 counts as 0.
pub fn divergence(p: f64, q: f64) -> f64 {
    let term = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * (a / b).ln() };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

/// The exponent that slows bets down when event counts vary more than chance alone makes them:
/// `1 / (1 + κ · expected events)`, between 0 and 1.
pub fn tempering(kappa: f64, expected: f64) -> f64 {
    1.0 / (1.0 + kappa * expected)
}
