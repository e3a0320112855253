//! What the stable revision did before the trial: how much its errors vary by themselves, where its latencies lie and, if
//! the user wants to compare with that, how often it fails. It is asked for in pieces beside the trial's own questions,
//! and nothing waits for it: until it is known very cautious values stand in, and then the trial is judged again from its
//! first block. So a judgement that was lost and rebuilt comes to the same bits, in whatever order the answers come.

use jiff::Timestamp;

use super::{question::Counters, slo_evidence::parts};
use crate::{
    analysis::{
        counts::Counts,
        dispersion::LEAST_BLOCKS,
        ledger::{Arm, Badness, Measured, further_limits, history},
        settings::{Kappa, Settings},
    },
    api::v1alpha1::Baseline,
};

/// Blocks of stable's past from which dispersion is learned: four hours of 15 s.
const BLOCKS: i64 = 960;
/// Milliseconds of stable's past with which a candidate is compared.
const DAY: i64 = 86_400_000;
/// With [`Baseline::Auto`], stable's present is enough from this many bad requests an hour on.
const ENOUGH_AN_HOUR: f64 = 30.0;
/// After a question that was not answered, it is asked again so many blocks later.
const RETRY_BLOCKS: i64 = 20;

/// Stable's past, as far as it has been answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    interval: i64,
    settle: i64,
    /// Where dispersion is learned from; what lies before only says how often stable fails.
    recent: i64,
    asked: i64,
    until: i64,
    not_before: i64,
    baseline: Baseline,
    badness: Badness,
    earlier: Vec<Counts>,
    blocks: Vec<Counts>,
    /// The recent blocks measured at other latencies, once these are known.
    slower: Vec<(f64, Vec<Counts>)>,
}

impl Past {
    /// The past before a trial that began at `entered` (milliseconds), in blocks of `interval` milliseconds that are asked
    /// for `settle` milliseconds after their end, when all their samples are there; `None` when `settings` and
    /// `baseline` leave nothing to learn.
    #[must_use]
    pub fn new(
        entered: i64,
        interval: i64,
        settle: i64,
        settings: &Settings,
        baseline: Baseline,
        badness: Badness,
    ) -> Option<Self> {
        let compares = baseline != Baseline::Concurrent && settings.compare;
        if !compares && settings.kappa != Kappa::Unknown && badness == Badness::Counted {
            return None;
        }
        let interval = interval.max(1);
        let until = entered.div_euclid(interval).saturating_mul(interval);
        let recent = until.saturating_sub(BLOCKS.saturating_mul(interval));
        let day = (until.saturating_sub(DAY)).div_euclid(interval).saturating_mul(interval);
        let asked = if compares { recent.min(day) } else { recent };
        let (earlier, blocks, slower) = (vec![], vec![], vec![]);
        let not_before = i64::MIN;
        Some(Self {
            interval,
            settle,
            recent,
            asked,
            until,
            not_before,
            baseline,
            badness,
            earlier,
            blocks,
            slower,
        })
    }

    /// What to ask next (milliseconds): from (exclusive) and until, at most `reach` long. `None`: everything was
    /// answered, or it is too early to ask again.
    #[must_use]
    pub fn span(&self, reach: i64, now: Timestamp) -> Option<(i64, i64)> {
        let reach = reach.div_euclid(self.interval).max(1).saturating_mul(self.interval);
        // Pieces meet between the two parts, so that each block is in one of them.
        let end = if self.asked < self.recent { self.recent } else { self.until };
        let end = end.min(self.asked.saturating_add(reach));
        let due = now.as_millisecond() >= self.not_before.max(end.saturating_add(self.settle));
        (self.asked < self.until && due).then_some((self.asked, end))
    }

    /// Whether everything was answered.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.asked >= self.until
    }

    /// Takes the answer to a question that ended at `until`: the counters of the stable revision alone. Without any
    /// (`None`) there is nothing in that span, for instance because the revision is younger.
    pub fn take(&mut self, until: i64, stable: Option<&Counters>) {
        if until <= self.asked {
            return;
        }
        if let Some(stable) = stable {
            let nobody = Counters::default();
            let found = history(&parts(&nobody, stable), self.interval, self.asked, until);
            let bad = counts(&found, self.badness);
            if self.asked < self.recent {
                self.earlier.extend(bad);
            } else {
                self.blocks.extend(bad);
                self.take_slower(&found);
            }
        }
        self.asked = until;
    }

    /// The first piece with enough requests tells where stable's latencies lie; what follows is measured there.
    fn take_slower(&mut self, found: &[Measured]) {
        let Badness::SlowerThan(limit) = self.badness else { return };
        if self.slower.is_empty() {
            self.slower = further_limits(found, limit).into_iter().map(|limit| (limit, vec![])).collect();
        }
        for (limit, blocks) in &mut self.slower {
            blocks.extend(counts(found, Badness::SlowerThan(*limit)));
        }
    }

    /// The question was not answered.
    pub fn failed(&mut self, now: Timestamp) {
        let wait = RETRY_BLOCKS.saturating_mul(self.interval);
        self.not_before = now.as_millisecond().saturating_add(wait);
    }

    /// The settings with what was learned, for an objective that allows `theta` bad requests and a candidate with
    /// `pods_ratio` times fewer pods than stable. What the past is too short or too thin to tell stays as it was.
    #[must_use]
    pub fn learned(&self, theta: f64, pods_ratio: f64, settings: Settings) -> Settings {
        let mut settings = settings.compared_at(&self.slower, pods_ratio);
        if settings.kappa == Kappa::Unknown {
            settings = settings.learned_from(self.blocks.clone(), theta, pods_ratio);
        }
        let all = || self.earlier.iter().chain(&self.blocks);
        let (bad, total): (f64, f64) = all().fold((0.0, 0.0), |sum, b| (sum.0 + b.bad, sum.1 + b.total));
        let blocks: f64 = all().map(|_| 1.0).sum();
        // Milliseconds of a block are far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        let hours = blocks * self.interval as f64 / 3_600_000.0;
        let compares = match self.baseline {
            Baseline::Concurrent => false,
            Baseline::History => true,
            Baseline::Auto => bad < ENOUGH_AN_HOUR * hours,
        };
        if compares && all().count() >= LEAST_BLOCKS && total > 0.0 {
            settings = settings.against_past(bad, total);
        }
        settings
    }
}

fn counts(history: &[Measured], badness: Badness) -> impl Iterator<Item = Counts> {
    history.iter().filter_map(move |here| here.counts(Arm::Stable, badness))
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
