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
    status.backends = backends(split, decided, live.unwrap_or(&BTreeMap::new()), now);
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
        (_, Some(shares)) if shares.is_empty() => {
            State::no("NoTraffic", "the route is made known; its first weights come once every proxy has it")
        }
        (_, Some(_)) if !programmed.status => State::no(programmed.reason, programmed.message.clone()),
        // Who waits for Ready sends requests at once: the last proxy must have the route by then.
        (_, Some(_)) if effective.is_settled() || was_ready(split) => {
            State::yes("Serving", "the route is programmed and serves")
        }
        (_, Some(_)) => {
            State::no("Propagating", "accepted by every parent; the last proxy may not have it yet")
        }
    };
    let message = blocked.as_ref().unwrap_or(&ready).message.clone();
    let stalled = blocked.map(|state| State::yes(state.reason, state.message));
    let reconciling =
        (stalled.is_none() && !ready.status).then(|| State::yes("Programming", ready.message.clone()));
    put(ACCEPTED, Some(accepted));
    put(RESOLVED_REFS, Some(resolved));
    put(PROGRAMMED, Some(programmed));
    put(READY, Some(ready));
    put(RECONCILING, reconciling);
    put(STALLED, stalled);
    status.message = message;
    truncate(&mut status.message, 1024);
}

fn was_ready(split: &Split) -> bool {
    split.status.conditions.iter().any(|c| c.type_ == READY && c.status == "True")
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

fn backends(
    split: &Split,
    decided: &[Decided<'_>],
    live: &BTreeMap<String, i32>,
    now: Timestamp,
) -> Vec<BackendStatus> {
    let backends = split.spec.backends.iter();
    let told = |name: &str| split.status.backends.iter().find(|b| b.name == name)?.missing_since.clone();
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
            let missing = split.missing.contains(name);
            let name = backend.name.as_ref().unwrap_or(name);
            BackendStatus {
                name: name.clone(),
                weight: percent(of_model.values().sum()),
                revisions: revision_shares(&of_model),
                missing_since: missing.then(|| told(name).unwrap_or_else(|| now.into())),
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::route::{Acceptance, RouteView};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[rstest]
    #[case::made_known_without_weights(&[], Effective::Settled { since: NOW }, false, "NoTraffic")]
    #[case::its_first_weights_may_not_be_everywhere(&["a-1"], Effective::Waiting { until: NOW }, false, "Propagating")]
    #[case::effective(&["a-1"], Effective::Settled { since: NOW }, false, "Serving")]
    #[case::later_weights_are_on_their_way(&["a-1"], Effective::Waiting { until: NOW }, true, "Serving")]
    #[case::not_accepted(&["a-1"], Effective::Unaccepted { message: "no".to_owned() }, true, "NotAccepted")]
    fn ready_means_that_requests_can_be_sent(
        #[case] shares: &[&str],
        #[case] effective: Effective,
        #[case] was_ready: bool,
        #[case] reason: &str,
    ) {
        let spec = json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
            "backends": [{"modelDeploymentRef": {"name": "a"}}],
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
            "strategy": {"canary": {"steps": [{"weight": "10%", "bake": "5s"}]}}
        });
        let mut status = TrafficSplitStatus::default();
        let before = if was_ready { State::yes("Serving", "") } else { State::no("NoRoute", "") };
        conditions::set(&mut status.conditions, READY, Some(before), 1, NOW);
        let view = RouteView {
            uid: String::new(),
            generation: 2,
            shares: shares.iter().map(|name| ((*name).to_owned(), TOTAL)).collect(),
            idle: std::collections::BTreeSet::new(),
            acceptance: Acceptance::Accepted,
        };
        let observed = Split {
            status: status.clone(),
            route: Route::Live(view),
            ..Split::of(serde_json::from_value(spec).unwrap())
        };
        split(&observed, &[], &[], &effective, &mut status, NOW);
        let ready = status.conditions.iter().find(|c| c.type_ == READY).unwrap();
        assert_eq!((ready.reason.as_str(), ready.status == "True"), (reason, reason == "Serving"));
    }
}
