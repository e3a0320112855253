//! Requests, counted and not played one by one: which backend gets how many, and what becomes of them.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::{
    behaviour::{Answers, EDGES, longest},
    chance::{binomial, float, rounded},
    kubelet::Sent,
};

/// What a proxy has counted of one backend since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers without a server error.
    pub good: u64,
    /// Server errors, the proxy's own ones too.
    pub bad: u64,
    /// Answers with a duration by bucket; not cumulative; the last is beyond all edges.
    pub buckets: [u64; EDGES.len() + 1],
}

/// What became of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub requests: u64,
    /// Server errors of the model, and what it did not answer by its own fault.
    pub errors: u64,
    /// Answered too late.
    pub slow: u64,
    /// Not answered, because nothing was there.
    pub failed: u64,
}

impl Tally {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.slow += other.slow;
        self.failed += other.failed;
    }
}

/// Splits `count` requests by `weights`, exactly over time: `credits` carries what is left over, in parts of the weights' sum.
pub fn split(count: u64, weights: &[(String, i64)], credits: &mut Vec<i64>) -> Vec<u64> {
    credits.resize(weights.len(), 0);
    let total: i64 = weights.iter().map(|(_, weight)| weight).sum();
    if total <= 0 {
        return vec![0; weights.len()];
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX / total);
    let mut given: Vec<i64> = vec![];
    for (credit, (_, weight)) in credits.iter_mut().zip(weights) {
        *credit += count * weight;
        let whole = credit.div_euclid(total);
        *credit -= whole * total;
        given.push(whole);
    }
    // What is not whole goes to those that are owed the most; the credits always sum to 0 again.
    for _ in 0..count - given.iter().sum::<i64>() {
        if let Some(most) = (0..credits.len()).max_by_key(|i| (credits[*i], std::cmp::Reverse(*i))) {
            credits[most] -= total;
            given[most] += 1;
        }
    }
    // A credit below zero may have taken one back where there was none.
    for index in 0..given.len() {
        if given[index] < 0 {
            credits[index] += given[index] * total;
            let most = (0..given.len()).max_by_key(|i| given[*i]).unwrap_or(0);
            credits[most] -= given[index] * total;
            given[most] += given[index];
            given[index] = 0;
        }
    }
    given.into_iter().map(|n| u64::try_from(n).unwrap_or(0)).collect()
}

/// What a model makes of `count` requests that reach it; the proxy counts them in `counters`. An answer that takes longer
/// than `timeout` is the proxy's 504; one that takes longer than `slow` is late.
pub fn answer(
    count: u64,
    (answers, at): (&Answers, Duration),
    timeout: Option<Duration>,
    slow: Duration,
    chance: &mut Rng,
    counters: &mut Counters,
) -> Tally {
    let (mut left, mut share_left, mut timed_out, mut late) = (count, 1.0, 0, 0);
    for (index, (bucket, share)) in answers.latency.buckets.iter().enumerate() {
        let last = index + 1 == answers.latency.buckets.len();
        let here = if last { left } else { binomial(chance, left, share / share_left) };
        left -= here;
        share_left -= share;
        let from = bucket.checked_sub(1).map_or(Duration::ZERO, longest);
        if timeout.is_some_and(|timeout| from >= timeout) {
            timed_out += here;
        } else {
            counters.buckets[*bucket] += here;
            late += if from >= slow { here } else { 0 };
        }
    }
    let errors = binomial(chance, count - timed_out, answers.errors_at(at)) + timed_out;
    counters.bad += errors;
    counters.good += count - errors;
    Tally { requests: count, errors, slow: late, failed: 0 }
}

/// How many of the requests that a container got were still under way when it ended: those that began less than their
/// own length ago.
#[must_use]
pub fn under_way(sent: &Sent, answers: &Answers, timeout: Option<Duration>, now: Instant) -> u64 {
    let span = sent.until.duration_since(sent.from).as_secs_f64();
    if span <= 0.0 {
        return 0;
    }
    let since_end = now.duration_since(sent.until).as_secs_f64();
    let mut expected = 0.0;
    for (bucket, share) in &answers.latency.buckets {
        let length = longest(*bucket).min(timeout.unwrap_or(Duration::MAX)).as_secs_f64();
        // Half of the bucket's length on average, but what takes longest counts: nobody may rely on less.
        let overlap = (length - since_end).clamp(0.0, span);
        expected += share * float(sent.count) * overlap / span;
    }
    rounded(expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{behaviour::Latency, chance::source},
        *,
    };

    proptest! {
        #[test]
        fn a_split_is_exact_at_every_moment_to_one_request(
            weights in proptest::collection::vec(1..10_000_i64, 1..5),
            counts in proptest::collection::vec(0..200_u64, 1..60),
        ) {
            let weights: Vec<(String, i64)> =
                weights.into_iter().enumerate().map(|(i, w)| (i.to_string(), w)).collect();
            let total: i64 = weights.iter().map(|(_, w)| w).sum();
            let (mut credits, mut sums, mut all) = (vec![], vec![0_u64; weights.len()], 0);
            for count in counts {
                let given = split(count, &weights, &mut credits);
                prop_assert_eq!(given.iter().sum::<u64>(), count);
                all += count;
                for ((sum, given), (_, weight)) in sums.iter_mut().zip(given).zip(&weights) {
                    *sum += given;
                    let wanted = float(all) * float(u64::try_from(*weight).unwrap())
                        / float(u64::try_from(total).unwrap());
                    let slack = float(u64::try_from(weights.len()).unwrap());
                    prop_assert!((float(*sum) - wanted).abs() <= slack, "{} {}", sum, wanted);
                }
            }
        }

        #[test]
        fn every_request_is_counted_once(count in 0..5000_u64, errors in 0.0..1.0_f64, seed: u64) {
            let latency = Latency::spread(Duration::from_millis(200), Duration::from_secs(5));
            let answers = Answers { errors, latency, ..Answers::default() };
            let mut counters = Counters::default();
            let limits = (Some(Duration::from_secs(1)), Duration::from_millis(250));
            let mut chance = source(seed, "t");
            let tally = answer(count, (&answers, Duration::ZERO), limits.0, limits.1, &mut chance, &mut counters);
            prop_assert_eq!(counters.good + counters.bad, count);
            prop_assert_eq!(counters.bad, tally.errors);
            let measured: u64 = counters.buckets.iter().sum();
            // What timed out has no duration, and is an error.
            prop_assert!(measured <= count && count - measured <= tally.errors);
            prop_assert_eq!(counters.buckets[10..].iter().sum::<u64>(), 0, "nothing is measured beyond the timeout");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_less_than_its_length_ago_is_under_way() {
        let now = Instant::now();
        let sent = |ago: u64| {
            let until = now.checked_sub(Duration::from_secs(ago)).unwrap();
            let from = until.checked_sub(Duration::from_secs(1)).unwrap();
            let route = crate::world::history::Key::new("HTTPRoute", "ml", "iris");
            Sent { route, from, until, count: 100 }
        };
        let answers = Answers { latency: Latency::always(Duration::from_millis(2500)), ..Answers::default() };
        let counts = [0, 1, 2, 3].map(|ago| under_way(&sent(ago), &answers, None, now));
        assert_eq!(counts, [100, 100, 50, 0]);
        assert_eq!(under_way(&sent(1), &answers, Some(Duration::from_secs(1)), now), 0);
    }
}
