//! What is left of a backend whose `ModelDeployment` was deleted: its share leaves the route at once, what proxies may
//! still send to goes last.
//!
//! Its pods and its Service are kept by the `TrafficSplit`'s ownership (`workload::service`), the Service named in the idle
//! rule until the route without its share is effective and its requests are done; then both are deleted. Garbage
//! collection alone would end the pods before the last proxy knows. A `ModelDeployment` of the same name that asks for the
//! same revision takes them over; one that asks for another gets the traffic once it is ready.
//!
//! Where no model is left at all, nobody can take the traffic over: the pods go on for as long as a request may take (so
//! that `kubectl replace --force` harms nobody), then they end, as their owner was told to. The route and the Service stay
//! for a model that comes back.

use jiff::Timestamp;

use super::{
    observed::{Model, Split},
    plan::Write,
    sizes,
};
use crate::{
    api::conditions::{self, ACCEPTED, RESOLVED_REFS},
    api::v1alpha1::{Backend, TrafficSplitStatus},
    route::{Effective, RouteView, Share},
};

/// A revision without its `ModelDeployment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The revision, which is also the Service's name.
    pub revision: String,
    /// What people call it.
    pub version: String,
    /// The model that it was of.
    pub model: String,
    /// It has a Deployment.
    pub runs: bool,
    /// It has a Service: somebody may have deleted that, and a route that names it is refused as a whole.
    pub serves: bool,
    /// The route of another `TrafficSplit` names it, too: one that yields.
    pub elsewhere: bool,
}

/// Leftovers that the route goes on to name, without traffic: those that it names and that can and may still be sent to.
pub fn idle<'a>(
    split: &'a Split,
    effective: &'a Effective,
    now: Timestamp,
) -> impl Iterator<Item = Share> + 'a {
    let named = |view: &RouteView, name: &str| view.shares.contains_key(name) || view.idle.contains(name);
    split
        .leftovers
        .iter()
        .filter(move |left| left.serves && split.route.live().is_some_and(|view| named(view, &left.revision)))
        .filter(move |left| !is_drained(split, &left.revision, effective, now))
        .map(|left| Share { revision: left.revision.clone(), version: left.version.clone(), weight: 0 })
}

/// What the live route names that is neither a model's nor left to this `TrafficSplit`: of models that the spec names no more,
/// or what a deleted model of the same name has left to another one. It goes on to be named, without traffic, until the last
/// proxy has forgotten what it sent there: by that whoever has those models now sees that they may still be sent to.
pub fn departed<'a>(
    split: &'a Split,
    models: &'a [&'a Model],
    effective: &'a Effective,
    now: Timestamp,
) -> impl Iterator<Item = Share> + 'a {
    let named = split.route.live().into_iter().flat_map(|view| view.shares.keys().chain(&view.idle));
    let left = |name: &str| split.leftovers.iter().any(|left| left.revision == name);
    named
        .filter(move |name| !models.iter().any(|model| model.workloads.contains_key(*name)) && !left(name))
        .filter(|name| !split.broken.contains(*name))
        .filter(move |name| !is_drained(split, name, effective, now))
        .map(|name| Share { revision: name.clone(), version: String::new(), weight: 0 })
}

/// When time alone changes something about what is left, or has departed.
pub fn due(
    split: &Split,
    models: &[Model],
    effective: &Effective,
    now: Timestamp,
) -> impl Iterator<Item = Timestamp> {
    let forgotten = forgotten(split, &models.iter().collect::<Vec<_>>(), effective, now);
    let led = split.leftovers.iter().filter_map(|left| led_until(left, split, models));
    end(split, models).into_iter().chain(needed_until(split)).chain(forgotten).chain(led)
}

/// When those that have departed are named no more.
fn forgotten(split: &Split, models: &[&Model], effective: &Effective, now: Timestamp) -> Option<Timestamp> {
    let Effective::Settled { since } = effective else { return None };
    departed(split, models, effective, now).next()?;
    since.checked_add(sizes::drain(split).signed()).ok()
}

