//! What people and GitOps read on a `TrafficSplit`: the weights, the conditions, one sentence.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    leftover,
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
    status.abandoned_since =
        decided.is_empty().then(|| split.status.abandoned_since.clone().unwrap_or_else(|| now.into()));
    status.leftovers = leftover::told(split, decided.len(), now);
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
    let ready = ready(split, blocked.as_ref(), &programmed, effective);
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

/// Whether requests can be sent. A weight that is on its way changes nothing about that: until the data plane has it, it
/// applies the one before.
fn ready(split: &Split, blocked: Option<&State>, programmed: &State, effective: &Effective) -> State {
    let Some(view) = split.route.live() else {
        let (reason, message) = blocked.map_or(("NoRoute", &programmed.message), |b| (b.reason, &b.message));
        return State::no(reason, message.clone());
    };
    if view.shares.is_empty() {
        return State::no(
            "NoTraffic",
            "the route is made known; its first weights come once every proxy has it",
        );
    }
    if view.is_refused() {
        return State::no(programmed.reason, programmed.message.clone());
    }
    // Who waits for Ready after a change sends requests at once: the last proxy must have it by then.
    let is_new = blocked.is_none() && split.status.observed_generation != split.generation;
    match effective {
        _ if was_ready(split) => State::yes("Serving", "the route serves"),
        Effective::Settled { .. } if is_new => State::no("Programming", "the new spec is being written"),
        Effective::Settled { .. } => State::yes("Serving", "the route serves"),
        Effective::Waiting { .. } => {
            State::no("Propagating", "accepted by every parent; the last proxy may not have it yet")
        }
        Effective::Unaccepted { .. } => State::no(programmed.reason, programmed.message.clone()),
    }
}

/// It was, by this very spec.
fn was_ready(split: &Split) -> bool {
    conditions::get(&split.status.conditions, READY)
        .is_some_and(|c| c.status == "True" && c.observed_generation == Some(split.generation))
}

/// Whether the data plane has taken the route over. That the last proxy has it, too, needs no status of its own: it is said
/// from when on.
fn programmed(split: &Split, route: &[Share], effective: &Effective) -> State {
    match (effective, split.route.live()) {
        (_, None) if route.is_empty() => {
            State::no("NothingReady", "no backend is ready yet: the route is made once one is")
        }
        (_, None) => State::no("Pending", "the route is being written"),
        (Effective::Unaccepted { message }, Some(_)) => State::no("NotAccepted", message.clone()),
        (Effective::Waiting { until: since } | Effective::Settled { since }, Some(_)) => {
            // Whole seconds, rounded up.
            let since = Timestamp::from_second(since.as_second() + 1).unwrap_or(*since);
            State::yes(
                "Programmed",
                format!("accepted by every parent; the last proxy has it from {since} on"),
            )
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
                name: backend.name.as_ref().unwrap_or(name).clone(),
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::route::{Acceptance, RouteView};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn refused() -> Acceptance {
        let (parent, reason) = ("Gateway infra/public".to_owned(), "NotAllowed".to_owned());
        Acceptance::Refused { parent, reason, message: String::new() }
    }

    fn silent() -> Acceptance {
        Acceptance::Pending { parent: "Gateway infra/public".to_owned() }
    }

    /// A TrafficSplit of generation 2 whose status is of generation `seen`, with a route that says `shares`.
    fn observed(shares: &[&str], acceptance: Acceptance, was_ready: bool, seen: i64) -> Split {
        let spec = json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}]}},
            "backends": [{"modelDeploymentRef": {"name": "a"}}],
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
            "strategy": {"canary": {"steps": [{"weight": "10%", "bake": "5s"}]}}
        });
        let mut status = TrafficSplitStatus { observed_generation: seen, ..TrafficSplitStatus::default() };
        let before = if was_ready { State::yes("Serving", "") } else { State::no("NoRoute", "") };
        conditions::set(&mut status.conditions, READY, Some(before), seen, NOW);
        let view = RouteView {
            uid: String::new(),
            generation: 2,
            shares: shares.iter().map(|name| ((*name).to_owned(), TOTAL)).collect(),
            idle: std::collections::BTreeSet::new(),
            acceptance,
        };
        let split = Split::of(serde_json::from_value(spec).unwrap());
        Split { generation: 2, status, route: Route::Live(view), ..split }
    }

    fn told(observed: &Split, effective: &Effective) -> TrafficSplitStatus {
        let mut status = observed.status.clone();
        split(observed, &[], &[], effective, &mut status, NOW);
        status
    }

    fn state(status: &TrafficSplitStatus, kind: &str) -> (String, bool) {
        let condition = conditions::get(&status.conditions, kind).unwrap();
        (condition.reason.clone(), condition.status == "True")
    }

    const SETTLED: Effective = Effective::Settled { since: NOW };
    const WAITING: Effective = Effective::Waiting { until: NOW };

    fn unaccepted() -> Effective {
        Effective::Unaccepted { message: "no".to_owned() }
    }

    #[rstest]
    #[case::made_known_without_weights(observed(&[], Acceptance::Accepted, false, 2), SETTLED, "NoTraffic")]
    #[case::its_first_weights_may_not_be_everywhere(
        observed(&["a-1"], Acceptance::Accepted, false, 2), WAITING, "Propagating")]
    #[case::its_first_weights_are_not_accepted(observed(&["a-1"], silent(), false, 2), unaccepted(), "NotAccepted")]
    #[case::effective(observed(&["a-1"], Acceptance::Accepted, false, 2), SETTLED, "Serving")]
    #[case::later_weights_are_not_yet_accepted(observed(&["a-1"], silent(), true, 2), unaccepted(), "Serving")]
    #[case::later_weights_are_on_their_way(observed(&["a-1"], Acceptance::Accepted, true, 2), WAITING, "Serving")]
    #[case::later_weights_are_refused(observed(&["a-1"], refused(), true, 2), unaccepted(), "NotAccepted")]
    #[case::a_new_spec_is_not_yet_written(observed(&["a-1"], Acceptance::Accepted, true, 1), SETTLED, "Programming")]
    #[case::a_new_spec_is_not_yet_accepted(observed(&["a-1"], silent(), true, 1), unaccepted(), "NotAccepted")]
    #[case::a_new_spec_may_not_be_everywhere(
        observed(&["a-1"], Acceptance::Accepted, true, 1), WAITING, "Propagating")]
    fn ready_means_that_requests_can_be_sent_as_the_spec_says(
        #[case] observed: Split,
        #[case] effective: Effective,
        #[case] reason: &str,
    ) {
        let ready = state(&told(&observed, &effective), READY);
        assert_eq!(ready, (reason.to_owned(), reason == "Serving"));
    }

    #[test]
    fn that_the_last_proxy_has_a_weight_too_is_no_write_of_its_own() {
        let accepted = observed(&["a-1"], Acceptance::Accepted, true, 2);
        let waiting = told(&accepted, &WAITING);
        assert_eq!(state(&waiting, PROGRAMMED), ("Programmed".to_owned(), true));
        assert_eq!(told(&Split { status: waiting.clone(), ..accepted }, &SETTLED), waiting);
    }
}
