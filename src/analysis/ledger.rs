//! From raw samples of both revisions to a judged SLO: which block holds what, and every block folded once.
//! Pure: no I/O, no clock.

use std::collections::BTreeMap;

use super::counters::{Increment, Series, Tracker};
use super::counts::{Block, Counts};
use super::histogram::{Edges, common_bounds, edges, slow};
use super::judge::SloJudge;
use super::slowness::{self, Arms, FURTHER};

/// Whose requests a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// The revision on trial.
    Candidate,
    /// The revision that serves.
    Stable,
}

/// Which requests of an arm a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// All requests.
    Total,
    /// Bad requests.
    Bad,
    /// Requests answered within the upper bound of a latency bucket.
    Within(Bound),
}

/// Upper bound of a latency bucket in seconds: finite, 0 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound(u64);

impl Bound {
    /// The bound; `None` unless finite and not negative (the `+Inf` bucket is the total).
    pub fn new(seconds: f64) -> Option<Self> {
        // Doubles from 0 upwards are in the order of their bits.
        (seconds.is_finite() && seconds >= 0.0).then(|| Self(seconds.abs().to_bits()))
    }

    /// The bound in seconds.
    pub fn seconds(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// What makes a request bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Badness {
    /// A counter says so.
    Counted,
    /// It was answered later than this many seconds.
    SlowerThan(f64),
}

/// What was counted in one block, of both arms and at all edges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured(BTreeMap<(Arm, Which), Increment>);

impl Measured {
    /// The requests of an arm, and how many of them were bad in that way. `None`: no data.
    pub fn counts(&self, arm: Arm, badness: Badness) -> Option<Counts> {
        match badness {
            Badness::Counted => counted(&self.0, arm),
            Badness::SlowerThan(limit) => slower(&self.0, arm, limit),
        }
    }

    fn arms(&self, badness: Badness) -> Option<Arms> {
        self.counts(Arm::Candidate, badness).zip(self.counts(Arm::Stable, badness))
    }
}

/// A closed block, and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// What was judged.
    pub block: Block,
    measured: Measured,
}

/// What traffic the candidate had during a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The step whose weight was effective during the whole span; `None`: weights were moving.
    pub step: Option<i32>,
    /// The candidate had all of it.
    pub alone: bool,
}

/// Samples → closed blocks → judge, for one SLO of one trial. Rebuilt from nothing by the same samples: same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    tracker: Tracker<(Arm, Which)>,
    badness: Badness,
    interval: i64,
    next: i64,
    judge: SloJudge,
}

impl Ledger {
    /// A ledger whose first block is the first that begins at or after `start` (milliseconds); `interval` is the
    /// length of a block in milliseconds. Samples from before `start` are welcome: they are what later ones are
    /// subtracted from, and tell which targets are known.
    pub fn new(judge: SloJudge, badness: Badness, interval: i64, start: i64) -> Self {
        let interval = interval.max(1);
        let first = start.div_euclid(interval) + i64::from(start.rem_euclid(interval) > 0);
        Self { tracker: Tracker::new(interval), badness, interval, next: first, judge }
    }