/// When that ends which nobody waits for to be drained: all of it where there is no route any more, and pods that nobody can
/// replace because `models` are all gone. `None`: there is none of it, or it has not been told yet.
pub fn end(split: &Split, models: &[Model]) -> Option<Timestamp> {
    let since = if split.route.live().is_none() {
        let unrouted = sizes::unrouted_since(split).filter(|_| !split.leftovers.is_empty())?;
        // The route of another one may have sent to them until their model went, and may still do so.
        let elsewhere = split.leftovers.iter().any(|left| left.elsewhere);
        match (missing_since(split), split.missing.is_empty()) {
            (Some(missing), false) => unrouted.max(missing),
            (_, true) if !elsewhere => unrouted,
            _ => return None,
        }
    } else {
        let alone = models.is_empty() && split.leftovers.iter().any(|left| left.runs);
        missing_since(split).filter(|_| alone)?
    };
    since.checked_add(sizes::drain(split).signed()).ok()
}

/// Until when that is needed which a model has left that went last: the route of another `TrafficSplit` may have sent to it,
/// and have gone at the same time. `None`: no model is missing, or it has not been told yet.
fn needed_until(split: &Split) -> Option<Timestamp> {
    let since = missing_since(split).filter(|_| !split.missing.is_empty() && !split.leftovers.is_empty())?;
    since.checked_add(split.propagation.signed() + sizes::drain(split).signed()).ok()
}

/// Until when callers in the cluster need what a model has left that is there again: the Service `<name>` of its earlier life
/// may have led them there until garbage collection took it. That it has gone is told by `Accepted`: as long as somebody has
/// the name, the model is refused. `None`: it is not told, so that they may be led there still.
fn led_until(left: &Leftover, split: &Split, models: &[Model]) -> Option<Timestamp> {
    let model = models.iter().find(|model| model.name == left.model)?;
    let free = conditions::true_since(&model.status.conditions, ACCEPTED)?;
    free.checked_add(sizes::drain(split).signed()).ok()
}

/// Whether what is left is not counted as missing yet: by the route of another `TrafficSplit` somebody is sent to it, whom one
/// of the models that are there may serve instead. Its proxies have to hear of it when that route goes, too.
pub fn waits_for_others(split: &Split, models: usize) -> bool {
    models > 0 && split.leftovers.iter().any(|left| left.elsewhere)
}

/// Since when all of the missing models are missing. `None`: it has not been told yet.
fn missing_since(split: &Split) -> Option<Timestamp> {
    let told = conditions::false_since(&split.status.conditions, RESOLVED_REFS)?;
    let missing = |backend: &&Backend| split.missing.contains(&backend.model_deployment_ref.name);
    let since = |backend: &Backend| {
        let name = backend.name.as_ref().unwrap_or(&backend.model_deployment_ref.name);
        Some(split.status.backends.iter().find(|told| told.name == *name)?.missing_since.as_ref()?.0)
    };
    // One of them may have been missing for long when the last one goes.
    let all: Option<Vec<Timestamp>> = split.spec.backends.iter().filter(missing).map(since).collect();
    Some(all?.into_iter().fold(told, Timestamp::max))
}

/// Whether a model that the status calls missing is there again. That is on record before anything else is done: should the
/// model go once more, its pods are not to end by the time when it went before.
pub fn returned(before: &TrafficSplitStatus, after: &TrafficSplitStatus) -> bool {
    let missing = |status: &TrafficSplitStatus, name: &str| {
        status.backends.iter().any(|backend| backend.name == name && backend.missing_since.is_some())
    };
    after.backends.iter().any(|b| missing(before, &b.name) && !missing(after, &b.name))
}

