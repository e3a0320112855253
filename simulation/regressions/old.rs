//! Worlds in which what somebody acts on is older than it seems: a read, a verdict, a beginning, a clock.

use std::time::Duration;

use seatrial::world::plant::{during::During, user::Deed};
use serde_json::json;

use crate::{
    faults::{Fault, What},
    plans::bases::rollout,
    scenario::{Scenario, Version, model_key, split_key},
};

/// As [`super::all`].
pub fn all() -> Vec<(&'static str, Vec<Scenario>)> {
    vec![
        (
            "a leader that had just begun passed a step on what was measured before Prometheus had stopped scraping",
            blind_since(),
        ),
        (
            "pods ended too early: their drain counted from the decision once their TrafficSplit was deleted",
            deleted_while_draining(),
        ),
        (
            "stable was made smaller by a plan that had waited for seconds, when its user wanted more again",
            scaled_meanwhile(),
        ),
    ]
}

fn at_millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// At every moment of the two steps and of the watch, the leader goes, and its successor finds its Prometheus blind.
fn blind_since() -> Vec<Scenario> {
    let at = |second| {
        let mut scenario = rollout(Version::Good);
        scenario.splits[0].holds = true;
        let split = scenario.splits[0].object();
        scenario.script[1].1 = Deed::Create(split);
        let (from, until) = (Duration::from_secs(second), Duration::from_secs(second + 10));
        scenario.faults = vec![Fault { id: 1, what: What::Kill, replica: None, from, until, share: 1000 }];
        let from = Duration::from_secs(second + 4);
        scenario.stalls = vec![During { from, until: Duration::from_secs(second + 16), what: () }];
        scenario
    };
    (56..66).map(at).collect()
}

/// A candidate with weight gives way to the next; then its `TrafficSplit` goes.
fn deleted_while_draining() -> Vec<Scenario> {
    let at = |millis| {
        let mut scenario = rollout(Version::Good);
        scenario.script.push((Duration::from_secs(54), Deed::Version(model_key("iris"), "0.2.0".to_owned())));
        scenario.script.push((at_millis(millis), Deed::Delete(split_key("iris"))));
        scenario
    };
    (112..118).map(|half| at(half * 500)).collect()
}

/// One write of a plan takes three seconds; the watches of the leader begin anew meanwhile, so that it has seen what it did
/// not plan for.
fn scaled_meanwhile() -> Vec<Scenario> {
    let at = |millis: u64| {
        let mut scenario = rollout(Version::Good);
        let (full, wish) = (4, |replicas: i64| json!({"spec": {"replicas": replicas}}));
        scenario.models[0].replicas = full;
        scenario.script[0].1 = Deed::Create(scenario.models[0].object("0.0.0"));
        let less = json!({"spec": {"replicas": 2, "model": {"version": "0.1.0"}}});
        scenario.script[2] = (Duration::from_secs(45), Deed::Merge(model_key("iris"), less));
        scenario.script.push((at_millis(45_900), Deed::Merge(model_key("iris"), wish(3))));
        let fault = |id, what, from, until| Fault {
            id,
            what,
            replica: None,
            from: at_millis(from),
            until: at_millis(until),
            share: 1000,
        };
        scenario.faults = vec![
            fault(1, What::Late(Duration::from_millis(3100)), 45_000 + millis, 45_006 + millis),
            fault(2, What::Gone, 46_000, 46_200),
        ];
        scenario
    };
    (0..20).map(|step| at(step * 5)).collect()
}
