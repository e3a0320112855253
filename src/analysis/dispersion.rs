//! How much more than chance do event counts vary? κ from the stable revision's history.
//! Pure: no I/O, no clock.
//!
//! The variance of a block's count is about `μ·(1 + κ·μ)`: 0 for independent requests, more where errors come in
//! waves. κ is a statement about blocks of one length; history and trial use the same interval.

use super::counts::Counts;

/// Lengths, in blocks, at which waves are looked for.
pub const SCALES: [usize; 4] = [1, 4, 12, 40];

/// A history shorter than this many blocks says nothing about waves.
pub const LEAST_BLOCKS: usize = 240;

/// A history in which a version at its limit would have shown fewer bad requests than this says nothing either.
pub const LEAST_EXPECTED: f64 = 20.0;

/// Below this many bad requests a history tells little: see [`super::settings::Settings::learned_from`].
pub const FEW_EVENTS: f64 = 20.0;

/// A scale needs this many stretches to be used.
const LEAST_BATCHES: usize = 6;

/// What the history of a stable revision says about waves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dispersion {
    /// κ for the objective's evidence.
    pub objective: f64,
    /// κ for the comparison's evidence: what groups of pods do not share.
    pub comparison: f64,
}

impl Dispersion {
    /// What was measured on all of stable's pods together (one row), for a candidate with `ratio` times fewer pods.
    ///
    /// Waves that pods do not share even out over many of them: the sum of `ratio` such candidates varies `ratio` times
    /// less than one of them. In the comparison the waves of both arms add up. What all pods share neither grows nor
    /// counts in the comparison, but one row cannot tell the one from the other, so this is the cautious end; a history
    /// in groups of the candidate's size needs no such factor. A ratio below 1 or not a number counts as 1.
    #[must_use]
    pub fn of_fewer_pods(self, ratio: f64) -> Self {
        let ratio = if ratio > 1.0 { ratio } else { 1.0 };
        Self { objective: self.objective * ratio, comparison: self.comparison * (ratio + 1.0) }
    }
}

/// κ from history, one row per group of pods about the size of the candidate (one row if the source cannot tell
/// pods apart), one column per block, rows of equal length.
///
/// `None`, "unknown", when the history is too short to tell ([`LEAST_BLOCKS`], [`LEAST_EXPECTED`] at `theta`), when
/// rows differ in length or a number is not a count. A history that is long enough and without a single bad request
/// gives 0: surroundings that make waves would have shown one. With a single group the objective's κ stands in for
/// the comparison's: it also holds what both arms share, so it is the larger of the two.
pub fn from_history(groups: &[Vec<Counts>], theta: f64) -> Option<Dispersion> {
    let blocks = groups.first()?.len();
    let usable = blocks >= LEAST_BLOCKS
        && groups.iter().all(|row| row.len() == blocks && row.iter().all(|cell| cell.checked().is_some()));
    let total: f64 = groups.iter().flatten().map(|cell| cell.total).sum();
    if !usable || theta * total < LEAST_EXPECTED {
        return None;
    }
    let scales: Vec<usize> = SCALES.into_iter().filter(|scale| blocks / scale >= LEAST_BATCHES).collect();
    let objective = objective_kappa(groups, &scales);
    let comparison = if groups.len() < 2 { objective } else { comparison_kappa(groups, &scales) };
    Some(Dispersion { objective, comparison })
}

/// κ of the count of bad requests around the overall rate; 0 without bad requests.
pub fn objective_kappa(groups: &[Vec<Counts>], scales: &[usize]) -> f64 {
    let bad: f64 = groups.iter().flatten().map(|cell| cell.bad).sum();
    let total: f64 = groups.iter().flatten().map(|cell| cell.total).sum();
    let rate = if total > 0.0 { bad / total } else { 0.0 };
    largest_kappa(groups, scales, |own, _| (own.bad - rate * own.total, rate * own.total))
}

