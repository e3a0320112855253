//! How a version of a model behaves: how its pods start and end, and how it answers.

use std::{collections::BTreeMap, time::Duration};

use super::chance::Range;

/// Upper edges of the latency histogram's buckets in milliseconds: Envoy's own.
pub const EDGES: [f64; 14] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0];

/// The behaviour of each version by `model.version`; others behave as `usual` says.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// Versions that are not named.
    pub usual: Behaviour,
    /// Versions that are.
    pub named: BTreeMap<String, Behaviour>,
}

impl Versions {
    /// The behaviour of a version.
    #[must_use]
    pub fn of(&self, version: &str) -> &Behaviour {
        self.named.get(version).unwrap_or(&self.usual)
    }
}

/// What one version does.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Its pods.
    pub pods: Pods,
    /// Its answers.
    pub answers: Answers,
}

/// How pods start and end.
#[derive(Clone, Debug)]
pub struct Pods {
    /// From the pod's creation until its container is ready.
    pub start: Range,
    /// What becomes of its readiness.
    pub readiness: Readiness,
    /// Its container ends with an error so long after each start.
    pub crash_after: Option<Duration>,
    /// The node evicts it so long after its creation.
    pub evict_after: Option<Duration>,
    /// How long it still accepts requests after it was told to end (a `preStop` sleep).
    pub lingers: Duration,
    /// Whether it finishes its requests before it ends; if not, they are cut off when it stops to accept.
    pub finishes: bool,
    /// The longest time from being told to end to being killed.
    pub grace: Duration,
}

impl Default for Pods {
    /// Ready after 2 to 8 s. Ends as rudely as it may: nothing that still goes to it is answered.
    fn default() -> Self {
        Self {
            start: Range::millis(2000, 8000),
            readiness: Readiness::Holds,
            crash_after: None,
            evict_after: None,
            lingers: Duration::ZERO,
            finishes: false,
            grace: Duration::from_secs(30),
        }
    }
}

/// What becomes of a pod's readiness once it has started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// It stays ready.
    #[default]
    Holds,
    /// It never gets ready.
    Never,
    /// Its image cannot be pulled.
    NoImage,
    /// It goes up and down.
    Flaps {
        /// Ready for so long.
        up: Duration,
        /// Not ready for so long.
        down: Duration,
    },
}

/// How requests are answered.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The share of server errors.
    pub errors: f64,
    /// From when on (since the world began) that share is another: a fault that shows late.
    pub errors_from: Option<(Duration, f64)>,
    /// How long an answer takes.
    pub latency: Latency,
    /// The share of bad events in the model's own counters (`ratio` SLOs).
    pub bad_events: f64,
    /// What a custom `query` gives.
    pub value: f64,
}

impl Default for Answers {
    /// No errors; 20 ms, always.
    fn default() -> Self {
        Self {
            errors: 0.0,
            errors_from: None,
            latency: Latency::always(Duration::from_millis(20)),
            bad_events: 0.0,
            value: 1.0,
        }
    }
}

impl Answers {
    /// The share of errors at a moment.
    #[must_use]
    pub fn errors_at(&self, at: Duration) -> f64 {
        self.errors_from.filter(|(from, _)| at >= *from).map_or(self.errors, |(_, share)| share)
    }
}

/// How long answers take, as shares of the histogram's buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// The share of each bucket of [`EDGES`], and of what is beyond the last; only those that occur.
    pub buckets: Vec<(usize, f64)>,
}

impl Latency {
    /// Every answer takes as long.
    #[must_use]
    pub fn always(length: Duration) -> Self {
        Self { buckets: vec![(bucket(millis(length)), 1.0)] }
    }

    /// Log-normal: half of the answers take longer than `median`, one in a hundred longer than `p99`.
    #[must_use]
    pub fn spread(median: Duration, p99: Duration) -> Self {
        // One in a hundred of a normal distribution lies beyond 2.326 deviations.
        let (middle, sigma) = (millis(median).ln(), (millis(p99) / millis(median)).ln() / 2.326);
        if sigma <= 0.0 || !sigma.is_finite() {
            return Self::always(median);
        }
        let below = |edge: f64| 0.5 * libm::erfc((middle - edge.ln()) / (sigma * std::f64::consts::SQRT_2));
        let mut before = 0.0;
        let mut buckets: Vec<(usize, f64)> = EDGES
            .iter()
            .map(|edge| below(*edge))
            .chain([1.0])
            .enumerate()
            .map(|(index, upto)| (index, upto - std::mem::replace(&mut before, upto)))
            .collect();
        buckets.retain(|(_, share)| *share > 1e-9);
        Self { buckets }
    }
}

/// In which bucket an answer that takes so many milliseconds lies.
#[must_use]
pub fn bucket(millis: f64) -> usize {
    EDGES.iter().position(|edge| millis <= *edge).unwrap_or(EDGES.len())
}

/// The upper edge of a bucket as a length of time: the longest that its answers may take.
#[must_use]
pub fn longest(bucket: usize) -> Duration {
    Duration::from_secs_f64(EDGES.get(bucket).map_or(60.0, |edge| edge / 1000.0))
}

/// Never zero, so that its logarithm is a number.
fn millis(length: Duration) -> f64 {
    (length.as_secs_f64() * 1000.0).max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_latency_has_half_of_its_answers_below_the_median() {
        let latency = Latency::spread(Duration::from_millis(50), Duration::from_millis(500));
        let below = |edge: f64| {
            let last = bucket(edge);
            latency.buckets.iter().filter(|(index, _)| *index <= last).map(|(_, share)| share).sum::<f64>()
        };
        assert!((below(50.0) - 0.5).abs() < 1e-3 && (below(500.0) - 0.99).abs() < 1e-3, "{latency:?}");
        let all: f64 = latency.buckets.iter().map(|(_, share)| share).sum();
        assert!((all - 1.0).abs() < 1e-6);
        assert_eq!(Latency::always(Duration::from_millis(20)).buckets, [(4, 1.0)]);
    }
}
