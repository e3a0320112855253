//! A `TrafficSplit` that yields to an older one, which names one of its models too: it is refused as a whole, and nothing is
//! tried on its route. What that carries goes on: parents, hosts, matches and how much each model gets stay as they live,
//! and within a model the traffic follows its stable revision; what a deleted model has left gives its share to the others,
//! if there are any. So no candidate that was taken out, no revision that was replaced and nothing that a deleted model has
//! left keeps its pods for as long as the conflict lasts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    leftover,
    observed::{Model, Observed, Split},
    phase,
    plan::{self, Plan, Write},
    shares::{Decided, share},
    sizes,
};
use crate::{
    api::{
        conditions::{self, PROGRAMMED, State},
        v1alpha1::{Duration, Percent},
    },
    revision::Refusal,
    route::{self, Effective, Share},
};

/// How often is looked whether a model can take its traffic over.
const RECHECK: Duration = Duration::from_secs(10);

/// Plans a `TrafficSplit` that is refused for `conflict`. Total, as [`plan::plan`]; nothing without a `TrafficSplit`.
pub fn plan(observed: &Observed, conflict: Refusal, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(split) = &observed.split else { return plan };
    let split = &Split { refused: Some(conflict), frozen: true, ..split.clone() };
    let models = &observed.models;
    let effective = plan::effective(Some(split), now);

    let follows = follow(split, models, &effective, now);
    plan.urgent = follows.takes_out;
    plan.writes.extend(follows.route.map(Write::Route));
    plan.writes.extend(leftover::gone(split, models, &effective, now));
    let deletes = |write: &Write| !matches!(write, Write::Route(_));
    plan.confirm = (follows.raises && !plan.urgent) || plan.writes.iter().any(deletes);
    plan.keeps_parents = true;

    let decided: Vec<Decided<'_>> = models.iter().map(|model| (model, &model.status)).collect();
    let mut status = plan::split_status(split, &decided, &[], &effective, now);
    if split.route.live().is_none() {
        let no = split.refused.as_ref().map(|refusal| State::no(refusal.reason, refusal.message.clone()));
        conditions::set(&mut status.conditions, PROGRAMMED, no, split.generation, now);
    }
    let first = leftover::returned(&split.status, &status) && !plan.urgent;
    plan.writes.insert(if first { 0 } else { plan.writes.len() }, Write::SplitStatus);
    plan.split = Some(status);

    let mut due: Vec<Timestamp> = leftover::due(split, models, &effective, now).collect();
    match &effective {
        Effective::Waiting { until } => due.push(*until),
        Effective::Settled { .. } if follows.at_rest && split.leftovers.is_empty() => {}
        Effective::Settled { since } => due.extend(since.checked_add(sizes::drain(split).signed()).ok()),
        Effective::Unaccepted { .. } => {}
    }
    due.extend(now.checked_add(RECHECK.signed()).ok().filter(|_| !follows.at_rest));
    plan.next = due.into_iter().filter(|at| *at > now).min();
    plan
}

/// What the route should say.
#[derive(Default)]
struct Follows {
    /// All that it should name; `None`: what it says already.
    route: Option<Vec<Share>>,
    /// A weight rises.
    raises: bool,
    /// That of a candidate falls which is to have none any more: a rollback, which waits for nothing.
    takes_out: bool,
    /// All traffic is where it should be, and nothing else is named.
    at_rest: bool,
}

