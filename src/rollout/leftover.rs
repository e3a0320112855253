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
    api::v1alpha1::{Duration, LeftoverStatus, TrafficSplitStatus},
    route::{Effective, RouteView, Share},
};

/// So many are told in the status, as the CRD says.
const TOLD: usize = 16;
/// How often is looked whether something else than the own route still leads there.
const RECHECK: Duration = Duration::from_secs(10);

/// A revision without its `ModelDeployment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The revision, which is also the Service's name.
    pub revision: String,
    /// What people call it.
    pub version: String,
    /// It has a Deployment.
    pub runs: bool,
    /// It has a Service: somebody may have deleted that, and a route that names it is refused as a whole.
    pub serves: bool,
    /// What leads there beside the own route.
    pub led_by: Option<Leads>,
}

/// What may lead to a revision without its `ModelDeployment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// The Service of its model's name selects it: callers in the cluster use that.
    Service,
    /// The route of another `TrafficSplit` names it, of one that yields.
    Route,
    /// Such a route that sends nobody anywhere, and cannot be without a name: the Service stays, nobody needs the pods.
    Name,
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
pub fn due<'a>(
    split: &'a Split,
    models: &'a [Model],
    effective: &'a Effective,
    now: Timestamp,
) -> impl Iterator<Item = Timestamp> + 'a {
    let (drain, propagation) = (sizes::drain(split).signed(), split.propagation.signed());
    let since = |left: &Leftover| since(split, left, models.len());
    let abandoned = abandoned_since(split, models).filter(|_| !split.leftovers.is_empty());
    let told = split.leftovers.iter().filter_map(since).chain(abandoned);
    let told = told.flat_map(move |since| [since.checked_add(drain), since.checked_add(drain + propagation)]);
    let unrouted = sizes::unrouted_since(split).filter(|_| !split.leftovers.is_empty());
    let unrouted = unrouted.map(|since| since.checked_add(drain));
    // What is deleted of another unit wakes that one.
    let led = split.leftovers.iter().any(|left| left.led_by.is_some());
    let led = led.then(|| now.checked_add(RECHECK.signed()));
    let forgotten = forgotten(split, &models.iter().collect::<Vec<_>>(), effective, now);
    told.chain(unrouted).chain(led).filter_map(Result::ok).chain(forgotten)
}

/// When those that have departed are named no more.
fn forgotten(split: &Split, models: &[&Model], effective: &Effective, now: Timestamp) -> Option<Timestamp> {
    let Effective::Settled { since } = effective else { return None };
    departed(split, models, effective, now).next()?;
    since.checked_add(sizes::drain(split).signed()).ok()
}

/// Whether something else than the own route leads to what is left: Service `<name>`, until garbage collection has taken it,
/// or the route of another `TrafficSplit`, whose requests one of the `models` that are there may serve instead. (With none
/// there, nobody can take them over, and it ends as its owner was told to.)
const fn is_led(left: &Leftover, models: usize) -> bool {
    match left.led_by {
        Some(Leads::Service) => true,
        Some(Leads::Route) => models > 0,
        Some(Leads::Name) | None => false,
    }
}

/// Since when nothing but the own route leads there, as the status tells. `None`: something does, or it was not told yet.
fn since(split: &Split, left: &Leftover, models: usize) -> Option<Timestamp> {
    let told = split.status.leftovers.iter().find(|told| told.name == left.revision)?;
    told.since.as_ref().map(|since| since.0).filter(|_| !is_led(left, models))
}

/// Since when none of the models is there, as the status tells. `None`: one is, or it was not told yet.
fn abandoned_since(split: &Split, models: &[Model]) -> Option<Timestamp> {
    split.status.abandoned_since.as_ref().map(|since| since.0).filter(|_| models.is_empty())
}

/// What the status tells of what is left.
pub fn told(split: &Split, models: usize, now: Timestamp) -> Vec<LeftoverStatus> {
    let told = |left: &Leftover| LeftoverStatus {
        name: left.revision.clone(),
        since: (!is_led(left, models)).then(|| since(split, left, models).unwrap_or(now).into()),
    };
    split.leftovers.iter().take(TOLD).map(told).collect()
}

/// Whether something that counts as left is taken over, or led to again, or a model is there that may take over. That is on
/// record before anything else is done: should it be left once more, its pods are not to end by the time when it was before.
pub fn returned(before: &TrafficSplitStatus, after: &TrafficSplitStatus) -> bool {
    let counts = |told: &&LeftoverStatus| told.since.is_some();
    before.leftovers.iter().filter(counts).any(|told| !after.leftovers.contains(told))
        || (before.abandoned_since.is_some() && after.abandoned_since.is_none())
}

