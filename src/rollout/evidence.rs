//! From answers to verdicts: what has been measured of one candidate, folded block by block.
//!
//! It lives in the controller's memory and is pure itself: a lost one is rebuilt by asking from the beginning of the
//! trial again, and gives the same bits.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    past::Past,
    question::{Answer, Indicator, Question, Unanswered},
    report,
    slo_evidence::{Judged, Share, SloEvidence, seconds, step_at},
    steps,
    trial::{About, Rules, Subject},
};
use crate::{
    analysis::{
        judge::{self, SloJudge},
        ledger::{Badness, Ledger},
        threshold::ThresholdJudge,
        verdict::{Verdict, Why},
    },
    api::v1alpha1::{Duration, Slo, SloStatus, StepStatus, VerdictWord},
    mutant::{Mutant, on},
};

/// A question never reaches further than so many scrapes, so that its answer stays small; a long rebuild asks often.
const REACH: i64 = 240;

/// An answer is about the present while no more blocks than these have closed since.
const PRESENT: i64 = 20;

/// What a plan needs to know about the verdicts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Per SLO, for the status.
    pub slos: Vec<SloStatus>,
    /// A breach that is proven.
    pub breach: Option<ProvenBreach>,
    /// An SLO whose breach is proven to be shared by the stable revision.
    pub shared: Option<String>,
    /// Every SLO is proven on data of this step.
    pub pass: bool,
    /// Time with data at this step's effective weight.
    pub baked: Duration,
    /// Whether anything can be measured.
    pub observability: Observability,
    /// When the next block closes.
    pub next: Option<Timestamp>,
}

/// A proven breach of one SLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenBreach {
    /// Name of the SLO.
    pub slo: String,
    /// One sentence with the numbers.
    pub message: String,
}

/// Whether anything can be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Observability {
    /// Not asked yet, or not yet about the present: a trial that is long under way is asked about piece by piece.
    #[default]
    Unknown,
    /// The newest closed block has data for every SLO.
    Yes,
    /// It has not, and why.
    No(String),
}

/// What has been measured of one candidate.
#[derive(Clone, Debug)]
pub struct Evidence {
    subject: Subject,
    rules: Rules,
    slos: Vec<SloEvidence>,
}

impl Evidence {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(subject: Subject, rules: Rules, slos: &[Slo]) -> Self {
        let mut new = Self { subject, rules, slos: vec![] };
        new.slos = slos.iter().filter_map(|slo| new.fresh(slo, slos)).collect();
        new
    }

    /// Takes over a changed spec: an SLO that changed starts afresh, the others keep what they have (issue 4 part 3).
    /// A change of the rules resets everything.
    #[must_use]
    pub fn keep(self, subject: &Subject, rules: &Rules, slos: &[Slo]) -> Self {
        let count = |slos: &[Slo]| slos.iter().filter(|s| s.query.is_none()).count();
        let old_slos: Vec<Slo> = self.slos.iter().map(|s| s.slo.clone()).collect();
        if (self.subject != *subject && !on(Mutant::CandidateSwapped))
            || !self.rules.agree(rules)
            || count(&old_slos) != count(slos)
        {
            return Self::new(subject.clone(), rules.clone(), slos);
        }
        let mut kept = self;
        let mut old = std::mem::take(&mut kept.slos);
        kept.slos = slos
            .iter()
            .filter_map(|slo| match old.iter().position(|o| o.slo == *slo) {
                Some(at) => Some(old.swap_remove(at)),
                None => kept.fresh(slo, slos),
            })
            .collect();
        kept
    }

    /// Whether this is the evidence about exactly that.
    #[must_use]
    pub fn is_about(&self, subject: &Subject, rules: &Rules, slos: &[Slo]) -> bool {
        self.subject == *subject && self.rules.agree(rules) && self.slos.iter().map(|s| &s.slo).eq(slos)
    }

