//! What people and GitOps read on a `ModelDeployment`: one sentence, the conditions, the columns of `kubectl get`.

use super::{
    decide::Around,
    evidence::Observability,
    observed::{Model, StableService},
    steps,
};
use crate::{
    api::{
        conditions::{
            self, ACCEPTED, PROGRESSING, READY, RECONCILING, RESOLVED_REFS, STALLED, State, truncate,
        },
        v1alpha1::{ModelDeploymentStatus, PauseReason, Percent, Phase, RevisionUse, SloStatus, VerdictWord},
    },
    mutant::{Mutant, on},
    revision::{MODEL_LABEL, NAME_TAKEN, Refusal},
    route::{Effective, RouteView},
};

/// Fills in everything of a model's status that follows from the rest of it.
pub fn model(model: &Model, status: &mut ModelDeploymentStatus, around: &Around<'_>) {
    status.observed_generation =
        model.generation - i64::from(on(Mutant::GenerationLags) && model.generation > 1);
    status.selector = format!("{MODEL_LABEL}={}", model.name);
    let serving = [RevisionUse::Stable, RevisionUse::Candidate];
    status.replicas = status.revisions.iter().filter(|r| serving.contains(&r.used)).map(|r| r.replicas).sum();
    analysis(model, status);
    status.message = sentence(model, status, around);
    if on(Mutant::Heartbeat) {
        status.message = around.now.to_string();
    }
    truncate(&mut status.message, 1024);
    let (generation, now) = (model.generation, around.now);
    let mut put = |kind, state| conditions::set(&mut status.conditions, kind, state, generation, now);
    let refusal = model.latest.as_ref().err();
    put(ACCEPTED, Some(accepted(refusal.filter(|r| r.condition == ACCEPTED), model)));
    put(RESOLVED_REFS, Some(resolved(refusal.filter(|r| r.condition == RESOLVED_REFS))));
    let progress = progressing(status);
    conditions::set(&mut status.conditions, PROGRESSING, Some(progress), generation, now);
    let ready = ready(model, status);
    let is_ready = ready.status;
    conditions::set(&mut status.conditions, READY, Some(ready), generation, now);
    let stalled = stalled(model, status);
    let done = is_ready && status.phase == Phase::Stable && status.latest_revision == status.stable_revision;
    let reconciling =
        (stalled.is_none() && !done).then(|| State::yes("RolloutInProgress", status.message.clone()));
    conditions::set(&mut status.conditions, RECONCILING, reconciling, generation, now);
    conditions::set(&mut status.conditions, STALLED, stalled, generation, now);
}

/// The verdicts. Their numbers change with every block: the shell writes them down now and then.
fn analysis(model: &Model, status: &mut ModelDeploymentStatus) {
    let judged =
        matches!(status.phase, Phase::Progressing | Phase::Paused | Phase::Watching | Phase::RollingBack);
    if !judged || (status.phase == Phase::RollingBack && model.judgement.slos.is_empty()) {
        if status.phase != Phase::RollingBack {
            status.analysis.clear();
            status.verdict = None;
        }
        return;
    }
    status.analysis.clone_from(&model.judgement.slos);
    status.verdict = overall(&status.analysis);
}

/// The worst word wins.
fn overall(analysis: &[SloStatus]) -> Option<VerdictWord> {
    let order = [
        VerdictWord::Fail,
        VerdictWord::Unobservable,
        VerdictWord::Shared,
        VerdictWord::Undecided,
        VerdictWord::Pass,
    ];
    order.into_iter().find(|word| analysis.iter().any(|s| s.verdict == *word))
}

fn accepted(refusal: Option<&Refusal>, model: &Model) -> State {
    if let Some(refusal) = refusal {
        return State::no(refusal.reason, refusal.message.clone());
    }
    if model.service == StableService::Taken {
        let name = &model.name;
        return State::no(
            NAME_TAKEN,
            format!(
                "a Service {name} exists that is not ours: delete or rename it, or choose another name for this ModelDeployment"
            ),
        );
    }
    State::yes("Accepted", "the spec is valid")
}

/// Whether everything that a spec names is there.
pub(super) fn resolved(refusal: Option<&Refusal>) -> State {
    refusal.map_or_else(
        || State::yes("ResolvedRefs", "everything that the spec names exists"),
        |refusal| State::no(refusal.reason, refusal.message.clone()),
    )
}

