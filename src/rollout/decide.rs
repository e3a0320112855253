//! Which move comes next for one model. Pure and total: the same state and time give the same answer, and the answer
//! never depends on why it was asked.

use jiff::Timestamp;

use super::{
    evidence::Observability,
    observed::{Model, Split, StableService},
    phase::Move,
    sizes, steps,
};
use crate::{
    api::v1alpha1::{
        Canary, Duration, OnInconclusive, OnUnobservable, Outcome, Pause, PauseReason, Percent, Phase,
        Rollback, StepStatus,
    },
    route::Effective,
    workload::TroubleKind,
};

/// What a model's decision needs to know about its unit.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Its `TrafficSplit`.
    pub split: Option<&'a Split>,
    /// Whether the live route is effective.
    pub effective: &'a Effective,
    /// The live route gives this model's revisions what the present state asks for.
    pub at_goal: bool,
    /// Weight of the candidate in the live route, of 10 000.
    pub candidate_weight: i32,
    /// Another backend of the unit is rolling: one at a time.
    pub busy: bool,
    /// The moment.
    pub now: Timestamp,
}

impl Around<'_> {
    fn canary(&self) -> Option<&Canary> {
        self.split.map(|s| &s.spec.strategy.canary)
    }

    /// Nothing may rise: the spec of the `TrafficSplit` cannot be acted on, or names what is not there.
    fn held(&self) -> bool {
        self.split.is_some_and(|s| s.refused.is_some() || s.unresolved.is_some())
    }

    /// The data plane has taken over a route that names this revision: its first request finds it.
    fn is_known(&self, revision: &str) -> bool {
        let view = self.split.and_then(|s| s.route.live());
        self.effective.is_settled()
            && view.is_some_and(|v| v.idle.contains(revision) || v.shares.contains_key(revision))
    }

    fn over(
        &self,
        since: &k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime,
        length: Duration,
    ) -> bool {
        self.now.duration_since(since.0) >= length.signed()
    }
}

/// The next move, if there is one.
#[must_use]
pub fn next_move(model: &Model, around: &Around<'_>) -> Option<Move> {
    match model.status.phase {
        Phase::Pending => pending(model, around),
        Phase::Stable => stable(model, around),
        Phase::Preparing => preparing(model, around),
        Phase::Progressing => trial(model, around).or_else(|| progressing(model, around)),
        Phase::Paused => trial(model, around).or_else(|| paused(model, around)),
        Phase::Watching => trial(model, around).or_else(|| watching(model, around)),
        Phase::RollingBack => rolling_back(model, around),
        Phase::RolledBack => rolled_back(model, around),
    }
}

/// Serves once it is ready and, under a `TrafficSplit`, the route to it is effective.
fn pending(model: &Model, around: &Around<'_>) -> Option<Move> {
    let wanted = model.wanted()?;
    let ready = model.workload(wanted).ready >= model.full_size();
    let routed = around.split.is_none() || (around.at_goal && around.effective.is_settled());
    (ready && routed && model.service == StableService::On(wanted.to_owned())).then_some(Move::Serve)
}

fn stable(model: &Model, around: &Around<'_>) -> Option<Move> {
    let wanted = model.wanted()?;
    if model.status.stable_revision.as_deref() == Some(wanted) {
        return None;
    }
    if model.is_rejected(wanted) {
        return Some(Move::Decline);
    }
    (model.latest.is_ok() && !around.busy && !around.held()).then_some(Move::Prepare)
}

fn rolled_back(model: &Model, around: &Around<'_>) -> Option<Move> {
    let wanted = model.wanted()?;
    if model.status.stable_revision.as_deref() == Some(wanted) {
        return Some(Move::Revert);
    }
    let fresh = model.latest.is_ok() && !model.is_rejected(wanted);
    (fresh && !around.busy && !around.held()).then_some(Move::Prepare)
}

fn preparing(model: &Model, around: &Around<'_>) -> Option<Move> {
    let status = &model.status;
    let candidate = status.candidate_revision.as_deref()?;
    let wanted = model.wanted()?;
    if status.stable_revision.as_deref() == Some(wanted) {
        return Some(Move::Revert);
    }
    let Some(canary) = around.canary() else {
        return if status.step.is_some() {
            Some(cancelled(around))
        } else {
            by_itself(model, around, candidate, wanted)
        };
    };
    if wanted != candidate {
        return superseded_early(model, around);
    }
    // A model that began by itself and is now named by a TrafficSplit starts its trial over, with steps.
    let Some(step) = &status.step else { return (!around.held()).then_some(Move::Prepare) };
    if steps::get(canary, 0).is_some_and(|first| first.weight != step.weight) {
        return Some(Move::Reindex { index: 0 });
    }
    let workload = model.workload(candidate);
    let ready = workload.ready >= steps::replicas(canary, 0, model.full_size());
    if !ready {
        return around.over(&step.since, model.spec.progress_deadline).then(|| {
            let why =
                workload.trouble.map_or_else(|| "its pods did not become ready".to_owned(), |t| t.message);
            let message = format!("not ready within {}: {why}", model.spec.progress_deadline);
            Move::Retreat(rollback(Outcome::RolledBack, "ProgressDeadlineExceeded", message, around.now))
        });
    }
    if let Some(refusal) = not_known(model, around, step, candidate) {
        return Some(refusal);
    }
    match &model.judgement.observability {
        Observability::No(_) if step.unobservable_since.is_none() => Some(Move::Observable(false)),
        Observability::Yes if !around.held() && around.is_known(candidate) => Some(Move::Enter),
        _ => None,
    }
}

