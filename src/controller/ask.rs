//! Questions under way. Nothing waits for an answer: it is put aside when it comes, and its unit is woken.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::cache::Key;
use crate::{
    api::v1alpha1::{self as api, Slo, StepStart, StepStatus},
    rollout::{
        evidence::{Evidence, Judgement},
        observed::{Model, Split},
        phase,
        question::{Answer, Question, Unanswered},
        steps,
        trial::{About, Rules, Subject},
    },
};

/// How long after a failure a question is asked again, an interval at most: not later each time, because the first data of a
/// candidate are what a rollback waits for. Whoever answers "no" at once would else be asked a hundred times a second, and so
/// would the API server.
const AGAIN: api::Duration = api::Duration::from_millis(1000);

/// A question on its way, and what it belongs to.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The model.
    pub model: Key,
    /// The trial that asked; answers to an earlier one are thrown away.
    pub trial: u64,
    /// What it is about.
    pub about: About,
    /// The question.
    pub question: Question,
}

/// What is known of one candidate.
#[derive(Debug)]
struct Trial {
    number: u64,
    evidence: Evidence,
    /// How far the wall clock was ahead of the steady one when it was gathered.
    ahead: SignedDuration,
    under_way: BTreeSet<About>,
    answers: Vec<(About, Question, Result<Answer, Unanswered>, Instant)>,
    /// The wall time before which what got no answer is not asked again.
    failed: BTreeMap<About, Timestamp>,
}

/// The evidence of every candidate on trial: state of this process that is rebuilt when lost.
#[derive(Debug, Default)]
pub struct Trials {
    trials: Mutex<BTreeMap<Key, Trial>>,
    numbers: std::sync::atomic::AtomicU64,
}

/// The verdicts, the questions that are due, and when the newest answer came in.
#[derive(Debug, Default)]
pub struct Judged {
    /// The verdicts.
    pub judgement: Judgement,
    /// What to ask now.
    pub due: Vec<Asked>,
    /// When the answers that these verdicts rest on came.
    pub answered: Option<Instant>,
}

impl Trials {
    /// Puts an answer aside; whether anybody still wants it.
    pub fn answered(&self, asked: Asked, answer: Result<Answer, Unanswered>) -> bool {
        let mut trials = self.lock();
        let Some(trial) = trials.get_mut(&asked.model).filter(|t| t.number == asked.trial) else {
            return false;
        };
        trial.under_way.remove(&asked.about);
        trial.answers.push((asked.about, asked.question, answer, Instant::now()));
        true
    }

