//! Exact increments of raw Prometheus counters, each counted once, in the block where it was seen.
//! Pure: no I/O, no clock.
//!
//! `rate()` and `increase()` miss the first increment of every new series (the first error of every new pod) and the
//! increments between windows. Here every series is followed sample by sample: difference per series, then sum.

use std::collections::BTreeMap;

/// One series and the samples of it that an answer held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a, Part> {
    /// What the series counts, for example (candidate, bad requests).
    pub part: Part,
    /// The series' whole identity: all labels.
    pub key: &'a str,
    /// Who exports it: all series of one target are read in one scrape (usually `job` and `instance`).
    pub target: &'a str,
    /// Milliseconds since the epoch and value. In any order; repeated ones are harmless.
    pub samples: &'a [(i64, f64)],
}

/// What the series of one part have counted in one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Increment {
    /// The sum of all increases.
    pub amount: f64,
    /// When the earliest of these increases may have begun, in milliseconds: earlier than the block by more than a
    /// scrape after a gap, and then the block may mix two weights.
    pub since: i64,
}

/// When a target was scraped: first, before the last time, last; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scrapes {
    first: i64,
    before: i64,
    last: i64,
}

/// Follows the counters of one SLO from scrape to scrape. Feeding all samples at once or piece by piece in order of
/// time gives the same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracker<Part> {
    interval: i64,
    seen: BTreeMap<Part, BTreeMap<String, (i64, f64)>>,
    targets: BTreeMap<String, Scrapes>,
    open: BTreeMap<(i64, Part), Increment>,
    first_open: i64,
}

impl<Part: Ord + Copy> Tracker<Part> {
    /// `interval`: length of a block in milliseconds, at least 1.
    pub fn new(interval: i64) -> Self {
        Self {
            interval: interval.max(1),
            seen: BTreeMap::new(),
            targets: BTreeMap::new(),
            open: BTreeMap::new(),
            first_open: i64::MIN,
        }
    }

    /// Tells that `target` has been scraped since `since` (milliseconds): a series that appears on it later than that
    /// has started from 0 and counts from its first value on.
    pub fn knows_target(&mut self, target: &str, since: i64) {
        let scrapes = Scrapes { first: since, before: since, last: since };
        let known = self.targets.entry(target.to_owned()).or_insert(scrapes);
        known.first = known.first.min(since);
    }

