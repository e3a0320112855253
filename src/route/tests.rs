//! From a `TrafficSplit` to a route, and from what its parents say to "effective".

use std::{fs, path::Path};

use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::v1alpha1::{Duration, TrafficSplit},
    workload::covers,
};

/// A split in namespace `render` whose `httpRoute` is given.
fn split(route: &Value) -> TrafficSplit {
    serde_json::from_value(json!({
        "metadata": {"name": "iris", "namespace": "render", "uid": "7a010000-0000-4000-8000-000000000000"},
        "spec": {
            "route": {"httpRoute": route},
            "backends": [{"modelDeploymentRef": {"name": "iris"}}],
            "strategy": {"canary": {"steps": [{"weight": "5%"}]}},
            "slos": [{"name": "availability", "objective": "99%", "errors": {}}],
        },
    }))
    .unwrap()
}

fn share(revision: &str, version: &str, weight: i32) -> Share {
    Share { revision: revision.to_owned(), version: version.to_owned(), weight }
}

fn two() -> [Share; 2] {
    [share("iris-aaaaaaaa", "1.0.0", 9500), share("iris-bbbbbbbb", "", 500)]
}

fn rich() -> Value {
    json!({
        "parentRefs": [{"name": "public", "namespace": "infra", "sectionName": "http", "port": 8080}],
        "hostnames": ["iris.example.com"],
        "matches": [
            {"path": {"value": "/v2/models/iris"}, "method": "POST"},
            {"headers": [{"name": "x-team", "value": "flowers"}, {"name": "cookie", "type": "RegularExpression", "value": ".*a=1.*"}],
             "queryParams": [{"name": "v", "value": "2"}]},
        ],
        "timeouts": {"request": "90s", "backendRequest": "500ms"},
    })
}

#[test]
fn a_route_says_everything_and_all_its_defaults() {
    insta::assert_yaml_snapshot!("gateway", render(&split(&rich()), &two()));
}

#[test]
fn a_route_whose_spec_cannot_be_used_keeps_its_traffic_apart_from_what_no_request_matches() {
    let idle = [share("iris-aaaaaaaa", "1.0.0", 0), share("iris-bbbbbbbb", "", 0)];
    let other =
        split(&json!({"parentRefs": [{"name": "nowhere"}], "matches": [{"path": {"value": "/other"}}]}));
    let kept = |live: &[Share], desired: &[Share]| {
        let mut kept = render(&other, desired).unwrap();
        keep_parents(&mut kept, &render(&split(&rich()), live).unwrap());
        kept
    };
    let plain = |shares: &[Share]| render(&split(&rich()), shares).unwrap();
    assert_eq!(kept(&two(), &two()).spec, plain(&two()).spec);
    assert_eq!(
        kept(&two(), &idle).spec,
        plain(&idle).spec,
        "what takes requests away keeps none of their matches"
    );
    let first = kept(&idle, &two());
    assert_eq!(first.spec.parent_refs, plain(&two()).spec.parent_refs);
    assert_eq!(
        first.spec.rules,
        render(&other, &two()).unwrap().spec.rules,
        "nobody is served by the idle rule's match"
    );
}

#[test]
fn a_mesh_route_hangs_on_the_core_service() {
    let route =
        render(&split(&json!({"parentRefs": [{"kind": "Service", "name": "iris"}]})), &two()).unwrap();
    insta::assert_yaml_snapshot!(
        "mesh",
        json!([route.spec.parent_refs, route.spec.rules[0].matches, route.spec.rules[0].timeouts])
    );
}

#[test]
fn a_route_for_all_hosts_says_so() {
    let wire =
        serde_json::to_value(render(&split(&json!({"parentRefs": [{"name": "public"}]})), &two())).unwrap();
    assert_eq!(wire["spec"]["hostnames"], json!([]));
}