    fn fresh(&self, slo: &Slo, all: &[Slo]) -> Option<SloEvidence> {
        let judged = match (&slo.threshold, slo.objective) {
            (Some(threshold), _) => Judged::Value(ThresholdJudge::new(report::threshold(threshold)?)),
            (None, Some(objective)) => self.share(slo, 1.0 - objective.fraction(), all)?,
            (None, None) => return None,
        };
        // One lookback before the beginning: it shows which targets were scraped already, so that a series that
        // appears on one of them later counts from 0.
        let begin = self.subject.entered.map_or(i64::MIN, Timestamp::as_millisecond);
        let asked = if begin == i64::MIN { begin } else { begin - 4 * self.scrape() };
        Some(SloEvidence { slo: slo.clone(), judged, asked, blocks: BTreeSet::new(), last: None })
    }

    fn share(&self, slo: &Slo, theta: f64, all: &[Slo]) -> Option<Judged> {
        let Rules { analysis, planned_blocks, pods_ratio, .. } = &self.rules;
        let shares = all.iter().filter(|s| s.query.is_none()).count();
        let settings = report::settings(analysis, shares, *planned_blocks);
        let badness =
            slo.latency.as_ref().map_or(Badness::Counted, |l| Badness::SlowerThan(seconds(l.below)));
        let entered = self.subject.entered.map(Timestamp::as_millisecond);
        let past = entered.filter(|_| self.subject.stable.is_some()).and_then(|at| {
            Past::new(at, self.interval(), self.settle(), &settings, analysis.baseline, badness)
        });
        let until_known = if past.is_some() { settings.while_awaited() } else { settings };
        let judge = SloJudge::new(theta, &until_known)?;
        let ledger = Ledger::new(judge, badness, self.interval(), entered.unwrap_or(0));
        let (pods_ratio, kept, reported) = (*pods_ratio, vec![], None);
        Some(Judged::Share(Box::new(Share { ledger, past, theta, settings, pods_ratio, kept, reported })))
    }

    fn interval(&self) -> i64 {
        self.rules.analysis.interval.millis().max(1)
    }

    /// Milliseconds between scrapes of the provider.
    fn scrape(&self) -> i64 {
        self.rules.scrape.millis().max(1)
    }

    /// How far a question may reach, in milliseconds.
    fn reach(&self) -> i64 {
        REACH * self.scrape().max(self.interval())
    }

    /// A block is closed two scrapes after its end: what belongs to it is in Prometheus by then.
    fn settle(&self) -> i64 {
        2 * self.scrape()
    }

    /// End of the newest closed block.
    fn closed(&self, now: Timestamp) -> i64 {
        (now.as_millisecond() - self.settle()).div_euclid(self.interval()) * self.interval()
    }

    /// What to ask now. About the trial: nothing until the next block has closed.
    #[must_use]
    pub fn questions(&self, now: Timestamp) -> Vec<(About, Question)> {
        let trial = self.slos.iter().enumerate().map(|(at, slo)| (About::Trial(at), self.of_trial(slo, now)));
        let past = self.slos.iter().enumerate().map(|(at, slo)| (About::Past(at), self.of_past(slo, now)));
        trial.chain(past).filter_map(|(about, question)| Some((about, question?))).collect()
    }

    fn of_trial(&self, slo: &SloEvidence, now: Timestamp) -> Option<Question> {
        let closed = self.closed(now);
        let begun = self.subject.entered.map(Timestamp::as_millisecond);
        let (from, until) = match (begun, &slo.judged) {
            // Still preparing: only whether anybody answers.
            (None, _) => (closed - self.settle(), closed),
            (Some(_), Judged::Value(_)) => (closed - self.interval(), closed),
            (Some(_), Judged::Share(_)) => (slo.asked, closed.min(slo.asked + self.reach())),
        };
        let due = until > slo.asked && begun.is_none_or(|begun| closed > begun);
        if due { self.question(slo, from, until) } else { None }
    }

