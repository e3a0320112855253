//! Which move comes next for one model. Pure and total: the same state and time give the same answer, and the answer
//! never depends on why it was asked.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    evidence::Observability,
    held,
    observed::{Model, Route, Split, StableService},
    phase::Move,
    retreat::{cancelled, rollback, rolling_back, superseded, trial, waits_for_us},
    steps,
};
use crate::{
    api::{
        conditions::{self, PROGRAMMED},
        v1alpha1::{
            Canary, Duration, OnInconclusive, Outcome, Pause, PauseReason, Percent, Phase, StepStatus,
        },
    },
    mutant::{Mutant, on},
    route::Effective,
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
    /// It gives them the last weight that was effective: what a pause holds, and what goes on while the next step waits.
    pub at_granted: bool,
    /// Weight of the candidate in the live route, of 10 000.
    pub candidate_weight: i32,
    /// Another backend of the unit is rolling: one at a time.
    pub busy: bool,
    /// The moment.
    pub now: Timestamp,
    /// Since when this replica leads.
    pub led_since: Timestamp,
}

impl Around<'_> {
    fn canary(&self) -> Option<&Canary> {
        self.split.map(|s| &s.spec.strategy.canary)
    }

    /// Nothing may rise: the spec of the `TrafficSplit` cannot be acted on, or names what is not there, or its route's name
    /// is somebody else's.
    pub(super) fn held(&self) -> bool {
        self.split.is_some_and(|s| s.refused.is_some() || s.unresolved.is_some() || s.route == Route::Taken)
    }

    /// A new revision of `model` is not tried yet: something holds it, another backend rolls, or it is to have no pods.
    fn waits(&self, model: &Model) -> bool {
        self.busy || self.held() || model.is_parked()
    }

    /// The data plane has taken over a route that names this revision: its first request finds it.
    fn is_known(&self, revision: &str) -> bool {
        let view = self.split.and_then(|s| s.route.live());
        self.effective.is_settled()
            && view.is_some_and(|v| v.idle.contains(revision) || v.shares.contains_key(revision))
    }

    /// Since when the live route is effective; `None` while it is not.
    pub(super) const fn settled_since(&self) -> Option<Timestamp> {
        match self.effective {
            Effective::Settled { since } => Some(*since),
            _ => None,
        }
    }

    /// The route was written so short a time ago that the gateway need not have heard of it.
    pub(super) fn just_written(&self) -> bool {
        let Some(split) = self.split.filter(|split| split.route.live().is_some()) else { return false };
        let silent = conditions::false_since(&split.status.conditions, PROGRAMMED);
        silent.is_none_or(|since| !self.over(&MicroTime(since), HEARING))
    }

    pub(super) fn over(&self, since: &MicroTime, length: Duration) -> bool {
        self.now.duration_since(since.0) >= length.signed()
    }

    /// As [`Self::over`], for what a candidate is rejected by: what was to be done before this replica led may never have been
    /// done, and that is not the candidate's fault.
    pub(super) fn overdue(&self, since: &MicroTime, deadline: Duration) -> bool {
        self.over(&MicroTime(since.0.max(self.led_since)), deadline)
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
        Phase::Paused if on(Mutant::PauseNotJudged) => paused(model, around),
        Phase::Watching if on(Mutant::WatchNotJudged) => watching(model, around),
        Phase::Paused => trial(model, around).or_else(|| paused(model, around)),
        Phase::Watching => trial(model, around).or_else(|| watching(model, around)),
        Phase::RollingBack => rolling_back(model, around),
        Phase::RolledBack => rolled_back(model, around),
    }
}

/// Serves once it is ready and, under a `TrafficSplit`, the route to it is effective.
fn pending(model: &Model, around: &Around<'_>) -> Option<Move> {
    if model.serves_already().is_some() {
        return Some(Move::Serve);
    }
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
    let servable = !on(Mutant::BrokenStableBlocks)
        || model.status.stable_revision.as_deref().is_some_and(|s| model.workload(s).ready > 0);
    (model.latest.is_ok() && !around.waits(model) && servable).then_some(Move::Prepare)
}