#[test]
fn a_revision_at_weight_zero_is_not_listed() {
    let shares = [share("iris-aaaaaaaa", "1", 10_000), share("iris-bbbbbbbb", "2", 0)];
    let route = render(&split(&rich()), &shares).unwrap();
    assert_eq!(route.spec.rules[0].backend_refs.len(), 1);
    assert!(
        route.spec.rules.iter().flat_map(|r| &r.backend_refs).all(|b| b.weight > 0),
        "no entry has weight 0"
    );
    assert_eq!(render(&split(&rich()), &[]), None);
}

#[test]
fn a_revision_without_weight_is_known_to_the_data_plane_but_no_caller_reaches_it() {
    let shares = [share("iris-aaaaaaaa", "1", 10_000), share("iris-bbbbbbbb", "2", 0)];
    let route = render(&split(&rich()), &shares).unwrap();
    let idle = &route.spec.rules[1];
    assert_eq!(idle.backend_refs[0].name, "iris-bbbbbbbb");
    assert_eq!((idle.matches[0].headers[0].name.as_str(), idle.matches.len()), ("x-seatrial-idle", 1));
    let view = observe(&route);
    assert_eq!(view.shares, [("iris-aaaaaaaa".to_owned(), 10_000)].into());
    assert_eq!(view.idle, ["iris-bbbbbbbb".to_owned()].into());
    let first = observe(&render(&split(&rich()), &shares[1..]).unwrap());
    assert_eq!(
        (first.shares.len(), first.idle.len()),
        (0, 1),
        "before the first revision serves, nobody has traffic"
    );
}

#[rstest]
#[case::as_written(|_: &mut Value| (), true)]
#[case::more_by_the_api_server(|r: &mut Value| { r["spec"]["rules"][0]["name"] = json!("x"); r["metadata"]["labels"]["team"] = json!("a"); }, true)]
#[case::another_weight(|r: &mut Value| r["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(1), false)]
#[case::a_mirror(|r: &mut Value| r["spec"]["rules"][0]["filters"] = json!([{"type": "RequestMirror"}]), false)]
#[case::stickiness(|r: &mut Value| r["spec"]["rules"][0]["sessionPersistence"] = json!({}), false)]
#[case::retries(|r: &mut Value| r["spec"]["rules"][0]["retry"] = json!({"attempts": 3}), false)]
#[case::no_time_limit(|r: &mut Value| { r["spec"]["rules"][0].as_object_mut().unwrap().remove("timeouts"); }, false)]
#[case::a_narrower_match(|r: &mut Value| r["spec"]["rules"][0]["matches"][1]["method"] = json!("GET"), false)]
#[case::a_second_rule(|r: &mut Value| { let rule = r["spec"]["rules"][0].clone(); r["spec"]["rules"].as_array_mut().unwrap().push(rule); }, false)]
#[case::another_backend(|r: &mut Value| { let b = r["spec"]["rules"][0]["backendRefs"][0].clone(); r["spec"]["rules"][0]["backendRefs"].as_array_mut().unwrap().push(b); }, false)]
#[case::no_version_header(|r: &mut Value| r["spec"]["rules"][0]["backendRefs"][0]["filters"] = json!([]), false)]
#[case::another_host(|r: &mut Value| r["spec"]["hostnames"] = json!(["a.example.com"]), false)]
#[case::another_parent(|r: &mut Value| { r["spec"]["parentRefs"][0].as_object_mut().unwrap().remove("sectionName"); }, false)]
#[case::not_owned(|r: &mut Value| r["metadata"]["ownerReferences"] = json!([]), false)]
fn an_edit_by_hand_is_seen(#[case] edit: fn(&mut Value), #[case] same: bool) {
    let desired = render(&split(&rich()), &two()).unwrap();
    let mut live = serde_json::to_value(&desired).unwrap();
    edit(&mut live);
    let live: HTTPRoute = serde_json::from_value(live).unwrap();
    assert_eq!(in_sync(&live, &desired), same);
}