    /// Judges a model's candidate on everything that has been answered. Nothing is on trial: nothing is remembered.
    ///
    /// Prometheus counts by the wall clock, which is `ahead` of the steady time in the status: evidence is gathered in wall
    /// time. When the clock jumps, everything is asked for again, because what was answered may be of another hour.
    pub fn judge(
        &self,
        model: &Key,
        state: &Model,
        split: Option<&Split>,
        scrape: api::Duration,
        now: Timestamp,
        ahead: SignedDuration,
    ) -> Judged {
        let mut trials = self.lock();
        let (Some(split), Some(step), true) =
            (split, &state.status.step, phase::on_trial(state.status.phase))
        else {
            trials.remove(model);
            return Judged::default();
        };
        let canary = &split.spec.strategy.canary;
        let (step, now) = (&by_the_wall(step, ahead), later(now, ahead));
        let subject = subject(model, state, step);
        let askable = || split.spec.slos.iter().filter(|slo| !split.unaskable.contains(&slo.name)).cloned();
        let slos: Cow<'_, [Slo]> = if split.unaskable.is_empty() {
            Cow::Borrowed(&split.spec.slos)
        } else {
            Cow::Owned(askable().collect())
        };
        let slos = &*slos;
        let interval = split.spec.analysis.interval.millis();
        let rules = Rules {
            analysis: split.spec.analysis.clone(),
            scrape,
            planned_blocks: steps::planned_blocks(canary, interval),
            pods_ratio: steps::pods_ratio(canary, state.full_size()),
        };
        let fresh = || Trial {
            number: self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            evidence: Evidence::new(subject.clone(), rules.clone(), slos),
            ahead,
            under_way: BTreeSet::new(),
            answers: vec![],
            failed: BTreeMap::new(),
        };
        let mut trial = trials.remove(model).filter(|trial| trial.ahead == ahead).unwrap_or_else(fresh);
        if !trial.evidence.is_about(&subject, &rules, slos) {
            trial.evidence = trial.evidence.keep(&subject, &rules, slos);
            trial.number = self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            trial.under_way.clear();
            trial.answers.clear();
            trial.failed.clear();
        }
        let answered = trial.fold(step, interval, now);
        trial.evidence.trim(step);
        let mut judgement = trial.evidence.judgement(step, now);
        let (due, again) = if is_ready_to_ask(state, canary) { trial.due(now) } else { (vec![], None) };
        judgement.next = judgement.next.into_iter().chain(again).min();
        judgement.next = judgement.next.map(|at| later(at, -ahead));
        let number = trial.number;
        trials.insert(model.clone(), trial);
        let asked = |(about, question)| Asked { model: model.clone(), trial: number, about, question };
        Judged { judgement, due: due.into_iter().map(asked).collect(), answered }
    }

    /// Forgets a model that is gone.
    pub fn forget(&self, model: &Key) {
        self.lock().remove(model);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Trial>> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trial {
    /// Takes in what was answered; when the newest answer came.
    fn fold(&mut self, step: &StepStatus, interval: i64, now: Timestamp) -> Option<Instant> {
        let mut answered = None;
        for (about, question, answer, at) in std::mem::take(&mut self.answers) {
            self.note(about, answer.is_err(), interval, now);
            match about {
                About::Trial(slo) => self.evidence.fold(slo, &question, answer, Some(step)),
                About::Past(slo) => self.evidence.remember(slo, &question, &answer, now),
            }
            answered = answered.max(Some(at));
        }
        answered
    }

    /// What to ask now, and when something that failed is to be asked again.
    fn due(&mut self, now: Timestamp) -> (Vec<(About, Question)>, Option<Timestamp>) {
        let mut due = self.evidence.questions(now);
        due.retain(|(about, _)| !self.under_way.contains(about));
        let waits = |about: &About| self.failed.get(about).copied().filter(|again| *again > now);
        let again = due.iter().filter_map(|(about, _)| waits(about)).min();
        due.retain(|(about, _)| waits(about).is_none());
        self.under_way.extend(due.iter().map(|(about, _)| *about));
        (due, again)
    }

    /// Whether a question about the trial failed. Those about stable's past have a pace of their own.
    fn note(&mut self, about: About, failed: bool, interval: i64, now: Timestamp) {
        if failed && matches!(about, About::Trial(_)) {
            let again = later(now, SignedDuration::from_millis(AGAIN.millis().min(interval)));
            self.failed.insert(about, again);
        } else {
            self.failed.remove(&about);
        }
    }
}

/// While it prepares, nobody is asked before the pods are ready: there is nothing to decide yet. But once nobody answered, it
/// is asked until somebody does, whatever becomes of the pods: paused just then, it would be called unobservable for ever.
fn is_ready_to_ask(state: &Model, canary: &crate::api::v1alpha1::Canary) -> bool {
    let Some(candidate) = &state.status.candidate_revision else { return false };
    let asked = |s: &StepStatus| s.entered.is_some() || s.unobservable_since.is_some();
    state.status.step.as_ref().is_some_and(asked)
        || state.workload(candidate).ready >= steps::replicas(canary, 0, state.full_size())
}

fn subject(model: &Key, state: &Model, step: &StepStatus) -> Subject {
    Subject {
        namespace: model.0.clone(),
        candidate: state.status.candidate_revision.clone().unwrap_or_default(),
        stable: state.status.stable_revision.clone(),
        attempt: state.status.attempt,
        entered: step.entered.as_ref().map(|t| t.0),
    }
}

/// A step whose weights were effective at these wall times.
fn by_the_wall(step: &StepStatus, ahead: SignedDuration) -> StepStatus {
    let wall = |at: &MicroTime| MicroTime(later(at.0, ahead));
    let start = |start: &StepStart| StepStart {
        since: wall(&start.since),
        until: start.until.as_ref().map(wall),
        ..start.clone()
    };
    StepStatus {
        entered: step.entered.as_ref().map(wall),
        starts: step.starts.iter().map(start).collect(),
        ..step.clone()
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::rollout::observed::Workload;

    const ENTERED: i64 = 1_800_000_000;

    /// A trial that has been under way for a minute and was not asked about yet.
    fn trial() -> (Trial, Timestamp) {
        let second = |second| Timestamp::from_second(second).unwrap();
        let subject = Subject {
            namespace: "ml".to_owned(),
            candidate: "iris-bbbbbbbb".to_owned(),
            stable: None,
            attempt: 1,
            entered: Some(second(ENTERED)),
        };
        let rules = Rules {
            analysis: serde_json::from_value(json!({})).unwrap(),
            scrape: api::Duration::from_secs(5),
            planned_blocks: 240,
            pods_ratio: 2.0,
        };
        let slos = json!([{"name": "availability", "objective": "99%", "errors": {}}]);
        let slos: Vec<Slo> = serde_json::from_value(slos).unwrap();
        let trial = Trial {
            number: 0,
            evidence: Evidence::new(subject, rules, &slos),
            ahead: SignedDuration::ZERO,
            under_way: BTreeSet::new(),
            answers: vec![],
            failed: BTreeMap::new(),
        };
        (trial, second(ENTERED + 60))
    }

    #[rstest]
    #[case::a_second(15_000, 1_000)]
    #[case::an_interval_at_most(500, 500)]
    fn what_got_no_answer_is_asked_again_as_soon_however_often(#[case] interval: i64, #[case] pause: i64) {
        let (mut trial, mut now) = trial();
        assert_eq!(trial.due(now).0.len(), 1);
        for _ in 0..5 {
            trial.under_way.clear();
            trial.note(About::Trial(0), true, interval, now);
            let again = now + SignedDuration::from_millis(pause);
            assert_eq!(trial.due(again - SignedDuration::from_millis(1)), (vec![], Some(again)));
            now = again;
            assert_eq!(trial.due(now).0.len(), 1);
        }
        trial.under_way.clear();
        trial.note(About::Trial(0), false, interval, now);
        assert_eq!(trial.due(now).0.len(), 1, "an answer ends the pause");
    }

    #[rstest]
    #[case::it_prepares(None, None, 0, false)]
    #[case::its_pods_are_ready(None, None, 1, true)]
    #[case::nobody_answered_before_they_were_lost(None, Some(ENTERED), 0, true)]
    #[case::it_has_traffic(Some(ENTERED), None, 0, true)]
    fn nobody_is_asked_without_need(
        #[case] entered: Option<i64>,
        #[case] unobservable: Option<i64>,
        #[case] ready: i32,
        #[case] asks: bool,
    ) {
        let at = |second: Option<i64>| second.map(|s| MicroTime(Timestamp::from_second(s).unwrap()));
        let mut model = Model::of_iris(json!({"phase": "Paused", "candidateRevision": "iris-b",
            "step": {"index": 0, "weight": "10%", "progress": "1/1", "since": "2026-01-01T00:00:00.000000Z"}}));
        let step = model.status.step.as_mut().unwrap();
        (step.entered, step.unobservable_since) = (at(entered), at(unobservable));
        model.workloads.insert("iris-b".to_owned(), Workload { desired: 2, ready, ..Workload::default() });
        let canary = serde_json::from_value(json!({"steps": [{"weight": "10%", "bake": "5s"}]})).unwrap();
        assert_eq!(is_ready_to_ask(&model, &canary), asks);
    }
}