fn rolled_back(model: &Model, around: &Around<'_>) -> Option<Move> {
    let wanted = model.wanted()?;
    if model.status.stable_revision.as_deref() == Some(wanted) {
        return Some(Move::Revert);
    }
    let fresh = model.latest.is_ok() && !model.is_rejected(wanted);
    fresh.then_some(if around.waits(model) { Move::Await } else { Move::Prepare })
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
            (!on(Mutant::CancelIgnored)).then(|| cancelled(around))
        } else {
            by_itself(model, around, candidate, wanted)
        };
    };
    if model.is_parked() {
        return Some(Move::Await);
    }
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
        let over = around.overdue(&step.since, model.spec.progress_deadline) && !on(Mutant::DeadlineIgnored);
        return over.then(|| {
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
        Observability::Yes if !around.held() && (around.is_known(candidate) || on(Mutant::EnterUnknown)) => {
            (!stable_starts(model, around, step)).then_some(Move::Enter)
        }
        _ => None,
    }
}

/// The model has no traffic yet, and no pod of its stable revision is ready: the rest would go to nobody. One that does not
/// come back in time holds up no newer revision.
fn stable_starts(model: &Model, around: &Around<'_>, step: &StepStatus) -> bool {
    let live = around.split.and_then(|split| split.route.live());
    let routed = live.is_some_and(|view| model.workloads.keys().any(|name| view.shares.contains_key(name)));
    let down = model.status.stable_revision.as_deref().is_some_and(|name| model.workload(name).ready == 0);
    !routed && down && !around.over(&step.since, model.spec.progress_deadline)
}

/// How much longer than the pods the gateway may take to hear of them.
pub const HEARING: Duration = Duration::from_secs(5);