/// How much longer than the pods the gateway may take to hear of them.
pub const HEARING: Duration = Duration::from_secs(5);

/// The gateway has not taken over the route that names the candidate: it would not take over a weight either.
fn not_known(model: &Model, around: &Around<'_>, step: &StepStatus, candidate: &str) -> Option<Move> {
    let Effective::Unaccepted { message } = around.effective else { return None };
    let deadline = model.spec.progress_deadline;
    let limit = Duration::from_millis(deadline.millis() + HEARING.millis());
    if around.is_known(candidate) || !around.over(&step.since, limit) {
        return None;
    }
    let message = format!("its route was not effective within {deadline}: {message}");
    Some(Move::Retreat(rollback(Outcome::RolledBack, "WeightNotEffective", message, around.now)))
}

/// A newer revision while the candidate has no traffic yet. A rejected one ends the trial, any other takes its place.
fn superseded_early(model: &Model, around: &Around<'_>) -> Option<Move> {
    if model.latest.is_err() {
        return None;
    }
    if model.wanted().is_some_and(|wanted| model.is_rejected(wanted)) {
        return Some(superseded(around));
    }
    (!around.held()).then_some(Move::Prepare)
}

/// Without a `TrafficSplit`: Service `<name>` moves once the revision is ready at full size.
fn by_itself(model: &Model, around: &Around<'_>, candidate: &str, wanted: &str) -> Option<Move> {
    if wanted != candidate {
        return superseded_early(model, around);
    }
    let workload = model.workload(candidate);
    if workload.ready >= model.full_size() {
        return Some(Move::Promote { warm: None, why: "all its replicas are ready" });
    }
    let since = model.status.revisions.iter().find(|r| r.name == candidate).and_then(|r| r.since.as_ref())?;
    around.over(since, model.spec.progress_deadline).then(|| {
        let why = workload.trouble.map_or_else(|| "its pods did not become ready".to_owned(), |t| t.message);
        let message = format!("not ready within {}: {why}", model.spec.progress_deadline);
        Move::Retreat(rollback(Outcome::RolledBack, "ProgressDeadlineExceeded", message, around.now))
    })
}

/// What ends a trial in every phase in which the candidate has weight, most urgent first.
fn trial(model: &Model, around: &Around<'_>) -> Option<Move> {
    let status = &model.status;
    let (Some(split), Some(step)) = (around.split, &status.step) else { return Some(cancelled(around)) };
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
    let begun = step.starts.last().is_some_and(|s| s.index == step.index);
    if wanted != candidate && !(status.phase == Phase::Watching && begun) && model.latest.is_ok() {
        return Some(superseded(around));
    }
    pods_lost(model, around, candidate)
        .or_else(|| not_effective(model, around, step, begun))
        .or_else(|| unobservable(model, around, split, step))
}

