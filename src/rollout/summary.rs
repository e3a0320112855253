//! What people and GitOps read: one sentence, the conditions, the columns of `kubectl get`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    decide::Around,
    evidence::Observability,
    observed::{Model, Route, Split, StableService},
    shares::Decided,
};
use crate::{
    api::{
        conditions::{
            self, ACCEPTED, PROGRAMMED, PROGRESSING, READY, RECONCILING, RESOLVED_REFS, STALLED, State,
            truncate,
        },
        v1alpha1::{
            BackendStatus, ModelDeploymentStatus, PauseReason, Percent, Phase, RevisionShare, RevisionUse,
            SloStatus, TrafficSplitStatus, VerdictWord,
        },
    },
    revision::{MODEL_LABEL, Refusal},
    route::{Effective, Share, TOTAL},
};

/// Fills in everything of a model's status that follows from the rest of it.
pub fn model(model: &Model, status: &mut ModelDeploymentStatus, around: &Around<'_>) {
    status.observed_generation = model.generation;
    status.selector = format!("{MODEL_LABEL}={}", model.name);
    let serving = [RevisionUse::Stable, RevisionUse::Candidate];
    status.replicas = status.revisions.iter().filter(|r| serving.contains(&r.used)).map(|r| r.replicas).sum();
    analysis(model, status);
    status.message = sentence(model, status, around);
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

/// The verdicts, published when a word changes or the numbers are old: not with every block.
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
    let words = |all: &[SloStatus]| all.iter().map(|s| (s.name.clone(), s.verdict)).collect::<Vec<_>>();
    let moved = model.status.phase != status.phase || model.status.step != status.step;
    if moved || model.judgement.publish || words(&model.judgement.slos) != words(&status.analysis) {
        status.analysis.clone_from(&model.judgement.slos);
    }
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
            "NameTaken",
            format!(
                "a Service {name} exists that is not ours: delete or rename it, or choose another name for this ModelDeployment"
            ),
        );
    }
    State::yes("Accepted", "the spec is valid")
}

fn resolved(refusal: Option<&Refusal>) -> State {
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
    if model.workload(stable).ready > 0 {
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
            let why = rejected.map_or("", |r| r.message.as_str());
            format!(
                "{} was rejected: {why}; {stable} serves. Change the spec, or ask to retry",
                call(&status.latest_revision)
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
    let why = held(around).or_else(|| around.busy.then(|| "another backend is rolling".to_owned()))?;
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
    let begun = step.starts.last().is_some_and(|s| s.index == step.index);
    let state = if begun {
        verdicts(status)
    } else {
        match around.effective {
            Effective::Unaccepted { message } => format!("; its weight is not effective: {message}"),
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

/// Fills in everything of a `TrafficSplit`'s status that follows from the rest.
pub fn split(
    split: &Split,
    decided: &[Decided<'_>],
    route: &[Share],
    effective: &Effective,
    status: &mut TrafficSplitStatus,
    now: Timestamp,
) {
    status.observed_generation = split.generation;
    let live = split.route.live().map(|view| &view.shares);
    status.backends = backends(split, decided, live.unwrap_or(&BTreeMap::new()));
    status.weights = weights(decided, status);
    let generation = split.generation;
    let mut put = |kind, state| conditions::set(&mut status.conditions, kind, state, generation, now);
    let taken = split.route == Route::Taken;
    let accepted = match &split.refused {
        Some(refusal) => State::no(refusal.reason, refusal.message.clone()),
        None if taken => State::no(
            "NameTaken",
            format!(
                "an HTTPRoute {} exists that is not ours: delete or rename it, or choose another name for this TrafficSplit",
                split.name
            ),
        ),
        None => State::yes("Accepted", "the spec is valid"),
    };
    let resolved = resolved(split.unresolved.as_ref());
    let programmed = programmed(split, route, effective);
    let blocked = [&accepted, &resolved].into_iter().find(|s| !s.status).cloned();
    let ready = match (&blocked, live) {
        (Some(state), None) => State::no(state.reason, state.message.clone()),
        (None, None) => State::no("NoRoute", programmed.message.clone()),
        (_, Some(_)) if programmed.status => State::yes("Serving", "the route is programmed and serves"),
        (_, Some(_)) => State::no(programmed.reason, programmed.message.clone()),
    };
    let message = blocked.as_ref().unwrap_or(&ready).message.clone();
    let stalled = blocked.map(|state| State::yes(state.reason, state.message));
    let reconciling =
        (stalled.is_none() && !ready.status).then(|| State::yes("Programming", programmed.message.clone()));
    put(ACCEPTED, Some(accepted));
    put(RESOLVED_REFS, Some(resolved));
    put(PROGRAMMED, Some(programmed));
    put(READY, Some(ready));
    put(RECONCILING, reconciling);
    put(STALLED, stalled);
    status.message = message;
    truncate(&mut status.message, 1024);
}

fn programmed(split: &Split, route: &[Share], effective: &Effective) -> State {
    match (effective, split.route.live()) {
        (_, None) if route.is_empty() => {
            State::no("NothingReady", "no backend is ready yet: the route is made once one is")
        }
        (_, None) => State::no("Pending", "the route is being written"),
        (Effective::Unaccepted { message }, Some(_)) => State::no("NotAccepted", message.clone()),
        (Effective::Waiting { .. }, Some(_)) => State::yes("Propagating", "accepted by every parent"),
        (Effective::Settled { .. }, Some(_)) => {
            State::yes("Programmed", "accepted by every parent and effective")
        }
    }
}

fn backends(split: &Split, decided: &[Decided<'_>], live: &BTreeMap<String, i32>) -> Vec<BackendStatus> {
    let backends = split.spec.backends.iter();
    backends
        .map(|backend| {
            let name = &backend.model_deployment_ref.name;
            let model = decided.iter().find(|(m, _)| m.name == *name);
            let of_model: BTreeMap<String, i32> = live
                .iter()
                .filter(|(revision, _)| {
                    model.is_some_and(|(_, s)| s.revisions.iter().any(|r| r.name == **revision))
                })
                .map(|(revision, weight)| (revision.clone(), *weight))
                .collect();
            BackendStatus {
                name: backend.name.clone().unwrap_or_else(|| name.clone()),
                weight: percent(of_model.values().sum()),
                revisions: revision_shares(&of_model),
            }
        })
        .collect()
}

/// A route's weights as the status shows them, in the order of names.
#[must_use]
pub fn revision_shares(live: &BTreeMap<String, i32>) -> Vec<RevisionShare> {
    live.iter().map(|(name, weight)| RevisionShare { name: name.clone(), weight: percent(*weight) }).collect()
}

/// Of 10 000 as a percentage; a hand-edited route may say anything.
fn percent(weight: i32) -> Percent {
    Percent::from_ppm(weight.clamp(0, TOTAL) * 100).unwrap_or(Percent::ZERO)
}

/// `2.0.0 95%, 2.1.0 5%`: the largest first.
fn weights(decided: &[Decided<'_>], status: &TrafficSplitStatus) -> String {
    let mut all: Vec<&RevisionShare> = status.backends.iter().flat_map(|b| &b.revisions).collect();
    all.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
    let version = |name: &str| {
        let owner = decided.iter().find(|(_, s)| s.revisions.iter().any(|r| r.name == name));
        owner.map(|(m, _)| m.version_of(name)).filter(|v| !v.is_empty()).unwrap_or_else(|| name.to_owned())
    };
    all.iter().map(|s| format!("{} {}", version(&s.name), s.weight)).collect::<Vec<_>>().join(", ")
}
