//! What the API server does not take, or what changes hands, while a candidate has traffic.

use std::time::Duration;

use seatrial::world::plant::user::Deed;
use serde_json::json;

use crate::{
    objects::Split,
    plans::bases::rollout,
    scenario::{Scenario, Version, split_key},
};

pub fn all() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "a route that the Gateway API refuses, asked for in mid-trial, kept a failing candidate its traffic, and nothing said so",
            (49..57).step_by(2).map(route_refused).collect(),
        ),
        (
            "a candidate with more pods than full size lost some under traffic when its model moved to another TrafficSplit",
            vec![moves()],
        ),
    ]
}

/// Two references to the same Gateway: our schema takes them, that of `HTTPRoute` does not.
pub fn route_refused(second: u64) -> Scenario {
    let mut scenario = rollout(Version::ErrorsFrom(Duration::from_secs(58), 0.4));
    let twice = json!([{"name": "public", "namespace": "infra"}, {"name": "public", "namespace": "infra"}]);
    let patch = json!({"spec": {"route": {"httpRoute": {"parentRefs": twice}}}});
    scenario.script.push((Duration::from_secs(second), Deed::Merge(split_key("iris"), patch)));
    scenario
}

pub fn moves() -> Scenario {
    let mut scenario = rollout(Version::Good);
    scenario.models[0].replicas = 1;
    let next = Split { name: "next", ..scenario.splits[0].clone() };
    scenario.splits[0].steps.iter_mut().for_each(|step| step.replicas = Some(3));
    let made = [scenario.models[0].object("0.0.0"), scenario.splits[0].object()];
    for ((_, deed), object) in scenario.script.iter_mut().zip(made) {
        *deed = Deed::Create(object);
    }
    scenario.script.push((Duration::from_secs(2), Deed::Create(next.object())));
    scenario.script.push((Duration::from_secs(55), Deed::Delete(split_key("iris"))));
    scenario.splits.push(next);
    scenario
}