/// What of the leftovers goes. All of those that nobody can reach any more: neither by the route nor, for as long as proxies
/// may take to forget, by anything else. Pods that no model is there to replace end once requests that are under way are
/// done. A route that sends nobody anywhere cannot be without a name: it goes on to name the last one, which keeps its
/// Service, and needs no pods.
pub fn gone<'a>(
    split: &'a Split,
    models: &'a [Model],
    effective: &'a Effective,
    now: Timestamp,
) -> impl Iterator<Item = Write> + 'a {
    let drain = sizes::drain(split).signed();
    let passed = move |since: Option<Timestamp>, length| {
        since.is_some_and(|since| now.duration_since(since) >= length)
    };
    let live = split.route.live();
    let sends_nothing = live.is_some_and(|view| view.shares.is_empty());
    split.leftovers.iter().flat_map(move |left| {
        let since = since(split, left, models.len());
        let drained = match live {
            Some(_) => is_drained(split, &left.revision, effective, now),
            None => passed(sizes::unrouted_since(split), drain),
        };
        let free =
            drained && left.led_by != Some(Leads::Route) && passed(since, drain + split.propagation.signed());
        let abandoned = passed(since, drain) && passed(abandoned_since(split, models), drain);
        let ended = abandoned && (drained || live.is_some());
        let named = live.is_some_and(|view| view.idle.contains(&left.revision));
        let revision = || left.revision.clone();
        let pods = left.runs && (ended || (free && (!named || sends_nothing)));
        let pods = pods.then(|| Write::DeleteDeployment { revision: revision() });
        let service = left.serves && free && !named && left.led_by.is_none();
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
        api::v1alpha1::RevisionStatus,
        rollout::observed::{Route, Workload},
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
                runs: true,
                serves: true,
                led_by: None,
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

    /// The status tells since when nothing but the own route leads to "b-1".
    fn tell(split: &mut Split, since: Timestamp) {
        let told = LeftoverStatus { name: "b-1".to_owned(), since: Some(since.into()) };
        split.status.leftovers = vec![told];
        split.status.abandoned_since = Some(since.into());
    }

    /// Model "a", which may take over.
    fn other() -> Vec<Model> {
        vec![Model { name: "a".to_owned(), ..Model::of_iris(json!({"phase": "Stable"})) }]
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
        let mut split = split(shares, idle_names);
        assert_eq!(idle(&split, &effective, now).count() == 1, keeps_name);
        let revision = || "b-1".to_owned();
        let (pods, service) =
            (Write::DeleteDeployment { revision: revision() }, Write::DeleteService { revision: revision() });
        let all = if deletes { vec![pods.clone(), service] } else { vec![] };
        tell(&mut split, now - SignedDuration::from_secs(7));
        assert_eq!(gone(&split, &other(), &effective, now).collect::<Vec<_>>(), all);

        // With nobody to take its traffic over, its pods do not wait for ever; its name does.
        let ended = if deletes { all } else { vec![pods] };
        assert_eq!(gone(&split, &[], &effective, now).collect::<Vec<_>>(), ended);
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
        let mut split = split(&[], &["b-1"]);
        tell(&mut split, now - SignedDuration::from_secs(7));
        assert_eq!(gone(&split, &other(), &effective(now, settled_for), now).collect::<Vec<_>>(), writes);
    }

    #[test]
    fn one_whose_service_was_deleted_by_hand_is_named_no_more() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["a-1"], &["b-1"]);
        split.leftovers[0].serves = false;
        let refused = Effective::Unaccepted { message: "a Service does not exist".to_owned() };
        assert_eq!(idle(&split, &refused, now).count(), 0);
        tell(&mut split, now - SignedDuration::from_secs(7));
        let pods = Write::DeleteDeployment { revision: "b-1".to_owned() };
        assert_eq!(gone(&split, &[], &refused, now).collect::<Vec<_>>(), [pods]);
    }

    /// Counted from when nothing but the own route leads there, as the status tells: proxies of another one have to hear of it,
    /// and the requests of callers in the cluster to end.
    #[rstest]
    #[case::it_was_not_told_yet(None, None, 0)]
    #[case::some_may_still_send(Some(6), None, 0)]
    #[case::all_of_them_are_done(Some(7), None, 2)]
    #[case::another_route_names_it_again(Some(7), Some(Leads::Route), 0)]
    #[case::a_service_selects_it_again(Some(7), Some(Leads::Service), 0)]
    #[case::a_route_that_sends_nothing_names_it(Some(7), Some(Leads::Name), 1)]
    fn what_others_led_to_goes_on_until_they_have_forgotten(
        #[case] told: Option<i64>,
        #[case] led_by: Option<Leads>,
        #[case] goes: usize,
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["a-1"], &[]);
        let since = told.map(|seconds| now - SignedDuration::from_secs(seconds));
        if let Some(since) = since {
            tell(&mut split, since);
        }
        split.leftovers[0].led_by = led_by;
        let (models, settled) = (other(), effective(now, 60));
        assert_eq!(gone(&split, &models, &settled, now).count(), goes);
        let due: Vec<_> = due(&split, &models, &settled, now).filter(|due| *due >= now).collect();
        let at = |seconds| Some(since.unwrap_or(now) + SignedDuration::from_secs(seconds));
        assert_eq!(
            due.iter().max().copied(),
            if led_by.is_some() { Some(now + RECHECK.signed()) } else { at(7).filter(|_| told.is_some()) }
        );
    }

    /// As long as somebody is led there, no time counts.
    #[rstest]
    #[case::nobody_is(None, 1, true)]
    #[case::by_the_service_of_its_model(Some(Leads::Service), 1, false)]
    #[case::by_another_route(Some(Leads::Route), 1, false)]
    #[case::by_a_route_that_sends_nothing(Some(Leads::Name), 1, true)]
    #[case::by_another_route_and_nobody_can_take_over(Some(Leads::Route), 0, true)]
    #[case::by_the_service_and_nobody_can_take_over(Some(Leads::Service), 0, false)]
    fn since_when_nothing_else_leads_there_is_told(
        #[case] led_by: Option<Leads>,
        #[case] models: usize,
        #[case] tells: bool,
    ) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["a-1"], &[]);
        split.leftovers[0].led_by = led_by;
        let first = told(&split, models, now);
        assert_eq!(first, [LeftoverStatus { name: "b-1".to_owned(), since: tells.then(|| now.into()) }]);
        split.status.leftovers = first.clone();
        let later = now + SignedDuration::from_secs(9);
        assert_eq!(told(&split, models, later), first, "it is told once");
        split.leftovers[0].led_by = Some(Leads::Service);
        assert_eq!(told(&split, models, later)[0].since, None);
    }

    #[test]
    fn without_its_route_they_go_on_for_as_long_as_a_request_may_take() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["b-1"], &[]);
        split.route = Route::Absent;
        let effective = Effective::Unaccepted { message: "there is no route yet".to_owned() };
        tell(&mut split, now - SignedDuration::from_secs(60));
        let ends = |split: &Split, models: &[Model]| {
            (0..60).find(|seconds| {
                gone(split, models, &effective, now + SignedDuration::from_secs(*seconds)).next().is_some()
            })
        };
        assert_eq!(ends(&split, &[]), None, "a gateway that refuses a route may go on with what it has");
        split.status.route = route::remember(None, None, now);
        for models in [vec![], other()] {
            assert_eq!(ends(&split, &models), Some(7), "proxies forget within 2 s, requests take 5 s");
        }
        tell(&mut split, now + SignedDuration::from_secs(10));
        assert_eq!((ends(&split, &[]), ends(&split, &other())), (Some(15), Some(17)));

        split.leftovers[0].led_by = Some(Leads::Route);
        assert_eq!(ends(&split, &other()), None, "somebody else sends there");
        let pods = Write::DeleteDeployment { revision: "b-1".to_owned() };
        let gone: Vec<_> = gone(&split, &[], &effective, now + SignedDuration::from_secs(17)).collect();
        assert_eq!(gone, [pods], "that route goes on to name the Service");
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
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut split = split(&["b-1"], &[]);
        let settled = effective(now, 60);
        let goes = |split: &Split, models: &[Model], seconds| {
            gone(split, models, &settled, now + SignedDuration::from_secs(seconds)).count()
        };
        assert_eq!(goes(&split, &[], 60), 0, "nobody has been told yet that its model is missing");
        tell(&mut split, now);
        assert_eq!((goes(&split, &[], 4), goes(&split, &[], 5)), (0, 1));
        assert_eq!(goes(&split, &other(), 60), 0, "it is sent to, and another may take over");
        split.status.abandoned_since = Some((now + SignedDuration::from_secs(2)).into());
        assert_eq!((goes(&split, &[], 6), goes(&split, &[], 7)), (0, 1), "from when the last one went");
        split.status.abandoned_since = None;
        assert_eq!(goes(&split, &[], 60), 0, "nor that nobody is there");
        tell(&mut split, now);
        split.leftovers[0].runs = false;
        assert_eq!(goes(&split, &[], 5), 0);
    }

    #[test]
    fn what_counts_as_left_no_more_is_on_record_first() {
        let status = |leftovers: serde_json::Value| -> TrafficSplitStatus {
            serde_json::from_value(json!({"leftovers": leftovers})).unwrap()
        };
        let since = json!({"name": "a-1", "since": "2026-01-01T00:00:00.000000Z"});
        let (left, led) = (json!([since]), json!([{"name": "a-1"}]));
        assert!(returned(&status(left.clone()), &status(json!([]))));
        assert!(returned(&status(left.clone()), &status(led.clone())));
        for (before, after) in [(&left, &left), (&led, &left), (&led, &json!([])), (&json!([]), &left)] {
            assert!(!returned(&status(before.clone()), &status(after.clone())), "{before} {after}");
        }
        let abandoned = |since: Option<&str>| -> TrafficSplitStatus {
            serde_json::from_value(json!({"abandonedSince": since})).unwrap()
        };
        let (since, none) = (abandoned(Some("2026-01-01T00:00:00.000000Z")), abandoned(None));
        assert!(returned(&since, &none));
        assert!(!returned(&none, &since));
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