/// κ of a group's part of the bad requests around its part of the traffic; 0 without bad requests.
pub fn comparison_kappa(groups: &[Vec<Counts>], scales: &[usize]) -> f64 {
    largest_kappa(groups, scales, |own, all| {
        let share = if all.total > 0.0 { own.total / all.total } else { 0.0 };
        (own.bad - all.bad * share, all.bad * share * (1.0 - share))
    })
}

/// `residual(a group in a block, all groups in it)` gives the deviation and the variance that chance explains; both
/// are summed over stretches of each scale's length.
fn largest_kappa(
    groups: &[Vec<Counts>],
    scales: &[usize],
    residual: impl Fn(Counts, Counts) -> (f64, f64),
) -> f64 {
    let together: Vec<Counts> = (0..groups.first().map_or(0, Vec::len))
        .map(|at| sum(groups.iter().filter_map(|row| row.get(at).copied())))
        .collect();
    let residuals: Vec<Vec<(f64, f64)>> = groups
        .iter()
        .map(|row| row.iter().zip(&together).map(|(own, all)| residual(*own, *all)).collect())
        .collect();
    let cells: f64 = residuals.iter().flatten().map(|_| 1.0).sum();
    let mean_events = groups.iter().flatten().map(|cell| cell.bad).sum::<f64>() / cells;
    let kappa_at = |scale: usize| {
        let (mut squares, mut variance, mut stretches) = (0.0, 0.0, 0.0);
        for stretch in residuals.iter().flat_map(|row| row.chunks_exact(scale)) {
            let deviation: f64 = stretch.iter().map(|(deviation, _)| deviation).sum();
            squares += deviation * deviation;
            variance += stretch.iter().map(|(_, explained)| explained).sum::<f64>();
            stretches += 1.0;
        }
        let error = ((2.0 + stretches / variance) / stretches).sqrt();
        let kappa = (squares / variance - 1.0 - error) / mean_events;
        if kappa.is_finite() { kappa } else { 0.0 }
    };
    scales.iter().map(|&scale| kappa_at(scale.max(1))).fold(0.0, f64::max)
}

fn sum(cells: impl Iterator<Item = Counts>) -> Counts {
    cells.fold(Counts::exact(0.0, 0.0), |sum, cell| Counts {
        bad: sum.bad + cell.bad,
        bad_at_most: sum.bad_at_most + cell.bad_at_most,
        total: sum.total + cell.total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(blocks: usize, bad: impl Fn(usize) -> f64) -> Vec<Counts> {
        (0..blocks).map(|at| Counts::exact(bad(at), 100.0)).collect()
    }

    #[test]
    fn a_history_that_is_too_short_or_too_thin_is_unknown() {
        assert_eq!(from_history(&[], 0.01), None);
        assert_eq!(from_history(&[row(239, |_| 0.0)], 0.01), None);
        assert_eq!(from_history(&[row(300, |_| 0.0)], 0.0001), None);
        assert_eq!(from_history(&[row(300, |_| 0.0), row(299, |_| 0.0)], 0.01), None);
        assert_eq!(from_history(&[row(300, |_| f64::NAN)], 0.01), None);
    }

    #[test]
    fn a_long_history_without_errors_shows_no_waves() {
        let found = from_history(&[row(300, |_| 0.0)], 0.01).unwrap();
        assert_eq!(found, Dispersion { objective: 0.0, comparison: 0.0 });
    }

    #[test]
    fn evenly_spread_errors_show_no_waves_and_clustered_ones_do() {
        let even = from_history(&[row(480, |at| f64::from(u8::from(at % 2 == 0)))], 0.01).unwrap();
        assert!(even.objective.abs() < f64::EPSILON);
        let clustered = from_history(&[row(480, |at| if at % 48 < 4 { 6.0 } else { 0.0 })], 0.01).unwrap();
        assert!(clustered.objective > 5.0, "{clustered:?}");
    }

    #[test]
    fn waves_that_all_pods_share_do_not_disturb_the_comparison() {
        let shared = |at: usize| if at % 48 < 4 { 6.0 } else { 0.0 };
        let found = from_history(&[row(480, shared), row(480, shared)], 0.01).unwrap();
        assert!(found.objective > 5.0 && found.comparison.abs() < f64::EPSILON, "{found:?}");
    }
}
