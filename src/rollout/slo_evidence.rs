//! The evidence about one SLO: which samples were taken, which blocks had data, what the judge has of it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    past::Past,
    question::{Answer, Counters, Series, Unanswered},
    steps::{self, Stay},
};
use crate::{
    analysis::{
        counters,
        judge::SloJudge,
        ledger::{Arm, Bound, Closed, Ledger, Standing, Which},
        settings::Settings,
        threshold::ThresholdJudge,
        verdict::Report,
    },
    api::v1alpha1::{Duration, Percent, Slo, StepStart, StepStatus},
};

/// A trial that is longer than so many blocks (four hours of 15 s) is judged to its end with the preset's cautious values
/// if nothing about stable's past was answered by then.
const MOST_KEPT: usize = 960;

/// One SLO of one candidate.
#[derive(Clone, Debug)]
pub(super) struct SloEvidence {
    pub slo: Slo,
    pub judged: Judged,
    /// Samples were asked for up to here.
    pub asked: i64,
    /// Blocks of the present step that had data.
    pub blocks: BTreeSet<i64>,
    pub last: Option<Result<bool, Unanswered>>,
}

/// What judges it.
#[derive(Clone, Debug)]
pub(super) enum Judged {
    Share(Box<Share>),
    Value(ThresholdJudge),
}

/// A share of good requests: its judge, and what it will know once stable's past is answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Share {
    pub ledger: Ledger,
    pub past: Option<Past>,
    /// The share of bad requests that the objective allows.
    pub theta: f64,
    pub settings: Settings,
    pub pods_ratio: f64,
    /// All blocks so far, while the past is not known.
    pub kept: Vec<Closed>,
    /// What was reported last, of which step; until the judge learns something.
    pub reported: Option<(i32, Report)>,
}

impl Share {
    /// Takes in what was answered about stable's past; with the last piece the trial is judged again from its first
    /// block, so that it makes no difference when the answers came.
    pub fn remember(&mut self, until: i64, answer: &Result<Answer, Unanswered>, now: Timestamp) {
        let Some(past) = &mut self.past else { return };
        match answer {
            // Asked for as if it were a candidate, since it was alone.
            Ok(Answer::Counters { candidate, .. }) => past.take(until, Some(candidate)),
            Err(Unanswered { reason: "NoData", .. }) => past.take(until, None),
            Ok(Answer::Value(_)) | Err(_) => past.failed(now),
        }
        if !past.is_known() {
            return;
        }
        self.settings = past.learned(self.theta, self.pods_ratio, self.settings);
        if let Some(judge) = SloJudge::new(self.theta, &self.settings) {
            self.ledger.judged_by(judge, &self.kept);
        }
        (self.past, self.kept, self.reported) = (None, vec![], None);
    }

    /// The judge's report on a step: worked out once between two answers, and looked at with every reconcile.
    pub fn report(&mut self, step: i32) -> &Report {
        let known = self.reported.take().filter(|(of, _)| *of == step);
        let known = known.unwrap_or_else(|| (step, self.ledger.judge().report(step)));
        &self.reported.insert(known).1
    }

    fn keep(&mut self, closed: Vec<Closed>) {
        if self.past.is_some() {
            self.kept.extend(closed);
            if self.kept.len() > MOST_KEPT {
                (self.past, self.kept) = (None, vec![]);
            }
        }
    }
}

impl SloEvidence {
    /// Folds a good answer; whether the newest closed block had data.
    pub fn take(&mut self, answer: &Answer, until: i64, interval: i64, step: Option<&StepStatus>) -> bool {
        let present = step.map(steps::present);
        match (&mut self.judged, answer) {
            (Judged::Value(judge), Answer::Value(value)) => {
                let at = step_at(step, until - interval, until);
                judge.fold(until, at.map(|stay| stay.number), Some(*value));
                if at.is_some() && at == present {
                    self.blocks.insert(until.div_euclid(interval) - 1);
                }
                true
            }
            (Judged::Share(share), Answer::Counters { candidate, stable }) => {
                share.reported = None;
                share.ledger.observe(&parts(candidate, stable));
                let closed = share.ledger.close(until, |from, to| {
                    let held = held_at(step, from, to);
                    // By its weight, not its index: that is of the schedule that the step was taken by.
                    let alone = held.is_some_and(|(start, _)| start.weight == Percent::ALL);
                    Standing { step: held.map(|(_, stay)| stay.number), alone }
                });
                let newest = closed.last().is_none_or(|closed| closed.block.candidate.is_some());
                let here = (closed.iter().map(|closed| &closed.block))
                    .filter(|b| b.candidate.is_some() && b.step.is_some())
                    .filter(|b| b.step == present.map(|stay| stay.number));
                self.blocks.extend(here.map(|block| block.index));
                share.keep(closed);
                newest
            }
            _ => false,
        }
    }
}

/// The stay whose weight was effective from one moment to another (milliseconds); `None` while weights were moving.
pub(super) fn step_at(step: Option<&StepStatus>, from: i64, to: i64) -> Option<Stay> {
    held_at(step, from, to).map(|(_, stay)| stay)
}

/// As [`step_at`], with the beginning that says how much it had.
fn held_at(step: Option<&StepStatus>, from: i64, to: i64) -> Option<(&StepStart, Stay)> {
    let holds = |s: &StepStart| {
        s.since.0.as_millisecond() <= from && s.until.as_ref().is_none_or(|u| to <= u.0.as_millisecond())
    };
    let starts = &step?.starts;
    let position = starts.iter().position(holds)?;
    Some((starts.get(position)?, steps::stay(starts, position)?))
}

/// A length of time as Prometheus counts it. Milliseconds of a limit are far below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn seconds(length: Duration) -> f64 {
    length.millis() as f64 / 1000.0
}

/// What an answer holds, as the ledger takes it.
pub fn parts<'a>(candidate: &'a Counters, stable: &'a Counters) -> Vec<counters::Series<'a, (Arm, Which)>> {
    let mut parts = vec![];
    for (arm, counters) in [(Arm::Candidate, candidate), (Arm::Stable, stable)] {
        let mut push = |which, series: &'a [Series]| {
            parts.extend(series.iter().map(|one| counters::Series {
                part: (arm, which),
                key: one.key.as_str(),
                target: one.target.as_str(),
                samples: one.samples.as_slice(),
            }));
        };
        push(Which::Total, &counters.total);
        push(Which::Bad, &counters.bad);
        for (edge, series) in &counters.within {
            if let Some(bound) = Bound::new(*edge) {
                push(Which::Within(bound), series);
            }
        }
    }
    parts
}
