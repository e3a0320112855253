//! What the API server does not take, or what changes hands, while a candidate has traffic.

use std::time::Duration;

use seatrial::world::plant::user::Deed;
use serde_json::{Value, json};

use crate::{
    faults::{Fault, What},
    objects::Split,
    plans::bases::rollout,
    scenario::{Scenario, Version, split_key},
};

pub fn all() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "a route that the Gateway API refuses, asked for in mid-trial, kept a failing candidate its traffic, and nothing said so",
            (49..62).step_by(2).map(route_refused).collect(),
        ),
        (
            "an SLO that cannot be asked about, added in mid-trial, kept a failing candidate its traffic: the others were not judged",
            (49..62).step_by(2).map(slo_refused).collect(),
        ),
        (
            "where nobody could be asked any more (an unknown provider), a failing candidate kept its traffic beyond the holdBudget",
            (49..62).step_by(4).map(unknown_provider).collect(),
        ),
        (
            "a candidate with more pods than full size lost some under traffic when its model moved to another TrafficSplit",
            vec![moves()],
        ),
        (
            "where pods could not be listed, a candidate that had lost all of them kept its traffic",
            (8..20).step_by(2).map(no_pods_listed).collect(),
        ),
        (
            "the pods of a replaced revision stayed for ever once its model was named by a TrafficSplit that is refused",
            [28, 43, 65, 66, 77].map(named_late).into(),
        ),
        (
            "what a webhook denied for a while was refused for good, or held up what it had nothing to do with",
            ["httproutes", "deployments", "services"].into_iter().flat_map(denied).collect(),
        ),
    ]
}

/// A model that served by itself, and replaces its revision just then, gets a `TrafficSplit` that nobody can judge for.
fn named_late(seed: u64) -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.seed = seed;
    let millis = 48_000 + seed * 50;
    let (from, until) = (Duration::from_secs(44), Duration::from_secs(70));
    scenario.faults = vec![Fault { id: 1, what: What::Reset, replica: None, from, until, share: 500 }];
    for (at, deed) in &mut scenario.script {
        if super::makes_split(deed) {
            *at = Duration::from_millis(millis);
        }
    }
    let spec = json!({"spec": {"analysis": {"provider": "gone"}}});
    scenario.script.push((Duration::from_millis(millis + 850), Deed::Merge(split_key("iris"), spec)));
    scenario
}

/// Two references to the same Gateway: our schema takes them, that of `HTTPRoute` does not.
pub fn route_refused(second: u64) -> Scenario {
    let twice = json!([{"name": "public", "namespace": "infra"}, {"name": "public", "namespace": "infra"}]);
    sours(second, &json!({"route": {"httpRoute": {"parentRefs": twice}}}))
}

/// `PromQL` that does not parse, beside the SLOs that there were.
fn slo_refused(second: u64) -> Scenario {
    let mut slos = rollout(Version::Good).splits[0].object()["spec"]["slos"].clone();
    if let Some(slos) = slos.as_array_mut() {
        slos.push(
            json!({"name": "confidence", "query": "avg(model_confidence", "threshold": {"min": "0.7"}}),
        );
    }
    sours(second, &json!({"slos": slos}))
}

/// A provider that the operator is not configured with.
fn unknown_provider(second: u64) -> Scenario {
    sours(second, &json!({"analysis": {"provider": "gone"}}))
}

/// The spec of the `TrafficSplit` is changed while a version has traffic that fails soon; its step lasts long.
fn sours(second: u64, spec: &Value) -> Scenario {
    let mut scenario = rollout(Version::ErrorsFrom(Duration::from_secs(62), 0.4));
    scenario.splits[0].steps.iter_mut().for_each(|step| (step.bake, step.longest) = (60, 200));
    scenario.rewrite();
    scenario
        .script
        .push((Duration::from_secs(second), Deed::Merge(split_key("iris"), json!({"spec": spec}))));
    scenario
}

/// Whoever may not list pods still sees that none is ready.
pub fn no_pods_listed(seconds: u64) -> Scenario {
    let (from, until) = (Duration::ZERO, Duration::from_secs(1000));
    let what = What::Forbidden("pods");
    let faults = vec![Fault { id: 1, what, replica: None, from, until, share: 1000 }];
    Scenario { faults, ..rollout(Version::Crashing(Duration::from_secs(seconds))) }
}

pub fn moves() -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.models[0].replicas = 1;
    let next = Split { name: "next", ..scenario.splits[0].clone() };
    scenario.splits[0].steps.iter_mut().for_each(|step| step.replicas = Some(3));
    scenario.rewrite();
    scenario.script.push((Duration::from_secs(2), Deed::Create(next.object())));
    scenario.script.push((Duration::from_secs(55), Deed::Delete(split_key("iris"))));
    scenario.splits.push(next);
    scenario
}

/// A webhook denies the writes of one kind for a while, at every moment of a rollout.
fn denied(plural: &'static str) -> Vec<Scenario> {
    let at = |second: u64, version: Version| {
        let (from, until) = (Duration::from_secs(second), Duration::from_secs(second + 16));
        let fault = Fault { id: 1, what: What::Denied(plural), replica: None, from, until, share: 1000 };
        Scenario { faults: vec![fault], ..rollout(version) }
    };
    let bad = (44..64).step_by(4).map(|second| at(second, Version::Errors(0.4)));
    let good = (44..70).step_by(5).map(|second| at(second, Version::Good));
    bad.chain(good).chain([at(0, Version::Good)]).collect()
}