    /// Folds samples in order of time. Ignored: samples at or before the last one of their series, and values that
    /// no counter has (NaN with the stale marker, infinities, negative ones). A value below the last one is a
    /// restart: all of it is new. The first value of a series counts if its target was known from an earlier scrape,
    /// otherwise its origin is unknown and it counts nothing.
    ///
    /// An increment belongs to the block of the later of its two samples; if that block is closed already, to the
    /// first open one, so that nothing is lost.
    pub fn fold(&mut self, answer: &[Series<'_, Part>]) {
        let mut samples: Vec<(i64, &Series<'_, Part>, f64)> = answer
            .iter()
            .flat_map(|series| series.samples.iter().map(move |&(at, value)| (at, series, value)))
            .filter(|(_, _, value)| value.is_finite() && *value >= 0.0)
            .collect();
        samples.sort_by(|a, b| (a.0, a.1.part, a.1.key).cmp(&(b.0, b.1.part, b.1.key)));
        for (at, series, value) in samples {
            self.fold_sample(series, at, value);
        }
    }

    fn fold_sample(&mut self, series: &Series<'_, Part>, at: i64, value: f64) {
        let scrapes = self.scraped(series.target, at);
        let own = self.seen.entry(series.part).or_default();
        let (since, amount) = match own.get_mut(series.key) {
            Some((before, _)) if at <= *before => return,
            Some(last) => {
                let (before, previous) = std::mem::replace(last, (at, value));
                (before, if value < previous { value } else { value - previous })
            }
            None => {
                own.insert(series.key.to_owned(), (at, value));
                if scrapes.first >= at {
                    return;
                }
                (scrapes.before, value)
            }
        };
        let index = at.div_euclid(self.interval).max(self.first_open);
        let block = self.open.entry((index, series.part)).or_insert(Increment { amount: 0.0, since });
        block.amount += amount;
        block.since = block.since.min(since);
    }

    fn scraped(&mut self, target: &str, at: i64) -> Scrapes {
        if let Some(scrapes) = self.targets.get_mut(target) {
            if at > scrapes.last {
                *scrapes = Scrapes { first: scrapes.first, before: scrapes.last, last: at };
            }
            return *scrapes;
        }
        let scrapes = Scrapes { first: at, before: at, last: at };
        self.targets.insert(target.to_owned(), scrapes);
        scrapes
    }

    /// Closes the blocks before `index` and takes out what they counted: `(block, part) → increment`. Absent: no
    /// series of that part has moved on, which is "no data" for a total and, beside a total, 0 for bad requests.
    pub fn close_before(&mut self, index: i64) -> BTreeMap<(i64, Part), Increment> {
        self.first_open = self.first_open.max(index);
        let all = std::mem::take(&mut self.open).into_iter();
        let (closed, open) = all.partition(|((block, _), _)| *block < index);
        self.open = open;
        closed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series<'a>(key: &'a str, target: &'a str, samples: &'a [(i64, f64)]) -> Series<'a, ()> {
        Series { part: (), key, target, samples }
    }

    fn amounts(tracker: &mut Tracker<()>) -> Vec<(i64, f64)> {
        let closed = tracker.close_before(i64::MAX);
        closed.into_iter().map(|((index, ()), increment)| (index, increment.amount)).collect()
    }

    #[test]
    fn an_increment_counts_in_the_block_of_its_later_sample() {
        let mut tracker = Tracker::new(10);
        tracker.fold(&[series("a", "t", &[(0, 5.0), (9, 6.0), (10, 8.0), (29, 11.0)])]);
        assert_eq!(amounts(&mut tracker), [(0, 1.0), (1, 2.0), (2, 3.0)]);
    }

    #[test]
    fn the_first_error_on_a_known_target_counts() {
        let mut tracker = Tracker::new(10);
        let total = [(1, 500.0), (11, 510.0), (21, 520.0)];
        let first_error = [(21, 1.0), (31, 4.0)];
        tracker.fold(&[series("total", "envoy", &total), series("5xx", "envoy", &first_error)]);
        assert_eq!(amounts(&mut tracker), [(1, 10.0), (2, 11.0), (3, 3.0)]);
    }

    #[test]
    fn a_series_of_a_target_never_seen_before_counts_from_its_first_value() {
        let mut tracker = Tracker::new(10);
        tracker.fold(&[series("total", "envoy-a", &[(1, 500.0), (11, 510.0)])]);
        tracker.fold(&[series("total-b", "envoy-b", &[(21, 9000.0), (31, 9001.0)])]);
        assert_eq!(amounts(&mut tracker), [(1, 10.0), (3, 1.0)]);
    }

    #[test]
    fn series_that_appear_in_the_first_scrape_of_a_target_do_not_vouch_for_each_other() {
        let mut tracker = Tracker::new(10);
        tracker.fold(&[series("a", "pod", &[(1, 70.0)]), series("b", "pod", &[(1, 30.0)])]);
        assert_eq!(amounts(&mut tracker), []);
    }

    #[test]
    fn a_target_can_be_made_known_beforehand() {
        let mut tracker = Tracker::new(10);
        tracker.knows_target("pod", 5);
        tracker.fold(&[series("a", "pod", &[(11, 3.0)])]);
        assert_eq!(amounts(&mut tracker), [(1, 3.0)]);
    }

    #[test]
    fn what_no_counter_says_is_skipped() {
        let mut tracker = Tracker::new(10);
        let samples = [(1, 5.0), (2, f64::NAN), (3, f64::INFINITY), (4, -7.0), (5, 6.0)];
        tracker.fold(&[series("a", "t", &samples)]);
        assert_eq!(amounts(&mut tracker), [(0, 1.0)]);
    }

    #[test]
    fn after_a_gap_everything_counts_at_once_and_says_since_when() {
        let mut tracker = Tracker::new(10);
        tracker.fold(&[series("a", "t", &[(1, 0.0), (95, 40.0)])]);
        let closed = tracker.close_before(10);
        assert_eq!(closed[&(9, ())], Increment { amount: 40.0, since: 1 });
    }

    #[test]
    fn a_late_sample_counts_in_the_first_open_block() {
        let mut tracker = Tracker::new(10);
        tracker.fold(&[series("a", "t", &[(1, 0.0), (12, 4.0)])]);
        assert_eq!(tracker.close_before(3).len(), 1);
        tracker.fold(&[series("a", "t", &[(25, 9.0)])]);
        assert_eq!(amounts(&mut tracker), [(3, 5.0)]);
    }

    proptest! {
        #[test]
        fn feeding_piece_by_piece_gives_the_same_bits_as_all_at_once(
            steps in prop::collection::vec((0_usize..3, 0_usize..2, 0.0..50.0, any::<bool>()), 1..80),
            cuts in prop::collection::vec(0_i64..80, 0..5),
        ) {
            let targets = ["t", "u"];
            let mut samples: BTreeMap<(usize, usize), Vec<(i64, f64)>> = BTreeMap::new();
            for (at, (key, target, value, restart)) in (0..).zip(steps) {
                let own = samples.entry((key, target)).or_default();
                let before = own.last().map_or(0.0, |last| last.1);
                own.push((at, if restart { value } else { before + value }));
            }
            let fold = |tracker: &mut Tracker<()>, until: i64| {
                let names: Vec<String> = samples.keys().map(|(key, target)| format!("{key}{target}")).collect();
                let answer: Vec<Series<'_, ()>> = names
                    .iter()
                    .zip(&samples)
                    .map(|(name, ((_, target), own))| {
                        let end = own.partition_point(|(at, _)| *at < until);
                        series(name, targets[*target], &own[..end])
                    })
                    .collect();
                tracker.fold(&answer);
            };
            let (mut whole, mut pieces) = (Tracker::new(7), Tracker::new(7));
            fold(&mut whole, 80);
            let mut cuts = cuts;
            cuts.sort_unstable();
            for until in cuts.into_iter().chain([80]) {
                // Every piece reaches back: samples that were consumed already must not count again.
                fold(&mut pieces, until);
            }
            prop_assert_eq!(&pieces, &whole);
            let bits = |tracker: &mut Tracker<()>| -> Vec<(i64, u64)> {
                amounts(tracker).into_iter().map(|(index, amount)| (index, amount.to_bits())).collect()
            };
            prop_assert_eq!(bits(&mut pieces), bits(&mut whole));
        }
    }
}
