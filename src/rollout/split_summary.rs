//! What people and GitOps read on a `TrafficSplit`: the weights, the conditions, one sentence.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    observed::{Route, Split},
    shares::Decided,
    summary::resolved,
};
use crate::{
    api::{
        conditions::{
            self, ACCEPTED, PROGRAMMED, READY, RECONCILING, RESOLVED_REFS, STALLED, State, truncate,
        },
        v1alpha1::{BackendStatus, Percent, RevisionShare, TrafficSplitStatus},
    },
    revision::NAME_TAKEN,
    route::{Effective, Share, TOTAL},
};

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
            NAME_TAKEN,
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
