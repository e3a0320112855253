//! From latency buckets to "how many requests were slower than the limit", without estimating a quantile.
//! Pure: no I/O, no clock.

use super::counts::Counts;

/// The two bucket edges that enclose a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edges {
    /// The smallest edge at or above the limit, possibly `+Inf`: a request beyond it was certainly too slow. FAIL
    /// counts with this one.
    pub at_least: f64,
    /// The largest edge at or below the limit: a request within it was certainly fast enough. PASS counts with this
    /// one. `None`: every request may have been too slow.
    pub at_most: Option<f64>,
}

impl Edges {
    /// Whether the limit is itself an edge. If not, verdicts are right but slower: between the edges nothing is
    /// known, and the user should be told to take an edge as the limit.
    pub fn exact(&self) -> bool {
        self.at_most == Some(self.at_least)
    }

    /// Whether a breach can be seen at all: with nothing but `+Inf` above the limit it cannot.
    pub fn can_fail(&self) -> bool {
        self.at_least.is_finite()
    }
}

/// The edges around `limit` among the upper bounds (`le`) of cumulative buckets, in any order; `None` when there is
/// no edge at or above it (not even `+Inf`) or the limit is not a number.
pub fn edges(bounds: &[f64], limit: f64) -> Option<Edges> {
    if limit.is_nan() {
        return None;
    }
    let above = bounds.iter().copied().filter(|edge| *edge >= limit).reduce(f64::min)?;
    let below = bounds.iter().copied().filter(|edge| *edge <= limit).reduce(f64::max);
    Some(Edges { at_least: above, at_most: below })
}

/// The edges that both arms have, rising: only these may be compared when versions differ in bucket layout.
pub fn common_bounds(candidate: &[f64], stable: &[f64]) -> Vec<f64> {
    let mut common: Vec<f64> = candidate
        .iter()
        .copied()
        .filter(|edge| stable.iter().any(|other| other.total_cmp(edge).is_eq()))
        .collect();
    common.sort_by(f64::total_cmp);
    common.dedup();
    common
}

/// Counts of slow requests from the increments of one block: all requests, those within the edge at or above the
/// limit, those within the edge at or below it (`None`: there is no such edge). `None` when the numbers do not fit
/// together.
pub fn slow(total: f64, within_at_least: f64, within_at_most: Option<f64>) -> Option<Counts> {
    Counts { bad: total - within_at_least, bad_at_most: total - within_at_most.unwrap_or(0.0), total }
        .checked()
}

/// Counts of slow requests from one set of cumulative buckets `(le, count)`. `None` without a `+Inf` bucket or when
/// the numbers do not fit together.
pub fn slow_in_buckets(buckets: &[(f64, f64)], limit: f64) -> Option<Counts> {
    let count_at =
        |edge: f64| buckets.iter().find(|(le, _)| le.total_cmp(&edge).is_eq()).map(|(_, count)| *count);
    let bounds: Vec<f64> = buckets.iter().map(|(le, _)| *le).collect();
    let around = edges(&bounds, limit)?;
    let within = count_at(around.at_least)?;
    slow(count_at(f64::INFINITY)?, within, around.at_most.and_then(count_at))
}