/// The candidate has traffic and no pod that could answer it.
fn pods_lost(model: &Model, around: &Around<'_>, candidate: &str) -> Option<Move> {
    let workload = model.workload(candidate);
    // Right after it was made larger nobody has counted yet: a healthy candidate would be taken out at its next step.
    if around.candidate_weight == 0 || workload.ready > 0 || workload.uncounted {
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
    if begun || model.status.phase == Phase::Paused || !around.over(&step.since, deadline) {
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

fn unobservable(model: &Model, around: &Around<'_>, split: &Split, step: &StepStatus) -> Option<Move> {
    match (&model.judgement.observability, &step.unobservable_since) {
        (Observability::No(_), None) => Some(Move::Observable(false)),
        (Observability::Yes, Some(_)) => Some(Move::Observable(true)),
        (Observability::No(why), Some(since)) if around.over(since, split.spec.analysis.hold_budget) => {
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

fn progressing(model: &Model, around: &Around<'_>) -> Option<Move> {
    let (step, canary) = (model.status.step.as_ref()?, around.canary()?);
    if let Some(index) = steps::reindex(canary, step) {
        return Some(Move::Reindex { index });
    }
    let Some(start) = step.starts.last().filter(|s| s.index == step.index) else {
        return begin(model, around);
    };
    let rules = steps::get(canary, step.index)?;
    let no_traffic = step.weight == Percent::ZERO;
    let baked =
        if no_traffic { around.over(&start.since, rules.bake) } else { model.judgement.baked >= rules.bake };
    let proven = no_traffic || model.judgement.pass;
    if baked && proven && around.at_goal && around.effective.is_settled() && !around.held() {
        let approved = !steps::needs_approval(canary, step.index) || step.approvals.contains(&step.index);
        return Some(if approved { Move::Advance } else { Move::Pause(PauseReason::ApprovalMissing) });
    }
    let clock = if step.since.0 > start.since.0 { &step.since } else { &start.since };
    if !around.over(clock, rules.max_duration) || (no_traffic && !baked) {
        return None;
    }
    Some(match around.split?.spec.analysis.on_inconclusive {
        OnInconclusive::Pause => Move::Pause(PauseReason::Inconclusive),
        OnInconclusive::Rollback => {
            let message = format!("still undecided after {} at {}", rules.max_duration, step.weight);
            Move::Retreat(rollback(Outcome::RolledBack, "Inconclusive", message, around.now))
        }
    })
}

/// The step's bake begins when its weight is effective.
fn begin(model: &Model, around: &Around<'_>) -> Option<Move> {
    let step = model.status.step.as_ref()?;
    let Effective::Settled { since } = around.effective else { return None };
    // Never before the step was taken: a route that says the right thing by chance proves nothing yet.
    around.at_goal.then(|| Move::Begin { since: (*since).max(step.since.0) })
}

fn paused(model: &Model, around: &Around<'_>) -> Option<Move> {
    let (step, canary) = (model.status.step.as_ref()?, around.canary()?);
    if step.entered.is_some()
        && let Some(index) = steps::reindex(canary, step)
    {
        return Some(Move::Reindex { index });
    }
    match &model.status.pause {
        Some(Pause { reason: PauseReason::ApprovalMissing, .. }) => {
            let approved = !steps::needs_approval(canary, step.index) || step.approvals.contains(&step.index);
            approved.then_some(Move::Resume)
        }
        _ => None,
    }
}

fn watching(model: &Model, around: &Around<'_>) -> Option<Move> {
    let (step, canary) = (model.status.step.as_ref()?, around.canary()?);
    let begun = step.starts.last().is_some_and(|s| s.index == step.index);
    if !begun {
        return begin(model, around);
    }
    let wanted = model.wanted()?;
    let window = canary.rollback_window;
    if model.latest.is_ok() && Some(wanted) != model.status.candidate_revision.as_deref() {
        let left = Duration::from_millis((window.millis() - model.judgement.baked.millis()).max(0));
        return Some(Move::Promote { warm: Some(left), why: "a newer revision is waiting" });
    }
    let effective = around.at_goal && around.effective.is_settled();
    (effective && model.judgement.baked >= window && !around.held())
        .then_some(Move::Promote { warm: None, why: "it met its SLOs at every step and at 100 %" })
}

/// Done once no proxy may still send the candidate anything and what it had is drained. A newer revision does not wait
/// for a gateway that does not answer: the old candidate goes on draining beside it.
fn rolling_back(model: &Model, around: &Around<'_>) -> Option<Move> {
    let status = &model.status;
    let rollback = status.rollback.as_ref()?;
    if around.candidate_weight > 0 {
        return None;
    }
    let candidate = status.candidate_revision.as_deref();
    let newer = model.latest.is_ok()
        && model.wanted() != candidate
        && model.wanted() != status.stable_revision.as_deref()
        && model.wanted().is_some_and(|w| !model.is_rejected(w));
    let drained = match (around.split, around.effective) {
        (None, _) => around.over(&rollback.since, sizes::DRAIN),
        (Some(split), Effective::Settled { since }) => {
            around.now.duration_since((*since).max(rollback.since.0)) >= sizes::drain(split).signed()
        }
        (Some(_), _) => false,
    };
    (drained || newer).then_some(Move::Settle)
}

fn cancelled(around: &Around<'_>) -> Move {
    let message = "its TrafficSplit was deleted in mid-trial".to_owned();
    Move::Retreat(rollback(Outcome::Cancelled, "TrafficSplitDeleted", message, around.now))
}

fn superseded(around: &Around<'_>) -> Move {
    let message = "a newer revision takes its place".to_owned();
    Move::Retreat(rollback(Outcome::Superseded, "Superseded", message, around.now))
}

fn rollback(outcome: Outcome, reason: &str, message: String, now: Timestamp) -> Rollback {
    let mut message = message;
    crate::api::conditions::truncate(&mut message, 512);
    Rollback { outcome, reason: reason.to_owned(), message, slo: None, since: now.into() }
}
