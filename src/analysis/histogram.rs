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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const BOUNDS: [f64; 4] = [0.1, 0.25, 0.5, f64::INFINITY];

    #[rstest]
    #[case::on_an_edge(0.25, 0.25, Some(0.25))]
    #[case::between_edges(0.3, 0.5, Some(0.25))]
    #[case::below_all_edges(0.05, 0.1, None)]
    #[case::above_all_finite_edges(2.0, f64::INFINITY, Some(0.5))]
    fn a_limit_is_enclosed(#[case] limit: f64, #[case] at_least: f64, #[case] at_most: Option<f64>) {
        assert_eq!(edges(&BOUNDS, limit), Some(Edges { at_least, at_most }));
    }

    #[test]
    fn only_a_limit_on_an_edge_is_exact_and_only_one_below_the_largest_edge_can_be_broken() {
        assert!(edges(&BOUNDS, 0.25).unwrap().exact());
        assert!(!edges(&BOUNDS, 0.3).unwrap().exact());
        assert!(edges(&BOUNDS, 0.3).unwrap().can_fail());
        assert!(!edges(&BOUNDS, 2.0).unwrap().can_fail());
        assert_eq!(edges(&BOUNDS, f64::NAN), None);
        assert_eq!(edges(&[0.1], 0.3), None);
    }

    #[test]
    fn only_edges_of_both_versions_are_compared() {
        assert_eq!(common_bounds(&[0.5, 0.1, 0.3], &[0.1, 0.5, 1.0]), [0.1, 0.5]);
    }

    #[test]
    fn buckets_that_do_not_add_up_are_no_data() {
        assert_eq!(slow(10.0, 11.0, Some(3.0)), None);
        assert_eq!(slow(10.0, 5.0, Some(6.0)), None);
        assert_eq!(slow_in_buckets(&[(0.1, 3.0), (0.5, 9.0)], 0.3), None);
    }
}