    /// Stable alone, as if it were the candidate.
    fn of_past(&self, slo: &SloEvidence, now: Timestamp) -> Option<Question> {
        let Judged::Share(share) = &slo.judged else { return None };
        let (from, until) = share.past.as_ref()?.span(self.reach(), now)?;
        let question = self.question(slo, from, until)?;
        Some(Question { candidate: self.subject.stable.clone()?, stable: None, ..question })
    }

    fn question(&self, evidence: &SloEvidence, from: i64, until: i64) -> Option<Question> {
        let slo = &evidence.slo;
        let indicator = match (&slo.errors, &slo.latency, &slo.ratio, &slo.query) {
            (Some(_), ..) => Indicator::Errors,
            (_, Some(latency), ..) => Indicator::Latency { below: latency.below },
            (_, _, Some(ratio), _) => Indicator::Ratio { bad: ratio.bad.clone(), total: ratio.total.clone() },
            (_, _, _, Some(query)) => Indicator::Query { query: query.clone() },
            _ => return None,
        };
        Some(Question {
            provider: self.rules.analysis.provider.clone(),
            namespace: self.subject.namespace.clone(),
            candidate: self.subject.candidate.clone(),
            stable: self.subject.stable.clone(),
            indicator,
            from: Timestamp::from_millisecond(from).ok()?,
            until: Timestamp::from_millisecond(until).ok()?,
        })
    }

    /// Folds the answer to a question that [`Self::questions`] gave about stable's past.
    pub fn remember(
        &mut self,
        index: usize,
        question: &Question,
        answer: &Result<Answer, Unanswered>,
        now: Timestamp,
    ) {
        if let Some(Judged::Share(share)) = self.slos.get_mut(index).map(|slo| &mut slo.judged) {
            share.remember(question.until.as_millisecond(), answer, now);
        }
    }

    /// Folds the answer to a question about the trial and SLO `index`. It never changes what was folded before.
    pub fn fold(
        &mut self,
        index: usize,
        question: &Question,
        answer: Result<Answer, Unanswered>,
        step: Option<&StepStatus>,
    ) {
        let (interval, preparing) = (self.interval(), self.subject.entered.is_none());
        let Some(slo) = self.slos.get_mut(index) else { return };
        let until = question.until.as_millisecond();
        slo.last = Some(match answer {
            // Nothing to count yet is no failure while nothing has traffic.
            Err(unanswered) if preparing && unanswered.reason == "NoData" => Ok(true),
            Err(unanswered) => {
                if let Judged::Value(judge) = &mut slo.judged {
                    let stay = step_at(step, until - interval, until);
                    judge.fold(until, stay.map(|stay| stay.number), None);
                }
                Err(unanswered)
            }
            Ok(_) if preparing => Ok(true),
            Ok(answer) => Ok(slo.take(&answer, until, interval, step)),
        });
        // Samples that were not had are asked for again; the value of a query at a moment that is over is not.
        if slo.last.as_ref().is_some_and(Result::is_ok) || preparing || matches!(slo.judged, Judged::Value(_))
        {
            slo.asked = until;
        }
    }

