//! The share of bad requests for display: point estimate and an interval that holds at every look.
//! Pure: no I/O, no clock. Uses `lgamma`.

use libm::lgamma;

/// The prior of the interval (Robbins' mixture with Jeffreys' weights).
const PRIOR: f64 = 0.5;

/// Halvings of the bisection; 2⁻⁹⁰ of the unit interval is finer than a double at 10⁻¹⁵.
const HALVINGS: usize = 90;

/// An interval of shares, `0 ≤ low ≤ high ≤ 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Beta–binomial confidence sequence: the shares that `bad` of `total` do not rule out; it holds the true share at
/// all looks with a chance of at least `1 − alpha` (approximate for a rate that drifts). No data: everything.
pub fn interval(bad: f64, total: f64, alpha: f64) -> Interval {
    if total <= 0.0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let good = total - bad;
    let mixed = log_beta(PRIOR + bad, PRIOR + good) - log_beta(PRIOR, PRIOR);
    let limit = (1.0 / alpha).ln();
    let ruled_out = |p: f64| mixed - power(bad, p) - power(good, 1.0 - p) >= limit;
    let likely = bad / total;
    let low = if bad <= 0.0 { 0.0 } else { edge(0.0, likely, &ruled_out) };
    let high = if good <= 0.0 { 1.0 } else { edge(1.0, likely, &ruled_out) };
    Interval { low, high }
}

/// `count · ln p`, with nothing counted as 0.
fn power(count: f64, p: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * p.ln() }
}

fn log_beta(a: f64, b: f64) -> f64 {
    lgamma(a) + lgamma(b) - lgamma(a + b)
}

/// The last share on the way from `inside` to `outside` that is not ruled out.
fn edge(mut outside: f64, mut inside: f64, ruled_out: &dyn Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(outside, inside);
        if middle <= outside.min(inside) || middle >= outside.max(inside) {
            break;
        }
        if ruled_out(middle) { outside = middle } else { inside = middle }
    }
    inside
}

/// Half width of a band around the whole distribution that holds at every quantile and every look with a chance of
/// at least `1 − alpha` after `samples` observations. Loose: for plots.
pub fn distribution_band(samples: f64, alpha: f64) -> f64 {
    let iterated = (std::f64::consts::E * samples).ln().ln();
    0.85 * ((iterated + 0.8 * (1612.0 / alpha).ln()) / samples).sqrt()
}
