//! A move written into a model's status, and what is told about it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    held,
    notice::Notice,
    observed::Model,
    phase::{self, Facts, Move},
    requests::{self, Answer},
    steps,
};
use crate::{
    api::v1alpha1::{
        Canary, ModelDeploymentStatus, Outcome, Pause, Percent, Phase, Rejection, RevisionUse, RolloutRecord,
        StepStart, StepStatus,
    },
    mutant::{Mutant, on},
};

/// How many rejected revisions are remembered.
const REJECTED: usize = 20;
/// How many rollouts and requests are remembered.
const HISTORY: usize = 10;

/// The status after `step`, with what to tell; the status unchanged where the table has no such arrow.
#[must_use]
pub fn apply(
    model: &Model,
    canary: Option<&Canary>,
    step: &Move,
    now: Timestamp,
) -> (ModelDeploymentStatus, Vec<Notice>) {
    use Move::{Await, Decline, Promote, Retreat, Revert, Settle};
    let mut status = model.status.clone();
    let mut notices = vec![];
    let last_step = matches!((&status.step, canary), (Some(s), Some(c)) if s.index + 1 >= steps::count(c));
    let facts = Facts {
        last_step,
        had_weight: status.step.as_ref().is_some_and(|s| s.entered.is_some()),
        outcome: status.rollback.as_ref().map(|r| r.outcome),
    };
    let Some(phase) = phase::after(status.phase, step, facts) else { return (status, notices) };
    if let Promote { .. } | Retreat(_) | Settle | Revert | Await | Decline = step {
        end(&mut status, model, canary, step, now, &mut notices);
    } else {
        proceed(&mut status, model, canary, step, now, &mut notices);
    }
    status.phase = phase;
    (status, notices)
}

/// Moves with which a trial begins or goes on.
fn proceed(
    status: &mut ModelDeploymentStatus,
    model: &Model,
    canary: Option<&Canary>,
    step: &Move,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    match step {
        Move::Serve => serve(status, model, notices),
        Move::Prepare => prepare(status, model, canary, now, notices),
        Move::Enter => {
            if let Some(at) = &mut status.step {
                at.since = now.into();
                at.entered = Some(now.into());
                at.unobservable_since = None;
                notices.push(Notice::advanced(at));
            }
        }
        Move::Begin { since } => begin(status, *since),
        Move::Interrupt => status.step.iter_mut().for_each(|at| end_start(at, now)),
        Move::Hold => status.step.iter_mut().for_each(|at| held::begin(at, now)),
        Move::Advance => advance(status, canary, now, notices),
        Move::Skip => skip(status, canary, now, notices),
        Move::Reindex { index } => reindex(status, canary, *index, now, notices),
        Move::Pause(reason) => {
            status.pause = Some(Pause { reason: *reason, since: now.into() });
            notices.push(Notice::paused(*reason));
        }
        Move::Resume => {
            status.pause = None;
            if let Some(at) = &mut status.step {
                (at.since, at.shared_since) = (now.into(), None);
            }
            notices.push(Notice::normal("Resumed", "the rollout goes on"));
        }
        Move::Observable(yes) => {
            if let Some(at) = &mut status.step {
                at.unobservable_since = (!yes).then_some(MicroTime(now));
            }
        }
        Move::Shared(slo) => {
            if let Some(at) = &mut status.step {
                at.shared_since = slo.is_some().then_some(MicroTime(now));
            }
            notices.extend(slo.as_ref().map(|slo| Notice::shared(slo)));
        }
        _ => {}
    }
}

/// Moves with which a trial ends.
fn end(
    status: &mut ModelDeploymentStatus,
    model: &Model,
    canary: Option<&Canary>,
    step: &Move,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    match step {
        Move::Promote { warm, why } => {
            let warm_until = warm.filter(|w| w.millis() > 0).and_then(|w| now.checked_add(w.signed()).ok());
            promote(status, model, warm_until.map(MicroTime), why, now, notices);
        }
        Move::Retreat(rollback) => {
            if matches!(rollback.outcome, Outcome::RolledBack | Outcome::Cancelled) {
                reject(status, rollback, now);
            }
            notices.push(Notice::retreat(rollback, status));
            status.pause = None;
            status.rollback = Some(rollback.clone());
        }
        Move::Settle => settle(status, canary, now, notices),
        Move::Revert => {
            let why = "the spec asks for the stable revision again";
            if status.phase == Phase::Preparing {
                remember(status, Outcome::Reverted, "SpecReverted", why, None, now);
            }
            clear(status);
            notices.push(Notice::normal("Reverted", why));
        }
        Move::Await => clear(status),
        Move::Decline => {
            let revision = model.wanted().unwrap_or_default();
            notices.push(Notice::warning(
                "RevisionRejected",
                format!("revision {revision} was rejected before and is not tried again; change the spec or ask to retry"),
            ));
        }
        _ => {}
    }
}

