//! What takes a candidate out, in whatever phase it is, and when that is over.

use jiff::Timestamp;

use super::{
    decide::Around,
    evidence::Observability,
    observed::{Model, Observed, Split},
    phase::Move,
    plan::candidate_weight,
    requests::{Request, Verb},
    shared_breach, sizes, steps,
};
use crate::{
    api::v1alpha1::{Duration, OnUnobservable, Outcome, Phase, Rollback, StepStatus},
    mutant::{Mutant, on},
    route::Effective,
    workload::TroubleKind,
};

/// What ends a trial in every phase in which the candidate has weight, most urgent first.
pub(super) fn trial(model: &Model, around: &Around<'_>) -> Option<Move> {
    let status = &model.status;
    if status.phase == Phase::Paused && status.step.is_none() {
        return held_by_itself(model, around);
    }
    let (Some(split), Some(step)) = (around.split, &status.step) else {
        return (!on(Mutant::CancelIgnored)).then(|| cancelled(around));
    };
    let candidate = status.candidate_revision.as_deref()?;
    let wanted = model.wanted()?;
    if let Some(breach) = &model.judgement.breach {
        let message = format!("SLO {}: {}", breach.slo, breach.message);
        let mut rollback = rollback(Outcome::RolledBack, "Breach", message, around.now);
        rollback.slo = Some(breach.slo.clone());
        return Some(Move::Retreat(rollback));
    }
    if status.stable_revision.as_deref() == Some(wanted) {
        let message = "the spec asks for the stable revision again".to_owned();
        return Some(Move::Retreat(rollback(Outcome::Reverted, "SpecReverted", message, around.now)));
    }
    let begun = steps::began(step).is_some();
    let newer = wanted != candidate && !on(Mutant::SupersedeIgnored);
    if newer && !(status.phase == Phase::Watching && begun) && model.latest.is_ok() {
        return Some(superseded(around));
    }
    if model.is_parked() {
        let message = "replicas is 0: it starts again when there are more".to_owned();
        return Some(Move::Retreat(rollback(Outcome::Withdrawn, "ScaledToZero", message, around.now)));
    }
    pods_lost(model, around, candidate)
        .or_else(|| not_effective(model, around, step, begun))
        .or_else(|| unobservable(model, around, split, step))
        .or_else(|| shared_breach::next_move(model, around, split, step))
}

/// Whether a candidate has to lose its traffic at once: a breach, a person's word, or a rollback that the route does not say
/// yet. Nothing else is looked at before that.
#[must_use]
pub fn is_urgent(observed: &Observed) -> bool {
    let view = observed.split.as_ref().and_then(|s| s.route.live());
    observed.models.iter().any(|model| {
        let abort = |request: &Request| matches!(request.body, Ok((Verb::Abort, _)));
        let leaves = model.judgement.breach.is_some()
            || model.status.phase == Phase::RollingBack
            || model.requests.first().is_some_and(abort);
        leaves && candidate_weight(model, view) > 0
    })
}

/// A model without a `TrafficSplit` has no steps: paused, it waits for its person, or for another spec.
fn held_by_itself(model: &Model, around: &Around<'_>) -> Option<Move> {
    let wanted = model.wanted()?;
    if model.status.stable_revision.as_deref() == Some(wanted) {
        let message = "the spec asks for the stable revision again".to_owned();
        return Some(Move::Retreat(rollback(Outcome::Reverted, "SpecReverted", message, around.now)));
    }
    let newer = model.status.candidate_revision.as_deref() != Some(wanted) && model.latest.is_ok();
    (newer && !on(Mutant::SupersedeIgnored)).then(|| superseded(around))
}

/// The candidate has traffic and no pod that could answer it.
fn pods_lost(model: &Model, around: &Around<'_>, candidate: &str) -> Option<Move> {
    let workload = model.workload(candidate);
    // Right after it was made larger nobody has counted yet: a healthy candidate would be taken out at its next step.
    let unharmed = workload.ready > 0 || workload.uncounted || on(Mutant::PodsLostIgnored);
    if around.candidate_weight == 0 || unharmed {
        return None;
    }
    let rollback = match workload.trouble {
        Some(trouble) if trouble.kind == TroubleKind::CrashLoop => {
            rollback(Outcome::RolledBack, "CrashLoop", trouble.message, around.now)
        }
        trouble => {
            let why = trouble.map_or_else(|| "no pod is ready".to_owned(), |t| t.message);
            if lost_before(model, candidate) >= LOSSES {
                let message = format!("its pods were lost under traffic {} times: {why}", LOSSES + 1);
                rollback(Outcome::RolledBack, "PodsLost", message, around.now)
            } else {
                rollback(
                    Outcome::Withdrawn,
                    "PodsLost",
                    format!("{why}; it starts again from weight 0"),
                    around.now,
                )
            }
        }
    };
    Some(Move::Retreat(rollback))
}

/// A candidate that loses all its pods under traffic starts again so often, then it is rejected: an eviction is no fault
/// of the revision, a habit is.
const LOSSES: usize = 2;

/// How often in a row this candidate was withdrawn for that.
fn lost_before(model: &Model, candidate: &str) -> usize {
    let history = model.status.history.iter();
    history
        .take_while(|r| r.revision == candidate && r.outcome == Outcome::Withdrawn && r.reason == "PodsLost")
        .count()
}

