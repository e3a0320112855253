//! At which latencies a candidate is compared with stable, besides its objective's limit: a version that is slower as a
//! whole shows it at stable's median and 90th percentile long before enough requests pass the limit.
//! Pure: no I/O, no clock.
//!
//! For each limit the same bet as in [`super::compare`], on "answered later than this". The bets are averaged, which
//! keeps α whatever their dependence (Vovk & Wang 2021). So this is a one-sided sequential test of "the candidate's
//! latencies are nowhere longer than stable's, beyond the tolerance".

use super::compare;
use super::counts::Counts;
use super::eprocess::{EProcess, Observation};
use super::settings::Settings;

/// At most so many limits besides the objective's.
pub const FURTHER: usize = 3;

/// The shares of stable's requests that are slower than the limits which are looked for.
const SHARES: [f64; FURTHER] = [0.5, 0.1, 0.01];

/// A past with fewer requests than this says too little about where its percentiles lie.
const LEAST_REQUESTS: f64 = 1000.0;

/// One latency at which the arms are compared; fixed before the first block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The latency: an edge of the histogram's buckets.
    pub seconds: f64,
    /// κ of the comparison at this latency, learned from stable's past; at least 0.
    pub kappa: f64,
}

/// Requests of both arms in one block, measured at a [`Limit`]: the candidate's, and stable's.
pub type Arms = (Counts, Counts);

/// The edges beyond which at most half, a tenth and a hundredth of stable's requests were, each once; not `known`, the
/// edge at which the objective compares already, nor one that no request was beyond. Empty for a past of less than
/// 1,000 requests.
///
/// `beyond`: for each finite edge of the buckets, rising, how many requests were slower. `total`: all requests.
pub fn limits(beyond: &[(f64, f64)], total: f64, known: f64) -> Vec<f64> {
    if total < LEAST_REQUESTS {
        return vec![];
    }
    let first = |share: f64| beyond.iter().find(|(_, slower)| *slower <= share * total);
    let mut found: Vec<f64> = SHARES
        .into_iter()
        .filter_map(first)
        .filter(|(edge, slower)| *slower > 0.0 && edge.total_cmp(&known).is_ne())
        .map(|(edge, _)| *edge)
        .collect();
    found.dedup();
    found
}

/// The evidence at one limit that the candidate is slower than stable by more than the tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slowness {
    limit: Limit,
    evidence: EProcess,
    candidate: Seen,
    stable: Seen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    slower: f64,
    total: f64,
}

/// What a person is told of a [`Slowness`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slower {
    /// The latency in seconds.
    pub than: f64,
    /// The share of the candidate's requests that took longer.
    pub candidate: f64,
    /// The share of stable's.
    pub stable: f64,
}

impl Slowness {
    /// Before the first block.
    pub fn new(limit: Limit, settings: &Settings) -> Self {
        let evidence = EProcess::new(settings.leave_out, settings.planned_blocks);
        Self { limit, evidence, candidate: Seen::default(), stable: Seen::default() }
    }

    /// Folds one closed block; `None`: nothing to compare in it.
    pub fn fold(&mut self, arms: Option<Arms>, tolerance: f64) {
        self.evidence.fold(arms.map_or(Observation::NOTHING, |(candidate, stable)| {
            self.candidate.add(candidate);
            self.stable.add(stable);
            compare::observation(candidate, stable, tolerance, self.limit.kappa)
        }));
    }

    /// `ln e` without the most incriminating blocks.
    pub fn trimmed(&self) -> f64 {
        self.evidence.trimmed()
    }

    /// `ln e` on all blocks.
    pub fn raw(&self) -> f64 {
        self.evidence.raw()
    }

    /// What a person is told; `None` before both arms had requests.
    pub fn slower(&self) -> Option<Slower> {
        let (candidate, stable) = (self.candidate.share()?, self.stable.share()?);
        Some(Slower { than: self.limit.seconds, candidate, stable })
    }
}

impl Seen {
    fn add(&mut self, counts: Counts) {
        self.slower += counts.bad;
        self.total += counts.total;
    }

    fn share(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.slower / self.total)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EDGES: [(f64, f64); 5] = [(0.05, 8000.0), (0.1, 4000.0), (0.2, 900.0), (0.3, 80.0), (0.5, 0.0)];

    #[test]
    fn limits_lie_where_stable_exceeds_at_most_half_a_tenth_and_a_hundredth() {
        assert_eq!(limits(&EDGES, 10_000.0, 1.0), [0.1, 0.2, 0.3]);
    }

    #[rstest]
    #[case::the_objectives_own_edge(&EDGES, 10_000.0, 0.3, &[0.1, 0.2])]
    #[case::one_edge_for_two_shares(&[(0.1, 9000.0), (0.3, 40.0)], 10_000.0, 1.0, &[0.3])]
    #[case::an_edge_that_nobody_was_beyond(&[(0.1, 9000.0), (0.3, 0.0)], 10_000.0, 1.0, &[])]
    #[case::a_past_without_many_requests(&EDGES, 999.0, 1.0, &[])]
    #[case::no_number(&EDGES, f64::NAN, 1.0, &[])]
    #[case::no_buckets(&[], 10_000.0, 1.0, &[])]
    fn what_would_say_nothing_new_is_left_out(
        #[case] beyond: &[(f64, f64)],
        #[case] total: f64,
        #[case] known: f64,
        #[case] expected: &[f64],
    ) {
        assert_eq!(limits(beyond, total, known), expected);
    }
}
