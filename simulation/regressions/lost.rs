//! Worlds that lose what a rollout rests on: the stable revision's snapshot, Service or pods, the route under a pause, the
//! `TrafficSplit` that had the model.

use std::time::Duration;

use seatrial::world::{
    history::Key,
    plant::user::{About, Deed},
};

use serde_json::json;

use crate::{
    draw::revision_of,
    faults::{Fault, What},
    objects::{Model, NAMESPACE, Split},
    plans::bases::rollout,
    scenario::{Scenario, Version, model_key, split_key},
};

/// As [`super::all`].
pub fn all() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "with its snapshot deleted, a Service of the stable revision that was deleted too was never made again: errors for all",
            (48..=60).step_by(4).map(service_and_snapshot_deleted).collect(),
        ),
        (
            "a stable revision that was deleted for good in mid-trial let no newer version begin",
            [56, 58, 60].map(stable_deleted).into(),
        ),
        (
            "a version that went bad while paused stayed for ever, if its route had been away for a moment",
            [60, 61].map(route_deleted_under_pause).into(),
        ),
        (
            "a model that was deleted, made anew and deleted again lost its pods at once, under requests",
            (1..=8).map(deleted_twice).collect(),
        ),
        (
            "a route whose model was deleted in mid-trial, and one of its Services then, did not sum to the whole",
            vec![service_of_deleted()],
        ),
        (
            "a version that was replaced as its model moved to another TrafficSplit lost its pods under requests",
            (0..4).map(|few| moved(few * 10)).collect(),
        ),
        (
            "a deleted model whose last TrafficSplit had been two lost its pods while the route of the other still sent to them",
            [44, 54, 64].map(left_to_another).into(),
        ),
        (
            "a deleted model whose last TrafficSplit had no route yet lost its pods while that of the one before still sent to them",
            vec![left_without_route()],
        ),
        (
            "what a deleted model has left lost its pods before the last proxy had forgotten the route of a TrafficSplit that yielded and was deleted, too",
            [44, 46, 48].map(left_and_yielding_deleted).into(),
        ),
    ]
}

fn delete(kind: &str, name: &str) -> Deed {
    Deed::Delete(Key::new(kind, NAMESPACE, name))
}

fn service_and_snapshot_deleted(second: u64) -> Scenario {
    let mut scenario = rollout(Version::Good);
    let stable = revision_of(&scenario.models[0], "0.0.0");
    for (second, deed) in
        [(second, delete("ControllerRevision", &stable)), (second + 1, delete("Service", &stable))]
    {
        scenario.script.push((Duration::from_secs(second), deed));
    }
    scenario
}

/// Its snapshot and its pods; then the next version comes.
fn stable_deleted(second: u64) -> Scenario {
    let mut scenario = rollout(Version::Good);
    let stable = revision_of(&scenario.models[0], "0.0.0");
    let deeds = [
        (second * 1000, delete("ControllerRevision", &stable)),
        (second * 1000 + 50, delete("Deployment", &stable)),
        (second * 1000 + 2000, Deed::Version(model_key("iris"), "0.2.0".to_owned())),
    ];
    scenario.script.extend(deeds.map(|(millis, deed)| (Duration::from_millis(millis), deed)));
    scenario
}

fn route_deleted_under_pause(second: u64) -> Scenario {
    let mut scenario = rollout(Version::ErrorsFrom(Duration::from_secs(second + 10), 0.3));
    let pause = Deed::Verb { model: model_key("iris"), verb: "pause", about: About::Candidate, step: None };
    scenario.script.push((Duration::from_millis(second * 1000 - 500), pause));
    scenario.script.push((Duration::from_secs(second), delete("HTTPRoute", "iris")));
    scenario
}

/// While the API server refuses half of all requests.
fn deleted_twice(seed: u64) -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.seed = seed;
    let anew = scenario.models[0].object("0.0.0");
    scenario.splits[0].timeout = 5;
    scenario.rewrite();
    scenario.script.retain(|(at, _)| *at < Duration::from_secs(30));
    let deeds = [
        (35_000, Deed::Delete(model_key("iris"))),
        (41_000, Deed::Create(anew)),
        (43_000 + seed * 500, Deed::Delete(model_key("iris"))),
    ];
    scenario.script.extend(deeds.map(|(millis, deed)| (Duration::from_millis(millis), deed)));
    let (from, until) = (Duration::from_secs(33), Duration::from_mins(1));
    scenario.faults = vec![Fault { id: 1, what: What::Status(500), replica: None, from, until, share: 500 }];
    scenario
}