    /// The verdicts as they stand.
    #[must_use]
    pub fn judgement(&mut self, step: &StepStatus, now: Timestamp) -> Judgement {
        let said = self.said(steps::present(step).number);
        let all: Vec<_> =
            self.slos.iter().zip(said).map(|(slo, (verdict, status))| (slo, verdict, status)).collect();
        let breach = all.iter().find_map(|(slo, verdict, status)| {
            matches!(verdict, Verdict::Fail(_))
                .then(|| ProvenBreach { slo: slo.slo.name.clone(), message: status.message.clone() })
        });
        let with_stable = all.iter().find_map(|(slo, verdict, _)| {
            matches!(verdict, Verdict::Inconclusive(Why::SharedWithStable)).then(|| slo.slo.name.clone())
        });
        let begun = steps::began(step).is_some();
        let pass =
            begun && all.iter().all(|(_, verdict, _)| matches!(verdict, Verdict::Pass)) && !all.is_empty();
        Judgement {
            breach,
            shared: with_stable,
            pass,
            baked: if begun { self.baked(step) } else { Duration::from_millis(0) },
            observability: self.observability(now),
            next: Timestamp::from_millisecond(self.closed(now) + self.interval() + self.settle()).ok(),
            slos: all
                .into_iter()
                .map(|(slo, _, mut status)| {
                    if let Some(Err(unanswered)) = &slo.last
                        && status.verdict != VerdictWord::Fail
                    {
                        status.verdict = VerdictWord::Unobservable;
                        status.message = unanswered.to_string();
                    }
                    status
                })
                .collect(),
        }
    }

    /// The verdict on each SLO at a stay (its number), and what its status says.
    fn said(&mut self, step: i32) -> Vec<(Verdict, SloStatus)> {
        let judges: Vec<&SloJudge> = self
            .slos
            .iter()
            .filter_map(|s| match &s.judged {
                Judged::Share(share) => Some(share.ledger.judge()),
                Judged::Value(_) => None,
            })
            .collect();
        let mut shares = judge::verdicts(&judges, step).into_iter();
        let interval = self.rules.analysis.interval;
        let said = |slo: &mut SloEvidence| match &mut slo.judged {
            Judged::Share(share) => {
                let verdict = shares.next().unwrap_or(Verdict::Inconclusive(Why::NoData));
                let status = report::share(&slo.slo, &verdict, share.report(step), interval);
                (verdict, status)
            }
            Judged::Value(judge) => {
                let verdict = judge.verdict(step);
                let status = report::value(&slo.slo, &verdict, judge);
                (verdict, status)
            }
        };
        self.slos.iter_mut().map(said).collect()
    }

    /// Time at this step for which every SLO has data.
    fn baked(&self, step: &StepStatus) -> Duration {
        let (interval, present) = (self.interval(), steps::present(step));
        let of_step =
            |block: &i64| step_at(Some(step), *block * interval, (*block + 1) * interval) == Some(present);
        let mut sets =
            self.slos.iter().map(|s| s.blocks.iter().copied().filter(of_step).collect::<BTreeSet<_>>());
        let first = sets.next().unwrap_or_default();
        let common = sets.fold(first, |all, set| all.intersection(&set).copied().collect());
        Duration::from_millis(i64::try_from(common.len()).unwrap_or(i64::MAX).saturating_mul(interval))
    }

    fn observability(&self, now: Timestamp) -> Observability {
        if self.slos.is_empty() {
            return Observability::No(
                "its spec is refused, and none of its SLOs can be asked about".to_owned(),
            );
        }
        let recent = self.closed(now) - PRESENT * self.interval();
        let mut all = Observability::Yes;
        for slo in &self.slos {
            match &slo.last {
                Some(Err(unanswered)) => {
                    if on(Mutant::UnmeasuredIsGood) {
                        continue;
                    }
                    return Observability::No(format!("SLO {}: {unanswered}", slo.slo.name));
                }
                Some(Ok(false)) => {
                    let name = &slo.slo.name;
                    return Observability::No(format!(
                        "SLO {name}: Prometheus has no sample of its counters"
                    ));
                }
                Some(Ok(true)) if slo.asked > recent => {}
                _ => all = Observability::Unknown,
            }
        }
        all
    }

    /// Forgets which blocks had data at earlier steps: they are not asked for again.
    pub fn trim(&mut self, step: &StepStatus) {
        let (interval, present) = (self.interval(), steps::present(step));
        for slo in &mut self.slos {
            slo.blocks.retain(|block| {
                step_at(Some(step), *block * interval, (*block + 1) * interval) == Some(present)
            });
        }
    }
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