/// What of the leftovers goes: all of those that no proxy can name any more; from `end` on all pods, and all where there is
/// no route; nothing that a Service may still lead to. A route that sends nobody anywhere cannot be without a name: it goes
/// on to name the last one, which keeps its Service, and needs no pods.
pub fn gone<'a>(
    split: &'a Split,
    models: &'a [Model],
    end: Option<Timestamp>,
    effective: &'a Effective,
    now: Timestamp,
) -> impl Iterator<Item = Write> + 'a {
    let ended = end.is_some_and(|end| now >= end);
    let needed = !split.missing.is_empty() && needed_until(split).is_none_or(|until| now < until);
    let live = split.route.live();
    let free = move |left: &Leftover| {
        let drained = live.map_or(ended, |_| is_drained(split, &left.revision, effective, now));
        drained && !left.elsewhere && !needed
    };
    let sends_nothing = live.is_some_and(|view| view.shares.is_empty());
    let led = move |left: &Leftover| {
        let again = models.iter().any(|model| model.name == left.model);
        again && led_until(left, split, models).is_none_or(|until| now < until)
    };
    split.leftovers.iter().filter(move |left| !led(left)).flat_map(move |left| {
        let revision = || left.revision.clone();
        let (free, named) = (free(left), live.is_some_and(|view| view.idle.contains(&left.revision)));
        let pods = left.runs && (ended || (free && (!named || sends_nothing)));
        let pods = pods.then(|| Write::DeleteDeployment { revision: revision() });
        let service = left.serves && free && !named;
        pods.into_iter().chain(service.then(|| Write::DeleteService { revision: revision() }))
    })
}