    /// Takes samples in; repeated ones change nothing. See [`Tracker::fold`].
    pub fn observe(&mut self, samples: &[Series<'_, (Arm, Which)>]) {
        self.tracker.fold(samples);
    }

    /// See [`Tracker::knows_target`].
    pub fn knows_target(&mut self, target: &str, since: i64) {
        self.tracker.knows_target(target, since);
    }

    /// Closes all blocks that end at or before `until` (milliseconds) and has them judged in order, those without
    /// data too. Call it with a moment late enough for all samples of the blocks to have arrived (two scrapes).
    ///
    /// `standing` says what traffic the candidate had from one moment to another (milliseconds). It is asked about
    /// a block and the time before it that the block's increments reach back to: normally one scrape, more after a
    /// gap.
    ///
    /// Gives back the blocks that it closed, in order.
    pub fn close(&mut self, until: i64, standing: impl Fn(i64, i64) -> Standing) -> Vec<Closed> {
        let end = until.div_euclid(self.interval);
        if end <= self.next {
            return vec![];
        }
        let mut measured = by_block(self.tracker.close_before(end));
        let closed: Vec<Closed> = (self.next..end)
            .map(|index| self.block(measured.remove(&index).unwrap_or_default(), index, &standing))
            .collect();
        for Closed { block, .. } in &closed {
            self.judge.fold(block);
        }
        self.next = end;
        closed
    }

    fn block(&self, measured: Measured, index: i64, standing: &impl Fn(i64, i64) -> Standing) -> Closed {
        let begin = index.saturating_mul(self.interval);
        let since = measured.0.values().map(|increment| increment.since).fold(begin, i64::min);
        let Standing { step, alone } = standing(since, begin.saturating_add(self.interval));
        let stable = measured.counts(Arm::Stable, self.badness);
        // A candidate whom nobody has asked anything has no series yet. Where stable is counted, that is zero requests,
        // not missing data.
        let nobody = stable.map(|_| Counts::exact(0.0, 0.0));
        let candidate = measured.counts(Arm::Candidate, self.badness).or(nobody);
        let further = self.further(&measured);
        Closed { block: Block { index, step, alone, candidate, stable, further }, measured }
    }

    fn further(&self, measured: &Measured) -> [Option<Arms>; FURTHER] {
        self.judge.further().map(|limit| measured.arms(Badness::SlowerThan(limit?.seconds)))
    }

    /// The judge of all closed blocks.
    pub fn judge(&self) -> &SloJudge {
        &self.judge
    }

    /// Goes on with another judge, before its first block, that judges the blocks so far again.
    pub fn judged_by(&mut self, judge: SloJudge, so_far: &[Closed]) {
        self.judge = judge;
        for Closed { block, measured } in so_far {
            let further = self.further(measured);
            self.judge.fold(&Block { further, ..*block });
        }
    }

    /// The start of the first block that is still open, in milliseconds: what is known reaches to here.
    pub fn closed_until(&self) -> i64 {
        self.next.saturating_mul(self.interval)
    }
}

/// What was counted between two moments (milliseconds), block by block: the history that
/// [`super::dispersion::from_history`] learns from. Blocks without any sample are left out. The same samples give the same
/// history, so ask for a span that ends where the trial begins.
pub fn history(samples: &[Series<'_, (Arm, Which)>], interval: i64, from: i64, until: i64) -> Vec<Measured> {
    let interval = interval.max(1);
    let mut tracker = Tracker::new(interval);
    tracker.fold(samples);
    let blocks = by_block(tracker.close_before(until.div_euclid(interval)));
    blocks
        .into_iter()
        .filter(|(index, _)| index.saturating_mul(interval) >= from)
        .map(|(_, here)| here)
        .collect()
}

/// Where the candidate will be compared with stable besides `limit` seconds, see [`slowness::limits`]: from what stable did
/// before the trial.
pub fn further_limits(history: &[Measured], limit: f64) -> Vec<f64> {
    let mut bounds: Vec<f64> = (history.iter().flat_map(|here| here.0.keys()))
        .filter_map(|part| match part {
            (Arm::Stable, Which::Within(bound)) => Some(bound.seconds()),
            _ => None,
        })
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let sum = |badness| {
        let counts = history.iter().filter_map(|here| here.counts(Arm::Stable, badness));
        counts.fold((0.0, 0.0), |(bad, total), counts| (bad + counts.bad, total + counts.total))
    };
    let beyond: Vec<(f64, f64)> =
        bounds.iter().map(|edge| (*edge, sum(Badness::SlowerThan(*edge)).0)).collect();
    let known = edges(&bounds, limit).map_or(limit, |around| around.at_least);
    slowness::limits(&beyond, sum(Badness::SlowerThan(limit)).1, known)
}

fn by_block(increments: BTreeMap<(i64, (Arm, Which)), Increment>) -> BTreeMap<i64, Measured> {
    let mut blocks: BTreeMap<i64, Measured> = BTreeMap::new();
    for ((index, part), increment) in increments {
        blocks.entry(index).or_default().0.insert(part, increment);
    }
    blocks
}

type Increments = BTreeMap<(Arm, Which), Increment>;

/// No total is no data; bad requests without a series are none.
fn counted(here: &Increments, arm: Arm) -> Option<Counts> {
    let amount = |which| here.get(&(arm, which)).map(|increment| increment.amount);
    Counts::exact(amount(Which::Bad).unwrap_or(0.0), amount(Which::Total)?).checked()
}

/// No total, or requests without buckets, is no data. Both arms are measured at the edges that both have.
fn slower(here: &Increments, arm: Arm, limit: f64) -> Option<Counts> {
    let amount = |which| here.get(&(arm, which)).map(|increment| increment.amount);
    let total = amount(Which::Total)?;
    if total == 0.0 {
        return Some(Counts::exact(0.0, 0.0));
    }
    let Edges { at_least, at_most } = edges_of_block(here, limit)?;
    let within = |edge: f64| amount(Which::Within(Bound::new(edge)?));
    let certainly_slow_beyond = if at_least.is_finite() { within(at_least)? } else { total };
    let certainly_fast = match at_most {
        Some(edge) => Some(within(edge)?),
        None => None,
    };
    slow(total, certainly_slow_beyond, certainly_fast)
}

fn edges_of_block(here: &Increments, limit: f64) -> Option<Edges> {
    let bounds = |arm: Arm| -> Vec<f64> {
        here.keys()
            .filter_map(|(whose, which)| match which {
                Which::Within(bound) if *whose == arm => Some(bound.seconds()),
                _ => None,
            })
            .collect()
    };
    let (candidate, stable) = (bounds(Arm::Candidate), bounds(Arm::Stable));
    let mut shared = if candidate.is_empty() || stable.is_empty() {
        [candidate, stable].concat()
    } else {
        common_bounds(&candidate, &stable)
    };
    if shared.is_empty() {
        return None;
    }
    shared.push(f64::INFINITY);
    edges(&shared, limit)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