fn follow(split: &Split, models: &[Model], effective: &Effective, now: Timestamp) -> Follows {
    let Some(view) = split.route.live() else { return Follows { at_rest: true, ..Follows::default() } };
    let mut weights = view.shares.clone();
    let mut idle: BTreeSet<String> = view.idle.clone();
    let mut follows = Follows { at_rest: true, ..Follows::default() };
    let drained = matches!(effective, Effective::Settled { since }
        if now.duration_since(*since) >= sizes::drain(split).signed());
    // Nor what is there no more: a route that names it is refused as a whole. A stable revision waits for a rollback.
    let stable = |name: &String| models.iter().any(|m| m.status.stable_revision.as_ref() == Some(name));
    idle.retain(|name| (!drained || stable(name)) && !split.broken.contains(name));
    for model in models {
        let Some(stable) = &model.status.stable_revision else { continue };
        for (revision, weight) in view.shares.iter().filter(|(r, _)| *r != stable && model.has(r)) {
            follows.at_rest = false;
            if !may_leave(model, stable, revision) {
                continue;
            }
            let waits = effective.is_settled() && view.idle.contains(stable);
            let candidate = model.status.candidate_revision.as_ref() == Some(revision);
            // While a candidate has everything, the stable revision waits on the route for a rollback: that is known already.
            let known = view.shares.contains_key(stable) || (candidate && view.idle.contains(stable));
            // With its Service gone it serves nobody, and no Gateway takes over a route that names it.
            let at_once = known || split.broken.contains(revision);
            if at_once || waits {
                weights.remove(revision);
                *weights.entry(stable.clone()).or_default() += weight;
                idle.extend(Some(revision.clone()).filter(|name| !split.broken.contains(name)));
                follows.raises = true;
                follows.takes_out |= candidate;
            } else {
                // Make before break: every proxy knows it before its first request.
                idle.insert(stable.clone());
            }
        }
    }
    for revision in view.shares.keys().filter(|name| is_ownerless(name, split, models)) {
        follows.at_rest = false;
        if pass_on(revision, &mut weights, models) {
            idle.extend((!split.broken.contains(revision)).then(|| revision.clone()));
            follows.raises = true;
        }
    }
    idle.retain(|name| !weights.contains_key(name));
    if weights.is_empty() && idle.is_empty() {
        // It cannot be without a name: that of who is sent to next, so that nobody waits for it to be forgotten.
        idle.extend(models.iter().find_map(|model| model.status.stable_revision.clone()));
    }
    follows.at_rest &= idle.is_empty() || (weights.is_empty() && drained);
    if (&weights, &idle) != (&view.shares, &view.idle) {
        let all = weights.into_iter().chain(idle.into_iter().map(|name| (name, 0)));
        let share = |(revision, weight)| share(split, models.iter(), revision, weight);
        follows.route = Some(all.map(share).collect());
    }
    follows
}

/// Whether a revision's model was deleted; what that has left may be left to another `TrafficSplit`, the one that has the model.
fn is_ownerless(revision: &str, split: &Split, models: &[Model]) -> bool {
    let of_missing = || revision.rsplit_once('-').is_some_and(|(model, _)| split.missing.contains(model));
    let left = || split.leftovers.iter().any(|left| left.revision == revision);
    !models.iter().any(|model| model.has(revision)) && (of_missing() || left())
}

/// Divides the share of a revision whose model was deleted among the others of the route, in proportion; not as long as one
/// of them has no pod ready. Whether it did.
fn pass_on(revision: &str, weights: &mut BTreeMap<String, i32>, models: &[Model]) -> bool {
    let ready = |name: &String| {
        models.iter().any(|m| m.workloads.get(name).is_some_and(|workload| workload.ready > 0))
    };
    let others: Vec<String> = weights.keys().filter(|name| *name != revision).cloned().collect();
    if others.is_empty() || !others.iter().all(ready) {
        return false;
    }
    let parts: Vec<i64> = others.iter().map(|name| i64::from(weights[name])).collect();
    *weights = others.into_iter().zip(route::apportion(&parts, route::TOTAL)).collect();
    true
}