fn is_drained(split: &Split, revision: &str, effective: &Effective, now: Timestamp) -> bool {
    let has_share = split.route.live().is_some_and(|view| view.shares.contains_key(revision));
    let Effective::Settled { since } = effective else { return false };
    !has_share && now.duration_since(*since) >= sizes::drain(split).signed()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use jiff::SignedDuration;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        api::conditions::{PROGRAMMED, READY, State},
        api::v1alpha1::RevisionStatus,
        revision::Refusal,
        rollout::{
            observed::{Route, Workload},
            plan,
        },
        route::{self, Acceptance},
    };

    fn split(shares: &[&str], idle: &[&str]) -> Split {
        let spec = json!({
            "route": {"httpRoute": {"parentRefs": [{"name": "public"}], "timeouts": {"request": "5s"}}},
            "backends": [{"modelDeploymentRef": {"name": "a"}}, {"modelDeploymentRef": {"name": "b"}}],
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
            "strategy": {"canary": {"steps": [{"weight": "10%", "bake": "5s"}]}}
        });
        let weight = 10_000 / i32::try_from(shares.len().max(1)).unwrap();
        let view = RouteView {
            uid: String::new(),
            generation: 3,
            shares: shares.iter().map(|name| ((*name).to_owned(), weight)).collect::<BTreeMap<_, _>>(),
            idle: idle.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
            acceptance: Acceptance::Accepted,
        };
        Split {
            route: Route::Live(view),
            leftovers: vec![Leftover {
                revision: "b-1".to_owned(),
                version: "1".to_owned(),
                model: "b".to_owned(),
                runs: true,
                serves: true,
                elsewhere: false,
            }],
            ..Split::of(serde_json::from_value(spec).unwrap())
        }
    }

    /// A route that is effective since so many seconds, or (negative) will be in so many.
    fn effective(now: Timestamp, settled_for: i64) -> Effective {
        let since = now - SignedDuration::from_secs(settled_for);
        match settled_for {
            0.. => Effective::Settled { since },
            _ => Effective::Waiting { until: since },
        }
    }

    #[rstest]
    #[case::its_share_is_taken_away_but_not_its_name(&["a-1", "b-1"], &[], 60, true, false)]
    #[case::requests_may_still_run(&["a-1"], &["b-1"], 4, true, false)]
    #[case::all_of_them_are_done(&["a-1"], &["b-1"], 5, false, false)]
    #[case::the_route_without_it_is_not_yet_applied_everywhere(&["a-1"], &[], -1, false, false)]
    #[case::nobody_can_name_it(&["a-1"], &[], 5, false, true)]
    fn what_proxies_may_send_to_goes_last(
        #[case] shares: &[&str],
        #[case] idle_names: &[&str],
        #[case] settled_for: i64,
        #[case] keeps_name: bool,
        #[case] deletes: bool,
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let effective = effective(now, settled_for);
        let split = split(shares, idle_names);
        assert_eq!(idle(&split, &effective, now).count() == 1, keeps_name);
        let revision = || "b-1".to_owned();
        let (pods, service) =
            (Write::DeleteDeployment { revision: revision() }, Write::DeleteService { revision: revision() });
        let all = if deletes { vec![pods.clone(), service] } else { vec![] };
        assert_eq!(gone(&split, &[], None, &effective, now).collect::<Vec<_>>(), all);

        // With nobody to take its traffic over, its pods do not wait for ever; its name does.
        let ended = if deletes { all } else { vec![pods] };
        assert_eq!(gone(&split, &[], Some(now), &effective, now).collect::<Vec<_>>(), ended);
    }

    /// The first weights of its route never came: it yields to an older one, say. Nobody is sent to it, but a route names somebody.
    #[rstest]
    #[case::requests_of_others_may_still_run(4, &[])]
    #[case::nobody_waits_for_it(5, &[Write::DeleteDeployment { revision: "b-1".to_owned() }])]
    fn one_whose_route_sends_nothing_keeps_its_service_alone(
        #[case] settled_for: i64,
        #[case] writes: &[Write],
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let split = split(&[], &["b-1"]);
        assert_eq!(gone(&split, &[], None, &effective(now, settled_for), now).collect::<Vec<_>>(), writes);
    }

    #[test]
    fn one_whose_service_was_deleted_by_hand_is_named_no_more() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["a-1"], &["b-1"]);
        split.leftovers[0].serves = false;
        let refused = Effective::Unaccepted { message: "a Service does not exist".to_owned() };
        assert_eq!(idle(&split, &refused, now).count(), 0);
        split.route = Route::Absent;
        let pods = Write::DeleteDeployment { revision: "b-1".to_owned() };
        assert_eq!(gone(&split, &[], Some(now), &refused, now).collect::<Vec<_>>(), [pods]);
    }

    #[test]
    fn what_another_route_still_names_goes_on() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["a-1"], &[]);
        let effective = Effective::Settled { since: now - SignedDuration::from_secs(9) };
        assert_eq!(gone(&split, &[], None, &effective, now).count(), 2);
        split.leftovers[0].elsewhere = true;
        assert_eq!(gone(&split, &[], None, &effective, now).count(), 0);
    }

    #[test]
    fn without_its_route_they_go_on_for_as_long_as_a_request_may_take() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["b-1"], &[]);
        split.route = Route::Absent;
        let effective = Effective::Unaccepted { message: "there is no route yet".to_owned() };
        let all = |end| gone(&split, &[], end, &effective, now).count();
        assert_eq!((all(None), all(Some(now + SignedDuration::from_secs(1))), all(Some(now))), (0, 0, 2));
        assert_eq!(end(&split, &[]), None, "nobody has been told yet that it is gone");
        let refused = State::no("NotAccepted", "Gateway infra/public refuses the route");
        let before = now - SignedDuration::from_secs(60);
        for kind in [PROGRAMMED, READY] {
            conditions::set(&mut split.status.conditions, kind, Some(refused.clone()), 1, before);
        }
        assert_eq!(end(&split, &[]), None, "a gateway that refuses a route may go on with what it has");
        split.status.route = route::remember(None, None, now);
        let forgotten = split.propagation.signed();
        assert_eq!(end(&split, &[]), Some(now + forgotten + SignedDuration::from_secs(5)));

        split.leftovers[0].elsewhere = true;
        assert_eq!(end(&split, &[]), None, "the route of another one sent to them until its model went");
        split.missing = ["b".to_owned()].into();
        let missing = State::no("ModelDeploymentNotFound", "backends names ...");
        let later = now + SignedDuration::from_secs(30);
        conditions::set(&mut split.status.conditions, RESOLVED_REFS, Some(missing), 1, later);
        let told = json!([{"name": "b", "weight": "0%", "revisions": [], "missingSince": later.to_string()}]);
        split.status.backends = serde_json::from_value(told).unwrap();
        assert_eq!(end(&split, &[]), Some(later + SignedDuration::from_secs(6)));
        split.leftovers[0].elsewhere = false;
        assert_eq!(
            end(&split, &[]),
            Some(later + SignedDuration::from_secs(6)),
            "it may just have been deleted"
        );
        split.leftovers[0].elsewhere = true;
        let pods = Write::DeleteDeployment { revision: "b-1".to_owned() };
        let gone: Vec<_> = super::gone(&split, &[], Some(now), &effective, now).collect();
        assert_eq!(gone, [pods], "that route goes on to name the Service");
    }

    /// The Service `<name>` of its model's earlier life led callers in the cluster to it until garbage collection took that.
    #[rstest]
    #[case::its_name_is_taken_still(Some(false), 60, 0)]
    #[case::nobody_has_looked_yet(None, 60, 0)]
    #[case::requests_may_still_run(Some(true), 5, 0)]
    #[case::all_of_them_are_done(Some(true), 6, 2)]
    fn what_a_model_left_that_is_there_again_goes_after_its_service(
        #[case] accepted: Option<bool>,
        #[case] seconds: i64,
        #[case] goes: usize,
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let status = json!({"observedGeneration": 1, "phase": "Pending", "message": ""});
        let mut model = Model { name: "b".to_owned(), ..Model::of_iris(status) };
        let told = accepted.map(|status| State { status, reason: "NameTaken", message: String::new() });
        let at = now - SignedDuration::from_secs(seconds);
        conditions::set(&mut model.status.conditions, ACCEPTED, told, 1, at);
        let (models, settled) = ([model], effective(now, 60));
        let split = split(&["a-1"], &[]);
        assert_eq!(gone(&split, &models, None, &settled, now).count(), goes);
        let end = at + SignedDuration::from_secs(6);
        assert_eq!(due(&split, &models, &settled, now).any(|due| due == end), accepted == Some(true));
    }

    #[test]
    fn a_first_revision_that_was_replaced_before_there_was_a_route_is_drained_too() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&[], &[]);
        split.route = Route::Absent;
        split.status.route = route::remember(None, None, now);
        let first: RevisionStatus = serde_json::from_value(json!({
            "name": "a-1", "version": "1", "used": "Draining", "replicas": 1, "readyReplicas": 0,
            "since": "2026-01-01T00:00:10.000000Z",
        }))
        .unwrap();
        let effective = Effective::Unaccepted { message: "there is no route yet".to_owned() };
        let drained = |seconds| {
            sizes::is_drained(&first, Some(&split), &effective, now + SignedDuration::from_secs(seconds))
        };
        assert_eq!((drained(14), drained(15)), (false, true));
    }

    #[test]
    fn pods_that_nobody_can_replace_go_on_for_as_long_as_a_request_may_take() {
        let mut split = split(&["b-1"], &[]);
        assert_eq!(end(&split, &[]), None, "nobody has been told yet that the model is missing");
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let missing = State::no("ModelDeploymentNotFound", "backends names ...");
        conditions::set(&mut split.status.conditions, RESOLVED_REFS, Some(missing), 1, now);
        assert_eq!(end(&split, &[]), Some(now + SignedDuration::from_secs(6)));
        split.missing = ["a".to_owned(), "b".to_owned()].into();
        let missing = |name: &str, since: Option<&str>| {
            serde_json::from_value(
                json!({"name": name, "weight": "0%", "revisions": [], "missingSince": since}),
            )
            .unwrap()
        };
        split.status.backends = vec![missing("a", Some("2026-01-01T00:01:00Z")), missing("b", None)];
        assert_eq!(end(&split, &[]), None, "nor that the other one is");
        split.status.backends[1] = missing("b", Some("2026-01-01T00:02:00Z"));
        let last = now + SignedDuration::from_secs(120);
        assert_eq!(
            end(&split, &[]),
            Some(last + SignedDuration::from_secs(5)),
            "from when the last one went"
        );
        split.leftovers[0].runs = false;
        assert_eq!(end(&split, &[]), None);
    }

    /// The route of another one goes after the model: not before that is its time counted.
    #[rstest]
    #[case::nobody_else_sends_to_it(false, 1, true)]
    #[case::somebody_does(true, 1, false)]
    #[case::somebody_does_and_nobody_can_take_over(true, 0, true)]
    fn since_when_a_model_is_missing_is_told_once_nobody_else_sends_to_what_it_left(
        #[case] elsewhere: bool,
        #[case] others: usize,
        #[case] tells: bool,
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["a-1"], &[]);
        split.missing = ["b".to_owned()].into();
        split.unresolved = Some(Refusal {
            condition: RESOLVED_REFS,
            reason: "ModelDeploymentNotFound",
            message: String::new(),
        });
        split.leftovers[0].elsewhere = elsewhere;
        let model = Model { name: "a".to_owned(), ..Model::of_iris(json!({"phase": "Stable"})) };
        let decided = vec![(&model, &model.status); others];
        let effective = Effective::Settled { since: now };
        split.status = plan::split_status(&split, &decided, &[], &effective, now);
        assert_eq!(split.status.backends[1].missing_since.is_some(), tells);
        assert_eq!(needed_until(&split), tells.then(|| now + SignedDuration::from_secs(1 + 2 + 5)));
    }

    #[test]
    fn whoever_is_there_again_is_on_record_first() {
        let status = |missing: &[&str]| -> TrafficSplitStatus {
            let backend = |name: &str| {
                let since = missing.contains(&name).then_some("2026-01-01T00:00:00.000000Z");
                json!({"name": name, "missingSince": since, "weight": "0%", "revisions": []})
            };
            serde_json::from_value(json!({"backends": [backend("a"), backend("b")]})).unwrap()
        };
        assert!(returned(&status(&["a", "b"]), &status(&["b"])));
        for (before, after) in [(&["a"][..], &["a"][..]), (&[], &["a"]), (&[], &[])] {
            assert!(!returned(&status(before), &status(after)), "{before:?} {after:?}");
        }
    }

    #[rstest]
    #[case::it_had_traffic_until_now(&["a-1", "c-1"], &[], 60, &["c-1"])]
    #[case::some_proxy_may_still_send_to_it(&["a-1"], &["c-1"], 4, &["c-1"])]
    #[case::the_last_one_has_forgotten(&["a-1"], &["c-1"], 5, &[])]
    #[case::the_route_without_it_is_not_effective(&["a-1"], &["c-1"], -1, &["c-1"])]
    #[case::of_a_deleted_model(&["a-1", "b-1"], &[], 60, &[])]
    #[case::of_a_deleted_model_of_that_name_left_to_another(&["a-1", "a-2"], &[], 60, &["a-2"])]
    fn what_belongs_to_nobody_here_any_more_stays_known_until_it_is_forgotten(
        #[case] shares: &[&str],
        #[case] idle_names: &[&str],
        #[case] settled_for: i64,
        #[case] expected: &[&str],
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let effective = effective(now, settled_for);
        let split = split(shares, idle_names);
        let workloads = [("a-1".to_owned(), Workload::default())].into();
        let model = Model { name: "a".to_owned(), workloads, ..Model::of_iris(json!({"phase": "Stable"})) };
        let named: Vec<Share> = departed(&split, &[&model], &effective, now).collect();
        let names: Vec<&str> = named.iter().map(|share| share.revision.as_str()).collect();
        assert_eq!(names, expected);
        assert!(named.iter().all(|share| share.weight == 0));
        let due = forgotten(&split, &[&model], &effective, now);
        assert_eq!(due.is_some(), settled_for >= 0 && !expected.is_empty());
        let mut broken = split;
        broken.broken.extend(expected.iter().map(ToString::to_string));
        assert_eq!(
            departed(&broken, &[&model], &effective, now).count(),
            0,
            "a route to no Service is refused"
        );
    }
}