fn not_effective(model: &Model, around: &Around<'_>, step: &StepStatus, begun: bool) -> Option<Move> {
    let deadline = model.spec.progress_deadline;
    let paused = model.status.phase == Phase::Paused;
    if begun || paused || !around.overdue(&step.since, deadline) || waits_for_us(model, around, step) {
        return None;
    }
    let candidate = model.status.candidate_revision.as_deref().unwrap_or_default();
    let why = match (model.workload(candidate).trouble, around.effective) {
        (Some(trouble), _) => trouble.message,
        (None, Effective::Unaccepted { message }) => message.clone(),
        _ => "its pods or the gateway did not follow".to_owned(),
    };
    let message = format!("weight {} was not effective within {deadline}: {why}", step.weight);
    Some(Move::Retreat(rollback(Outcome::RolledBack, "WeightNotEffective", message, around.now)))
}

/// The candidate has the pods that its step needs, and the gateway has what it was given, or heard of it only just now: whatever
/// is missing yet is ours to do, and late because nobody led. A deadline that went by meanwhile is not the candidate's fault.
pub(super) fn waits_for_us(model: &Model, around: &Around<'_>, step: &StepStatus) -> bool {
    let (Some(split), Some(candidate)) = (around.split, &model.status.candidate_revision) else {
        return false;
    };
    let canary = &split.spec.strategy.canary;
    // Somebody who writes over the route again and again is not waited for without an end.
    let longest = steps::get(canary, step.index).map_or(canary.rollback_window, |rules| rules.max_duration);
    let twice = Duration::from_millis(model.spec.progress_deadline.millis().saturating_mul(2));
    if around.over(&step.since, longest.max(twice)) {
        return false;
    }
    let needed = steps::replicas(canary, step.index, model.full_size());
    let taken_over = !matches!(around.effective, Effective::Unaccepted { .. }) || around.just_written();
    taken_over && model.workload(candidate).ready >= needed
}

fn unobservable(model: &Model, around: &Around<'_>, split: &Split, step: &StepStatus) -> Option<Move> {
    assert!(
        !on(Mutant::PanicOnNoData) || !matches!(model.judgement.observability, Observability::No(_)),
        "no data"
    );
    match (&model.judgement.observability, &step.unobservable_since) {
        _ if on(Mutant::UnobservableForever) => None,
        (Observability::No(_), None) => Some(Move::Observable(false)),
        (Observability::Yes, Some(_)) => Some(Move::Observable(true)),
        (Observability::No(why), Some(since))
            if around.over(since, split.spec.analysis.hold_budget) || on(Mutant::OutageAborts) =>
        {
            (split.spec.analysis.on_unobservable == OnUnobservable::Withdraw).then(|| {
                let budget = split.spec.analysis.hold_budget;
                let message = format!(
                    "nothing could be measured for {budget} ({why}); it starts again when answers return"
                );
                Move::Retreat(rollback(Outcome::Withdrawn, "Unobservable", message, around.now))
            })
        }
        _ => None,
    }
}

/// Done once no proxy may still send the candidate anything and what it had is drained. A newer revision does not wait
/// for a gateway that does not answer: the old candidate goes on draining beside it. Nor for a stable revision that is down,
/// perhaps for ever: until one of both is ready, the old candidate keeps its share, which nobody else can serve.
pub(super) fn rolling_back(model: &Model, around: &Around<'_>) -> Option<Move> {
    let status = &model.status;
    let rollback = status.rollback.as_ref()?;
    let candidate = status.candidate_revision.as_deref();
    let newer = model.latest.is_ok()
        && model.wanted() != candidate
        && model.wanted() != status.stable_revision.as_deref()
        && model.wanted().is_some_and(|w| !model.is_rejected(w));
    if around.candidate_weight > 0 {
        let down = status.stable_revision.as_deref().is_some_and(|stable| model.workload(stable).ready == 0);
        return (newer && down && !around.held()).then_some(Move::Settle);
    }
    let drained = match (around.split, around.effective) {
        (None, _) => around.over(&rollback.since, sizes::drained_after(None)),
        (Some(split), Effective::Settled { since }) => {
            around.now.duration_since((*since).max(rollback.since.0)) >= sizes::drain(split).signed()
        }
        (Some(_), _) => false,
    };
    (drained || newer).then_some(Move::Settle)
}

pub(super) fn cancelled(around: &Around<'_>) -> Move {
    let message = "its TrafficSplit was deleted, or has yielded to an older one, in mid-trial".to_owned();
    Move::Retreat(rollback(Outcome::Cancelled, "TrafficSplitDeleted", message, around.now))
}

pub(super) fn superseded(around: &Around<'_>) -> Move {
    let message = "a newer revision takes its place".to_owned();
    Move::Retreat(rollback(Outcome::Superseded, "Superseded", message, around.now))
}

pub(super) fn rollback(outcome: Outcome, reason: &str, message: String, now: Timestamp) -> Rollback {
    let mut message = message;
    crate::api::conditions::truncate(&mut message, 512);
    Rollback { outcome, reason: reason.to_owned(), message, slo: None, since: now.into() }
}