/// Whether the stable revision can take over what `revision` has: never less than that could serve, and full size for all
/// but a candidate. One that is on trial keeps what it has.
fn may_leave(model: &Model, stable: &str, revision: &str) -> bool {
    let ready = model.workload(stable).ready;
    let enough = ready > 0 && ready >= model.full_size();
    if model.status.candidate_revision.as_deref() != Some(revision) {
        return enough;
    }
    let on_trial = phase::weight(model.status.phase, Percent::ALL, Percent::ALL) > Percent::ZERO;
    !on_trial && (enough || (ready > 0 && ready >= model.workload(revision).ready))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        api::v1alpha1::ModelDeploymentStatus,
        rollout::{
            evidence::Judgement,
            leftover::Leftover,
            observed::{Latest, Route, StableService, Workload},
        },
        route::{Acceptance, RouteView},
    };

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    /// Model "a" with a stable revision "a-2" that has `ready` of 2 pods; the route with what it sends to and what it names.
    fn unit(phase: &str, ready: i32, shares: &[(&str, i32)], idle: &[&str]) -> Observed {
        let spec = json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}], "timeouts": {"request": "5s"}}},
            "backends": [{"modelDeploymentRef": {"name": "a"}}],
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
            "strategy": {"canary": {"steps": [{"weight": "10%", "bake": "5s"}]}}
        });
        let view = RouteView {
            uid: String::new(),
            generation: 3,
            shares: shares.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect(),
            idle: idle.iter().map(|name| (*name).to_owned()).collect(),
            acceptance: Acceptance::Accepted,
        };
        let status: ModelDeploymentStatus = serde_json::from_value(json!({
            "phase": phase, "attempt": 1, "stableRevision": "a-2", "candidateRevision": "a-3",
        }))
        .unwrap();
        let workload = |ready| Workload { desired: 2, ready, ..Workload::default() };
        let model = Model {
            name: "a".to_owned(),
            generation: 1,
            spec: serde_json::from_value(json!({"model": {"version": "2"}, "replicas": 2})).unwrap(),
            status,
            latest: Ok(Latest { revision: "a-3".to_owned(), version: "3".to_owned() }),
            workloads: [("a-1", 2), ("a-2", ready), ("a-3", 1)]
                .map(|(name, ready)| (name.to_owned(), workload(ready)))
                .into(),
            elsewhere: BTreeSet::new(),
            service: StableService::On("a-2".to_owned()),
            requests: vec![],
            judgement: Judgement::default(),
        };
        let split = Split {
            name: "later".to_owned(),
            route: Route::Live(view),
            ..Split::of(serde_json::from_value(spec).unwrap())
        };
        Observed { split: Some(split), models: vec![model], led_since: Timestamp::MIN }
    }

    fn conflict() -> Refusal {
        Refusal { condition: "Accepted", reason: "Conflict", message: "an older one".to_owned() }
    }

    /// The same unit `seconds` after its route was first seen to be accepted.
    fn settled(observed: &Observed, seconds: i64) -> Plan {
        let mut observed = observed.clone();
        let first = plan(&observed, conflict(), now() - jiff::SignedDuration::from_secs(seconds));
        observed.split.as_mut().unwrap().status = first.split.unwrap();
        plan(&observed, conflict(), now())
    }

    fn route(plan: &Plan) -> Option<Vec<(&str, i32)>> {
        plan.writes.iter().find_map(|write| match write {
            Write::Route(shares) => Some(shares.iter().map(|s| (s.revision.as_str(), s.weight)).collect()),
            _ => None,
        })
    }

    #[rstest]
    #[case::it_is_there("Stable", 2, &[("a-2", 10_000)], &[], 3, None)]
    #[case::replaced_and_not_yet_known("Stable", 2, &[("a-1", 10_000)], &[], 3, Some(&[("a-1", 10_000), ("a-2", 0)][..]))]
    #[case::being_made_known("Stable", 2, &[("a-1", 10_000)], &["a-2"], 1, None)]
    #[case::replaced("Stable", 2, &[("a-1", 10_000)], &["a-2"], 3, Some(&[("a-2", 10_000), ("a-1", 0)][..]))]
    #[case::drained("Stable", 2, &[("a-2", 10_000)], &["a-1"], 8, Some(&[("a-2", 10_000)][..]))]
    #[case::still_draining("Stable", 2, &[("a-2", 10_000)], &["a-1"], 6, None)]
    #[case::not_at_full_size("Stable", 1, &[("a-1", 10_000)], &["a-2"], 3, None)]
    #[case::on_trial("Progressing", 2, &[("a-2", 9000), ("a-3", 1000)], &[], 3, None)]
    #[case::taken_out("RollingBack", 1, &[("a-2", 9000), ("a-3", 1000)], &[], 3, Some(&[("a-2", 10_000), ("a-3", 0)][..]))]
    #[case::taken_out_of_the_watch("RollingBack", 2, &[("a-3", 10_000)], &["a-2"], 1, Some(&[("a-2", 10_000), ("a-3", 0)][..]))]
    #[case::taken_out_and_nobody_else_ready("RollingBack", 0, &[("a-2", 9000), ("a-3", 1000)], &[], 3, None)]
    #[case::of_another_model("Stable", 2, &[("b-1", 4000), ("a-1", 6000)], &["a-2"], 3, Some(&[("a-2", 6000), ("b-1", 4000), ("a-1", 0)][..]))]
    fn its_traffic_follows_the_stable_revision(
        #[case] phase: &str,
        #[case] ready: i32,
        #[case] shares: &[(&str, i32)],
        #[case] idle: &[&str],
        #[case] settled_for: i64,
        #[case] expected: Option<&[(&str, i32)]>,
    ) {
        let plan = settled(&unit(phase, ready, shares, idle), settled_for);
        assert_eq!(route(&plan), expected.map(<[_]>::to_vec));
        let rises = expected.is_some_and(|e| e.iter().any(|share| share.1 > 0 && !shares.contains(share)));
        assert_eq!(
            (plan.confirm, plan.urgent),
            (rises && phase == "Stable", phase == "RollingBack" && rises)
        );
        assert!(plan.keeps_parents);
    }

    #[test]
    fn it_names_nothing_without_a_service() {
        let mut observed = unit("Stable", 2, &[("a-2", 10_000)], &["a-0", "a-1"]);
        observed.split.as_mut().unwrap().broken.insert("a-0".to_owned());
        assert_eq!(route(&settled(&observed, 0)), Some(vec![("a-2", 10_000), ("a-1", 0)]));
        let mut observed = unit("Stable", 2, &[("a-0", 10_000)], &[]);
        observed.split.as_mut().unwrap().broken.insert("a-0".to_owned());
        assert_eq!(route(&settled(&observed, 0)), Some(vec![("a-2", 10_000)]));
    }

    /// A route cannot be without a name.
    #[rstest]
    #[case::proxies_may_not_have_forgotten(6, &["a-1"], None, false)]
    #[case::that_of_who_is_sent_to_next(8, &["a-1"], Some(&[("a-2", 0)][..]), true)]
    #[case::it_is_there(8, &["a-2"], None, true)]
    fn one_that_sends_nobody_anywhere_names_the_stable_revision(
        #[case] settled_for: i64,
        #[case] idle: &[&str],
        #[case] expected: Option<&[(&str, i32)]>,
        #[case] rests: bool,
    ) {
        let plan = settled(&unit("Stable", 2, &[], idle), settled_for);
        assert_eq!(route(&plan), expected.map(<[_]>::to_vec));
        assert_eq!(plan.next.is_none(), rests);
    }

    #[test]
    fn it_says_what_it_yields_to_and_what_its_route_carries() {
        let plan = settled(&unit("Stable", 2, &[("a-2", 10_000)], &[]), 3);
        let status = plan.split.unwrap();
        let of = |kind: &str| conditions::get(&status.conditions, kind).map(|c| c.reason.as_str());
        assert_eq!(
            (of("Accepted"), of("Stalled"), of("ResolvedRefs")),
            (Some("Conflict"), Some("Conflict"), Some("ResolvedRefs"))
        );
        assert_eq!(status.message, "an older one");
        assert_eq!(plan.next, None, "nothing is left to be done");
    }

    #[rstest]
    #[case::its_share_goes_to_the_others(&[("b-1", 4000), ("a-2", 5400), ("a-3", 600)], 2, Some(&[("a-2", 9000), ("a-3", 1000), ("b-1", 0)][..]))]
    #[case::one_of_them_is_down(&[("b-1", 4000), ("a-2", 6000)], 0, None)]
    #[case::there_is_nobody_else(&[("b-1", 10_000)], 2, None)]
    #[case::one_is_of_a_model_that_is_not_known_here(&[("b-1", 4000), ("c-1", 6000)], 2, None)]
    fn what_a_deleted_model_has_left_hands_its_share_on(
        #[case] shares: &[(&str, i32)],
        #[case] ready: i32,
        #[case] expected: Option<&[(&str, i32)]>,
    ) {
        let mut observed = unit("Progressing", ready, shares, &[]);
        let left = |revision: &str| Leftover {
            revision: revision.to_owned(),
            version: "1".to_owned(),
            runs: true,
            serves: true,
            led_by: None,
        };
        observed.split.as_mut().unwrap().leftovers = vec![left("b-1")];
        let plan = settled(&observed, 3);
        assert_eq!(route(&plan), expected.map(<[_]>::to_vec));
        assert_eq!(plan.confirm, expected.is_some(), "a weight that rises is written after live reads");
    }

    /// The one that has the model keeps what it has left.
    #[rstest]
    #[case::its_model_is_missing("b", Some(&[("a-2", 10_000), ("b-1", 0)][..]))]
    #[case::another_one_is("c", None)]
    fn what_is_left_to_another_hands_its_share_on_too(
        #[case] missing: &str,
        #[case] expected: Option<&[(&str, i32)]>,
    ) {
        let mut observed = unit("Stable", 2, &[("b-1", 4000), ("a-2", 6000)], &[]);
        observed.split.as_mut().unwrap().missing.insert(missing.to_owned());
        assert_eq!(route(&settled(&observed, 3)), expected.map(<[_]>::to_vec));
    }

    #[test]
    fn what_a_deleted_model_has_left_ends_once_no_request_can_be_under_way() {
        let mut observed = unit("Stable", 2, &[("b-1", 10_000)], &[]);
        let split = observed.split.as_mut().unwrap();
        split.unresolved = Some(Refusal {
            condition: "ResolvedRefs",
            reason: "ModelDeploymentNotFound",
            message: String::new(),
        });
        split.leftovers = vec![Leftover {
            revision: "b-1".to_owned(),
            version: "1".to_owned(),
            runs: true,
            serves: true,
            led_by: None,
        }];
        let ends =
            |plan: &Plan| plan.writes.contains(&Write::DeleteDeployment { revision: "b-1".to_owned() });
        assert!(!ends(&settled(&observed, 7)), "it is still sent to");
        observed.models.clear();
        observed.split.as_mut().unwrap().missing.insert("a".to_owned());
        assert!(!ends(&settled(&observed, 4)), "its requests may take 5 s");
        let plan = settled(&observed, 7);
        assert!(ends(&plan) && plan.confirm);
    }
}