/// A handled request written into the status.
#[must_use]
pub fn handle(
    model: &Model,
    canary: Option<&Canary>,
    request: &requests::Request,
    now: Timestamp,
) -> (ModelDeploymentStatus, Vec<Notice>) {
    let answer = requests::answer(request, model, canary, now);
    let record = requests::record(request, &answer, now);
    let (mut status, mut notices) = match &answer {
        Answer::Move(step, _) => apply(model, canary, step, now),
        _ => (model.status.clone(), vec![]),
    };
    match answer {
        Answer::Approved(index, _) => {
            if let Some(step) = &mut status.step
                && !step.approvals.contains(&index)
            {
                step.approvals.push(index);
            }
        }
        Answer::Forgiven(revision, _) => status.rejected.retain(|r| r.revision != revision),
        Answer::Move(..) | Answer::Refused(_) => {}
    }
    notices.push(Notice::request(&record));
    status.requests.insert(0, record);
    status.requests.truncate(HISTORY);
    (status, notices)
}

fn serve(status: &mut ModelDeploymentStatus, model: &Model, notices: &mut Vec<Notice>) {
    let Some(wanted) = model.serves_already().or(model.wanted()) else { return };
    status.stable_revision = Some(wanted.to_owned());
    status.stable_version = Some(model.version_of(wanted));
    notices.push(Notice::normal("Serving", format!("revision {wanted} is the first to serve")));
}

fn prepare(
    status: &mut ModelDeploymentStatus,
    model: &Model,
    canary: Option<&Canary>,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    let Some(wanted) = model.wanted() else { return };
    if status.phase == Phase::Preparing && status.candidate_revision.as_deref() != Some(wanted) {
        remember(status, Outcome::Superseded, "Superseded", "a newer revision took its place", None, now);
    }
    clear(status);
    if on(Mutant::RejectionForgotten) {
        status.rejected.clear();
    }
    status.attempt += 1;
    status.candidate_revision = Some(wanted.to_owned());
    status.candidate_version = Some(model.version_of(wanted));
    status.step = canary.map(|c| first_step(c, now));
    notices.push(Notice::normal(
        "Preparing",
        format!("revision {wanted} starts beside the stable one, without traffic"),
    ));
}

fn first_step(canary: &Canary, now: Timestamp) -> StepStatus {
    StepStatus {
        index: 0,
        progress: steps::progress(canary, 0),
        weight: steps::weight(canary, 0),
        since: now.into(),
        entered: None,
        unobservable_since: None,
        shared_since: None,
        approvals: vec![],
        starts: vec![],
    }
}

fn begin(status: &mut ModelDeploymentStatus, since: Timestamp) {
    if let Some(at) = &mut status.step {
        let (index, weight) = (at.index, at.weight);
        end_start(at, since);
        at.starts.push(StepStart { index, weight, since: since.into(), until: None });
    }
}

fn advance(
    status: &mut ModelDeploymentStatus,
    canary: Option<&Canary>,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    let (Some(at), Some(canary)) = (&mut status.step, canary) else { return };
    take(at, canary, at.index + if on(Mutant::StepSkipped) { 2 } else { 1 }, now);
    notices.push(Notice::advanced(at));
}

fn skip(
    status: &mut ModelDeploymentStatus,
    canary: Option<&Canary>,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    let (Some(at), Some(canary)) = (&mut status.step, canary) else { return };
    take(at, canary, steps::count(canary), now);
    at.entered.get_or_insert(MicroTime(now));
    status.pause = None;
    notices.push(Notice::advanced(at));
}

/// Takes the step at `index`: its weight is asked for from now.
fn take(at: &mut StepStatus, canary: &Canary, index: i32, now: Timestamp) {
    end_start(at, now);
    at.index = index;
    at.progress = steps::progress(canary, index);
    at.weight = steps::weight(canary, index);
    at.since = now.into();
}

/// The weights that were effective until now are so no more: later blocks belong to no step until the next begins.
fn end_start(at: &mut StepStatus, now: Timestamp) {
    if let Some(start) = at.starts.last_mut().filter(|s| s.until.is_none()) {
        start.until = Some(now.into());
    }
}