fn progressing(status: &ModelDeploymentStatus) -> State {
    let message = status.message.clone();
    match status.phase {
        Phase::Stable => State::no("Complete", message),
        Phase::RolledBack => State::no("RolledBack", message),
        Phase::Paused => State::no("Paused", message),
        Phase::Pending => State::yes("Starting", message),
        Phase::Preparing => State::yes("Preparing", message),
        Phase::Progressing => State::yes("StepInProgress", message),
        Phase::Watching => State::yes("Watching", message),
        Phase::RollingBack => State::yes("RollingBack", message),
    }
}

/// Whether what should serve does, whatever a rollout is doing.
fn ready(model: &Model, status: &ModelDeploymentStatus) -> State {
    let Some(stable) = &status.stable_revision else {
        return State::no("NothingServes", status.message.clone());
    };
    if model.workload(stable).ready > 0 || on(Mutant::ReadyWhileDown) {
        return State::yes("Serving", format!("revision {stable} serves"));
    }
    let candidate = status.candidate_revision.as_ref().filter(|c| model.workload(c).ready > 0);
    match candidate {
        Some(candidate) if status.phase == Phase::Watching => {
            State::yes("Serving", format!("revision {candidate} serves"))
        }
        _ => State::no("NoHealthyRevision", format!("no pod of the stable revision {stable} is ready")),
    }
}

/// What does not go on without a person.
fn stalled(model: &Model, status: &ModelDeploymentStatus) -> Option<State> {
    if let Err(refusal) = &model.latest {
        return Some(State::yes(refusal.reason, refusal.message.clone()));
    }
    if status.phase == Phase::RolledBack {
        return Some(State::yes("RevisionRejected", status.message.clone()));
    }
    (status.phase == Phase::RollingBack).then(|| State::yes("RollingBack", status.message.clone()))
}

/// What is going on, why, and what comes next.
fn sentence(model: &Model, status: &ModelDeploymentStatus, around: &Around<'_>) -> String {
    let call = |revision: &Option<String>| {
        let revision = revision.as_deref().unwrap_or_default();
        let version = model.version_of(revision);
        if version.is_empty() { revision.to_owned() } else { format!("{version} ({revision})") }
    };
    let (stable, candidate) = (call(&status.stable_revision), call(&status.candidate_revision));
    match status.phase {
        Phase::Pending => pending(model, status, &call(&status.latest_revision)),
        Phase::Stable => waiting(model, status, around).unwrap_or_else(|| format!("{stable} serves")),
        Phase::Preparing => {
            let held = held(around).map(|why| format!(", held: {why}")).unwrap_or_default();
            let why = pods(model, status.candidate_revision.as_deref());
            let metrics = match (&status.step, &model.judgement.observability) {
                (Some(step), Observability::No(why)) if step.unobservable_since.is_some() => {
                    format!("; waiting for measurements: {why}")
                }
                _ => String::new(),
            };
            format!("{candidate} starts without traffic{why}{metrics}{held}; {stable} serves")
        }
        Phase::Progressing => progress(model, status, around, &candidate),
        Phase::Paused => paused(model, status, &candidate),
        Phase::Watching => {
            format!("{candidate} has all traffic and is watched; {stable} is warm{}", verdicts(status))
        }
        Phase::RollingBack => {
            let why = status.rollback.as_ref().map_or("", |r| r.message.as_str());
            let stuck = if around.candidate_weight > 0
                && model.workload(status.stable_revision.as_deref().unwrap_or_default()).ready == 0
            {
                "; waiting for a ready pod of the stable revision"
            } else {
                ""
            };
            format!("{candidate} is taken out, {stable} gets all traffic: {why}{stuck}")
        }
        Phase::RolledBack => {
            let latest = status.latest_revision.as_deref();
            let rejected = status.rejected.iter().find(|r| Some(r.revision.as_str()) == latest);
            let latest = call(&status.latest_revision);
            rejected.map_or_else(
                || format!("{stable} serves; {latest} is to be tried again"),
                |r| {
                    let why = &r.message;
                    format!("{latest} was rejected: {why}; {stable} serves. Change the spec, or ask to retry")
                },
            )
        }
    }
}