/// A live route at generation 3 with parents `infra/a` and `render/b`, and what is reported about them.
fn live(parents: &Value) -> HTTPRoute {
    let mut route =
        render(&split(&json!({"parentRefs": [{"name": "a", "namespace": "infra"}, {"name": "b"}]})), &two())
            .unwrap();
    route.metadata.generation = Some(3);
    route.status = serde_json::from_value(json!({"parents": parents})).unwrap();
    route
}

fn says(name: &str, namespace: Option<&str>, conditions: &[(&str, &str, i64)]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, status, generation)| {
            json!({"type": kind, "status": status, "observedGeneration": generation, "reason": format!("{kind}{status}"),
                   "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        })
        .collect();
    let mut parent = json!({"name": name});
    if let Some(namespace) = namespace {
        parent["namespace"] = json!(namespace);
    }
    json!({"parentRef": parent, "controllerName": "c", "conditions": conditions})
}

const YES: [(&str, &str, i64); 2] = [("Accepted", "True", 3), ("ResolvedRefs", "True", 3)];

fn pending(parent: &str) -> Acceptance {
    Acceptance::Pending { parent: parent.to_owned() }
}

fn refused(parent: &str, reason: &str) -> Acceptance {
    Acceptance::Refused { parent: parent.to_owned(), reason: reason.to_owned(), message: "why".to_owned() }
}

#[rstest]
#[case::both(vec![says("a", Some("infra"), &YES), says("b", None, &YES)], Acceptance::Accepted)]
#[case::namespace_written_out(vec![says("a", Some("infra"), &YES), says("b", Some("render"), &YES)], Acceptance::Accepted)]
#[case::newer_word(vec![says("a", Some("infra"), &[("Accepted", "True", 4), ("ResolvedRefs", "True", 4)]), says("b", None, &YES)], Acceptance::Accepted)]
#[case::nobody(vec![], pending("Gateway infra/a"))]
#[case::one_is_silent(vec![says("a", Some("infra"), &YES)], pending("Gateway render/b"))]
#[case::the_same_name_elsewhere(vec![says("a", Some("infra"), &YES), says("b", Some("infra"), &YES)], pending("Gateway render/b"))]
#[case::an_older_word(vec![says("a", Some("infra"), &[("Accepted", "True", 2), ("ResolvedRefs", "True", 3)]), says("b", None, &YES)], pending("Gateway infra/a"))]
#[case::an_older_no(vec![says("a", Some("infra"), &[("Accepted", "False", 2)]), says("b", None, &YES)], pending("Gateway infra/a"))]
#[case::half(vec![says("a", Some("infra"), &YES[..1]), says("b", None, &YES)], pending("Gateway infra/a"))]
#[case::unknown(vec![says("a", Some("infra"), &[("Accepted", "Unknown", 3), ("ResolvedRefs", "True", 3)]), says("b", None, &YES)], pending("Gateway infra/a"))]
#[case::no(vec![says("a", Some("infra"), &YES), says("b", None, &[("Accepted", "True", 3), ("ResolvedRefs", "False", 3)])], refused("Gateway render/b", "ResolvedRefsFalse"))]
#[case::a_no_counts_before_silence(vec![says("b", None, &[("Accepted", "False", 3)])], refused("Gateway render/b", "AcceptedFalse"))]
#[case::partly(vec![says("a", Some("infra"), &[YES[0], YES[1], ("PartiallyInvalid", "True", 3)]), says("b", None, &YES)], refused("Gateway infra/a", "PartiallyInvalidTrue"))]
#[case::two_controllers_must_agree(vec![says("a", Some("infra"), &YES), says("a", Some("infra"), &YES[..1]), says("b", None, &YES)], pending("Gateway infra/a"))]
fn parents_accept(#[case] reported: Vec<Value>, #[case] acceptance: Acceptance) {
    let view = observe(&live(&json!(reported)));
    assert_eq!(view.acceptance, acceptance);
    assert_eq!((view.generation, view.shares["iris-aaaaaaaa"], view.shares["iris-bbbbbbbb"]), (3, 9500, 500));
}

#[test]
fn a_service_parent_is_the_same_however_its_group_is_written() {
    let given = split(&json!({"parentRefs": [{"kind": "Service", "name": "iris"}]}));
    let mut route = render(&given, &two()).unwrap();
    route.metadata.generation = Some(3);
    let mut word = says("iris", Some("render"), &YES);
    word["parentRef"]["kind"] = json!("Service");
    route.status = serde_json::from_value(json!({"parents": [word]})).unwrap();
    assert_eq!(observe(&route).acceptance, Acceptance::Accepted);
}

#[test]
fn a_route_without_parents_is_not_accepted() {
    let mut route = live(&json!([]));
    route.spec.parent_refs.clear();
    assert_eq!(observe(&route).acceptance, pending("any parent"));
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn accepted() -> RouteView {
    observe(&live(&json!([says("a", Some("infra"), &YES), says("b", None, &YES)])))
}

const TEN: Duration = Duration::from_secs(10);

#[test]
fn weights_are_effective_an_allowance_after_they_were_seen_accepted() {
    let view = accepted();
    assert_eq!(effective(&view, None, TEN, at(100)), Effective::Waiting { until: at(110) });
    let memory = remember(Some(&view), None, at(100));
    assert_eq!(memory.as_ref().unwrap().shares[0].weight.to_string(), "95%");
    assert_eq!(effective(&view, memory.as_ref(), TEN, at(109)), Effective::Waiting { until: at(110) });
    assert_eq!(effective(&view, memory.as_ref(), TEN, at(110)), Effective::Settled { since: at(110) });
    assert_eq!(remember(Some(&view), memory.as_ref(), at(110)), memory);
}

#[test]
fn without_an_allowance_acceptance_is_enough() {
    assert_eq!(
        effective(&accepted(), None, Duration::from_secs(0), at(5)),
        Effective::Settled { since: at(5) }
    );
}

#[rstest]
#[case::made_anew(|view: &mut RouteView| view.uid = "another".to_owned())]
#[case::another_generation(|view: &mut RouteView| view.generation = 4)]
#[case::another_weight(|view: &mut RouteView| { view.shares.insert("iris-bbbbbbbb".to_owned(), 501); })]
#[case::a_revision_gone(|view: &mut RouteView| { view.shares.remove("iris-bbbbbbbb"); })]
fn a_route_that_is_not_the_remembered_one_waits_anew(#[case] change: fn(&mut RouteView)) {
    let memory = remember(Some(&accepted()), None, at(100));
    let mut view = accepted();
    change(&mut view);
    assert_eq!(effective(&view, memory.as_ref(), TEN, at(500)), Effective::Waiting { until: at(510) });
    assert_eq!(remember(Some(&view), memory.as_ref(), at(500)).unwrap().since.0, at(500));
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_the_route() {
    let memory = remember(Some(&accepted()), None, at(9_000));
    assert_eq!(effective(&accepted(), memory.as_ref(), TEN, at(100)), Effective::Waiting { until: at(110) });
    assert_eq!(remember(Some(&accepted()), memory.as_ref(), at(100)).unwrap().since.0, at(100));
}

#[test]
fn that_there_is_no_route_is_remembered_until_there_is_one() {
    let memory = remember(Some(&accepted()), None, at(100));
    let gone = remember(None, memory.as_ref(), at(200));
    assert_eq!(gone.as_ref().map(|gone| (gone.generation, gone.since.0)), Some((0, at(200))));
    assert_eq!(remember(None, gone.as_ref(), at(300)), gone);
    assert_eq!(remember(None, gone.as_ref(), at(50)).unwrap().since.0, at(50), "the clock was set back");
    // Some proxy may have one already that not every parent accepts: should it go, that is not since when there is none.
    let mut view = accepted();
    view.acceptance = pending("Gateway infra/a");
    assert_eq!(remember(Some(&view), gone.as_ref(), at(300)), None);
    assert_eq!(remember(Some(&accepted()), gone.as_ref(), at(300)).unwrap().generation, 3);
}

#[test]
fn an_unaccepted_route_keeps_the_memory_of_what_may_still_be_applied() {
    let memory = remember(Some(&accepted()), None, at(100));
    let mut view = accepted();
    view.acceptance = pending("Gateway infra/a");
    view.generation = 4;
    assert_eq!(remember(Some(&view), memory.as_ref(), at(500)), memory);
    assert_eq!(remember(Some(&view), None, at(500)), None);
    let message = "Gateway infra/a has not accepted generation 4 of the route yet".to_owned();
    assert_eq!(effective(&view, memory.as_ref(), TEN, at(500)), Effective::Unaccepted { message });
    view.acceptance = refused("Gateway infra/a", "NoMatchingParent");
    let message = "Gateway infra/a refuses the route (NoMatchingParent): why".to_owned();
    assert_eq!(effective(&view, memory.as_ref(), TEN, at(500)), Effective::Unaccepted { message });
}

proptest! {
    /// Whatever happens in between, weights are never called effective before an allowance has passed since the first
    /// sight of their acceptance.
    #[test]
    fn nothing_is_effective_early(steps in proptest::collection::vec((1..4_i64, 0..3_i32, any::<bool>(), 0..15_i64), 1..40)) {
        let (mut memory, mut now, mut seen): (_, _, Option<(i64, i32, i64)>) = (None, 1000, None);
        for (generation, weight, accepted, pause) in steps {
            now += pause;
            let acceptance = if accepted { Acceptance::Accepted } else { pending("p") };
            let view = RouteView { uid: String::new(), generation, shares: [("r".to_owned(), weight)].into(), idle: [].into(), acceptance };
            let verdict = effective(&view, memory.as_ref(), TEN, at(now));
            memory = remember(Some(&view), memory.as_ref(), at(now));
            if accepted {
                if seen.is_none_or(|(g, w, _)| (g, w) != (generation, weight)) {
                    seen = Some((generation, weight, now));
                }
                let since = seen.map_or(now, |(.., since)| since);
                let settled = matches!(verdict, Effective::Settled { .. });
                prop_assert_eq!(settled, now >= since + 10);
            } else {
                let unaccepted = matches!(verdict, Effective::Unaccepted { .. });
                prop_assert!(unaccepted);
            }
        }
    }
}

/// What a real API server and a real Contour made of the route: no write is due, and it is accepted. To record it anew,
/// apply the file that `RECORD=<folder>` writes by server-side apply, beside two Services of the revisions' names.
#[test]
fn a_converged_route_costs_no_write() {
    let route = json!({
        "parentRefs": [{"name": "public", "namespace": "infra"}],
        "hostnames": ["render.example.com"],
        "matches": [{"path": {"value": "/v2/models/iris"}}, {"headers": [{"name": "x-team", "value": "flowers"}]}],
        "timeouts": {"request": "90s"},
    });
    let desired = render(&split(&route), &two()).unwrap();
    let wire = serde_json::to_value(&desired).unwrap();
    if let Some(folder) = std::env::var_os("RECORD") {
        fs::write(Path::new(&folder).join("route.json"), wire.to_string()).unwrap();
    }
    let raw: Value = serde_json::from_str(include_str!("fixtures/contour.json")).unwrap();
    assert!(covers(&raw, &wire));
    let live: HTTPRoute = serde_json::from_value(raw).unwrap();
    assert!(in_sync(&live, &desired));
    assert_eq!(observe(&live).acceptance, Acceptance::Accepted);
}