fn service_of_deleted() -> Scenario {
    let mut scenario = rollout(Version::Good);
    let stable = revision_of(&scenario.models[0], "0.0.0");
    scenario.script.push((Duration::from_secs(58), Deed::Delete(model_key("iris"))));
    scenario.script.push((Duration::from_millis(58_700), delete("Service", &stable)));
    scenario
}

/// "flowers" had the model when nobody of ours saw it go; "iris", whose route sends to it, has it when it is made anew.
fn left_to_another(anew: u64) -> Scenario {
    let mut scenario = moved(0);
    let (seconds, iris) = (Duration::from_secs, scenario.models[0].object("0.1.0"));
    let without = scenario.splits[1].edit();
    scenario.script.truncate(scenario.script.len() - 2);
    let deeds = [(33, without), (40, Deed::Delete(model_key("iris"))), (anew, Deed::Create(iris))];
    scenario.script.extend(deeds.map(|(second, deed)| (seconds(second), deed)));
    scenario.script.retain(|(_, deed)| !matches!(deed, Deed::Version(..)));
    let (from, until) = (Duration::from_millis(30_500), seconds(60));
    scenario.faults = vec![Fault { id: 1, what: What::Kill, replica: None, from, until, share: 1000 }];
    scenario
}

/// "flowers" has the model, which is not ready just then, and has no route for it before it is deleted.
fn left_without_route() -> Scenario {
    let mut scenario = moved(0);
    let with = Split { backends: vec![("wine", 10), ("iris", 10)], ..scenario.splits[1].clone() };
    let size = |replicas: u32| Deed::Merge(model_key("iris"), json!({"spec": {"replicas": replicas}}));
    let wine = |deed: &Deed| matches!(deed, Deed::Create(object) if object["metadata"]["name"] == "wine");
    scenario.script.truncate(scenario.script.len() - 3);
    scenario.script.retain(|(_, deed)| !matches!(deed, Deed::Version(..)) && !wine(deed));
    let deeds = [
        (30_000, size(0)),
        (40_000, with.edit()),
        (41_000, size(3)),
        (42_000, Deed::Delete(model_key("iris"))),
    ];
    scenario.script.extend(deeds.map(|(millis, deed)| (Duration::from_millis(millis), deed)));
    scenario
}

/// "flowers" has the model, and "iris", whose route sends to it too, yields until it is deleted.
fn left_and_yielding_deleted(second: u64) -> Scenario {
    let mut scenario = moved(0);
    scenario.script.truncate(scenario.script.len() - 2);
    scenario.script.retain(|(_, deed)| !matches!(deed, Deed::Version(..)));
    for (second, key) in [(40, model_key("iris")), (second, split_key("iris"))] {
        scenario.script.push((Duration::from_secs(second), Deed::Delete(key)));
    }
    scenario
}

/// "flowers" has the model for a while, and loses it so many milliseconds after the version on trial was replaced.
fn moved(millis: u64) -> Scenario {
    let mut scenario = rollout(Version::Good);
    let wine = Model { name: "wine", ..scenario.models[0].clone() };
    let without = Split { name: "flowers", backends: vec![("wine", 10)], ..scenario.splits[0].clone() };
    let with = Split { backends: vec![("wine", 10), ("iris", 10)], ..without.clone() };
    scenario.splits[0].timeout = 1;
    scenario.propagation = Duration::from_secs(3);
    scenario.rewrite();
    scenario.script[1].0 = Duration::from_secs(5);
    let replaced = Duration::from_secs(59);
    scenario.script.extend([
        (Duration::ZERO, Deed::Create(without.object())),
        (Duration::ZERO, Deed::Create(wine.object("1.0.0"))),
        (Duration::from_secs(30), with.edit()),
        (replaced, Deed::Version(model_key("iris"), "0.2.0".to_owned())),
        (replaced + Duration::from_millis(millis), without.edit()),
    ]);
    scenario.models.push(wine);
    scenario.splits.push(without);
    scenario
}