/// Why it is paused, and what a person can do.
fn paused(model: &Model, status: &ModelDeploymentStatus, candidate: &str) -> String {
    let why = match status.pause.as_ref().map(|p| p.reason) {
        Some(PauseReason::ApprovalMissing) => {
            let index = status.step.as_ref().map_or(0, |s| s.index);
            let revision = status.candidate_revision.as_deref().unwrap_or_default();
            format!(
                "waits for approval: kubectl annotate mdep {} --overwrite request.seatrial.dev/approve='{{\"revision\":\"{revision}\",\"step\":{index}}}'",
                model.name
            )
        }
        Some(PauseReason::SharedBreach) => {
            "an SLO is broken by the stable revision too: mend what both share, then resume, or abort"
                .to_owned()
        }
        Some(PauseReason::Inconclusive) => "the step is undecided: resume, promote or abort".to_owned(),
        _ => "paused on request: resume, promote or abort".to_owned(),
    };
    format!("{candidate} is held at {}: {why}", held_weight(status))
}

fn pending(model: &Model, status: &ModelDeploymentStatus, latest: &str) -> String {
    if let Err(refusal) = &model.latest {
        return refusal.message.clone();
    }
    if model.service == StableService::Taken {
        return format!("cannot serve: a Service {} exists that is not ours", model.name);
    }
    format!("{latest} starts; nothing serves yet{}", pods(model, status.latest_revision.as_deref()))
}

/// Why a Stable model does not take up its latest revision, if it does not.
fn waiting(model: &Model, status: &ModelDeploymentStatus, around: &Around<'_>) -> Option<String> {
    if let Err(refusal) = &model.latest {
        return Some(format!(
            "{} serves; the new spec cannot run: {}",
            status.stable_revision.as_deref()?,
            refusal.message
        ));
    }
    if status.latest_revision == status.stable_revision {
        return None;
    }
    let latest = status.latest_revision.as_deref()?;
    let parked = || model.is_parked().then(|| "replicas is 0".to_owned());
    let busy = || around.busy.then(|| "another backend is rolling".to_owned());
    let why = held(around).or_else(parked).or_else(busy)?;
    Some(format!("{latest} waits: {why}"))
}

fn held(around: &Around<'_>) -> Option<String> {
    let split = around.split?;
    split
        .refused
        .as_ref()
        .or(split.unresolved.as_ref())
        .map(|r| format!("TrafficSplit {}: {}", split.name, r.message))
}

fn pods(model: &Model, revision: Option<&str>) -> String {
    let Some(revision) = revision else { return String::new() };
    let workload = model.workload(revision);
    match workload.trouble {
        Some(trouble) => format!(": {}", trouble.message),
        None => format!(": {} of {} pods ready", workload.ready, workload.desired),
    }
}

fn progress(model: &Model, status: &ModelDeploymentStatus, around: &Around<'_>, candidate: &str) -> String {
    let Some(step) = &status.step else { return String::new() };
    let state = if steps::effective(step).is_some() {
        verdicts(status)
    } else {
        let refused = around.split.and_then(|s| s.route.live()).is_some_and(RouteView::is_refused);
        match around.effective {
            // With each new weight the gateway is silent for a moment: that is no news.
            Effective::Unaccepted { message } if refused || !around.just_written() => {
                format!("; its weight is not effective: {message}")
            }
            _ => format!(
                "; its weight is not effective yet{}",
                pods(model, status.candidate_revision.as_deref())
            ),
        }
    };
    let held = held(around).map(|why| format!("; held: {why}")).unwrap_or_default();
    format!("{candidate} has {} at step {}{state}{held}", step.weight, step.progress)
}

fn held_weight(status: &ModelDeploymentStatus) -> Percent {
    status.step.as_ref().map_or(Percent::ZERO, |s| if s.starts.is_empty() { Percent::ZERO } else { s.weight })
}

/// The SLOs that are not proven yet, in words without numbers: numbers would change with every block.
fn verdicts(status: &ModelDeploymentStatus) -> String {
    let open: Vec<String> = status
        .analysis
        .iter()
        .filter(|s| s.verdict != VerdictWord::Pass)
        .map(|s| format!("{} {:?}", s.name, s.verdict).to_lowercase())
        .collect();
    if open.is_empty() { String::new() } else { format!("; {}", open.join(", ")) }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
