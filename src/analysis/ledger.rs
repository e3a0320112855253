//! From raw samples of both revisions to a judged SLO: which block holds what, and every block folded once.
//! Pure: no I/O, no clock.

use std::collections::BTreeMap;

use super::counters::{Increment, Series, Tracker};
use super::counts::{Block, Counts};
use super::histogram::{Edges, common_bounds, edges, slow};
use super::judge::SloJudge;

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

impl Badness {
    fn counts(self, here: &Increments, arm: Arm) -> Option<Counts> {
        match self {
            Self::Counted => counted(here, arm),
            Self::SlowerThan(limit) => slower(here, arm, limit),
        }
    }
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
    pub fn close(&mut self, until: i64, standing: impl Fn(i64, i64) -> Standing) -> Vec<Block> {
        let end = until.div_euclid(self.interval);
        if end <= self.next {
            return vec![];
        }
        let closed = self.tracker.close_before(end);
        let blocks: Vec<Block> =
            (self.next..end).map(|index| self.block(&closed, index, &standing)).collect();
        for block in &blocks {
            self.judge.fold(block);
        }
        self.next = end;
        blocks
    }

    fn block(
        &self,
        closed: &BTreeMap<(i64, (Arm, Which)), Increment>,
        index: i64,
        standing: &impl Fn(i64, i64) -> Standing,
    ) -> Block {
        let here: BTreeMap<(Arm, Which), Increment> = closed
            .range((index, (Arm::Candidate, Which::Total))..)
            .take_while(|((at, _), _)| *at == index)
            .map(|((_, part), increment)| (*part, *increment))
            .collect();
        let begin = index.saturating_mul(self.interval);
        let since = here.values().map(|increment| increment.since).fold(begin, i64::min);
        let Standing { step, alone } = standing(since, begin.saturating_add(self.interval));
        let counts = |arm| self.badness.counts(&here, arm);
        let stable = counts(Arm::Stable);
        // A candidate whom nobody has asked anything has no series yet. Where stable is counted, that is zero requests,
        // not missing data.
        let nobody = stable.map(|_| Counts::exact(0.0, 0.0));
        Block { index, step, alone, candidate: counts(Arm::Candidate).or(nobody), stable }
    }

    /// The judge of all closed blocks.
    pub fn judge(&self) -> &SloJudge {
        &self.judge
    }

    /// Goes on with a judge that has folded the same blocks under other settings.
    pub fn judged_by(&mut self, judge: SloJudge) {
        self.judge = judge;
    }

    /// The start of the first block that is still open, in milliseconds: what is known reaches to here.
    pub fn closed_until(&self) -> i64 {
        self.next.saturating_mul(self.interval)
    }
}

/// What the stable revision did between two moments (milliseconds), block by block, from samples of its counters:
/// the history that [`super::dispersion::from_history`] learns from. Blocks without data are left out. The same
/// samples give the same history, so ask for a span that ends where the trial begins.
pub fn stable_history(
    samples: &[Series<'_, (Arm, Which)>],
    badness: Badness,
    interval: i64,
    from: i64,
    until: i64,
) -> Vec<Counts> {
    let interval = interval.max(1);
    let mut tracker = Tracker::new(interval);
    tracker.fold(samples);
    let closed = tracker.close_before(until.div_euclid(interval));
    let mut blocks: BTreeMap<i64, Increments> = BTreeMap::new();
    for ((index, part), increment) in closed {
        if index.saturating_mul(interval) >= from {
            blocks.entry(index).or_default().insert(part, increment);
        }
    }
    blocks.values().filter_map(|here| badness.counts(here, Arm::Stable)).collect()
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
