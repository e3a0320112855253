//! How much traffic a verdict needs, before there is any. Pure: no I/O, no clock.

use super::kernel::{FAIL_GRID, PASS_GRID, divergence};

/// Requests until a breach is proven when `rate` of them are bad and at most `theta` may be; infinite when the
/// candidate is not worse than its limit. For independent requests (κ = 0), without leaving bursts out.
pub fn requests_to_detect(rate: f64, theta: f64, alpha: f64) -> f64 {
    let points: f64 = FAIL_GRID.iter().map(|_| 1.0).sum();
    if rate <= theta {
        return f64::INFINITY;
    }
    ((1.0 / alpha).ln() + (2.0 * points).ln()) / divergence(rate, theta)
}

/// Requests until health is proven when `rate` of them are bad; infinite when the candidate is not better than its
/// limit. For independent requests (κ = 0).
pub fn requests_to_pass(rate: f64, theta: f64, beta: f64) -> f64 {
    let points: f64 = PASS_GRID.iter().map(|_| 1.0).sum();
    if rate >= theta {
        return f64::INFINITY;
    }
    ((1.0 / beta).ln() + points.ln()) / divergence(rate, theta)
}

/// Requests of a step without which it never passes: enough to have seen a gross failure (ten times the limit).
pub fn least_requests(theta: f64, alpha: f64) -> f64 {
    let gross = (10.0 * theta).min(f64::midpoint(1.0, theta));
    1.6 * (1.0 / alpha).ln() / divergence(gross, theta)
}