/// The gateway has not taken over the route that names the candidate: it would not take over a weight either.
fn not_known(model: &Model, around: &Around<'_>, step: &StepStatus, candidate: &str) -> Option<Move> {
    let Effective::Unaccepted { message } = around.effective else { return None };
    let deadline = model.spec.progress_deadline;
    let limit = Duration::from_millis(deadline.millis() + HEARING.millis());
    let waits = around.is_known(candidate) || waits_for_us(model, around, step);
    if waits || !around.overdue(&step.since, limit) {
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
    if model.is_parked() {
        return Some(Move::Await);
    }
    if wanted != candidate {
        return superseded_early(model, around);
    }
    let workload = model.workload(candidate);
    if workload.ready >= model.full_size() {
        return Some(Move::Promote { warm: None, why: "all its replicas are ready" });
    }
    let since = model.status.revisions.iter().find(|r| r.name == candidate).and_then(|r| r.since.as_ref())?;
    around.overdue(since, model.spec.progress_deadline).then(|| {
        let why = workload.trouble.map_or_else(|| "its pods did not become ready".to_owned(), |t| t.message);
        let message = format!("not ready within {}: {why}", model.spec.progress_deadline);
        Move::Retreat(rollback(Outcome::RolledBack, "ProgressDeadlineExceeded", message, around.now))
    })
}

fn progressing(model: &Model, around: &Around<'_>) -> Option<Move> {
    let (step, canary) = (model.status.step.as_ref()?, around.canary()?);
    if let Some(index) = steps::reindex(canary, step) {
        return Some(Move::Reindex { index });
    }
    if let Some(interruption) = interrupted(step, around) {
        return Some(interruption);
    }
    let Some(began) = steps::began(step) else {
        return begin(model, around).or_else(|| held::next_move(step, around));
    };
    let effective = steps::effective(step);
    if effective.is_none()
        && let Some(begin) = begin(model, around)
    {
        return Some(begin);
    }
    let rules = steps::get(canary, step.index)?;
    let no_traffic = step.weight == Percent::ZERO;
    let baked = if no_traffic {
        effective.is_some_and(|start| around.over(&start.since, rules.bake))
    } else {
        model.judgement.baked >= rules.bake
    };
    let baked = baked || on(Mutant::BakeIgnored);
    // Without traffic there is nothing to prove.
    let proven = no_traffic || model.judgement.pass || on(Mutant::UndecidedPasses);
    if baked
        && proven
        && measurable(model, step)
        && around.at_goal
        && around.effective.is_settled()
        && !around.held()
    {
        let approved = !steps::needs_approval(canary, step.index)
            || step.approvals.contains(&step.index)
            || on(Mutant::ApprovalIgnored);
        return Some(if approved { Move::Advance } else { Move::Pause(PauseReason::ApprovalMissing) });
    }
    let clock = if step.since.0 > began.since.0 { &step.since } else { &began.since };
    // Whoever has just begun to lead has not heard yet what was proven before.
    let unheard = model.judgement.observability == Observability::Unknown && !no_traffic;
    if unheard || !around.over(clock, rules.max_duration) || (no_traffic && !baked) {
        return None;
    }
    Some(match around.split?.spec.analysis.on_inconclusive {
        _ if on(Mutant::MaxDurationPasses) => Move::Advance,
        OnInconclusive::Pause => Move::Pause(PauseReason::Inconclusive),
        OnInconclusive::Rollback => {
            let message = format!("still undecided after {} at {}", rules.max_duration, step.weight);
            Move::Retreat(rollback(Outcome::RolledBack, "Inconclusive", message, around.now))
        }
    })
}

/// What follows could be measured: whatever was found out before, a leader that is new asks for all of it anew.
fn measurable(model: &Model, step: &StepStatus) -> bool {
    match model.judgement.observability {
        Observability::Yes => true,
        Observability::Unknown => step.unobservable_since.is_none(),
        Observability::No(_) => false,
    }
}

/// The step's bake begins when its weight is effective.
fn begin(model: &Model, around: &Around<'_>) -> Option<Move> {
    let step = model.status.step.as_ref()?;
    let since = around.settled_since()?;
    // Never before the step was taken: a route that says the right thing by chance proves nothing yet.
    let earliest =
        step.starts.last().and_then(|s| s.until.as_ref()).map_or(step.since.0, |u| u.0.max(step.since.0));
    // Without a weight the route said so before: it begins when the step is seen to be on record.
    let earliest = if step.weight == Percent::ZERO { around.now } else { earliest };
    around.at_goal.then(|| Move::Begin { since: since.max(earliest) })
}

/// So many beginnings are remembered of the steps before and of interruptions; the present and all coming steps add one each.
pub(super) const BEGINNINGS: usize = 50;

/// The route gives the candidate something else than its step by now.
fn interrupted(step: &StepStatus, around: &Around<'_>) -> Option<Move> {
    let interrupted = !around.at_goal && steps::effective(step).is_some();
    (interrupted && step.starts.len() < BEGINNINGS).then_some(Move::Interrupt)
}

fn paused(model: &Model, around: &Around<'_>) -> Option<Move> {
    let (step, canary) = (model.status.step.as_ref()?, around.canary()?);
    if step.entered.is_some()
        && let Some(index) = steps::reindex(canary, step)
    {
        return Some(Move::Reindex { index });
    }
    if let Some(interruption) = interrupted(step, around) {
        return Some(interruption);
    }
    let waits = matches!(&model.status.pause, Some(Pause { reason: PauseReason::ApprovalMissing, .. }));
    let approved = !steps::needs_approval(canary, step.index) || step.approvals.contains(&step.index);
    if waits && approved {
        return Some(Move::Resume);
    }
    held::next_move(step, around)
}

fn watching(model: &Model, around: &Around<'_>) -> Option<Move> {
    let (step, canary) = (model.status.step.as_ref()?, around.canary()?);
    if let Some(interruption) = interrupted(step, around) {
        return Some(interruption);
    }
    if steps::began(step).is_none() {
        return begin(model, around).or_else(|| held::next_move(step, around));
    }
    let wanted = model.wanted()?;
    let window = canary.rollback_window;
    if model.latest.is_ok() && Some(wanted) != model.status.candidate_revision.as_deref() {
        let left = Duration::from_millis((window.millis() - model.judgement.baked.millis()).max(0));
        return Some(Move::Promote { warm: Some(left), why: "a newer revision is waiting" });
    }
    if steps::effective(step).is_none() {
        return begin(model, around);
    }
    let effective = around.at_goal && around.effective.is_settled();
    let baked = model.judgement.baked >= window || on(Mutant::WindowIgnored);
    (effective && baked && measurable(model, step) && !around.held())
        .then_some(Move::Promote { warm: None, why: "it met its SLOs at every step and at 100 %" })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all_the_time(0, 60, true)]
    #[case::not_quite(0, 59, false)]
    #[case::since_a_moment_ago(100, 159, false)]
    #[case::long_enough_again(100, 160, true)]
    fn a_deadline_runs_while_somebody_leads(#[case] led_since: i64, #[case] now: i64, #[case] over: bool) {
        let second = |second| Timestamp::from_second(second).unwrap();
        let around = Around {
            split: None,
            effective: &Effective::Settled { since: Timestamp::MIN },
            at_goal: false,
            at_granted: false,
            candidate_weight: 0,
            busy: false,
            now: second(now),
            led_since: second(led_since),
        };
        assert_eq!(around.overdue(&MicroTime(second(0)), Duration::from_secs(60)), over);
    }
}