fn reindex(
    status: &mut ModelDeploymentStatus,
    canary: Option<&Canary>,
    index: i32,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    let (Some(at), Some(canary)) = (&mut status.step, canary) else { return };
    let present = at.weight;
    take(at, canary, index, now);
    // What was measured at steps of another schedule proves nothing about this one's.
    at.starts.iter_mut().for_each(|start| start.index = steps::EARLIER);
    if at.entered.is_some() && !on(Mutant::EditRaises) {
        at.weight = present;
    }
    let message = format!("the steps were edited: going on at step {} with {}", at.progress, at.weight);
    notices.push(Notice::normal("StepsEdited", message));
}

fn promote(
    status: &mut ModelDeploymentStatus,
    model: &Model,
    warm_until: Option<MicroTime>,
    why: &str,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    let Some(candidate) = status.candidate_revision.clone() else { return };
    remember(status, Outcome::Promoted, "Promoted", why, None, now);
    if let (Some(until), Some(old)) = (warm_until, &status.stable_revision)
        && let Some(old) = status.revisions.iter_mut().find(|r| r.name == *old)
    {
        old.warm_until = Some(until);
        old.used = RevisionUse::Warm;
    }
    status.stable_version = Some(model.version_of(&candidate));
    status.rejected.retain(|r| r.revision != candidate);
    notices.push(Notice::normal("Promoted", format!("revision {candidate} is stable: {why}")));
    status.stable_revision = Some(candidate);
    clear(status);
}

fn settle(
    status: &mut ModelDeploymentStatus,
    canary: Option<&Canary>,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) {
    let Some(rollback) = status.rollback.take() else { return };
    let (reason, message) = (rollback.reason.clone(), rollback.message.clone());
    remember(status, rollback.outcome, &reason, &message, rollback.slo.clone(), now);
    notices.push(Notice::settled(&rollback, status.candidate_revision.as_deref().unwrap_or_default()));
    match (rollback.outcome, canary) {
        (Outcome::Withdrawn, Some(canary)) => {
            status.attempt += 1;
            let mut step = first_step(canary, now);
            // A new start waits for answers; who is there already is seen at the first question.
            step.unobservable_since = (reason == "Unobservable").then_some(MicroTime(now));
            status.step = Some(step);
        }
        // Its `TrafficSplit` has gone meanwhile: what was to start again is cancelled next.
        (Outcome::Withdrawn, None) => {}
        _ => clear(status),
    }
}

/// The trial is over: nothing of it is left but history.
fn clear(status: &mut ModelDeploymentStatus) {
    status.candidate_revision = None;
    status.candidate_version = None;
    status.step = None;
    status.pause = None;
    status.rollback = None;
    status.verdict = None;
    status.analysis.clear();
}

fn reject(status: &mut ModelDeploymentStatus, rollback: &crate::api::v1alpha1::Rollback, now: Timestamp) {
    let Some(revision) = status.candidate_revision.clone().filter(|_| !on(Mutant::RetriesByItself)) else {
        return;
    };
    status.rejected.retain(|r| r.revision != revision);
    status.rejected.insert(
        0,
        Rejection {
            revision,
            version: status.candidate_version.clone().unwrap_or_default(),
            outcome: rollback.outcome,
            reason: rollback.reason.clone(),
            message: rollback.message.clone(),
            at: now.into(),
        },
    );
    status.rejected.truncate(REJECTED);
}

fn remember(
    status: &mut ModelDeploymentStatus,
    outcome: Outcome,
    reason: &str,
    message: &str,
    slo: Option<String>,
    now: Timestamp,
) {
    let Some(revision) = status.candidate_revision.clone() else { return };
    status.history.insert(
        0,
        RolloutRecord {
            revision,
            version: status.candidate_version.clone().unwrap_or_default(),
            from: status.stable_revision.clone(),
            outcome,
            reason: reason.to_owned(),
            message: message.to_owned(),
            slo,
            at: now.into(),
        },
    );
    status.history.truncate(HISTORY);
}

/// The weight that the route should give the candidate in the present state.
#[must_use]
pub fn candidate_weight(status: &ModelDeploymentStatus, canary: Option<&Canary>) -> Percent {
    let (Some(step), Some(_)) = (&status.step, canary) else { return Percent::ZERO };
    phase::weight(status.phase, step.weight, steps::granted(step))
}
